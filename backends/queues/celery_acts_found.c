/* What acts on whole lists mean: the queue that is purged, and what is set aside with its notes. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static bool answered(struct celery_prepare *p, struct redis_batch *batch, const struct error *error)
{
    if (!error)
        error = redis_batch_refusal(batch);
    if (!error)
        return true;
    p->error = *error;
    celery_prepare_done(p, NULL);
    return false;
}

/* ---- a queue ---- */

static void queue_counted(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_prepare *p = data;
    int64_t lengths[CELERY_STEPS], total = 0;
    if (!answered(p, batch, error))
        return;
    for (int i = 0; i < CELERY_STEPS; i++)
        total += lengths[i] = redis_answer_integer(redis_batch_answer(batch, (size_t)i), 0);
    if (total == 0)
        celery_prepare_fail(p, ERROR_GONE, NULL, "queue %s is empty", p->request.queue);
    else
        celery_build_purge(p, lengths);
}

void celery_look_queue(struct celery_prepare *p)
{
    if (!p->request.queue) {
        celery_prepare_fail(p, ERROR_USAGE, NULL, "no queue is named");
        return;
    }
    p->batch = redis_batch_new(p);
    for (int i = 0; i < CELERY_STEPS; i++)
        redis_batch_add(p->batch, "LLEN", celery_queue_key(p->batch, p->system, p->request.queue, i, NULL),
                        NULL);
    redis_batch_ask(p->batch, p->system->redis, p->system->database, queue_counted, p);
}

/* ---- what is set aside ---- */

static bool fits(const struct celery_prepare *p, const struct celery_found *found)
{
    static const enum celery_aside kinds[ACT_COUNT] = {[ACT_UNPARK] = ASIDE_PARK,
                                                       [ACT_TENANT_BACK] = ASIDE_TENANT,
                                                       [ACT_RESTORE] = ASIDE_TRASH,
                                                       [ACT_EMPTY_TRASH] = ASIDE_TRASH,
                                                       [ACT_CONTINUE] = ASIDE_HOLD};
    const struct queue_act_request *request = &p->request;
    if (found->total == 0)
        return false;
    bool interrupted = found->kind == ASIDE_HOLD || found->returning;
    bool kind = request->act == ACT_CONTINUE ? interrupted : found->kind == kinds[request->act];
    if (!kind || (request->queue && strcmp(request->queue, found->queue) != 0))
        return false;
    return !request->tenant || (found->tenant && strcmp(request->tenant, found->tenant) == 0);
}

static const char *field(struct celery_prepare *p, const struct redis_answer *note, const char *name)
{
    const char *text = redis_answer_text(redis_answer_field(note, name));
    return text && *text ? there(talloc_strdup(p, text)) : NULL;
}

static void groups_counted(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_prepare *p = data;
    size_t at = 0, kept = 0;
    if (!answered(p, batch, error))
        return;
    for (size_t i = 0; i < p->found_count; i++) {
        struct celery_found *found = &p->found[i];
        const struct redis_answer *note = redis_batch_answer(batch, at++);
        found->act = field(p, note, "act");
        found->tenant = field(p, note, "tenant");
        found->filter = field(p, note, "filter");
        found->to = field(p, note, "to");
        found->to_queue = field(p, note, "to_queue");
        found->returning = field(p, note, "returning") != NULL;
        for (int level = 0; level < CELERY_STEPS; level++) {
            found->lengths[level] = redis_answer_integer(redis_batch_answer(batch, at++), 0);
            found->waiting[level] = redis_answer_integer(redis_batch_answer(batch, at++), 0);
            found->total += found->lengths[level];
        }
        if (fits(p, found))
            p->found[kept++] = *found;
    }
    p->found_count = kept;
    if (kept == 0)
        celery_prepare_fail(p, ERROR_GONE, NULL, "%s",
                            p->request.act == ACT_CONTINUE ? "no move was interrupted"
                                                           : "nothing like that is set aside");
    else
        celery_build_aside(p);
}

static void count_groups(struct celery_prepare *p)
{
    p->batch = redis_batch_new(p);
    for (size_t i = 0; i < p->found_count; i++) {
        const struct celery_found *found = &p->found[i];
        redis_batch_add(p->batch, "HGETALL", celery_aside_note(p->batch, p->system, found->group), NULL);
        for (int level = 0; level < CELERY_STEPS; level++) {
            redis_batch_add(p->batch, "LLEN", celery_aside_list(p->batch, p->system, found->group, level),
                            NULL);
            redis_batch_add(p->batch, "LLEN",
                            celery_queue_key(p->batch, p->system, found->queue, level, NULL), NULL);
        }
    }
    redis_batch_ask(p->batch, p->system->redis, p->system->database, groups_counted, p);
}

static void add_group(struct celery_prepare *p, const char *name)
{
    struct celery_found found = {.group = there(talloc_strdup(p, name))};
    const char *stamp;
    if (!celery_aside_parse(p, name, &found.kind, &found.queue, &stamp))
        return;
    for (size_t i = 0; i < p->found_count; i++)
        if (strcmp(p->found[i].group, name) == 0)
            return;
    p->found = there(talloc_realloc(p, p->found, struct celery_found, p->found_count + 1));
    p->found[p->found_count++] = found;
}

static void groups_listed(void *data, char *const *groups, size_t count, const struct error *error)
{
    struct celery_prepare *p = data;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        add_group(p, groups[i]);
    if (p->found_count)
        count_groups(p);
    else
        celery_prepare_fail(p, ERROR_GONE, NULL, "nothing is set aside");
}

void celery_look_aside(struct celery_prepare *p)
{
    if (!p->request.entry) {
        celery_aside_list_groups(p, p->system, groups_listed, p);
        return;
    }
    const char *entry = p->request.entry;
    size_t prefix = strlen(p->system->names.prefix);
    if (strncmp(entry, p->system->names.prefix, prefix) == 0)
        entry += prefix;
    add_group(p, entry);
    if (p->found_count)
        count_groups(p);
    else
        celery_prepare_fail(p, ERROR_USAGE, NULL, "\"%s\" is not the name of something set aside",
                            p->request.entry);
}
