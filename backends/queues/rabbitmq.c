/*
 * RabbitMQ through SSH: `rabbitmqctl` on its host, at most every 30 s, because each call starts an Erlang VM
 * there. What is in the queues cannot be seen this way, and nothing is acted on.
 */
#include "backends/queues/rabbitmq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/system.h"
#include "backends/ssh/run.h"

extern const struct queue_adapter rabbitmq_adapter;

enum { DEADLINE_S = 40, OUTPUT_MOST = 8 * 1024 * 1024 };
enum { NEVER_LOOKED, NOT_THERE, IS_THERE }; /* queue_search_memory */

#define PATHS "PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\"; export PATH; LC_ALL=C.UTF-8; export LC_ALL\n"
/* Root and its own user may ask; others where sudo lets them. */
#define WHO                                                                                                  \
    PATHS "as=; if [ \"$(id -u)\" != 0 ] && [ \"$(id -un)\" != rabbitmq ]; then as='sudo -n'; fi\n"          \
          "vhosts=$($as rabbitmqctl -q list_vhosts --no-table-headers name </dev/null) || exit $?\n"
#define EACH_VHOST(COMMANDS)                                                                                 \
    "n=0; printf '%s\\n' \"$vhosts\" | while IFS= read -r v; do n=$((n + 1))\n"                              \
    "if [ $n -gt 8 ]; then echo '@signalbox more'; break; fi\n" COMMANDS "done || exit $?\n"

static const char LOOK[] = PATHS "command -v rabbitmqctl >/dev/null && echo '@signalbox there'; exit 0\n";
#define LIST_QUEUES                                                                                          \
    "printf '\\n@signalbox queues %s\\n' \"$v\"\n"                                                           \
    "$as rabbitmqctl -q list_queues -p \"$v\" --formatter json name messages_ready"                          \
    " messages_unacknowledged consumers message_bytes state head_message_timestamp </dev/null || exit $?\n"
#define LIST_CONSUMERS                                                                                       \
    "printf '\\n@signalbox consumers %s\\n' \"$v\"\n"                                                        \
    "$as rabbitmqctl -q list_consumers -p \"$v\" --formatter json queue_name consumer_tag prefetch_count"    \
    " active </dev/null || exit $?\n"
#define ALARMS                                                                                               \
    "echo; echo '@signalbox alarms'; $as rabbitmq-diagnostics -q alarms --formatter json </dev/null\n"       \
    "exit 0\n"

static const char QUEUES[] = WHO EACH_VHOST(LIST_QUEUES) ALARMS;
static const char CONSUMERS[] = WHO EACH_VHOST(LIST_CONSUMERS);

struct rabbitmq {
    struct queue_system base;
    const char *where;
    struct ssh_run *runs[QUEUE_PARTS];
};

/* ---- looking for it ---- */

struct rabbitmq_search {
    struct queue_search *search;
    struct queue_place place;
};

static void add_system(struct queue_search *search, const struct queue_place *place)
{
    struct rabbitmq *self = queue_system_new(search, &rabbitmq_adapter, sizeof *self);
    self->base.place = talloc_strdup(self, host_name(place->host));
    self->where = talloc_asprintf(self, "%s: %s", self->base.environment->name, host_name(place->host));
    queue_search_found(search, &self->base);
}

static void looked(void *data, const struct ssh_result *result)
{
    struct rabbitmq_search *self = data;
    struct queue_search *search = self->search;
    struct error error = {0};
    bool there = false;
    if (ssh_result_ok(result, "", "cannot look for RabbitMQ", &error)) {
        there = strstr(result->output, "@signalbox there") != NULL;
        *queue_search_memory(search) = there ? IS_THERE : NOT_THERE;
        if (!there && self->place.settings)
            error_set(&error, ERROR_MISSING, host_name(self->place.host), "RabbitMQ is not there",
                      "Name the host that RabbitMQ runs on in the environment's jobs.",
                      "there is no rabbitmqctl on it");
    }
    if (there && queue_search_alive(search))
        add_system(search, &self->place);
    queue_search_done(search, error.kind ? &error : NULL);
    talloc_free(self);
}

/* Does the host look like one, as far as the hosts' own watching knows? */
static bool looks_so(struct host *host)
{
    const struct host_snapshot *snapshot = host_latest(host);
    for (size_t i = 0; snapshot && i < snapshot->listener_count; i++)
        if (snapshot->listeners[i].port == 5672)
            return true;
    for (size_t i = 0; snapshot && i < snapshot->process_count; i++)
        if (strcmp(snapshot->process[i].command, "beam.smp") == 0)
            return true;
    return false;
}

static void search_rabbitmq(struct queue_search *search, const struct queue_place *place)
{
    int memory = *queue_search_memory(search);
    if (memory == IS_THERE)
        add_system(search, place);
    if (memory != NEVER_LOOKED || (!place->settings && !looks_so(place->host))) {
        queue_search_done(search, NULL);
        return;
    }
    struct rabbitmq_search *self = talloc_zero(NULL, struct rabbitmq_search);
    if (!self)
        abort();
    *self = (struct rabbitmq_search){.search = search, .place = *place};
    ssh_run(host_ssh(place->host), "sh", LOOK, (struct ssh_run_limits){.deadline_s = 15}, looked, self);
}

/* ---- its parts ---- */

static void explain(const struct ssh_result *result, struct error *error)
{
    bool sudo = result->errors && (strstr(result->errors, "sudo:") || strstr(result->errors, "Only root"));
    if (!sudo)
        return;
    error->kind = ERROR_DENIED;
    snprintf(error->todo, sizeof error->todo,
             "Let the login run it: in sudoers `LOGIN ALL=(root) NOPASSWD: /usr/sbin/rabbitmqctl, "
             "/usr/sbin/rabbitmq-diagnostics`.");
}

static bool answered(struct rabbitmq *self, enum queue_part part, const struct ssh_result *result,
                     struct error *error)
{
    self->runs[part] = NULL;
    if (ssh_result_ok(result, self->where, "rabbitmqctl failed", error))
        return true;
    explain(result, error);
    queue_system_failed(&self->base, part, error);
    return false;
}

static void took_queues(void *data, const struct ssh_result *result)
{
    struct rabbitmq *self = data;
    struct error error = {0};
    if (!answered(self, PART_QUEUES, result, &error))
        return;
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    if (rabbitmq_read_queues(snapshot, self->base.latest[PART_QUEUES], result->output, result->output_length,
                             self->where, &error)) {
        queue_system_publish(&self->base, PART_QUEUES, snapshot);
        return;
    }
    snapshot_release(snapshot);
    queue_system_failed(&self->base, PART_QUEUES, &error);
}

static void took_consumers(void *data, const struct ssh_result *result)
{
    struct rabbitmq *self = data;
    struct error error = {0};
    if (!answered(self, PART_WORKERS, result, &error))
        return;
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    if (rabbitmq_read_consumers(snapshot, result->output, result->output_length, self->where, &error)) {
        queue_system_publish(&self->base, PART_WORKERS, snapshot);
        return;
    }
    snapshot_release(snapshot);
    queue_system_failed(&self->base, PART_WORKERS, &error);
}

static void ask(struct queue_system *system, enum queue_part part)
{
    struct rabbitmq *self = (struct rabbitmq *)system;
    bool queues = part == PART_QUEUES;
    self->runs[part] = ssh_run(host_ssh(system->at.host), "sh", queues ? QUEUES : CONSUMERS,
                               (struct ssh_run_limits){.deadline_s = DEADLINE_S, .bytes = OUTPUT_MOST},
                               queues ? took_queues : took_consumers, self);
}

static void close_rabbitmq(struct queue_system *system)
{
    struct rabbitmq *self = (struct rabbitmq *)system;
    for (int part = 0; part < QUEUE_PARTS; part++)
        if (self->runs[part])
            ssh_run_cancel(self->runs[part]);
    memset(self->runs, 0, sizeof self->runs);
}

static const char *part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system;
    switch (part) {
    case PART_FAILURES:
        return "RabbitMQ keeps no record of failed jobs: a dead letter exchange is a queue like others";
    case PART_SCHEDULE:
        return "RabbitMQ has no schedule";
    case PART_ASIDE:
        return "nothing can be set aside: messages cannot be taken out with rabbitmqctl";
    default:
        return NULL;
    }
}

static const char *act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system, (void)act;
    return "RabbitMQ is only looked at, through rabbitmqctl on its host";
}

/* ---- what cannot be done: told in a later turn ---- */

struct refusal {
    union {
        struct queue_read read;
        struct queue_prepare prepare;
    } as;
    struct loop *loop;
    struct error error;
    ev_timer later;
    struct queue_read_handler read_handler;
    struct queue_prepare_handler prepare_handler;
    void (*job_done)(void *data, const struct job_facts *facts, const struct error *error);
    void *data;
};

static int refusal_free(struct refusal *self)
{
    ev_timer_stop(loop_ev(self->loop), &self->later);
    return 0;
}

static void refuse(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct refusal *self = timer->data;
    struct queue_read_progress progress = {.total = -1};
    (void)ev, (void)events;
    if (self->read_handler.done)
        self->read_handler.done(self->read_handler.data, &progress, &self->error);
    else if (self->prepare_handler.done)
        self->prepare_handler.done(self->prepare_handler.data, NULL, &self->error);
    else
        self->job_done(self->data, NULL, &self->error);
    talloc_free(self);
}

static struct refusal *refusal_new(struct queue_system *system)
{
    struct refusal *self = talloc_zero(system, struct refusal);
    if (!self)
        abort();
    self->as.read.system = system;
    self->loop = system->loop;
    error_set(&self->error, ERROR_UNSUPPORTED, system->place, "that cannot be done here", NULL,
              "messages in RabbitMQ cannot be seen with rabbitmqctl without taking them out");
    ev_timer_init(&self->later, refuse, 0, 0);
    self->later.data = self;
    talloc_set_destructor(self, refusal_free);
    ev_timer_start(loop_ev(self->loop), &self->later);
    return self;
}

static struct queue_read *read_nothing(struct queue_system *system, const struct queue_read_request *request,
                                       struct queue_read_handler handler)
{
    struct refusal *self = refusal_new(system);
    (void)request;
    self->read_handler = handler;
    return &self->as.read;
}

static void stop_nothing(struct queue_read *read)
{
    (void)read; /* its end is on the way */
}

static void forsake_read(struct queue_read *read)
{
    talloc_free(read);
}

static void job_nothing(struct queue_system *system, const struct job *job,
                        void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                        void *data)
{
    struct refusal *self = refusal_new(system);
    (void)job;
    self->job_done = done;
    self->data = data;
}

static struct queue_prepare *prepare_nothing(struct queue_system *system,
                                             const struct queue_act_request *request,
                                             struct queue_prepare_handler handler)
{
    struct refusal *self = refusal_new(system);
    (void)request;
    self->prepare_handler = handler;
    return &self->as.prepare;
}

static void forsake_prepare(struct queue_prepare *prepare)
{
    talloc_free(prepare);
}

const struct queue_adapter rabbitmq_adapter = {
    .id = "rabbitmq",
    .title = "RabbitMQ",
    .where = ON_HOST,
    .intervals = {[PART_QUEUES] = 30, [PART_WORKERS] = 60},
    .search = search_rabbitmq,
    .part_absent = part_absent,
    .act_absent = act_absent,
    .ask = ask,
    .close = close_rabbitmq,
    .read = read_nothing,
    .stop = stop_nothing,
    .forsake = forsake_read,
    .job = job_nothing,
    .prepare = prepare_nothing,
    .forsake_prepare = forsake_prepare,
};
