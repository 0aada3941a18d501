/* Texts of job tables: documents without their values, the place a traceback points to, SQL out of layouts.
 */
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"
#include "tests/unit/unit.h"

static void shapes(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"tenant\": \"al_noor\", \"n\": 1, \"x\": 1.5, \"b\": true, \"z\": null}",
         "{tenant: str, n: int, x: float, b: bool, z: null}"},
        {"[[\"secret\"], {\"a\": {\"b\": {\"c\": \"secret\"}}}]", "[[str], {a: {b: object}}]"},
        {"\"secret\"", "str"},
        {"null", "null"},
        {"{}", "{}"},
        {"[]", "[]"},
        {"", NULL},
        {"{", NULL},
        {"nonsense", NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *shape = pg_json_shape(NULL, pairs[i][0]);
        if (pairs[i][1])
            assert_string_equal(shape ? shape : "(none)", pairs[i][1]);
        else
            assert_null(shape);
        talloc_free(shape);
    }
    /* However much there is, it stays a line. */
    char *big = talloc_strdup(NULL, "[");
    for (int i = 0; i < 3000; i++)
        big = talloc_asprintf_append_buffer(big, "%s{\"key%d\": [1, 2]}", i ? "," : "", i);
    big = talloc_strdup_append_buffer(big, "]");
    char *shape = pg_json_shape(big, big);
    assert_true(shape && strlen(shape) < 700 && strstr(shape, "…"));
    talloc_free(big);
}

static void frames(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"Error: x\n    at run (/srv/node_modules/pg/x.js:1:2)\n    at mail (/srv/mail.js:3:4)\n    at z "
         "(/srv/z.js:1:1)",
         "mail (/srv/mail.js:3:4)"},
        {"Error: x\n    at run (/srv/node_modules/pg/x.js:1:2)", "run (/srv/node_modules/pg/x.js:1:2)"},
        {"Traceback (most recent call last):\n  File \"/a.py\", line 1, in x\n    y()\n  File \"/b.py\", "
         "line 2, in y\nE: z",
         "File \"/b.py\", line 2, in y"},
        {"app/jobs/card.rb:12:in `perform'\n/gems/x.rb:1", "app/jobs/card.rb:12:in `perform'"},
        {"just words", NULL},
        {"", NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *frame = pg_trace_frame(NULL, pairs[i][0]);
        if (pairs[i][1])
            assert_string_equal(frame ? frame : "(none)", pairs[i][1]);
        else
            assert_null(frame);
        talloc_free(frame);
    }
}

static void sql(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    assert_string_equal(pg_literal(context, "a'b"), "'a''b'");
    assert_string_equal(pg_literal(context, "a\\'b"), "E'a\\\\''b'");
    assert_string_equal(pg_literal(context, NULL), "NULL");
    assert_string_equal(pg_identifier(context, "we\"ird"), "\"we\"\"ird\"");
    assert_string_equal(pg_jobs_sql(context, "t 1", "SELECT $1, $SCHEMA FROM @job WHERE a = '$'"),
                        "SELECT $1, 't 1' FROM \"t 1\".job WHERE a = '$'");
    /* A schema is what it is, whatever it is called. */
    assert_string_equal(pg_jobs_sql(context, "@$SCHEMA", "@x $SCHEMA"), "\"@$SCHEMA\".x '@$SCHEMA'");
    talloc_free(context);
}

static void catalogue(void **state)
{
    (void)state;
    struct pg_relation relations[] = {
        {"a", "job", ",id,name,"}, {"a", "version", ",version,"}, {"b", "job", ",id,"}};
    struct pg_catalog catalog = {.relations = relations, .count = 3};
    const char *missing;
    bool some;
    assert_true(pg_catalog_has_all(&catalog, "a", (const char *const[]){"job.name", "version.version", NULL},
                                   &missing, &some));
    assert_false(pg_catalog_has_all(&catalog, "b", (const char *const[]){"job.id", "job.name", NULL},
                                    &missing, &some));
    assert_string_equal(missing, "job.name");
    assert_true(some);
    assert_false(pg_catalog_has_all(&catalog, "c", (const char *const[]){"job.id", NULL}, &missing, &some));
    assert_false(some);
    assert_false(pg_relation_has(&relations[0], "am"));
    assert_false(pg_relation_has(&relations[0], "nam"));
    size_t count;
    const char **schemas = pg_catalog_schemas(NULL, &catalog, &count);
    assert_int_equal(count, 2);
    assert_string_equal(schemas[1], "b");
    talloc_free(schemas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(frames),
        cmocka_unit_test(sql),
        cmocka_unit_test(catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
