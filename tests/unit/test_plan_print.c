/* What the plan reader accepts, how it words nodes and details, and what it prints. */
#include <json-c/json.h>

#include "panels/options.h"
#include "tests/unit/plans.h"

static void words_are_those_of_explain(void **state)
{
    (void)state;
    static const struct {
        const char *json, *title;
    } nodes[] = {
        {"\"Hash Join\",\"Join Type\":\"Inner\"", "Hash Join"},
        {"\"Hash Join\",\"Join Type\":\"Right Anti\",\"Parallel Aware\":true",
         "Parallel Hash Right Anti Join"},
        {"\"Merge Join\",\"Join Type\":\"Full\"", "Merge Full Join"},
        {"\"Nested Loop\",\"Join Type\":\"Left\"", "Nested Loop Left Join"},
        {"\"Aggregate\",\"Strategy\":\"Hashed\",\"Partial Mode\":\"Partial\"", "Partial HashAggregate"},
        {"\"Aggregate\",\"Strategy\":\"Sorted\",\"Partial Mode\":\"Simple\"", "GroupAggregate"},
        {"\"Aggregate\",\"Strategy\":\"Mixed\"", "MixedAggregate"},
        {"\"SetOp\",\"Strategy\":\"Hashed\",\"Command\":\"Except All\"", "HashSetOp Except All"},
        {"\"Foreign Scan\",\"Operation\":\"Select\",\"Relation Name\":\"f\",\"Async Capable\":true",
         "Async Foreign Scan on f"},
        {"\"Foreign Scan\",\"Operation\":\"Update\",\"Relation Name\":\"f\"", "Foreign Update on f"},
        {"\"Custom Scan\",\"Custom Plan Provider\":\"Citus Adaptive\"", "Custom Scan (Citus Adaptive)"},
        {"\"ModifyTable\",\"Operation\":\"Merge\",\"Relation Name\":\"t\",\"Alias\":\"t\"", "Merge on t"},
        {"\"Index Only Scan\",\"Scan Direction\":\"Backward\",\"Index Name\":\"x\",\"Relation Name\":\"t\","
         "\"Alias\":\"a\"",
         "Index Only Scan Backward using x on t a"},
        {"\"Values Scan\",\"Alias\":\"*VALUES*\"", "Values Scan on *VALUES*"},
        {"\"Brand New Scan\"", "Brand New Scan"},
    };
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        char *text = talloc_asprintf(NULL, "[{\"Plan\":{\"Node Type\":%s}}]", nodes[i].json);
        struct plan *plan = parse(text, text, NULL);
        assert_non_null(plan);
        assert_string_equal(plan->nodes[0].title, nodes[i].title);
        talloc_free(text);
    }
}

static const char *detail(const struct plan_node *n, const char *label)
{
    for (size_t i = 0; i < n->detail_count; i++)
        if (!strcmp(n->details[i].label, label))
            return n->details[i].text;
    return "(none)";
}

static void details_tell_totals_from_averages(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan_node *n = node(load(context, "nestloop.json"), 3);
    assert_string_equal(detail(n, "Rows"), "≈60 in all 10 loops (average 6)");
    assert_string_equal(detail(n, "Time"),
                        "202 ms in all 10 loops (average 20.2 ms, first row after 20.2 ms)");
    assert_string_equal(detail(n, "Shared Hit Blocks"), "92 (736 kB)");
    assert_string_equal(detail(n, "Shared Read Blocks"), "(none)");
    assert_string_equal(detail(n, "Function Call"), "gs(a.i, '20'::double precision)");
    n = node(load(context, "pg18.json"), 3);
    assert_string_equal(detail(n, "Index Searches"), "100");
    assert_string_equal(detail(n, "Something New"), "Depth: 1, 2, Deeper: text, Flag: yes");
    n = node(load(context, "parallel.json"), 3);
    assert_string_equal(detail(n, "Worker 1"), "414 ms, 1 rows");
    talloc_free(context);
}

/* A statement's own JSON (as psql pastes it, auto_explain logs it, or without the array). */
static void decorations_are_accepted(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "psql_aligned.txt");
    assert_false(plan->has_actual);
    assert_int_equal(plan->statements, 1);
    assert_true(plan->node_count > 3);
    double share = 0;
    for (size_t i = 0; i < plan->node_count; i++) {
        assert_true(isnan(plan->nodes[i].self_ms));
        share += plan->nodes[i].cost_share;
    }
    assert_near(share, 100, 0.01);
    assert_true(load(context, "psql_border.txt")->has_timing);
    static const char *const texts[] = {
        "\xef\xbb\xbf  {\"Plan\":{\"Node Type\":\"Result\"}}",
        ("2026-11-21 LOG:  duration: 3 ms  plan:\n\t{\n\t  \"Query Text\": \"select 1\",\n"
         "\t  \"Plan\": {\"Node Type\": \"Result\"}\n\t}\n"),
        "\r\n[\r\n{\"Plan\":\r\n{\"Node Type\":\"Result\"}}]\r\n(1 row)\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        plan = parse(context, texts[i], NULL);
        assert_non_null(plan);
        assert_int_equal(plan->statements, 1);
    }
    plan =
        parse(context, "[{\"Plan\":{\"Node Type\":\"Result\"}},{\"Plan\":{\"Node Type\":\"Limit\"}}]", NULL);
    assert_int_equal(plan->statements, 2);
    assert_string_equal(plan->nodes[0].title, "Result");
    talloc_free(context);
}

static void bad_texts_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } texts[] = {
        {"", "it is empty"},
        {" \n ", "it is empty"},
        {"hello", "it holds no JSON"},
        {" Result  (cost=0.00..0.01 rows=1 width=4)", "EXPLAIN's text format"},
        {"[{\"Plan\": {\"Node Type\": \"Re", "the JSON ends too early"},
        {"[\n{\"Plan\": nonsense}]", "not JSON at line 2"},
        {"[]", "no \"Plan\""},
        {"[1]", "no \"Plan\""},
        {"{\"Plan\": [1]}", "no \"Plan\""},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error error = {0};
        assert_null(parse(NULL, texts[i].text, &error));
        assert_int_equal(error.kind, ERROR_USAGE);
        if (!strstr(error.why, texts[i].why))
            fail_msg("\"%s\": %s", texts[i].text, error.why);
    }
}

static void depth_is_limited(void **state)
{
    (void)state;
    enum { LEVELS = 5000 };
    static const char level[] = "{\"Node Type\":\"Result\",\"Plans\":[";
    char *text = talloc_strdup(NULL, "{\"Plan\":");
    for (int i = 0; i < LEVELS; i++)
        text = talloc_strdup_append_buffer(text, level);
    struct error error = {0};
    assert_null(parse(NULL, text, &error));
    assert_non_null(strstr(error.why, "nested deeper"));
    talloc_free(text);
}

static struct json_object *print_json(const struct plan *plan)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_true(plan_print_json(plan, file));
    fclose(file);
    struct json_object *object = json_tokener_parse(text);
    assert_non_null(object);
    free(text);
    return object;
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value))
        fail_msg("no member %s", key);
    return value;
}

static void json_keeps_its_promise(void **state)
{
    (void)state;
    static const char *const keys[] = {"id",    "parent",         "depth",      "node_type", "relation",
                                       "loops", "never_executed", "total_ms",   "self_ms",   "self_percent",
                                       "rows",  "rows_estimated", "misestimate"};
    void *context = talloc_new(NULL);
    struct json_object *object = print_json(load(context, "never.json"));
    assert_int_equal(json_object_get_int(member(object, "schema_version")), 1);
    assert_near(json_object_get_double(member(object, "execution_ms")), 0.071, 0);
    assert_near(json_object_get_double(member(object, "planning_ms")), 0.586, 0);
    struct json_object *nodes = member(object, "nodes");
    assert_int_equal(json_object_array_length(nodes), 5);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            member(json_object_array_get_idx(nodes, i), keys[k]);
    struct json_object *root = json_object_array_get_idx(nodes, 0),
                       *last = json_object_array_get_idx(nodes, 4);
    assert_null(member(root, "parent"));
    assert_null(member(root, "relation"));
    assert_string_equal(json_object_get_string(member(root, "node_type")), "Nested Loop");
    assert_string_equal(json_object_get_string(member(last, "relation")), "small");
    assert_int_equal(json_object_get_int(member(last, "parent")), 1);
    assert_true(json_object_get_boolean(member(last, "never_executed")));
    assert_null(member(last, "misestimate"));
    json_object_put(object);
    object = print_json(load(context, "psql_aligned.txt"));
    root = json_object_array_get_idx(member(object, "nodes"), 0);
    assert_null(member(root, "total_ms"));
    assert_null(member(root, "self_ms"));
    assert_null(member(root, "rows"));
    json_object_put(object);
    talloc_free(context);
}

static char *print_text(const struct plan *plan)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_true(plan_print_text(plan, file));
    fclose(file);
    return text;
}

static void text_is_a_tree(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    char *text = print_text(load(context, "nestloop.json"));
    assert_non_null(strstr(text, "     202 ms ██████████       60                 10       92        0  "
                                 "└ Function Scan on gs g\n"));
    assert_non_null(strstr(text, "  ├ Seq Scan on small a\n"));
    free(text);
    text = print_text(parse(context, REPEATED_SCAN, NULL));
    assert_non_null(strstr(text, "  └ Seq Scan on invoice i\n"));
    assert_non_null(strstr(text, "filter (NOT paid): 99.9 % thrown away\n"));
    assert_non_null(strstr(text, "    25× low "));
    free(text);
    talloc_free(context);
}

static void own_blocks_are_without_children(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "heapfetch.json");
    assert_int_equal(node(plan, 1)->blocks.shared_hit, 52);
    assert_int_equal(node(plan, 1)->own.shared_hit, 0);
    assert_int_equal(node(plan, 3)->own.shared_hit, 51);
    plan = load(context, "initwhen.json"); /* what an InitPlan read is not its consumer's */
    assert_int_equal(node(plan, 1)->blocks.shared_hit, 84);
    assert_int_equal(node(plan, 1)->own.shared_hit, 0);
    assert_int_equal(node(plan, 2)->own.shared_hit, 83);
    plan = load(context, "cte_two.json");
    int64_t sum = 0;
    for (size_t i = 0; i < plan->node_count; i++)
        sum += plan->nodes[i].own.shared_hit;
    assert_int_equal(sum, plan->nodes[0].blocks.shared_hit);
    talloc_free(context);
}

static void without_timing_nothing_is_invented(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = parse(context,
                                    "[{\"Plan\":{\"Node Type\":\"Result\",\"Plan Rows\":3,\"Actual Rows\":3,"
                                    "\"Actual Loops\":1},\"Execution Time\":2.5}]",
                                    NULL);
    assert_true(plan->has_actual);
    assert_false(plan->has_timing);
    assert_true(isnan(plan->nodes[0].self_ms) && isnan(plan->nodes[0].total_ms) && isnan(plan->total_ms));
    assert_near(plan->nodes[0].rows, 3, 0);
    assert_near(plan->nodes[0].misestimate, 1, 0);
    char *text = print_text(plan);
    assert_non_null(strstr(text, "TIMING OFF"));
    free(text);
    talloc_free(context);
}

/* As the program does it: parses the words behind its name, and runs the command. */
static int run_line(int count, char **words)
{
    struct options options;
    struct error error;
    enum options_answer answer;
    char *line[16] = {"signalbox"};
    memcpy(line + 1, words, (size_t)count * sizeof *words);
    const struct command *command = options_parse(&options, count + 1, line, &answer, &error);
    return command ? command->run(&options) : 2;
}

static void the_command_tells_errors_by_its_exit_code(void **state)
{
    (void)state;
    char name[] = "explain", missing[] = "/nonexistent/plan.json", option[] = "--jsno";
    char good[] = TEST_ROOT "/tests/data/plans/never.json", bad[] = TEST_ROOT "/Makefile", json[] = "--json";
    assert_int_equal(run_line(1, (char *[]){name, NULL}), 2);
    assert_int_equal(run_line(2, (char *[]){name, missing, NULL}), 2);
    assert_int_equal(run_line(2, (char *[]){name, bad, NULL}), 2);
    assert_int_equal(run_line(3, (char *[]){name, good, option, NULL}), 2);
    assert_int_equal(run_line(3, (char *[]){name, good, good, NULL}), 2);
    assert_int_equal(run_line(3, (char *[]){name, good, json, NULL}), 0);
    assert_int_equal(run_line(2, (char *[]){name, good, NULL}), 0);
}

/* Names come from tenants: nothing in them may reach the terminal raw. */
static void hostile_names_are_made_visible(void **state)
{
    (void)state;
    static const char hostile[] =
        "[{\"Plan\":{\"Node Type\":\"Seq Scan\",\"Relation Name\":\"a\\u001b[31m\\u202eb\","
        "\"Filter\":\"(x = 'a\\nb')\",\"Sort Method\":\"\\u009b\",\"\\u001bkey\":\"v\"}}]";
    void *context = talloc_new(NULL);
    struct plan *plan = parse(context, hostile, NULL);
    assert_non_null(plan);
    assert_string_equal(plan->nodes[0].relation, "a\\x1b[31m\\u202eb");
    char *text = print_text(plan);
    assert_null(strchr(text, '\x1b'));
    assert_null(strstr(text, "\xe2\x80\xae"));
    free(text);
    for (size_t i = 0; i < plan->nodes[0].detail_count; i++)
        assert_null(strchr(plan->nodes[0].details[i].label, '\x1b'));
    talloc_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_explain),
        cmocka_unit_test(details_tell_totals_from_averages),
        cmocka_unit_test(decorations_are_accepted),
        cmocka_unit_test(bad_texts_say_what_is_wrong),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(json_keeps_its_promise),
        cmocka_unit_test(text_is_a_tree),
        cmocka_unit_test(own_blocks_are_without_children),
        cmocka_unit_test(without_timing_nothing_is_invented),
        cmocka_unit_test(the_command_tells_errors_by_its_exit_code),
        cmocka_unit_test(hostile_names_are_made_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
