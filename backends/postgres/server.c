/* A watched server: connections, facts, feeds. What concerns statements alone is in server_statements.c. */
#include "backends/postgres/server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/activity_internal.h"
#include "backends/postgres/route.h"
#include "backends/postgres/server_internal.h"
#include "core/clock.h"

#define CONNECT_TIMEOUT_S 5
#define FAST_DEADLINE_S 5

/* Watching never waits for locks, never spends much, and looks up no name in a schema of a tenant. */
#define WATCH_SETTINGS(timeout)                                                                              \
    "SELECT set_config('statement_timeout', '" timeout                                                       \
    "', false), set_config('lock_timeout', '100ms', false),"                                                 \
    " set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false),"                     \
    " set_config('search_path', 'pg_catalog, pg_temp', false), set_config('jit', 'off', false),"             \
    " set_config('max_parallel_workers_per_gather', '0', false),"                                            \
    " set_config('idle_in_transaction_session_timeout', '30s', false),"                                      \
    " set_config('client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII'"                \
    " THEN 'SQL_ASCII' ELSE 'UTF8' END, false)"

static void tell(struct pg_server *server)
{
    if (server->changed && !server->dying)
        server->changed(server->data);
}

static void feed_changed(void *data)
{
    tell(data);
}

void server_run_done(struct feed_run *run, const struct error *error, const char *what)
{
    run->asked = run->sent = false;
    if (run->server->dying)
        return;
    struct feed *feed = &run->server->feeds[run->which];
    if (!error && run->error.kind)
        error = &run->error;
    if (!error) {
        feed_answered(feed);
        return;
    }
    struct error told = *error;
    if (!told.what[0])
        snprintf(told.what, sizeof told.what, "%s", what);
    feed_failed(feed, &told);
}

void server_publish(struct pg_server *server, enum pg_feed which, void *snapshot)
{
    snapshot_publish(&server->snapshots[which], snapshot);
}

/* ---- facts ---- */

static const char *facts_query(void)
{
    return "SELECT current_setting('server_version'), current_user, current_database(),"
           " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
           " pg_has_role('pg_read_all_stats', 'USAGE'), pg_is_in_recovery(),"
           " current_setting('max_connections')::int,"
           " pg_size_bytes(current_setting('track_activity_query_size'))";
}

static void keep_text(char *buffer, size_t size, const struct pg_rows *rows, int column)
{
    const char *text = pg_rows_text(rows, 0, column);
    snprintf(buffer, size, "%s", text ? text : "");
}

static void note_missing_role(struct pg_server *server)
{
    char where[160], why[160], todo[200];
    error_clear(&server->note);
    if (server->facts.sees_all)
        return;
    snprintf(where, sizeof where, "%s: %s", server->environment->name, server->definition->name);
    snprintf(why, sizeof why, "role %s is not a member of pg_monitor", server->facts.role);
    snprintf(todo, sizeof todo, "As a superuser: GRANT pg_monitor TO \"%s\";", server->facts.role);
    error_set(&server->note, ERROR_DENIED, where,
              "cannot see into the sessions and statements of other roles", todo, "%s", why);
}

static void facts_answered(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_server *server = data;
    struct server_facts *facts = &server->facts;
    (void)index;
    if (error || !pg_rows_count(rows)) {
        if (error)
            server->note = *error;
        return;
    }
    facts->known = true;
    keep_text(facts->version, sizeof facts->version, rows, 0);
    facts->version[strcspn(facts->version, " ")] = '\0'; /* "15.20 (Debian 15.20-1)" */
    keep_text(facts->role, sizeof facts->role, rows, 1);
    keep_text(facts->database, sizeof facts->database, rows, 2);
    facts->superuser = pg_rows_boolean(rows, 0, 3);
    facts->sees_all = pg_rows_boolean(rows, 0, 4);
    facts->in_recovery = pg_rows_boolean(rows, 0, 5);
    facts->connection_limit = (int)pg_rows_integer(rows, 0, 6);
    facts->query_size = (int)pg_rows_integer(rows, 0, 7);
    note_missing_role(server);
    tell(server);
}

static void ask_facts(struct pg_server *server)
{
    struct pg_statement statement = {.sql = facts_query()};
    pg_connection_send(server->fast, &statement, 1, FAST_DEADLINE_S,
                       (struct pg_handler){.rows = facts_answered, .data = server});
}

/* The texts depend on the version and on what the role may see. */
static void make_queries(struct pg_server *server)
{
    int version = pg_connection_version(server->fast);
    bool sees_all = server->facts.sees_all || !server->facts.known;
    if (server->query_version == version && server->query_sees_all == sees_all)
        return;
    server->query_version = version;
    server->query_sees_all = sees_all;
    talloc_free(server->queries[PG_FEED_ACTIVITY]);
    talloc_free(server->queries[PG_FEED_LOCKS]);
    talloc_free(server->locks_facts_sql);
    talloc_free(server->locks_prepared_sql);
    server->queries[PG_FEED_ACTIVITY] = activity_query(server, version);
    server->queries[PG_FEED_LOCKS] = locks_sessions_query(server, version, sees_all);
    server->locks_facts_sql = locks_facts_query(server, version, sees_all);
    server->locks_prepared_sql = locks_prepared_query(server, sees_all);
    for (int i = 0; i < PG_FEED_STATEMENTS; i++)
        server->feeds[i].query = server->queries[i];
}

/* ---- sessions ---- */

/* The console's own connections are no load of the server's. */
static const char *own_pids(struct pg_server *server, char *buffer, size_t size)
{
    snprintf(buffer, size, "{%d,%d,%d}", pg_connection_pid(server->fast), pg_connection_pid(server->slow),
             server->act ? pg_connection_pid(server->act) : 0);
    return buffer;
}

static void activity_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    (void)index;
    if (error) {
        run->error = *error;
        return;
    }
    struct activity_snapshot *snapshot = activity_read(
        rows, server->definition->name, server->facts.connection_limit, server->facts.query_size);
    int16_t active[WAIT_CLASSES];
    activity_count(snapshot, active);
    activity_history_add(&server->history, server->activity_second, active);
    server_publish(server, PG_FEED_ACTIVITY, snapshot);
}

static void activity_done(void *data, const struct error *error)
{
    server_run_done(data, error, "cannot read pg_stat_activity");
}

static void ask_activity(struct pg_server *server)
{
    char pids[48];
    struct feed_run *run = &server->runs[PG_FEED_ACTIVITY];
    struct pg_statement statement = {.name = "activity",
                                     .sql = server->queries[PG_FEED_ACTIVITY],
                                     .parameter_count = 1,
                                     .parameters = {own_pids(server, pids, sizeof pids)}};
    server->activity_second = (int64_t)floor(clock_wall());
    pg_connection_send(server->fast, &statement, 1, FAST_DEADLINE_S,
                       (struct pg_handler){activity_rows, activity_done, run});
}

static void sample_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_server *server = data;
    (void)index;
    if (error || pg_rows_count(rows) != 1)
        return; /* a gap */
    int16_t active[WAIT_CLASSES];
    active[WAIT_RUNNING] = (int16_t)pg_rows_integer(rows, 0, 0);
    active[WAIT_IO] = (int16_t)pg_rows_integer(rows, 0, 1);
    active[WAIT_LOCK] = (int16_t)pg_rows_integer(rows, 0, 2);
    active[WAIT_OTHER] = (int16_t)pg_rows_integer(rows, 0, 3);
    activity_history_add(&server->history, server->sample_second, active);
    tell(server);
}

static void sample_done(void *data, const struct error *error)
{
    struct pg_server *server = data;
    (void)error;
    server->sample_in_flight = false;
}

/* At each full second, for the second that has just passed, unless the sessions were read in it anyway. */
static void on_sample(struct ev_loop *ev, ev_periodic *watcher, int events)
{
    struct pg_server *server = watcher->data;
    (void)ev, (void)events;
    int64_t second = (int64_t)floor(clock_wall() + 0.5) - 1;
    if (server->feeds[PG_FEED_ACTIVITY].wanted <= 0 || server->sample_in_flight ||
        server->activity_second >= second || pg_connection_state(server->fast) != CONNECTION_UP)
        return;
    char pids[48];
    struct pg_statement statement = {.name = "sample",
                                     .sql = activity_sample_query(),
                                     .parameter_count = 1,
                                     .parameters = {own_pids(server, pids, sizeof pids)}};
    server->sample_second = second;
    server->sample_in_flight = true;
    pg_connection_send(server->fast, &statement, 1, FAST_DEADLINE_S,
                       (struct pg_handler){sample_rows, sample_done, server});
}

/* ---- locks ---- */

static void locks_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    if (error) {
        run->error = *error;
        return;
    }
    struct locks_facts *facts = server->locks_facts;
    if (index == 0)
        facts->activity = activity_read(rows, server->definition->name, server->facts.connection_limit,
                                        server->facts.query_size);
    else if (index == 1)
        locks_read_facts(facts, rows);
    else
        locks_read_prepared(facts, rows);
}

static void send_locks(struct pg_server *server);

static void locks_done(void *data, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    struct locks_facts *facts = server->locks_facts;
    bool begins = !error && !server->locks_waiting && facts->activity && facts->activity->count > 0;
    server->locks_facts = NULL;
    server->locks_waiting = !error && facts->activity && facts->activity->count > 0;
    if (begins && !run->error.kind) {
        snapshot_release(facts->activity);
        talloc_free(facts);
        send_locks(server);
        return;
    }
    if (!error && !run->error.kind && facts->activity)
        server_publish(server, PG_FEED_LOCKS, locks_build(facts, server->definition->name));
    snapshot_release(facts->activity);
    talloc_free(facts);
    server_run_done(run, error, "cannot read pg_locks");
}

/* While nobody waits only that is asked; who begins to wait costs a second round trip, once. */
static void send_locks(struct pg_server *server)
{
    struct feed_run *run = &server->runs[PG_FEED_LOCKS];
    struct pg_statement statements[] = {{.name = "waiters", .sql = server->queries[PG_FEED_LOCKS]},
                                        {.name = "locks", .sql = server->locks_facts_sql},
                                        {.name = "prepared", .sql = server->locks_prepared_sql}};
    server->locks_facts = talloc_zero(NULL, struct locks_facts);
    pg_connection_send(server->fast, statements, server->locks_waiting ? 3 : 1, FAST_DEADLINE_S,
                       (struct pg_handler){locks_rows, locks_done, run});
}

struct held_question {
    struct held_lock *locks;
    size_t count;
    struct error error;
    void (*done)(void *data, const struct held_lock *locks, size_t count, const struct error *error);
    void *data;
};

static void held_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct held_question *question = data;
    (void)index;
    if (error) {
        question->error = *error;
        return;
    }
    question->count = (size_t)pg_rows_count(rows);
    question->locks = locks_read_held(question, rows);
}

static void held_done(void *data, const struct error *error)
{
    struct held_question *question = data;
    if (!error && question->error.kind)
        error = &question->error;
    if (error)
        question->done(question->data, NULL, 0, error);
    else
        question->done(question->data, question->locks, question->count, NULL);
    talloc_free(question);
}

void pg_server_fetch_locks(struct pg_server *server, int pid,
                           void (*done)(void *data, const struct held_lock *locks, size_t count,
                                        const struct error *error),
                           void *data)
{
    char number[16];
    struct held_question *question = talloc_zero(NULL, struct held_question);
    char *sql = locks_held_query(question, pg_connection_version(server->fast));
    question->done = done;
    question->data = data;
    snprintf(number, sizeof number, "%d", pid);
    struct pg_statement statement = {.sql = sql, .parameter_count = 1, .parameters = {number}};
    pg_connection_send(server->fast, &statement, 1, FAST_DEADLINE_S,
                       (struct pg_handler){held_rows, held_done, question});
}

/* ---- asking ---- */

static struct pg_connection *connection_of(struct pg_server *server, enum pg_feed which)
{
    return which == PG_FEED_STATEMENTS ? server->slow : server->fast;
}

/* Sends what is asked as soon as the connection is up: what is sent depends on the version. */
static void proceed(struct pg_server *server, enum pg_feed which)
{
    static void (*const asks[PG_FEEDS])(struct pg_server *) = {[PG_FEED_ACTIVITY] = ask_activity,
                                                               [PG_FEED_LOCKS] = send_locks,
                                                               [PG_FEED_STATEMENTS] = server_ask_statements};
    struct feed_run *run = &server->runs[which];
    struct pg_connection *connection = connection_of(server, which);
    if (!run->asked || run->sent)
        return;
    switch (pg_connection_state(connection)) {
    case CONNECTION_UP:
        if (which != PG_FEED_STATEMENTS)
            make_queries(server);
        run->sent = true;
        asks[which](server);
        break;
    case CONNECTION_IDLE:
        pg_connection_open(connection);
        break;
    case CONNECTION_DOWN:
        server_run_done(run, pg_connection_error(connection), NULL);
        break;
    case CONNECTION_CONNECTING:
        break;
    }
}

static void on_ask(struct feed *feed, void *data)
{
    struct pg_server *server = data;
    enum pg_feed which = (enum pg_feed)(feed - server->feeds);
    server->runs[which].asked = true;
    error_clear(&server->runs[which].error);
    if (server->unusable.kind)
        server_run_done(&server->runs[which], &server->unusable, NULL);
    else
        proceed(server, which);
}

static void connection_changed(void *data, struct pg_connection *connection)
{
    struct pg_server *server = data;
    if (server->dying || !server->fast || !server->slow)
        return;
    enum connection_state state = pg_connection_state(connection);
    if (connection == server->fast && state == CONNECTION_UP)
        ask_facts(server);
    if (connection == server->slow)
        server_forget_extension(server);
    for (int i = 0; i < PG_FEEDS; i++) {
        if (connection_of(server, i) != connection)
            continue;
        proceed(server, i);
        /* Back: not only when the back-off of the feed is over. */
        if (state == CONNECTION_UP && !server->runs[i].asked && server->feeds[i].wanted > 0)
            feed_refresh(&server->feeds[i]);
    }
    tell(server);
}

/* ---- making and freeing ---- */

static struct pg_connection *make_connection(struct pg_server *server, const char *dsn, const char *as,
                                             const char *settings, enum work_kind work)
{
    char *label =
        talloc_asprintf(server, "%s: %s as %s", server->environment->name, server->definition->name, as);
    char *application = talloc_asprintf(label, "signalbox %s", as);
    struct pg_connection *connection = pg_connection_new(
        server->loop, &(struct pg_connection_options){.label = label,
                                                      .dsn = dsn,
                                                      .application_name = application,
                                                      .settings = settings,
                                                      .route = server->route,
                                                      .connect_timeout_s = CONNECT_TIMEOUT_S,
                                                      .keep = true,
                                                      .work = work,
                                                      .changed = connection_changed,
                                                      .data = server});
    talloc_free(label);
    return connection;
}

/* The bastion is there again: nobody needs to wait for the back-off. */
static void bastion_came_up(void *data)
{
    struct pg_server *server = data;
    struct pg_connection *connections[] = {server->fast, server->slow, server->act};
    for (size_t i = 0; i < 3; i++)
        if (connections[i] && pg_connection_state(connections[i]) == CONNECTION_DOWN)
            pg_connection_open(connections[i]);
}

static void check_definition(struct pg_server *server, struct ssh_pool *pool)
{
    const char *via = server->definition->via;
    char where[160];
    snprintf(where, sizeof where, "%s: %s", server->environment->name, server->definition->name);
    if (!server->definition->watch)
        error_set(&server->unusable, ERROR_CONFIG, where, "cannot be watched",
                  "Add `watch` with a DSN to the environment file.", "it has no login named watch");
    else if (via && !pool)
        error_set(&server->unusable, ERROR_UNSUPPORTED, where, "cannot be reached", NULL,
                  "there is no SSH here to go through %s", via);
    else if (via)
        server->route = pg_route_new(
            server->loop, ssh_pool_host(pool, via, environment_destination(server->environment, via)), where,
            bastion_came_up, server);
}

struct pg_server *pg_server_new(struct loop *loop, const struct environment *environment,
                                const struct environment_server *definition, struct ssh_pool *pool,
                                void (*changed)(void *data), void *data)
{
    static const struct {
        const char *name;
        double interval, deadline;
    } kinds[PG_FEEDS] = {[PG_FEED_ACTIVITY] = {"activity", 2, 1},
                         [PG_FEED_LOCKS] = {"locks", 2, 1},
                         [PG_FEED_STATEMENTS] = {"statements", 10, 5}};
    struct pg_server *server = talloc_zero(NULL, struct pg_server);
    if (!server)
        abort();
    server->loop = loop;
    server->environment = environment;
    server->definition = definition;
    server->data = data;
    for (int i = 0; i < PG_FEEDS; i++) {
        server->runs[i] = (struct feed_run){.server = server, .which = i};
        feed_init(&server->feeds[i], loop, kinds[i].name, kinds[i].interval, kinds[i].deadline, on_ask,
                  feed_changed, server);
    }
    server->statements.store = statements_store_new(server, definition->name);
    server_readers_init(server);
    check_definition(server, pool);
    const char *dsn = definition->watch ? definition->watch : "";
    server->fast = make_connection(server, dsn, "watch", WATCH_SETTINGS("4s"), WORK_CONNECT);
    server->slow = make_connection(server, dsn, "watch", WATCH_SETTINGS("20s"), WORK_CONNECT);
    ev_periodic_init(&server->sample, on_sample, 0, 1, NULL);
    server->sample.data = server;
    if (!server->unusable.kind) {
        ev_periodic_start(loop_ev(loop), &server->sample);
        pg_connection_open(server->fast); /* the header shows every server's state */
    }
    server->changed = changed; /* not before it is whole */
    return server;
}

void pg_server_free(struct pg_server *server)
{
    if (!server)
        return;
    server->dying = true;
    ev_periodic_stop(loop_ev(server->loop), &server->sample);
    server_readers_free(server);
    pg_connection_free(server->fast);
    pg_connection_free(server->slow);
    pg_connection_free(server->act);
    pg_route_free(server->route);
    for (int i = 0; i < PG_FEEDS; i++) {
        feed_stop(&server->feeds[i]);
        snapshot_release(server->snapshots[i]);
    }
    statements_store_free(server->statements.store);
    talloc_free(server);
}

/* ---- what can be asked of it ---- */

const char *pg_server_name(const struct pg_server *server)
{
    return server->definition->name;
}

const struct environment *pg_server_environment(const struct pg_server *server)
{
    return server->environment;
}

const struct environment_server *pg_server_definition(const struct pg_server *server)
{
    return server->definition;
}

void pg_server_ssh_changed(struct pg_server *server)
{
    if (server->route)
        pg_route_changed(server->route);
}

struct pg_route *pg_server_route(const struct pg_server *server)
{
    return server->route;
}

struct feed *pg_server_feed(struct pg_server *server, enum pg_feed feed)
{
    return &server->feeds[feed];
}

enum connection_state pg_server_state(const struct pg_server *server)
{
    return server->unusable.kind ? CONNECTION_DOWN : pg_connection_state(server->fast);
}

const struct error *pg_server_error(const struct pg_server *server)
{
    return server->unusable.kind ? &server->unusable : pg_connection_error(server->fast);
}

const struct error *pg_server_note(const struct pg_server *server)
{
    return &server->note;
}

int pg_server_version(const struct pg_server *server)
{
    return pg_connection_version(server->fast);
}

static const char *known_text(const struct pg_server *server, const char *text)
{
    return server->facts.known ? text : NULL;
}

const char *pg_server_version_text(const struct pg_server *server)
{
    return known_text(server, server->facts.version);
}

const char *pg_server_watch_role(const struct pg_server *server)
{
    return known_text(server, server->facts.role);
}

bool pg_server_watch_is_superuser(const struct pg_server *server)
{
    return server->facts.superuser;
}

bool pg_server_in_recovery(const struct pg_server *server)
{
    return server->facts.in_recovery;
}

const char *pg_server_database(const struct pg_server *server)
{
    return known_text(server, server->facts.database);
}

const struct activity_snapshot *pg_server_activity(const struct pg_server *server)
{
    return server->snapshots[PG_FEED_ACTIVITY];
}

const struct locks_snapshot *pg_server_locks(const struct pg_server *server)
{
    return server->snapshots[PG_FEED_LOCKS];
}

const struct statements_snapshot *pg_server_statements(const struct pg_server *server)
{
    return server->snapshots[PG_FEED_STATEMENTS];
}

const struct activity_history *pg_server_history(const struct pg_server *server)
{
    return &server->history;
}

void pg_server_unlock(struct pg_server *server)
{
    if (server->act || !server->definition->act || server->unusable.kind)
        return;
    server->act = make_connection(server, server->definition->act, "act",
                                  "SELECT set_config('statement_timeout', '10s', false),"
                                  " set_config('lock_timeout', '1s', false),"
                                  " set_config('TimeZone', 'UTC', false),"
                                  " set_config('search_path', 'pg_catalog, pg_temp', false)",
                                  WORK_URGENT);
    pg_connection_open(server->act);
}

void pg_server_lock(struct pg_server *server)
{
    struct pg_connection *act = server->act;
    server->act = NULL;
    pg_connection_free(act);
    server_readers_lock(server);
}

struct pg_connection *pg_server_act(struct pg_server *server)
{
    return server->act;
}
