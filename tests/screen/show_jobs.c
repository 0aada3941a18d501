/*
 * The real console with a job system whose answers are fixed: it stands in the place of all adapters (this
 * program defines queue_adapters itself). What the golden screens of the Jobs panel are made of, and what the
 * tests of its acts press keys on: its changes write into the file that SHOWN_ACTS names, and nowhere else.
 * Usage: show_jobs ENVIRONMENT VIEW [ascii|mono]...; SIGNALBOX_TEST_CLOCK fixes the time.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/system.h"
#include "core/clock.h"
#include "panels/console.h"
#include "panels/options.h"

enum { READY = 184210, WINDOW = 40, LONG = 100000 };

/* ---- what it says of itself ---- */

static struct queue shown_queue(const char *name, int64_t ready)
{
    struct queue queue = {.id = name,
                          .name = name,
                          .kind = "list",
                          .ready = ready,
                          .running = -1,
                          .waiting = -1,
                          .done = -1,
                          .priorities = 4,
                          .by_priority = {ready},
                          .head_age_s = NAN,
                          .in_per_s = 3,
                          .out_per_s = 3,
                          .drain_s = 0,
                          .consumers = 2,
                          .bytes = -1,
                          .retry_share = 0.02};
    for (int i = 0; i < QUEUE_HISTORY; i++)
        queue.history[i] = (float)(int64_t)(ready * (20 + i) / 80);
    return queue;
}

static void ask_queues(struct queue_system *system)
{
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    snapshot->queues = talloc_zero_array(snapshot, struct queue, 3);
    snapshot->count = 3;
    struct queue *reports = &snapshot->queues[0], *mail = &snapshot->queues[2];
    *reports = shown_queue("reports", READY);
    snapshot->queues[1] = shown_queue("default", 12);
    *mail = shown_queue("mail", 0);
    reports->unacked = 64;
    reports->scheduled = 12;
    reports->dead = 3;
    reports->in_per_s = 310;
    reports->out_per_s = 41;
    reports->drain_s = INFINITY;
    reports->head_age_s = 22 * 60;
    reports->head_age_source = HEAD_AGE_ESTIMATE;
    reports->poison = 4;
    reports->poison_near = 1;
    reports->poison_sampled = true;
    reports->share_count = 2;
    reports->shares[0] = (struct queue_share){"al_noor", 0.93, 0.02};
    reports->shares[1] = (struct queue_share){"مدرسة النور", 0.04, 0.01};
    reports->share_others = 118;
    reports->share_sample = 1500;
    reports->level = QUEUE_CRITICAL;
    reports->why = "grows by 269/s; al_noor floods it; poison within the next 1,000";
    snapshot->queues[1].scheduled = 340;
    snapshot->queues[1].head_age_s = 0.4;
    snapshot->queues[1].head_age_source = HEAD_AGE_HEADER;
    snapshot->queues[1].drain_s = 0.6;
    mail->dead = 41;
    mail->paused = 1;
    mail->level = QUEUE_WARNING;
    mail->why = "paused from here";
    queue_system_publish(system, PART_QUEUES, snapshot);
}

static void ask_workers(struct queue_system *system)
{
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    double now = clock_wall();
    static const struct worker workers[] = {
        {.id = "reports@worker1",
         .host = "worker1",
         .pid = 811,
         .state = WORKER_BUSY,
         .slots = 2,
         .active = 2,
         .reserved = 8,
         .processed = 41207,
         .per_s = 41,
         .load = 3.1,
         .queues = "reports,celery",
         .version = "5.2.6"},
        {.id = "mail@worker2",
         .host = "worker2",
         .pid = 902,
         .state = WORKER_STUCK,
         .slots = 4,
         .active = 1,
         .processed = 120,
         .per_s = 0,
         .load = 0.2,
         .queues = "mail",
         .version = "5.2.6",
         .why = "has run school.jobs.send_mail for 41 m, its limit is 5 m"},
        {.id = "old@worker1",
         .state = WORKER_GHOST,
         .slots = -1,
         .active = -1,
         .reserved = -1,
         .scheduled = -1,
         .processed = -1,
         .per_s = NAN,
         .load = NAN,
         .why = "declared, no sign of life: it was killed"},
    };
    snapshot->count = sizeof workers / sizeof *workers;
    snapshot->workers = talloc_memdup(snapshot, workers, sizeof workers);
    for (size_t i = 0; i < 2; i++) {
        snapshot->workers[i].seen_at = now - 1 - (double)i;
        snapshot->workers[i].started_at = now - 86400;
    }
    snapshot->running = talloc_zero_array(snapshot, struct job, 1);
    snapshot->running[0] = (struct job){.id = "1f0c",
                                        .task = "school.jobs.send_mail",
                                        .tenant = "al_noor",
                                        .queue = "mail",
                                        .state = JOB_RUNNING,
                                        .worker = "mail@worker2",
                                        .started_at = now - 41 * 60,
                                        .limit_s = 300,
                                        .priority = -1,
                                        .index = -1};
    snapshot->running_count = 1;
    queue_system_publish(system, PART_WORKERS, snapshot);
}

static void ask_failures(struct queue_system *system)
{
    struct failures_snapshot *snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    double now = clock_wall();
    snapshot->failures = talloc_zero_array(snapshot, struct failure, 2);
    snapshot->count = 2;
    snapshot->failures[0] = (struct failure){.id = "1",
                                             .task = "school.jobs.report_card",
                                             .exception = "ValueError",
                                             .frame = "jobs.py:41 in grade",
                                             .tenant = "al_noor",
                                             .queue = "reports",
                                             .message = "no grades for term 2",
                                             .count = 310,
                                             .first = now - 3600,
                                             .last = now - 12,
                                             .kept = JOB_DEAD,
                                             .retriable = 310};
    snapshot->failures[1] = (struct failure){.id = "2",
                                             .exception = "TimeoutError",
                                             .count = 4,
                                             .message = "smtp.example.com: timed out",
                                             .first = now - 90000,
                                             .last = now - 7200,
                                             .kept = JOB_DONE,
                                             .retriable = 0,
                                             .why_not = "the result does not keep the arguments"};
    for (int i = 0; i < QUEUE_HISTORY; i++)
        snapshot->failures[0].history[i] = (float)(i % 12);
    snapshot->storm = true;
    snapshot->retry_share = 0.41;
    snapshot->results_without_expiry = 1200;
    queue_system_publish(system, PART_FAILURES, snapshot);
}

static void ask_schedule(struct queue_system *system)
{
    struct schedule_snapshot *snapshot = SNAPSHOT_NEW(struct schedule_snapshot);
    double now = clock_wall();
    snapshot->entries = talloc_zero_array(snapshot, struct schedule_entry, 2);
    snapshot->count = 2;
    snapshot->entries[0] = (struct schedule_entry){.id = "1",
                                                   .name = "nightly backup",
                                                   .task = "school.jobs.backup",
                                                   .when = "0 2 * * *",
                                                   .enabled = 1,
                                                   .last_run = now - 36000,
                                                   .next_run = now + 50400,
                                                   .runs = 212};
    snapshot->entries[1] = (struct schedule_entry){.id = "2",
                                                   .name = "remind parents",
                                                   .task = "school.jobs.remind",
                                                   .when = "every 10 min",
                                                   .enabled = 1,
                                                   .last_run = now - 2400,
                                                   .next_run = now - 1800,
                                                   .late_s = 1500,
                                                   .runs = 9,
                                                   .why = "was due 30 min ago"};
    snapshot->scheduler = SCHEDULER_STOPPED;
    snapshot->sign = "no periodic message for 25 m";
    queue_system_publish(system, PART_SCHEDULE, snapshot);
}

static void ask_aside(struct queue_system *system)
{
    struct aside_snapshot *snapshot = SNAPSHOT_NEW(struct aside_snapshot);
    snapshot->items = talloc_zero_array(snapshot, struct aside, 1);
    snapshot->count = 1;
    snapshot->items[0] = (struct aside){.id = "signalbox:park:reports",
                                        .kind = "parked",
                                        .queue = "reports",
                                        .filter = "task:report",
                                        .count = 12,
                                        .since = clock_wall() - 600,
                                        .by = "noura",
                                        .reason = "incident 17"};
    queue_system_publish(system, PART_ASIDE, snapshot);
}

static void ask(struct queue_system *system, enum queue_part part)
{
    static void (*const asks[])(struct queue_system *) = {ask_queues, ask_workers, ask_failures, ask_schedule,
                                                          ask_aside};
    asks[part](system);
}

/* ---- its jobs ---- */

/* A read that answers in later turns of the loop; a scan goes on until it is stopped. */
struct shown_read {
    struct queue_read base;
    struct queue_read_request request;
    struct queue_read_handler handler;
    struct queue_read_progress progress;
    ev_timer timer;
};

static void fill(struct job *job, int i, double now)
{
    static const char *const tasks[] = {"school.jobs.report_card", "school.jobs.report_card",
                                        "school.jobs.pdf"};
    *job = (struct job){.task = tasks[i % 3],
                        .tenant = i % 14 == 13 ? "مدرسة النور" : "al_noor",
                        .queue = "reports",
                        .state = JOB_READY,
                        .retries = i % 5 == 4 ? 4 : 0,
                        .retries_max = -1,
                        .enqueued_at = now - 1320 + i,
                        .size = 1012 + i,
                        .index = i,
                        .arguments = "(int, str), {term: int}",
                        .flags = i % 7 == 6 ? JOB_REDELIVERED : 0};
    if (i == 3) {
        job->poison = POISON_A;
        job->why = "not JSON: it ends the worker that takes it, and is lost";
        job->task = job->tenant = NULL;
    }
}

static void on_read(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct shown_read *read = timer->data;
    double now = clock_wall();
    (void)events;
    bool scan = read->request.filter != NULL;
    for (int i = 0; i < WINDOW && read->progress.scanned < (scan ? LONG : WINDOW); i++) {
        struct job job;
        char id[64];
        fill(&job, (int)read->progress.scanned, now);
        snprintf(id, sizeof id, "7f3a%04d-0000-4000-8000-000000000000", (int)read->progress.scanned);
        job.id = job.tag = id;
        read->progress.scanned++;
        if (scan && !job_filter_matches(read->request.filter, &job, NULL, 0, now))
            continue;
        read->progress.matched++;
        read->handler.jobs(read->handler.data, &job, 1);
    }
    read->progress.total = READY;
    read->handler.progress(read->handler.data, &read->progress);
    if (scan && !read->progress.stopped)
        return;
    ev_timer_stop(loop, timer);
    read->progress.complete = !scan;
    read->handler.done(read->handler.data, &read->progress, NULL);
    talloc_free(read);
}

static struct queue_read *read_jobs(struct queue_system *system, const struct queue_read_request *request,
                                    struct queue_read_handler handler)
{
    struct shown_read *read = talloc_zero(NULL, struct shown_read);
    *read = (struct shown_read){.base = {system}, .request = *request, .handler = handler};
    ev_timer_init(&read->timer, on_read, 0.01, 0.01);
    read->timer.data = read;
    ev_timer_start(loop_ev(system->loop), &read->timer);
    return &read->base;
}

static void stop(struct queue_read *read)
{
    ((struct shown_read *)read)->progress.stopped = true;
}

static void forsake(struct queue_read *read)
{
    ev_timer_stop(loop_ev(read->system->loop), &((struct shown_read *)read)->timer);
    talloc_free(read);
}

static void tell_job(struct queue_system *system, const struct job *job,
                     void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                     void *data)
{
    struct job_facts *facts = talloc_zero(NULL, struct job_facts);
    (void)system;
    job_facts_add(facts, "Message", "task", false, "%s", job->task ? job->task : "?");
    job_facts_add(facts, "Message", "id", false, "%s", job->id);
    job_facts_add(facts, "Arguments", "student", true, "Lina Haddad");
    done(data, facts, NULL);
    talloc_free(facts);
}

/* ---- acts ---- */

static void send_step(struct change *change, struct change_step *step)
{
    const char *path = getenv("SHOWN_ACTS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", step->command);
        fclose(file);
    }
    change_step_done(change, step, STEP_DONE, NULL);
}

struct shown_prepare {
    struct queue_prepare base;
    struct queue_prepare_handler handler;
    struct change *change;
    ev_timer timer;
};

static void on_prepare(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct shown_prepare *self = timer->data;
    (void)loop, (void)events;
    self->handler.done(self->handler.data, self->change, NULL);
    talloc_free(self);
}

static struct queue_prepare *prepare(struct queue_system *system, const struct queue_act_request *request,
                                     struct queue_prepare_handler handler)
{
    struct change *change = change_new();
    const char *act = queue_act_name(request->act);
    change->hazard = HAZARD_CHANGE;
    change->reach = REACH_MANY;
    change->environment = talloc_strdup(change, system->environment->name);
    change->server = "broker";
    change->role = "sb_act";
    change->verb = act;
    change->past = "did";
    change->title = talloc_asprintf(change, "%s in %s", act, request->queue ? request->queue : "celery");
    change->confirm = talloc_asprintf(change, "%zu", request->job_count ? request->job_count : 1);
    change->confirm_prompt = "how many there are";
    change->effect = talloc_asprintf(change, "%zu jobs are meant%s%s", request->job_count,
                                     request->filter ? ", and all that match " : "",
                                     request->filter ? job_filter_text(request->filter) : "");
    change->steps = talloc_zero_array(change, struct change_step, 1);
    change->step_count = 1;
    change->steps[0] = (struct change_step){
        .target = talloc_asprintf(change, "%s@broker", request->queue ? request->queue : "celery"),
        .command = talloc_asprintf(change, "%s %s %zu%s%s", act, request->queue ? request->queue : "-",
                                   request->job_count, request->argument ? " " : "",
                                   request->argument ? request->argument : ""),
        .send = send_step};
    struct shown_prepare *self = talloc_zero(NULL, struct shown_prepare);
    *self = (struct shown_prepare){.base = {system}, .handler = handler, .change = change};
    ev_timer_init(&self->timer, on_prepare, 0.01, 0);
    self->timer.data = self;
    ev_timer_start(loop_ev(system->loop), &self->timer);
    return &self->base;
}

static void forsake_prepare(struct queue_prepare *prepare)
{
    struct shown_prepare *self = (struct shown_prepare *)prepare;
    ev_timer_stop(loop_ev(prepare->system->loop), &self->timer);
    talloc_free(self->change);
    talloc_free(self);
}

static const char *part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system, (void)part;
    return NULL;
}

static const char *act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system;
    return act == ACT_RUN_NOW ? "a worker holds such jobs in its memory" : NULL;
}

/* ---- the one adapter ---- */

static void search(struct queue_search *search, const struct queue_place *place);

static const struct queue_adapter shown = {.id = "celery",
                                           .title = "Celery on Redis",
                                           .where = ON_REDIS,
                                           .search = search,
                                           .part_absent = part_absent,
                                           .act_absent = act_absent,
                                           .ask = ask,
                                           .read = read_jobs,
                                           .stop = stop,
                                           .forsake = forsake,
                                           .job = tell_job,
                                           .prepare = prepare,
                                           .forsake_prepare = forsake_prepare};
const struct queue_adapter *const queue_adapters[] = {&shown};
const size_t queue_adapter_count = 1;

static void search(struct queue_search *search, const struct queue_place *place)
{
    struct queue_system *system = queue_system_new(search, &shown, sizeof *system);
    (void)place;
    system->place = "broker, database 0";
    system->at = (struct queue_place){.database = -1}; /* no server: none is asked */
    queue_search_found(search, system);
    queue_search_done(search, NULL);
}

int main(int argc, char **argv)
{
    struct options options = {.environment = argv[1], .view = argv[2], .no_state = true};
    setlocale(LC_CTYPE, "");
    for (int i = 3; i < argc; i++) {
        options.ascii = options.ascii || strcmp(argv[i], "ascii") == 0;
        options.mono = options.mono || strcmp(argv[i], "mono") == 0;
    }
    return argc < 3 ? 2 : console_run(&options);
}
