/*
 * Many commands to a Redis in few round trips, with their replies kept as plain values, so that adapters read
 * an array of answers and no redisReply leaves one file. A batch is a talloc chunk: freeing it withdraws it.
 */
#ifndef BACKENDS_QUEUES_REDIS_BATCH_H
#define BACKENDS_QUEUES_REDIS_BATCH_H

#include "backends/redis/server.h"

struct redis_answer {
    enum { ANSWER_NIL, ANSWER_INTEGER, ANSWER_TEXT, ANSWER_ARRAY, ANSWER_ERROR } kind;
    const char *text; /* of a text (binary, and a NUL behind it) or an error */
    size_t length;
    int64_t integer;
    const struct redis_answer *items;
    size_t count;
};

struct redis_batch;

struct redis_batch *redis_batch_new(const void *context);
/* A further command of C strings, ended by NULL; returns its index. */
size_t redis_batch_add(struct redis_batch *batch, ...) __attribute__((sentinel));
/* One more word for the last command: binary, copied. */
void redis_batch_word(struct redis_batch *batch, const char *bytes, size_t length);
/* The same for a text that outlives the batch: not copied (scripts). */
void redis_batch_static(struct redis_batch *batch, const char *text);
void redis_batch_format(struct redis_batch *batch, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
size_t redis_batch_count(const struct redis_batch *batch);
/* The words of a command; borrowed. */
const struct redis_command *redis_batch_command(const struct redis_batch *batch, size_t index);
/* The same command at the end of another batch. */
void redis_batch_copy(struct redis_batch *to, const struct redis_batch *from, size_t index);

/* Sends all of it on the watching connection, 200 commands in a round trip, in order. `done` once, in a later
 * turn, error only when it could not be sent or the line broke; an error reply is an answer. The batch may be
 * freed there. */
void redis_batch_ask(struct redis_batch *batch, struct redis_server *server, int database,
                     void (*done)(void *data, struct redis_batch *batch, const struct error *error),
                     void *data);
/* On the login that acts. */
void redis_batch_act(struct redis_batch *batch, struct redis_server *server, int database,
                     void (*done)(void *data, struct redis_batch *batch, const struct error *error),
                     void *data);

/* Of the command with that index; never NULL (an empty answer when there was none). Lives as long as the
 * batch. */
const struct redis_answer *redis_batch_answer(const struct redis_batch *batch, size_t index);
/* The first error reply among them that is not about one key alone (WRONGTYPE, no such key or group), or
 * NULL. */
const struct error *redis_batch_refusal(const struct redis_batch *batch);

/* NULL unless it is a text. */
const char *redis_answer_text(const struct redis_answer *answer);
/* A number, as an integer or as text; `otherwise` when it is neither. */
int64_t redis_answer_integer(const struct redis_answer *answer, int64_t otherwise);
double redis_answer_real(const struct redis_answer *answer, double otherwise);
/* Element of an array; an empty answer beyond its end. */
const struct redis_answer *redis_answer_item(const struct redis_answer *answer, size_t index);
/* The value behind a name in an array of pairs (HGETALL, XINFO); an empty answer when there is none. */
const struct redis_answer *redis_answer_field(const struct redis_answer *answer, const char *name);

#endif
