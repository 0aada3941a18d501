/* Writes the jobs of the bench in pipelines, and reads them back. */
#include "tests/bench/bulk.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { BULK_WORDS = 200, BULK_PIPELINE = 20, BULK_WINDOW = 1000, BULK_SIZE = 2048 };

static void bulk_fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    abort();
}

static redisContext *bulk_connect(const struct redis_box *redis)
{
    redisContext *context = redisConnectUnix(redis_box_socket(redis));
    if (!context || context->err)
        bulk_fail("Redis does not answer");
    return context;
}

/* The same in all jobs: a body is opaque to whoever counts tenants. */
static const char body[] =
    "W1siMjAyNi0yMDI3IiwgMzE0MTU5XSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWlu"
    "IjogbnVsbCwgImNob3JkIjogbnVsbH1d";

static int bulk_message(char *message, size_t size, int64_t i)
{
    static const char *const tasks[] = {"reports.tasks.report_card", "reports.tasks.export_csv",
                                        "mail.tasks.send_mail", "grades.tasks.grade_class"};
    char tenant[32], id[40];
    if (i % BULK_SHARE == 0)
        snprintf(tenant, sizeof tenant, BULK_TENANT);
    else
        snprintf(tenant, sizeof tenant, "school_%03d", (int)((uint64_t)i * 2654435761u / 7 % 119));
    snprintf(id, sizeof id, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64, (uint64_t)i, (uint64_t)i * 7919);
    const char *task = i % BULK_TASK_SHARE == 37 ? BULK_TASK : tasks[i / 3 % 4];
    return snprintf(
        message, size,
        "{\"body\": \"%s\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", "
        "\"headers\": {\"lang\": \"py\", \"task\": \"%s\", \"id\": \"%s\", \"shadow\": null, \"eta\": null, "
        "\"expires\": null, \"group\": null, \"group_index\": null, \"retries\": %d, \"timelimit\": [null, "
        "null], "
        "\"root_id\": \"%s\", \"parent_id\": null, \"argsrepr\": \"('2026-2027', 314159)\", \"kwargsrepr\": "
        "\"{'send_to': 'parents@mail.example', 'lang': 'ar'}\", \"origin\": \"gen4711@web1\", "
        "\"ignore_result\": false, \"_schema_name\": \"%s\"}, "
        "\"properties\": {\"correlation_id\": \"%s\", \"reply_to\": "
        "\"0b2d8e0c-6f4e-3f0c-9c1b-3a4b5c6d7e8f\", "
        "\"delivery_mode\": 2, \"delivery_info\": {\"exchange\": \"\", \"routing_key\": \"" BULK_QUEUE "\"}, "
        "\"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"d%s\"}}",
        body, task, id, i % 20 == 11 ? 2 : 0, id, tenant, id, id + 1);
}

static void bulk_await(redisContext *context, int *waiting, int left)
{
    void *reply;
    for (; *waiting > left; --*waiting) {
        if (redisGetReply(context, &reply) != REDIS_OK || ((redisReply *)reply)->type == REDIS_REPLY_ERROR)
            bulk_fail("a job cannot be pushed");
        freeReplyObject(reply);
    }
}

void bulk_fill(struct redis_box *redis, int64_t count)
{
    redisContext *context = bulk_connect(redis);
    const char *words[BULK_WORDS + 2] = {"LPUSH", BULK_QUEUE};
    size_t lengths[BULK_WORDS + 2] = {strlen("LPUSH"), strlen(BULK_QUEUE)};
    char *messages = malloc((size_t)BULK_WORDS * BULK_SIZE);
    int waiting = 0;
    if (!messages)
        abort();
    for (int64_t i = 0; i < count;) {
        int number = 0;
        for (; number < BULK_WORDS && i < count; number++, i++) {
            char *at = messages + (size_t)number * BULK_SIZE;
            words[number + 2] = at;
            lengths[number + 2] = (size_t)bulk_message(at, BULK_SIZE, i);
        }
        if (redisAppendCommandArgv(context, number + 2, words, lengths) != REDIS_OK)
            bulk_fail("a job cannot be pushed");
        waiting++;
        bulk_await(context, &waiting, BULK_PIPELINE);
    }
    bulk_await(context, &waiting, 0);
    free(messages);
    redisFree(context);
    redis_box_do(redis, "SADD", "_kombu.binding." BULK_QUEUE, BULK_QUEUE "\x06\x16\x06\x16" BULK_QUEUE);
}

static void bulk_count(struct bulk_state *state, const redisReply *message, int64_t last[2])
{
    const char *id = memmem(message->str, message->len, "\"id\": \"", 7);
    const char *expires = memmem(message->str, message->len, "\"expires\": ", 11);
    if (!id || !expires)
        bulk_fail("a job is not what was pushed");
    int64_t i = strtoll(id + 7, NULL, 16);
    bool own = i % BULK_SHARE == 0;
    state->count++;
    state->of_tenant += own;
    state->expired += strncmp(expires + 11, "null", 4) != 0;
    state->disorder += i < last[own];
    last[own] = i;
}

struct bulk_state bulk_look(const struct redis_box *redis)
{
    redisContext *context = bulk_connect(redis);
    struct bulk_state state = {0};
    int64_t last[2] = {-1, -1};
    for (int64_t at = -1;; at -= BULK_WINDOW) {
        redisReply *reply = redisCommand(context, "LRANGE " BULK_QUEUE " %lld %lld",
                                         (long long)at - BULK_WINDOW + 1, (long long)at);
        if (!reply || reply->type != REDIS_REPLY_ARRAY)
            bulk_fail("the queue cannot be read");
        size_t count = reply->elements;
        for (size_t i = count; i > 0; i--)
            bulk_count(&state, reply->element[i - 1], last);
        freeReplyObject(reply);
        if (count < BULK_WINDOW)
            break;
    }
    redisFree(context);
    return state;
}

int64_t bulk_slow(struct redis_box *redis, double *slowest_ms)
{
    redisContext *context = bulk_connect(redis);
    redisReply *reply = redisCommand(context, "SLOWLOG GET 1000");
    if (!reply || reply->type != REDIS_REPLY_ARRAY)
        bulk_fail("the slow log cannot be read");
    int64_t count = (int64_t)reply->elements;
    *slowest_ms = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        double ms = (double)reply->element[i]->element[2]->integer / 1000;
        if (ms > *slowest_ms)
            *slowest_ms = ms;
    }
    freeReplyObject(reply);
    freeReplyObject(redisCommand(context, "CONFIG SET slowlog-log-slower-than 5000 slowlog-max-len 1000"));
    freeReplyObject(redisCommand(context, "SLOWLOG RESET"));
    redisFree(context);
    return count;
}
