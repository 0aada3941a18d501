/* What the parse tree says of a statement: its form, its names, where its parameters stand. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plain_read.h"
#include "tests/unit/unit.h"

static void expect_form(const char *sql, const char *part, bool explainable)
{
    struct plain_statement *s = plain_statement_read(NULL, sql);
    const struct error *refusal = &s->refusal;
    if (part ? refusal->kind != ERROR_INTERLOCK || !strstr(refusal->why, part) : refusal->kind != ERROR_NONE)
        fail_msg("%s: %s, expected %s", sql, refusal->why, part ? part : "nothing");
    if (s->explainable != explainable)
        fail_msg("%s: explainable %d", sql, s->explainable);
    talloc_free(s);
}

static void test_forms(void **state)
{
    (void)state;
    expect_form("SELECT 1", NULL, true);
    expect_form(" ;SELECT 1;; -- end", NULL, true);
    expect_form("SELECT 'a;b', $$;$$, \";\" FROM t /* ; DROP TABLE t */", NULL, true);
    expect_form("SELECT /* /* nested */ ; */ 1", NULL, true);
    expect_form("", "empty", false);
    expect_form("-- nothing", "empty", false);
    expect_form("SELECT 1; SELECT 2", "more than one", false);
    expect_form("SELECT '\\'; DROP TABLE t; --'", "more than one", false);
    expect_form("SELECT E'\\'; DROP TABLE t; --'", NULL, true);
    expect_form("SELECT 1; COMMIT", "more than one", false);
    expect_form("INSERT INTO t VALUES (1)", "INSERT", true);
    expect_form("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "MERGE", true);
    expect_form("SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED", "locks rows", true);
    expect_form("SELECT (SELECT 1 FROM t FOR SHARE)", "locks rows", true);
    expect_form("SELECT 1 INTO TEMP x", "makes a table", true);
    expect_form("WITH a AS (UPDATE t SET x = 1 RETURNING 1) SELECT 1", "UPDATE", true);
    expect_form("SELECT * FROM t TABLESAMPLE mine (1)", "mine", true);
    expect_form("SELECT * FROM t TABLESAMPLE public.system (1)", "system", true);
    expect_form("SELECT * FROM t TABLESAMPLE pg_catalog.system (1)", NULL, true);
    expect_form("PREPARE p AS SELECT 1", "PREPARE", false);
    expect_form("EXECUTE p", "EXECUTE", false);
    expect_form("DECLARE c CURSOR FOR SELECT 1", "DECLARE CURSOR", false);
    expect_form("REFRESH MATERIALIZED VIEW v", "REFRESH", false);
    expect_form("LOCK t", "LOCK", false);
    expect_form("SHOW all", "SHOW", false);
    /* Not understood here: the server may, but nothing of it is measured. */
    expect_form("SELECT FROM WHERE", "grammar of PostgreSQL 15", true);
}

static bool has_name(const struct plain_statement *s, enum plain_name_kind kind, const char *schema,
                     const char *name)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (s->names[i].kind == kind && strcmp(s->names[i].name, name) == 0 &&
            (schema ? s->names[i].schema && strcmp(s->names[i].schema, schema) == 0 : !s->names[i].schema))
            return true;
    return false;
}

static void test_names(void **state)
{
    (void)state;
    struct plain_statement *s = plain_statement_read(
        NULL, "WITH c AS (TABLE t1) SELECT F(x), s.\"G h\"(), U&\"\\0065vil\"(), a.b, (r).k, x::s.ty, y "
              "OPERATOR(p.+) 1, "
              "z BETWEEN 1 AND 2, q LIKE 'a' FROM c, sch.t2 AS u, t1 GROUP BY 1 ORDER BY 1 USING >>");
    assert_int_equal(s->refusal.kind, ERROR_NONE);
    assert_true(has_name(s, PLAIN_FUNCTION, NULL, "f"));
    assert_true(has_name(s, PLAIN_FUNCTION, "s", "G h"));
    assert_true(has_name(s, PLAIN_FUNCTION, NULL, "evil"));
    assert_true(has_name(s, PLAIN_MEMBER, NULL, "b"));
    assert_true(has_name(s, PLAIN_MEMBER, NULL, "k"));
    assert_false(has_name(s, PLAIN_MEMBER, NULL, "x"));
    assert_true(has_name(s, PLAIN_TYPE, "s", "ty"));
    assert_true(has_name(s, PLAIN_OPERATOR, "p", "+"));
    assert_true(has_name(s, PLAIN_OPERATOR, NULL, ">="));
    assert_true(has_name(s, PLAIN_OPERATOR, NULL, "~~"));
    assert_true(has_name(s, PLAIN_OPERATOR, NULL, ">>"));
    assert_true(has_name(s, PLAIN_OPERATOR, NULL, "="));
    assert_true(has_name(s, PLAIN_RELATION, "sch", "t2"));
    assert_true(has_name(s, PLAIN_RELATION, NULL, "t1"));
    assert_int_equal(s->cte_count, 1);
    assert_string_equal(s->ctes[0], "c");
    char *json = plain_statement_names(s, s, 1u << PLAIN_TYPE);
    assert_string_equal(json, "[{\"kind\":\"type\",\"schema\":\"s\",\"name\":\"ty\",\"alias\":null}]");
    talloc_free(s);
}

static void expect_place(const char *sql, int parameter, enum plain_place_kind kind, const char *column)
{
    struct plain_statement *s = plain_statement_read(NULL, sql);
    bool found = false;
    for (size_t i = 0; i < s->place_count; i++)
        found |=
            s->places[i].parameter == parameter && s->places[i].kind == kind &&
            (column ? s->places[i].column && strcmp(s->places[i].column, column) == 0 : !s->places[i].column);
    if (!found)
        fail_msg("%s: $%d is not found", sql, parameter);
    talloc_free(s);
}

static void test_places(void **state)
{
    (void)state;
    expect_place("SELECT 1 FROM t WHERE a = $1", 1, PLAIN_EQUAL, "a");
    expect_place("SELECT 1 FROM t WHERE $1 = t.a", 1, PLAIN_EQUAL, "a");
    expect_place("SELECT 1 FROM t WHERE a::text = $2::text", 2, PLAIN_EQUAL, "a");
    expect_place("SELECT 1 FROM t WHERE a IN ($1, $2)", 2, PLAIN_EQUAL, "a");
    expect_place("SELECT 1 FROM t WHERE a >= $1", 1, PLAIN_RANGE, "a");
    expect_place("SELECT 1 FROM t WHERE a BETWEEN $1 AND $2", 2, PLAIN_RANGE, "a");
    expect_place("SELECT 1 FROM t WHERE a = ANY ($1)", 1, PLAIN_ANY, "a");
    expect_place("SELECT 1 LIMIT $1 OFFSET $2", 1, PLAIN_LIMIT, NULL);
    expect_place("SELECT 1 LIMIT $1 OFFSET $2", 2, PLAIN_OFFSET, NULL);
    struct plain_statement *s = plain_statement_read(NULL, "SELECT a + $1, $40 FROM t");
    assert_int_equal(s->place_count, 0);
    assert_int_equal(s->parameters, 40);
    talloc_free(s);
}

static void expect_text(const char *sql, const char *expected)
{
    struct plain_statement *s = plain_statement_read(NULL, sql);
    assert_string_equal(s->sql, expected);
    assert_int_equal(s->rewritten, strcmp(sql, expected) != 0);
    talloc_free(s);
}

static void test_typed_literals(void **state)
{
    (void)state;
    expect_text("SELECT now() - interval $1", "SELECT now() - $1::interval");
    expect_text("SELECT INTERVAL  $12 day, date $2", "SELECT $12::INTERVAL day, $2::date");
    expect_text("SELECT timestamp with time zone $1", "SELECT $1::timestamp with time zone");
    expect_text("SELECT 'interval $1', \"date $2\", $a$date $3$a$ -- date $4",
                "SELECT 'interval $1', \"date $2\", $a$date $3$a$ -- date $4");
    expect_text("SELECT my_date $1, x.date, candidate $1", "SELECT my_date $1, x.date, candidate $1");
    expect_text("SELECT /* interval $1 */ 'it''s', interval '1 day'",
                "SELECT /* interval $1 */ 'it''s', interval '1 day'");
}

static void test_hostile_sizes(void **state)
{
    (void)state;
    char *deep = talloc_strdup(NULL, "SELECT "), *chain = talloc_strdup(NULL, "SELECT 1");
    for (int i = 0; i < 20000; i++)
        deep = talloc_strdup_append_buffer(deep, "(");
    struct plain_statement *s = plain_statement_read(deep, deep);
    assert_int_equal(s->refusal.kind, ERROR_INTERLOCK);
    for (int i = 0; i < 3000; i++)
        chain = talloc_strdup_append_buffer(chain, " + 1");
    s = plain_statement_read(chain, chain);
    assert_true(s->refusal.kind == ERROR_NONE || s->refusal.kind == ERROR_INTERLOCK);
    char *large = talloc_zero_size(deep, 1024 * 1024 + 100);
    memset(large, ' ', 1024 * 1024 + 50);
    s = plain_statement_read(deep, large);
    assert_non_null(strstr(s->refusal.why, "1 MB"));
    talloc_free(deep);
    talloc_free(chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_places),        cmocka_unit_test(test_typed_literals),
        cmocka_unit_test(test_hostile_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
