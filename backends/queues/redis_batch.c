/* Commands collected, sent in pieces, and their replies copied into plain values. */
#include "backends/queues/redis_batch.h"

#include <hiredis/hiredis.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

enum { PIECE = 200 };
#define DEADLINE_S 8.0

struct sending;

struct redis_batch {
    struct redis_command *commands;
    struct redis_answer *answers;
    size_t count, room, sent;
    struct redis_server *server;
    int database;
    bool acting, refused;
    struct error refusal;
    void (*done)(void *data, struct redis_batch *batch, const struct error *error);
    void *data;
    struct sending *sending;
};

/* What comes back to: it outlives a batch that was withdrawn. */
struct sending {
    struct redis_batch *batch; /* NULL: withdrawn */
    size_t first;
};

static const struct redis_answer no_answer = {.kind = ANSWER_NIL};

static int batch_destroy(struct redis_batch *batch)
{
    if (batch->sending)
        batch->sending->batch = NULL;
    return 0;
}

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

struct redis_batch *redis_batch_new(const void *context)
{
    struct redis_batch *batch = or_die(talloc_zero(context, struct redis_batch));
    talloc_set_destructor(batch, batch_destroy);
    return batch;
}

static void begin_command(struct redis_batch *batch)
{
    if (batch->count == batch->room) {
        batch->room = batch->room ? batch->room * 2 : 16;
        batch->commands = or_die(talloc_realloc(batch, batch->commands, struct redis_command, batch->room));
    }
    batch->commands[batch->count++] = (struct redis_command){0};
}

static void add_word(struct redis_batch *batch, const char *bytes, size_t length)
{
    struct redis_command *command = &batch->commands[batch->count - 1];
    size_t at = (size_t)command->count++;
    const char **words = (const char **)command->words;
    size_t *lengths = (size_t *)command->lengths;
    if ((at & (at + 1)) == 0 || at == 0) { /* room for 1, 3, 7 ... words */
        words = or_die(talloc_realloc(batch, words, const char *, 2 * at + 1));
        lengths = or_die(talloc_realloc(batch, lengths, size_t, 2 * at + 1));
        command->words = words;
        command->lengths = lengths;
    }
    words[at] = bytes;
    lengths[at] = length;
}

void redis_batch_word(struct redis_batch *batch, const char *bytes, size_t length)
{
    char *copy = or_die(talloc_size(batch, length + 1));
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    add_word(batch, copy, length);
}

void redis_batch_static(struct redis_batch *batch, const char *text)
{
    add_word(batch, text, strlen(text));
}

void redis_batch_format(struct redis_batch *batch, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = or_die(talloc_vasprintf(batch, format, arguments));
    va_end(arguments);
    redis_batch_word(batch, text, strlen(text));
    talloc_free(text);
}

size_t redis_batch_add(struct redis_batch *batch, ...)
{
    va_list words;
    begin_command(batch);
    va_start(words, batch);
    for (const char *word = va_arg(words, const char *); word; word = va_arg(words, const char *))
        redis_batch_word(batch, word, strlen(word));
    va_end(words);
    return batch->count - 1;
}

size_t redis_batch_count(const struct redis_batch *batch)
{
    return batch->count;
}

const struct redis_command *redis_batch_command(const struct redis_batch *batch, size_t index)
{
    return &batch->commands[index];
}

void redis_batch_copy(struct redis_batch *to, const struct redis_batch *from, size_t index)
{
    const struct redis_command *command = &from->commands[index];
    begin_command(to);
    for (int i = 0; i < command->count; i++)
        redis_batch_word(to, command->words[i], command->lengths[i]);
}

/* ---- answers ---- */

static void copy_answer(const void *context, struct redis_answer *answer, const redisReply *reply)
{
    *answer = no_answer;
    if (!reply)
        return;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        answer->kind = ANSWER_INTEGER;
        answer->integer = reply->integer;
        break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR: {
        char *text = or_die(talloc_size(context, reply->len + 1));
        memcpy(text, reply->str, reply->len);
        text[reply->len] = '\0';
        answer->kind = reply->type == REDIS_REPLY_ERROR ? ANSWER_ERROR : ANSWER_TEXT;
        answer->text = text;
        answer->length = reply->len;
        break;
    }
    case REDIS_REPLY_ARRAY: {
        struct redis_answer *items =
            or_die(talloc_zero_array(context, struct redis_answer, reply->elements ? reply->elements : 1));
        for (size_t i = 0; i < reply->elements; i++)
            copy_answer(items, &items[i], reply->element[i]);
        answer->kind = ANSWER_ARRAY;
        answer->items = items;
        answer->count = reply->elements;
        break;
    }
    default:
        break;
    }
}

/* Something else lies under one key, or it has gone: all else may still be known. */
static bool is_of_one_key(const struct error *error)
{
    return error->kind == ERROR_GONE || error->kind == ERROR_MISSING ||
           strncmp(error->why, "WRONGTYPE", 9) == 0;
}

static void on_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct sending *sending = data;
    struct redis_batch *batch = sending->batch;
    size_t at = sending->first + (size_t)(index < 0 ? -1 - index : index);
    if (!batch || at >= batch->count)
        return;
    if (reply)
        copy_answer(batch->answers, &batch->answers[at], reply);
    else if (error) {
        if (!batch->refused && !is_of_one_key(error)) {
            batch->refusal = *error;
            batch->refused = true;
        }
        batch->answers[at] = (struct redis_answer){.kind = ANSWER_ERROR,
                                                   .text = or_die(talloc_strdup(batch->answers, error->why)),
                                                   .length = strlen(error->why)};
    }
}

static void send_piece(struct redis_batch *batch);

static void on_done(void *data, const struct error *error)
{
    struct sending *sending = data;
    struct redis_batch *batch = sending->batch;
    free(sending);
    if (!batch)
        return;
    batch->sending = NULL;
    if (!error && batch->sent < batch->count)
        send_piece(batch);
    else
        batch->done(batch->data, batch, error);
}

static void send_piece(struct redis_batch *batch)
{
    size_t left = batch->count - batch->sent;
    int count = left > PIECE ? PIECE : (int)left;
    struct sending *sending = or_die(calloc(1, sizeof *sending));
    sending->batch = batch;
    sending->first = batch->sent;
    batch->sending = sending;
    batch->sent += (size_t)count;
    struct redis_handler handler = {.reply = on_reply, .done = on_done, .data = sending};
    (batch->acting ? redis_server_act : redis_server_ask)(
        batch->server, batch->database, batch->commands + sending->first, count, DEADLINE_S, handler);
}

static void start(struct redis_batch *batch, struct redis_server *server, int database, bool acting,
                  void (*done)(void *data, struct redis_batch *batch, const struct error *error), void *data)
{
    if (!batch->count)
        redis_batch_add(batch, "PING", NULL);
    batch->answers = or_die(talloc_zero_array(batch, struct redis_answer, batch->count));
    batch->server = server;
    batch->database = database;
    batch->acting = acting;
    batch->done = done;
    batch->data = data;
    send_piece(batch);
}

void redis_batch_ask(struct redis_batch *batch, struct redis_server *server, int database,
                     void (*done)(void *data, struct redis_batch *batch, const struct error *error),
                     void *data)
{
    start(batch, server, database, false, done, data);
}

void redis_batch_act(struct redis_batch *batch, struct redis_server *server, int database,
                     void (*done)(void *data, struct redis_batch *batch, const struct error *error),
                     void *data)
{
    start(batch, server, database, true, done, data);
}

const struct redis_answer *redis_batch_answer(const struct redis_batch *batch, size_t index)
{
    return batch->answers && index < batch->count ? &batch->answers[index] : &no_answer;
}

const struct error *redis_batch_refusal(const struct redis_batch *batch)
{
    return batch && batch->refused ? &batch->refusal : NULL;
}

const char *redis_answer_text(const struct redis_answer *answer)
{
    return answer->kind == ANSWER_TEXT ? answer->text : NULL;
}

int64_t redis_answer_integer(const struct redis_answer *answer, int64_t otherwise)
{
    if (answer->kind == ANSWER_INTEGER)
        return answer->integer;
    char *end;
    long long number = answer->kind == ANSWER_TEXT ? strtoll(answer->text, &end, 10) : 0;
    return answer->kind == ANSWER_TEXT && end != answer->text ? number : otherwise;
}

double redis_answer_real(const struct redis_answer *answer, double otherwise)
{
    if (answer->kind == ANSWER_INTEGER)
        return (double)answer->integer;
    char *end;
    double number = answer->kind == ANSWER_TEXT ? strtod(answer->text, &end) : 0;
    return answer->kind == ANSWER_TEXT && end != answer->text && isfinite(number) ? number : otherwise;
}

const struct redis_answer *redis_answer_item(const struct redis_answer *answer, size_t index)
{
    return answer->kind == ANSWER_ARRAY && index < answer->count ? &answer->items[index] : &no_answer;
}

const struct redis_answer *redis_answer_field(const struct redis_answer *answer, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i + 1 < answer->count; i += 2) {
        const struct redis_answer *key = &answer->items[i];
        if (key->kind == ANSWER_TEXT && key->length == length && memcmp(key->text, name, length) == 0)
            return &answer->items[i + 1];
    }
    return &no_answer;
}
