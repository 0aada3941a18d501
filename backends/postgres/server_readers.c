/*
 * Connections of a server for those who read tables of an application (job queues): as `read`, one a
 * database, shared; and those as `act` in other databases than the login's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/server_internal.h"
#include "core/clock.h"

#define REST_S 90
#define CONNECT_S 5
/* A connection that is down is tried again at once, but not by each of those who ask; and with a password
 * that was refused seldom: accounts may be locked for it. */
#define RETRY_S 1
#define RETRY_REFUSED_S 30

struct server_reader {
    struct server_reader *next;
    char *database; /* NULL: the login's own */
    bool act;
    struct pg_connection *connection;
    double used, tried; /* monotonic: last asked for, last made to connect again */
};

static int reader_free(struct server_reader *reader)
{
    pg_connection_free(reader->connection);
    return 0;
}

static void on_rest(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct pg_server *server = timer->data;
    bool busy = false;
    (void)events;
    for (struct server_reader *reader = server->readers; reader; reader = reader->next) {
        if (pg_connection_state(reader->connection) == CONNECTION_IDLE)
            continue;
        if (!reader->act && clock_monotonic() - reader->used > REST_S)
            pg_connection_close(reader->connection);
        else
            busy = true;
    }
    if (!busy)
        ev_timer_stop(ev, timer);
}

void server_readers_init(struct pg_server *server)
{
    ev_timer_init(&server->readers_rest, on_rest, REST_S / 3.0, REST_S / 3.0);
    server->readers_rest.data = server;
}

void server_readers_free(struct pg_server *server)
{
    ev_timer_stop(loop_ev(server->loop), &server->readers_rest);
    while (server->readers) {
        struct server_reader *reader = server->readers;
        server->readers = reader->next;
        talloc_free(reader);
    }
    TALLOC_FREE(server->kept);
}

void server_readers_lock(struct pg_server *server)
{
    for (struct server_reader **at = &server->readers; *at;) {
        struct server_reader *reader = *at;
        if (!reader->act) {
            at = &reader->next;
            continue;
        }
        *at = reader->next;
        talloc_free(reader);
    }
}

static const char *login_dsn(const struct pg_server *server, bool act)
{
    const struct environment_server *definition = server->definition;
    const char *dsn = act ? definition->act : definition->read ? definition->read : definition->watch;
    return dsn ? dsn : "";
}

static struct pg_connection *make_reader(struct pg_server *server, struct server_reader *reader)
{
    const char *as = reader->act ? "act" : server->definition->read ? "read" : "watch";
    const char *dsn = login_dsn(server, reader->act);
    char *changed = reader->database ? pg_dsn_in_database(reader, dsn, reader->database) : NULL;
    char *label =
        talloc_asprintf(reader, "%s: %s%s%s as %s", server->environment->name, server->definition->name,
                        reader->database ? "/" : "", reader->database ? reader->database : "", as);
    char *application = talloc_asprintf(reader, "signalbox %s", as);
    const char *settings =
        reader->act ? "SELECT set_config('statement_timeout', '10s', false),"
                      " set_config('lock_timeout', '1s', false), set_config('TimeZone', 'UTC', false),"
                      " set_config('search_path', 'pg_catalog, pg_temp', false)"
                    : "SELECT set_config('default_transaction_read_only', 'on', false),"
                      " set_config('statement_timeout', '2s', false),"
                      " set_config('lock_timeout', '100ms', false),"
                      " set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false),"
                      " set_config('IntervalStyle', 'postgres', false),"
                      " set_config('search_path', 'pg_catalog, pg_temp', false),"
                      " set_config('jit', 'off', false),"
                      " set_config('max_parallel_workers_per_gather', '0', false)";
    struct pg_connection *connection = pg_connection_new(
        server->loop, &(struct pg_connection_options){.label = label,
                                                      .dsn = changed ? changed : dsn,
                                                      .application_name = application,
                                                      .settings = settings,
                                                      .route = server->route,
                                                      .connect_timeout_s = CONNECT_S,
                                                      .work = reader->act ? WORK_URGENT : WORK_CONNECT});
    talloc_free(changed);
    talloc_free(label);
    talloc_free(application);
    return connection;
}

/* Nobody keeps these connections up: who asks for one that is down makes it try again. */
static void revive(struct server_reader *reader)
{
    if (pg_connection_state(reader->connection) != CONNECTION_DOWN)
        return;
    bool refused = pg_connection_error(reader->connection)->kind == ERROR_AUTH;
    double now = clock_monotonic();
    if (now - reader->tried < (refused ? RETRY_REFUSED_S : RETRY_S))
        return;
    reader->tried = now;
    pg_connection_open(reader->connection);
}

static struct pg_connection *find_or_make(struct pg_server *server, const char *database, bool act)
{
    struct server_reader *reader = server->readers;
    while (reader && (reader->act != act ||
                      strcmp(reader->database ? reader->database : "", database ? database : "") != 0))
        reader = reader->next;
    if (!reader) {
        reader = talloc_zero(server, struct server_reader);
        if (!reader)
            abort();
        reader->act = act;
        reader->database = database ? talloc_strdup(reader, database) : NULL;
        reader->connection = make_reader(server, reader);
        talloc_set_destructor(reader, reader_free);
        reader->next = server->readers;
        server->readers = reader;
    }
    reader->used = clock_monotonic();
    revive(reader);
    if (!ev_is_active(&server->readers_rest))
        ev_timer_again(loop_ev(server->loop), &server->readers_rest);
    return reader->connection;
}

struct pg_connection *pg_server_read(struct pg_server *server, const char *database)
{
    return find_or_make(server, database, false);
}

char *pg_server_read_role(const void *context, struct pg_server *server)
{
    const char *role = NULL;
    for (struct server_reader *reader = server->readers; reader && !role; reader = reader->next)
        if (!reader->act)
            role = pg_connection_role(reader->connection);
    if (role)
        return talloc_strdup(context, role);
    char *named = pg_dsn_role(context, login_dsn(server, false));
    return named ? named : talloc_strdup(context, server->definition->read ? "read" : "watch");
}

struct pg_connection *pg_server_act_in(struct pg_server *server, const char *database)
{
    if (!server->act || !database)
        return server->act;
    return find_or_make(server, database, true);
}

void **pg_server_slot(struct pg_server *server)
{
    return &server->kept;
}
