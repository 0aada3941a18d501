/* BullMQ's workers, which are known only by their connections, the jobs that run, and its schedulers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "core/clock.h"

enum { RUNNING_SHOWN = 200 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- CLIENT LIST ---- */

/* The value of " key=" in a line; NULL: absent. Fresh talloc string. */
static char *client_field(const void *context, const char *line, size_t length, const char *key)
{
    size_t own = strlen(key);
    for (const char *at = line; (at = memmem(at, length - (size_t)(at - line), key, own)); at++) {
        if ((at > line && at[-1] != ' ') || at[own] != '=')
            continue;
        const char *value = at + own + 1;
        return or_die(talloc_strndup(context, value, strcspn(value, " \n")));
    }
    return NULL;
}

/* "<prefix>:<base64 of the queue>" with ":w:<name>" behind it when the worker has a name. */
static bool read_client(const void *context, struct bullmq_client *client, const char *prefix,
                        const char *name)
{
    size_t before = strlen(prefix), length = 0;
    if (!name || strncmp(name, prefix, before) != 0 || name[before] != ':')
        return false;
    const char *encoded = name + before + 1;
    size_t end = strcspn(encoded, ":");
    if (encoded[end] && strncmp(encoded + end, ":w:", 3) != 0)
        return false; /* a connection for events */
    char *queue = payload_base64(NULL, encoded, end, &length);
    if (!queue)
        return false;
    client->queue = payload_utf8(context, queue, length);
    client->name = encoded[end] ? or_die(talloc_strdup(context, encoded + end + 3)) : NULL;
    talloc_free(queue);
    return true;
}

struct bullmq_client *bullmq_clients(const void *context, const char *prefix, const char *list, size_t *count)
{
    struct bullmq_client *clients = or_die(talloc_array(context, struct bullmq_client, 1));
    *count = 0;
    for (const char *line = list; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        struct bullmq_client client = {0};
        char *name = client_field(clients, line, length, "name");
        if (!read_client(clients, &client, prefix, name))
            continue;
        char *age = client_field(clients, line, length, "age"),
             *idle = client_field(clients, line, length, "idle");
        client.id = client_field(clients, line, length, "id");
        client.address = client_field(clients, line, length, "addr");
        client.age_s = age ? strtod(age, NULL) : 0;
        client.idle_s = idle ? strtod(idle, NULL) : 0;
        clients = or_die(talloc_realloc(context, clients, struct bullmq_client, *count + 1));
        clients[(*count)++] = client;
    }
    return clients;
}

/* ---- workers ---- */

struct bullmq_workers {
    struct redis_part part;
    struct workers_snapshot *snapshot;
    double now;
};

/* Of the running jobs; forsaken with the part that it belongs to. */
struct running_read {
    struct bullmq_workers *asking;
    struct queue_read *read;
};

static int running_destroy(struct running_read *running)
{
    if (running->read)
        redis_read_forsake(running->read);
    return 0;
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct running_read *running = data;
    struct workers_snapshot *snapshot = running->asking->snapshot;
    for (size_t i = 0; i < count && snapshot->running_count < RUNNING_SHOWN; i++)
        job_copy_into(snapshot, &snapshot->running[snapshot->running_count++], &jobs[i]);
}

static void on_read(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct running_read *running = data;
    (void)progress;
    running->read = NULL;
    if (!error || redis_part_came(running->asking, NULL, error))
        redis_part_publish(running->asking);
}

static void read_workers(struct bullmq_workers *asking, const char *list)
{
    const struct bullmq_system *system = (const struct bullmq_system *)asking->part.system;
    struct workers_snapshot *snapshot = asking->snapshot;
    size_t count;
    struct bullmq_client *clients = bullmq_clients(snapshot, system->prefix, list, &count);
    snapshot->workers = or_die(talloc_zero_array(snapshot, struct worker, count + 1));
    for (size_t i = 0; i < count; i++) {
        const struct bullmq_client *client = &clients[i];
        const char *address = client->address ? client->address : "?";
        struct worker *worker = &snapshot->workers[snapshot->count++];
        *worker = (struct worker){
            .id = or_die(
                talloc_asprintf(snapshot, "%s@%s", client->name ? client->name : client->queue, address)),
            .host = or_die(talloc_strndup(
                snapshot, address,
                (size_t)(strrchr(address, ':') ? strrchr(address, ':') - address : (long)strlen(address)))),
            .state = WORKER_OK,
            .seen_at = asking->now - client->idle_s,
            .started_at = asking->now - client->age_s,
            .slots = -1,
            .active = -1,
            .reserved = -1,
            .scheduled = -1,
            .processed = -1,
            .per_s = NAN,
            .load = NAN,
            .queues = client->queue};
    }
}

static void on_clients(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_workers *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    const char *list = redis_answer_text(redis_batch_answer(batch, 0));
    struct workers_snapshot *snapshot = asking->snapshot;
    read_workers(asking, list ? list : "");
    snapshot->running = or_die(talloc_zero_array(snapshot, struct job, RUNNING_SHOWN));
    struct queue_read_request request = {.states = 1u << JOB_RUNNING, .look = RUNNING_SHOWN};
    struct running_read *running = or_die(talloc_zero(asking, struct running_read));
    talloc_set_destructor(running, running_destroy);
    running->asking = asking;
    running->read =
        redis_read_start(&asking->part.system->base, &bullmq_reading, &request,
                         (struct queue_read_handler){.jobs = on_jobs, .done = on_read, .data = running});
}

void bullmq_ask_workers(struct bullmq_system *system)
{
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    struct bullmq_workers *asking = redis_part_begin(&system->redis, PART_WORKERS, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    snapshot->note = "from the workers' connections: which of them runs which job is not known to Redis";
    struct redis_batch *batch = redis_part_batch(asking);
    redis_batch_add(batch, "CLIENT", "LIST", NULL);
    redis_part_ask(asking, batch, on_clients);
}
