# Gunicorn on a web host of the demo. Where things lie stands in the environment: demo/host sets it.
import os

_log = os.environ["APP_LOG"]
wsgi_app = "school.wsgi:application"
bind = "127.0.0.1:" + os.environ["APP_PORT"]
workers = 2
preload_app = True  # the workers share the memory of what is loaded
backlog = 128
timeout = 30
graceful_timeout = 2
pidfile = os.path.join(os.environ["APP_RUN"], "gunicorn.pid")
worker_tmp_dir = os.environ["APP_RUN"]
accesslog = os.path.join(_log, "access.log")
errorlog = os.path.join(_log, "error.log")
capture_output = True
