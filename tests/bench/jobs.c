/* One Celery queue of a million jobs of 1 kB on a real Redis: how fast it opens, is counted and searched,
 * what that costs the server, and how fast jobs are neutralised and moved. Each measurement is a process of
 * its own, so that its memory is what this one needed, and so that it can be killed in the middle. */
#include "tests/bench/jobs.h"

#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/access.h"
#include "backends/queues/queues.h"
#include "backends/queues/tally.h"
#include "panels/batch.h"
#include "tests/bench/bulk.h"
#include "tests/bench/figures.h"
#include "tests/bench/turns.h"
#include "tests/harness/stage.h"

enum { OPENS = 5, WINDOW = 500, ENTRIES_S = 120 };

static int64_t bulk_jobs(void)
{
    const char *wanted = getenv("BENCH_JOBS");
    int64_t count = wanted ? strtoll(wanted, NULL, 10) : 1000000;
    return count < 10000 ? 10000 : count;
}

struct jobs_figures {
    double open_ms, program_ms;                  /* the first window: in process, and of the whole program */
    double program_mb;                           /* private memory of the program while it scans */
    double scan_s, scan_mb, scan_slow, slow_ms;  /* counting by tenant, paced */
    double counted, tenant_share;                /* jobs counted; of BULK_TENANT */
    double match_s, match_mb, matched, peer_s;   /* searching, unpaced; redis-cli and grep */
    double look_s, expire_s, expire_mb, expired; /* neutralising */
    double expire_slow, expire_slow_ms;
    double aside_look_s, aside_s, aside_mb, moved; /* the tenant's jobs aside, and back */
    double aside_slow, aside_slow_ms, back_s, back_mb;
    double aside_cpu_s, aside_server_cpu_s, scan_cpu_s, scan_server_cpu_s;
    double left_by_kill, resume_s, resume_mb; /* interrupted by SIGKILL, and gone on with */
    double disorder, lost;
};

/* ---- a console without a screen ---- */

struct console {
    struct jobs_figures *figures; /* shared with the process that prints them */
    struct environment *environment;
    struct loop *loop;
    struct redis_server *redis;
    struct queues *queues;
    struct queue_system *system;
    struct audit *audit;
    struct access *access;
    ev_timer sample;
    double peak_bytes;
    struct tally *tally;
    int64_t handed;
    bool over;
    struct error error;
    struct queue_read_progress progress;
    struct change *change;
    char report[512];
};

static void nothing(void *data)
{
    (void)data;
}

static void take_sample(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    struct console *c = timer->data;
    c->peak_bytes = fmax(c->peak_bytes, private_bytes(getpid()));
}

static bool is_found(void *data)
{
    struct console *c = data;
    return queues_count(c->queues) > 0;
}

static bool can_act(void *data)
{
    struct console *c = data;
    struct error error;
    return queue_system_can_act(c->system, &error);
}

static bool is_over(void *data)
{
    return ((struct console *)data)->over;
}

_Noreturn static void give_up(const struct console *c, const char *what)
{
    char text[1024] = "";
    if (c->error.kind != ERROR_NONE)
        error_format(&c->error, text, sizeof text);
    fprintf(stderr, "bench: %s %s\n", what, text);
    _exit(1);
}

static void console_open(struct console *c, struct redis_box *redis, bool unlock)
{
    char *url = redis_box_url(redis, 0, NULL), text[1024];
    snprintf(text, sizeof text,
             "environment: {kind: development, title: Bench}\nredis: {broker: {url: \"%s\", act: \"%s\"}}\n",
             url, url);
    free(url);
    struct error_list *errors = error_list_new(NULL);
    c->environment = environment_parse(NULL, "bench.yaml", text, strlen(text), errors);
    if (!c->environment)
        give_up(c, "its environment is wrong");
    talloc_free(errors);
    c->loop = loop_new();
    c->audit = audit_new(c->loop, "bench", redis_box_folder(redis));
    c->access = access_new(c->loop, c->environment, c->audit, NULL, NULL);
    c->redis = redis_server_new(c->loop, c->environment, &c->environment->redis[0], NULL, nothing, NULL);
    c->queues = queues_new(c->loop, &(struct queues_options){.environment = c->environment,
                                                             .redis = &c->redis,
                                                             .redis_count = 1,
                                                             .changed = nothing});
    queues_want(c->queues, PART_QUEUES, true);
    if (!batch_wait(c->loop, 30, is_found, c))
        give_up(c, "no job system is found");
    queues_want(c->queues, PART_QUEUES, false);
    c->system = queues_system(c->queues, 0);
    if (unlock)
        redis_server_unlock(c->redis);
    if (unlock && !batch_wait(c->loop, 30, can_act, c))
        give_up(c, "the login that acts does not come");
    malloc_trim(0);
    ev_timer_init(&c->sample, take_sample, 0.01, 0.01);
    c->sample.data = c;
    ev_timer_start(loop_ev(c->loop), &c->sample);
}

/* ---- reading ---- */

static void count_jobs(void *data, const struct job *jobs, size_t count)
{
    struct console *c = data;
    c->handed += (int64_t)count;
    for (size_t i = 0; c->tally && i < count; i++)
        tally_add(c->tally, jobs[i].tenant, jobs[i].tenant ? strlen(jobs[i].tenant) : 0, 1);
}

static void reading_is_over(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct console *c = data;
    c->progress = *progress;
    if (error)
        c->error = *error;
    c->over = true;
}

static double read_jobs(struct console *c, const struct queue_read_request *request)
{
    double begun = now_s();
    c->over = false;
    c->handed = 0;
    c->peak_bytes = 0;
    queue_read_start(c->system, request,
                     (struct queue_read_handler){.jobs = count_jobs, .done = reading_is_over, .data = c});
    if (!batch_wait(c->loop, ENTRIES_S, is_over, c) || c->error.kind != ERROR_NONE)
        give_up(c, "the queue cannot be read");
    return now_s() - begun;
}

static void measure_reading(struct console *c, struct redis_box *redis)
{
    double samples[OPENS], slowest;
    struct jobs_figures *f = c->figures;
    console_open(c, redis, false);
    for (int i = 0; i < OPENS; i++)
        samples[i] = 1000 * read_jobs(c, &(struct queue_read_request){.queue = BULK_QUEUE,
                                                                      .states = 1u << JOB_READY,
                                                                      .from = i % 2 ? FROM_TAIL : FROM_HEAD,
                                                                      .limit = WINDOW});
    f->open_ms = percentile(samples, OPENS, 1);
    c->tally = tally_new(c->environment, 4096);
    bulk_slow(redis, &slowest);
    double cpu = cpu_s(getpid()), server_cpu = cpu_s(redis_box_pid(redis));
    f->scan_s = read_jobs(
        c, &(struct queue_read_request){.queue = BULK_QUEUE, .states = 1u << JOB_READY, .from = FROM_TAIL});
    f->scan_cpu_s = cpu_s(getpid()) - cpu;
    f->scan_server_cpu_s = cpu_s(redis_box_pid(redis)) - server_cpu;
    f->scan_slow = (double)bulk_slow(redis, &f->slow_ms);
    f->scan_mb = c->peak_bytes / 1e6;
    f->counted = (double)tally_total(c->tally);
    struct tally_line top;
    if (tally_top(c->tally, &top, 1, NULL) == 1 && top.name && strcmp(top.name, BULK_TENANT) == 0)
        f->tenant_share = top.share;
    c->tally = NULL;
    struct error error;
    struct job_filter *filter = job_filter_parse(c->environment, "task=" BULK_TASK, &error);
    f->match_s = read_jobs(c, &(struct queue_read_request){.queue = BULK_QUEUE,
                                                           .states = 1u << JOB_READY,
                                                           .from = FROM_TAIL,
                                                           .filter = filter,
                                                           .unpaced = true});
    f->matched = (double)c->handed;
    f->match_mb = c->peak_bytes / 1e6;
}

/* ---- acting ---- */

static void preparing_is_over(void *data, struct change *change, const struct error *error)
{
    struct console *c = data;
    c->change = change;
    if (error)
        c->error = *error;
    c->over = true;
}

static void sending_is_over(void *data, struct change *change, const char *report, const struct error *error)
{
    struct console *c = data;
    (void)change;
    snprintf(c->report, sizeof c->report, "%s", report);
    if (error)
        c->error = *error;
    c->over = true;
}

static double prepare(struct console *c, const struct queue_act_request *request)
{
    double begun = now_s();
    c->over = false;
    c->peak_bytes = 0;
    queue_act_prepare(c->system, request,
                      (struct queue_prepare_handler){.done = preparing_is_over, .data = c});
    if (!batch_wait(c->loop, ENTRIES_S, is_over, c) || !c->change)
        give_up(c, "the act cannot be prepared");
    return now_s() - begun;
}

static double send(struct console *c)
{
    double begun = now_s();
    c->over = false;
    c->change->reason = "bench";
    change_send(c->change, c->loop, c->access, c->audit, sending_is_over, c);
    if (!batch_wait(c->loop, ENTRIES_S, is_over, c) || c->error.kind != ERROR_NONE)
        give_up(c, "the act fails");
    fprintf(stderr, "bench: %s\n", c->report);
    talloc_free(c->change);
    c->change = NULL;
    return now_s() - begun;
}

static void measure_neutralising(struct console *c, struct redis_box *redis)
{
    struct jobs_figures *f = c->figures;
    struct error error;
    double slowest;
    console_open(c, redis, true);
    bulk_slow(redis, &slowest);
    f->look_s = prepare(c, &(struct queue_act_request){
                               .act = ACT_NEUTRALISE,
                               .queue = BULK_QUEUE,
                               .states = 1u << JOB_READY,
                               .filter = job_filter_parse(c->environment, "task=" BULK_TASK, &error)});
    f->expire_s = send(c);
    f->expire_mb = c->peak_bytes / 1e6;
    f->expire_slow = (double)bulk_slow(redis, &f->expire_slow_ms);
}

static const struct queue_act_request tenant_aside = {
    .act = ACT_TENANT_ASIDE, .queue = BULK_QUEUE, .tenant = BULK_TENANT, .states = 1u << JOB_READY};

/* The id of what was set aside, of this kind. */
static const char *aside_id(struct console *c, const char *kind)
{
    const struct aside_snapshot *aside = queue_system_aside(c->system);
    for (size_t i = 0; aside && i < aside->count; i++)
        if (strcmp(aside->items[i].kind, kind) == 0)
            return aside->items[i].id;
    return NULL;
}

static bool has_aside(void *data)
{
    return aside_id(data, "aside") != NULL;
}

static bool has_unfinished(void *data)
{
    return aside_id(data, "unfinished") != NULL;
}

static void measure_aside(struct console *c, struct redis_box *redis)
{
    struct jobs_figures *f = c->figures;
    double slowest;
    console_open(c, redis, true);
    bulk_slow(redis, &slowest);
    f->aside_look_s = prepare(c, &tenant_aside);
    double cpu = cpu_s(getpid()), server_cpu = cpu_s(redis_box_pid(redis));
    f->aside_s = send(c);
    f->aside_cpu_s = cpu_s(getpid()) - cpu;
    f->aside_server_cpu_s = cpu_s(redis_box_pid(redis)) - server_cpu;
    f->aside_mb = c->peak_bytes / 1e6;
    f->aside_slow = (double)bulk_slow(redis, &f->aside_slow_ms);
}

static void measure_back(struct console *c, struct redis_box *redis)
{
    console_open(c, redis, true);
    queues_want(c->queues, PART_ASIDE, true);
    if (!batch_wait(c->loop, 30, has_aside, c))
        give_up(c, "what was set aside is not told");
    prepare(c, &(struct queue_act_request){.act = ACT_TENANT_BACK,
                                           .queue = BULK_QUEUE,
                                           .tenant = BULK_TENANT,
                                           .entry = aside_id(c, "aside")});
    c->figures->back_s = send(c);
    c->figures->back_mb = c->peak_bytes / 1e6;
}

static void die(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
    raise(SIGKILL);
}

static void interrupt_moving(struct console *c, struct redis_box *redis)
{
    ev_timer timer;
    console_open(c, redis, true);
    prepare(c, &tenant_aside);
    ev_now_update(loop_ev(c->loop));
    ev_timer_init(&timer, die, c->figures->aside_s / 2, 0);
    ev_timer_start(loop_ev(c->loop), &timer);
    send(c);
}

static void measure_resuming(struct console *c, struct redis_box *redis)
{
    console_open(c, redis, true);
    queues_want(c->queues, PART_ASIDE, true);
    if (!batch_wait(c->loop, 30, has_unfinished, c))
        give_up(c, "the move that was interrupted is not told");
    prepare(c, &(struct queue_act_request){
                   .act = ACT_CONTINUE, .queue = BULK_QUEUE, .entry = aside_id(c, "unfinished")});
    c->figures->resume_s = send(c);
    c->figures->resume_mb = c->peak_bytes / 1e6;
}

/* ---- each in a process of its own ---- */

/* False when it did not end by itself and well. */
static bool apart(void (*measure)(struct console *c, struct redis_box *redis), struct redis_box *redis,
                  struct jobs_figures *figures)
{
    int status = -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct console c = {.figures = figures};
        measure(&c, redis);
        fflush(NULL);
        _exit(0); /* the harness' servers are the parent's */
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the program, and its peer ---- */

/* Milliseconds of the program from its start to its end, and its peak of private memory. */
static double run_program(struct stage *stage, const char *const arguments[], double *peak_mb)
{
    double begun = now_s();
    pid_t pid = fork();
    if (pid == 0) {
        char home[600];
        snprintf(home, sizeof home, "HOME=%s", stage->home);
        putenv(home);
        if (!freopen("/dev/null", "we", stdout))
            _exit(126);
        execv(SIGNALBOX_PROGRAM, (char *const *)arguments);
        _exit(127);
    }
    int status;
    *peak_mb = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        *peak_mb = fmax(*peak_mb, private_bytes(pid) / 1e6);
        usleep(2000);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? (now_s() - begun) * 1000 : INFINITY;
}

static void measure_program(struct redis_box *redis, struct jobs_figures *f)
{
    double samples[OPENS], peak;
    char *url = redis_box_url(redis, 0, NULL), text[1024];
    struct stage *stage = stage_new_bare();
    snprintf(text, sizeof text,
             "environment: {kind: development, title: Bench}\nredis: {broker: {url: \"%s\"}}\n", url);
    free(url);
    stage_config(stage, "bench.yaml", text);
    const char *const window[] = {SIGNALBOX_PROGRAM, "jobs",    "--json", "--view", "jobs",  "--queue",
                                  BULK_QUEUE,        "--limit", "500",    "-e",     "bench", NULL};
    for (int i = 0; i < OPENS; i++)
        samples[i] = run_program(stage, window, &peak);
    f->program_ms = percentile(samples, OPENS, 0.5);
    const char *const search[] = {
        SIGNALBOX_PROGRAM, "jobs",    "--json", "--view", "jobs", "--queue", BULK_QUEUE, "--filter",
        "task=" BULK_TASK, "--limit", "500",    "--from", "tail", "-e",      "bench",    NULL};
    run_program(stage, search, &f->program_mb);
    stage_free(stage);
}

static double measure_peer(struct redis_box *redis)
{
    char command[1024];
    snprintf(command, sizeof command,
             "redis-cli -s '%s' LRANGE " BULK_QUEUE " 0 -1 | grep -cF '\"task\": \"" BULK_TASK "\"'",
             redis_box_socket(redis));
    double begun = now_s(), slowest;
    FILE *output = popen(command, "re");
    char line[64] = "";
    if (!output || !fgets(line, sizeof line, output))
        line[0] = '\0';
    if (output)
        pclose(output);
    double seconds = now_s() - begun;
    bulk_slow(redis, &slowest);
    return atoll(line) == bulk_jobs() / BULK_TASK_SHARE ? seconds : INFINITY;
}

/* ---- the table ---- */

static bool print_line(const char *figure, double budget, double ours, double peer, int decimals)
{
    const double cells[] = {budget, ours, peer};
    static const int widths[] = {11, 12, 13};
    printf("%-50s", figure);
    for (int i = 0; i < 3; i++)
        if (isnan(cells[i]))
            printf("%*s", widths[i], "");
        else if (isinf(cells[i]))
            printf("%*s", widths[i], "none");
        else
            printf("%*.*f", widths[i], decimals, cells[i]);
    if (!isnan(peer) && ours > 0)
        printf("%9.1fx", peer / ours);
    else
        printf("%10s", "");
    bool met = isnan(budget) || ours <= budget;
    puts(met ? "" : "  MISSED");
    return met;
}

static bool report(const struct jobs_figures *f, int64_t jobs)
{
    const int64_t of_task = jobs / BULK_TASK_SHARE, of_tenant = jobs / BULK_SHARE;
    bool met = true;
    char title[64];
    snprintf(title, sizeof title, "a Celery queue of %lld jobs", (long long)jobs);
    printf("\n%-50s%11s%12s%13s%10s\n", title, "budget", "signalbox", "redis-cli", "ratio");
#define LINE(name, budget, ours, peer, decimals) met = print_line(name, budget, ours, peer, decimals) && met
    LINE("list opens: 500 jobs, the slowest of 5, ms", 200, f->open_ms, NAN, 1);
    LINE("  the whole program from start to end, ms", 200, f->program_ms, NAN, 0);
    LINE("all counted by tenant, paced, s", 8, f->scan_s, NAN, 2);
    LINE("  processor time of the console, s", NAN, f->scan_cpu_s, NAN, 2);
    LINE("  processor time of the server, s", NAN, f->scan_server_cpu_s, NAN, 2);
    LINE("  jobs that were not counted, or not once", 0, fabs(f->counted - (double)jobs), NAN, 0);
    LINE("  error of the largest tenant's share", 0, fabs(f->tenant_share - 1.0 / BULK_SHARE), NAN, 4);
    LINE("  commands that took the server over 5 ms", 0, f->scan_slow, NAN, 0);
    LINE("  the slowest of them, ms", NAN, f->slow_ms, NAN, 1);
    LINE("jobs of one task found, unpaced, s", NAN, f->match_s, f->peer_s, 2);
    LINE("  missed, or too many", 0, fabs(f->matched - (double)of_task), NAN, 0);
    LINE("neutralise one task's: looking, s", NAN, f->look_s, NAN, 2);
    LINE("  sending, s", NAN, f->expire_s, NAN, 2);
    LINE("  missed, or too many", 0, fabs(f->expired - (double)of_task), NAN, 0);
    LINE("  commands that took the server over 5 ms", 0, f->expire_slow, NAN, 0);
    LINE("  the slowest of them, ms", NAN, f->expire_slow_ms, NAN, 1);
    LINE("one tenant's half aside: looking, s", NAN, f->aside_look_s, NAN, 2);
    LINE("  moving, s", 5, f->aside_s, NAN, 2);
    LINE("    processor time of the console, s", NAN, f->aside_cpu_s, NAN, 2);
    LINE("    processor time of the server, s", NAN, f->aside_server_cpu_s, NAN, 2);
    LINE("  missed, or too many", 0, fabs(f->moved - (double)of_tenant), NAN, 0);
    LINE("  commands that took the server over 5 ms", 0, f->aside_slow, NAN, 0);
    LINE("  the slowest of them, ms", NAN, f->aside_slow_ms, NAN, 1);
    LINE("  and back, s", 5, f->back_s, NAN, 2);
    LINE("killed in the middle of it, then gone on with, s", NAN, f->resume_s, NAN, 2);
    LINE("  jobs that were lost, or are there twice", 0, f->lost, NAN, 0);
    LINE("  jobs out of order", 0, f->disorder, NAN, 0);
    LINE("private memory of the program while searching, MB", 40, f->program_mb, NAN, 1);
    LINE("  counting, MB", 40, f->scan_mb, NAN, 1);
    LINE("  searching, MB", 40, f->match_mb, NAN, 1);
    LINE("  neutralising, MB", 40, f->expire_mb, NAN, 1);
    LINE("  moving aside, MB", 40, f->aside_mb, NAN, 1);
    LINE("  moving back, MB", 40, f->back_mb, NAN, 1);
#undef LINE
    return met;
}

static void check_order(struct redis_box *redis, int64_t jobs, int64_t of_tenant, struct jobs_figures *f)
{
    const int64_t of_others = jobs - jobs / BULK_SHARE;
    struct bulk_state state = bulk_look(redis);
    f->disorder += (double)state.disorder;
    f->lost += fabs((double)(state.of_tenant - of_tenant)) +
               fabs((double)(state.count - state.of_tenant - of_others));
}

/* What cannot be measured is told, and its figures stay infinite. */
static void measure(struct redis_box *redis, int64_t jobs, struct jobs_figures *f)
{
    fprintf(stderr, "bench: reading %lld jobs\n", (long long)jobs);
    apart(measure_reading, redis, f);
    f->peer_s = measure_peer(redis);
    measure_program(redis, f);
    fprintf(stderr, "bench: neutralising and moving them\n");
    apart(measure_neutralising, redis, f);
    f->expired = (double)bulk_look(redis).expired;
    f->disorder = f->lost = 0;
    if (!apart(measure_aside, redis, f))
        return;
    const int64_t of_tenant = jobs / BULK_SHARE;
    f->moved = (double)(of_tenant - bulk_look(redis).of_tenant);
    check_order(redis, jobs, 0, f);
    if (!apart(measure_back, redis, f))
        return;
    check_order(redis, jobs, jobs / BULK_SHARE, f);
    if (apart(interrupt_moving, redis, f))
        fprintf(stderr, "bench: the move was over before it could be interrupted\n");
    if (apart(measure_resuming, redis, f))
        check_order(redis, jobs, 0, f);
}

bool bench_jobs(void)
{
    int64_t jobs = bulk_jobs();
    struct jobs_figures *figures =
        mmap(NULL, sizeof *figures, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (figures == MAP_FAILED)
        abort();
    struct redis_box *redis = redis_box_start("");
    double begun = now_s();
    bulk_fill(redis, jobs);
    fprintf(stderr, "bench: %lld jobs pushed in %.1f s\n", (long long)jobs, now_s() - begun);
    for (size_t i = 0; i < sizeof *figures / sizeof(double); i++)
        ((double *)figures)[i] = INFINITY;
    measure(redis, jobs, figures);
    bool met = report(figures, jobs);
    redis_box_free(redis);
    munmap(figures, sizeof *figures);
    return met;
}
