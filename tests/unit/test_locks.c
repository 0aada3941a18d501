/* The blocking tree from given facts: circles, prepared transactions, blockers that cannot be seen. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/locks_internal.h"
#include "backends/postgres/session_change.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

enum { MOST = 16 };

static struct locks_facts *new_facts(void)
{
    struct locks_facts *facts = talloc_zero(NULL, struct locks_facts);
    facts->activity = SNAPSHOT_NEW(struct activity_snapshot);
    facts->activity->sessions = talloc_zero_array(facts->activity, struct session, MOST);
    facts->locks = talloc_zero_array(facts, struct lock_fact, MOST);
    facts->prepared = talloc_zero_array(facts, struct prepared_fact, MOST);
    return facts;
}

/* A session that waits for one or two pids (-1: none); with a second or more of waiting it has a wanted lock.
 */
static void session(struct locks_facts *facts, int pid, double waited, int first, int second)
{
    struct session *s = &facts->activity->sessions[facts->activity->count++];
    s->pid = pid;
    s->id = talloc_asprintf(facts->activity, "%d@2026-11-21 10:00:00+00", pid);
    s->blocked_by = talloc_array(facts->activity, int64_t, 2);
    if (first >= 0)
        s->blocked_by[s->blocked_by_count++] = first;
    if (second >= 0)
        s->blocked_by[s->blocked_by_count++] = second;
    s->snapshot = facts->activity;
    if (waited > 0)
        facts->locks[facts->lock_count++] = (struct lock_fact){.pid = pid,
                                                               .transaction = "9/9",
                                                               .type = "relation",
                                                               .mode = "Exclusive",
                                                               .key = "relation/1/2",
                                                               .on = "public.t",
                                                               .waited_s = waited};
}

static void granted(struct locks_facts *facts, int pid, const char *transaction, const char *mode,
                    int64_t xid)
{
    facts->locks[facts->lock_count++] = (struct lock_fact){.pid = pid,
                                                           .transaction = (char *)transaction,
                                                           .type = xid ? "transactionid" : "relation",
                                                           .mode = (char *)mode,
                                                           .key = xid ? "transactionid/x" : "relation/1/2",
                                                           .on = "public.t",
                                                           .xid = xid,
                                                           .granted = true,
                                                           .waited_s = NAN};
}

static struct locks_snapshot *build(struct locks_facts *facts)
{
    struct locks_snapshot *snapshot = locks_build(facts, "main");
    assert_null(facts->activity);
    talloc_free(facts);
    return snapshot;
}

static void test_nobody_waits(void **state)
{
    (void)state;
    struct locks_snapshot *snapshot = build(new_facts());
    assert_int_equal(snapshot->count, 0);
    assert_int_equal(snapshot->waiting, 0);
    assert_null(locks_find(snapshot, "1"));
    snapshot_release(snapshot);
}

static void test_two_trees_the_worse_first(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 10, 0, -1, -1);
    session(facts, 20, 0, -1, -1);
    session(facts, 11, 5, 10, -1);
    session(facts, 21, 3, 20, -1);
    session(facts, 22, 4, 20, -1);
    session(facts, 23, 2, 21, -1);
    session(facts, 99, 0, -1, -1); /* blocks nobody: not in the tree */
    granted(facts, 10, "1/1", "Exclusive", 0);
    struct locks_snapshot *snapshot = build(facts);
    static const int pids[] = {20, 22, 21, 23, 10, 11}, depths[] = {0, 1, 1, 2, 0, 1},
                     behind[] = {3, 0, 1, 0, 1, 0};
    assert_int_equal(snapshot->count, 6);
    assert_int_equal(snapshot->waiting, 4);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(snapshot->nodes[i].pid, pids[i]);
        assert_int_equal(snapshot->nodes[i].depth, depths[i]);
        assert_int_equal(snapshot->nodes[i].behind, behind[i]);
        assert_int_equal(snapshot->nodes[i].root, i < 4 ? 20 : 10);
    }
    assert_string_equal(snapshot->nodes[4].holds, "Exclusive public.t");
    assert_null(snapshot->nodes[0].holds);
    snapshot_release(snapshot);
}

/* Hundreds of sessions that queue for one row: each is blocked by all before it. */
static void test_a_long_queue_takes_little_time(void **state)
{
    (void)state;
    enum { QUEUE = 400 };
    struct locks_facts *facts = talloc_zero(NULL, struct locks_facts);
    facts->activity = SNAPSHOT_NEW(struct activity_snapshot);
    facts->activity->sessions = talloc_zero_array(facts->activity, struct session, QUEUE);
    facts->locks = talloc_zero_array(facts, struct lock_fact, 2 * QUEUE);
    for (int i = 0; i < QUEUE; i++) {
        session(facts, 1000 + i, i, -1, -1);
        struct session *s = &facts->activity->sessions[i];
        s->blocked_by = talloc_array(facts->activity, int64_t, QUEUE);
        for (int j = 0; j < i; j++)
            s->blocked_by[s->blocked_by_count++] = 1000 + j;
        granted(facts, 1000 + i, "9/9", "Exclusive", i ? 1 : 0);
    }
    double begun = clock_monotonic();
    struct locks_snapshot *snapshot = build(facts);
    double took = clock_monotonic() - begun;
    assert_int_equal(snapshot->count, QUEUE);
    assert_int_equal(snapshot->nodes[0].behind, QUEUE - 1);
    assert_string_equal(snapshot->nodes[0].holds, "Exclusive public.t");
    assert_null(snapshot->nodes[1].holds);
    if (took > 1)
        fail_msg("a queue of %d took %.1f s", QUEUE, took);
    snapshot_release(snapshot);
}

static void test_two_blockers_count_once(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 1, 0, -1, -1);
    session(facts, 2, 0, -1, -1);
    session(facts, 3, 5, 1, 2);
    session(facts, 4, 4, 3, 1); /* queued behind 3, and kept out by 1 as well */
    struct locks_snapshot *snapshot = build(facts);
    assert_int_equal(snapshot->count, 4);
    const struct lock_node *one = locks_find(snapshot, "1@2026-11-21 10:00:00+00");
    const struct lock_node *two = locks_find(snapshot, "2@2026-11-21 10:00:00+00");
    const struct lock_node *three = locks_find(snapshot, "3@2026-11-21 10:00:00+00");
    assert_int_equal(one->behind, 2);
    assert_int_equal(two->behind, 2);
    assert_int_equal(three->behind, 1);
    assert_int_equal(three->depth, 1);
    assert_int_equal(three->root, 1);
    assert_null(locks_next(snapshot, one)); /* 3 waits for 2 as well */
    size_t count;
    char **behind = session_behind(NULL, snapshot, two->id, &count);
    assert_int_equal(count, 2);
    talloc_free(behind);
    snapshot_release(snapshot);
}

/* Before the deadlock detector looks, waits may run in a circle. */
static void test_circle(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 1, 2, 3, -1);
    session(facts, 2, 9, 1, -1);
    session(facts, 3, 1, 2, -1);
    session(facts, 4, 1, 3, -1);
    session(facts, 5, 1, 5, -1); /* for itself: never, but no reason to fall over */
    struct locks_snapshot *snapshot = build(facts);
    assert_int_equal(snapshot->nodes[0].pid, 2); /* waits longest */
    assert_int_equal(snapshot->nodes[0].depth, 0);
    for (size_t i = 0; i < snapshot->count; i++) {
        assert_true(snapshot->nodes[i].pid != 5);
        assert_int_equal(snapshot->nodes[i].behind, snapshot->nodes[i].pid == 4 ? 0 : 3);
    }
    assert_int_equal(snapshot->count, 4);
    size_t count;
    talloc_free(session_behind(NULL, snapshot, snapshot->nodes[0].id, &count));
    assert_int_equal(count, 3);
    snapshot_release(snapshot);
}

static void test_prepared_transactions(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 7, 5, 0, -1);
    session(facts, 8, 2, 0, 7);
    granted(facts, 0, "3/77", "RowExclusive", 0);
    granted(facts, 0, "3/77", "Exclusive", 4711);
    granted(facts, 0, "-1/4712", "AccessShare", 0); /* another, which is in nobody's way */
    granted(facts, 0, "-1/4712", "Exclusive", 4712);
    facts->prepared[facts->prepared_count++] =
        (struct prepared_fact){.xid = 4712, .gid = "harmless", .owner = "a", .age_s = 1};
    facts->prepared[facts->prepared_count++] =
        (struct prepared_fact){.xid = 4711, .gid = "culprit", .owner = "b", .age_s = 100};
    struct locks_snapshot *snapshot = build(facts);
    assert_int_equal(snapshot->count, 3);
    assert_int_equal(snapshot->nodes[0].kind, LOCK_PREPARED);
    assert_string_equal(snapshot->nodes[0].gid, "culprit");
    assert_string_equal(snapshot->nodes[0].owner, "b");
    assert_string_equal(snapshot->nodes[0].holds, "RowExclusive public.t");
    assert_int_equal(snapshot->nodes[0].behind, 2);
    assert_int_equal(snapshot->nodes[1].pid, 7);
    assert_int_equal(snapshot->nodes[1].root, 0);
    snapshot_release(snapshot);
}

static void test_blockers_that_cannot_be_seen(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 1, 5, 0, -1);    /* a prepared transaction that is not found */
    session(facts, 2, 5, 4444, -1); /* a pid that is not there */
    session(facts, 3, 30, -1, -1);  /* waits, and nobody blocks it */
    session(facts, 4, 0.2, -1, -1); /* was just granted */
    struct locks_snapshot *snapshot = build(facts);
    int unseen = 0;
    assert_int_equal(snapshot->count, 5);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct lock_node *node = &snapshot->nodes[i];
        assert_true(node->pid != 4);
        if (node->kind != LOCK_INVISIBLE)
            continue;
        unseen++;
        assert_int_equal(node->depth, 0);
        assert_int_equal(node->id[0], '?');
        assert_true(locks_find(snapshot, node->id) == node);
        assert_int_equal(node->behind, node->pid == 4444 ? 1 : 2);
    }
    assert_int_equal(unseen, 2);
    snapshot_release(snapshot);
}

static void test_sessions_outlive_the_facts(void **state)
{
    (void)state;
    struct locks_facts *facts = new_facts();
    session(facts, 1, 0, -1, -1);
    session(facts, 2, 5, 1, -1);
    const void *held = snapshot_hold(build(facts));
    snapshot_release(held);
    const struct locks_snapshot *snapshot = held;
    assert_int_equal(snapshot->nodes[1].session->pid, 2);
    assert_int_equal(snapshot->activity->count, 2);
    snapshot_release(held);
}

static void test_conflicts(void **state)
{
    (void)state;
    assert_true(locks_conflict("RowExclusive", "Share"));
    assert_true(locks_conflict("Share", "RowExclusive"));
    assert_false(locks_conflict("RowExclusive", "RowExclusive"));
    assert_false(locks_conflict("Share", "Share"));
    assert_true(locks_conflict("AccessShare", "AccessExclusive"));
    assert_false(locks_conflict("AccessShare", "Exclusive"));
    assert_true(locks_conflict("ShareUpdateExclusive", "ShareUpdateExclusive"));
    assert_true(locks_conflict("Exclusive", "RowShare"));
    static const char *const modes[] = {
        "AccessShare", "RowShare",          "RowExclusive", "ShareUpdateExclusive",
        "Share",       "ShareRowExclusive", "Exclusive",    "AccessExclusive"};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            assert_int_equal(locks_conflict(modes[i], modes[j]), locks_conflict(modes[j], modes[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits),
        cmocka_unit_test(test_two_trees_the_worse_first),
        cmocka_unit_test(test_a_long_queue_takes_little_time),
        cmocka_unit_test(test_two_blockers_count_once),
        cmocka_unit_test(test_circle),
        cmocka_unit_test(test_prepared_transactions),
        cmocka_unit_test(test_blockers_that_cannot_be_seen),
        cmocka_unit_test(test_sessions_outlive_the_facts),
        cmocka_unit_test(test_conflicts),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
