#!/usr/bin/python3
"""What the real kombu and Celery do with messages: one line of a letter and the message in hex for each.

The letters are those of enum job_poison (A ends the worker, B drops the message, C no such task, - runs).
usage: kombu_verdicts.py SEED COUNT DUMP...   (of tests/data/queues/celery)
"""
import base64
import copy
import json
import logging
import random
import sys
import zlib

from celery import Celery
from celery.worker.consumer import Consumer
from celery.worker.state import revoked
from kombu.transport.virtual.base import Base64, Message
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

logging.disable(logging.CRITICAL)
sys.setrecursionlimit(1000)


class Channel:
    """As much of kombu's channel as decoding needs."""

    no_ack_consumers = None
    codecs = {'base64': Base64()}

    def decode_body(self, body, encoding=None):
        if encoding:
            return self.codecs.get(encoding).decode(body)
        return body

    def basic_ack(self, *args, **kwargs):
        pass

    def basic_reject(self, *args, **kwargs):
        pass


class Anything:
    """Stands for the parts of a worker that are not looked at."""

    enabled = False

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


app = Celery('school', broker='memory://', backend='disabled://')


@app.task(name='reports.tasks.report_card')
def report_card(*args, **kwargs):
    pass


class Known(dict):
    """Every task that is named by a text is known."""

    def __missing__(self, name):
        hash(name)
        if isinstance(name, str):
            return self['reports.tasks.report_card']
        raise KeyError(name)


class Pool(Anything):
    def apply_async(self, *args, **kwargs):
        return None


def make_consumer():
    made = Consumer.__new__(Consumer)
    made.app = app
    made.hostname = 'worker@school'
    made.connection_errors = (ConnectionResetError,)
    made.event_dispatcher = None
    made.timer = Anything()
    made.qos = Anything()
    made.disable_rate_limits = True
    made.task_buckets = {'reports.tasks.report_card': None}
    made.pool = Pool()
    made.controller = Anything()
    made.controller.state = type('State', (), {'revoked': set()})
    made.on_task_request = lambda request: request.execute_using_pool(made.pool)
    made.on_task_message = set()
    made.call_soon = lambda *args: None
    made.strategies = Known()
    app.finalize()
    task = app.tasks['reports.tasks.report_card']
    made.strategies['reports.tasks.report_card'] = task.start_strategy(app, made)
    return made


consumer = make_consumer()
seen = []


def note(name, letter):
    real = getattr(Consumer, name)

    def noted(self, *args, **kwargs):
        real(self, *args, **kwargs)
        seen.append(letter)
    setattr(Consumer, name, noted)


for name, letter in (('on_decode_error', 'B'), ('on_unknown_message', 'B'), ('on_invalid_task', 'B'),
                     ('on_unknown_task', 'C')):
    note(name, letter)
handler = consumer.create_task_handler()


def fails_in_child(payload, proto1):
    if proto1 or 'args' in payload:
        return False
    _, _, embed = payload
    return bool(embed) and not isinstance(embed, dict)


def verdict(raw):
    seen.clear()
    revoked.clear()
    try:
        payload = loads(bytes_to_str(raw))
        message = Message(payload, channel=Channel())
        tag = message.delivery_tag
        if tag is None or isinstance(tag, bool) or not isinstance(tag, (str, int, float)):
            raise TypeError('redis-py refuses it')
        exchange, key = message.delivery_info['exchange'], message.delivery_info['routing_key']
        dumps([message._raw, exchange, key])
        message.accept = {'application/json'}
        if message.errors:
            message._reraise_error(consumer.on_decode_error)
        else:
            handler(message)
            if not seen and fails_in_child(message.payload, 'task' not in message.headers):
                return 'C'
    except Exception:  # nobody catches it in a worker
        return 'A'
    return seen[-1] if seen else '-'


VALUES = [None, True, False, 0, 1, -7, 1.5, '', 'x', 'abc', 'args', [], {}, [1], [1, 2], [1, 2, 3], {'a': 1},
          {'a': 1, 'b': 2, 'c': 3}, 'base64', 'application/json', 'application/x-python-serialize',
          'application/data', 'utf-8', 'gzip', '2020-11-21T12:00:00', '2020-11-21T12:00:00.25+03:00', 'tomorrow',
          '2020-13-01T00:00:00', '2020-1-1', '2020-02-30', '2026', '2020-11-21 12:00:61', '2020-11-21T12:00Z',
          '2020-11-21T25:00:00', '2020-11-21T12:00:00+24:00', '\ud800', 'الأمل', 'W10=', 'W', 'bnVsbA==', 'NQ==',
          'e30=', '!!!', '====']
BODIES = [b'[[],{},{}]', b'[]', b'{}', b'null', b'5', b'"abc"', b'"args"', b'[1,2,3]', b'["args",1,2]', b'[[],{}',
          b'{"args":[],"kwargs":{},"id":"1","task":"t"}', b'{"task":"t","id":"1","kwargs":[]}',
          b'{"task":"t","id":"1"}', b'{"task":"t"}', b'{"task":null,"id":"1"}', b'{"task":["t"],"id":"1"}',
          b'{"args":[],"kwargs":{},"eta":"soon","id":"1","task":"t"}', b'{"a":1,"b":2,"c":3}', b'{"a":1,"b":2}',
          b'\xff', b'["\xc3\x28",{},{}]', b'["\xe2\x82\xac",{},{}]', b'[NaN,{},Infinity]', b'[1,2,3]x', b' [1,2,3] ',
          b'["\xed\xa0\x80",{},{}]', b'{"a":1,"a":2,"b":3}', b'[' * 300 + b']' * 300, b'', b'\xef\xbb\xbf[[],{},{}]',
          b'{"args":[],"kwargs":{},"id":["1"],"task":"t"}', b'{"args":[],"timelimit":[1],"id":"1","task":"t"}']


def at(message, *path):
    for name in path:
        if not isinstance(message, dict):
            return None
        message = message.get(name)
    return message if isinstance(message, dict) else None


def change_tree(message, rng):
    """One change of the message's meaning."""
    where = at(message, *rng.choice([(), ('headers',), ('headers',), ('properties',), ('properties', 'delivery_info')]))
    if not where:
        return
    kind = rng.random()
    if kind < 0.25:
        where.pop(rng.choice(list(where)))
    elif kind < 0.75:
        names = list(where) + ['eta', 'expires', 'timelimit', 'compression', 'shadow', 'id', 'task', 'body_encoding']
        where[rng.choice(names)] = copy.deepcopy(rng.choice(VALUES))
    else:
        body = rng.choice(BODIES)
        if rng.random() < 0.2:
            body = zlib.compress(body)[:rng.choice([None, None, -3])]
            message.setdefault('headers', {})
            if isinstance(message['headers'], dict):
                message['headers']['compression'] = 'application/x-gzip'
        message['body'] = base64.b64encode(body).decode()


def change_bytes(raw, rng):
    raw = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place = rng.randrange(len(raw) + 1)
        kind = rng.random()
        if kind < 0.3 and place < len(raw):
            raw[place] = rng.choice([0, 9, 10, 0x1f, 0x22, 0x5c, 0x2c, 0x3a, 0x7b, 0x7d, 0xff, 0xc3, rng.randrange(256)])
        elif kind < 0.5:
            del raw[place:place + rng.choice([1, 1, 2, 8])]
        elif kind < 0.8:
            raw[place:place] = rng.choice([b'"', b'\\', b'\\u00e9', b'\\ud83d', b'{', b'}', b'[', b']', b',', b':', b'NaN',
                                           b'-', b'0', b'1e5', b'=', b'==', b' ', b'\n', b'\xef\xbb\xbf', b'\xe2\x82', b'/'])
        else:
            del raw[place:]
        if not raw:
            break
    return bytes(raw)


def samples_of(name):
    """The messages of a dump, or of a list of poisonous ones."""
    for line in open(name):
        row = json.loads(line)
        values = row['value'] if row.get('type') == 'list' else []
        if 'raw' in row:
            values = [row['raw']]
        elif 'raw_b64' in row:
            values = [{'b64': row['raw_b64']}]
        for value in values:
            raw = base64.b64decode(value['b64']) if isinstance(value, dict) else value.encode()
            yield raw.replace(b'"2026-', b'"2020-')  # what expired then has expired wherever this runs


def main():
    seed, count, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    rng = random.Random(seed)
    samples = [raw for name in files for raw in samples_of(name)]
    out = [(verdict(raw), raw) for raw in samples]
    trees = [json.loads(raw) for letter, raw in out if letter != 'A']
    whole = [raw for letter, raw in out if letter != 'A']
    for _ in range(count):
        if rng.random() < 0.6:
            tree = json.loads(json.dumps(rng.choice(trees)))
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                change_tree(tree, rng)
            raw = json.dumps(tree, ensure_ascii=rng.random() < 0.8,
                             separators=rng.choice([None, (',', ':')])).encode(errors='surrogatepass')
        else:
            raw = rng.choice(whole)
        if rng.random() < 0.4:
            raw = change_bytes(raw, rng)
        out.append((verdict(raw), raw))
    for letter, raw in out:
        print(letter, raw.hex())


main()
