/* Any bytes as a Celery message and as a value of `unacked`: every span lies inside, and what is spliced
 * differs in the one member only. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span span, const char *raw, size_t length)
{
    if (span.kind != SPAN_ABSENT &&
        (span.at < raw || span.length > length || span.at + span.length > raw + length))
        abort();
}

/* The bytes in front of and behind what was changed are those of the message. */
static void same_around(const struct celery_envelope *before, const char *after, size_t length)
{
    size_t front = 0, back = 0;
    while (front < before->length && front < length && before->raw[front] == after[front])
        front++;
    while (back < before->length && back < length &&
           before->raw[before->length - 1 - back] == after[length - 1 - back])
        back++;
    /* Nothing but an old value of `expires` was taken away. */
    size_t taken = before->length > front + back ? before->length - front - back : 0;
    if (taken > (before->expires.kind == SPAN_ABSENT ? 0 : before->expires.length + 2))
        abort();
}

static void splice(const void *context, const struct celery_envelope *envelope)
{
    struct celery_envelope again;
    struct error error;
    size_t length;
    char *out = celery_envelope_expire(context, envelope, "2000-01-01T00:00:00+00:00", &length, &error);
    if (out) {
        celery_envelope_scan(&again, out, length, NULL);
        if (again.poison == POISON_A || !celery_envelope_same(envelope, &again) ||
            celery_span_time(again.expires) != 946684800)
            abort();
        same_around(envelope, out, length);
    }
    out = celery_envelope_redelivered(context, envelope, &length, &error);
    if (out) {
        celery_envelope_scan(&again, out, length, NULL);
        if (again.poison == POISON_A || !celery_envelope_same(envelope, &again))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *raw = (const char *)data;
    struct celery_envelope envelope;
    struct span message, exchange, key;
    if (celery_unacked_message(raw, size, &message, &exchange, &key)) {
        inside(message, raw, size);
        inside(exchange, raw, size);
        inside(key, raw, size);
        raw = message.at;
        size = message.length;
    }
    void *context = talloc_new(NULL);
    celery_envelope_scan(&envelope, raw, size, "x-school");
    if ((envelope.poison != POISON_NONE) != (envelope.why != NULL))
        abort();
    const struct span *spans[] = {
        &envelope.body, &envelope.headers,      &envelope.task,          &envelope.id,
        &envelope.eta,  &envelope.delivery_tag, &envelope.tenant_header, &envelope.routing_key};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        inside(*spans[i], raw, size);
        celery_span_time(*spans[i]);
    }
    const struct celery_tenancy tenancy = {.argument = 0, .queue_pattern = "t*t"};
    struct job job = {0};
    celery_job_fill(context, &job, &envelope, NULL, &tenancy);
    size_t length, quick_length = 0;
    const char *quick = celery_tenant_quick(context, &envelope, NULL, &tenancy, &quick_length);
    if ((quick != NULL) != (job.tenant != NULL) ||
        (quick && memcmp(quick, job.tenant, strlen(job.tenant)) != 0))
        abort();
    struct error error;
    char *body = celery_body_decode(context, &envelope, &length, &error);
    if (body)
        celery_body_shape(context, body, length);
    splice(context, &envelope);
    talloc_free(context);
    return 0;
}
