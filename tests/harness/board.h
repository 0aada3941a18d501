/* The board of job systems on one Postgres or Redis server, for a test: parts are asked and waited for, jobs
 * read, acts prepared and sent. What cannot be done fails the cmocka test. */
#ifndef TESTS_HARNESS_BOARD_H
#define TESTS_HARNESS_BOARD_H

#include "backends/queues/queues.h"
#include "tests/harness/cluster.h"

struct board {
    struct loop *loop;
    struct environment environment;
    struct environment_server definition;
    struct pg_server *server;
    struct environment_redis redis_definition;
    struct redis_server *redis;
    struct queues *queues;
    struct audit *audit;
    struct access *access;
    char folder[64];
    /* of the last change that was sent */
    enum step_outcome outcome;
    char report[600];
};

/* Texts are borrowed. `databases`: further ones, NULL at the end; NULL: none. */
void board_start(struct board *b, const char *watch, const char *read, const char *act,
                 const char *const databases[]);
/* On Redis ("broker"); `act`: URL of the login that may write, or NULL. jobs: settings of systems; NULL:
 * none. */
void board_start_redis(struct board *b, const char *url, const char *act, const struct environment_jobs *jobs,
                       size_t jobs_count);
void board_end(struct board *b);
/* Waits until the system is found by name or id. */
struct queue_system *board_system(struct board *b, const char *name);
/* A fresh snapshot of the part; fails when it is not there within 15 s. Borrowed until the loop runs. */
const void *board_part(struct board *b, struct queue_system *system, enum queue_part part);
/* The same when it must fail: its error, borrowed. */
const struct error *board_part_error(struct board *b, struct queue_system *system, enum queue_part part);
const struct queue *board_queue(struct board *b, struct queue_system *system, const char *queue);
/* Reads jobs; a talloc array to free, *progress may be NULL. filter: text, or NULL. */
struct job *board_read(struct board *b, struct queue_system *system, struct queue_read_request request,
                       const char *filter, size_t *count, struct queue_read_progress *progress);
/* All about a job, as lines "section/label: text"; talloc string to free; NULL: gone. */
char *board_job(struct board *b, struct queue_system *system, const struct job *job);
/* Prepares an act; NULL when it failed with that kind of error. The change is the caller's (talloc_free). */
struct change *board_prepare(struct board *b, struct queue_system *system,
                             const struct queue_act_request *request, struct error *error);
/* Sends it and waits: the outcome of the first step. The report is kept in b. */
enum step_outcome board_send(struct board *b, struct change *change);

#endif
