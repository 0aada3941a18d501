"""A consumer of a group, for tests: what it held when it ended comes first, then what is new. It acknowledges what
it has done, but for tasks that fail. consumer.py URL STREAM GROUP NAME"""
import sys
import time

import redis

url, stream, group, name = sys.argv[1:5]
connection = redis.Redis.from_url(url)


def work(id, fields):
    task = fields.get(b"task", b"").decode()
    connection.rpush("test:taken", "%s %s" % (name, id.decode()))
    if task == "fail":
        return
    if task == "slow":
        time.sleep(60)
    connection.rpush("test:ran", "%s %s %s" % (name, task, fields.get(b"payload", b"").decode()))
    connection.xack(stream, group, id)


start = "0"
while True:
    answer = connection.xreadgroup(group, name, {stream: start}, count=1, block=200)
    entries = answer[0][1] if answer else []
    if start == "0" and not entries:
        start = ">"
    for id, fields in entries:
        work(id, fields or {})
        if start != ">":
            start = id
