#include "tests/harness/celery_stage.h"

#include <stdlib.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

enum { PATIENCE_S = 40 };

void celery_stage_begin(struct celery_stage *on)
{
    *on = (struct celery_stage){.box = redis_box_start(NULL)};
    on->url = redis_box_url(on->box, 0, NULL);
    on->act_url = redis_box_url(on->box, 0, REDIS_BOX_ACT);
    on->site = celery_site_new(on->url, NULL, NULL);
}

void celery_stage_end(struct celery_stage *on)
{
    if (on->board.loop)
        board_end(&on->board);
    celery_site_free(on->site);
    redis_box_free(on->box);
    free(on->url);
    free(on->act_url);
}

struct celery_system *celery_stage_system(const struct celery_stage *on)
{
    struct queues *queues = on->board.queues;
    return queues && queues_count(queues) ? (struct celery_system *)queues_system(queues, 0) : NULL;
}

static bool is_found_and_may_act(void *data)
{
    const struct celery_stage *on = data;
    struct error error;
    return celery_stage_system(on) && redis_server_can_act(on->board.redis, &error);
}

void celery_stage_look(struct celery_stage *on, enum queue_part part)
{
    board_start_redis(&on->board, on->url, on->act_url, NULL, 0);
    queues_want(on->board.queues, PART_QUEUES, false);
    queues_want(on->board.queues, part, true);
    assert_true(loop_until(on->board.loop, PATIENCE_S, is_found_and_may_act, on));
}

void celery_stage_replies(void *stage, const struct celery_reply *replies, size_t count, int64_t heard,
                          const struct error *error)
{
    struct celery_stage *on = stage;
    (void)replies;
    on->replied = count;
    on->heard = heard;
    on->error = error ? *error : (struct error){0};
    on->over = true;
}

static bool is_over(void *data)
{
    return ((struct celery_stage *)data)->over;
}

bool celery_stage_asks(struct celery_stage *on, const char *worker, const char *method,
                       struct json_object *arguments)
{
    on->over = false;
    celery_control_send(celery_stage_system(on),
                        &(struct celery_control_request){.method = method,
                                                         .arguments = arguments,
                                                         .destination = &worker,
                                                         .destination_count = 1,
                                                         .wants_reply = true,
                                                         .deadline_s = 10},
                        celery_stage_replies, on);
    assert_true(loop_until(on->board.loop, PATIENCE_S, is_over, on));
    return on->replied == 1;
}
