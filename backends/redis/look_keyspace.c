/*
 * What fills it: a pass over all keys with SCAN, window by window, at the server's pace. Of each window some
 * keys are weighed. SCAN goes through the keys in the order of their hashes: what was seen so far is a sample
 * of all.
 */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/look_internal.h"
#include "core/clock.h"

#define WINDOW "200" /* COUNT of SCAN */
#define TELL_S 1.0

enum {
    WEIGHED = 400,       /* keys of a window that are looked at: SCAN may give more than it was asked for */
    BIG_BYTES = 16 << 10 /* from here on a key's length is asked for */
};

struct weighed {
    char *key;
    size_t length;
    const char *type;
    int64_t bytes;
    double expires_s;
};

struct keyspace_run {
    struct look_pass pass;
    struct key_groups *groups;
    struct weighed *window;
    size_t window_count;
    int per_key;    /* commands for each key of the window */
    size_t *asked;  /* keys of the window whose length was asked for */
    int64_t length; /* of the one that is being answered */
    struct redis_big_key big[LOOK_BIG_KEYS];
    size_t big_count;
    bool bytes_unknown, first_pass;
    double began_at, told_at;
};

static int run_free(struct keyspace_run *run)
{
    run->pass.look->runs[REDIS_KEYSPACE] = NULL;
    return 0;
}

/* ---- what is told ---- */

static int by_size(const void *a, const void *b)
{
    const struct redis_big_key *x = a, *y = b;
    return x->bytes == y->bytes ? 0 : x->bytes > y->bytes ? -1 : 1;
}

static void copy_big(const struct keyspace_run *run, struct redis_keyspace *keyspace)
{
    keyspace->big = look_must(talloc_array(keyspace, struct redis_big_key, run->big_count + 1));
    keyspace->big_count = run->big_count;
    for (size_t i = 0; i < run->big_count; i++) {
        const struct redis_big_key *from = &run->big[i];
        struct redis_big_key *to = &keyspace->big[i];
        *to = *from;
        to->key = look_must(talloc_strndup(keyspace, from->key, from->key_length));
        to->encoding = from->encoding ? look_must(talloc_strdup(keyspace, from->encoding)) : NULL;
        to->node = from->node ? look_must(talloc_strdup(keyspace, from->node)) : NULL;
    }
    qsort(keyspace->big, keyspace->big_count, sizeof *keyspace->big, by_size);
}

static struct redis_keyspace *make_snapshot(const struct keyspace_run *run, bool complete)
{
    struct redis_keyspace *keyspace = SNAPSHOT_NEW(struct redis_keyspace);
    double factors[LOOK_DATABASES], keys[LOOK_DATABASES] = {0}, weighed[LOOK_DATABASES] = {0};
    for (size_t i = 0; i < run->pass.count; i++) {
        const struct look_database *d = &run->pass.databases[i];
        int64_t all = d->done || d->scanned > d->keys ? d->scanned : d->keys;
        keyspace->scanned += d->scanned;
        keyspace->total += all;
        keys[d->number] += (double)all;
        weighed[d->number] += (double)d->weighed;
    }
    for (int i = 0; i < LOOK_DATABASES; i++)
        factors[i] = weighed[i] > 0 ? keys[i] / weighed[i] : 1;
    keyspace->complete = complete;
    keyspace->bytes_unknown = run->bytes_unknown;
    keyspace->pass_began_at = run->began_at;
    key_groups_read(run->groups, keyspace, factors, LOOK_DATABASES);
    copy_big(run, keyspace);
    return keyspace;
}

static void end_pass(struct keyspace_run *run)
{
    struct redis_look *look = run->pass.look;
    struct redis_keyspace *keyspace = make_snapshot(run, true);
    talloc_free(run);
    look_answered(look, REDIS_KEYSPACE, keyspace);
}

static void pass_failed(struct look_pass *pass, const struct error *error)
{
    struct redis_look *look = pass->look;
    struct error told = *error;
    talloc_free(pass);
    look_failed(look, REDIS_KEYSPACE, &told, "cannot look through the keys");
}

/* Later passes are told when they are complete: until then the one before says more. */
static void tell_progress(struct keyspace_run *run)
{
    double now = clock_monotonic();
    if (!run->first_pass || now - run->told_at < TELL_S)
        return;
    run->told_at = now;
    look_progress(run->pass.look, REDIS_KEYSPACE, make_snapshot(run, false));
}

/* ---- the largest keys ---- */

static void note_big(struct keyspace_run *run, const struct weighed *w, int64_t length, const char *encoding)
{
    struct redis_big_key *place = &run->big[run->big_count];
    if (run->big_count == LOOK_BIG_KEYS) {
        place = &run->big[0];
        for (size_t i = 1; i < LOOK_BIG_KEYS; i++)
            if (run->big[i].bytes < place->bytes)
                place = &run->big[i];
        if (place->bytes >= w->bytes)
            return;
        talloc_free((void *)place->key);
        talloc_free((void *)place->encoding);
    } else {
        run->big_count++;
    }
    const struct look_database *d = &run->pass.databases[run->pass.at];
    *place = (struct redis_big_key){.key = look_must(talloc_memdup(run, w->key, w->length + 1)),
                                    .key_length = w->length,
                                    .node = look_node(run->pass.look, d->node),
                                    .type = w->type,
                                    .encoding = encoding ? look_must(talloc_strdup(run, encoding)) : NULL,
                                    .database = d->number,
                                    .bytes = w->bytes,
                                    .length = length,
                                    .expires_s = w->expires_s};
}

/* Types, each once, and what asks how long one is. */
static const char *const types[][2] = {{"string", "STRLEN"}, {"list", "LLEN"}, {"set", "SCARD"},
                                       {"zset", "ZCARD"},    {"hash", "HLEN"}, {"stream", "XLEN"},
                                       {"none", NULL},       {"other", NULL}};

static size_t find_type(const char *name)
{
    size_t i = 0;
    while (i + 1 < sizeof types / sizeof *types && strcmp(types[i][0], name) != 0)
        i++;
    return i;
}

static void length_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct keyspace_run *run = data;
    const struct weighed *w = &run->window[run->asked[index / 2]];
    if (index % 2 == 0)
        run->length = error || reply->type != REDIS_REPLY_INTEGER ? -1 : reply->integer;
    else
        note_big(run, w, run->length, error || reply->type != REDIS_REPLY_STRING ? NULL : reply->str);
}

/* The lengths and encodings of the window's large keys. */
static bool ask_lengths(struct keyspace_run *run)
{
    struct redis_command *commands =
        look_must(talloc_array(run->window, struct redis_command, 2 * run->window_count));
    int count = 0;
    run->asked = look_must(talloc_array(run->window, size_t, run->window_count));
    size_t asked = 0;
    for (size_t i = 0; i < run->window_count; i++) {
        struct weighed *w = &run->window[i];
        const char *command = w->bytes >= BIG_BYTES ? types[find_type(w->type)][1] : NULL;
        if (!command)
            continue;
        const char **words = look_must(talloc_array(commands, const char *, 5));
        size_t *lengths = look_must(talloc_array(commands, size_t, 5));
        words[0] = command;
        lengths[0] = strlen(command);
        words[1] = words[4] = w->key;
        lengths[1] = lengths[4] = w->length;
        words[2] = "OBJECT";
        words[3] = "ENCODING";
        lengths[2] = 6;
        lengths[3] = 8;
        commands[count++] = (struct redis_command){2, words, lengths};
        commands[count++] = (struct redis_command){3, words + 2, lengths + 2};
        run->asked[asked++] = i;
    }
    if (count) {
        const struct look_database *d = &run->pass.databases[run->pass.at];
        look_ask(run->pass.look, d->node, d->number, commands, count, length_reply, look_pass_done, run);
    }
    return count > 0;
}

/* ---- weighing ---- */

/* TYPE, PTTL, MEMORY USAGE of each key. */
static void weigh_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct keyspace_run *run = data;
    struct weighed *w = &run->window[index / run->per_key];
    switch (index % run->per_key) {
    case 0:
        w->type = types[find_type(!error && reply->type == REDIS_REPLY_STATUS ? reply->str : "other")][0];
        break;
    case 1:
        if (!error && reply->type == REDIS_REPLY_INTEGER && reply->integer >= -1)
            w->expires_s = reply->integer == -1 ? INFINITY : (double)reply->integer / 1000;
        break;
    default:
        if (error && (error->kind == ERROR_DENIED || error->kind == ERROR_UNSUPPORTED))
            run->bytes_unknown = true;
        else if (!error && reply->type == REDIS_REPLY_INTEGER)
            w->bytes = reply->integer;
    }
}

static void weigh_done(void *data, const struct error *error)
{
    struct keyspace_run *run = data;
    struct look_database *d = &run->pass.databases[run->pass.at];
    if (error) {
        pass_failed(&run->pass, error);
        return;
    }
    for (size_t i = 0; i < run->window_count; i++) {
        const struct weighed *w = &run->window[i];
        if (strcmp(w->type, "none") == 0) /* gone meanwhile */
            continue;
        key_groups_add(run->groups, d->number,
                       &(struct key_seen){w->key, w->length, w->type, w->bytes, w->expires_s});
        d->weighed++;
    }
    if (!ask_lengths(run))
        look_pass_done(run, NULL);
}

static void weigh_window(struct keyspace_run *run)
{
    struct redis_command *commands =
        look_must(talloc_array(run->window, struct redis_command, 3 * run->window_count));
    const struct look_database *d = &run->pass.databases[run->pass.at];
    int count = 0;
    run->per_key = run->bytes_unknown ? 2 : 3;
    for (size_t i = 0; i < run->window_count; i++) {
        struct weighed *w = &run->window[i];
        const char **words = look_must(talloc_array(commands, const char *, 9));
        size_t *lengths = look_must(talloc_array(commands, size_t, 9));
        const char *const texts[9] = {"TYPE",  w->key, "PTTL",    w->key, "MEMORY",
                                      "USAGE", w->key, "SAMPLES", "5"};
        for (int j = 0; j < 9; j++) {
            words[j] = texts[j];
            lengths[j] = texts[j] == w->key ? w->length : strlen(texts[j]);
        }
        commands[count++] = (struct redis_command){2, words, lengths};
        commands[count++] = (struct redis_command){2, words + 2, lengths + 2};
        if (run->per_key == 3)
            commands[count++] = (struct redis_command){5, words + 4, lengths + 4};
    }
    look_ask(run->pass.look, d->node, d->number, commands, count, weigh_reply, weigh_done, run);
}

/* ---- windows ---- */

static void scan_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct keyspace_run *run = data;
    const redisReply *keys = look_pass_keys(&run->pass, reply, error);
    (void)index;
    if (!keys)
        return;
    run->pass.databases[run->pass.at].scanned += (int64_t)keys->elements;
    run->window = look_must(talloc_zero_array(run, struct weighed, keys->elements + 1));
    for (size_t i = 0; i < keys->elements && run->window_count < WEIGHED; i++) {
        const redisReply *key = keys->element[i];
        if (key->type == REDIS_REPLY_STRING)
            run->window[run->window_count++] =
                (struct weighed){.key = look_must(talloc_memdup(run->window, key->str, key->len + 1)),
                                 .length = key->len,
                                 .type = types[find_type("other")][0],
                                 .bytes = -1,
                                 .expires_s = NAN};
    }
}

static void scan_done(void *data, const struct error *error)
{
    struct keyspace_run *run = data;
    if (error || run->pass.error.kind || !run->window_count)
        look_pass_done(run, error);
    else
        weigh_window(run);
}

static void next_window(struct look_pass *pass)
{
    struct keyspace_run *run = (struct keyspace_run *)pass;
    TALLOC_FREE(run->window);
    run->window_count = 0;
    if (!look_pass_database(pass)) {
        end_pass(run);
        return;
    }
    tell_progress(run);
    look_pace(pass->look, REDIS_KEYSPACE);
}

void look_keyspace_step(struct redis_look *look)
{
    struct look_pass *pass = look->runs[REDIS_KEYSPACE];
    pass->asleep = look->feeds[REDIS_KEYSPACE].wanted <= 0;
    if (!pass->asleep)
        look_pass_scan(pass, WINDOW, NULL, scan_reply, scan_done);
}

void look_keyspace(struct redis_look *look)
{
    struct keyspace_run *run = look_must(talloc_zero(look, struct keyspace_run));
    run->pass = (struct look_pass){.look = look, .next = next_window, .failed = pass_failed};
    run->groups = key_groups_new(run);
    run->began_at = clock_monotonic();
    run->first_pass = !look->snapshots[REDIS_KEYSPACE];
    look->runs[REDIS_KEYSPACE] = run;
    talloc_set_destructor(run, run_free);
    look_pass_begin(&run->pass);
}
