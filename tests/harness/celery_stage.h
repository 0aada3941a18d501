/* What tests of Celery with real workers share: a Redis, a site of workers on it, and the board that watches
 * it. A test's own struct begins with it. What cannot be done fails the cmocka test.
 *
 *     celery_stage_begin(&s->on);
 *     celery_worker(s->on.site, "one", (struct celery_options){0});
 *     celery_stage_look(&s->on, PART_WORKERS);
 *     assert_true(celery_stage_asks(&s->on, "one@test", "ping", NULL));
 *     celery_stage_end(&s->on);
 */
#ifndef TESTS_HARNESS_CELERY_STAGE_H
#define TESTS_HARNESS_CELERY_STAGE_H

#include "backends/queues/celery_control.h"
#include "tests/harness/board.h"
#include "tests/harness/celery.h"
#include "tests/harness/redis.h"

struct celery_stage {
    struct redis_box *box;
    struct celery_site *site;
    char *url, *act_url;
    struct board board; /* from celery_stage_look on */
    /* of the last question */
    bool over;
    size_t replied;
    int64_t heard; /* how many processes got it */
    struct error error;
};

void celery_stage_begin(struct celery_stage *on);
void celery_stage_end(struct celery_stage *on);
/* Watches that part of Celery; returns when it is found and the login that acts is there. */
void celery_stage_look(struct celery_stage *on, enum queue_part part);
/* The system, once it is found; NULL before. */
struct celery_system *celery_stage_system(const struct celery_stage *on);
/* Sends a method to one worker and waits at most 10 s: whether it answered. */
bool celery_stage_asks(struct celery_stage *on, const char *worker, const char *method,
                       struct json_object *arguments);
/* For celery_control_send with the stage as data: keeps what came. */
void celery_stage_replies(void *stage, const struct celery_reply *replies, size_t count, int64_t heard,
                          const struct error *error);

#endif
