/* Looks for Celery on a Redis: in every database that is in use, by the bindings of kombu and by what a
 * broker keeps; each prefix is a system of its own. Then where its results are. */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery.h"

#define DEADLINE_S 5.0
#define RESULT_MARK "celery-task-meta-"

enum { DATABASES = 16, FOUND_MOST = 32, KEYS_MOST = 50000, RESULT_WINDOWS = 25 };

struct looking {
    struct queue_search *search;
    struct queue_place place;
    int databases[DATABASES];
    size_t database_count, at;
    bool seen; /* the database at hand holds what a broker keeps, with no prefix */
    struct celery_system *found[FOUND_MOST];
    size_t found_count;
    int64_t results[DATABASES]; /* keys of results among those looked at */
    char *cursor;
    int windows;
    struct error error;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void finish(struct looking *looking, const struct error *error)
{
    bool alive = queue_search_alive(looking->search);
    for (size_t i = 0; i < looking->found_count; i++) {
        struct celery_system *system = looking->found[i];
        if (alive && !error) {
            queue_search_found(looking->search, &system->base);
        } else {
            system->base.closed = true;
            talloc_free(system);
        }
    }
    queue_search_done(looking->search, error);
    talloc_free(looking);
}

static bool goes_on(struct looking *looking, const struct error *error)
{
    if (!error && queue_search_alive(looking->search))
        return true;
    finish(looking, error);
    return false;
}

/* ---- where results are ---- */

static size_t index_of(const struct looking *looking, int database)
{
    for (size_t i = 0; i < looking->database_count; i++)
        if (looking->databases[i] == database)
            return i;
    return DATABASES;
}

/* Its own database when there are any, else the one with the most. */
static void settle_results(struct looking *looking)
{
    size_t most = 0;
    for (size_t i = 1; i < looking->database_count; i++)
        if (looking->results[i] > looking->results[most])
            most = i;
    for (size_t i = 0; i < looking->found_count && looking->results[most]; i++) {
        struct celery_system *system = looking->found[i];
        size_t own = index_of(looking, system->database);
        if (own == DATABASES || looking->results[own] == 0)
            system->result_database = looking->databases[most];
    }
    finish(looking, NULL);
}

/* From Celery 5.3 on results can have the prefix, too. */
static void learn_prefix(struct looking *looking, const char *key, size_t length)
{
    const char *mark = memmem(key, length, RESULT_MARK, strlen(RESULT_MARK));
    size_t before = mark ? (size_t)(mark - key) : 0;
    for (size_t i = 0; i < looking->found_count && before > 0; i++) {
        struct celery_names *names = &looking->found[i]->names;
        if (strlen(names->prefix) == before && memcmp(names->prefix, key, before) == 0 &&
            strcmp(names->results, RESULT_MARK) == 0)
            names->results = there(talloc_asprintf(looking->found[i], "%s%s", names->prefix, RESULT_MARK));
    }
}

static void ask_results(struct looking *looking);

static void on_result_keys(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct looking *looking = data;
    (void)index;
    if (error || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING)
        return;
    const redisReply *keys = reply->element[1];
    looking->results[looking->at] += (int64_t)keys->elements;
    for (size_t i = 0; i < keys->elements; i++)
        if (keys->element[i]->type == REDIS_REPLY_STRING)
            learn_prefix(looking, keys->element[i]->str, keys->element[i]->len);
    talloc_free(looking->cursor);
    looking->cursor = there(talloc_strdup(looking, reply->element[0]->str));
}

static void on_results(void *data, const struct error *error)
{
    struct looking *looking = data;
    if (!goes_on(looking, error))
        return;
    bool again = looking->cursor && strcmp(looking->cursor, "0") != 0 && ++looking->windows < RESULT_WINDOWS;
    if (!again) {
        looking->at++;
        looking->windows = 0;
        talloc_free(looking->cursor);
        looking->cursor = NULL;
    }
    ask_results(looking);
}

/* A few windows of each database: SCAN goes through the keys in no order, so they are a sample. */
static void ask_results(struct looking *looking)
{
    if (looking->at >= looking->database_count || looking->found_count == 0 ||
        (looking->place.settings && looking->place.settings->results)) {
        settle_results(looking);
        return;
    }
    struct redis_command command = REDIS_COMMAND("SCAN", looking->cursor ? looking->cursor : "0", "MATCH",
                                                 "*" RESULT_MARK "*", "COUNT", "200");
    struct redis_handler handler = {.reply = on_result_keys, .done = on_results, .data = looking};
    int database = looking->databases[looking->at];
    if (redis_server_node_count(looking->place.redis) == 0)
        redis_server_ask(looking->place.redis, database, &command, 1, DEADLINE_S, handler);
    else
        redis_server_ask_node(looking->place.redis, 0, database, &command, 1, DEADLINE_S, handler);
}

/* ---- brokers ---- */

static struct celery_system *find(struct looking *looking, int database, const char *prefix)
{
    for (size_t i = 0; i < looking->found_count; i++)
        if (looking->found[i]->database == database && strcmp(looking->found[i]->names.prefix, prefix) == 0)
            return looking->found[i];
    return NULL;
}

static struct celery_system *find_or_add(struct looking *looking, int database, const char *prefix)
{
    struct celery_system *system = find(looking, database, prefix ? prefix : "");
    if (!system && looking->found_count < FOUND_MOST)
        system = looking->found[looking->found_count++] =
            celery_new(looking->search, &looking->place, database, prefix);
    return system;
}

/* The file may say which prefix it is; when it does not and there is one, it is that. */
static const char *settled_prefix(const struct looking *looking, const struct celery_binding *bindings,
                                  size_t count)
{
    const struct environment_jobs *settings = looking->place.settings;
    if (settings && settings->prefix)
        return settings->prefix;
    for (size_t i = 0; settings && i < count; i++)
        if (strcmp(bindings[i].prefix, bindings[0].prefix) != 0)
            return "";
    return settings && count ? bindings[0].prefix : "";
}

static void take(struct looking *looking, int database, const struct celery_binding *bindings, size_t count)
{
    const char *only = looking->place.settings ? settled_prefix(looking, bindings, count) : NULL;
    if (only || looking->seen)
        find_or_add(looking, database, only);
    const char **names = there(talloc_array(looking, const char *, count + 1));
    for (size_t first = 0; first < count;) {
        const char *prefix = bindings[first].prefix;
        size_t end = first, named = 0;
        for (; end < count && strcmp(bindings[end].prefix, prefix) == 0; end++)
            if (bindings[end].queue)
                names[named++] = bindings[end].queue;
        struct celery_system *system =
            only && strcmp(only, prefix) != 0 ? NULL : find_or_add(looking, database, prefix);
        if (system)
            celery_add_queues(system, names, named);
        first = end;
    }
    talloc_free(names);
    const char *usual = "celery";
    struct celery_system *plain = looking->seen ? find(looking, database, "") : NULL;
    if (plain && plain->queue_count == 0)
        celery_add_queues(plain, &usual, 1);
}

static void look_at_database(struct looking *looking);

static void on_bindings(void *data, const struct celery_binding *bindings, size_t count, bool complete,
                        const struct error *error)
{
    struct looking *looking = data;
    (void)complete;
    if (!goes_on(looking, error))
        return;
    take(looking, looking->databases[looking->at], bindings, count);
    looking->at++;
    look_at_database(looking);
}

static void on_sign(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct looking *looking = data;
    struct celery_envelope envelope;
    (void)index;
    if (error)
        return;
    if (reply->type == REDIS_REPLY_INTEGER)
        looking->seen |= reply->integer > 0;
    if (reply->type != REDIS_REPLY_STRING)
        return;
    celery_envelope_scan(&envelope, reply->str, reply->len, NULL);
    looking->seen |= envelope.poison == POISON_NONE;
}

static void on_signs(void *data, const struct error *error)
{
    struct looking *looking = data;
    if (!goes_on(looking, error))
        return;
    const struct environment_jobs *settings = looking->place.settings;
    struct celery_bindings_request request = {
        .loop = queue_search_loop(looking->search),
        .redis = looking->place.redis,
        .database = looking->databases[looking->at],
        .prefix = settings ? settings->prefix : NULL,
        .keys_most = KEYS_MOST,
    };
    celery_bindings_read(&request, on_bindings, looking);
}

/* First what a broker without prefix has and costs nothing to ask, for databases too large to be walked. */
static void look_at_database(struct looking *looking)
{
    if (looking->at >= looking->database_count) {
        looking->at = 0;
        ask_results(looking);
        return;
    }
    struct redis_command commands[] = {
        REDIS_COMMAND("EXISTS", "_kombu.binding.celery.pidbox"),
        REDIS_COMMAND("EXISTS", "_kombu.binding.celery"),
        REDIS_COMMAND("EXISTS", "_kombu.binding.celeryev"),
        REDIS_COMMAND("EXISTS", "_kombu.binding.reply.celery.pidbox"),
        REDIS_COMMAND("EXISTS", "unacked_index"),
        REDIS_COMMAND("LINDEX", "celery", "-1"),
    };
    looking->seen = false;
    redis_server_ask(looking->place.redis, looking->databases[looking->at], commands, 6, DEADLINE_S,
                     (struct redis_handler){.reply = on_sign, .done = on_signs, .data = looking});
}

/* "db0:keys=12,expires=3,avg_ttl=0" */
static void on_keyspace(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct looking *looking = data;
    (void)index;
    if (error) {
        looking->error = *error;
        return;
    }
    if (reply->type != REDIS_REPLY_STRING)
        return;
    for (const char *at = reply->str; (at = strstr(at, "\ndb")) && looking->database_count < DATABASES;) {
        at += strlen("\ndb");
        int database = (int)strtol(at, NULL, 10);
        if (index_of(looking, database) == DATABASES)
            looking->databases[looking->database_count++] = database;
    }
}

static void on_keyspace_end(void *data, const struct error *error)
{
    struct looking *looking = data;
    const struct error *why = error ? error : looking->error.kind ? &looking->error : NULL;
    if (goes_on(looking, looking->place.settings && !error ? NULL : why))
        look_at_database(looking);
}

void celery_search(struct queue_search *search, const struct queue_place *place)
{
    struct looking *looking = there(talloc_zero(NULL, struct looking));
    looking->search = search;
    looking->place = *place;
    if (place->settings) {
        looking->databases[0] = place->database >= 0 ? place->database : redis_server_database(place->redis);
        looking->database_count = 1;
        look_at_database(looking);
        return;
    }
    struct redis_command command = REDIS_COMMAND("INFO", "keyspace");
    redis_server_ask(place->redis, -1, &command, 1, DEADLINE_S,
                     (struct redis_handler){.reply = on_keyspace, .done = on_keyspace_end, .data = looking});
}
