/* Changes: recorded before they are sent and after, refused when they must be, sent without a record in an
 * emergency alone. The steps are fakes that read the log while they are being sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/change.h"
#include "tests/unit/unit.h"

struct fixture {
    struct loop *loop;
    struct audit *audit;
    struct access *access;
    char *folder;
    struct environment environment;
    struct change *change;
    int sent, calls;
    size_t befores_when_sent;
    bool later;  /* steps answer in a later turn */
    bool absent; /* still_there says no */
    enum step_outcome outcomes[3];
    int flying, most_flying, over;
    int stop_after; /* change_stop is called when this many steps are over; 0: never */
    char order[8];  /* numbers of the steps as they were sent */
    char *report;
    struct error error;
};

/* How many records of this event with this outcome there are. */
static size_t count_records(struct fixture *f, const char *event, const char *outcome)
{
    struct error error;
    struct audit_list *list = audit_read(f, "test", f->folder, 0, &error);
    size_t count = 0;
    for (size_t i = 0; list && i < list->count; i++)
        if (!strcmp(list->records[i].event, event) &&
            (!outcome || (list->records[i].outcome && !strcmp(list->records[i].outcome, outcome))))
            count++;
    return count;
}

struct late_answer {
    ev_timer timer;
    struct change *change;
    struct change_step *step;
    enum step_outcome outcome;
};

static void on_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct late_answer *late = timer->data;
    struct change_step *step = late->step;
    struct fixture *f = late->change->data;
    (void)ev, (void)events;
    f->flying--;
    change_step_done(late->change, step, late->outcome, NULL);
    free(late);
}

static void send_step(struct change *change, struct change_step *step)
{
    struct fixture *f = change->data;
    size_t number = (size_t)(step - change->steps);
    f->befores_when_sent = count_records(f, "before", NULL);
    f->order[f->sent++] = (char)('0' + number);
    if (!f->later) {
        change_step_done(change, step, f->outcomes[number], NULL);
        if (number == 0) /* a second answer counts for nothing */
            change_step_done(change, step, STEP_FAILED, NULL);
        return;
    }
    f->flying++;
    if (f->flying > f->most_flying)
        f->most_flying = f->flying;
    struct late_answer *late = calloc(1, sizeof *late);
    *late = (struct late_answer){.change = change, .step = step, .outcome = f->outcomes[number]};
    ev_timer_init(&late->timer, on_late, 0.01, 0);
    late->timer.data = late;
    ev_timer_start(loop_ev(f->loop), &late->timer);
}

static bool still_there(struct change *change, struct error *error)
{
    struct fixture *f = change->data;
    return !f->absent || error_set(error, ERROR_GONE, "main", "end 8121", "Look again.", "it is another one");
}

static const char *const targets[] = {"8121@2026-11-21 13:58:31.204+00", "8122@x", "8123@y"};

static struct change *make_change(struct fixture *f, size_t steps)
{
    struct change *change = change_new();
    change->hazard = HAZARD_DESTROY;
    change->environment = "test";
    change->server = "main";
    change->role = "sb_act";
    change->verb = "terminate";
    change->title = "end session 8121 on main";
    change->confirm = "21";
    change->reason = "incident 17";
    change->steps = talloc_zero_array(change, struct change_step, 3);
    change->step_count = steps;
    change->data = f;
    for (size_t i = 0; i < 3; i++)
        change->steps[i] = (struct change_step){
            .target = targets[i],
            .command = talloc_asprintf(change, "SELECT end(%zu)", i),
            .send = send_step,
        };
    return change;
}

static int set_up_with(void **state, bool locked)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->folder = talloc_strdup(f, "/tmp/test_change.XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    setenv("SIGNALBOX_JOURNAL_SOCKET", talloc_asprintf(f, "%s/none", f->folder), 1);
    setenv("XDG_STATE_HOME", f->folder, 1);
    f->environment = (struct environment){.name = "test", .access.locked = locked};
    f->loop = loop_new();
    f->audit = audit_new(f->loop, "test", f->folder);
    f->access = access_new(f->loop, &f->environment, f->audit, NULL, NULL);
    for (size_t i = 0; i < 3; i++)
        f->outcomes[i] = STEP_DONE;
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, false);
}

static int set_up_locked(void **state)
{
    return set_up_with(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    talloc_free(f->change);
    access_free(f->access);
    audit_free(f->audit);
    loop_free(f->loop);
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f);
    return status;
}

static void on_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct fixture *f = data;
    assert_ptr_equal(change, f->change);
    f->calls++;
    f->report = talloc_strdup(f, report);
    f->error = error ? *error : (struct error){0};
    loop_stop(f->loop);
}

static void on_guard(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    *(bool *)timer->data = true;
    ev_break(ev, EVBREAK_ALL);
}

static void send_and_wait(struct fixture *f)
{
    bool late = false;
    ev_timer guard;
    ev_timer_init(&guard, on_guard, 10, 0);
    guard.data = &late;
    ev_now_update(loop_ev(f->loop));
    ev_timer_start(loop_ev(f->loop), &guard);
    change_send(f->change, f->loop, f->access, f->audit, on_done, f);
    assert_int_equal(f->calls, 0); /* never in the same turn */
    loop_run(f->loop);
    ev_timer_stop(loop_ev(f->loop), &guard);
    assert_false(late);
    assert_int_equal(f->calls, 1);
}

/* From here on no record can be written: the folder is replaced by a file. */
static void break_log(struct fixture *f)
{
    struct loop *loop = f->loop;
    char *blocked = talloc_asprintf(f, "%s/blocked", f->folder);
    FILE *file = fopen(blocked, "w");
    assert_non_null(file);
    fclose(file);
    access_free(f->access);
    audit_free(f->audit);
    f->audit = audit_new(loop, "test", talloc_asprintf(f, "%s/log", blocked));
    f->access = access_new(loop, &f->environment, f->audit, NULL, NULL);
}

static void test_one(void **state)
{
    struct fixture *f = *state;
    f->change = make_change(f, 1);
    send_and_wait(f);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->befores_when_sent, 1); /* on record, and in the file, before it was sent */
    assert_int_equal(count_records(f, "after", "done"), 1);
    assert_int_equal(f->error.kind, ERROR_NONE);
    assert_int_equal(strncmp(f->report, "ended 8121 after ", 17), 0);
    struct error error;
    struct audit_verdict verdict;
    assert_true(audit_verify("test", f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    assert_int_equal(verdict.unfinished, 0);
    struct audit_record *record = audit_read(f, "test", f->folder, 0, &error)->records;
    assert_string_equal(record->target, targets[0]);
    assert_string_equal(record->command, "SELECT end(0)");
    assert_string_equal(record->role, "sb_act");
    assert_string_equal(record->reason, "incident 17");
    assert_string_equal(record->hazard, "destroy");
}

static void test_several(void **state)
{
    struct fixture *f = *state;
    f->later = true;
    f->outcomes[1] = STEP_GONE;
    f->outcomes[2] = STEP_FAILED;
    f->change = make_change(f, 3);
    send_and_wait(f);
    assert_int_equal(f->sent, 3);
    assert_int_equal(f->befores_when_sent, 3);
    assert_int_equal(count_records(f, "after", "done"), 1);
    assert_int_equal(count_records(f, "after", "gone"), 1);
    assert_int_equal(count_records(f, "after", "failed"), 1);
    assert_int_equal(f->error.kind, ERROR_GONE);
    assert_int_equal(strncmp(f->report, "ended 1 of 3, 1 was gone, 1 failed after ", 41), 0);
}

static void test_locked(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    f->change = make_change(f, 1);
    assert_false(change_allowed(f->change, f->access, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    assert_non_null(strstr(error.todo, "unlock"));
    send_and_wait(f);
    assert_int_equal(f->sent, 0);
    assert_int_equal(f->error.kind, ERROR_INTERLOCK);
    audit_free(f->audit); /* waits for the record */
    f->audit = audit_new(f->loop, "test", f->folder);
    assert_int_equal(count_records(f, "refused", "refused"), 1);
    assert_int_equal(count_records(f, "before", NULL), 0);
    access_free(f->access);
    f->access = access_new(f->loop, &f->environment, f->audit, NULL, NULL);
    f->calls = 0;
    access_unlock(f->access, "incident 17");
    send_and_wait(f);
    assert_int_equal(f->sent, 1);
}

static void test_gone_and_without_role(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    f->change = make_change(f, 1);
    f->change->role = NULL;
    assert_false(change_allowed(f->change, f->access, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    f->change->role = "sb_act";
    f->change->still_there = still_there;
    assert_true(change_allowed(f->change, f->access, &error));
    f->absent = true;
    assert_false(change_allowed(f->change, f->access, &error));
    assert_int_equal(error.kind, ERROR_GONE);
    send_and_wait(f);
    assert_int_equal(f->sent, 0);
    assert_int_equal(f->error.kind, ERROR_GONE);
}

static void test_wants_reason(void **state)
{
    struct fixture *f = *state;
    f->change = make_change(f, 1);
    f->change->wants_reason = true;
    f->change->reason = NULL;
    send_and_wait(f);
    assert_int_equal(f->sent, 0);
    assert_int_equal(f->error.kind, ERROR_INTERLOCK);
    f->calls = 0;
    f->change->reason = "the others are dead";
    send_and_wait(f);
    assert_int_equal(f->sent, 1);
}

static void test_no_record_no_change(void **state)
{
    struct fixture *f = *state;
    break_log(f);
    f->change = make_change(f, 2);
    send_and_wait(f);
    assert_int_equal(f->sent, 0);
    assert_int_equal(f->error.kind, ERROR_INTERLOCK);
    assert_non_null(strstr(f->error.todo, ":breakglass"));
    assert_non_null(strstr(f->report, "nothing was sent"));
}

static void test_break_glass(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    break_log(f);
    assert_false(access_break_glass(f->access, " ", &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    assert_true(access_break_glass(f->access, "the house burns", &error));
    f->change = make_change(f, 1);
    send_and_wait(f);
    assert_int_equal(f->sent, 1);
    assert_non_null(strstr(f->report, "\"event\":\"before\""));
    assert_non_null(strstr(f->report, "SELECT end(0)"));
    assert_non_null(strstr(f->report, "\"event\":\"after\""));
    assert_non_null(strstr(f->report, "could not be recorded"));
}

/* A change that is thrown away while its record is being written is never sent. */
static void test_quit_while_recording(void **state)
{
    struct fixture *f = *state;
    f->change = make_change(f, 1);
    change_send(f->change, f->loop, f->access, f->audit, on_done, f);
    audit_free(f->audit);
    f->audit = audit_new(f->loop, "test", f->folder);
    assert_int_equal(f->sent, 0);
    assert_int_equal(f->calls, 0);
    assert_int_equal(count_records(f, "before", NULL), 1);
}

static void test_confirmed(void **state)
{
    struct fixture *f = *state;
    f->change = make_change(f, 1);
    assert_true(change_confirmed(f->change, "21"));
    assert_true(change_confirmed(f->change, " 21\t"));
    static const char *const wrong[] = {"", " ", "2", "12", "211", "2 1", "y"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(change_confirmed(f->change, wrong[i]));
    f->change->confirm = "";
    assert_false(change_confirmed(f->change, ""));
    f->change->confirm = NULL;
    assert_false(change_confirmed(f->change, ""));
}

static void test_preview(void **state)
{
    struct fixture *f = *state;
    f->change = make_change(f, 2);
    f->change->milder = "cancel 8344";
    f->change->effect = "rolls back\nthen 8344 \x1b[1m goes";
    f->change->left_out = "2 walsenders are left out";
    f->change->steps[0].subject = "app_user · idle";
    assert_string_equal(change_preview(f, f->change),
                        "Mildest   cancel 8344\n"
                        "Chosen    end session 8121 on main, as sb_act\n"
                        "Sends     SELECT end(0)\n"
                        "          SELECT end(1)\n"
                        "Target    8121@2026-11-21 13:58:31.204+00 · app_user · idle\n"
                        "          8122@x\n"
                        "Left out  2 walsenders are left out\n"
                        "Effect    rolls back\n"
                        "          then 8344 \\x1b[1m goes\n"
                        "Undo      none\n"
                        "Reason    incident 17\n");
}

/* ---- rolling ---- */

static void on_step_over(struct change *change, struct change_step *step, void *data)
{
    struct fixture *f = data;
    assert_int_not_equal(step->outcome, STEP_SENT);
    f->over++;
    if (f->over == f->stop_after)
        change_stop(change);
}

static struct change *make_rolling(struct fixture *f, size_t batch, const char *const servers[3])
{
    struct change *change = make_change(f, 3);
    change->verb = "run";
    change->past = "ran on";
    change->batch = batch;
    change->stop_at_failure = true;
    change->step_over = on_step_over;
    change->step_over_data = f;
    for (size_t i = 0; i < 3; i++)
        change->steps[i].server = servers[i];
    f->later = true;
    return change;
}

static const char *const three_hosts[3] = {"web1", "web2", "web3"};

static void test_rolling_stops_at_failure(void **state)
{
    struct fixture *f = *state;
    f->outcomes[1] = STEP_FAILED;
    f->change = make_rolling(f, 1, three_hosts);
    send_and_wait(f);
    assert_int_equal(f->sent, 2);
    assert_int_equal(f->most_flying, 1);
    assert_int_equal(f->over, 3);
    assert_int_equal(f->change->steps[0].outcome, STEP_DONE);
    assert_int_equal(f->change->steps[1].outcome, STEP_FAILED);
    assert_int_equal(f->change->steps[2].outcome, STEP_SKIPPED);
    assert_int_equal(f->error.kind,
                     ERROR_SERVER); /* of the one that failed, not of the one that was not sent */
    assert_string_equal(f->error.where, "web2");
    assert_int_equal(strncmp(f->report, "ran on 1 of 3, 1 failed, 1 was not sent after ", 46), 0);
    assert_int_equal(count_records(f, "before", NULL), 3);
    assert_int_equal(count_records(f, "after", "done"), 1);
    assert_int_equal(count_records(f, "after", "failed"), 1);
    assert_int_equal(count_records(f, "after", "skipped"), 1);
    struct error error;
    struct audit_list *list = audit_read(f, "test", f->folder, 0, &error);
    for (size_t i = 0; i < 3; i++) /* each host has its own records */
        assert_string_equal(list->records[i].server, three_hosts[i]);
}

static void test_rolling_batch(void **state)
{
    struct fixture *f = *state;
    f->change = make_rolling(f, 2, three_hosts);
    send_and_wait(f);
    assert_int_equal(f->sent, 3);
    assert_int_equal(f->most_flying, 2);
    assert_int_equal(f->error.kind, ERROR_NONE);
    assert_int_equal(count_records(f, "after", "done"), 3);
}

/* The steps of one server wait for one another even where the batch has room; those of others go ahead. */
static void test_rolling_order_of_a_server(void **state)
{
    static const char *const servers[3] = {"web1", "web1", "web2"};
    struct fixture *f = *state;
    f->change = make_rolling(f, 2, servers);
    send_and_wait(f);
    assert_string_equal(f->order, "021");
    assert_int_equal(f->most_flying, 2);
}

static void test_rolling_without_stop(void **state)
{
    struct fixture *f = *state;
    f->outcomes[0] = STEP_UNKNOWN;
    f->change = make_rolling(f, 1, three_hosts);
    f->change->stop_at_failure = false;
    f->later = false; /* and answers that come in the same turn */
    send_and_wait(f);
    assert_int_equal(f->sent, 3);
    assert_int_equal(count_records(f, "after", "unknown"), 1);
    assert_int_equal(count_records(f, "after", "done"), 2);
    assert_int_equal(f->error.kind, ERROR_LOST);
    assert_non_null(strstr(f->report, "ran on 2 of 3, the outcome of 1 is unknown"));
}

static void test_rolling_stopped_by_the_user(void **state)
{
    struct fixture *f = *state;
    f->stop_after = 1;
    f->change = make_rolling(f, 1, three_hosts);
    send_and_wait(f);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->error.kind, ERROR_CANCELLED);
    assert_int_equal(count_records(f, "after", "skipped"), 2);
    assert_non_null(strstr(f->report, "ran on 1 of 3, 2 were not sent"));
}

/* What never answers is given up: unknown, and on record as that. */
static void never_answers(struct change *change, struct change_step *step)
{
    struct fixture *f = change->data;
    (void)step;
    f->sent++;
}

static void on_give_up(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct fixture *f = timer->data;
    (void)ev, (void)events;
    if (f->sent == 2)
        change_abandon(f->change);
    else
        ev_timer_start(ev, timer);
}

static void test_abandoned(void **state)
{
    struct fixture *f = *state;
    ev_timer timer;
    f->change = make_rolling(f, 2, three_hosts);
    for (size_t i = 0; i < 3; i++)
        f->change->steps[i].send = never_answers;
    ev_timer_init(&timer, on_give_up, 0.01, 0);
    timer.data = f;
    ev_timer_start(loop_ev(f->loop), &timer);
    send_and_wait(f);
    assert_int_equal(f->sent, 2);
    assert_int_equal(count_records(f, "after", "unknown"), 2);
    assert_int_equal(count_records(f, "after", "skipped"), 1);
    assert_int_equal(f->error.kind, ERROR_CANCELLED);
    /* An answer that comes later changes nothing. */
    change_step_done(f->change, &f->change->steps[0], STEP_DONE, NULL);
    assert_int_equal(f->change->steps[0].outcome, STEP_UNKNOWN);
}

static void test_rolling_preview(void **state)
{
    struct fixture *f = *state;
    f->change = make_rolling(f, 2, three_hosts);
    for (size_t i = 0; i < 3; i++)
        f->change->steps[i].command = "uptime";
    const char *preview = change_preview(f, f->change);
    const char *sends = strstr(preview, "Sends     uptime\nTarget    ");
    assert_non_null(sends);
    assert_non_null(strstr(preview, "Rolling   2 at a time, stopped at the first failure\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_one),
        TEST(test_several),
        cmocka_unit_test_setup_teardown(test_locked, set_up_locked, tear_down),
        TEST(test_gone_and_without_role),
        TEST(test_wants_reason),
        TEST(test_no_record_no_change),
        TEST(test_break_glass),
        TEST(test_quit_while_recording),
        TEST(test_confirmed),
        TEST(test_preview),
        TEST(test_rolling_stops_at_failure),
        TEST(test_rolling_batch),
        TEST(test_rolling_order_of_a_server),
        TEST(test_rolling_without_stop),
        TEST(test_rolling_stopped_by_the_user),
        TEST(test_abandoned),
        TEST(test_rolling_preview),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
