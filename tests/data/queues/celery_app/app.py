# The application that tests/harness/celery.c runs: tasks that do as they are told and say in a file what ran.
# CELERY_SITE names the folder: broker, results and settings.json are read there, `effects` is written there: a
# line "start ID TASK TENANT" and a line "end ID" each time that a job runs.
import json
import os
import signal
import time

from celery import Celery
from celery.signals import before_task_publish, task_failure, worker_ready

SITE = os.environ["CELERY_SITE"]


def read(name, default=""):
    try:
        with open(os.path.join(SITE, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return default


app = Celery("app", broker=read("broker"), backend=read("results"))
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=True, result_expires=3600)
# Those of all programs of the site, then those of this one.
app.conf.update(json.loads(read("settings.json", "{}")))
app.conf.update(json.loads(os.environ.get("CELERY_SETTINGS") or "{}"))


def note(*words):
    line = (" ".join(str(word) for word in words) + "\n").encode()
    file = os.open(os.path.join(SITE, "effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)  # one write each: lines of several processes never mix
    os.close(file)


class Noted(app.Task):
    abstract = True

    def __call__(self, *args, **kwargs):
        tenant = self.request.get("_schema_name") or "-"
        note("start", self.request.id, self.name, tenant)
        result = super().__call__(*args, **kwargs)
        note("end", self.request.id)
        return result


app.Task = Noted


@app.task
def quick(*args, **kwargs):
    return "done"


@app.task
def slow(seconds, *args):
    time.sleep(seconds)
    return seconds


@app.task
def fail(text="it was told to fail", *args):
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def retry(self, countdown=0.1, *args):
    raise self.retry(countdown=countdown, exc=RuntimeError("not yet"))


@app.task
def kill_child(*args):
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def big(text, *args):
    return len(text)


@app.task(bind=True)
def echo(self, *args, **kwargs):
    return {"tenant": self.request.get("_schema_name"), "args": args, "kwargs": kwargs}


# The first turns of the loop subscribe to the pidbox: only then can the worker be spoken to.
@worker_ready.connect
def say_ready(sender, **_):
    sender.timer.call_after(0.2, lambda: open(os.path.join(SITE, sender.hostname + ".ready"), "w").close())


# Three lines that an application can have, so that the age of a job is known.
@before_task_publish.connect
def stamp(headers=None, **_):
    if headers is not None and "sent_at" in headers:
        headers["sent_at"] = time.time()


# Dead letters, for settings with "dead_letters": a list dlq:QUEUE with messages that can be pushed back.
@task_failure.connect
def keep_dead(sender=None, task_id=None, exception=None, args=None, kwargs=None, **_):
    if not os.environ.get("CELERY_DEAD_LETTERS"):
        return
    import base64
    import uuid

    request = sender.request
    queue = (request.delivery_info or {}).get("routing_key") or "celery"
    body = json.dumps([args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = {"lang": "py", "task": sender.name, "id": task_id, "shadow": None, "eta": None, "expires": None,
               "group": None, "group_index": None, "retries": 0, "timelimit": [None, None],
               "root_id": request.root_id, "parent_id": request.parent_id, "argsrepr": repr(args),
               "kwargsrepr": repr(kwargs), "origin": request.origin, "ignore_result": False}
    if request.get("_schema_name"):
        headers["_schema_name"] = request.get("_schema_name")
    headers.update(x_failed_at=time.time(), x_exc=type(exception).__name__, x_msg=str(exception),
                   x_retries=request.retries, x_worker=request.hostname)
    message = {"body": base64.b64encode(body.encode()).decode(), "content-encoding": "utf-8",
               "content-type": "application/json", "headers": headers,
               "properties": {"correlation_id": task_id, "reply_to": "", "delivery_mode": 2,
                              "delivery_info": {"exchange": "", "routing_key": queue}, "priority": 0,
                              "body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}}
    with app.connection_for_write() as connection:
        connection.default_channel.client.lpush("dlq:" + queue, json.dumps(message))
