/* Running demo/cluster, and what a test does to a server behind its back. */
#include "tests/harness/cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

#define CLUSTER_SCRIPT TEST_ROOT "/demo/cluster"

enum { CLUSTER_ARGUMENTS = 64, CLUSTER_ASK_AGAIN_MS = 20 };

struct cluster {
    char *folder;
    char *password;
    int port;
    pid_t keeper;
    int life; /* the keeper removes the cluster when this end is closed */
};

static void cluster_fail(const char *what, const char *detail)
{
    print_error("cluster: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

/* A whole small file, to free; "" when it cannot be read. */
static char *cluster_read(const char *folder, const char *name)
{
    char *path, *text = NULL;
    size_t size = 0;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        abort();
    FILE *file = fopen(path, "re");
    if (file) {
        if (getdelim(&text, &size, '\0', file) < 0 && text)
            text[0] = '\0';
        fclose(file);
    }
    free(path);
    return text ? text : strdup("");
}

/* ── The script ────────────────────────────────────────────────────────────────────────────────────────────
 */

/* Its output goes to a file, not a pipe: a server left running would hold a pipe open. */
static void cluster_script(const struct cluster *c, const char *verb, const char *const options[])
{
    const char *argv[CLUSTER_ARGUMENTS + 4] = {CLUSTER_SCRIPT, verb, c->folder};
    for (int i = 0; options && options[i] && i < CLUSTER_ARGUMENTS; i++)
        argv[3 + i] = options[i];
    FILE *output = tmpfile();
    if (!output)
        abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(output), 1);
    posix_spawn_file_actions_adddup2(&actions, fileno(output), 2);
    fcntl(fileno(output), F_SETFD, FD_CLOEXEC);
    pid_t pid;
    int status = -1, error = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    while (error == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    char text[4096] = "";
    rewind(output);
    text[fread(text, 1, sizeof text - 1, output)] = '\0';
    fclose(output);
    if (error != 0)
        cluster_fail(argv[0], strerror(error));
    if (status != 0)
        cluster_fail(verb, text);
}

/* The keeper leads a session of its own, so that no Ctrl-C and no end of the test's group reaches it, and
 * holds a lock that tests/run waits for before it removes the temporary folder. */
static void cluster_start_keeper(struct cluster *c)
{
    static const char script[] = "lock=$(dirname \"$2\")/keepers.lock; "
                                 "if [ -e \"$lock\" ]; then exec 9>>\"$lock\"; flock -s 9; fi; "
                                 "read -r end; exec \"$1\" stop \"$2\"";
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        abort();
    const char *argv[] = {"sh", "-c", script, "keeper", CLUSTER_SCRIPT, c->folder, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[0], 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    int error = posix_spawn(&c->keeper, "/bin/sh", &actions, &attributes, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[0]);
    c->life = pipe_ends[1];
    if (error != 0)
        cluster_fail("the keeper cannot be started", strerror(error));
}

static void cluster_read_facts(struct cluster *c)
{
    char *environment = cluster_read(c->folder, "env"), *pgpass = cluster_read(c->folder, "pgpass");
    const char *port = strstr(environment, "PGPORT="), *password = strrchr(pgpass, ':');
    if (!port || !password)
        cluster_fail("cannot read its env and pgpass", c->folder);
    c->port = atoi(port + strlen("PGPORT="));
    free(c->password);
    c->password = strndup(password + 1, strcspn(password + 1, "\n"));
    free(environment);
    free(pgpass);
}

struct cluster *cluster_start(const char *const options[])
{
    const char *base = getenv("TMPDIR");
    struct cluster *c = calloc(1, sizeof *c);
    if (!c || asprintf(&c->folder, "%s/signalbox-cluster-XXXXXX", base && *base ? base : "/tmp") < 0)
        abort();
    if (!mkdtemp(c->folder))
        cluster_fail(c->folder, strerror(errno));
    cluster_start_keeper(c);
    cluster_script(c, "start", options);
    cluster_read_facts(c);
    return c;
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    int status;
    close(c->life);
    while (waitpid(c->keeper, &status, 0) < 0 && errno == EINTR)
        ;
    bool left = access(c->folder, F_OK) == 0;
    char *folder = c->folder;
    free(c->password);
    free(c);
    if (left)
        cluster_fail("cannot be removed, see demo/cluster stop", folder);
    free(folder);
}

void cluster_halt(struct cluster *c)
{
    cluster_script(c, "halt", NULL);
}

void cluster_again(struct cluster *c)
{
    cluster_script(c, "start", NULL);
}

void cluster_restart(struct cluster *c, const char *mode)
{
    cluster_script(c, "restart", (const char *const[]){"-m", mode, NULL});
}

/* ── SQL ───────────────────────────────────────────────────────────────────────────────────────────────────
 */

int cluster_port(const struct cluster *c)
{
    return c->port;
}

const char *cluster_folder(const struct cluster *c)
{
    return c->folder;
}

const char *cluster_password(const struct cluster *c)
{
    return c->password;
}

char *cluster_dsn(const struct cluster *c, int port, const char *user, const char *password,
                  const char *database)
{
    char *dsn;
    if (!user && !password)
        password = c->password;
    if (asprintf(&dsn, "host=127.0.0.1 port=%d user=%s%s%s%s dbname=%s", port ? port : c->port,
                 user ? user : "owner", password ? " password='" : "", password ? password : "",
                 password ? "'" : "", database ? database : "postgres") < 0)
        abort();
    return dsn;
}

static PGconn *cluster_try_connect(struct cluster *c, const char *database)
{
    char *dsn = cluster_dsn(c, 0, NULL, NULL, database), *full;
    if (asprintf(&full, "%s application_name=test connect_timeout=20", dsn) < 0)
        abort();
    PGconn *connection = PQconnectdb(full);
    free(full);
    free(dsn);
    return connection;
}

PGconn *cluster_connect(struct cluster *c, const char *database)
{
    PGconn *connection = cluster_try_connect(c, database);
    if (PQstatus(connection) != CONNECTION_OK) {
        char message[1024];
        snprintf(message, sizeof message, "%s", PQerrorMessage(connection));
        PQfinish(connection);
        cluster_fail("cannot connect", message);
    }
    return connection;
}

static void cluster_ignore_notice(void *data, const char *message)
{
    (void)data, (void)message;
}

char *cluster_sql_in(struct cluster *c, const char *database, const char *sql)
{
    PGconn *connection = cluster_connect(c, database);
    PQsetNoticeProcessor(connection, cluster_ignore_notice, NULL);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    char *cell = NULL, message[2048];
    snprintf(message, sizeof message, "%s%s", PQerrorMessage(connection), sql);
    if (PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0))
        cell = strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(connection);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
        free(cell);
        cluster_fail("SQL", message);
    }
    return cell;
}

char *cluster_sql(struct cluster *c, const char *sql)
{
    return cluster_sql_in(c, NULL, sql);
}

void cluster_do(struct cluster *c, const char *sql)
{
    free(cluster_sql(c, sql));
}

static double cluster_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool cluster_await(struct cluster *c, double seconds, const char *sql, const char *expected)
{
    double deadline = cluster_now() + seconds;
    for (;;) {
        char *cell = cluster_sql(c, sql);
        bool equal = cell && expected ? strcmp(cell, expected) == 0 : cell == expected;
        free(cell);
        if (equal || cluster_now() >= deadline)
            return equal;
        poll(NULL, 0, CLUSTER_ASK_AGAIN_MS); /* SQL has no event to wait for */
    }
}

/* ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────
 */

pid_t cluster_pid(const struct cluster *c)
{
    char *text = cluster_read(c->folder, "data/postmaster.pid");
    pid_t pid = (pid_t)atol(text);
    free(text);
    if (pid <= 1)
        cluster_fail("no postmaster runs in", c->folder);
    return pid;
}

static pid_t cluster_parent(pid_t pid)
{
    char folder[64];
    snprintf(folder, sizeof folder, "/proc/%d", (int)pid);
    char *text = cluster_read(folder, "stat");
    const char *after = strrchr(text, ')');
    int parent = 0;
    if (after)
        sscanf(after, ") %*c %d", &parent);
    free(text);
    return parent;
}

/* Signals the postmaster's children. */
static void cluster_signal_children(pid_t postmaster, int number)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        pid_t pid = (pid_t)atol(entry->d_name);
        if (pid > 1 && cluster_parent(pid) == postmaster)
            kill(pid, number);
    }
    if (processes)
        closedir(processes);
}

void cluster_pause(struct cluster *c)
{
    pid_t postmaster = cluster_pid(c);
    kill(postmaster, SIGSTOP); /* first: it must not start children meanwhile */
    cluster_signal_children(postmaster, SIGSTOP);
}

void cluster_resume(struct cluster *c)
{
    pid_t postmaster = cluster_pid(c);
    cluster_signal_children(postmaster, SIGCONT);
    kill(postmaster, SIGCONT);
}

void cluster_kill(struct cluster *c)
{
    pid_t postmaster = cluster_pid(c);
    kill(postmaster, SIGSTOP);
    cluster_signal_children(postmaster, SIGKILL);
    kill(postmaster, SIGKILL);
}
