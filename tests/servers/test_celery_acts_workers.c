/* Acts on Celery's queues judged by what real workers then do: they drop what was expired, run what comes
 * back once and in its order, and survive everything. */
#include <hiredis/hiredis.h>

#include "tests/servers/celery_acting.h"

static int site_begin(void **state)
{
    return stage_begin(state);
}

/* ---- what ran ---- */

/* Ids of what was begun, in the order in which it was. */
static char **begun_ids(struct stage *s, const struct celery_site *site, size_t *count)
{
    char *path = talloc_asprintf(s, "%s/effects", celery_site_folder(site));
    FILE *file = fopen(path, "r");
    char word[16], id[64], line[400];
    char **ids = NULL;
    *count = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%15s %63s", word, id) == 2 && strcmp(word, "start") == 0) {
            ids = talloc_realloc(s, ids, char *, *count + 1);
            ids[(*count)++] = talloc_strdup(s, id);
        }
    if (file)
        fclose(file);
    return ids;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_each_once(struct stage *s, const struct celery_site *site, size_t expected)
{
    size_t count;
    char **ids = begun_ids(s, site, &count);
    assert_int_equal(count, expected);
    qsort(ids, count, sizeof *ids, by_text);
    for (size_t i = 1; i < count; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
}

static char *result_of(struct stage *s, const char *id)
{
    redisReply *reply = ask(s, "GET celery-task-meta-%s", id);
    char *text = talloc_strdup(s, reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);
    return text;
}

static bool result_is_there(struct stage *s)
{
    return *result_of(s, s->key);
}

static bool list_is_empty(struct stage *s)
{
    return length_of(s, s->key) == 0;
}

/* ---- expired ---- */

static void what_was_expired_is_dropped(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    free(celery_send(site, "quick", "[1]", "al_noor", 10, NULL));
    free(celery_send(site, "quick", "[\"\\u0645\"]", "st_marys", 10, NULL));
    set_up_console(s);
    size_t count;
    struct job *jobs = jobs_of(s, "celery", of_al_noor, &count);
    assert_int_equal(count, 10);
    act(s, &(struct queue_act_request){.act = ACT_NEUTRALISE, .jobs = jobs, .job_count = count});
    assert_string_equal(s->change->steps[0].output, "10 jobs");
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 10));
    for (size_t i = 0; i < count; i++) {
        s->key = jobs[i].id;
        assert_true(await(s, result_is_there));
        assert_non_null(strstr(result_of(s, jobs[i].id), "REVOKED"));
        assert_non_null(strstr(result_of(s, jobs[i].id), "expired"));
        assert_int_equal(celery_begun(site, jobs[i].id), 0);
    }
    assert_each_once(s, site, 10);
    assert_true(celery_alive(one));
    celery_site_free(site);
}

/* ---- parked ---- */

static void parked_jobs_wait_and_then_run_in_order(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    free(celery_send(site, "quick", "[1]", "st_marys", 5, NULL));
    free(celery_send(site, "quick", "[1]", "al_noor", 150, NULL));
    free(celery_send(site, "quick", "[1]", "st_marys", 5, NULL));
    set_up_console(s);
    size_t count, ran;
    struct job *jobs = jobs_of(s, "celery", of_al_noor, &count);
    act(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = count});
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 10));
    assert_int_equal(celery_begun(site, NULL), 10);
    act(s, &(struct queue_act_request){.act = ACT_UNPARK, .queue = "celery"});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 160));
    char **ids = begun_ids(s, site, &ran);
    assert_int_equal(ran, 160);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(ids[10 + i], jobs[i].id);
    assert_true(celery_alive(one));
    assert_clean(s);
    celery_site_free(site);
}

/* ---- a tenant aside while workers work and producers produce ---- */

static void nothing_is_lost_and_nothing_runs_twice(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    for (int i = 0; i < 6; i++) {
        free(celery_send(site, "quick", "[1]", "al_noor", 200, NULL));
        free(celery_send(site, "quick", "[1]", "st_marys", 100, NULL));
    }
    set_up_console(s);
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 2});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 50));
    act(s, &(struct queue_act_request){.act = ACT_TENANT_ASIDE, .queue = "celery", .tenant = "al_noor"});
    char *aside = key_like(s, "signalbox:aside:celery:*");
    long long held = length_of(s, aside);
    print_message("%lld jobs are aside\n", held);
    assert_true(held > 200);
    free(celery_send(site, "quick", "[2]", "st_marys", 20, NULL));
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 1820 - (int)held));
    act(s, &(struct queue_act_request){.act = ACT_TENANT_BACK, .entry = aside});
    free(celery_send(site, "quick", "[2]", "st_marys", 20, NULL));
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 1840));
    s->key = "celery";
    assert_true(await(s, list_is_empty));
    assert_each_once(s, site, 1840);
    assert_true(celery_alive(one));
    assert_clean(s);
    celery_site_free(site);
}

/* ---- what a dead worker holds ---- */

static struct job *held_jobs(struct stage *s, size_t *count)
{
    redisReply *reply = ask(s, "HGETALL unacked");
    struct job *jobs = talloc_zero_array(s, struct job, reply->elements + 1);
    *count = 0;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        struct span message_span, exchange, routing_key;
        struct celery_envelope envelope;
        const redisReply *value = reply->element[i + 1];
        assert_true(celery_unacked_message(value->str, value->len, &message_span, &exchange, &routing_key));
        celery_envelope_scan(&envelope, message_span.at, message_span.length, NULL);
        jobs[(*count)++] = (struct job){.state = JOB_UNACKED,
                                        .id = celery_span_text(jobs, envelope.id),
                                        .tag = talloc_strdup(jobs, reply->element[i]->str),
                                        .taken_at = clock_wall() - 5,
                                        .index = -1};
    }
    freeReplyObject(reply);
    return jobs;
}

static bool three_are_held(struct stage *s)
{
    return number(s, "HLEN", "unacked") == 3;
}

static bool is_redelivered(const char *message)
{
    const char *first = strstr(message, "\"redelivered\": true");
    return first && strstr(first + 1, "\"redelivered\": true");
}

static void ask_workers(struct stage *s, const char *worker)
{
    const char *const workers[] = {worker};
    act(s, &(struct queue_act_request){.act = ACT_ASK, .workers = workers, .worker_count = 1});
}

static void what_a_killed_worker_held_runs_once(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    struct celery_process *one = celery_worker(
        site, "one", (struct celery_options){.concurrency = 1, .words = "--prefetch-multiplier=4"});
    free(celery_send(site, "slow", "[600]", "al_noor", 1, NULL));
    assert_true(celery_await_begun(site, PATIENCE_S, NULL, 1));
    free(celery_send(site, "quick", "[7]", "al_noor", 3, NULL));
    set_up_console(s);
    assert_true(await(s, three_are_held));
    size_t count;
    struct job *jobs = held_jobs(s, &count);
    struct queue_act_request request = {.act = ACT_REQUEUE, .jobs = jobs, .job_count = count};
    /* The worker that has them answers: when it is asked for it, or was before. */
    assert_non_null(prepare(s, &request));
    assert_int_equal(send_it(s), STEP_FAILED);
    assert_int_equal(s->error.kind, ERROR_INTERLOCK);
    assert_int_equal(number(s, "HLEN", "unacked"), 3);
    ask_workers(s, "one@test");
    assert_null(prepare(s, &request));
    assert_int_equal(s->error.kind, ERROR_INTERLOCK);
    assert_non_null(strstr(s->error.why, "live worker"));
    celery_kill(one);
    struct celery_process *two = celery_worker(site, "two", (struct celery_options){.queues = "other"});
    ask_workers(s, "two@test");
    assert_non_null(prepare(s, &request));
    assert_string_equal(s->change->confirm, "3");
    /* One that is silent may have them. */
    celery_freeze(two);
    assert_int_equal(send_it(s), STEP_FAILED);
    assert_int_equal(s->error.kind, ERROR_INTERLOCK);
    assert_int_equal(number(s, "HLEN", "unacked"), 3);
    celery_thaw(two);
    struct error error;
    struct job_filter *filter = job_filter_parse(s, "task:quick", &error);
    act(s, &(struct queue_act_request){.act = ACT_REQUEUE, .queue = "celery", .filter = filter});
    assert_int_equal(number(s, "HLEN", "unacked"), 0);
    assert_int_equal(length_of(s, "celery"), 3);
    celery_worker(site, "three", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 3));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(celery_begun(site, jobs[i].id), 1);
    assert_null(prepare(s, &request));
    assert_true(celery_alive(two));
    celery_site_free(site);
}

/* Nobody was asked and nobody lives: that is found out, twice. */
static void what_the_last_worker_held_runs_once(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    struct celery_process *one = celery_worker(
        site, "one", (struct celery_options){.concurrency = 1, .words = "--prefetch-multiplier=4"});
    free(celery_send(site, "slow", "[600]", "al_noor", 1, NULL));
    assert_true(celery_await_begun(site, PATIENCE_S, NULL, 1));
    free(celery_send(site, "quick", "[7]", "al_noor", 3, NULL));
    set_up_console(s);
    assert_true(await(s, three_are_held));
    celery_kill(one);
    act(s, &(struct queue_act_request){.act = ACT_REQUEUE, .queue = "celery"});
    assert_int_equal(number(s, "HLEN", "unacked"), 0);
    assert_int_equal(number(s, "ZCARD", "unacked_index"), 0);
    assert_int_equal(chosen(s, list_of(s, "celery"), is_redelivered)->count, 3);
    celery_worker(site, "two", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 3));
    assert_each_once(s, site, 4);
    celery_site_free(site);
}

/* ---- dead letters ---- */

static bool dead_are_there(struct stage *s)
{
    return length_of(s, "dlq:celery") == s->wanted;
}

static void dead_letters_run_again(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    struct celery_process *one =
        celery_worker(site, "one", (struct celery_options){.concurrency = 1, .dead_letters = true});
    free(celery_send(site, "fail", "[\"no\"]", "al_noor", 3, NULL));
    set_up_console(s);
    s->wanted = 3;
    assert_true(await(s, dead_are_there));
    size_t count;
    struct job *jobs = jobs_of(s, "dlq:celery", any, &count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        jobs[i].state = JOB_DEAD;
    act(s, &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1});
    assert_true(celery_await_begun(site, PATIENCE_S, jobs[0].id, 2));
    assert_true(await(s, dead_are_there));
    act(s, &(struct queue_act_request){.act = ACT_DISCARD, .jobs = jobs + 1, .job_count = 2});
    assert_int_equal(length_of(s, "dlq:celery"), 1);
    assert_int_equal(length_of(s, key_like(s, "signalbox:trash:dlq:celery:*")), 2);
    act(s, &(struct queue_act_request){.act = ACT_RESTORE, .queue = "dlq:celery"});
    assert_int_equal(length_of(s, "dlq:celery"), 3);
    assert_int_equal(celery_begun(site, jobs[1].id), 1);
    struct error error;
    struct job_filter *filter = job_filter_parse(s, "tenant:al_noor", &error);
    /* Wherever failed jobs may be, as the console and the command line ask. */
    unsigned states = 1U << JOB_FAILED | 1U << JOB_DEAD | 1U << JOB_RETRYING;
    act(s,
        &(struct queue_act_request){.act = ACT_RETRY, .queue = "celery", .filter = filter, .states = states});
    assert_string_equal(s->change->confirm, "3");
    for (size_t i = 0; i < count; i++)
        assert_true(celery_await_begun(site, PATIENCE_S, jobs[i].id, i ? 2 : 3));
    assert_true(celery_alive(one));
    assert_clean(s);
    celery_site_free(site);
}

/* ---- results ---- */

static bool result_failed(struct stage *s)
{
    return strstr(result_of(s, s->key), "FAILURE") != NULL;
}

static char *fail_once(struct stage *s, struct celery_site *site)
{
    char *id =
        celery_send(site, "fail", "[\"no \\\\ \\u0645\", 12345678901234567, 1.10]", "al_noor", 1, NULL);
    id[strcspn(id, "\n")] = '\0';
    s->key = id;
    assert_true(await(s, result_failed));
    return id;
}

static void a_result_alone_is_sent_again(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, "{\"result_extended\": true}");
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    set_up_console(s);
    char *id = fail_once(s, site);
    char *first = talloc_strdup(s, result_of(s, id));
    struct job job = {.id = id, .state = JOB_FAILED, .index = -1};
    struct queue_act_request request = {.act = ACT_RETRY, .jobs = &job, .job_count = 1};
    assert_null(prepare(s, &request));
    assert_non_null(strstr(s->error.why, "unknown tenant"));
    job.tenant = "al_noor";
    job.tenant_known = true;
    assert_non_null(prepare(s, &request));
    assert_string_equal(s->change->confirm, id + strlen(id) - 2);
    assert_non_null(strstr(s->change->steps[0].subject, "1 of 1 results can be sent again"));
    assert_int_equal(send_it(s), STEP_DONE);
    assert_true(celery_await_begun(site, PATIENCE_S, id, 2));
    char *path = talloc_asprintf(s, "%s/effects", celery_site_folder(site)), *line;
    char *lines = talloc_zero_size(s, 4000);
    FILE *file = fopen(path, "r");
    assert_true(fread(lines, 1, 3999, file) > 0);
    fclose(file);
    line = talloc_asprintf(s, "start %s app.fail al_noor\n", id);
    assert_non_null(strstr(strstr(lines, line) + 1, line));
    /* The arguments are what they were, to the last digit. */
    const char *args = strstr(first, "\"args\": [");
    args = talloc_strndup(s, args, (size_t)(strchr(args, ']') - args));
    assert_non_null(strstr(args, "12345678901234567"));
    s->key = id;
    assert_true(await(s, result_failed));
    assert_non_null(strstr(result_of(s, id), args));
    assert_true(celery_alive(one));
    celery_site_free(site);
    free(id);
}

static void a_result_without_arguments_is_not(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    set_up_console(s);
    char *id = fail_once(s, site);
    struct job job = {.id = id, .state = JOB_FAILED, .tenant_known = true, .index = -1};
    assert_null(prepare(s, &(struct queue_act_request){.act = ACT_RETRY, .jobs = &job, .job_count = 1}));
    assert_int_equal(s->error.kind, ERROR_UNSUPPORTED);
    assert_non_null(strstr(s->error.why, "1 lost their arguments"));
    celery_site_free(site);
    free(id);
}

/* ---- poison ---- */

static bool is_poison(const char *message)
{
    return message[0] != '{';
}

static void poison_is_parked_before_it_kills(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    freeReplyObject(ask(s, "LPUSH celery %b", "[\"not a \0message\"]", (size_t)18));
    free(celery_send(site, "quick", "[1]", "al_noor", 5, NULL));
    set_up_console(s);
    struct list *before = list_of(s, "celery");
    size_t count;
    struct job *jobs = jobs_of(s, "celery", is_poison, &count);
    assert_int_equal(count, 1);
    jobs[0].tag = "no id";
    assert_null(prepare(s, &(struct queue_act_request){.act = ACT_NEUTRALISE, .jobs = jobs, .job_count = 1}));
    assert_int_equal(s->error.kind, ERROR_UNSUPPORTED);
    act(s, &(struct queue_act_request){.act = ACT_PARK, .jobs = jobs, .job_count = 1});
    assert_same(list_of(s, key_like(s, "signalbox:park:*")), chosen(s, before, is_poison));
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 5));
    assert_true(celery_alive(one));
    celery_site_free(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_expired_is_dropped, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(parked_jobs_wait_and_then_run_in_order, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(nothing_is_lost_and_nothing_runs_twice, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(what_a_killed_worker_held_runs_once, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(what_the_last_worker_held_runs_once, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(dead_letters_run_again, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_result_alone_is_sent_again, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(a_result_without_arguments_is_not, site_begin, stage_end),
        cmocka_unit_test_setup_teardown(poison_is_parked_before_it_kills, site_begin, stage_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
