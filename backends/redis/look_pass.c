/* Going through all keys of all databases of all masters with SCAN. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/info.h"
#include "backends/redis/look_internal.h"

void look_pass_done(void *data, const struct error *error)
{
    struct look_pass *pass = data;
    if (!error && pass->error.kind)
        error = &pass->error;
    if (error)
        pass->failed(pass, error);
    else
        pass->next(pass);
}

/* ---- which databases there are ---- */

static void ask_databases(struct look_pass *pass);

static void databases_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct look_pass *pass = data;
    char name[16], value[128];
    size_t at = 0;
    (void)index;
    if (error) {
        pass->error = *error;
        return;
    }
    while (reply->type == REDIS_REPLY_STRING &&
           info_next(reply->str, reply->len, &at, "db", name, sizeof name, value, sizeof value)) {
        int number = (int)strtol(name + 2, NULL, 10);
        int64_t keys = info_field(value, "keys", 0);
        if (keys <= 0 || number < 0 || number >= LOOK_DATABASES || name[2] < '0' || name[2] > '9')
            continue;
        pass->databases =
            look_must(talloc_realloc(pass, pass->databases, struct look_database, pass->count + 1));
        pass->databases[pass->count++] =
            (struct look_database){.node = pass->node, .number = number, .keys = keys, .cursor = "0"};
    }
}

static void databases_done(void *data, const struct error *error)
{
    struct look_pass *pass = data;
    if (error || pass->error.kind || ++pass->node >= redis_server_node_count(pass->look->server))
        look_pass_done(pass, error);
    else
        ask_databases(pass);
}

static void ask_databases(struct look_pass *pass)
{
    look_ask(pass->look, pass->node, -1, &REDIS_COMMAND("INFO", "keyspace"), 1, databases_reply,
             databases_done, pass);
}

void look_pass_begin(struct look_pass *pass)
{
    ask_databases(pass);
}

/* ---- windows ---- */

struct look_database *look_pass_database(struct look_pass *pass)
{
    while (pass->at < pass->count && pass->databases[pass->at].done)
        pass->at++;
    return pass->at < pass->count ? &pass->databases[pass->at] : NULL;
}

void look_pass_scan(struct look_pass *pass, const char *count, const char *type,
                    void (*reply)(void *data, int index, const struct redisReply *reply,
                                  const struct error *error),
                    void (*done)(void *data, const struct error *error))
{
    const struct look_database *d = look_pass_database(pass);
    const char *const words[] = {"SCAN", d->cursor, "COUNT", count, "TYPE", type};
    look_ask(pass->look, d->node, d->number, &(struct redis_command){.count = type ? 6 : 4, .words = words},
             1, reply, done, pass);
}

const redisReply *look_pass_keys(struct look_pass *pass, const redisReply *reply, const struct error *error)
{
    struct look_database *d = &pass->databases[pass->at];
    if (error) {
        pass->error = *error;
        return NULL;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !reply->element[0]->str ||
        reply->element[1]->type != REDIS_REPLY_ARRAY) {
        error_set(&pass->error, ERROR_SERVER, NULL, NULL, NULL, "SCAN answered something else");
        return NULL;
    }
    snprintf(d->cursor, sizeof d->cursor, "%s", reply->element[0]->str);
    d->done = strcmp(d->cursor, "0") == 0;
    return reply->element[1];
}

void look_pass_wake(struct redis_look *look, enum redis_part part)
{
    struct look_pass *pass = look->runs[part];
    if (!pass || !pass->asleep)
        return;
    pass->asleep = false;
    look_pace(look, part);
}
