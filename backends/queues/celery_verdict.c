/*
 * What a worker would do with a message, in the order in which kombu (transport/virtual/base.py, message.py)
 * and Celery (worker/consumer/consumer.py, strategy.py, request.py) look at it. An exception that nobody
 * catches there ends the worker (A); an InvalidTaskError or DecodeError drops the message with a line in the
 * log (B).
 */
#include "backends/queues/celery_verdict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

static bool poisoned(struct celery_envelope *envelope, enum job_poison poison, const char *why)
{
    envelope->poison = poison;
    envelope->why = why;
    return true;
}

#define ENDS(why) poisoned(envelope, POISON_A, why "; it ends the worker, and is lost")
#define DROPPED(why) poisoned(envelope, POISON_B, why "; a worker drops it with a line in its log")

/* What kombu does before anything of Celery sees the message. True: it ends there. */
static bool refused_by_kombu(struct celery_envelope *envelope, struct celery_bytes *bytes)
{
    if (envelope->properties.kind != SPAN_OBJECT)
        return ENDS("the message has no properties");
    if (json_true(envelope->body) && json_true(envelope->body_encoding)) {
        if (!json_is(envelope->body_encoding, "base64"))
            return ENDS("its body_encoding is one that kombu does not know");
        if (envelope->body.kind != SPAN_STRING)
            return ENDS("its body should be base64 and is no text");
        if (!celery_body_bytes(envelope->body, true, bytes))
            return ENDS("its body is not base64");
    }
    if (envelope->delivery_tag.kind != SPAN_STRING && envelope->delivery_tag.kind != SPAN_NUMBER)
        return ENDS("the message has no delivery_tag");
    if (json_true(envelope->headers) && envelope->headers.kind != SPAN_OBJECT)
        return ENDS("its headers are no object");
    if (envelope->delivery_info.kind != SPAN_OBJECT || envelope->exchange.kind == SPAN_ABSENT ||
        envelope->routing_key.kind == SPAN_ABSENT)
        return ENDS("its delivery_info names no exchange and routing_key");
    return false;
}

/* Python's len() of the body, which is logged with every message that is dropped, fails for these. */
static bool no_length(const struct celery_envelope *envelope)
{
    if (!json_true(envelope->body) && celery_packing(envelope->compression) == PACKING_BZIP2)
        return false; /* Python's bz2 makes nothing of nothing */
    return envelope->body.kind != SPAN_STRING && envelope->body.kind != SPAN_ARRAY &&
           envelope->body.kind != SPAN_OBJECT;
}

#define DROPPED_OR_ENDS(why) (no_length(envelope) ? ENDS(why " and its body is no text") : DROPPED(why))

/* Decompresses into *inflated. True: it ends there. */
static bool refused_packing(struct celery_envelope *envelope, struct celery_bytes *bytes, bool base64,
                            unsigned char **inflated, bool *judged)
{
    enum celery_packing packing = celery_packing(envelope->compression);
    if (packing == PACKING_NONE)
        return false;
    if (packing == PACKING_UNKNOWN)
        return DROPPED_OR_ENDS("its compression is one that kombu does not know");
    bool empty = !json_true(envelope->body) || (envelope->body.kind == SPAN_STRING && bytes->length == 0);
    if (packing == PACKING_BZIP2 && empty)
        return false;
    if (!base64)
        return DROPPED_OR_ENDS("it should be compressed, and is text");
    *judged = packing != PACKING_OTHER;
    if (!*judged)
        return false;
    size_t length;
    enum celery_inflated state = celery_unpack(packing, bytes->at, bytes->length, true, inflated, &length);
    if (state == INFLATED_BROKEN)
        return DROPPED("its body is not compressed as it says");
    /* What is too large to look at may well be right. */
    *judged = state == INFLATED;
    bytes->at = (const char *)*inflated;
    bytes->length = length;
    return false;
}

bool celery_time_valid(struct span span)
{
    return span.kind == SPAN_STRING && !isnan(celery_span_time(span));
}

/* eta and expires. True: it ends there. */
static bool refused_times(struct celery_envelope *envelope, struct span eta, struct span expires)
{
    const struct span times[] = {eta, expires};
    for (int i = 0; i < 2; i++) {
        if (times[i].kind == SPAN_ABSENT || times[i].kind == SPAN_NULL)
            continue;
        if (!json_true(times[i]))
            return ENDS("its eta or expires is empty");
        if (!celery_time_valid(times[i]))
            return i == 0 ? DROPPED("its eta is not a time") : DROPPED("its expires is not a time");
    }
    return false;
}

/* What making a request reads of the headers. True: it ends there. */
static bool refused_request(struct celery_envelope *envelope, struct span id, struct span eta,
                            struct span expires, struct span timelimit)
{
    /* What is taken from the timer later fails with a line in the log only; what expired is dropped first. */
    double now = clock_wall();
    bool waits = celery_span_time(eta) > now || celery_span_time(expires) < now;
    if (id.kind == SPAN_ARRAY || id.kind == SPAN_OBJECT)
        return ENDS("its id is no text");
    if (!json_true(timelimit) || waits || (timelimit.kind == SPAN_ARRAY && json_count(timelimit) == 2))
        return false;
    if (timelimit.kind == SPAN_STRING) {
        char text[16];
        if (timelimit.length <= sizeof text && json_unescape(timelimit.at, timelimit.length, text, NULL) == 2)
            return false;
    }
    return ENDS("its timelimit is not a pair");
}

/* The last of two that is there, as dict.update does. */
static struct span over(struct span below, struct span above)
{
    return above.kind == SPAN_ABSENT ? below : above;
}

/* A decoded body that is an object: protocol 1, or protocol 2 with a body of protocol 1. */
static void judge_protocol1(struct celery_envelope *envelope, const struct celery_payload *payload)
{
    struct span task = json_find(payload->value, "task"), id = json_find(payload->value, "id");
    struct span kwargs = json_find(payload->value, "kwargs");
    struct span eta = json_find(payload->value, "eta"), expires = json_find(payload->value, "expires");
    struct span limit = json_find(payload->value, "timelimit");
    if (envelope->protocol1) {
        if (task.kind == SPAN_ARRAY || task.kind == SPAN_OBJECT) {
            ENDS("the name of its task is no text");
            return;
        }
        if (id.kind == SPAN_ABSENT && (task.kind != SPAN_STRING || !payload->has_args)) {
            ENDS("it has no id");
            return;
        }
        if (task.kind != SPAN_STRING) {
            poisoned(envelope, POISON_C, "the name of its task is no text; it fails with NotRegistered");
            return;
        }
    }
    envelope->chained = json_true(json_find(payload->value, "callbacks"));
    envelope->chord = json_true(json_find(payload->value, "chord"));
    if (payload->has_args) { /* headers of the message win */
        id = over(id, envelope->id);
        eta = over(eta, envelope->eta);
        expires = over(expires, envelope->expires);
        limit = over(limit, envelope->timelimit);
    }
    if (kwargs.kind != SPAN_ABSENT && kwargs.kind != SPAN_OBJECT)
        DROPPED("its keyword arguments are no object");
    else if (!refused_times(envelope, eta, expires))
        refused_request(envelope, id, eta, expires, limit);
}

static size_t text_points(const char *text, size_t length)
{
    size_t points = 0;
    for (size_t i = 0; i < length; i++)
        points += ((unsigned char)text[i] & 0xc0) != 0x80;
    return points;
}

/* How many code points a string of JSON is for Python. */
static size_t code_points(struct span string, bool *has_args)
{
    char *text = malloc(string.length + 1);
    if (!text)
        abort();
    size_t length = json_unescape(string.at, string.length, text, NULL), points = text_points(text, length);
    *has_args = memmem(text, length, "args", 4) != NULL;
    free(text);
    return points;
}

/* Making the request of protocol 2 from headers and a body of so many parts. */
static void judge_request(struct celery_envelope *envelope, size_t parts, struct span embed)
{
    if (envelope->id.kind == SPAN_ABSENT) {
        ENDS("it has no id");
        return;
    }
    if (refused_times(envelope, envelope->eta, envelope->expires))
        return;
    envelope->chained = json_true(json_find(embed, "chain")) || json_true(json_find(embed, "callbacks"));
    envelope->chord = json_true(json_find(embed, "chord"));
    bool bare = json_true(embed) && embed.kind != SPAN_OBJECT;
    bool expires = envelope->expires.kind != SPAN_ABSENT && envelope->expires.kind != SPAN_NULL;
    if (parts != 3)
        ENDS("its body is not [args, kwargs, embed]");
    else if (bare && expires)
        ENDS("the third part of its body is no object, which matters when it expires");
    else if (!refused_request(envelope, envelope->id, envelope->eta, envelope->expires,
                              envelope->timelimit) &&
             bare)
        poisoned(envelope, POISON_C, "the third part of its body is no object; it fails");
}

/* The decoded body of protocol 2. */
static void judge_payload(struct celery_envelope *envelope, struct celery_payload *payload)
{
    if (payload->value.kind == SPAN_STRING)
        payload->count = code_points(payload->value, &payload->has_args);
    else if (payload->value.kind != SPAN_ARRAY && payload->value.kind != SPAN_OBJECT) {
        ENDS("its body is a bare number or word");
        return;
    }
    if (payload->has_args) {
        if (payload->value.kind == SPAN_OBJECT)
            judge_protocol1(envelope, payload);
        else
            DROPPED("its body is not [args, kwargs, embed]");
        return;
    }
    struct span letter = {.at = "x", .length = 1, .kind = SPAN_STRING};
    judge_request(envelope, payload->count, payload->value.kind == SPAN_ARRAY ? payload->embed : letter);
}

static enum celery_body body_kind(struct span type)
{
    static const struct {
        const char *name;
        enum celery_body kind;
    } known[] = {
        {"application/json", BODY_JSON},         {"application/x-python-serialize", BODY_PICKLE},
        {"application/x-msgpack", BODY_MSGPACK}, {"application/x-yaml", BODY_YAML},
        {"application/data", BODY_DATA},         {"application/text", BODY_DATA},
    };
    if (!json_true(type))
        return BODY_DATA;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is(type, known[i].name))
            return known[i].kind;
    return BODY_OTHER;
}

/* Content type and encoding. True: it ends there. */
static bool refused_content(struct celery_envelope *envelope)
{
    struct span type = envelope->content_type, encoding = envelope->content_encoding;
    if (json_true(type) && (type.kind == SPAN_ARRAY || type.kind == SPAN_OBJECT))
        return envelope->protocol1 ? DROPPED_OR_ENDS("its content-type is no text")
                                   : ENDS("its content-type is no text");
    switch (envelope->body_kind) {
    case BODY_PICKLE:
        return DROPPED_OR_ENDS("its body is pickle, which workers refuse unless told to accept it");
    case BODY_MSGPACK:
        return DROPPED_OR_ENDS("its body is msgpack, which workers refuse unless told to accept it");
    case BODY_YAML:
        return DROPPED_OR_ENDS("its body is YAML, which workers refuse unless told to accept it");
    case BODY_OTHER:
        return DROPPED_OR_ENDS("its content-type is one that workers refuse");
    default:
        break;
    }
    if (json_true(encoding) && encoding.kind != SPAN_STRING)
        return envelope->protocol1 ? DROPPED_OR_ENDS("its content-encoding is no text")
                                   : ENDS("its content-encoding is no text");
    return false;
}

/* A body without a serializer: Celery gets its text, or its bytes when the encoding is binary. */
static void judge_data(struct celery_envelope *envelope, const struct celery_bytes *bytes)
{
    struct span encoding = envelope->content_encoding;
    bool binary = json_is(encoding, "binary") || json_is(encoding, "ascii-8bit");
    bool utf8 = !json_true(encoding) || json_is(encoding, "utf-8") || json_is(encoding, "utf8");
    if (!binary && (!utf8 || !celery_utf8(bytes->at, bytes->length))) {
        DROPPED("its body is not in its content-encoding");
    } else if (envelope->protocol1) {
        DROPPED("it has no task");
    } else if (binary) {
        ENDS("its body is not [args, kwargs, embed]");
    } else if (memmem(bytes->at, bytes->length, "args", 4)) {
        DROPPED("its body is not [args, kwargs, embed]");
    } else {
        struct span letter = {.at = "x", .length = 1, .kind = SPAN_STRING};
        judge_request(envelope, text_points(bytes->at, bytes->length), letter);
    }
}

static void judge_body(struct celery_envelope *envelope, struct celery_bytes *bytes)
{
    /* Falsy bodies are not deserialized: protocol 2 looks for "args" in nothing. */
    bool base64 = json_true(envelope->body) && json_true(envelope->body_encoding);
    bool text = envelope->body.kind == SPAN_STRING;
    if (!json_true(envelope->body) || (text && bytes->length == 0)) {
        if (!envelope->protocol1 && !json_true(envelope->compression) &&
            (envelope->body.kind == SPAN_ARRAY || envelope->body.kind == SPAN_OBJECT))
            judge_request(envelope, 0, (struct span){0});
        else if (!envelope->protocol1)
            ENDS("its body is empty");
        else
            DROPPED_OR_ENDS("it has no task");
        return;
    }
    if (!text) {
        DROPPED_OR_ENDS("its body is not decodable");
        return;
    }
    if (!base64 && bytes->lone) {
        DROPPED("its body is not decodable");
        return;
    }
    if (envelope->body_kind == BODY_DATA) {
        judge_data(envelope, bytes);
        return;
    }
    struct celery_payload payload;
    celery_payload_look(&payload, bytes->at, bytes->length);
    if (!payload.json)
        DROPPED("its body is not JSON");
    else if (!envelope->protocol1)
        judge_payload(envelope, &payload);
    else if (payload.value.kind == SPAN_OBJECT && json_find(payload.value, "task").kind != SPAN_ABSENT)
        judge_protocol1(envelope, &payload);
    else
        DROPPED("it has no task");
}

/* The header task is there and is no text: Celery knows no such task, and needs an id to say so. */
static void judge_no_task(struct celery_envelope *envelope, const struct celery_bytes *bytes)
{
    bool named = envelope->id.kind != SPAN_ABSENT;
    if (!named && envelope->body_kind == BODY_JSON &&
        bytes->length > 0) { /* then those of the body are taken */
        struct celery_payload payload;
        celery_payload_look(&payload, bytes->at, bytes->length);
        named = payload.json && json_find(payload.value, "id").kind != SPAN_ABSENT &&
                json_find(payload.value, "task").kind != SPAN_ABSENT;
    }
    if (!named || no_length(envelope))
        ENDS("it has no id, and the name of its task is no text");
    else
        poisoned(envelope, POISON_C, "the name of its task is no text; it fails with NotRegistered");
}

void celery_verdict(struct celery_envelope *envelope)
{
    struct celery_bytes bytes = {0};
    unsigned char *inflated = NULL;
    envelope->protocol1 = envelope->task.kind == SPAN_ABSENT;
    envelope->body_kind = body_kind(envelope->content_type);
    bool base64 = json_true(envelope->body) && json_true(envelope->body_encoding);
    bool judged = true;
    if (refused_by_kombu(envelope, &bytes))
        goto done;
    if (!base64 && envelope->body.kind == SPAN_STRING)
        celery_body_bytes(envelope->body, false, &bytes);
    if (refused_packing(envelope, &bytes, base64, &inflated, &judged))
        goto done;
    if (envelope->task.kind == SPAN_ARRAY || envelope->task.kind == SPAN_OBJECT)
        ENDS("the name of its task is no text");
    else if (!envelope->protocol1 && envelope->task.kind != SPAN_STRING)
        judge_no_task(envelope, &bytes);
    else if (!refused_content(envelope) && judged)
        judge_body(envelope, &bytes);
done:
    free(inflated);
    free(bytes.buffer);
}
