/* One tenant's jobs out of a flooded queue and back, while workers take and producers push: nothing lost,
 * nothing twice, order kept; stopped, killed or cut off in the middle, and continued; and what Redis refuses.
 */
#include "tests/servers/celery_acting.h"

enum {
    JOBS = 12000,
    LONG = 60000, /* so many that a move of them can be interrupted */
};

static int number_of(const char *message)
{
    const char *id = strstr(message, "\"id\": \"");
    return atoi(id + strlen("\"id\": \"00000000-0000-4000-8000-"));
}

/* Every other job is al_noor's. */
static void flood(struct stage *s, int count)
{
    for (int i = 0; i < count; i++) {
        char *text = message(i, "celery", i % 2 ? "al_noor" : "st_marys", 0);
        redisAppendCommand(s->redis, "LPUSH celery %s", text);
        free(text);
    }
    for (int i = 0; i < count; i++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(s->redis, (void **)&reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

static const struct queue_act_request take_out = {
    .act = ACT_TENANT_ASIDE, .queue = "celery", .tenant = "al_noor"};

/* ---- quiet ---- */

static void a_tenant_goes_aside_and_back(void **state)
{
    struct stage *s = *state;
    flood(s, 3000);
    push(s, "celery" SEP "9", 100000, 40, "al_noor");
    push(s, "celery" SEP "9", 200000, 40, "st_marys");
    struct list *before = list_of(s, "celery"), *late = list_of(s, "celery" SEP "9");
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    assert_string_equal(s->change->confirm, "al_noor");
    assert_int_equal(s->change->step_count, 2);
    assert_non_null(strstr(s->change->title, "1,540 jobs of tenant al_noor"));
    assert_int_equal(send_it(s), STEP_DONE);
    assert_int_equal(s->change->steps[1].outcome, STEP_DONE);
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    assert_same(list_of(s, "celery" SEP "9"), chosen(s, late, of_others));
    char *aside = key_like(s, "signalbox:aside:celery:*-??????");
    assert_same(list_of(s, aside), chosen(s, before, of_al_noor));
    char *urgent = talloc_asprintf(s, "%s" SEP "9", aside);
    assert_same(list_of(s, urgent), chosen(s, late, of_al_noor));
    act(s, &(struct queue_act_request){.act = ACT_TENANT_BACK, .tenant = "al_noor"});
    assert_string_equal(s->change->confirm, "al_noor");
    struct list *after = list_of(s, "celery"), *ours = chosen(s, before, of_al_noor),
                *rest = chosen(s, before, of_others);
    assert_int_equal(after->count, 3000);
    for (size_t i = 0; i < after->count; i++)
        assert_string_equal(after->items[i], i < ours->count ? ours->items[i] : rest->items[i - ours->count]);
    assert_int_equal(length_of(s, "celery" SEP "9"), 80);
    assert_clean(s);
}

/* A filter beside the tenant narrows it, and never widens it. */
static void all_that_is_said_must_hold(void **state)
{
    struct stage *s = *state;
    struct error error;
    flood(s, 40);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    struct queue_act_request request = take_out;
    request.filter = job_filter_parse(s, "", &error);
    act(s, &request);
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    act(s, &(struct queue_act_request){.act = ACT_TENANT_BACK, .tenant = "al_noor"});
    request.filter = job_filter_parse(s, "id:0000000000", &error);
    request.task = "app.other";
    assert_null(prepare(s, &request));
    assert_int_equal(s->error.kind, ERROR_GONE);
    request.task = NULL;
    request.filter = job_filter_parse(s, "id:000000000001 !id:000000000011", &error);
    act(s, &request);
    assert_int_equal(length_of(s, key_like(s, "signalbox:aside:*")), 1);
    request = (struct queue_act_request){
        .act = ACT_PARK, .queue = "celery", .tenant = "st_marys", .filter = job_filter_parse(s, "", &error)};
    act(s, &request);
    assert_int_equal(length_of(s, key_like(s, "signalbox:park:*")), 20);
    assert_int_equal(chosen(s, list_of(s, "celery"), of_others)->count, 0);
}

static void jobs_that_match_are_parked(void **state)
{
    struct stage *s = *state;
    struct error error;
    flood(s, 6000);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    struct job_filter *filter = job_filter_parse(s, "tenant:noor task:quick", &error);
    act(s, &(struct queue_act_request){.act = ACT_PARK, .queue = "celery", .filter = filter});
    assert_string_equal(s->change->confirm, "3000");
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    assert_same(list_of(s, key_like(s, "signalbox:park:*")), chosen(s, before, of_al_noor));
    assert_null(
        prepare(s, &(struct queue_act_request){.act = ACT_PARK, .queue = "celery", .filter = filter}));
    assert_int_equal(s->error.kind, ERROR_GONE);
}

/* ---- beside workers and producers ---- */

struct traffic {
    int fresh, popped[JOBS], popped_count;
};
static int pop(struct stage *s)
{
    redisReply *reply = ask(s, "RPOP celery");
    int taken = reply->type == REDIS_REPLY_STRING ? number_of(reply->str) : -1;
    freeReplyObject(reply);
    return taken;
}

/* A turn of producers and workers between two looks whether it is over. */
static bool over_with_traffic(struct stage *s)
{
    struct traffic *traffic = (struct traffic *)s->key;
    push(s, "celery", JOBS + traffic->fresh, 2, "st_marys");
    traffic->fresh += 2;
    for (int i = 0; i < 3; i++) {
        int taken = pop(s);
        if (taken >= 0)
            traffic->popped[traffic->popped_count++] = taken;
    }
    return s->over;
}

static void count_once(int *seen, const struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        seen[number_of(list->items[i])]++;
}

static void assert_descending(const struct list *list)
{
    for (size_t i = 1; i < list->count; i++)
        if (number_of(list->items[i]) >= number_of(list->items[i - 1])) {
            print_message("%d after %d\n", number_of(list->items[i]), number_of(list->items[i - 1]));
            fail();
        }
}

static void workers_and_producers_go_on(void **state)
{
    struct stage *s = *state;
    struct traffic *traffic = talloc_zero(s, struct traffic);
    flood(s, JOBS);
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    s->key = (const char *)traffic;
    start(s);
    assert_true(await(s, over_with_traffic));
    assert_int_equal(s->change->steps[0].outcome, STEP_DONE);
    struct list *queue = list_of(s, "celery"), *aside = list_of(s, key_like(s, "signalbox:aside:*"));
    int total = JOBS + traffic->fresh, *seen = talloc_zero_array(s, int, total);
    count_once(seen, queue);
    count_once(seen, aside);
    for (int i = 0; i < traffic->popped_count; i++)
        seen[traffic->popped[i]]++;
    for (int i = 0; i < total; i++)
        assert_int_equal(seen[i], 1);
    assert_descending(queue);
    assert_descending(aside);
    int last = -1, early = 0;
    for (int i = 0; i < traffic->popped_count; i++) {
        early += traffic->popped[i] >= JOBS;
        if (traffic->popped[i] < JOBS) {
            assert_true(traffic->popped[i] > last);
            last = traffic->popped[i];
        }
    }
    print_message("%d came in, %d were taken meanwhile, %d of them before their turn\n", traffic->fresh,
                  traffic->popped_count, early);
    assert_true(traffic->popped_count > 10);
    assert_int_equal(early, 0);
    assert_int_equal(chosen(s, queue, of_al_noor)->count, 0);
    assert_int_equal(chosen(s, aside, of_others)->count, 0);
}

/* ---- interrupted ---- */

static bool some_are_moved(struct stage *s)
{
    redisReply *reply = ask(s, "KEYS signalbox:hold:*");
    bool moved = reply->elements && length_of(s, reply->element[0]->str) < s->wanted;
    freeReplyObject(reply);
    return moved || s->over;
}

static struct list *begin_and_interrupt(struct stage *s, void (*interrupt)(struct stage *s))
{
    flood(s, LONG);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    s->wanted = LONG - LONG / 8;
    start(s);
    assert_true(await(s, some_are_moved));
    assert_false(s->over);
    interrupt(s);
    return before;
}

static void assert_all_there(struct stage *s, const struct list *before)
{
    size_t held = (size_t)length_of(s, key_like(s, "signalbox:hold:*"));
    size_t aside = (size_t)length_of(s, key_like(s, "signalbox:aside:*"));
    assert_int_equal(held + aside + (size_t)length_of(s, "celery"), before->count);
    assert_true(held > 0);
}

static bool unfinished_is_seen(struct stage *s)
{
    const struct aside_snapshot *snapshot = queue_system_aside(&s->system->base);
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->items[i].kind, "unfinished") == 0)
            return true;
    return false;
}

static void continue_it(struct stage *s, const struct list *before)
{
    feed_refresh(queue_system_feed(&s->system->base, PART_ASIDE));
    assert_true(await(s, unfinished_is_seen));
    act(s, &(struct queue_act_request){.act = ACT_CONTINUE});
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    assert_same(list_of(s, key_like(s, "signalbox:aside:*")), chosen(s, before, of_al_noor));
    assert_string_equal(key_like(s, "signalbox:hold:*"), "");
    assert_string_equal(key_like(s, "signalbox:note:signalbox:hold:*"), "");
}

static void stop_it(struct stage *s)
{
    change_stop(s->change);
    assert_true(await(s, is_over));
    assert_int_equal(s->change->steps[0].outcome, STEP_FAILED);
    assert_int_equal(s->error.kind, ERROR_CANCELLED);
}

static void a_stopped_move_is_continued(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, stop_it);
    assert_all_there(s, before);
    continue_it(s, before);
}

static void kill_console(struct stage *s)
{
    TALLOC_FREE(s->change);
    end_console(s);
    set_up_console(s);
}

static void a_killed_console_is_followed_by_another(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, kill_console);
    assert_all_there(s, before);
    continue_it(s, before);
}

static void put_all_back(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, kill_console);
    size_t aside = (size_t)length_of(s, key_like(s, "signalbox:aside:*"));
    act(s, &(struct queue_act_request){.act = ACT_CONTINUE, .argument = "back"});
    assert_int_equal(length_of(s, key_like(s, "signalbox:aside:*")), aside);
    assert_int_equal((size_t)length_of(s, "celery") + aside, before->count);
    assert_descending(list_of(s, "celery"));
}

static void a_stopped_move_is_taken_back(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, stop_it);
    struct change *back = s->change->take_back(s->change);
    assert_non_null(back);
    talloc_free(s->change);
    s->change = back;
    assert_int_equal(back->step_count, 2);
    assert_int_equal(send_it(s), STEP_DONE);
    assert_int_equal(back->steps[1].outcome, STEP_DONE);
    struct list *after = list_of(s, "celery");
    assert_int_equal(after->count, before->count);
    assert_descending(chosen(s, after, of_others));
    assert_clean(s);
}

static void cut_off(struct stage *s)
{
    freeReplyObject(ask(s, "CLIENT KILL TYPE normal SKIPME yes"));
    assert_true(await(s, is_over));
    assert_int_equal(s->change->steps[0].outcome, STEP_UNKNOWN);
}

static bool can_act(struct stage *s)
{
    struct error error;
    return redis_server_can_act(s->server, &error);
}

static void a_move_that_was_cut_off_is_continued(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, cut_off);
    assert_all_there(s, before);
    assert_true(await(s, can_act));
    continue_it(s, before);
}

static void take_over(struct stage *s)
{
    freeReplyObject(ask(s, "HSET %s owner another", key_like(s, "signalbox:note:signalbox:hold:*")));
    assert_true(await(s, is_over));
    assert_int_equal(s->change->steps[0].outcome, STEP_FAILED);
    assert_non_null(strstr(s->error.why, "another console"));
}

static void another_console_takes_over(void **state)
{
    struct stage *s = *state;
    struct list *before = begin_and_interrupt(s, take_over);
    assert_all_there(s, before);
    continue_it(s, before);
}

/* ---- what Redis refuses ---- */

static void another_type_under_the_name(void **state)
{
    struct stage *s = *state;
    flood(s, 300);
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    freeReplyObject(ask(s, "DEL celery"));
    freeReplyObject(ask(s, "SADD celery x"));
    assert_int_equal(send_it(s), STEP_FAILED);
    assert_non_null(strstr(s->error.why, "WRONGTYPE"));
    assert_int_equal(number(s, "SCARD", "celery"), 1);
    assert_clean(s);
    assert_null(prepare(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"}));
}

static int stage_without_lmove(void **state)
{
    return stage_with(state, "user limited on >x ~* &* +@all -lmove\n", "limited:x");
}

static void a_login_that_may_not_finish_does_not_begin(void **state)
{
    struct stage *s = *state;
    flood(s, 5000);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    assert_int_equal(send_it(s), STEP_FAILED);
    assert_int_equal(s->error.kind, ERROR_DENIED);
    assert_non_null(strstr(s->error.todo, "ACL SETUSER limited ~* +eval"));
    assert_same(list_of(s, "celery"), before);
    assert_clean(s);
}

static void a_replica_is_left_alone(void **state)
{
    struct stage *s = *state;
    flood(s, 5000);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    freeReplyObject(ask(s, "CONFIG SET replica-serve-stale-data yes"));
    freeReplyObject(ask(s, "REPLICAOF 127.0.0.1 1"));
    assert_int_equal(send_it(s), STEP_FAILED);
    assert_same(list_of(s, "celery"), before);
    freeReplyObject(ask(s, "REPLICAOF NO ONE"));
    assert_clean(s);
}

/* That is when it is needed. */
static void full_memory_is_no_hindrance(void **state)
{
    struct stage *s = *state;
    flood(s, 5000);
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    assert_non_null(prepare(s, &take_out));
    freeReplyObject(ask(s, "CONFIG SET maxmemory 1mb"));
    redisReply *reply = ask(s, "LPUSH celery x");
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_int_equal(send_it(s), STEP_DONE);
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    assert_same(list_of(s, key_like(s, "signalbox:aside:*")), chosen(s, before, of_al_noor));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tenant_goes_aside_and_back, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(all_that_is_said_must_hold, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(jobs_that_match_are_parked, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(workers_and_producers_go_on, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_stopped_move_is_continued, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_killed_console_is_followed_by_another, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_stopped_move_is_taken_back, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(put_all_back, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_move_that_was_cut_off_is_continued, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(another_console_takes_over, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(another_type_under_the_name, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_login_that_may_not_finish_does_not_begin, stage_without_lmove,
                                        stage_end),
        cmocka_unit_test_setup_teardown(a_replica_is_left_alone, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(full_memory_is_no_hindrance, stage_begin, stage_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
