/* One job of whatever system: the words for what it is, and copies of it. */
#include "backends/queues/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_STATES] = {
        [JOB_READY] = "ready",         [JOB_UNACKED] = "unacked",   [JOB_RUNNING] = "running",
        [JOB_SCHEDULED] = "scheduled", [JOB_RETRYING] = "retrying", [JOB_WAITING] = "waiting",
        [JOB_FAILED] = "failed",       [JOB_DEAD] = "dead",         [JOB_DONE] = "done",
        [JOB_CANCELLED] = "cancelled", [JOB_PARKED] = "parked",     [JOB_TRASHED] = "trashed",
    };
    return names[state];
}

const char *job_flag_name(int bit)
{
    static const char *const names[JOB_FLAGS] = {
        "redelivered", "pickle",  "encoded", "compressed", "big",          "expired", "periodic",
        "protocol1",   "chained", "group",   "twice",      "unknown-task", "orphaned"};
    return names[bit];
}

char *job_flags_text(char *buffer, size_t size, unsigned flags)
{
    size_t used = 0;
    if (size > 0)
        buffer[0] = '\0';
    for (int bit = 0; bit < JOB_FLAGS; bit++) {
        if (!(flags & 1u << bit) || used >= size)
            continue;
        int written = snprintf(buffer + used, size - used, "%s%s", used > 0 ? " " : "", job_flag_name(bit));
        used += (size_t)written;
    }
    return buffer;
}

const char *job_poison_name(enum job_poison poison)
{
    static const char *const names[] = {
        [POISON_NONE] = "", [POISON_D] = "D", [POISON_C] = "C", [POISON_B] = "B", [POISON_A] = "A"};
    return names[poison];
}

static void keep(const void *context, const char **text)
{
    if (*text && !(*text = talloc_strdup(context, *text)))
        abort();
}

static void keep_bytes(const void *context, const char **bytes, size_t length)
{
    if (!*bytes)
        return;
    char *copy = talloc_array(context, char, length + 1);
    if (!copy)
        abort();
    memcpy(copy, *bytes, length);
    copy[length] = '\0';
    *bytes = copy;
}

void job_copy_into(const void *context, struct job *target, const struct job *job)
{
    *target = *job;
    const char **texts[] = {&target->id,        &target->task,      &target->tenant, &target->queue,
                            &target->why,       &target->arguments, &target->origin, &target->worker,
                            &target->exception, &target->message,   &target->frame,  &target->parent,
                            &target->root,      &target->group,     &target->tag};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        keep(context, texts[i]);
    keep_bytes(context, &target->key, target->key_length);
    keep_bytes(context, &target->raw, target->raw_length);
}

struct job *job_copy(const void *context, const struct job *job)
{
    struct job *copy = talloc(context, struct job);
    if (!copy)
        abort();
    job_copy_into(copy, copy, job);
    return copy;
}

/* ---- redacting ---- */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80);
}

/* The end of a quoted text that begins at `at`: behind its quote, or the end of what was cut. */
static const char *quoted_end(const char *at)
{
    char quote = *at++;
    while (*at && *at != quote)
        at += *at == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* A keyword as Python and Ruby write it: an identifier in quotes with a colon behind. */
static bool is_keyword(const char *at, const char *end)
{
    if (*end != ':' || end - at < 3)
        return false;
    for (const char *c = at + 1; c < end - 1; c++)
        if (!is_word(*c) || (*c & 0x80) || (c == at + 1 && *c >= '0' && *c <= '9'))
            return false;
    return true;
}

char *job_arguments_redacted(const void *context, const char *text)
{
    if (!text)
        return NULL;
    char *redacted = talloc_strdup(context, "");
    int depth = 0;
    for (const char *at = text; *at;) {
        const char *end = at + 1;
        bool begins = at == text || !is_word(at[-1]);
        depth += (*at == '{' || *at == '[' || *at == '(') - (*at == '}' || *at == ']' || *at == ')');
        if (*at == '\'' || *at == '"') {
            end = quoted_end(at);
            bool keyword = depth <= 1 && is_keyword(at, end);
            redacted = keyword ? talloc_asprintf_append_buffer(redacted, "%.*s", (int)(end - at), at)
                               : talloc_asprintf_append_buffer(redacted, "'…'");
        } else if (*at >= '0' && *at <= '9' && begins) {
            while (is_word(*end) || *end == '.')
                end++;
            redacted = talloc_asprintf_append_buffer(redacted, "#");
        } else {
            while (is_word(*at) && is_word(*end))
                end++;
            redacted = talloc_asprintf_append_buffer(redacted, "%.*s", (int)(end - at), at);
        }
        at = end;
    }
    return redacted;
}
