/* Deltas of statements, from given readings; the columns that each version has. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/statements_internal.h"
#include "tests/unit/unit.h"

static struct statement_reading entry(int64_t id, int64_t calls, double total_ms)
{
    return (struct statement_reading){.query_id = id,
                                      .database = 5,
                                      .role = 10,
                                      .top_level = true,
                                      .max_ms = 7,
                                      .since = NAN,
                                      .counters = {.calls = calls,
                                                   .rows = 3 * calls,
                                                   .total_ms = total_ms,
                                                   .plan_ms = NAN,
                                                   .shared_hit = 10 * calls,
                                                   .io_read_ms = 1,
                                                   .wal_bytes = -1}};
}

static double now_s;

/* A reading with these entries (id 0 ends them), ten seconds after the last. */
static void read_entries(struct statements_store *store, double reset_at, int64_t deallocated,
                         const struct statement_reading *entries)
{
    now_s += 10;
    statements_store_begin(store, 1000 + now_s, now_s, reset_at, deallocated, true);
    for (; entries->query_id; entries++)
        statements_store_take(store, entries);
    statements_store_end(store);
}

static const struct statement *find(const struct statements_snapshot *snapshot, int64_t id)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->statements[i].query_id == id)
            return &snapshot->statements[i];
    return NULL;
}

static void expect_calls(struct statements_store *store, enum statements_basis basis, int64_t id,
                         int64_t calls)
{
    struct statements_snapshot *snapshot = statements_store_snapshot(store, basis);
    const struct statement *statement = find(snapshot, id);
    assert_int_equal(statement ? statement->calls : 0, calls);
    snapshot_release(snapshot);
}

static void test_bases(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    assert_null(statements_store_snapshot(store, BASIS_OPENED));
    read_entries(store, 500, 7, (struct statement_reading[]){entry(1, 100, 1000), entry(2, 5, 50), {0}});
    expect_calls(store, BASIS_OPENED, 1, 0);
    expect_calls(store, BASIS_INTERVAL, 1, 0);
    expect_calls(store, BASIS_RESET, 1, 100);
    read_entries(store, 500, 7,
                 (struct statement_reading[]){entry(1, 110, 1030), entry(2, 5, 50), entry(3, 2, 10), {0}});
    read_entries(store, 500, 9,
                 (struct statement_reading[]){entry(1, 113, 1090), entry(2, 5, 50), entry(3, 6, 20), {0}});
    struct statements_snapshot *snapshot = statements_store_snapshot(store, BASIS_OPENED);
    assert_int_equal(snapshot->count, 2);
    assert_int_equal(snapshot->entries, 3);
    assert_int_equal(snapshot->evicted, 2);
    assert_false(snapshot->reset_seen);
    assert_float_equal(snapshot->elapsed_s, 20, 1e-9);
    const struct statement *s = find(snapshot, 1);
    assert_int_equal(s->calls, 13);
    assert_int_equal(s->rows, 39);
    assert_float_equal(s->total_ms, 90, 1e-9);
    assert_float_equal(s->mean_ms, 90.0 / 13, 1e-9);
    assert_float_equal(s->rows_per_call, 3, 1e-9);
    assert_float_equal(s->share_percent, 100 * 90.0 / 110, 1e-9);
    assert_int_equal(s->shared_hit_blocks, 130);
    assert_int_equal(s->wal_bytes, -1);
    assert_true(isnan(s->plan_ms) && isnan(s->max_ms));
    assert_string_equal(s->id, "1/5/10/1");
    assert_string_equal(s->database, "5"); /* no name is known yet */
    assert_true(statements_find(snapshot, "1/5/10/1") == s);
    assert_int_equal(find(snapshot, 3)->calls, 6); /* came later: counts from zero */
    snapshot_release(snapshot);
    expect_calls(store, BASIS_INTERVAL, 1, 3);
    expect_calls(store, BASIS_INTERVAL, 3, 4);
    snapshot = statements_store_snapshot(store, BASIS_RESET);
    assert_float_equal(find(snapshot, 1)->max_ms, 7, 0);
    assert_float_equal(snapshot->since, 500, 0);
    assert_int_equal(snapshot->count, 3);
    snapshot_release(snapshot);
    statements_store_free(store);
}

static void test_calls_went_down(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 100, 1000), {0}});
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 120, 1200), {0}});
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 4, 40), {0}});
    expect_calls(store, BASIS_OPENED, 1, 4);
    expect_calls(store, BASIS_INTERVAL, 1, 4);
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 6, 60), {0}});
    expect_calls(store, BASIS_OPENED, 1, 6);
    expect_calls(store, BASIS_INTERVAL, 1, 2);
    struct statements_snapshot *snapshot = statements_store_snapshot(store, BASIS_OPENED);
    assert_int_equal(snapshot->evicted, -1);
    assert_true(snapshot->reset_seen);
    snapshot_release(snapshot);
    /* Evicted, then entered again. */
    read_entries(store, 0, -1, (struct statement_reading[]){{0}});
    expect_calls(store, BASIS_RESET, 1, 0);
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 900, 60), {0}});
    expect_calls(store, BASIS_OPENED, 1, 900);
    statements_store_free(store);
}

/* After a reset the calls may have passed the old figure within one interval: only its time tells. */
static void test_total_reset(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    read_entries(store, 500, 3, (struct statement_reading[]){entry(1, 10, 100), {0}});
    read_entries(store, 900, 1, (struct statement_reading[]){entry(1, 50, 500), {0}});
    expect_calls(store, BASIS_OPENED, 1, 50);
    expect_calls(store, BASIS_INTERVAL, 1, 50);
    struct statements_snapshot *snapshot = statements_store_snapshot(store, BASIS_RESET);
    assert_true(snapshot->reset_seen);
    assert_int_equal(snapshot->evicted, 1);
    assert_float_equal(snapshot->since, 900, 0);
    snapshot_release(snapshot);
    statements_store_free(store);
}

/* 17 says when each entry began. */
static void test_entry_began_anew(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    struct statement_reading before = entry(1, 10, 100), after = entry(1, 30, 300);
    before.since = 50;
    after.since = 60;
    read_entries(store, 5, 0, (struct statement_reading[]){before, {0}});
    read_entries(store, 5, 0, (struct statement_reading[]){after, {0}});
    expect_calls(store, BASIS_OPENED, 1, 30);
    statements_store_free(store);
}

static void test_texts_and_names(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    struct statement_reading other = entry(2, 1, 1);
    other.role = 11;
    read_entries(store, 0, -1, (struct statement_reading[]){entry(1, 1, 1), entry(2, 1, 1), other, {0}});
    assert_null(statements_store_wanted(NULL, store, true)); /* no calls since opened */
    char *wanted = statements_store_wanted(NULL, store, false);
    assert_string_equal(wanted, "{1,2}");
    talloc_free(wanted);
    assert_null(statements_store_wanted(NULL, store, false)); /* asked for already */
    statements_store_text(store, 1, "ALTER ROLE x PASSWORD 'secret'");
    statements_store_text(store, 2, "SELECT 2");
    statements_store_name(store, false, 5, "school");
    statements_store_name(store, true, 5, "not this");
    statements_store_name(store, true, 10, "app");
    struct statements_snapshot *snapshot = statements_store_snapshot(store, BASIS_RESET);
    assert_null(strstr(find(snapshot, 1)->query, "secret"));
    assert_string_equal(find(snapshot, 2)->query, "SELECT 2");
    assert_string_equal(find(snapshot, 1)->database, "school");
    assert_string_equal(find(snapshot, 1)->role, "app");
    snapshot_release(snapshot);
    statements_store_free(store);
}

/* For days, as on a server that throws entries away all the time. */
static void test_texts_of_the_past_are_forgotten(void **state)
{
    (void)state;
    enum { STAYS = 1, READINGS = 40, EACH = 500 };
    struct statements_store *store = statements_store_new(NULL, "main");
    struct statements_snapshot *first = NULL;
    size_t most = 0;
    for (int64_t i = 0; i < READINGS; i++) {
        struct statement_reading entries[EACH + 2] = {entry(STAYS, i + 1, 1)};
        for (int64_t j = 0; j < EACH; j++)
            entries[j + 1] = entry(2 + i * EACH + j, 1, 1);
        read_entries(store, 0, -1, entries);
        for (int j = 0; j <= EACH; j++)
            statements_store_text(store, entries[j].query_id, j ? "SELECT other" : "SELECT the same");
        if (!first)
            first = statements_store_snapshot(store, BASIS_RESET);
        size_t blocks = talloc_total_blocks(store);
        most = blocks > most ? blocks : most;
    }
    assert_in_range(most, EACH, 20 * EACH); /* of READINGS * EACH */
    struct statements_snapshot *last = statements_store_snapshot(store, BASIS_RESET);
    assert_string_equal(find(last, STAYS)->query, "SELECT the same");
    statements_store_free(store);
    assert_string_equal(find(first, 2)->query, "SELECT other");
    assert_string_equal(find(last, STAYS)->query, "SELECT the same");
    snapshot_release(first);
    snapshot_release(last);
}

/* What the connection lost while the first answer was handed over must not count as new. */
static void test_first_reading_is_cut_off(void **state)
{
    (void)state;
    struct statements_store *store = statements_store_new(NULL, "main");
    struct statement_reading one = entry(1, 1000, 10000);
    statements_store_begin(store, 1000, 0, 500, 0, true);
    statements_store_take(store, &one);
    read_entries(store, 500, 0, (struct statement_reading[]){one, entry(2, 5000, 50), {0}});
    expect_calls(store, BASIS_OPENED, 2, 0);
    expect_calls(store, BASIS_RESET, 2, 5000);
    statements_store_free(store);
}

static void expect_columns(int version, const char *has, const char *lacks)
{
    char *query = statements_query(NULL, "public", version);
    if (!strstr(query, has) || (lacks && strstr(query, lacks)))
        fail_msg("%d: %s", version, query);
    talloc_free(query);
}

static void test_columns_by_version(void **state)
{
    (void)state;
    expect_columns(107, "true, calls, rows, total_time, max_time, NULL::float8", "wal_bytes");
    expect_columns(108, "total_exec_time, max_exec_time, total_plan_time", "toplevel");
    expect_columns(108, "wal_bytes", "total_time,");
    expect_columns(109, "toplevel", "temp_blk_read_time");
    expect_columns(110, "blk_read_time + temp_blk_read_time", "shared_blk_read_time");
    expect_columns(111, "shared_blk_read_time + local_blk_read_time + temp_blk_read_time", NULL);
    expect_columns(112, "stats_since", NULL);
    char *info = statements_info_query(NULL, "public", 108);
    assert_null(strstr(info, "pg_stat_statements_info"));
    talloc_free(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_of_the_past_are_forgotten),
        cmocka_unit_test(test_first_reading_is_cut_off),
        cmocka_unit_test(test_bases),
        cmocka_unit_test(test_calls_went_down),
        cmocka_unit_test(test_total_reset),
        cmocka_unit_test(test_entry_began_anew),
        cmocka_unit_test(test_texts_and_names),
        cmocka_unit_test(test_columns_by_version),
    };
    return cmocka_run_group_tests_name("statements", tests, NULL, NULL);
}
