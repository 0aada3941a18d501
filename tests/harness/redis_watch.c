#include "tests/harness/redis_watch.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"

static void count_change(void *data)
{
    struct redis_watch *w = data;
    w->changes++;
}

void redis_watch_start(struct redis_watch *w, const char *url, const char *act, const char *master,
                       const char *via)
{
    if (!w->loop)
        w->loop = loop_new();
    w->definition =
        (struct environment_redis){.name = "broker", .url = url, .act = act, .master = master, .via = via};
    w->environment = (struct environment){.name = "test",
                                          .title = "test",
                                          .kind = ENVIRONMENT_STAGING,
                                          .redis = &w->definition,
                                          .redis_count = 1};
    w->server = redis_server_new(w->loop, &w->environment, &w->definition, w->pool, count_change, w);
}

void redis_watch_end(struct redis_watch *w)
{
    redis_server_free(w->server);
    ssh_pool_free(w->pool);
    loop_free(w->loop);
    memset(w, 0, sizeof *w);
}

bool redis_watch_is_up(void *watch)
{
    struct redis_watch *w = watch;
    return redis_server_state(w->server) == CONNECTION_UP && redis_server_version(w->server);
}

bool redis_watch_is_down(void *watch)
{
    struct redis_watch *w = watch;
    return redis_server_state(w->server) == CONNECTION_DOWN && redis_server_error(w->server)->kind;
}

struct question {
    char *text;
    bool done;
};

static void print_reply(FILE *output, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        fprintf(output, "%lld", reply->integer);
    else if (reply->type == REDIS_REPLY_NIL)
        fputs("(nil)", output);
    else if (reply->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < reply->elements; i++) {
            if (i)
                fputc('\n', output);
            print_reply(output, reply->element[i]);
        }
    else if (reply->str)
        fwrite(reply->str, 1, reply->len, output);
}

static void print_failure(FILE *output, const struct error *error)
{
    fprintf(output, "! %s: %s", error_kind_name(error->kind), error->why);
}

static void take_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct question *question = data;
    size_t size;
    (void)index;
    free(question->text);
    FILE *output = open_memstream(&question->text, &size);
    if (error)
        print_failure(output, error);
    else if (reply)
        print_reply(output, reply);
    fclose(output);
}

static void take_done(void *data, const struct error *error)
{
    struct question *question = data;
    question->done = true;
    if (error)
        take_reply(data, 0, NULL, error);
}

static bool is_done(void *data)
{
    return ((struct question *)data)->done;
}

char *redis_watch_ask_words(struct redis_watch *w, bool act, const char *const words[])
{
    struct question question = {0};
    struct redis_command command = {.words = words};
    struct redis_handler handler = {take_reply, take_done, &question};
    while (words[command.count])
        command.count++;
    if (act)
        redis_server_act(w->server, -1, &command, 1, 8, handler);
    else
        redis_server_ask(w->server, -1, &command, 1, 8, handler);
    if (!loop_until(w->loop, 10, is_done, &question))
        fail_msg("%s: no answer, not even an error", words[0]);
    return question.text ? question.text : strdup("");
}

void redis_watch_expect_words(struct redis_watch *w, const char *file, int line, const char *expected,
                              const char *const words[])
{
    char *text = redis_watch_ask_words(w, false, words);
    bool equal = strncmp(expected, "! ", 2) == 0 ? strncmp(text, expected, strlen(expected)) == 0
                                                 : strcmp(text, expected) == 0;
    if (!equal) {
        print_error("%s: \"%s\" instead of \"%s\"\n", words[0], text, expected);
        _fail(file, line);
    }
    free(text);
}
