#include "backends/postgres/connect_job.h"

#include <locale.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/connection_error.h"
#include "backends/postgres/route.h"
#include "core/clock.h"

/* The error of a tunnel comes a little before libpq notices that it is closed. */
#define TUNNEL_ERROR_S 2

struct connect_job {
    char *label, *dsn, *application_name;
    double timeout_s;
    enum work_kind work;
    struct loop *loop;
    /* Through an SSH host; loop's thread only. */
    struct pg_route *route;
    struct pg_route_request *request; /* while the DSN is being rewritten */
    bool asked_again;
    char *routed_dsn, *place;
    double begun_at;
    PGconn *conn;
    struct error error;
    void (*done)(void *owner, PGconn *conn, const struct error *error);
    void *owner; /* loop's thread only */
    atomic_bool forsaken;
};

static char *copy(const char *text)
{
    char *fresh = strdup(text ? text : "");
    if (!fresh)
        abort();
    return fresh;
}

static void ignore_notice(void *data, const PGresult *result)
{
    (void)data, (void)result; /* libpq would print it over the screen */
}

/* What stands before dbname gives way to the DSN; what stands behind it does not. */
static PGconn *start_connecting(const struct connect_job *job, char *timeout, size_t size)
{
    snprintf(timeout, size, "%d", (int)(job->timeout_s < 2 ? 2 : job->timeout_s));
    const char *keywords[] = {"application_name",
                              "connect_timeout",
                              "keepalives_idle",
                              "keepalives_interval",
                              "keepalives_count",
                              "tcp_user_timeout",
                              "dbname",
                              "client_encoding",
                              NULL};
    const char *values[] = {job->application_name,
                            timeout,
                            "10",
                            "5",
                            "3",
                            "20000",
                            job->routed_dsn ? job->routed_dsn : job->dsn,
                            "UTF8",
                            NULL};
    return PQconnectStartParams(keywords, values, 1);
}

/* What the DSN, the service file and the environment come to: libpq's own timeout works only in its blocking
 * connect. Each host of a list has that time. */
static double effective_timeout(PGconn *conn, double fallback, bool *tls_disabled)
{
    double seconds = fallback;
    int hosts = 1;
    PQconninfoOption *options = PQconninfo(conn);
    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val && strtol(o->val, NULL, 10) > 0)
            seconds = (double)strtol(o->val, NULL, 10);
        if (strcmp(o->keyword, "sslmode") == 0 && o->val)
            *tls_disabled = strcmp(o->val, "disable") == 0;
        if (strcmp(o->keyword, "host") == 0 && o->val)
            for (const char *c = o->val; *c; c++)
                hosts += *c == ',';
    }
    PQconninfoFree(options);
    return seconds * hosts;
}

static void describe_place(const struct connect_job *job, char *what, size_t size)
{
    const char *host = PQhost(job->conn), *port = PQport(job->conn);
    if (job->place)
        snprintf(what, size, "cannot connect to %s", job->place);
    else if (host && host[0] == '/')
        snprintf(what, size, "cannot connect to %s/.s.PGSQL.%s", host, port);
    else if (host && *host)
        snprintf(what, size, "cannot connect to %s:%s", host, port);
    else
        snprintf(what, size, "cannot connect");
}

static bool finish_connecting(struct connect_job *job, const char *what)
{
    bool tls_disabled = false;
    double timeout = effective_timeout(job->conn, job->timeout_s, &tls_disabled);
    double end = clock_monotonic() + timeout;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        /* libpq may open another socket at any step: never keep the descriptor. */
        struct pollfd fd = {.fd = PQsocket(job->conn),
                            .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        double left = end - clock_monotonic();
        if (atomic_load(&job->forsaken))
            return false;
        if (left <= 0)
            return error_set(&job->error, ERROR_TIMEOUT, job->label, what,
                             "Is a firewall in between, or does the server hang?", "no answer within %.0f s",
                             timeout);
        if (poll(&fd, 1, left < 0.1 ? (int)(left * 1000) + 1 : 100) != 0)
            status = PQconnectPoll(job->conn);
    }
    if (status == PGRES_POLLING_OK)
        return true;
    return pg_error_from_connect(&job->error, job->label, what, PQerrorMessage(job->conn), tls_disabled);
}

static void connect_in_worker(void *data)
{
    struct connect_job *job = data;
    /* libpq's texts are read by us: no translation in this thread. */
    locale_t plain = newlocale(LC_MESSAGES_MASK, "C", (locale_t)0);
    locale_t before = plain ? uselocale(plain) : (locale_t)0;
    char timeout[16], what[sizeof job->error.what] = "cannot connect";
    if (!atomic_load(&job->forsaken))
        job->conn = start_connecting(job, timeout, sizeof timeout);
    bool up = false;
    if (job->conn) {
        PQsetNoticeReceiver(job->conn, ignore_notice, NULL);
        PQsetErrorVerbosity(job->conn, PQERRORS_VERBOSE); /* shows the SQLSTATE of a refusal */
        describe_place(job, what, sizeof what);
        if (PQstatus(job->conn) == CONNECTION_BAD)
            pg_error_from_connect(&job->error, job->label, what, PQerrorMessage(job->conn), false);
        else
            up = finish_connecting(job, what);
    }
    if (!up) {
        PQfinish(job->conn);
        job->conn = NULL;
    }
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
}

static void forget(char **secret)
{
    if (*secret)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

static void drop_job(void *data)
{
    struct connect_job *job = data;
    PQfinish(job->conn);
    free(job->label);
    free(job->dsn);
    free(job->application_name);
    forget(&job->routed_dsn); /* it may hold the password */
    free(job->place);
    free(job);
}

static bool ask_route(struct connect_job *job);

static void hand_over(void *data)
{
    struct connect_job *job = data;
    const struct error *error = job->conn ? NULL : &job->error;
    bool routed = job->owner && job->route && error;
    /* What the far end says counts more than that the near end was closed. */
    if (routed && job->begun_at > 0 && pg_route_error(job->route, job->begun_at)) {
        char where[sizeof job->error.where];
        snprintf(where, sizeof where, "%s", job->label);
        job->error = *pg_route_error(job->route, job->begun_at);
        snprintf(job->error.where, sizeof job->error.where, "%s", where);
    } else if (routed && pg_route_refused(job->route, error) && !job->asked_again) {
        job->asked_again = true;
        error_clear(&job->error);
        ask_route(job);
        return;
    }
    if (job->owner)
        job->done(job->owner, job->conn, error);
    else
        PQfinish(job->conn);
    job->conn = NULL;
    drop_job(job);
}

static void start_worker(struct connect_job *job)
{
    job->begun_at = clock_monotonic();
    loop_work_or_drop(job->loop, job->work, connect_in_worker, hand_over, drop_job, job);
}

static void route_answered(void *data, const char *dsn, const char *place, const struct error *error)
{
    struct connect_job *job = data;
    job->request = NULL;
    if (error) {
        job->error = *error;
        job->begun_at = 0;
        job->route = NULL;
        hand_over(job);
        return;
    }
    forget(&job->routed_dsn);
    free(job->place);
    job->routed_dsn = copy(dsn);
    job->place = copy(place);
    start_worker(job);
}

static bool ask_route(struct connect_job *job)
{
    if (job->route)
        job->request = pg_route_ask(job->route, job->dsn, job->work, route_answered, job);
    return job->route != NULL;
}

struct connect_job *connect_job_start(struct loop *loop, const struct pg_connection_options *options,
                                      void (*done)(void *owner, PGconn *conn, const struct error *error),
                                      void *owner)
{
    struct connect_job *job = calloc(1, sizeof *job);
    if (!job)
        abort();
    job->loop = loop;
    job->work = options->work;
    job->route = options->route;
    job->label = copy(options->label);
    job->dsn = copy(options->dsn);
    job->application_name = copy(options->application_name);
    job->timeout_s = options->connect_timeout_s > 0 ? options->connect_timeout_s : 10;
    job->done = done;
    job->owner = owner;
    atomic_init(&job->forsaken, false);
    if (!ask_route(job))
        start_worker(job);
    return job;
}

void connect_job_forsake(struct connect_job *job)
{
    job->owner = NULL;
    atomic_store(&job->forsaken, true);
    if (!job->request)
        return;
    pg_route_forsake(job->request);
    drop_job(job);
}

void connect_job_lost(const struct pg_connection_options *options, const PGconn *conn, struct error *error)
{
    const struct error *far =
        options->route ? pg_route_error(options->route, clock_monotonic() - TUNNEL_ERROR_S) : NULL;
    const char *text = conn ? PQerrorMessage(conn) : "";
    char why[sizeof error->what + sizeof error->why + 2];
    snprintf(why, sizeof why, "%.*s", (int)strcspn(text, "\n"), text);
    if (far)
        snprintf(why, sizeof why, "%s%s%s", far->what, *far->what ? ": " : "", far->why);
    error_set(error, ERROR_LOST, options->label, "the connection broke",
              options->keep ? "It is made again by itself." : NULL, "%s", *why ? why : "no reason was given");
}

/* ---- cancelling ---- */

struct cancel_job {
    PGcancel *cancel;
};

static void cancel_in_worker(void *data)
{
    struct cancel_job *job = data;
    char text[256];
    PQcancel(job->cancel, text, sizeof text); /* whether it came through shows in the answer */
}

static void cancel_done(void *data)
{
    struct cancel_job *job = data;
    PQfreeCancel(job->cancel);
    free(job);
}

void cancel_job_start(struct loop *loop, PGcancel *cancel)
{
    struct cancel_job *job = malloc(sizeof *job);
    if (!job)
        abort();
    job->cancel = cancel;
    loop_work_or_drop(loop, WORK_URGENT, cancel_in_worker, cancel_done, cancel_done, job);
}

char *pg_dsn_role(const void *context, const char *dsn)
{
    char *role = NULL;
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, "user") == 0 && o->val && *o->val)
            role = talloc_strdup(context, o->val);
    PQconninfoFree(options);
    return role;
}

/* libpq's rules for values: backslashes and quotes are escaped. */
static char *append_option(char *text, const char *keyword, const char *value)
{
    text = talloc_asprintf_append_buffer(text, "%s%s='", *text ? " " : "", keyword);
    for (const char *c = value; *c; c++)
        text = talloc_asprintf_append_buffer(text, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
    return talloc_strdup_append_buffer(text, "'");
}

char *pg_dsn_in_database(const void *context, const char *dsn, const char *database)
{
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    if (!options)
        return NULL;
    char *text = talloc_strdup(context, "");
    for (PQconninfoOption *o = options; o->keyword; o++)
        if (o->val && *o->val && strcmp(o->keyword, "dbname") != 0)
            text = append_option(text, o->keyword, o->val);
    PQconninfoFree(options);
    return append_option(text, "dbname", database);
}
