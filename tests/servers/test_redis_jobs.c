/* What the readers of job systems on Redis share: windows of lists that move, samples, very many queues, big
 * and broken jobs, servers that go away. Sidekiq's lists stand for all. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/redis_batch.h"
#include "tests/harness/board.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"
#include "tests/harness/watcher.h"

struct scene {
    struct redis_box *box;
    char *url;
    struct board board;
    struct queue_system *system;
    /* of a read */
    struct queue_read *read;
    size_t jobs, windows;
    char *seen; /* by number of the job */
    bool pops, done, repeated, stops;
    int gone; /* popped from the head meanwhile */
    struct queue_read_progress progress;
    struct error error;
};

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    s->box = redis_box_start(NULL);
    s->url = redis_box_url(s->box, 0, NULL);
    redis_box_do(s->box, "SADD", "queues", "default");
    redis_box_do(s->box, "SET", "stat:processed", "0");
    redis_box_do(s->box, "SADD", "processes", "vm:1:x");
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    if (s->board.loop)
        board_end(&s->board);
    redis_box_free(s->box);
    free(s->url);
    free(s->seen);
    free(s);
    return 0;
}

static void open_board(struct scene *s)
{
    board_start_redis(&s->board, s->url, s->url, NULL, 0);
    s->system = board_system(&s->board, "sidekiq");
}

/* Jobs first .. first + count - 1, the lowest is the next to run. */
static void fill(struct scene *s, const char *key, int first, int count)
{
    enum { PIECE = 1000 };
    const char *words[PIECE + 2] = {"LPUSH", key};
    size_t lengths[PIECE + 2] = {5, strlen(key)};
    for (int i = 0; i < count;) {
        int n = 0;
        for (; n < PIECE && i < count; n++, i++) {
            char *text;
            lengths[n + 2] =
                (size_t)asprintf(&text,
                                 "{\"class\":\"Job\",\"args\":[\"t%d\",%d],\"jid\":\"%d\",\"queue\":"
                                 "\"default\",\"tenant\":\"%s\",\"enqueued_at\":1795262321.5}",
                                 first + i, first + i, first + i, (first + i) % 4 ? "most" : "few");
            words[n + 2] = text;
        }
        free(redis_box_send(s->box, 0, n + 2, words, lengths));
        for (int j = 0; j < n; j++)
            free((char *)words[j + 2]);
    }
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct scene *s = data;
    for (size_t i = 0; i < count; i++) {
        int number = atoi(jobs[i].id);
        s->repeated = s->repeated || s->seen[number];
        s->seen[number] = 1;
    }
    s->jobs += count;
}

static void on_progress(void *data, const struct queue_read_progress *progress)
{
    struct scene *s = data;
    s->windows++;
    s->progress = *progress;
    if (s->pops && s->windows < 30) { /* workers take from the head, producers add at the tail */
        for (int i = 0; i < 10; i++)
            free(redis_box_ask(s->box, "RPOP", "queue:default"));
        s->gone += 10;
        fill(s, "queue:default", 50000 + (int)s->windows * 10, 10);
    }
    if (s->stops && s->windows == 3)
        queue_read_stop(s->read);
}

static void on_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct scene *s = data;
    s->progress = *progress;
    s->done = true;
    if (error)
        s->error = *error;
}

static bool is_done(void *data)
{
    return ((struct scene *)data)->done;
}

static void begin(struct scene *s, struct queue_read_request request)
{
    free(s->seen);
    s->seen = calloc(1, 100000);
    s->jobs = s->windows = 0;
    s->done = s->repeated = false;
    s->read = queue_read_start(
        s->system, &request,
        (struct queue_read_handler){.jobs = on_jobs, .progress = on_progress, .done = on_done, .data = s});
}

static void read_all(struct scene *s, struct queue_read_request request)
{
    begin(s, request);
    assert_true(loop_until(s->board.loop, 30, is_done, s));
}

static void every_job_is_read_once_from_either_end(void **state)
{
    struct scene *s = *state;
    fill(s, "queue:default", 0, 5000);
    open_board(s);
    enum queue_from ends[] = {FROM_HEAD, FROM_TAIL};
    for (int i = 0; i < 2; i++) {
        read_all(s,
                 (struct queue_read_request){.queue = "default", .states = 1u << JOB_READY, .from = ends[i]});
        assert_int_equal(s->jobs, 5000);
        assert_int_equal(s->progress.scanned, 5000);
        assert_int_equal(s->progress.total, 5000);
        assert_int_equal(s->progress.repeated, 0);
        assert_false(s->repeated);
        assert_true(s->progress.complete);
    }
    size_t count;
    struct job *jobs = board_read(
        &s->board, s->system, (struct queue_read_request){.queue = "default", .offset = 4990, .limit = 20},
        NULL, &count, NULL);
    assert_int_equal(count, 10);
    assert_string_equal(jobs[0].id, "4990");
    assert_int_equal(jobs[0].index, 4990);
    talloc_free(jobs);
    jobs = board_read(
        &s->board, s->system,
        (struct queue_read_request){.queue = "default", .from = FROM_TAIL, .offset = 10, .limit = 5}, NULL,
        &count, NULL);
    assert_int_equal(count, 5);
    assert_string_equal(jobs[0].id, "4989");
    talloc_free(jobs);
    struct queue_read_progress progress;
    jobs = board_read(&s->board, s->system, (struct queue_read_request){.queue = "default"}, "id=4321",
                      &count, &progress);
    assert_int_equal(count, 1);
    assert_int_equal(progress.scanned, 5000);
    talloc_free(jobs);
}

/* From the head nobody that still waits is passed over; from the tail too. */
static void nobody_is_passed_over_while_the_list_moves(void **state)
{
    struct scene *s = *state;
    enum queue_from ends[] = {FROM_HEAD, FROM_TAIL};
    for (int e = 0; e < 2; e++) {
        redis_box_do(s->box, "DEL", "queue:default");
        fill(s, "queue:default", 0, 5000);
        if (!s->system)
            open_board(s);
        s->pops = true;
        s->gone = 0;
        read_all(s,
                 (struct queue_read_request){.queue = "default", .states = 1u << JOB_READY, .from = ends[e]});
        assert_true(s->windows > 4);
        assert_false(s->repeated);
        for (int i = s->gone; i < 5000; i++)
            if (!s->seen[i])
                fail_msg("job %d was passed over", i);
        assert_true(s->progress.complete);
        if (ends[e] == FROM_TAIL)
            assert_true(s->progress.repeated > 0);
    }
}

static void a_sample_tells_shares(void **state)
{
    struct scene *s = *state;
    fill(s, "queue:default", 0, 40000);
    open_board(s);
    read_all(s, (struct queue_read_request){
                    .queue = "default", .states = 1u << JOB_READY, .from = FROM_ANY, .look = 1500});
    assert_int_equal(s->jobs, 1500);
    assert_false(s->repeated);
    assert_int_equal(s->progress.total, 40000);
    size_t low = 0;
    for (int i = 0; i < 20000; i++)
        low += s->seen[i] != 0;
    assert_in_range(low, 300, 1200); /* not all from one end */
}

static bool shares_are_known(void *data)
{
    struct scene *s = data;
    const struct queues_snapshot *queues = s->system->latest[PART_QUEUES];
    feed_refresh(queue_system_feed(s->system, PART_QUEUES));
    return queues && queues->count && queues->queues[0].share_sample > 0;
}

static void tenants_shares_stand_with_the_queue(void **state)
{
    struct scene *s = *state;
    fill(s, "queue:default", 0, 2000);
    open_board(s);
    assert_true(loop_until(s->board.loop, 20, shares_are_known, s));
    const struct queues_snapshot *queues = s->system->latest[PART_QUEUES];
    assert_string_equal(queues->queues[0].shares[0].name, "most");
    assert_float_equal(queues->queues[0].shares[0].share, 0.75, 0.15);
    assert_true(queues->queues[0].shares[0].error > 0);
}

static void reading_stops_or_is_forsaken(void **state)
{
    struct scene *s = *state;
    fill(s, "queue:default", 0, 20000);
    open_board(s);
    s->stops = true;
    read_all(s, (struct queue_read_request){.queue = "default"});
    assert_true(s->progress.stopped);
    assert_false(s->progress.complete);
    assert_true(s->jobs < 20000);
    s->stops = false;
    begin(s, (struct queue_read_request){.queue = "default"});
    queue_read_forsake(s->read);
    struct queue_prepare *prepare =
        queue_act_prepare(s->system, &(struct queue_act_request){.act = ACT_RETRY, .tenant = "x"},
                          (struct queue_prepare_handler){.data = s});
    queue_prepare_forsake(prepare);
    board_part(&s->board, s->system, PART_QUEUES); /* the loop has run */
    assert_false(s->done);
}

static void ten_thousand_queues_are_counted(void **state)
{
    struct scene *s = *state;
    char name[40];
    for (int i = 0; i < 10001; i++) {
        snprintf(name, sizeof name, "q%05d", i);
        redis_box_do(s->box, "SADD", "queues", name);
    }
    redis_box_do(s->box, "LPUSH", "queue:q00007",
                 "{\"class\":\"A\",\"args\":[],\"jid\":\"1\",\"enqueued_at\":1795262321.5}");
    open_board(s);
    const struct queues_snapshot *queues = board_part(&s->board, s->system, PART_QUEUES);
    assert_int_equal(queues->count, 10000);
    assert_int_equal(queues->left_out, 2);
    char *slow = redis_box_ask(s->box, "CONFIG", "GET", "slowlog-log-slower-than");
    free(slow);
}

static void a_wrong_type_spoils_one_queue_only(void **state)
{
    struct scene *s = *state;
    redis_box_do(s->box, "SADD", "queues", "odd");
    redis_box_do(s->box, "SET", "queue:odd", "text");
    fill(s, "queue:default", 0, 3);
    open_board(s);
    const struct queue *queue = board_queue(&s->board, s->system, "odd");
    assert_int_equal(queue->ready, -1);
    assert_non_null(queue->why);
    assert_int_equal(board_queue(&s->board, s->system, "default")->ready, 3);
    read_all(s, (struct queue_read_request){.states = 1u << JOB_READY});
    assert_int_equal(s->jobs, 3);
    assert_int_equal(s->error.kind, ERROR_NONE);
}

static void big_jobs_come_in_small_windows(void **state)
{
    struct scene *s = *state;
    char *big = malloc((1 << 20) + 200);
    for (int i = 0; i < 30; i++) {
        int head = sprintf(big, "{\"class\":\"Big\",\"jid\":\"%d\",\"args\":[\"", i);
        memset(big + head, 'x', 1 << 20);
        strcpy(big + head + (1 << 20), "\"],\"enqueued_at\":1795262321.5}");
        redis_box_do(s->box, "LPUSH", "queue:default", big);
    }
    free(big);
    open_board(s);
    read_all(s, (struct queue_read_request){.queue = "default", .states = 1u << JOB_READY});
    assert_int_equal(s->jobs, 30);
    assert_true(s->windows >= 8); /* 20 to learn how big they are, then one at a time */
    size_t count;
    struct job *jobs =
        board_read(&s->board, s->system, (struct queue_read_request){.queue = "default", .limit = 1}, NULL,
                   &count, NULL);
    assert_true(jobs[0].flags & JOB_BIG);
    talloc_free(jobs);
}

static void a_server_that_goes_away_is_told(void **state)
{
    struct scene *s = *state;
    fill(s, "queue:default", 0, 20000);
    open_board(s);
    begin(s, (struct queue_read_request){.queue = "default"});
    redis_box_kill(s->box);
    assert_true(loop_until(s->board.loop, 20, is_done, s));
    assert_int_not_equal(s->error.kind, ERROR_NONE);
    const struct error *error = board_part_error(&s->board, s->system, PART_QUEUES);
    assert_int_not_equal(error->kind, ERROR_NONE);
    redis_box_again(s->box);
    redis_box_do(s->box, "SADD", "queues", "default");
    s->done = false;
}

static void what_may_not_be_read_is_told(void **state)
{
    struct scene *s = *state;
    redis_box_do(s->box, "ACL", "SETUSER", "watch", "on", ">pw", "~*", "&*", "+@all", "-smembers");
    free(s->url);
    s->url = redis_box_url(s->box, 0, "watch:pw");
    open_board(s);
    const struct error *error = board_part_error(&s->board, s->system, PART_QUEUES);
    assert_int_equal(error->kind, ERROR_DENIED);
    assert_non_null(strstr(error->todo, "+smembers"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to sockets that are gone */
    const struct CMUnitTest tests[] = {
        CASE(every_job_is_read_once_from_either_end),
        CASE(nobody_is_passed_over_while_the_list_moves),
        CASE(a_sample_tells_shares),
        CASE(tenants_shares_stand_with_the_queue),
        CASE(reading_stops_or_is_forsaken),
        CASE(ten_thousand_queues_are_counted),
        CASE(a_wrong_type_spoils_one_queue_only),
        CASE(big_jobs_come_in_small_windows),
        CASE(a_server_that_goes_away_is_told),
        CASE(what_may_not_be_read_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
