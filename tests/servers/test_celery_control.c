/* Remote control of Celery with real workers: our questions beside `celery inspect`, each act and what the
 * worker then does. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>

#include "backends/access.h"
#include "backends/audit.h"
#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_workers.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery_stage.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

enum { PATIENCE_S = 40 };

struct stage {
    struct celery_stage on;
    /* what a condition is about */
    const char *worker, *id;
    enum worker_state state;
    /* of a change */
    struct change *change;
    bool over;
    enum step_outcome outcome;
    struct error error;
    char *output;
};

/* ---- the stage ---- */

static int stage_begin(void **state)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    celery_stage_begin(&s->on);
    *state = s;
    return 0;
}

static int stage_end(void **state)
{
    struct stage *s = *state;
    celery_stage_end(&s->on);
    free(s->output);
    talloc_free(s);
    return 0;
}

static bool await(struct stage *s, bool (*holds)(void *data))
{
    return loop_until(s->on.board.loop, PATIENCE_S, holds, s);
}

static struct celery_system *celery(struct stage *s)
{
    return celery_stage_system(&s->on);
}

static const struct worker *worker_of(struct stage *s, const char *name)
{
    const struct workers_snapshot *latest = celery(s) ? queue_system_workers(&celery(s)->base) : NULL;
    for (size_t i = 0; latest && i < latest->count; i++)
        if (!strcmp(latest->workers[i].id, name))
            return &latest->workers[i];
    return NULL;
}

static bool worker_is(void *data)
{
    struct stage *s = data;
    const struct worker *worker = worker_of(s, s->worker);
    return worker && worker->state == s->state;
}

static void expect_state(struct stage *s, const char *name, enum worker_state state)
{
    s->worker = name;
    s->state = state;
    if (!await(s, worker_is)) {
        const struct worker *worker = worker_of(s, name);
        fail_msg("%s is %s (%s), not %s", name, worker ? worker_state_name(worker->state) : "not known",
                 worker && worker->why ? worker->why : "", worker_state_name(state));
    }
}

static bool may_act(void *data)
{
    struct stage *s = data;
    struct error error;
    return redis_server_can_act(s->on.board.redis, &error);
}

/* ---- changes ---- */

static void on_sent(void *data, struct change *change, const char *report, const struct error *error)
{
    struct stage *s = data;
    (void)report;
    s->outcome = change->steps[0].outcome;
    s->error = error ? *error : (struct error){0};
    free(s->output);
    s->output = strdup(change->steps[0].output ? change->steps[0].output : "");
    s->over = true;
    talloc_free(change);
}

static bool is_over(void *data)
{
    struct stage *s = data;
    return s->over;
}

static void on_prepared(void *data, struct change *change, const struct error *error)
{
    struct stage *s = data;
    s->change = change;
    s->error = error ? *error : (struct error){0};
    s->over = true;
}

static enum step_outcome act(struct stage *s, const struct queue_act_request *request)
{
    s->over = false;
    queue_act_prepare(&celery(s)->base, request,
                      (struct queue_prepare_handler){.done = on_prepared, .data = s});
    assert_true(await(s, is_over));
    struct change *change = s->change;
    if (!change)
        fail_msg("%s: %s", queue_act_name(request->act), s->error.why);
    char *preview = change_preview(change, change);
    assert_non_null(strstr(preview, "/0.celery.pidbox"));
    assert_non_null(change->confirm);
    assert_true(*change->effect);
    s->over = false;
    change_send(change, s->on.board.loop, s->on.board.access, s->on.board.audit, on_sent, s);
    assert_true(await(s, is_over));
    return s->outcome;
}

static enum step_outcome act_on(struct stage *s, enum queue_act what, const char *worker, const char *queue,
                                const char *task, const char *argument)
{
    return act(s, &(struct queue_act_request){.act = what,
                                              .queue = queue,
                                              .task = task,
                                              .argument = argument,
                                              .workers = worker ? &worker : NULL,
                                              .worker_count = worker ? 1 : 0});
}

static void done(struct stage *s, enum step_outcome outcome)
{
    if (outcome != STEP_DONE)
        fail_msg("outcome %d: %s %s", outcome, s->error.why, s->output);
}

static enum step_outcome act_on_job(struct stage *s, enum queue_act what, const char *ids, const char *worker)
{
    char *id = strndup(ids, strcspn(ids, "\n"));
    struct job job = {.id = id, .worker = worker, .task = "app.slow"};
    enum step_outcome outcome =
        act(s, &(struct queue_act_request){.act = what, .jobs = &job, .job_count = 1});
    free(id);
    return outcome;
}

static bool tidy(void *data)
{
    struct stage *s = data;
    char *keys = redis_box_ask(s->on.box, "KEYS", "*reply*");
    bool none = !*keys;
    free(keys);
    return none;
}

/* Nothing of a question stays in Redis; one may be on its way, as long as it is asked again. */
static void no_reply_key(struct stage *s)
{
    assert_true(await(s, tidy));
}

/* ---- beside `celery inspect` ---- */

static struct json_object *inspected(struct stage *s, const char *method, const char *worker)
{
    int status;
    /* To one that is named the command does not wait its 3 s for others. */
    const char *const words[] = {"--destination", worker, NULL};
    char *text = celery_inspect(s->on.site, method, words, &status);
    struct json_object *all = json_tokener_parse(text), *value = NULL;
    if (!all || !json_object_object_get_ex(all, worker, &value))
        fail_msg("inspect %s: %s", method, text);
    free(text);
    json_object_get(value);
    json_object_put(all);
    return value;
}

static const char *id_of(struct json_object *entry)
{
    struct json_object *request = entry, *id = NULL;
    json_object_object_get_ex(entry, "request", &request);
    assert_true(json_object_object_get_ex(request ? request : entry, "id", &id));
    return json_object_get_string(id);
}

/* The same jobs, in whatever order. */
static void same_jobs(struct json_object *ours, struct json_object *theirs, size_t count)
{
    assert_true(json_object_is_type(ours, json_type_array) && json_object_is_type(theirs, json_type_array));
    assert_int_equal(json_object_array_length(ours), count);
    assert_int_equal(json_object_array_length(theirs), count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; j < count; j++)
            found = found || !strcmp(id_of(json_object_array_get_idx(ours, i)),
                                     id_of(json_object_array_get_idx(theirs, j)));
        assert_true(found);
    }
}

static const struct celery_worker_answer *answer_of(struct stage *s, const char *worker)
{
    const struct celery_answers *answers = celery_answers(celery(s));
    assert_non_null(answers);
    for (size_t i = 0; i < answers->worker_count; i++)
        if (!strcmp(answers->workers[i].worker, worker))
            return &answers->workers[i];
    fail_msg("%s was not asked", worker);
    return NULL;
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    return value;
}

static bool jobs_are_told(void *data)
{
    struct stage *s = data;
    const struct workers_snapshot *latest = queue_system_workers(&celery(s)->base);
    return latest && latest->running_count == 2 && latest->running[0].started_at > 0;
}

static void answers_are_theirs(void **state)
{
    struct stage *s = *state;
    celery_worker(s->on.site, "one", (struct celery_options){.queues = "celery,mail", .concurrency = 2});
    celery_worker(s->on.site, "two", (struct celery_options){.queues = "reports"});
    char *running = celery_send(s->on.site, "slow", "[600]", "al_noor", 2, NULL);
    assert_true(celery_await_begun(s->on.site, 20, NULL, 2));
    free(celery_send(s->on.site, "slow", "[600]", "al_noor", 3, NULL));
    free(celery_send(s->on.site, "quick", "[1]", "al_noor", 1, "\"options\": {\"countdown\": 3000}"));
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    expect_state(s, "two@test", WORKER_OK);
    done(s, act_on(s, ACT_ASK, NULL, NULL, NULL, NULL));
    assert_non_null(strstr(s->output, "2 of 2 answered; 2 are connected"));
    no_reply_key(s);
    const struct celery_worker_answer *one = answer_of(s, "one@test");
    static const char *const methods[] = {"active", "reserved", "scheduled"};
    struct json_object *const ours[] = {one->active, one->reserved, one->scheduled};
    static const size_t counts[] = {2, 3, 1};
    for (size_t i = 0; i < 3; i++) {
        struct json_object *theirs = inspected(s, methods[i], "one@test");
        if (!ours[i])
            fail_msg("%s: nothing, theirs is %s", methods[i], json_object_to_json_string(theirs));
        same_jobs(ours[i], theirs, counts[i]);
        json_object_put(theirs);
    }
    struct json_object *theirs = inspected(s, "stats", "one@test");
    assert_true(json_object_equal(member(member(one->stats, "pool"), "processes"),
                                  member(member(theirs, "pool"), "processes")));
    assert_true(json_object_equal(member(one->stats, "total"), member(theirs, "total")));
    json_object_put(theirs);
    theirs = inspected(s, "registered", "one@test");
    assert_true(json_object_equal(one->registered, theirs));
    json_object_put(theirs);
    theirs = inspected(s, "active_queues", "two@test");
    assert_true(json_object_equal(answer_of(s, "two@test")->queues, theirs));
    json_object_put(theirs);
    assert_true(celery_task_known(celery(s), "app.quick"));
    assert_false(celery_task_known(celery(s), "app.nobody"));
    assert_true(celery_task_known(celery(s), "celery.chord_unlock"));
    expect_state(s, "one@test", WORKER_BUSY);
    const struct worker *worker = worker_of(s, "one@test");
    assert_int_equal(worker->slots, 2);
    assert_int_equal(worker->reserved, 3);
    assert_int_equal(worker->scheduled, 1);
    assert_int_equal(worker->pid, json_object_get_int(member(one->stats, "pid")));
    assert_true(await(s, jobs_are_told));
    free(running);
}

/* ---- acts, and what workers then do ---- */

/* Asks until the pool has as many processes: they are started and ended after the act was answered. */
static void expect_processes(struct stage *s, size_t expected)
{
    double end = clock_monotonic() + PATIENCE_S;
    size_t count;
    do {
        done(s, act_on(s, ACT_ASK, NULL, NULL, NULL, NULL));
        const struct celery_answers *answers = celery_answers(celery(s));
        assert_true(answers && answers->workers[0].stats);
        count = json_object_array_length(member(member(answers->workers[0].stats, "pool"), "processes"));
    } while (count != expected && clock_monotonic() < end);
    assert_int_equal(count, expected);
}

static void jobs_are_revoked_and_terminated(void **state)
{
    struct stage *s = *state;
    struct celery_process *one = celery_worker(s->on.site, "one", (struct celery_options){0});
    char *slow = celery_send(s->on.site, "slow", "[600]", NULL, 1, NULL);
    assert_true(celery_await_begun(s->on.site, 20, slow, 1));
    char *dropped = celery_send(s->on.site, "quick", "[1]", NULL, 1, NULL);
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    done(s, act_on_job(s, ACT_REVOKE, dropped, NULL));
    assert_non_null(strstr(s->output, "flagged as revoked"));
    done(s, act_on_job(s, ACT_TERMINATE, slow, "one@test"));
    assert_non_null(strstr(s->output, "one@test: terminate: "));
    char *next = celery_send(s->on.site, "quick", "[2]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, next, 1));
    assert_int_equal(celery_begun(s->on.site, dropped), 0);
    assert_int_equal(celery_ended(s->on.site, slow), 0);
    assert_true(celery_await_log(one, 20, "Discarding revoked task"));
    assert_int_equal(act_on_job(s, ACT_TERMINATE, next, NULL), STEP_GONE);
    /* those that a filter finds, in the memory of the worker and in the queue */
    char *blocker = celery_send(s->on.site, "slow", "[600]", NULL, 1, NULL);
    assert_true(celery_await_begun(s->on.site, 20, blocker, 1));
    free(celery_send(s->on.site, "quick", "[3]", "al_noor", 12, NULL));
    struct job_filter *filter = job_filter_parse(s, "tenant:al_noor", NULL);
    done(s, act(s, &(struct queue_act_request){.act = ACT_REVOKE, .filter = filter}));
    done(s, act_on_job(s, ACT_TERMINATE, blocker, NULL));
    char *end = celery_send(s->on.site, "quick", "[4]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, end, 1));
    assert_int_equal(celery_ended(s->on.site, NULL), 2);
    free(blocker);
    free(end);
    assert_true(celery_alive(one));
    no_reply_key(s);
    free(slow);
    free(dropped);
    free(next);
}

static void pools_and_rates_change(void **state)
{
    struct stage *s = *state;
    struct celery_process *one = celery_worker(s->on.site, "one", (struct celery_options){.concurrency = 2});
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    done(s, act_on(s, ACT_ASK, NULL, NULL, NULL, NULL));
    pid_t children[16];
    done(s, act_on(s, ACT_POOL, "one@test", NULL, NULL, "+2"));
    expect_processes(s, 4);
    assert_true(celery_children(one, children, 16) >= 4);
    done(s, act_on(s, ACT_POOL, "one@test", NULL, NULL, "-1"));
    expect_processes(s, 3);
    struct error error;
    const char *name = "one@test";
    assert_null(celery_control_change(
        celery(s),
        &(struct queue_act_request){.act = ACT_POOL, .argument = "-4", .workers = &name, .worker_count = 1},
        &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    done(s, act_on(s, ACT_RATE_LIMIT, NULL, NULL, "app.quick", "1/h"));
    assert_non_null(strstr(s->output, "new rate limit set successfully"));
    free(celery_send(s->on.site, "quick", "[1]", NULL, 3, NULL));
    char *other = celery_send(s->on.site, "echo", "[1]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, other, 1));
    assert_int_equal(celery_ended(s->on.site, NULL), 2); /* one quick, and the echo behind the others */
    done(s, act_on(s, ACT_RATE_LIMIT, NULL, NULL, "app.quick", "0"));
    char *after = celery_send(s->on.site, "quick", "[4]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, after, 1));
    assert_null(celery_control_change(
        celery(s), &(struct queue_act_request){.act = ACT_RATE_LIMIT, .task = "app.quick", .argument = "nan"},
        &error));
    no_reply_key(s);
    free(other);
    free(after);
}

static bool is_paused(void *data)
{
    struct stage *s = data;
    return celery_queue_paused(celery(s), s->id);
}

static bool is_not_paused(void *data)
{
    struct stage *s = data;
    return !is_paused(s);
}

/* A login that may not publish: nothing reaches the workers, nothing stays, and what is missing is said. */
static void what_a_login_may_not_is_told(void **state)
{
    struct stage *s = *state;
    redis_box_do(s->on.box, "ACL", "SETUSER", "mute", "on", ">x", "~*", "+@all", "resetchannels");
    celery_worker(s->on.site, "one", (struct celery_options){0});
    free(s->on.act_url);
    s->on.act_url = redis_box_url(s->on.box, 0, "mute:x");
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    assert_int_equal(act_on(s, ACT_ASK, NULL, NULL, NULL, NULL), STEP_FAILED);
    assert_int_equal(s->error.kind, ERROR_DENIED);
    assert_int_equal(act_on(s, ACT_SHUTDOWN, "one@test", NULL, NULL, NULL), STEP_FAILED);
    no_reply_key(s);
}

/* Locked: nobody is asked any more, and what was on its way is tidied up. */
static bool asks_no_more(void *data)
{
    struct stage *s = data;
    return !celery_asked_goes_on(celery(s));
}

static void locking_ends_the_asking(void **state)
{
    struct stage *s = *state;
    celery_worker(s->on.site, "one", (struct celery_options){0});
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    done(s, act_on(s, ACT_ASK, NULL, NULL, NULL, NULL));
    assert_true(celery_asked_goes_on(celery(s)));
    redis_server_lock(s->on.board.redis);
    assert_true(await(s, asks_no_more));
    no_reply_key(s);
    /* the console ends while a question is on its way */
    redis_server_unlock(s->on.board.redis);
    assert_true(await(s, may_act));
    static const char *const name = "one@test";
    celery_control_send(
        celery(s),
        &(struct celery_control_request){
            .method = "ping", .destination = &name, .destination_count = 1, .wants_reply = true},
        celery_stage_replies, &s->on);
}

static void queues_are_paused_and_resumed(void **state)
{
    struct stage *s = *state;
    celery_worker(s->on.site, "one", (struct celery_options){.queues = "celery,mail"});
    celery_worker(s->on.site, "two", (struct celery_options){.queues = "celery"});
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    expect_state(s, "two@test", WORKER_OK);
    done(s, act_on(s, ACT_PAUSE, NULL, "mail", NULL, NULL));
    assert_non_null(strstr(s->output, "one@test takes no more from mail"));
    assert_null(strstr(s->output, "two@test"));
    char *mail = celery_send(s->on.site, "quick", "[1]", NULL, 1, "\"options\": {\"queue\": \"mail\"}");
    char *other = celery_send(s->on.site, "quick", "[1]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, other, 1));
    assert_true(redis_box_await(s->on.box, 0, "1", "LLEN", "mail"));
    s->id = "mail";
    assert_true(await(s, is_paused));
    char *note = redis_box_ask(s->on.box, "HGET", "signalbox:paused", "mail");
    assert_non_null(strstr(note, "[\"one@test\"]"));
    free(note);
    assert_int_equal(act_on(s, ACT_PAUSE, NULL, "nobody", NULL, NULL), STEP_GONE);
    done(s, act_on(s, ACT_RESUME, NULL, "mail", NULL, NULL));
    assert_true(celery_await_ended(s->on.site, 20, mail, 1));
    assert_true(redis_box_await(s->on.box, 5, "0", "EXISTS", "signalbox:paused"));
    assert_true(await(s, is_not_paused));
    done(s, act_on(s, ACT_CONSUME, "two@test", "extra", NULL, NULL));
    char *extra = celery_send(s->on.site, "quick", "[1]", NULL, 1, "\"options\": {\"queue\": \"extra\"}");
    assert_true(celery_await_ended(s->on.site, 20, extra, 1));
    done(s, act_on(s, ACT_CONSUME_NOT, "two@test", "extra", NULL, NULL));
    char *stays = celery_send(s->on.site, "quick", "[1]", NULL, 1, "\"options\": {\"queue\": \"extra\"}");
    char *last = celery_send(s->on.site, "quick", "[1]", NULL, 1, NULL);
    assert_true(celery_await_ended(s->on.site, 20, last, 1));
    assert_int_equal(celery_begun(s->on.site, stays), 0);
    no_reply_key(s);
    free(mail), free(other), free(extra), free(stays), free(last);
}

static void workers_are_drained_and_end(void **state)
{
    struct stage *s = *state;
    struct celery_process *one =
        celery_worker(s->on.site, "one", (struct celery_options){.queues = "celery,mail"});
    struct celery_process *two =
        celery_worker(s->on.site, "two", (struct celery_options){.queues = "reports"});
    char *slow = celery_send(s->on.site, "slow", "[600]", NULL, 1, NULL);
    assert_true(celery_await_begun(s->on.site, 20, slow, 1));
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    done(s, act_on(s, ACT_DRAIN, "one@test", NULL, NULL, NULL));
    assert_non_null(strstr(s->output, "takes no more from mail"));
    assert_non_null(strstr(s->output, "takes no more from celery"));
    assert_non_null(strstr(s->output, "still runs 1"));
    free(celery_send(s->on.site, "quick", "[1]", NULL, 1, NULL));
    done(s, act_on(s, ACT_ASK, NULL, NULL, NULL, NULL));
    expect_state(s, "one@test", WORKER_QUIET);
    assert_true(redis_box_await(s->on.box, 0, "1", "LLEN", "celery"));
    expect_state(s, "two@test", WORKER_OK);
    done(s, act_on(s, ACT_SHUTDOWN, "two@test", NULL, NULL, NULL));
    assert_true(celery_await_end(two, 20));
    assert_true(celery_alive(one));
    struct error error;
    assert_null(celery_control_change(celery(s), &(struct queue_act_request){.act = ACT_SHUTDOWN}, &error));
    no_reply_key(s);
    free(slow);
}

/* ---- who is alive ---- */

static void the_dead_and_the_frozen_are_told_apart(void **state)
{
    struct stage *s = *state;
    struct celery_process *one = celery_worker(s->on.site, "one", (struct celery_options){0});
    struct celery_process *two = celery_worker(s->on.site, "two", (struct celery_options){0});
    celery_worker(s->on.site, "solo", (struct celery_options){.pool = "solo", .queues = "alone"});
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    expect_state(s, "two@test", WORKER_OK);
    expect_state(s, "solo@test", WORKER_OK);
    /* One is frozen, and a solo pool hears nobody while it runs a job. */
    char *slow = celery_send(s->on.site, "slow", "[20]", NULL, 1, "\"options\": {\"queue\": \"alone\"}");
    assert_true(celery_await_begun(s->on.site, 20, slow, 1));
    celery_freeze(one);
    expect_state(s, "one@test", WORKER_SILENT);
    expect_state(s, "solo@test", WORKER_SILENT);
    assert_int_equal(act_on(s, ACT_ASK, NULL, NULL, NULL, NULL), STEP_DONE);
    const char *silent = strstr(s->output, "no answer from ");
    assert_true(silent && strstr(silent, "one@test") && !strstr(silent, "two@test"));
    celery_thaw(one);
    expect_state(s, "one@test", WORKER_OK);
    celery_kill(two);
    expect_state(s, "solo@test", WORKER_OK);
    /* Nobody else is mute now: the connections tell that it is gone. */
    expect_state(s, "two@test", WORKER_GHOST);
    no_reply_key(s);
    free(slow);
}

/* ---- tidying up ---- */

static void nothing_stays_behind(void **state)
{
    struct stage *s = *state;
    static const char *const name = "one@test";
    struct celery_process *one = celery_worker(s->on.site, "one", (struct celery_options){0});
    celery_stage_look(&s->on, PART_WORKERS);
    expect_state(s, "one@test", WORKER_OK);
    /* what a console that was killed left, an hour ago and now */
    static const char old[] = "5169a1b0-5000-0000-1111-111111111111";
    char *member_of_old;
    assert_true(asprintf(&member_of_old, "%s\x06\x16\x06\x16%s.reply.celery.pidbox", old, old) > 0);
    redis_box_do(s->on.box, "SADD", "_kombu.binding.reply.celery.pidbox", member_of_old);
    redis_box_do(s->on.box, "LPUSH", "5169a1b0-5000-0000-1111-111111111111.reply.celery.pidbox", "x");
    assert_true(celery_stage_asks(&s->on, name, "ping", NULL));
    assert_true(tidy(s));
    free(member_of_old);
    /* given up while it waits */
    celery_freeze(one);
    struct celery_control_request request = {
        .method = "ping", .destination = &name, .destination_count = 1, .wants_reply = true};
    talloc_free(celery_control_send(celery(s), &request, celery_stage_replies, &s->on));
    assert_true(await(s, tidy));
    assert_false(celery_stage_asks(&s->on, name, "ping", NULL));
    assert_int_equal(s->on.heard, 1);
    assert_true(tidy(s));
    celery_thaw(one);
    assert_true(celery_stage_asks(&s->on, name, "ping", NULL));
    assert_true(tidy(s));
}

int main(void)
{
#define STAGED(name) cmocka_unit_test_setup_teardown(name, stage_begin, stage_end)
    const struct CMUnitTest tests[] = {
        STAGED(answers_are_theirs),           STAGED(jobs_are_revoked_and_terminated),
        STAGED(pools_and_rates_change),       STAGED(queues_are_paused_and_resumed),
        STAGED(what_a_login_may_not_is_told), STAGED(locking_ends_the_asking),
        STAGED(workers_are_drained_and_end),  STAGED(the_dead_and_the_frozen_are_told_apart),
        STAGED(nothing_stays_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
