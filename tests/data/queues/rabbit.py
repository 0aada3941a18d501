# A publisher and consumer of RabbitMQ for test_rabbitmq.c: answers one line for each line (JSON) of its input.
# usage: rabbit.py PORT
import json
import sys
import time

from kombu import Connection, Consumer, Queue

held = []
for _ in range(300):
    try:
        connection = Connection("amqp://guest:guest@127.0.0.1:%s//" % sys.argv[1], connect_timeout=2)
        connection.connect()
        break
    except OSError:
        time.sleep(0.2)
channel = connection.channel()


def send(queue, count, **properties):
    bound = Queue(queue, channel=channel, durable=True)
    bound.declare()
    producer = connection.Producer(channel)
    for i in range(count):
        producer.publish({"n": i}, routing_key=queue, **properties)
    return "ok"


def hold(queue, count):
    other = connection.channel()
    other.basic_qos(0, count, False)
    consumer = Consumer(other, queues=[Queue(queue, channel=other)], callbacks=[lambda body, m: held.append(m)],
                        tag_prefix="test-")
    consumer.consume()
    while len(held) < count:
        connection.drain_events(timeout=10)
    return "ok"


print("ready", flush=True)
for line in sys.stdin:
    question = json.loads(line)
    try:
        print(globals()[question.pop("op")](**question), flush=True)
    except Exception as error:
        print("error", repr(error), flush=True)
