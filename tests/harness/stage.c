/* The stage of the end-to-end tests: logins, files, the console, sub-commands, sessions that block. */
#include "tests/harness/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/terminal_internal.h"

enum { STAGE_WORDS = 64, STAGE_ASK_AGAIN_MS = 20 };

static void stage_fail(const char *what, const char *detail)
{
    print_error("stage: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

static char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *pattern, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, pattern);
    if (vasprintf(&text, pattern, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

/* ── The cluster and HOME ─────────────────────────────────────────────────────────────────────────────── */

static void write_file(struct stage *s, const char *name, const char *text)
{
    char *path = format("%s/%s", s->home, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length)
        stage_fail(path, strerror(errno));
    close(fd);
    free(path);
}

static char *login(const struct stage *s, const char *role)
{
    return format("host=127.0.0.1 port=%d dbname=postgres user=%s passfile=%s/passwords",
                  cluster_port(s->cluster), role, s->home);
}

struct stage *stage_new_bare(void)
{
    struct stage *s = calloc(1, sizeof *s);
    const char *temporary = getenv("TMPDIR");
    if (!s)
        abort();
    s->home = format("%s/signalbox-home-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(s->home))
        stage_fail("no folder", s->home);
    return s;
}

struct stage *stage_new(const char *const options[])
{
    struct cluster *cluster = cluster_start(options);
    struct stage *s = stage_new_bare();
    s->cluster = cluster;
    cluster_do(s->cluster,
               "CREATE EXTENSION pg_stat_statements;"
               "CREATE ROLE sb_watch LOGIN PASSWORD 'watching'; GRANT pg_monitor TO sb_watch;"
               "CREATE ROLE sb_read LOGIN PASSWORD 'reading'; GRANT pg_read_all_data TO sb_read;"
               "CREATE ROLE sb_act LOGIN PASSWORD 'acting'; GRANT pg_signal_backend, pg_monitor TO sb_act;"
               "CREATE ROLE app_user LOGIN PASSWORD 'app';"
               "CREATE TABLE invoice (id int PRIMARY KEY, paid bool);"
               "INSERT INTO invoice SELECT g, g % 2 = 0 FROM generate_series(1, 1000) g;"
               "ALTER TABLE invoice OWNER TO app_user");
    cluster_do(s->cluster, "CHECKPOINT"); /* survives a SIGKILL, although nothing is flushed at commit */
    s->watch = login(s, "sb_watch");
    s->read = login(s, "sb_read");
    s->act = login(s, "sb_act");
    s->app = login(s, "app_user");
    write_file(s, "passwords",
               "*:*:*:sb_watch:watching\n*:*:*:sb_read:reading\n*:*:*:sb_act:acting\n*:*:*:app_user:app\n");
    return s;
}

static void remove_tree(const char *path)
{
    pid_t pid;
    int status;
    const char *argv[] = {"rm", "-rf", "--", path, NULL};
    if (posix_spawnp(&pid, "rm", NULL, NULL, (char *const *)argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
}

static void close_sessions(struct stage *s)
{
    while (s->session_count)
        PQfinish(s->sessions[--s->session_count]);
}

void stage_calm(struct stage *s)
{
    close_sessions(s);
    char *state = format("%s/.local", s->home), *config = format("%s/.config", s->home);
    remove_tree(state);
    remove_tree(config);
    free(state);
    free(config);
    if (!s->cluster)
        return;
    cluster_do(s->cluster,
               "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app_user'");
    if (!cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app_user'",
                       "0"))
        stage_fail("sessions of app_user do not end", "");
}

int stage_begin_group(void **state)
{
    *state = stage_new(NULL);
    return 0;
}

int stage_end_group(void **state)
{
    stage_free(*state);
    return 0;
}

int stage_calm_setup(void **state)
{
    stage_calm(*state);
    return 0;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    close_sessions(s);
    if (s->cluster)
        cluster_free(s->cluster);
    remove_tree(s->home);
    free(s->home);
    free(s->watch);
    free(s->read);
    free(s->act);
    free(s->app);
    free(s);
}

/* ── Files ────────────────────────────────────────────────────────────────────────────────────────────── */

void stage_config(struct stage *s, const char *name, const char *text)
{
    char *path = format("%s/.config/signalbox/%s", s->home, name);
    for (char *slash = path + strlen(s->home); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    write_file(s, path + strlen(s->home) + 1, text);
    free(path);
}

void stage_environment(struct stage *s, const char *name, const char *kind, bool locked)
{
    char *file = format("%s.yaml", name);
    char *text = format("environment: {kind: %s, title: The %s stage}\npostgres:\n"
                        "  main: {watch: \"%s\", read: \"%s\", act: \"%s\"}\n"
                        "access: {locked: %s, confirm: reach}\n",
                        kind, name, s->watch, s->read, s->act, locked ? "true" : "false");
    stage_config(s, file, text);
    free(file);
    free(text);
}

/* ── The program ──────────────────────────────────────────────────────────────────────────────────────── */

struct terminal *stage_open_with(struct stage *s, int rows, int columns, const char *term,
                                 const char *const env[], const char *const arguments[])
{
    const char *argv[STAGE_WORDS] = {SIGNALBOX_PROGRAM}, *variables[STAGE_WORDS] = {0};
    char *home = format("HOME=%s", s->home);
    variables[0] = home;
    for (int i = 0; i < STAGE_WORDS - 2 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    for (int i = 0; env && i < STAGE_WORDS - 2 && env[i]; i++)
        variables[i + 1] = env[i];
    struct terminal *t = terminal_start(argv, variables, rows, columns, term);
    free(home);
    return t;
}

/* Its lower border offers Enter only when it takes keys; a look in the middle of the drawing sees neither. */
static bool takes_keys(struct terminal *t, void *text)
{
    return terminal_has(t, text) && (terminal_has(t, "leave ─ Enter ") || terminal_has(t, "leave - Enter "));
}

void stage_dialog(struct terminal *t, const char *text)
{
    terminal_wait_until(t, 10, takes_keys, (void *)text, text);
    /* A dialog that comes in place of another may be half drawn, with the border of the one before. */
    terminal_await_quiet(t, 0.1, 2);
    terminal_wait_until(t, 10, takes_keys, (void *)text, text);
}

static bool is_chosen(struct terminal *t, void *choice)
{
    int row;
    return terminal_find(t, choice, &row, NULL) && strstr(terminal_line(t, row), "│ ▸ ");
}

void stage_choose(struct terminal *t, const char *choice)
{
    int from, to;
    stage_dialog(t, choice);
    if (!terminal_find(t, "│ ▸ ", &from, NULL) || !terminal_find(t, choice, &to, NULL))
        terminal_fail(t, "there is no choice \"%s\"", choice);
    for (; from < to; from++)
        terminal_keys(t, "Down");
    terminal_wait_until(t, 5, is_chosen, (void *)choice, choice);
    terminal_keys(t, "Enter");
}

static char *read_all(FILE *file, size_t *length)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    char buffer[8192];
    size_t got;
    if (!memory)
        abort();
    rewind(file);
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
        fwrite(buffer, 1, got, memory);
    fclose(memory);
    fclose(file);
    if (length)
        *length = size;
    return text;
}

static int count_env(char **variables, int count, const char *name)
{
    if (getenv(name))
        variables[count++] = format("%s=%s", name, getenv(name));
    return count;
}

struct stage_run stage_command_with(struct stage *s, const char *const env[], const char *const arguments[])
{
    static const char *const kept[] = {"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TMPDIR"};
    const char *argv[STAGE_WORDS] = {"timeout", "-s", "KILL", "40", SIGNALBOX_PROGRAM};
    char *variables[STAGE_WORDS] = {0};
    int count = 0;
    struct stage_run run = {.status = -1};
    for (int i = 0; i < STAGE_WORDS - 6 && arguments[i]; i++)
        argv[i + 5] = arguments[i];
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        count = count_env(variables, count, kept[i]);
    variables[count++] = format("HOME=%s", s->home);
    variables[count++] = format("LANG=C.UTF-8");
    variables[count++] = format("TZ=UTC");
    for (int i = 0; env && count < STAGE_WORDS - 1 && env[i]; i++)
        variables[count++] = format("%s", env[i]);
    FILE *out = tmpfile(), *err = tmpfile();
    if (!out || !err)
        abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(out), 1);
    posix_spawn_file_actions_adddup2(&actions, fileno(err), 2);
    pid_t pid;
    int status = 0;
    if (posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, variables) != 0)
        abort();
    posix_spawn_file_actions_destroy(&actions);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    run.out = read_all(out, &run.out_length);
    run.err = read_all(err, NULL);
    for (int i = 0; i < count; i++)
        free(variables[i]);
    if (strstr(run.err, "AddressSanitizer") || strstr(run.err, "LeakSanitizer") ||
        strstr(run.err, "runtime error:"))
        stage_fail("a sanitizer reports", run.err);
    return run;
}

void stage_run_free(struct stage_run *run)
{
    free(run->out);
    free(run->err);
    *run = (struct stage_run){0};
}

/* ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────── */

PGconn *stage_session(struct stage *s, const char *application)
{
    const char *keywords[] = {"dbname", "application_name", "connect_timeout", NULL};
    const char *values[] = {s->app, application, "20", NULL};
    if (s->session_count == STAGE_SESSIONS)
        abort();
    PGconn *session = PQconnectdbParams(keywords, values, 1);
    s->sessions[s->session_count++] = session;
    if (PQstatus(session) != CONNECTION_OK)
        stage_fail("cannot connect", PQerrorMessage(session));
    return session;
}

void stage_do(PGconn *session, const char *sql)
{
    PGresult *result = PQexec(session, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        stage_fail(sql, PQerrorMessage(session));
}

void stage_begin(PGconn *session, const char *sql)
{
    if (!PQsendQuery(session, sql))
        stage_fail(sql, PQerrorMessage(session));
}

PGconn *stage_block(struct stage *s, int waiters)
{
    PGconn *root = stage_session(s, "root");
    char count[32];
    stage_do(root, "BEGIN");
    stage_do(root, "UPDATE invoice SET paid = paid WHERE id = 1");
    for (int i = 1; i <= waiters; i++) {
        char *name = format("waiter %d", i),
             *sql = format("UPDATE invoice SET paid = true WHERE id = 1 /* %d */", i);
        stage_begin(stage_session(s, name), sql);
        free(name);
        free(sql);
    }
    snprintf(count, sizeof count, "%d", waiters);
    if (!cluster_await(
            s->cluster, 20,
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app_user' AND wait_event_type = 'Lock'",
            count))
        stage_fail("the sessions do not wait", count);
    return root;
}

char *stage_identity(struct stage *s, PGconn *session)
{
    char *sql = format(
        "SET timezone = 'UTC'; SELECT pid || '@' || backend_start FROM pg_stat_activity WHERE pid = %d",
        PQbackendPID(session));
    char *identity = cluster_sql(s->cluster, sql);
    free(sql);
    if (!identity)
        stage_fail("the session is gone", "");
    return identity;
}

bool stage_alive(struct stage *s, const char *identity)
{
    char *sql = format("SELECT 1 FROM pg_stat_activity WHERE pid = %d", atoi(identity));
    char *found = cluster_sql(s->cluster, sql);
    bool alive = found != NULL;
    free(found);
    free(sql);
    return alive;
}

void stage_await_gone(struct stage *s, const char *identity, double seconds)
{
    char *sql = format("SELECT count(*) FROM pg_stat_activity WHERE pid = %d", atoi(identity));
    bool gone = cluster_await(s->cluster, seconds, sql, "0");
    free(sql);
    if (!gone)
        stage_fail("the session is still there", identity);
}

bool stage_until(double seconds, bool (*holds)(void *data), void *data)
{
    double deadline = terminal_now() + seconds;
    while (!holds(data)) {
        if (terminal_now() > deadline)
            return false;
        poll(NULL, 0, STAGE_ASK_AGAIN_MS);
    }
    return true;
}
