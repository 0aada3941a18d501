# What the application does in the background: Celery with Redis as its broker, its workers and beat on worker1.
# Reports now and then fail, imports now and then take long: as such jobs do.
import os
import random
import time

from celery import Celery

SCHOOLS = ["al_noor"] * 4 + ["oak_park_academy"] * 2 + ["riverside_college", "al_amal_primary"]

app = Celery("school", broker=os.environ["APP_BROKER"], backend=os.environ["APP_BROKER"])
app.conf.update(
    result_expires=600,
    task_default_queue="celery",
    task_routes={"school.jobs.send_report": {"queue": "reports"}, "school.jobs.send_mail": {"queue": "mail"}},
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    worker_hijack_root_logger=True,
    broker_connection_retry_on_startup=True,
    beat_schedule={
        "mail": {"task": "school.jobs.send_mail", "schedule": 2.0},
        "imports": {"task": "school.jobs.import_grades", "schedule": 7.0},
        "reports": {"task": "school.jobs.send_report", "schedule": 11.0},
    },
)


@app.task
def send_mail(school=None):
    time.sleep(random.uniform(0.02, 0.2))
    return {"school": school or random.choice(SCHOOLS), "sent": 1}


@app.task
def import_grades(school=None):
    time.sleep(random.uniform(0.2, 2.0))
    return {"school": school or random.choice(SCHOOLS), "rows": random.randrange(20, 400)}


@app.task(bind=True, max_retries=2, default_retry_delay=5)
def send_report(self, school=None):
    school = school or random.choice(SCHOOLS)
    time.sleep(random.uniform(0.1, 0.8))
    if random.random() < 0.1:
        raise self.retry(args=[school], exc=RuntimeError(f"{school}: the printer of the office does not answer"))
    return {"school": school, "pages": random.randrange(1, 12)}
