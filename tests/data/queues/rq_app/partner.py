"""Answers a test's questions by RQ's own library: a JSON object a line."""
import datetime
import json
import sys

import redis
import rq
from rq.job import Job

connection = redis.Redis.from_url(sys.argv[1])


def enqueue(queue, name, args=(), kwargs=None, id=None, in_s=None, retry=None, depends=None, meta=None):
    options = {"job_id": id, "args": args, "kwargs": kwargs or {}, "meta": meta}
    if retry:
        options["retry"] = rq.Retry(max=retry, interval=3600)
    if depends:
        options["depends_on"] = depends
    q = rq.Queue(queue, connection=connection)
    if in_s is not None:
        q.enqueue_in(datetime.timedelta(seconds=in_s), "rqjobs." + name, *args, job_id=id, **(kwargs or {}))
    else:
        q.enqueue_call("rqjobs." + name, **options)
    return id


def counts(queue):
    q = rq.Queue(queue, connection=connection)
    registries = (q.started_job_registry, q.failed_job_registry, q.finished_job_registry, q.scheduled_job_registry,
                  q.deferred_job_registry)
    # get_job_ids of a registry cleans it up: its length does not
    return " ".join(str(n) for n in [len(q)] + [connection.zcard(r.key) for r in registries])


def status(id):
    return Job.fetch(id, connection=connection).get_status()


def requeue(id):
    Job.fetch(id, connection=connection).requeue()
    return "ok"


print("ready", flush=True)
for line in sys.stdin:
    question = json.loads(line)
    operation = globals()[question.pop("op")]
    try:
        print(operation(**question), flush=True)
    except Exception as error:
        print("error %s: %s" % (type(error).__name__, error), flush=True)
