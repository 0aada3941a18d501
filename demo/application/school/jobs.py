# What the application does in the background: Celery with Redis as its broker, its workers and beat on worker1. The
# school that a job belongs to travels in the header _schema_name, as tenant-schemas-celery does it. Jobs wait and
# compute nothing, some fail: as such jobs do. What stands in the environment is set by demo/host.
import base64
import contextlib
import contextvars
import json
import os
import random
import signal
import time
import uuid

from celery import Celery, current_task
from celery.schedules import crontab
from celery.signals import before_task_publish, task_failure

if os.environ.get("APP_DATABASE_PORT"):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "school.settings")

PROBLEMS = os.environ.get("APP_PROBLEMS", "")
# Jobs sent to these queues say when they were sent; the others are older, and nobody thought of it.
STAMPED = {"celery", "mail", "grades", "nightly"}
DEAD_KEPT = 500

_school = contextvars.ContextVar("school", default=None)


def is_on(problem):
    return bool(PROBLEMS) and os.path.exists(os.path.join(PROBLEMS, problem))


def schools():
    """The names of the schools' schemas, the largest first."""
    with open(os.environ["APP_SCHOOLS"], encoding="utf-8") as file:
        return file.read().split()


@contextlib.contextmanager
def of_school(name):
    """Jobs that are sent meanwhile belong to this school."""
    token = _school.set(name)
    try:
        yield
    finally:
        _school.reset(token)


app = Celery("school", broker=os.environ["APP_BROKER"] + "/0", backend=os.environ["APP_BROKER"] + "/1")


class SchoolTask(app.Task):
    abstract = True

    def apply_async(self, args=None, kwargs=None, *words, **options):
        running = current_task.request if current_task else None
        school = _school.get() or (running and running.get("_schema_name"))
        if school:
            options["headers"] = {"_schema_name": school, **(options.get("headers") or {})}
        return super().apply_async(args, kwargs, *words, **options)


app.Task = SchoolTask
app.conf.update(
    result_expires=1800,
    result_extended=False,
    task_default_queue="celery",
    task_routes={
        "school.jobs.send_mail": {"queue": "mail"},
        "school.jobs.report_card": {"queue": "reports"},
        "school.jobs.render_pdf": {"queue": "pdf"},
        "school.jobs.grade_class": {"queue": "grades"},
        "school.jobs.publish_grades": {"queue": "grades"},
        "school.jobs.nightly_backup": {"queue": "nightly"},
    },
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    task_track_started=False,
    worker_hijack_root_logger=True,
    broker_connection_retry_on_startup=True,
    beat_max_loop_interval=5,
    beat_schedule={
        "mail the digest": {"task": "school.jobs.mail_digest", "schedule": 30.0},
        "import grades": {"task": "school.jobs.import_grades", "schedule": 20.0},
        "clean sessions": {"task": "school.jobs.clean_sessions", "schedule": 60.0},
        "nightly backup": {"task": "school.jobs.backup_all", "schedule": crontab(hour=2, minute=0)},
        "report cards of the week": {
            "task": "school.jobs.cards_of_the_week",
            "schedule": crontab(day_of_week="fri", hour=5, minute=30),
            "options": {"headers": {"_schema_name": "al_noor"}},
        },
    },
)


@app.task(bind=True, max_retries=12)
def send_mail(self, person, subject="Message of your school"):
    time.sleep(random.uniform(0.02, 0.2))
    if is_on("retry-storm"):
        raise self.retry(countdown=random.randrange(8, 16), exc=ConnectionRefusedError("[Errno 111] mail1:25 refuses"))
    if random.random() < 0.03 and self.request.retries == 0:
        raise self.retry(countdown=20, exc=TimeoutError(f"mail1:25 did not answer in time to {person}"))
    return {"sent": 1}


def hang_when_planted():
    """As a call to a library that never returns: no signal but SIGKILL and SIGCONT gets through."""
    if is_on("stuck-worker"):
        os.kill(os.getpid(), signal.SIGSTOP)


@app.task(soft_time_limit=60)
def report_card(student, year=2026):
    hang_when_planted()
    time.sleep(random.uniform(0.2, 0.8))
    if student % 97 == 0:
        raise ValueError(f"student {student} has no grades for {year}: كشف الدرجات غير موجود")
    return {"student": student, "pages": random.randrange(1, 4)}


@app.task(soft_time_limit=60)
def render_pdf(card):
    hang_when_planted()
    time.sleep(random.uniform(0.1, 0.5))
    if random.random() < 0.02:
        raise OSError("wkhtmltopdf ended with status 1: no font for this script")
    return {"file": f"card-{uuid.uuid4().hex[:8]}.pdf", **(card or {})}


@app.task
def mail_pdf(document, person):
    send_mail.delay(person, subject="Your report card")
    return document


@app.task
def grade_class(course, term):
    time.sleep(random.uniform(0.1, 0.6))
    return {"course": course, "term": term, "grades": random.randrange(10, 34)}


@app.task
def publish_grades(results):
    return {"courses": len(results), "grades": sum(result["grades"] for result in results)}


@app.task
def import_grades(rows=None):
    time.sleep(random.uniform(0.2, 1.5))
    return {"rows": rows or random.randrange(20, 400)}


@app.task
def remind_absence(student):
    return {"student": student, "reminded": True}


@app.task
def mail_digest():
    with of_school(random.choice(schools()[:8])):
        send_mail.delay("parents", subject="This week at your school")


@app.task
def clean_sessions():
    time.sleep(0.1)


@app.task
def nightly_backup():
    time.sleep(random.uniform(0.5, 2.0))
    return {"bytes": random.randrange(10**6, 10**8)}


@app.task
def backup_all():
    for name in schools():
        with of_school(name):
            nightly_backup.apply_async(priority=9)


@app.task
def cards_of_the_week():
    for student in range(1, 41):
        report_card.apply_async([student], priority=6)


@before_task_publish.connect
def stamp(headers=None, routing_key=None, **_):
    if routing_key in STAMPED:
        headers["sent_at"] = time.time()


@task_failure.connect
def keep_dead(sender=None, task_id=None, exception=None, args=None, kwargs=None, **_):
    """The message as it was, in a list dlq:QUEUE: from there it can be pushed back."""
    request = sender.request
    queue = (request.delivery_info or {}).get("routing_key") or "celery"
    body = json.dumps([args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = {"lang": "py", "task": sender.name, "id": task_id, "shadow": None, "eta": None, "expires": None,
               "group": None, "group_index": None, "retries": 0, "timelimit": [None, sender.soft_time_limit],
               "root_id": request.root_id, "parent_id": request.parent_id, "argsrepr": repr(args),
               "kwargsrepr": repr(kwargs), "origin": request.origin, "ignore_result": False,
               "x_failed_at": time.time(), "x_exc": type(exception).__name__, "x_msg": str(exception),
               "x_retries": request.retries, "x_worker": request.hostname}
    for name in ("_schema_name", "sent_at"):
        if request.get(name):
            headers[name] = request.get(name)
    message = {"body": base64.b64encode(body.encode()).decode(), "content-encoding": "utf-8",
               "content-type": "application/json", "headers": headers,
               "properties": {"correlation_id": task_id, "reply_to": "", "delivery_mode": 2,
                              "delivery_info": {"exchange": "", "routing_key": queue}, "priority": 0,
                              "body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}}
    with app.pool.acquire() as connection:
        redis = connection.default_channel.client
        redis.lpush("dlq:" + queue, json.dumps(message))
        redis.ltrim("dlq:" + queue, 0, DEAD_KEPT - 1)
