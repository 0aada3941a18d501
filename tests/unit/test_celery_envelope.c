/* Celery's messages: what a worker would make of them, their members, and bytes changed in place. */
#include <math.h>
#include <zlib.h>

#include "backends/queues/celery_verdict.h"
#include "tests/unit/celery_samples.h"
#include "tests/unit/unit.h"

static const struct celery_tenancy plain = {.argument = -1};

static struct celery_envelope scan(const char *text)
{
    struct celery_envelope envelope;
    celery_envelope_scan(&envelope, text, strlen(text), NULL);
    return envelope;
}

/* A message with these headers and this body, in base64. */
static char *message(void *context, const char *headers, const char *body)
{
    return talloc_asprintf(
        context,
        "{\"body\": \"%s\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", "
        "\"headers\": %s, \"properties\": {\"delivery_info\": {\"exchange\": \"\", "
        "\"routing_key\": \"mail\"}, \"priority\": 3, \"body_encoding\": \"base64\", "
        "\"delivery_tag\": \"tag-1\"}}",
        body, headers);
}

static void expect_span(struct span span, const char *text)
{
    void *context = talloc_new(NULL);
    char *got = celery_span_text(context, span);
    if (text)
        assert_string_equal(got ? got : "(none)", text);
    else
        assert_null(got);
    talloc_free(context);
}

static void expect_poison(void *context, const struct sample *sample)
{
    static const struct {
        const char *name;
        enum job_poison poison;
    } expected[] = {{"not_json", POISON_A},
                    {"truncated", POISON_A},
                    {"bad_base64", POISON_A},
                    {"json_array", POISON_A},
                    {"json_empty_string", POISON_A},
                    {"no_delivery_tag", POISON_A},
                    {"body_not_json", POISON_B},
                    {"no_task_header", POISON_B},
                    {"bad_gzip", POISON_B},
                    {"bad_eta", POISON_B},
                    {"unknown_content_type", POISON_B},
                    {"minimal_valid", POISON_NONE},
                    {"binary", POISON_A}};
    struct celery_envelope envelope;
    (void)context;
    celery_envelope_scan(&envelope, sample->raw, sample->length, NULL);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (strcmp(expected[i].name, sample->key) == 0) {
            if (envelope.poison != expected[i].poison)
                fail_msg("%s: %s (%s)", sample->key, job_poison_name(envelope.poison), envelope.why);
            assert_true((envelope.why != NULL) == (envelope.poison != POISON_NONE));
            return;
        }
    fail_msg("%s is not expected", sample->key);
}

static void test_poison(void **state)
{
    (void)state;
    assert_int_equal(samples_each("poison", expect_poison), 13);
}

/* Both splices of every sample that allows them: all other bytes stay. */
static void splice_sample(void *context, const struct sample *sample)
{
    struct celery_envelope envelope, again;
    struct error error;
    size_t length;
    char *raw =
        talloc_memdup(context, sample->raw, sample->length); /* behind it is nothing that may be read */
    celery_envelope_scan(&envelope, raw, sample->length, NULL);
    char *out = celery_envelope_expire(context, &envelope, "2000-01-01T00:00:00+00:00", &length, &error);
    bool can = envelope.poison < POISON_A && !envelope.protocol1 && envelope.headers.kind == SPAN_OBJECT;
    assert_int_equal(out != NULL, can);
    if (!can)
        return;
    celery_envelope_scan(&again, out, length, NULL);
    expect_span(again.expires, "2000-01-01T00:00:00+00:00");
    assert_int_equal(again.poison, envelope.poison);
    assert_true(celery_span_time(again.expires) == 946684800);
    size_t before = (size_t)((envelope.expires.at ? envelope.expires.at : envelope.headers.at) - raw) - 1;
    size_t after = 40;
    assert_memory_equal(out, raw, before);
    assert_memory_equal(out + length - after, raw + sample->length - after, after);
    out = celery_envelope_redelivered(context, &envelope, &length, &error);
    assert_non_null(out);
    celery_envelope_scan(&again, out, length, NULL);
    assert_true(json_true(again.redelivered) && json_true(again.delivery_redelivered));
    assert_true(celery_envelope_same(&envelope, &again));
}

static void test_splices(void **state)
{
    (void)state;
    assert_int_equal(samples_each("queue_at_rest", splice_sample), 36);
    samples_each("dlq_and_sent_at", splice_sample);
    samples_each("poison", splice_sample);
}

static void unacked_sample(void *context, const struct sample *sample)
{
    struct span part, exchange, key;
    struct celery_envelope envelope;
    if (strcmp(sample->key, "unacked") != 0)
        return;
    assert_true(celery_unacked_message(sample->raw, sample->length, &part, &exchange, &key));
    celery_envelope_scan(&envelope, part.at, part.length, NULL);
    assert_int_equal(envelope.poison, POISON_NONE);
    expect_span(envelope.delivery_tag, sample->tag);
    expect_span(key, "celery");
    expect_span(exchange, "");
    /* Bytes of a message are never those of a value. */
    assert_false(celery_unacked_message(part.at, part.length, &part, &exchange, &key));
    (void)context;
}

static void test_unacked(void **state)
{
    struct span a, b, c;
    (void)state;
    assert_true(samples_each("worker_busy_acks_late", unacked_sample) > 3);
    assert_true(samples_each("worker_running_unacked_eta", unacked_sample) > 0);
    assert_true(samples_each("visibility_timeout_duplicates", unacked_sample) > 0);
    for (const char *const *bad =
             (const char *const[]){"", "[", "[{}]", "[{},\"\"]", "[{},\"\",\"\",1]", "[1,\"\",\"\"]",
                                   "[{},\"\",\"\"]x", "{\"a\":1}", NULL};
         *bad; bad++)
        assert_false(celery_unacked_message(*bad, strlen(*bad), &a, &b, &c));
}

static void test_verdicts(void **state)
{
    /* Each of them is what kombu 5.2.4 and Celery 5.2.6 did (tests/servers/test_celery_kombu.c asks them). */
    static const struct {
        const char *headers, *body;
        enum job_poison poison;
    } cases[] = {
        {"{\"task\": \"t\", \"id\": \"1\"}", "W1tdLHt9LHt9XQ==", POISON_NONE},
        {"{\"task\": \"t\"}", "W1tdLHt9LHt9XQ==", POISON_A},        /* no id */
        {"{\"task\": \"t\", \"id\": \"1\"}", "", POISON_A},         /* empty body */
        {"{\"task\": \"t\", \"id\": \"1\"}", "W10=", POISON_A},     /* [] */
        {"{\"task\": \"t\", \"id\": \"1\"}", "bnVsbA==", POISON_A}, /* null */
        {"{\"task\": \"t\", \"id\": \"1\"}", "W", POISON_A},        /* one letter too many */
        {"{\"task\": \"t\", \"id\": \"1\"}", "W1tdL Ht9LHt9XQ==garbage",
         POISON_NONE},                                                 /* Python passes over it */
        {"{\"task\": \"t\", \"id\": \"1\"}", "W1td\\ud800", POISON_A}, /* cannot be encoded */
        {"{\"task\": \"t\", \"id\": \"1\"}", "eyJh", POISON_B},
        {"{\"task\": \"t\", \"id\": \"1\", \"eta\": \"\"}", "W1tdLHt9LHt9XQ==", POISON_A},
        {"{\"task\": \"t\", \"id\": \"1\", \"eta\": 5}", "W1tdLHt9LHt9XQ==", POISON_B},
        {"{\"task\": \"t\", \"id\": \"1\", \"expires\": \"2026-02-30\"}", "W1tdLHt9LHt9XQ==", POISON_B},
        {"{\"task\": \"t\", \"id\": \"1\", \"timelimit\": [1]}", "W1tdLHt9LHt9XQ==", POISON_A},
        {"{\"task\": [], \"id\": \"1\"}", "W1tdLHt9LHt9XQ==", POISON_A},
        {"{\"task\": null, \"id\": \"1\"}", "W1tdLHt9LHt9XQ==", POISON_C},
        {"[1]", "W1tdLHt9LHt9XQ==", POISON_A},
        {"null", "W1tdLHt9LHt9XQ==", POISON_B},
        {"{\"task\": \"t\", \"id\": \"1\"}", "W1sxXSx7fSw1XQ==", POISON_C}, /* [[1],{},5] fails */
        {"{\"task\": \"t\", \"id\": \"1\", \"expires\": \"2000-01-01T00:00:00Z\"}",
         "W1sxXSx7fSw1XQ==", POISON_A},
        {"{\"task\": \"t\", \"id\": NaN}", "W1tdLHt9LHt9XQ==", POISON_NONE},
        {"{\"task\": \"t\", \"id\": 01}", "W1tdLHt9LHt9XQ==", POISON_A},
        {"{\"task\": \"t\", \"id\": \"a\tb\"}", "W1tdLHt9LHt9XQ==", POISON_A},
        {"{\"task\": \"t\", \"id\": \"\xff\"}", "W1tdLHt9LHt9XQ==", POISON_NONE},
    };
    void *context = talloc_new(NULL);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct celery_envelope envelope = scan(message(context, cases[i].headers, cases[i].body));
        if (envelope.poison != cases[i].poison)
            fail_msg("%s %s: %s (%s)", cases[i].headers, cases[i].body, job_poison_name(envelope.poison),
                     envelope.why);
    }
    talloc_free(context);
}

static void test_json(void **state)
{
    static const char *const good[] = {
        "{}",        " [1, 2.5e-3, -0, \"\\u00e9\\n\"] ", "NaN",      "-Infinity",
        "[[[]],{}]", "{\"a\":{\"b\":[true,false,null]}}", "\"\x80\"", "0",
        "1E5"};
    static const char *const bad[] = {
        "",     "{",       "[1,]", "{\"a\":1,}", "{1:2}",          "'a'",         "01",  "1.",    ".5",
        "+1",   "-",       "1e",   "nul",        "\"\\x\"",        "\"\\u12g4\"", "\"a", "[1 2]", "\"\t\"",
        "-NaN", "{\"a\"}", "[1}",  "{\"a\":1]",  "\xef\xbb\xbf[]", "[],"};
    (void)state;
    struct span value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct json_cursor cursor = {good[i], good[i] + strlen(good[i])};
        json_space(&cursor);
        assert_true(json_value(&cursor, &value) && json_at_end(&cursor));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct json_cursor cursor = {bad[i], bad[i] + strlen(bad[i])};
        json_space(&cursor);
        if (json_value(&cursor, &value) && json_at_end(&cursor))
            fail_msg("%s was taken", bad[i]);
    }
    char deep[2 * 1200 + 1];
    for (int depth = 800; depth <= 1200; depth += 400) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        struct json_cursor cursor = {deep, deep + 2 * depth};
        assert_int_equal(json_value(&cursor, &value) && json_at_end(&cursor), depth == 800);
    }
}

static void test_last_member_wins(void **state)
{
    (void)state;
    struct celery_envelope envelope = scan(
        "{\"headers\": {\"task\": \"old\", \"eta\": \"x\"}, \"headers\": {\"id\": \"1\", \"ta\\u0073k\": "
        "\"new\", "
        "\"id\": \"2\"}, \"body\": \"W1tdLHt9LHt9XQ==\", \"content-type\": \"application/json\", "
        "\"properties\": "
        "{\"delivery_tag\": \"t\", \"body_encoding\": \"base64\", \"delivery_info\": {\"exchange\": \"\", "
        "\"routing_key\": \"q\"}}}");
    assert_int_equal(envelope.poison, POISON_NONE);
    expect_span(envelope.task, "new");
    expect_span(envelope.id, "2");
    assert_int_equal(envelope.eta.kind, SPAN_ABSENT);
}

static void test_texts(void **state)
{
    (void)state;
    expect_span((struct span){"t_\\u0645\\u0637 \\ud83d\\ude00 \\/\\\"\\n", 34, SPAN_STRING}, "t_مط 😀 /\"\n");
    expect_span((struct span){"\\ud83d!", 7, SPAN_STRING}, "\xef\xbf\xbd!");
    expect_span((struct span){"12", 2, SPAN_NUMBER}, NULL);
    assert_true(celery_span_real((struct span){"1795263753.945", 14, SPAN_NUMBER}) == 1795263753.945);
    assert_true(isnan(celery_span_real((struct span){"12", 2, SPAN_STRING})));
}

static void expect_time(const char *text, double time)
{
    double got = celery_span_time((struct span){.at = text, .length = strlen(text), .kind = SPAN_STRING});
    if (isnan(time) ? !isnan(got) : fabs(got - time) > 1e-6)
        fail_msg("%s: %f, not %f", text, got, time);
}

static void test_times(void **state)
{
    (void)state;
    expect_time("2026-11-21T12:00:00", 1795262400); /* naive is UTC */
    expect_time("2026-11-21T12:00:00Z", 1795262400);
    expect_time("2026-11-21T15:00:00.250000+03:00", 1795262400.25);
    expect_time("2026-11-21 06:30:00-05:30", 1795262400);
    expect_time("2026-11-21T12:00", 1795262400);
    expect_time("2026-11-21", 1795219200);
    expect_time("2024-02-29T00:00:00+00:00", 1709164800);
    expect_time("tomorrow", NAN);
    expect_time("2026", NAN);
    expect_time("2026-13-01", NAN);
    expect_time("2026-02-29T00:00:00", NAN);
    expect_time("2026-11-21T25:00:00", NAN);
    expect_time("2026-11-21T12:00:60", NAN);
    expect_time("2026-11-21T12:00:00+24:00", NAN);
    expect_time("", NAN);
}

static void test_base64(void **state)
{
    static const struct {
        const char *text, *bytes; /* NULL: binascii.Error */
    } cases[] = {
        {"", ""},         {"YQ==", "a"},       {"YWI=", "ab"},    {"YWJj", "abc"},    {"YWJjZA==", "abcd"},
        {"YQ", NULL},     {"YQ=", NULL},       {"Y", NULL},       {"YWJjZ", NULL},    {"====", ""},
        {"Y=Q=", NULL},   {"Y W\nJ!j", "abc"}, {"YQ==YQ==", "a"}, {"YQ=x=", "a\x0c"}, {"=YWJj", "abc"},
        {"YWJj=", "abc"}, {"YW=Jj", "abc"},    {"-_YWJj", "abc"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char out[64];
        size_t length;
        bool good = celery_base64(cases[i].text, strlen(cases[i].text), out, &length);
        if (good != (cases[i].bytes != NULL))
            fail_msg("%s: %d", cases[i].text, good);
        if (good) {
            assert_int_equal(length, strlen(cases[i].bytes));
            assert_memory_equal(out, cases[i].bytes, length);
        }
    }
}

/* base64 of bytes, for messages of our own. */
static char *encoded(void *context, const unsigned char *bytes, size_t length)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = talloc_array(context, char, (length + 2) / 3 * 4 + 1), *put = out;
    for (size_t i = 0; i < length; i += 3) {
        unsigned bits = (unsigned)bytes[i] << 16 | (i + 1 < length ? (unsigned)bytes[i + 1] << 8 : 0) |
                        (i + 2 < length ? bytes[i + 2] : 0);
        *put++ = letters[bits >> 18];
        *put++ = letters[bits >> 12 & 63];
        *put++ = i + 1 < length ? letters[bits >> 6 & 63] : '=';
        *put++ = i + 2 < length ? letters[bits & 63] : '=';
    }
    *put = '\0';
    return out;
}

static char *compressed_message(void *context, size_t zeros)
{
    char *body = talloc_asprintf(context, "[[\"%*s\"],{},{}]", (int)zeros, "x");
    uLongf room = compressBound(strlen(body));
    unsigned char *packed = talloc_size(context, room);
    assert_int_equal(compress(packed, &room, (unsigned char *)body, strlen(body)), Z_OK);
    return message(context, "{\"task\": \"t\", \"id\": \"1\", \"compression\": \"application/x-gzip\"}",
                   encoded(context, packed, room));
}

static void test_bodies(void **state)
{
    void *context = talloc_new(NULL);
    struct error error;
    size_t length;
    (void)state;
    struct celery_envelope envelope = scan(compressed_message(context, 5));
    assert_int_equal(envelope.poison, POISON_NONE);
    assert_string_equal(celery_body_decode(context, &envelope, &length, &error), "[[\"    x\"],{},{}]");
    assert_int_equal(length, 17);
    /* A bomb is neither shown nor called poison. */
    envelope = scan(compressed_message(context, 40 * 1000 * 1000));
    assert_int_equal(envelope.poison, POISON_NONE);
    assert_null(celery_body_decode(context, &envelope, &length, &error));
    assert_non_null(strstr(error.why, "4 MB"));
    /* A megabyte of Arabic. */
    char *text = talloc_strdup(context, "[[\"");
    for (int i = 0; i < 60000; i++)
        text = talloc_strdup_append_buffer(text, "\\u0645\\u0637");
    text = talloc_strdup_append_buffer(text, "\"],{},{}]");
    envelope = scan(message(context, "{\"task\": \"t\", \"id\": \"1\"}",
                            encoded(context, (unsigned char *)text, strlen(text))));
    assert_int_equal(envelope.poison, POISON_NONE);
    assert_non_null(celery_body_decode(context, &envelope, &length, &error));
    assert_int_equal(length, strlen(text));
    envelope = scan(message(context, "{\"task\": \"t\", \"id\": \"1\"}", "!bad"));
    assert_null(celery_body_decode(context, &envelope, &length, &error));
    talloc_free(context);
}

static void fill_sample(void *context, const struct sample *sample)
{
    struct celery_envelope envelope;
    struct job job = {.index = 7};
    celery_envelope_scan(&envelope, sample->raw, sample->length, NULL);
    celery_job_fill(context, &job, &envelope, NULL, &plain);
    assert_int_equal(job.index, 7);
    assert_int_equal(job.size, sample->length);
    if (envelope.poison == POISON_A)
        return;
    if (strcmp(sample->key, "proto1") == 0) {
        assert_string_equal(job.task, "billing.tasks.issue_invoice");
        assert_string_equal(job.id, "11111111-0000-4000-8000-0000000000bb");
        assert_string_equal(job.arguments, "(int), {currency: str}");
        assert_true(job.flags & JOB_OLD_PROTOCOL);
        assert_string_equal(job.tenant, "initech");
    }
    if (strcmp(sample->key, "msgpack") == 0)
        assert_true(job.flags & JOB_ENCODED && job.poison == POISON_B && strcmp(job.tenant, "initech") == 0);
    if (strncmp(sample->key, "corrupt", 7) != 0 && job.id &&
        strcmp(job.id, "11111111-0000-4000-8000-000000000002") == 0) {
        assert_string_equal(job.tenant, "t_مطعم");
        assert_non_null(strstr(job.arguments, "مرحب"));
    }
}

static void test_fill(void **state)
{
    (void)state;
    samples_each("queue_at_rest", fill_sample);
    void *context = talloc_new(NULL);
    struct job job = {0};
    struct celery_envelope envelope = scan(message(
        context,
        "{\"task\": \"reports.tasks.report_card\", \"id\": \"7f3a\", \"retries\": 2, \"timelimit\": [null, "
        "90], "
        "\"eta\": \"2026-11-21T15:00:00+03:00\", \"expires\": \"2001-01-01T00:00:00\", \"sent_at\": "
        "1795262400.5, "
        "\"argsrepr\": \"('Year 9',)\", \"kwargsrepr\": \"{'term': 1}\", \"group\": \"g1\", \"origin\": "
        "\"gen1@web1\", \"redelivered\": true}",
        /* [["Year 9"],{"term":1},{"chain":[{"task":"x"}],"callbacks":null}] */
        "W1siWWVhciA5Il0seyJ0ZXJtIjoxfSx7ImNoYWluIjpbeyJ0YXNrIjoieCJ9XSwiY2FsbGJhY2tzIjpudWxsfV0="));
    assert_int_equal(envelope.poison, POISON_NONE);
    celery_job_fill(context, &job, &envelope, NULL, &plain);
    assert_string_equal(job.queue, "mail");
    assert_string_equal(job.arguments, "('Year 9',) {'term': 1}");
    assert_string_equal(job.tag, "tag-1");
    assert_int_equal(job.retries, 2);
    assert_int_equal(job.priority, 3);
    assert_true(job.limit_s == 90 && job.eta == 1795262400 && job.enqueued_at == 1795262400.5);
    assert_null(job.tenant);
    assert_true(job.tenant_known);
    assert_int_equal(job.flags, JOB_EXPIRED | JOB_CHAINED | JOB_GROUPED | JOB_REDELIVERED);
    talloc_free(context);
}

static void expect_tenant(struct celery_envelope envelope, const char *queue, struct celery_tenancy tenancy,
                          const char *tenant)
{
    void *context = talloc_new(NULL);
    struct job job = {0};
    size_t length = 0;
    celery_job_fill(context, &job, &envelope, queue, &tenancy);
    const char *quick = celery_tenant_quick(context, &envelope, queue, &tenancy, &length);
    if (tenant) {
        assert_string_equal(job.tenant ? job.tenant : "(none)", tenant);
        assert_int_equal(length, strlen(tenant));
        assert_memory_equal(quick, tenant, length);
    } else {
        assert_null(job.tenant);
        assert_null(quick);
    }
    talloc_free(context);
}

static void test_tenants(void **state)
{
    void *context = talloc_new(NULL);
    (void)state;
    /* [["a","al_noor"],{"_schema_name":"t_\u0645","school":"st_marys"},{}] */
    static const char body[] =
        "W1siYSIsImFsX25vb3IiXSx7Il9zY2hlbWFfbmFtZSI6InRfXHUwNjQ1Iiwic2Nob29sIjoic3RfbWFyeXMifSx7fV0=";
    static const char bare[] = "W1siYSIsImFsX25vb3IiXSx7fSx7fV0="; /* [["a","al_noor"],{},{}] */
    char *with_header = message(
        context,
        "{\"task\": \"t\", \"id\": \"1\", \"_schema_name\": \"t_\\u0645\\u0637\", \"x-school\": \"x\"}",
        body);
    char *other_header = message(
        context, "{\"task\": \"t\", \"id\": \"1\", \"_schema_name\": null, \"x-school\": \"oak\"}", body);
    struct celery_envelope envelope = scan(with_header);
    expect_tenant(envelope, NULL, plain, "t_مط");
    envelope = scan(other_header);
    expect_tenant(envelope, NULL, plain, "t_م");
    expect_tenant(envelope, NULL, (struct celery_tenancy){.keyword = "school", .argument = -1}, "st_marys");
    celery_envelope_scan(&envelope, other_header, strlen(other_header), "x-school");
    expect_tenant(envelope, NULL, plain, "oak");
    envelope = scan(message(context, "{\"task\": \"t\", \"id\": \"1\"}", bare));
    expect_tenant(envelope, NULL, plain, NULL);
    expect_tenant(envelope, NULL, (struct celery_tenancy){.argument = 1}, "al_noor");
    expect_tenant(envelope, NULL, (struct celery_tenancy){.argument = 2}, NULL);
    expect_tenant(envelope, "tenant.oak",
                  (struct celery_tenancy){.argument = -1, .queue_pattern = "tenant.*"}, "oak");
    expect_tenant(envelope, "tenant.", (struct celery_tenancy){.argument = -1, .queue_pattern = "tenant.*"},
                  NULL);
    expect_tenant(envelope, "mail", (struct celery_tenancy){.argument = -1, .queue_pattern = "tenant.*"},
                  NULL);
    talloc_free(context);
}

static void test_shapes(void **state)
{
    void *context = talloc_new(NULL);
    static const struct {
        const char *body, *shape;
    } cases[] = {{"[[1,\"a\"],{\"school\":\"x\",\"year\":9},{}]", "(int, str), {school: str, year: int}"},
                 {"[[1.5,null,true,[],{}],{},{}]", "(float, none, bool, list, dict), {}"},
                 {"{\"args\":[1],\"kwargs\":{}}", "(int), {}"},
                 {"[1,2]", NULL},
                 {"nonsense", NULL},
                 {"", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *shape = celery_body_shape(context, cases[i].body, strlen(cases[i].body));
        if (cases[i].shape)
            assert_string_equal(shape, cases[i].shape);
        else
            assert_null(shape);
    }
    talloc_free(context);
}

static void test_splice_refusals(void **state)
{
    void *context = talloc_new(NULL);
    struct error error;
    size_t length;
    (void)state;
    struct celery_envelope envelope =
        scan(message(context, "{\"task\": \"t\", \"id\": \"1\"}", "W1tdLHt9LHt9XQ=="));
    assert_null(celery_envelope_expire(context, &envelope, "soon", &length, &error));
    assert_null(
        celery_envelope_expire(context, &envelope, "2000-01-01T00:00:00\", \"x\": \"", &length, &error));
    char *out = celery_envelope_expire(context, &envelope, "2000-01-01T00:00:00Z", &length, &error);
    assert_non_null(
        strstr(out, "\"headers\": {\"expires\": \"2000-01-01T00:00:00Z\", \"task\": \"t\", \"id\": \"1\"}"));
    envelope =
        scan(message(context, "{\"task\": \"t\", \"id\": \"1\", \"expires\": null}", "W1tdLHt9LHt9XQ=="));
    out = celery_envelope_expire(context, &envelope, "2000-01-01T00:00:00Z", &length, &error);
    assert_non_null(strstr(out, "\"id\": \"1\", \"expires\": \"2000-01-01T00:00:00Z\"}"));
    /* Expired, this one would end the worker: [[1],{},5]. */
    envelope = scan(message(context, "{\"task\": \"t\", \"id\": \"1\"}", "W1sxXSx7fSw1XQ=="));
    assert_int_equal(envelope.poison, POISON_C);
    assert_null(celery_envelope_expire(context, &envelope, "2000-01-01T00:00:00Z", &length, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    talloc_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poison),  cmocka_unit_test(test_splices),
        cmocka_unit_test(test_unacked), cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_json),    cmocka_unit_test(test_last_member_wins),
        cmocka_unit_test(test_texts),   cmocka_unit_test(test_times),
        cmocka_unit_test(test_base64),  cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_fill),    cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_shapes),  cmocka_unit_test(test_splice_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
