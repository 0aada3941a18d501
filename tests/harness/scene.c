#include "tests/harness/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

struct scene *scene_new(const char *config)
{
    struct scene *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    strcpy(s->folder, "/tmp/scene.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->log, sizeof s->log, "%s/log", s->folder);
    s->box = redis_box_start(config);
    s->url = redis_box_url(s->box, 0, NULL);
    s->act_url = redis_box_url(s->box, 0, REDIS_BOX_ACT);
    return s;
}

int scene_end(void **state)
{
    struct scene *s = *state;
    if (s->board.loop)
        board_end(&s->board);
    partner_end(s->partner);
    keeper_free(s->keeper);
    redis_box_free(s->box);
    free(s->url);
    free(s->act_url);
    free(s);
    return 0;
}

void scene_open(struct scene *s, const char *system)
{
    board_start_redis(&s->board, s->url, s->act_url, NULL, 0);
    s->system = board_system(&s->board, system);
}

void scene_say(struct scene *s, const char *expected, const char *line)
{
    char *answer = partner_ask(s->partner, line);
    if (strcmp(answer, expected) != 0)
        fail_msg("%s: %s instead of %s", line, answer, expected);
    free(answer);
}

void scene_fail_start(const struct scene *s, const char *what)
{
    char command[160];
    snprintf(command, sizeof command, "tail -20 %s >&2", s->log);
    (void)!system(command);
    fail_msg("%s does not start", what);
}

struct job *scene_jobs(struct scene *s, const char *queue, enum job_state state, const char *filter,
                       size_t *count)
{
    return board_read(
        &s->board, s->system,
        (struct queue_read_request){.queue = queue, .states = 1u << state, .limit = 100, .keep_raw = true},
        filter, count, NULL);
}

struct change *scene_prepare(struct scene *s, const struct queue_act_request *request)
{
    struct error error;
    struct change *change = board_prepare(&s->board, s->system, request, &error);
    if (!change)
        fail_msg("%s", error.why);
    return change;
}

enum step_outcome scene_send(struct scene *s, const struct queue_act_request *request)
{
    struct change *change = scene_prepare(s, request);
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

enum step_outcome scene_act(struct scene *s, enum queue_act act, const struct job *jobs, size_t count)
{
    return scene_send(s, &(struct queue_act_request){.act = act, .jobs = jobs, .job_count = count});
}
