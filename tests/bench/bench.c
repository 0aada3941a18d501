/* signalbox beside pg_activity and pg_top: the same server, the same load, the same screen. Prints one table
 * and exits with 1 when a budget is missed. BENCH_SECONDS (60) is how long CPU is measured; figures are
 * scaled to 60 s. BENCH_PART: only "postgres", or only "hosts". Load: 200 idle sessions, 5 that sleep, 4
 * pgbench clients at 20 transactions a second, 1,000 statements known. */
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/figures.h"
#include "tests/bench/hosts.h"
#include "tests/bench/jobs.h"
#include "tests/harness/cluster.h"
#include "tests/harness/terminal.h"

enum {
    IDLE = 200,
    SLEEPING = 5,
    STATEMENTS = 1000,
    TABLES = 4500,
    ROWS = 40,
    COLUMNS = 140,
    STARTS = 7,
    KEYS = 200
};

/* ---- who is measured ---- */

enum who { OURS, PG_ACTIVITY, PG_TOP, STATEMENTS_VIEW, WHO_COUNT };
static const struct {
    const char *name, *role;
} clients[WHO_COUNT] = {
    [OURS] = {"signalbox", "watch_ours"},
    [PG_ACTIVITY] = {"pg_activity", "watch_activity"},
    [PG_TOP] = {"pg_top", "watch_top"},
    [STATEMENTS_VIEW] = {"signalbox, statements", "watch_statements"},
};

static struct terminal *start_client(const struct cluster *c, enum who who, const char *extra)
{
    char dsn[256], port[16];
    const char *env[] = {"PGPASSWORD=watch", extra, NULL};
    snprintf(port, sizeof port, "%d", cluster_port(c));
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%s user=%s dbname=postgres", port, clients[who].role);
    const char *const argvs[WHO_COUNT][16] = {
        [OURS] = {SIGNALBOX_PROGRAM, "--view", "activity", "--postgres", dsn},
        [STATEMENTS_VIEW] = {SIGNALBOX_PROGRAM, "--view", "statements", "--postgres", dsn},
        /* Without the size of the databases: the least that it can ask. */
        [PG_ACTIVITY] = {"pg_activity", "--no-db-size", "--refresh", "2", "-h", "127.0.0.1", "-p", port, "-U",
                         clients[PG_ACTIVITY].role, "-d", "postgres"},
        [PG_TOP] = {"pg_top", "-s", "2", "-h", "127.0.0.1", "-p", port, "-U", clients[PG_TOP].role, "-d",
                    "postgres"},
    };
    return terminal_start(argvs[who], env, ROWS, COLUMNS, NULL);
}

/* What is on the screen as soon as live sessions are. */
static const char *shown_when_live(enum who who)
{
    return who == STATEMENTS_VIEW ? "known_" : "bench_app";
}

static bool await_live(struct terminal *t, enum who who)
{
    if (terminal_await_text(t, 20, shown_when_live(who)))
        return true;
    char *picture = terminal_picture(t);
    fprintf(stderr, "%s shows no session within 20 s:\n%s\n", clients[who].name, picture);
    free(picture);
    return false;
}

/* ---- the load ---- */

struct load {
    PGconn *sessions[IDLE + SLEEPING];
    pid_t pgbench;
};

/* As many different statements as a busy application has. */
static void run_statements(struct cluster *c)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "DO $$BEGIN FOR i IN 1..%d LOOP EXECUTE format('SELECT pg_sleep(0.0001) AS known_%%s', i); END "
             "LOOP; END$$",
             STATEMENTS);
    cluster_do(c, sql);
}

static void fill(struct cluster *c)
{
    char sql[256];
    cluster_do(c, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    cluster_do(c, "CREATE ROLE bench_app LOGIN SUPERUSER PASSWORD 'watch'");
    for (int i = 0; i < WHO_COUNT; i++) {
        snprintf(sql, sizeof sql, "CREATE ROLE %s LOGIN PASSWORD 'watch'; GRANT pg_monitor TO %s",
                 clients[i].role, clients[i].role);
        cluster_do(c, sql);
    }
}

static pid_t run(const struct cluster *c, const char *const argv[], bool wait)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        char port[16];
        snprintf(port, sizeof port, "%d", cluster_port(c));
        setenv("PGHOST", "127.0.0.1", 1);
        setenv("PGPORT", port, 1);
        setenv("PGUSER", "bench_app", 1);
        setenv("PGPASSWORD", "watch", 1);
        setenv("PGDATABASE", "postgres", 1);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(127);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    int status = 0;
    if (wait && (waitpid(pid, &status, 0) != pid || status != 0)) {
        fprintf(stderr, "%s failed\n", argv[0]);
        return -1;
    }
    return pid;
}

static bool load_start(struct cluster *c, struct load *load, const char *seconds)
{
    char *dsn = cluster_dsn(c, 0, "bench_app", "watch", "postgres");
    bool good = true;
    for (int i = 0; i < IDLE + SLEEPING; i++) {
        load->sessions[i] = PQconnectdb(dsn);
        if (PQstatus(load->sessions[i]) != CONNECTION_OK)
            good = false;
        else if (i >= IDLE)
            PQsendQuery(load->sessions[i], "SELECT pg_sleep(3600)");
        else
            PQclear(PQexec(load->sessions[i], "SELECT 1 AS idle_session"));
    }
    free(dsn);
    load->pgbench = -1;
    if (!good || run(c, (const char *const[]){"pgbench", "-i", "-q", "-s", "1", NULL}, true) < 0)
        return false;
    load->pgbench =
        run(c, (const char *const[]){"pgbench", "-n", "-c", "4", "-R", "20", "-T", seconds, NULL}, false);
    return true;
}

static void load_end(struct load *load)
{
    if (load->pgbench > 0) {
        kill(load->pgbench, SIGKILL);
        waitpid(load->pgbench, NULL, 0);
    }
    for (int i = 0; i < IDLE + SLEEPING; i++)
        PQfinish(load->sessions[i]);
}

/* ---- figures ---- */

struct figures {
    double start_ms, client_cpu_s, server_cpu_s, server_cpu_tables_s, private_mb, key_ms, key_slowest_ms,
        still_bytes;
};

static bool measure_start(const struct cluster *c, enum who who, struct figures *figures)
{
    double samples[STARTS];
    for (int i = 0; i < STARTS; i++) {
        double begun = now_s();
        struct terminal *t = start_client(c, who, NULL);
        bool live = await_live(t, who);
        samples[i] = (now_s() - begun) * 1000;
        terminal_free(t);
        if (!live)
            return false;
    }
    figures->start_ms = percentile(samples, STARTS, 0.5);
    return true;
}

/* The backends that serve a role: what is alive now, from the system's own figures. */
static double server_cpu_of(struct cluster *c, const char *role)
{
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE usename = '%s'",
             role);
    char *pids = cluster_sql(c, sql);
    double sum = 0;
    for (char *rest = pids, *end; rest && *rest; rest = end) {
        pid_t pid = (pid_t)strtol(rest, &end, 10);
        if (end == rest)
            break;
        sum += cpu_s(pid);
    }
    free(pids);
    return sum;
}

/* All clients watch at once for a while. The backends of pg_top live for one refresh only: their time is what
 * the postmaster's ended children used, and no other child ends meanwhile but our own questions before and
 * after. */
static bool measure_watching(struct cluster *c, double seconds, struct figures figures[], bool tables)
{
    struct terminal *terminals[WHO_COUNT];
    double client[WHO_COUNT], server[WHO_COUNT], end;
    bool live = true;
    for (int who = 0; who < WHO_COUNT; who++)
        terminals[who] = start_client(c, who, NULL);
    for (int who = 0; who < WHO_COUNT; who++)
        live = await_live(terminals[who], who) && live;
    for (end = now_s() + 3; now_s() < end;)
        for (int who = 0; who < WHO_COUNT; who++)
            terminal_pump(terminals[who], 0.02);
    for (int who = 0; who < WHO_COUNT; who++) {
        client[who] = cpu_s(terminal_pid(terminals[who]));
        server[who] = server_cpu_of(c, clients[who].role);
    }
    double ended = cpu_of_ended_children_s(cluster_pid(c));
    for (end = now_s() + seconds; now_s() < end;)
        for (int who = 0; who < WHO_COUNT; who++)
            terminal_pump(terminals[who], 0.02);
    ended = cpu_of_ended_children_s(cluster_pid(c)) - ended;
    for (int who = 0; who < WHO_COUNT; who++) {
        double used = server_cpu_of(c, clients[who].role) - server[who] + (who == PG_TOP ? ended : 0);
        if (tables)
            figures[who].server_cpu_tables_s = used * 60 / seconds;
        else {
            figures[who].server_cpu_s = used * 60 / seconds;
            figures[who].client_cpu_s = (cpu_s(terminal_pid(terminals[who])) - client[who]) * 60 / seconds;
            figures[who].private_mb = private_bytes(terminal_pid(terminals[who])) / 1e6;
        }
        terminal_free(terminals[who]);
    }
    return live;
}

/* Keys while the server hangs. Who does not answer within 2 s is asked three times, not 200. */
static bool measure_keys(struct cluster *c, enum who who, struct figures *figures)
{
    double samples[KEYS];
    size_t count = 0;
    struct terminal *t = start_client(c, who, NULL);
    bool live = await_live(t, who);
    terminal_await_quiet(t, 0.3, 3);
    cluster_pause(c);
    for (double end = now_s() + 3; now_s() < end;)
        terminal_pump(t, 0.05);
    for (size_t i = 0, mute = 0; live && i < KEYS && mute < 3; i++) {
        terminal_await_quiet(t, 0.03, 0.5);
        double ms = terminal_latency(t, i % 2 ? "Up" : "Down", 2);
        samples[count++] = ms < 0 ? INFINITY : ms;
        mute += ms < 0;
    }
    figures->key_ms = percentile(samples, count, 0.99);
    figures->key_slowest_ms = percentile(samples, count, 1);
    cluster_resume(c);
    terminal_free(t);
    return live;
}

/* Paused, and with a clock that stands: nothing on the screen has a reason to change. */
static bool measure_still(struct cluster *c, enum who who, double seconds, struct figures *figures)
{
    struct terminal *t = start_client(c, who, "SIGNALBOX_TEST_CLOCK=1795269910");
    bool live = await_live(t, who);
    terminal_await_quiet(t, 0.5, 5);
    terminal_send(t, who == OURS ? "p" : "Space");
    terminal_await_quiet(t, 1, 5);
    size_t before = terminal_bytes(t);
    for (double end = now_s() + seconds; now_s() < end;)
        terminal_pump(t, 0.1);
    figures->still_bytes = (double)(terminal_bytes(t) - before) * 60 / seconds;
    terminal_free(t);
    return live;
}

/* How often a statement's text was asked for, on average over all that are known. */
static double text_fetches(struct cluster *c)
{
    char *cell =
        cluster_sql(c, "SELECT coalesce(sum(s.rows), 0)::float8 / (SELECT count(*) FROM pg_stat_statements) "
                       "FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
                       "WHERE r.rolname = 'watch_statements' AND s.query LIKE '%queryid, query FROM%'");
    double fetches = cell ? strtod(cell, NULL) : NAN;
    free(cell);
    return fetches;
}

/* ---- the table ---- */

static void print_cell(double value, int decimals, int width)
{
    if (isnan(value))
        printf("%*s", width, "");
    else if (isinf(value))
        printf("%*s", width, "none");
    else
        printf("%*.*f", width, decimals, value);
}

/* One line; false when the budget is missed. NAN: was not measured, or there is no budget. */
static bool print_line(const char *figure, double budget, double ours, double activity, double top,
                       int decimals)
{
    printf("%-46s", figure);
    print_cell(budget, decimals, 9);
    print_cell(ours, decimals, 11);
    print_cell(activity, decimals, 13);
    print_cell(top, decimals, 9);
    double peer = isnan(activity) ? top : activity;
    if (!isnan(peer) && !isinf(peer) && ours > 0)
        printf("%9.1fx", peer / ours);
    else
        printf("%10s", "");
    bool met = isnan(budget) || ours <= budget;
    puts(met ? "" : "  MISSED");
    return met;
}

static bool report(const struct figures figures[], double fetches)
{
    const struct figures *us = &figures[OURS], *activity = &figures[PG_ACTIVITY], *top = &figures[PG_TOP];
    bool met = true;
    printf("%-46s%9s%11s%13s%9s%10s\n", "figure", "budget", "signalbox", "pg_activity", "pg_top", "ratio");
#define LINE(name, budget, field, decimals)                                                                  \
    met = print_line(name, budget, us->field, activity->field, top->field, decimals) && met
    LINE("start to first live sessions, ms", 60, start_ms, 0);
    LINE("client CPU in 60 s, activity every 2 s, s", 0.10, client_cpu_s, 3);
    met = print_line("  the same with statements on the screen, s", 0.25,
                     figures[STATEMENTS_VIEW].client_cpu_s, NAN, NAN, 3) &&
          met;
    LINE("private memory, MB", 15, private_mb, 1);
    met = print_line("  with statements, MB", 15, figures[STATEMENTS_VIEW].private_mb, NAN, NAN, 1) && met;
    LINE("server CPU of watching in 60 s, s", activity->server_cpu_s, server_cpu_s, 3);
    LINE("  with 4,500 more tables, s", us->server_cpu_s * 1.25 + 0.02, server_cpu_tables_s, 3);
    LINE("key to screen while the server hangs, p99 ms", 16, key_ms, 1);
    LINE("  the slowest, ms", NAN, key_slowest_ms, 1);
    LINE("bytes to the terminal in 60 s, paused", 0, still_bytes, 0);
    met = print_line("times that a statement's text was fetched", 1.1, fetches, NAN, NAN, 2) && met;
#undef LINE
    return met;
}

static bool measure(struct cluster *c, double seconds, struct figures figures[], double *fetches)
{
    for (enum who who = OURS; who <= PG_TOP; who++) {
        fprintf(stderr, "bench: start of %s\n", clients[who].name);
        if (!measure_start(c, who, &figures[who]))
            return false;
    }
    fprintf(stderr, "bench: watching for %.0f s\n", seconds);
    cluster_do(c, "SELECT pg_stat_statements_reset()");
    run_statements(c);
    if (!measure_watching(c, seconds, figures, false))
        return false;
    *fetches = text_fetches(c);
    fprintf(stderr, "bench: keys while the server hangs\n");
    for (enum who who = OURS; who <= PG_TOP; who++)
        if (!measure_keys(c, who, &figures[who]) || !measure_still(c, who, seconds / 6, &figures[who]))
            return false;
    fprintf(stderr, "bench: watching with %d more tables for %.0f s\n", TABLES, seconds);
    char sql[256];
    snprintf(sql, sizeof sql,
             "DO $$BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE many_%%s (id int)', i); "
             "IF i %% 500 = 0 THEN COMMIT; END IF; END LOOP; END$$",
             TABLES);
    cluster_do(c, sql);
    return measure_watching(c, seconds, figures, true);
}

static bool bench_postgres(double seconds)
{
    struct figures figures[WHO_COUNT] = {0};
    struct load load = {.pgbench = -1};
    double fetches = NAN;
    bool met = false;
    struct cluster *c = cluster_start((const char *const[]){
        "-c", "max_connections=260", "-c", "autovacuum=off", "-c", "pg_stat_statements.max=5000", "-c",
        "pg_stat_statements.track=all", "-c", "log_min_duration_statement=-1", "-c",
        "auto_explain.log_min_duration=-1", NULL});
    fill(c);
    if (load_start(c, &load, "3600") && measure(c, seconds, figures, &fetches))
        met = report(figures, fetches);
    load_end(&load);
    cluster_free(c);
    return met;
}

int main(void)
{
    const char *wanted = getenv("BENCH_SECONDS"), *part = getenv("BENCH_PART");
    double seconds = wanted ? strtod(wanted, NULL) : 60;
    if (!(seconds >= 5 && seconds <= 600)) {
        fprintf(stderr, "BENCH_SECONDS wants 5 to 600\n");
        return 2;
    }
    if (part && strcmp(part, "postgres") != 0 && strcmp(part, "hosts") != 0 && strcmp(part, "jobs") != 0) {
        fprintf(stderr, "BENCH_PART wants postgres, hosts or jobs\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    bool met = true;
    if (!part || strcmp(part, "postgres") == 0)
        met = bench_postgres(seconds);
    if (!part || strcmp(part, "hosts") == 0)
        met = bench_hosts(seconds) && met;
    if (!part || strcmp(part, "jobs") == 0)
        met = bench_jobs() && met;
    return met ? 0 : 1;
}
