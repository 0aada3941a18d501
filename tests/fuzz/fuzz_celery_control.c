/*
 * libFuzzer: a control message that was changed on its way. The first two bytes choose the request, the rest
 * are changes (place, kind, byte) to the envelope or to its body. What celery_control_check lets through must
 * still be strict JSON that says the same: a worker lives, and does what was asked for.
 */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/ssh/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OID "10725b83-6360-4612-b42c-2443532bac4d"
#define TICKET "6d48c9b6-8ad9-4d16-a1a3-8a1e57654b84"

/* ---- strict JSON (RFC 8259), another time and in another way ---- */

static const char *value_end(const char *at, const char *end, int depth);

static const char *blank_end(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *string_end(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\')
            continue;
        if (++at == end || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        for (int i = 0; at[0] == 'u' && i < 4; i++)
            if (at + 1 + i >= end || !strchr("0123456789abcdefABCDEF", at[1 + i]) || !at[1 + i])
                return NULL;
    }
    return at < end ? at + 1 : NULL;
}

static const char *digits_end(const char *at, const char *end)
{
    const char *from = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > from ? at : NULL;
}

static const char *number_end(const char *at, const char *end)
{
    if (*at == '-')
        at++;
    bool zero = at < end && *at == '0';
    const char *whole = digits_end(at, end);
    if (!whole || (zero && whole != at + 1))
        return NULL;
    at = whole;
    if (at < end && *at == '.' && !(at = digits_end(at + 1, end)))
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = digits_end(at, end);
    }
    return at;
}

static const char *members_end(const char *at, const char *end, int depth, char closing)
{
    at = blank_end(at + 1, end);
    if (at < end && *at == closing)
        return at + 1;
    for (;;) {
        if (closing == '}') {
            at = blank_end(at, end);
            if (at == end || *at != '"' || !(at = string_end(at, end)))
                return NULL;
            at = blank_end(at, end);
            if (at == end || *at++ != ':')
                return NULL;
        }
        if (!(at = value_end(at, end, depth + 1)))
            return NULL;
        if (at == end)
            return NULL;
        if (*at == closing)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

/* Behind the value and the blanks behind it. */
static const char *value_end(const char *at, const char *end, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    at = blank_end(at, end);
    if (at == end || depth > 20)
        return NULL;
    if (*at == '{' || *at == '[')
        at = members_end(at, end, depth, *at == '{' ? '}' : ']');
    else if (*at == '"')
        at = string_end(at, end);
    else if (*at == '-' || (*at >= '0' && *at <= '9'))
        at = number_end(at, end);
    else {
        const char *found = NULL;
        for (size_t i = 0; i < 3; i++)
            if ((size_t)(end - at) >= strlen(words[i]) && !memcmp(at, words[i], strlen(words[i])))
                found = at + strlen(words[i]);
        at = found;
    }
    return at ? blank_end(at, end) : NULL;
}

static struct json_object *strict(const char *text, size_t length)
{
    if (value_end(text, text + length, 0) != text + length)
        abort();
    char *copy = strndup(text, length);
    struct json_object *object = json_tokener_parse(copy);
    free(copy);
    if (!object)
        abort();
    return object;
}

/* ---- the request and its changes ---- */

static const char *const destination[] = {"celery@web1", "reports@worker-2"};
static const char *const requests[][2] = {{"ping", NULL},
                                          {"active", "{\"safe\":true}"},
                                          {"revoke", "{\"task_id\":[\"a\",\"b\"],\"terminate\":true}"},
                                          {"rate_limit", "{\"task_name\":\"a.b\",\"rate_limit\":\"10/m\"}"},
                                          {"add_consumer", "{\"queue\":\"reports\"}"},
                                          {"pool_grow", "{\"n\":1}"},
                                          {"shutdown", NULL}};
enum { REQUESTS = sizeof requests / sizeof *requests, CHANGES_MAX = 64 };

/* Bytes are overwritten, put in, or taken out. */
static char *change_bytes(const void *context, const char *text, size_t *length, const uint8_t *changes,
                          size_t count)
{
    char *changed = talloc_zero_size(context, *length + count + 1);
    memcpy(changed, text, *length);
    for (size_t i = 0; i + 4 <= count * 4; i += 4) {
        size_t at = *length ? (size_t)(changes[i] << 8 | changes[i + 1]) % *length : 0;
        switch (changes[i + 2] % 3) {
        case 0:
            changed[at] = (char)changes[i + 3];
            break;
        case 1:
            memmove(changed + at + 1, changed + at, *length - at);
            changed[at] = (char)changes[i + 3];
            ++*length;
            break;
        default:
            if (!*length)
                break;
            memmove(changed + at, changed + at + 1, *length - at - 1);
            --*length;
        }
    }
    changed[*length] = '\0';
    return changed;
}

static void blank_out(struct json_object *object, const char *key)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, key, &value))
        abort();
    json_object_object_add(object, key, json_object_new_int(0));
}

static struct json_object *body_of(struct json_object *envelope)
{
    size_t length;
    struct json_object *value;
    if (!json_object_object_get_ex(envelope, "body", &value))
        abort();
    const char *text = json_object_get_string(value);
    size_t encoded = strlen(text), padding = strcspn(text, "=");
    if (encoded % 4 || encoded - padding > 2 || strspn(text + padding, "=") != encoded - padding)
        abort();
    char *body = (char *)base64_decode(NULL, text, encoded, &length);
    if (!body)
        abort();
    struct json_object *object = strict(body, length);
    talloc_free(body);
    return object;
}

/* Without what may differ: times, tags. */
static void normalise(struct json_object *envelope, struct json_object *body)
{
    struct json_object *value;
    if (!json_object_object_get_ex(envelope, "headers", &value))
        abort();
    blank_out(value, "expires");
    if (!json_object_object_get_ex(envelope, "properties", &value))
        abort();
    blank_out(value, "delivery_tag");
    blank_out(envelope, "body");
    blank_out(body, "ticket");
    if (json_object_object_get_ex(body, "reply_to", &value))
        blank_out(value, "routing_key");
}

static void must_say_the_same(const char *text, size_t length, const char *original)
{
    struct json_object *envelope = strict(text, length), *expected = strict(original, strlen(original));
    struct json_object *body = body_of(envelope), *expected_body = body_of(expected);
    normalise(envelope, body);
    normalise(expected, expected_body);
    if (!json_object_equal(envelope, expected) || !json_object_equal(body, expected_body))
        abort();
    json_object_put(envelope);
    json_object_put(expected);
    json_object_put(body);
    json_object_put(expected_body);
}

/* The envelope with its body changed before it was encoded. */
static char *change_body(const void *context, const char *payload, size_t *length, const uint8_t *changes,
                         size_t count)
{
    const char *from = payload + strlen("{\"body\": \""), *to = strchr(from, '"');
    size_t body_length;
    char *body = (char *)base64_decode(context, from, (size_t)(to - from), &body_length);
    char *changed = change_bytes(context, body, &body_length, changes, count);
    char *encoded = base64_encode(context, (const unsigned char *)changed, body_length, 1);
    char *result = talloc_asprintf(context, "{\"body\": \"%s%s", encoded, to);
    *length = strlen(result);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    size_t length;
    if (size < 2)
        return 0;
    const char *const *chosen = requests[data[0] % REQUESTS];
    struct celery_control_request request = {.method = chosen[0],
                                             .destination = destination,
                                             .destination_count = 1 + data[1] % 2,
                                             .wants_reply = strcmp(chosen[0], "shutdown") != 0};
    request.arguments = chosen[1] ? json_tokener_parse(chosen[1]) : NULL;
    char *payload = celery_control_build(NULL, &request, OID, TICKET, 1795261451, &length, &error);
    if (!payload || !celery_control_check(payload, length, &request, &error))
        abort();
    size_t count = (size - 2) / 4 < CHANGES_MAX ? (size - 2) / 4 : CHANGES_MAX;
    size_t changed_length = length;
    char *changed = data[1] & 2 ? change_body(payload, payload, &changed_length, data + 2, count)
                                : change_bytes(payload, payload, &changed_length, data + 2, count);
    if (celery_control_check(changed, changed_length, &request, &error))
        must_say_the_same(changed, changed_length, payload);
    if (celery_control_check((const char *)data, size, &request, &error))
        must_say_the_same((const char *)data, size, payload);
    json_object_put(request.arguments);
    talloc_free(payload);
    return 0;
}
