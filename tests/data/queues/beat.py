# A real beat of django-celery-beat as a partner of test_django_celery.c: makes its tables, adds entries and results,
# runs the scheduler, and says what it sent. Answers one line for each line (JSON) of its input.
# usage: beat.py HOST-PORT PASSWORD
import json
import sys
import threading

import django
from django.conf import settings

port, password = sys.argv[1:3]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": port,
                           "USER": "owner", "PASSWORD": password, "NAME": "postgres"}},
    INSTALLED_APPS=["django_celery_beat", "django_celery_results"],
    USE_TZ=True, TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()

from celery import Celery  # noqa: E402
from celery.beat import Service  # noqa: E402
from celery.signals import before_task_publish  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import close_old_connections  # noqa: E402
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask  # noqa: E402
from django_celery_beat.schedulers import DatabaseScheduler  # noqa: E402
from django_celery_results.models import TaskResult  # noqa: E402

app = Celery("site", broker="memory://")
app.conf.update(timezone="UTC", result_expires=None, task_ignore_result=True)
sent = []
service = None


@before_task_publish.connect
def note(sender=None, headers=None, body=None, routing_key=None, **kwargs):
    sent.append({"task": sender, "tenant": headers.get("_schema_name"), "queue": routing_key, "args": body[0]})


class Scheduler(DatabaseScheduler):
    max_interval = 1
    sync_every = 180


def entry(name, task, cron=None, zone="UTC", every=None, **fields):
    if cron:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        fields["crontab"], _ = CrontabSchedule.objects.get_or_create(timezone=zone, **dict(zip(names, cron.split())))
    else:
        fields["interval"], _ = IntervalSchedule.objects.get_or_create(every=every, period="seconds")
    return PeriodicTask.objects.create(name=name, task=task, **fields).id


def start():
    global service
    service = Service(app, max_interval=1, scheduler_cls=Scheduler)
    threading.Thread(target=service.start, kwargs={"embedded_process": True}, daemon=True).start()
    return "ok"


def known(name):
    return int(name in (service.scheduler._schedule or {}))


ops = {
    "entry": entry,
    "start": start,
    "known": known,
    "sent": lambda task: sum(1 for one in sent if one["task"] == task),
    "last": lambda task: json.dumps([one for one in sent if one["task"] == task][-1], sort_keys=True),
    "enabled": lambda name: int(PeriodicTask.objects.get(name=name).enabled),
    "result": lambda **fields: TaskResult.objects.create(**fields).id,
}
call_command("migrate", verbosity=0)
print("ready", flush=True)
for line in sys.stdin:
    question = json.loads(line)
    op = question.pop("op")
    close_old_connections()
    try:
        print(ops[op](**question), flush=True)
    except Exception as error:  # told to the test, which fails then
        print("error", repr(error), flush=True)
