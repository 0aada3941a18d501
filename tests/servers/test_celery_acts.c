/* Acts on Celery's queues on a real Redis: what moves moves byte by byte and in order, what ran or changed
 * meanwhile is told, a move that breaks off can be continued, and what Redis refuses leaves all as it was. */
#include "tests/servers/celery_acting.h"

/* ---- purge ---- */

static void purge_and_restore_are_byte_identical(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 700, "al_noor");
    push(s, "celery" SEP "3", 1000, 20, "st_marys");
    struct list *before = list_of(s, "celery"), *urgent = list_of(s, "celery" SEP "3");
    set_up_console(s);
    assert_non_null(prepare(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"}));
    assert_string_equal(s->change->confirm, "celery");
    assert_int_equal(s->change->hazard, HAZARD_DESTROY);
    assert_int_equal(s->change->reach, REACH_NAME);
    char *preview = change_preview(s, s->change);
    assert_non_null(strstr(preview, "700 of priority 0, 20 of priority 3"));
    assert_non_null(strstr(preview, "EVAL signalbox-purge (SHA-1 "));
    assert_int_equal(send_it(s), STEP_DONE);
    assert_string_equal(s->change->steps[0].output, "720 jobs");
    assert_int_equal(length_of(s, "celery"), 0);
    assert_int_equal(length_of(s, "celery" SEP "3"), 0);
    /* What comes in now runs after what is restored. */
    push(s, "celery", 5000, 3, "st_marys");
    struct list *fresh = list_of(s, "celery");
    act(s, &(struct queue_act_request){.act = ACT_RESTORE, .queue = "celery"});
    struct list *after = list_of(s, "celery");
    assert_int_equal(after->count, 703);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(after->items[i], fresh->items[i]);
    for (size_t i = 0; i < 700; i++)
        assert_string_equal(after->items[3 + i], before->items[i]);
    assert_same(list_of(s, "celery" SEP "3"), urgent);
    assert_clean(s);
}

static void a_purge_is_taken_back(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 600, "al_noor");
    push(s, "celery" SEP "6", 1000, 20, "st_marys");
    struct list *before = list_of(s, "celery"), *urgent = list_of(s, "celery" SEP "6");
    set_up_console(s);
    act(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"});
    struct change *back = s->change->take_back(s->change);
    assert_non_null(back);
    talloc_free(s->change);
    s->change = back;
    assert_int_equal(send_it(s), STEP_DONE);
    assert_same(list_of(s, "celery"), before);
    assert_same(list_of(s, "celery" SEP "6"), urgent);
    assert_clean(s);
}

/* Both are longer than one piece: the shorter one joins the longer. */
static void restore_is_exact_when_both_are_long(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 1500, "al_noor");
    set_up_console(s);
    struct list *before = list_of(s, "celery");
    act(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"});
    push(s, "celery", 5000, 1100, "st_marys");
    struct list *fresh = list_of(s, "celery");
    act(s, &(struct queue_act_request){.act = ACT_RESTORE, .queue = "celery"});
    struct list *after = list_of(s, "celery");
    assert_int_equal(after->count, 2600);
    for (size_t i = 0; i < after->count; i++)
        assert_string_equal(after->items[i],
                            i < fresh->count ? fresh->items[i] : before->items[i - fresh->count]);
    assert_clean(s);
}

static void trash_is_emptied(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 10, "al_noor");
    set_up_console(s);
    act(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"});
    assert_null(prepare(s, &(struct queue_act_request){.act = ACT_PURGE, .queue = "celery"}));
    assert_int_equal(s->error.kind, ERROR_GONE);
    char *trash = key_like(s, "signalbox:trash:celery:*");
    act(s, &(struct queue_act_request){.act = ACT_EMPTY_TRASH, .entry = trash});
    assert_int_equal(s->change->hazard, HAZARD_DESTROY);
    assert_clean(s);
}

/* ---- parking ---- */

static bool is_seventh(const char *message)
{
    const char *id = strstr(message, "\"id\": \"");
    return atoi(id + strlen("\"id\": \"00000000-0000-4000-8000-")) % 7 == 0;
}

static bool is_not_seventh(const char *message)
{
    return !is_seventh(message);
}

static bool is_42(const char *message)
{
    return strstr(message, "\"id\": \"00000000-0000-4000-8000-000000000042\"") != NULL;
}

static bool is_not_42(const char *message)
{
    return !is_42(message);
}

static bool aside_is_read(struct stage *s)
{
    const struct aside_snapshot *snapshot = queue_system_aside(&s->system->base);
    return snapshot && snapshot->count == (size_t)s->wanted;
}

static void one_job_is_parked_and_comes_back(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 100, "al_noor");
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "celery", is_42, &count);
    assert_int_equal(count, 1);
    assert_non_null(prepare(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = 1}));
    assert_string_equal(s->change->confirm, "42");
    assert_int_equal(s->change->reach, REACH_ONE);
    assert_non_null(strstr(s->change->steps[0].subject, "00000000-0000-4000-8000-000000000042"));
    assert_int_equal(send_it(s), STEP_DONE);
    assert_same(list_of(s, "celery"), chosen(s, before, is_not_42));
    char *parked = key_like(s, "signalbox:park:celery:*");
    assert_same(list_of(s, parked), chosen(s, before, is_42));
    s->wanted = 1;
    feed_refresh(queue_system_feed(&s->system->base, PART_ASIDE));
    assert_true(await(s, aside_is_read));
    const struct aside *item = &queue_system_aside(&s->system->base)->items[0];
    assert_string_equal(item->id, parked);
    assert_string_equal(item->kind, "parked");
    assert_string_equal(item->queue, "celery");
    assert_string_equal(item->reason, "a test");
    assert_int_equal(item->count, 1);
    act(s, &(struct queue_act_request){.act = ACT_UNPARK, .entry = parked});
    struct list *after = list_of(s, "celery");
    assert_int_equal(after->count, 100);
    assert_true(is_42(after->items[0]));
    assert_clean(s);
}

static void many_are_parked_from_the_middle_in_order(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 3000, "al_noor");
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "celery", is_seventh, &count);
    assert_non_null(
        prepare(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = count}));
    assert_string_equal(s->change->confirm, "429");
    assert_int_equal(s->change->reach, REACH_MANY);
    char *preview = change_preview(s, s->change);
    assert_non_null(strstr(preview, "EVAL signalbox-walk (SHA-1 "));
    assert_non_null(strstr(preview, "429 ids, SHA-256 "));
    const char *path = strstr(s->change->steps[0].subject, "listed in ") + strlen("listed in ");
    path = talloc_strdup(s, path);
    assert_int_equal(send_it(s), STEP_DONE);
    assert_same(list_of(s, "celery"), chosen(s, before, is_not_seventh));
    char *parked = key_like(s, "signalbox:park:celery:*");
    assert_same(list_of(s, parked), chosen(s, before, is_seventh));
    assert_int_equal(access(path, R_OK), 0);
    act(s, &(struct queue_act_request){.act = ACT_UNPARK, .entry = parked, .argument = "first"});
    struct list *after = list_of(s, "celery"), *rest = chosen(s, before, is_not_seventh),
                *back = chosen(s, before, is_seventh);
    assert_int_equal(after->count, 3000);
    for (size_t i = 0; i < after->count; i++)
        assert_string_equal(after->items[i], i < rest->count ? rest->items[i] : back->items[i - rest->count]);
    assert_clean(s);
}

static void a_list_of_ids_goes_with_a_change_that_is_not_sent(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 500, "al_noor");
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "celery", is_seventh, &count);
    assert_non_null(
        prepare(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = count}));
    char *path = talloc_strdup(s, strstr(s->change->steps[0].subject, "listed in ") + strlen("listed in "));
    assert_int_equal(access(path, R_OK), 0);
    TALLOC_FREE(s->change);
    double until = clock_monotonic() + PATIENCE_S;
    while (access(path, F_OK) == 0 && clock_monotonic() < until)
        ev_run(loop_ev(s->loop), EVRUN_NOWAIT);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(length_of(s, "celery"), 500);
}

static void what_ran_meanwhile_is_told(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 50, "al_noor");
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "celery", any, &count);
    assert_non_null(prepare(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = 1}));
    freeReplyObject(ask(s, "RPOP celery"));
    struct list *before = list_of(s, "celery");
    assert_int_equal(send_it(s), STEP_GONE);
    assert_int_equal(s->error.kind, ERROR_GONE);
    assert_same(list_of(s, "celery"), before);
    assert_clean(s);
    assert_non_null(
        prepare(s, &(struct queue_act_request){.act = ACT_NEUTRALISE, .jobs = jobs, .job_count = 3}));
    assert_int_equal(send_it(s), STEP_DONE);
    assert_string_equal(s->change->steps[0].output, "2 of 3 jobs; 1 had run or moved meanwhile");
}

/* ---- expiring ---- */

static bool only_expired(const char *before, const char *after)
{
    const char *at = strstr(before, "\"expires\": null"), *now = strstr(after, "\"expires\": \"2000-");
    if (!at || !now || at - before != now - after || strncmp(before, after, (size_t)(at - before)) != 0)
        return false;
    const char *rest = strchr(at, ','), *rest_now = strchr(now, ',');
    return strcmp(rest, rest_now) == 0;
}

static void neutralise(struct stage *s, bool (*is)(const char *message), const char *script)
{
    struct list *before = list_of(s, "celery");
    size_t count;
    struct job *jobs = jobs_of(s, "celery", is, &count);
    struct queue_act_request request = {.act = ACT_NEUTRALISE, .jobs = jobs, .job_count = count};
    assert_non_null(prepare(s, &request));
    assert_non_null(strstr(s->change->steps[0].command, script));
    /* Jobs come in and go while it is being done. */
    push(s, "celery", 900000, 5, "st_marys");
    freeReplyObject(ask(s, "RPOP celery"));
    assert_int_equal(send_it(s), STEP_DONE);
    struct list *after = list_of(s, "celery");
    assert_int_equal(after->count, before->count + 4);
    for (size_t i = 5; i < after->count; i++) {
        const char *was = before->items[i - 5];
        if (is(was))
            assert_true(only_expired(was, after->items[i]));
        else
            assert_string_equal(was, after->items[i]);
    }
}

static void jobs_expire_in_place(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 1, 9000, "al_noor");
    set_up_console(s);
    neutralise(s, is_42, "signalbox-replace");
    assert_clean(s);
}

static void a_third_of_a_queue_expires_in_order(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 1, 4000, "al_noor");
    set_up_console(s);
    neutralise(s, is_seventh, "signalbox-walk");
    assert_clean(s);
}

/* ---- other brokers ---- */

static void keys_are_behind_the_prefix(void **state)
{
    struct stage *s = *state;
    freeReplyObject(ask(s, "DEL _kombu.binding.celery"));
    freeReplyObject(ask(s, "SADD prod:_kombu.binding.celery %s", "celery" SEP SEP "celery"));
    push(s, "prod:celery", 0, 300, "al_noor");
    struct list *before = list_of(s, "prod:celery");
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "prod:celery", is_seventh, &count);
    act(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = count});
    assert_same(list_of(s, "prod:celery"), chosen(s, before, is_not_seventh));
    assert_same(list_of(s, key_like(s, "prod:signalbox:park:celery:*")), chosen(s, before, is_seventh));
    act(s, &(struct queue_act_request){.act = ACT_UNPARK, .queue = "celery"});
    assert_int_equal(length_of(s, "prod:celery"), 300);
    assert_string_equal(key_like(s, "*signalbox:*"), "");
}

/* A window is bounded by its bytes, too. */
static void large_messages_among_small_ones(void **state)
{
    struct stage *s = *state;
    struct error error;
    char *large = talloc_size(s, 1 << 20);
    memset(large, 'x', 1 << 20);
    for (int i = 0; i < 8; i++) {
        push(s, "celery", i * 1000, 300, i % 2 ? "al_noor" : "st_marys");
        char *text = message(i * 1000 + 999, "celery", "al_noor", 0);
        char *padded =
            talloc_asprintf(s, "%.*s, \"pad\": \"%.*s\"}", (int)strlen(text) - 1, text, 1 << 20, large);
        freeReplyObject(ask(s, "LPUSH celery %s", padded));
        free(text);
    }
    struct list *before = list_of(s, "celery");
    set_up_console(s);
    struct job_filter *filter = job_filter_parse(s, "tenant=al_noor", &error);
    act(s, &(struct queue_act_request){.act = ACT_PARK, .queue = "celery", .filter = filter});
    assert_same(list_of(s, "celery"), chosen(s, before, of_others));
    assert_same(list_of(s, key_like(s, "signalbox:park:*")), chosen(s, before, of_al_noor));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(purge_and_restore_are_byte_identical, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_purge_is_taken_back, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(restore_is_exact_when_both_are_long, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(trash_is_emptied, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(one_job_is_parked_and_comes_back, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(many_are_parked_from_the_middle_in_order, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_list_of_ids_goes_with_a_change_that_is_not_sent, stage_begin,
                                        stage_end),
        cmocka_unit_test_setup_teardown(what_ran_meanwhile_is_told, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(jobs_expire_in_place, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(keys_are_behind_the_prefix, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(large_messages_among_small_ones, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_third_of_a_queue_expires_in_order, stage_begin, stage_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
