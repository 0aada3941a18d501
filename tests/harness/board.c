#include "tests/harness/board.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

#define WAIT_S 15

void board_start(struct board *b, const char *watch, const char *read, const char *act,
                 const char *const databases[])
{
    memset(b, 0, sizeof *b);
    strcpy(b->folder, "/tmp/board.XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->loop = loop_new();
    b->definition = (struct environment_server){
        .name = "main", .watch = watch, .read = read, .act = act, .databases = databases};
    while (databases && databases[b->definition.database_count])
        b->definition.database_count++;
    b->environment = (struct environment){.name = "test",
                                          .title = "test",
                                          .kind = ENVIRONMENT_DEVELOPMENT,
                                          .servers = &b->definition,
                                          .server_count = 1};
    b->audit = audit_new(b->loop, "test", b->folder);
    b->access = access_new(b->loop, &b->environment, b->audit, NULL, NULL);
    b->server = pg_server_new(b->loop, &b->environment, &b->definition, NULL, NULL, NULL);
    pg_server_unlock(b->server);
    b->queues =
        queues_new(b->loop, &(struct queues_options){
                                .environment = &b->environment, .postgres = &b->server, .postgres_count = 1});
    queues_want(b->queues, PART_QUEUES, true);
}

void board_start_redis(struct board *b, const char *url, const char *act, const struct environment_jobs *jobs,
                       size_t jobs_count)
{
    memset(b, 0, sizeof *b);
    strcpy(b->folder, "/tmp/board.XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->loop = loop_new();
    b->redis_definition = (struct environment_redis){.name = "broker", .url = url, .act = act};
    b->environment = (struct environment){.name = "test",
                                          .title = "test",
                                          .kind = ENVIRONMENT_DEVELOPMENT,
                                          .redis = &b->redis_definition,
                                          .redis_count = 1,
                                          .jobs = jobs,
                                          .jobs_count = jobs_count};
    b->audit = audit_new(b->loop, "test", b->folder);
    b->access = access_new(b->loop, &b->environment, b->audit, NULL, NULL);
    b->redis = redis_server_new(b->loop, &b->environment, &b->redis_definition, NULL, NULL, NULL);
    redis_server_unlock(b->redis);
    b->queues = queues_new(
        b->loop,
        &(struct queues_options){.environment = &b->environment, .redis = &b->redis, .redis_count = 1});
    queues_want(b->queues, PART_QUEUES, true);
}

void board_end(struct board *b)
{
    char command[100];
    queues_stop(b->queues);
    if (b->server)
        pg_server_free(b->server);
    if (b->redis)
        redis_server_free(b->redis);
    queues_free(b->queues);
    access_free(b->access);
    audit_free(b->audit);
    loop_free(b->loop);
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(system(command), 0);
}

struct waiting {
    struct board *board;
    const char *name;
    struct queue_system *system;
    enum queue_part part;
    bool done;
    struct error error;
    struct job *jobs;
    size_t count;
    struct queue_read_progress progress;
    char *text;
    struct change *change;
};

static bool is_found(void *data)
{
    struct waiting *w = data;
    struct error error;
    w->system = queues_find(w->board->queues, w->name, &error);
    return w->system || false;
}

struct queue_system *board_system(struct board *b, const char *name)
{
    struct waiting w = {.board = b, .name = name};
    if (!loop_until(b->loop, WAIT_S, is_found, &w)) {
        const struct error *error;
        char text[800] = "";
        for (size_t i = 0; i < queues_search_count(b->queues); i++) {
            queues_search_place(b->queues, i, &error);
            if (error->kind)
                error_format(error, text, sizeof text);
        }
        fail_msg("%s was not found. %s", name, text);
    }
    return w.system;
}

static bool is_idle(void *data)
{
    struct waiting *w = data;
    return !queue_system_feed(w->system, w->part)->in_flight;
}

static struct feed *refreshed(struct board *b, struct queue_system *system, enum queue_part part)
{
    struct waiting w = {.system = system, .part = part};
    struct feed *feed = queue_system_feed(system, part);
    queues_want(b->queues, part, true);
    assert_true(loop_until(b->loop, WAIT_S, is_idle, &w));
    feed_refresh(feed);
    assert_true(loop_until(b->loop, WAIT_S, is_idle, &w));
    queues_want(b->queues, part, false);
    return feed;
}

const void *board_part(struct board *b, struct queue_system *system, enum queue_part part)
{
    struct feed *feed = refreshed(b, system, part);
    char text[800];
    /* A lock that the system's own maintenance holds may be in the way for a while. */
    for (int more = 3; more > 0 && feed->error.kind == ERROR_TIMEOUT; more--)
        feed = refreshed(b, system, part);
    if (feed->error.kind) {
        error_format(&feed->error, text, sizeof text);
        fail_msg("%s: %s", queue_part_name(part), text);
    }
    assert_non_null(system->latest[part]);
    return system->latest[part];
}

const struct error *board_part_error(struct board *b, struct queue_system *system, enum queue_part part)
{
    struct feed *feed = refreshed(b, system, part);
    assert_int_not_equal(feed->error.kind, ERROR_NONE);
    return &feed->error;
}

const struct queue *board_queue(struct board *b, struct queue_system *system, const char *queue)
{
    const struct queues_snapshot *snapshot = board_part(b, system, PART_QUEUES);
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, queue) == 0)
            return &snapshot->queues[i];
    fail_msg("there is no queue %s", queue);
    return NULL;
}

static bool is_done(void *data)
{
    return ((struct waiting *)data)->done;
}

static void take_jobs(void *data, const struct job *jobs, size_t count)
{
    struct waiting *w = data;
    for (size_t i = 0; i < count; i++) {
        w->jobs = talloc_realloc(NULL, w->jobs, struct job, w->count + 1);
        job_copy_into(w->jobs, &w->jobs[w->count++], &jobs[i]);
    }
}

static void read_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct waiting *w = data;
    w->done = true;
    w->progress = *progress;
    if (error)
        w->error = *error;
}

struct job *board_read(struct board *b, struct queue_system *system, struct queue_read_request request,
                       const char *filter, size_t *count, struct queue_read_progress *progress)
{
    struct waiting w = {.jobs = talloc_array(NULL, struct job, 1)};
    char text[800];
    if (filter) {
        request.filter = job_filter_parse(NULL, filter, &w.error);
        assert_non_null(request.filter);
    }
    queue_read_start(system, &request,
                     (struct queue_read_handler){.jobs = take_jobs, .done = read_done, .data = &w});
    assert_true(loop_until(b->loop, WAIT_S, is_done, &w));
    if (w.error.kind) {
        error_format(&w.error, text, sizeof text);
        fail_msg("%s", text);
    }
    talloc_free((void *)request.filter);
    *count = w.count;
    if (progress)
        *progress = w.progress;
    return w.jobs;
}

static void job_done(void *data, const struct job_facts *facts, const struct error *error)
{
    struct waiting *w = data;
    w->done = true;
    if (error) {
        w->error = *error;
        return;
    }
    w->text = talloc_strdup(NULL, "");
    for (size_t i = 0; i < facts->count; i++)
        w->text =
            talloc_asprintf_append_buffer(w->text, "%s/%s%s: %s\n", facts->facts[i].section,
                                          facts->facts[i].label ? facts->facts[i].label : "",
                                          facts->facts[i].secret ? " (secret)" : "", facts->facts[i].text);
}

char *board_job(struct board *b, struct queue_system *system, const struct job *job)
{
    struct waiting w = {0};
    char text[800];
    queue_job_read(system, job, job_done, &w);
    assert_true(loop_until(b->loop, WAIT_S, is_done, &w));
    if (w.error.kind && w.error.kind != ERROR_GONE) {
        error_format(&w.error, text, sizeof text);
        fail_msg("%s", text);
    }
    return w.text;
}

static void prepared(void *data, struct change *change, const struct error *error)
{
    struct waiting *w = data;
    w->done = true;
    w->change = change;
    if (error)
        w->error = *error;
}

struct change *board_prepare(struct board *b, struct queue_system *system,
                             const struct queue_act_request *request, struct error *error)
{
    struct waiting w = {0};
    queue_act_prepare(system, request, (struct queue_prepare_handler){.done = prepared, .data = &w});
    assert_true(loop_until(b->loop, WAIT_S, is_done, &w));
    *error = w.error;
    assert_true((w.change != NULL) == (w.error.kind == ERROR_NONE));
    return w.change;
}

static void sent(void *data, struct change *change, const char *report, const struct error *error)
{
    struct board *b = data;
    b->outcome = change->steps[0].outcome;
    snprintf(b->report, sizeof b->report, "%s", error ? error->why : report);
}

static bool is_sent(void *data)
{
    return ((struct board *)data)->report[0] != '\0';
}

enum step_outcome board_send(struct board *b, struct change *change)
{
    b->report[0] = '\0';
    change_send(change, b->loop, b->access, b->audit, sent, b);
    assert_true(loop_until(b->loop, WAIT_S, is_sent, b));
    return b->outcome;
}
