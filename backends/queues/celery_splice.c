/* Single values of a message replaced in its own bytes; what comes out is scanned again before anybody sees
 * it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_verdict.h"

struct edit {
    const char *at; /* in the message */
    size_t cut;
    char text[128];
};

/* The value of a member that is there, or a new member in front of the others of its object. */
static bool edit_member(struct edit *edit, struct span object, struct span value, const char *name,
                        const char *text)
{
    int written;
    if (value.kind == SPAN_ABSENT) {
        struct json_cursor within = {object.at + 1, object.at + object.length - 1};
        edit->at = object.at + 1;
        edit->cut = 0;
        written = snprintf(edit->text, sizeof edit->text, "\"%s\": %s%s", name, text,
                           json_at_end(&within) ? "" : ", ");
    } else {
        size_t quote = value.kind == SPAN_STRING;
        edit->at = value.at - quote;
        edit->cut = value.length + 2 * quote;
        written = snprintf(edit->text, sizeof edit->text, "%s", text);
    }
    return written < (int)sizeof edit->text;
}

static char *apply(const void *context, const struct celery_envelope *envelope, const struct edit *edits,
                   int count, size_t *length)
{
    size_t most = envelope->length + 1;
    for (int i = 0; i < count; i++)
        most += strlen(edits[i].text);
    char *out = talloc_array(context, char, most), *put = out;
    if (!out)
        abort();
    const char *at = envelope->raw, *end = envelope->raw + envelope->length;
    for (int i = 0; i < count; i++) {
        size_t before = (size_t)(edits[i].at - at), text = strlen(edits[i].text);
        memcpy(put, at, before);
        memcpy(put + before, edits[i].text, text);
        put += before + text;
        at = edits[i].at + edits[i].cut;
    }
    memcpy(put, at, (size_t)(end - at));
    put += end - at;
    *put = '\0';
    *length = (size_t)(put - out);
    return out;
}

static bool can_splice(const struct celery_envelope *envelope, struct error *error, const char *what)
{
    if (envelope->poison == POISON_A)
        return error_set(error, ERROR_UNSUPPORTED, NULL, what, "It can be parked.", "%s", envelope->why);
    if (envelope->protocol1)
        return error_set(error, ERROR_UNSUPPORTED, NULL, what, "It can be parked.",
                         "it is of Celery's protocol 1, which keeps everything in the encoded body");
    if (envelope->headers.kind != SPAN_OBJECT)
        return error_set(error, ERROR_UNSUPPORTED, NULL, what, "It can be parked.", "it has no headers");
    return true;
}

/* The message with the edits made, if a worker makes the same of it. */
static char *spliced(const void *context, const struct celery_envelope *envelope, const struct edit *edits,
                     int count, struct celery_envelope *again, size_t *length, struct error *error,
                     const char *what)
{
    char *out = apply(context, envelope, edits, count, length);
    celery_envelope_scan(again, out, *length, NULL);
    if (again->poison == POISON_A || !celery_envelope_same(envelope, again)) {
        error_set(error, ERROR_INTERLOCK, NULL, what, "It can be parked.", "%s",
                  again->poison == POISON_A ? again->why
                                            : "the changed message does not read as it was meant");
        talloc_free(out);
        return NULL;
    }
    return out;
}

char *celery_envelope_expire(const void *context, const struct celery_envelope *envelope, const char *expires,
                             size_t *length, struct error *error)
{
    static const char what[] = "the job cannot be neutralised";
    struct span time = {.at = expires, .length = strlen(expires), .kind = SPAN_STRING};
    struct celery_envelope again;
    struct edit edit;
    char text[64];
    if (!can_splice(envelope, error, what))
        return NULL;
    if (!celery_time_valid(time) || strpbrk(expires, "\"\\") ||
        snprintf(text, sizeof text, "\"%s\"", expires) >= (int)sizeof text ||
        !edit_member(&edit, envelope->headers, envelope->expires, "expires", text)) {
        error_set(error, ERROR_USAGE, NULL, what, NULL, "\"%.80s\" is not a time", expires);
        return NULL;
    }
    char *out = spliced(context, envelope, &edit, 1, &again, length, error, what);
    if (out && !json_is(again.expires, expires)) {
        error_set(error, ERROR_INTERLOCK, NULL, what, NULL,
                  "the changed message does not read as it was meant");
        talloc_free(out);
        return NULL;
    }
    return out;
}

char *celery_envelope_redelivered(const void *context, const struct celery_envelope *envelope, size_t *length,
                                  struct error *error)
{
    static const char what[] = "the job cannot be put back";
    struct celery_envelope again;
    struct edit edits[2];
    if (envelope->poison == POISON_A || envelope->headers.kind != SPAN_OBJECT) {
        error_set(error, ERROR_UNSUPPORTED, NULL, what, NULL, "%s",
                  envelope->why ? envelope->why : "it has no headers");
        return NULL;
    }
    edit_member(&edits[0], envelope->headers, envelope->redelivered, "redelivered", "true");
    edit_member(&edits[1], envelope->delivery_info, envelope->delivery_redelivered, "redelivered", "true");
    if (edits[1].at < edits[0].at) {
        struct edit first = edits[1];
        edits[1] = edits[0];
        edits[0] = first;
    }
    char *out = spliced(context, envelope, edits, 2, &again, length, error, what);
    if (out && (!json_true(again.redelivered) || !json_true(again.delivery_redelivered))) {
        error_set(error, ERROR_INTERLOCK, NULL, what, NULL,
                  "the changed message does not read as it was meant");
        talloc_free(out);
        return NULL;
    }
    return out;
}
