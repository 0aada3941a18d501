/* What tests of a job system on Redis share: a Redis, the board over it, processes that end with the test,
 * and a program of the system's own that is asked by lines. What cannot be done fails the cmocka test.
 *
 *     struct scene *s = scene_new(NULL);
 *     setenv("REDIS_URL", s->url, 1);
 *     s->keeper = keeper_start(s->folder); // it hands the environment on
 *     scene_open(s, "sidekiq");
 *     struct job *jobs = scene_jobs(s, "default", JOB_READY, NULL, &count); ... talloc_free(jobs);
 *     scene_end((void **)&s);
 */
#ifndef TESTS_HARNESS_SCENE_H
#define TESTS_HARNESS_SCENE_H

#include "tests/harness/board.h"
#include "tests/harness/keeper.h"
#include "tests/harness/partner.h"
#include "tests/harness/redis.h"

struct scene {
    struct redis_box *box;
    char *url, *act_url, folder[64], log[100];
    struct board board; /* from scene_open on */
    struct queue_system *system;
    struct partner *partner; /* the test starts it; ended with the scene */
    struct keeper *keeper;   /* the test starts it, in the folder; ended with the scene */
    const char *module; /* which version of the library the partner and workers are of; NULL: the only one */
};

/* config: as of redis_box_start. */
struct scene *scene_new(const char *config);
/* A teardown of cmocka: ends and frees it. */
int scene_end(void **state);
/* The board over its Redis, with the login that acts, once that system is found. */
void scene_open(struct scene *s, const char *system);

/* The partner answers that line with `expected`. */
void scene_say(struct scene *s, const char *expected, const char *line);
/* A process of the test did not start: shows the end of its log and fails. */
void scene_fail_start(const struct scene *s, const char *what);

/* The first 100 jobs of a queue in that state; a talloc array to free. filter: text, or NULL. */
struct job *scene_jobs(struct scene *s, const char *queue, enum job_state state, const char *filter,
                       size_t *count);
/* An act that must be possible; the change is the caller's (talloc_free). */
struct change *scene_prepare(struct scene *s, const struct queue_act_request *request);
/* Prepared, sent and waited for: the outcome of its first step. */
enum step_outcome scene_send(struct scene *s, const struct queue_act_request *request);
/* The same for these jobs. */
enum step_outcome scene_act(struct scene *s, enum queue_act act, const struct job *jobs, size_t count);

#endif
