# What the schools' users do that needs a job: a steady little, until it is killed.
#
# usage: python3 -m school.produce FOLDER   (of the host: so that its process can be told from others)
import os
import random
import time

import redis
from celery import chain, chord

from school import jobs

PAUSE_S = 1.4
STREAM, GROUP = "events:attendance", "notify"


def person(chance):
    return f"{chance.choice(['amal', 'omar', 'lina', 'tom', 'wei', 'sara'])}{chance.randrange(900)}@mail.example"


def one_card(chance):
    chain(jobs.report_card.s(chance.randrange(1, 40000)), jobs.render_pdf.s(), jobs.mail_pdf.s(person(chance)))()


def grade_run(chance):
    term = f"2026-{chance.randrange(1, 4)}"
    chord(jobs.grade_class.s(course, term) for course in chance.sample(range(1, 60), 6))(jobs.publish_grades.s())


KINDS = (
    (40, lambda chance: jobs.send_mail.apply_async([person(chance)], priority=chance.choice((0, 3, 3, 6)))),
    (14, one_card),
    (8, lambda chance: jobs.import_grades.delay(chance.randrange(20, 400))),
    (3, lambda chance: jobs.remind_absence.apply_async([chance.randrange(1, 40000)],
                                                       countdown=chance.randrange(120, 1500))),
    (2, lambda chance: jobs.nightly_backup.apply_async(priority=9, expires=3600)),
    (1, grade_run),
)


def send_one(chance, names):
    weights = [1 / (place + 1) ** 0.8 for place in range(len(names))]
    with jobs.of_school(chance.choices(names, weights)[0]):
        chance.choices([send for _, send in KINDS], [weight for weight, _ in KINDS])[0](chance)


def at_the_gate(chance, names, streams):
    """A card is held to a reader: an entry of a stream, which a group of one takes most of."""
    streams.xadd(STREAM, {"school": chance.choice(names), "student": chance.randrange(1, 40000)}, maxlen=2000)
    if chance.random() < 0.8:
        taken = streams.xreadgroup(GROUP, "notify@web1", {STREAM: ">"}, count=2)
        for _, entries in taken:
            done = [entry for entry, _ in entries if chance.random() < 0.98]
            if done:
                streams.xack(STREAM, GROUP, *done)


def make_group(streams):
    try:
        streams.xgroup_create(STREAM, GROUP, mkstream=True)
    except redis.ResponseError:
        pass  # it is there


def main():
    chance, names = random.Random(), jobs.schools()
    streams = redis.Redis.from_url(os.environ["APP_BROKER"] + "/0")
    ready = False
    while True:
        time.sleep(min(6.0, chance.expovariate(1 / PAUSE_S)))
        try:
            send_one(chance, names)
            if not ready:
                make_group(streams)
                ready = True
            at_the_gate(chance, names, streams)
        except Exception as error:  # the broker is broken here on purpose, now and then
            print(f"not sent: {error}", flush=True)


main()
