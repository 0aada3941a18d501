# Settings of the demo's application: schools as tenants, one schema each, told apart by the Host header.
# What depends on the host stands in the environment: demo/hosts writes it.
import os

DEBUG = False
SECRET_KEY = os.environ.get("APP_SECRET_KEY", "of no use: the demo signs nothing")
ALLOWED_HOSTS = ["*"]  # the middleware refuses hosts that belong to no school
ROOT_URLCONF = "school.urls"
WSGI_APPLICATION = "school.wsgi.application"
MIDDLEWARE = ["school.tenants.TenantMiddleware"]
INSTALLED_APPS = ["django_celery_beat"] if os.environ.get("APP_BEAT") == "database" else []
TIME_ZONE = "UTC"
USE_TZ = True

RELEASE_FILE = os.environ.get("APP_RELEASE_FILE", "/srv/app/RELEASE")
# A file here switches a planted problem on.
PROBLEMS = os.environ.get("APP_PROBLEMS", "")

DATABASES = {}
try:
    import psycopg2  # noqa: F401
except ImportError:
    pass
else:
    if os.environ.get("APP_DATABASE_PORT"):
        DATABASES["default"] = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ.get("APP_DATABASE_HOST", "127.0.0.1"),
            "PORT": os.environ["APP_DATABASE_PORT"],
            "NAME": os.environ.get("APP_DATABASE_NAME", "platform"),
            "USER": os.environ.get("APP_DATABASE_USER", "app_user"),
            "CONN_MAX_AGE": 600,
            "OPTIONS": {
                "passfile": os.environ.get("APP_PASSFILE", "/srv/app/pgpass"),
                "application_name": os.environ.get("APP_NAME", "gunicorn") + " " + os.uname().nodename,
                "connect_timeout": 3,
                # A lock must not hold all workers: the answer is an error then.
                "options": "-c statement_timeout=5s",
            },
        }
HAS_DATABASE = "default" in DATABASES

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "[%(asctime)s] %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
