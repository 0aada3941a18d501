# send.py FILE: sends the jobs that the JSON in the file describes and prints their ids, a line each.
# [{"task": "quick", "args": [], "kwargs": {}, "count": 1, "tenant": "al_noor", "sent_at": true, "options": {}}]; options
# are those of apply_async (queue, priority, countdown, expires, serializer, compression, headers, task_id ...).
# {"chain": [JOB...]}, {"group": [JOB...]} and {"chord": [JOB..., BODY]} send what they say.
import json
import sys

from celery import chain, chord, group

from app import app


def signature(job):
    options = dict(job.get("options", {}))
    headers = dict(options.pop("headers", None) or {})
    if job.get("tenant"):
        headers["_schema_name"] = job["tenant"]
    if job.get("sent_at"):
        headers["sent_at"] = 0
    if headers:
        options["headers"] = headers
    return app.signature("app." + job["task"], args=job.get("args", []), kwargs=job.get("kwargs", {}), **options)


def members(result):
    """Of a canvas all ids, of what runs last first."""
    while result is not None:
        for child in getattr(result, "results", None) or [result]:
            yield child.id
        result = result.parent


with open(sys.argv[1], encoding="utf-8") as file:
    jobs = json.load(file)
with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
    for job in jobs:
        if "chain" in job:
            ids = list(members(chain(*map(signature, job["chain"])).apply_async()))
        elif "group" in job:
            ids = list(members(group(*map(signature, job["group"])).apply_async()))
        elif "chord" in job:
            ids = list(members(chord([signature(j) for j in job["chord"][:-1]], signature(job["chord"][-1])).apply_async()))
        else:
            one = signature(job)
            ids = [one.apply_async(producer=producer).id for _ in range(job.get("count", 1))]
        print("\n".join(ids))
