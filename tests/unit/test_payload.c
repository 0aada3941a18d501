/* What job systems write into their messages: JSON over its bytes, shapes, zlib, Python's calls and pickles.
 */
#include <string.h>
#include <talloc.h>

#include "backends/queues/payload.h"
#include "tests/unit/unit.h"

static struct piece of(const char *text)
{
    return piece_of(text, strlen(text));
}

static void check_text(struct piece piece, const char *expected)
{
    char *text = piece_text(NULL, piece);
    if (expected)
        assert_string_equal(text, expected);
    else
        assert_null(text);
    talloc_free(text);
}

static void members_are_found_and_the_last_of_a_name_counts(void **state)
{
    (void)state;
    struct piece object = of(" {\"a\" : 1, \"b\":{\"a\":[2,\"x]\"]}, \"a\":-3.5e2, \"\\u0063\":\"d\"} ");
    assert_int_equal(object.kind, PIECE_OBJECT);
    assert_float_equal(piece_real(piece_member(object, "a"), 0), -350, 0.001);
    check_text(piece_element(piece_member(piece_member(object, "b"), "a"), 1), "x]");
    check_text(piece_member(object, "c"), "d");
    assert_int_equal(piece_member(object, "d").kind, PIECE_ABSENT);
    assert_int_equal(piece_element(object, 0).kind, PIECE_ABSENT);
}

static void what_is_no_json_is_absent(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",    " ",   "{",     "{\"a\"}",     "{\"a\":}", "[1,]", "[1 2]", "\"x", "{\"a\":1}x", "[1]]",
        "nul", "tru", "{a:1}", "{\"a\":xyz}", "[1x]",     "-",    "]",     ",",   "\\",         "[\"\\"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (of(wrong[i]).kind != PIECE_ABSENT)
            fail_msg("%s is taken for JSON", wrong[i]);
    }
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    assert_int_equal(piece_of(deep, 400).kind, PIECE_ABSENT);
    assert_int_equal(piece_of(deep + 170, 60).kind, PIECE_ARRAY);
}

static void escapes_are_undone(void **state)
{
    (void)state;
    check_text(of("\"a\\n\\\"\\\\\\/\\u00e9\\ud83d\\ude00\""), "a\n\"\\/é😀");
    check_text(of("\"\\ud800x\\udc00\\u0000\""), "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd");
    check_text(of("\"\\u12\""), "\xef\xbf\xbd"
                                "12");
    check_text(of("17"), "17");
    check_text(of("true"), "true");
    check_text(of("null"), NULL);
    assert_true(piece_is(of("\"caf\\u00e9\""), "café"));
    assert_false(piece_is(of("\"cafe\""), "café"));
}

static void shapes_tell_names_and_types_but_no_values(void **state)
{
    (void)state;
    char *shape =
        piece_shape(NULL, of("[\"secret\", 12, {\"school\": \"al_noor\", \"ids\": [1, true, null]}]"));
    assert_string_equal(shape, "(str, number, {school: str, ids: (number, bool, null)})");
    talloc_free(shape);
    char *deep = piece_shape(NULL, of("[[[[[[1]]]]]]"));
    assert_string_equal(deep, "((((…))))");
    talloc_free(deep);
    char *empty = piece_shape(NULL, of("{}"));
    assert_string_equal(empty, "{}");
    talloc_free(empty);
}

static void replacing_touches_no_other_byte(void **state)
{
    (void)state;
    const char *text = "{\"n\":12345678901234567, \"empty\":[] ,\"r\":3,\"f\":0.1}";
    size_t length;
    char *fresh = piece_replace(NULL, text, strlen(text), piece_member(of(text), "r"), "22", &length);
    assert_string_equal(fresh, "{\"n\":12345678901234567, \"empty\":[] ,\"r\":22,\"f\":0.1}");
    assert_int_equal(length, strlen(fresh));
    talloc_free(fresh);
}

static void tenants_are_found_by_the_usual_names_or_the_settings(void **state)
{
    (void)state;
    struct environment_jobs settings = {
        .tenant_keyword = "school", .tenant_argument = -1, .tenant_queue = "t.*.jobs"};
    struct piece object = of("{\"school\":\"st_marys\",\"tenant\":\"al_noor\"}");
    char *usual = payload_tenant(NULL, object, NULL), *set = payload_tenant(NULL, object, &settings);
    assert_string_equal(usual, "al_noor");
    assert_string_equal(set, "st_marys");
    talloc_free(usual);
    talloc_free(set);
    char *queue = payload_queue_tenant(NULL, "t.acme.jobs", &settings);
    assert_string_equal(queue, "acme");
    talloc_free(queue);
    assert_null(payload_queue_tenant(NULL, "t..jobs", &settings));
    assert_null(payload_queue_tenant(NULL, "other", &settings));
    assert_null(payload_queue_tenant(NULL, "t.acme.jobs", NULL));
}

static void compressed_bytes_come_out_up_to_a_limit(void **state)
{
    (void)state;
    /* zlib.compress(b"a" * 5000) */
    static const char packed[] = "eJztwTEBAAAAwqCs61/CFH5AAQAAAABvA0tvZvI=";
    size_t length, result;
    bool cut;
    char *bytes = payload_base64(NULL, packed, strlen(packed), &length);
    assert_non_null(bytes);
    char *some = payload_inflate(NULL, bytes, length, 1000, &result, &cut);
    assert_non_null(some);
    assert_int_equal(result, 1000);
    assert_true(cut);
    talloc_free(some);
    char *all = payload_inflate(NULL, bytes, length, PAYLOAD_MOST, &result, &cut);
    assert_int_equal(result, 5000);
    assert_false(cut);
    talloc_free(all);
    assert_null(payload_inflate(NULL, "not zlib", 8, 1000, &result, &cut));
    assert_null(payload_inflate(NULL, bytes, 5, 1000, &result, &cut));
    assert_null(payload_inflate(NULL, "", 0, 1000, &result, &cut));
    assert_null(payload_base64(NULL, "%%%", 3, &result));
    talloc_free(bytes);
}

static void a_python_call_shows_its_types(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *shape;
    } calls[] = {
        {"rqjobs.issue_invoice('acme_sa', 7)", "rqjobs.issue_invoice", "(str, int)"},
        {"a.b()", "a.b", "()"},
        {"f(b'x', -1.5, None, True, ['a, b', (1,)], {'k': ')'}, school='al, noor', n=3)", "f",
         "(bytes, float, None, bool, list, dict, school=str, n=int)"},
        {"f(<a.B object at 0x7f>, \"it's, fine\")", "f", "(object, str)"},
        {"f('un\\'closed, 3)", "f", "(str)"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char *name, *shape;
        void *context = talloc_new(NULL);
        assert_true(python_call(context, calls[i].text, &name, &shape));
        assert_string_equal(name, calls[i].name);
        assert_string_equal(shape, calls[i].shape);
        talloc_free(context);
    }
    char *name, *shape;
    assert_false(python_call(NULL, "إصدار فاتورة 1042", &name, &shape));
    assert_false(python_call(NULL, "send (to all)", &name, &shape));
    assert_false(python_call(NULL, "", &name, &shape));
}

static void arguments_of_a_call_are_found(void **state)
{
    (void)state;
    const char *call = "f('acme', 'b,c', 3, _schema_name='al_noor', b'x')";
    char *first = python_argument(NULL, call, 0), *second = python_argument(NULL, call, 1);
    char *keyword = python_keyword(NULL, call, "_schema_name");
    assert_string_equal(first, "acme");
    assert_string_equal(second, "b,c");
    assert_string_equal(keyword, "al_noor");
    assert_null(python_argument(NULL, call, 2));
    assert_null(python_argument(NULL, call, 3));
    assert_null(python_argument(NULL, call, 9));
    assert_null(python_argument(NULL, call, -1));
    assert_null(python_keyword(NULL, call, "name"));
    assert_null(python_keyword(NULL, "no call", "name"));
    assert_null(python_keyword(NULL, "f.g('x', 1q])", "name")); /* brackets that do not fit */
    assert_null(python_argument(NULL, "f.g(1])", 5));
    talloc_free(first);
    talloc_free(second);
    talloc_free(keyword);
}

static void pickles_are_only_looked_at(void **state)
{
    (void)state;
    static const char data[] = "\x80\x05\x95\x30\0\0\0\0\0\0\0(\x8c\x14rqjobs.issue_invoice\x94N.";
    static const char meta[] = "\x80\x04\x95\x1d\0\0\0\0\0\0\0}\x94\x8c\x0c_schema_name\x94\x8c\x07"
                               "acme_sa\x94s.";
    char *name = pickle_name(NULL, data, sizeof data - 1);
    char *tenant = pickle_string(NULL, meta, sizeof meta - 1, "_schema_name");
    assert_string_equal(name, "rqjobs.issue_invoice");
    assert_string_equal(tenant, "acme_sa");
    talloc_free(name);
    talloc_free(tenant);
    assert_null(pickle_name(NULL,
                            "\x80\x05\x8c\xff"
                            "ab",
                            6));
    assert_null(pickle_name(NULL, "[1]", 3));
    assert_null(pickle_string(NULL, meta, sizeof meta - 6, "_schema_name"));
    assert_null(pickle_string(NULL, meta, sizeof meta - 1, "schema"));
}

static void tracebacks_name_the_last_place(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    char *exception, *message, *frame;
    python_traceback(context,
                     "Traceback (most recent call last):\n"
                     "  File \"/usr/lib/python3/dist-packages/rq/worker.py\", line 1013, in perform_job\n"
                     "    rv = job.perform()\n"
                     "  File \"/srv/saas/reports/build.py\", line 14, in build\n"
                     "    raise ValueError('no such report: 9')\n"
                     "ValueError: no such report: 9\nmore of it\n",
                     &exception, &message, &frame);
    assert_string_equal(exception, "ValueError");
    assert_string_equal(message, "no such report: 9");
    assert_string_equal(frame, "reports/build.py:14 in build");
    python_traceback(context, "Job stopped by user, work-horse terminated.", &exception, &message, &frame);
    assert_null(exception);
    assert_string_equal(message, "Job stopped by user, work-horse terminated.");
    assert_null(frame);
    python_traceback(context, "", &exception, &message, &frame);
    assert_null(message);
    talloc_free(context);
}

static void stray_bytes_become_characters(void **state)
{
    (void)state;
    char *text = payload_utf8(NULL, "a\xff\0\xc3\xa9\xe2\x82", 7);
    assert_string_equal(text, "a\xef\xbf\xbd\xef\xbf\xbdé\xef\xbf\xbd\xef\xbf\xbd");
    talloc_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_and_the_last_of_a_name_counts),
        cmocka_unit_test(what_is_no_json_is_absent),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(shapes_tell_names_and_types_but_no_values),
        cmocka_unit_test(replacing_touches_no_other_byte),
        cmocka_unit_test(tenants_are_found_by_the_usual_names_or_the_settings),
        cmocka_unit_test(compressed_bytes_come_out_up_to_a_limit),
        cmocka_unit_test(a_python_call_shows_its_types),
        cmocka_unit_test(arguments_of_a_call_are_found),
        cmocka_unit_test(pickles_are_only_looked_at),
        cmocka_unit_test(tracebacks_name_the_last_place),
        cmocka_unit_test(stray_bytes_become_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
