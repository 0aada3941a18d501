/*
 * Which tenant and task an id belongs to and how long it may run, learned from messages while they could be
 * read: running jobs, events and results tell only the id. Two tables take turns: when the newer is full, the
 * older is forgotten. An id is kept as a hash of 64 bits; names stand once a table.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/queues/celery.h"

enum { IDS_MOST = 50000, TABLE_MOST = IDS_MOST / 2, TABLE_FIRST = 512 };

struct name {
    UT_hash_handle hh;
    char text[];
};

struct slot {
    uint64_t hash; /* 0: free */
    const char *tenant, *task;
    float limit_s; /* 0: none */
    bool tenant_known;
};

struct table {
    struct slot *slots;
    size_t size, used; /* size is a power of two */
    struct name *names;
};

struct celery_ids {
    struct table *newer, *older;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static uint64_t hash_of(const char *id)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 0x100000001b3u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static int table_free(struct table *table)
{
    HASH_CLEAR(hh, table->names);
    return 0;
}

static struct table *table_new(struct celery_ids *ids)
{
    struct table *table = there(talloc_zero(ids, struct table));
    talloc_set_destructor(table, table_free);
    table->size = TABLE_FIRST;
    table->slots = there(talloc_zero_array(table, struct slot, table->size));
    return table;
}

static struct slot *find(const struct table *table, uint64_t hash)
{
    size_t at = hash & (table->size - 1);
    while (table->slots[at].hash && table->slots[at].hash != hash)
        at = (at + 1) & (table->size - 1);
    return &table->slots[at];
}

static void grow(struct table *table)
{
    struct slot *old = table->slots;
    size_t size = table->size;
    table->size *= 2;
    table->slots = there(talloc_zero_array(table, struct slot, table->size));
    for (size_t i = 0; i < size; i++)
        if (old[i].hash)
            *find(table, old[i].hash) = old[i];
    talloc_free(old);
}

static const char *intern(struct table *table, const char *text)
{
    struct name *name = NULL;
    if (!text)
        return NULL;
    size_t length = strlen(text);
    HASH_FIND(hh, table->names, text, length, name);
    if (!name) {
        name = there(talloc_zero_size(table, sizeof *name + length + 1));
        memcpy(name->text, text, length + 1);
        HASH_ADD_KEYPTR(hh, table->names, name->text, length, name);
    }
    return name->text;
}

struct celery_ids *celery_ids_new(const void *context)
{
    struct celery_ids *ids = there(talloc_zero(context, struct celery_ids));
    ids->newer = table_new(ids);
    return ids;
}

void celery_ids_learn(struct celery_system *system, const struct job *job)
{
    struct celery_ids *ids = system->ids;
    if (!job->id || (!job->tenant_known && !job->task))
        return;
    if (ids->newer->used >= TABLE_MOST) {
        talloc_free(ids->older);
        ids->older = ids->newer;
        ids->newer = table_new(ids);
    }
    struct table *table = ids->newer;
    if (table->used * 2 >= table->size)
        grow(table);
    uint64_t hash = hash_of(job->id);
    struct slot *slot = find(table, hash);
    if (slot->hash)
        return;
    *slot = (struct slot){.hash = hash,
                          .tenant = intern(table, job->tenant),
                          .task = intern(table, job->task),
                          .limit_s = (float)job->limit_s,
                          .tenant_known = job->tenant_known};
    table->used++;
}

static const struct slot *look_up(const struct celery_system *system, const char *id)
{
    const struct celery_ids *ids = system->ids;
    if (!ids || !id)
        return NULL;
    uint64_t hash = hash_of(id);
    const struct slot *slot = find(ids->newer, hash);
    if (!slot->hash && ids->older)
        slot = find(ids->older, hash);
    return slot->hash ? slot : NULL;
}

const char *celery_ids_tenant(const struct celery_system *system, const char *id, bool *known)
{
    const struct slot *slot = look_up(system, id);
    if (known)
        *known = slot && slot->tenant_known;
    return slot ? slot->tenant : NULL;
}

const char *celery_ids_task(const struct celery_system *system, const char *id)
{
    const struct slot *slot = look_up(system, id);
    return slot ? slot->task : NULL;
}

double celery_ids_limit(const struct celery_system *system, const char *id)
{
    const struct slot *slot = look_up(system, id);
    return slot ? slot->limit_s : 0;
}
