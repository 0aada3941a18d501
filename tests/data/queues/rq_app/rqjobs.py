"""Jobs of a school's application, for tests with real RQ."""
import os
import time

import redis


def _mark(word):
    redis.Redis.from_url(os.environ["JOBS_REDIS"]).rpush("test:ran", word)


def ok(tenant, number=0):
    _mark("ok %s %s" % (tenant, number))
    return number


def fail(tenant):
    raise ValueError("no report of %s" % tenant)


def flaky(tenant):
    """Fails unless the key test:works is there."""
    if not redis.Redis.from_url(os.environ["JOBS_REDIS"]).exists("test:works"):
        raise KeyError("not yet: %s" % tenant)
    _mark("flaky %s" % tenant)


def slow(tenant, seconds):
    _mark("slow %s" % tenant)
    time.sleep(seconds)
    _mark("slow ended %s" % tenant)
