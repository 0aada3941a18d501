/* The plan of a statement, and the measured plan in its sandbox: recorded before, run once, cancelled at
 * will. */
#include "backends/postgres/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "backends/postgres/explain_session.h"
#include "core/clock.h"

#define PLAN_TIMEOUT_S 5
#define PLAN_LOCK_TIMEOUT_S 0.1
#define MEASURE_TIMEOUT_S 30
#define MEASURE_LOCK_TIMEOUT_S 1
#define CANCEL_PATIENCE_S 2

/* What the audit log calls back about; outlives the explain, which it then no longer knows. */
struct ticket {
    struct explain *explain;
};

struct explain {
    struct loop *loop;
    struct audit *audit;
    struct explain_session *session;
    struct explain_request request; /* values and origins are copies; the texts are in the session */
    void (*changed)(void *data, struct explain *explain);
    void *data;
    enum explain_phase phase;
    double started, ended;  /* monotonic */
    double ran;             /* when the measured run was sent */
    char *sql;              /* exactly what is sent */
    char *record;           /* ties the records of the audit log */
    struct ticket *ticket;  /* the record is being written */
    bool judged;            /* a plain read, says the catalogue */
    bool recorded, running; /* running: the last request is with the server */
    ev_timer cancel_late, cancel_now;
    struct plan *plan;
    struct error error;
    char *note;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static const char *copy(struct explain *e, const char *text)
{
    return text ? must(talloc_strdup(e, text)) : NULL;
}

static bool over(const struct explain *e)
{
    return e->phase == EXPLAIN_DONE || e->phase == EXPLAIN_FAILED;
}

/* ---- the audit log ---- */

static char *describe_values(struct explain *e)
{
    char *text = must(talloc_asprintf(e, "database %s, search_path %s",
                                      e->session->database ? e->session->database : "?",
                                      e->session->search_path ? e->session->search_path : "?"));
    for (size_t i = 0; i < e->session->type_count; i++) {
        const char *value = e->request.values[i], *origin = e->request.origins[i];
        text = must(talloc_asprintf_append(text, "; $%zu %s = %s%s%s", i + 1, e->session->types[i],
                                           value ? value : "NULL", origin ? ": " : "", origin ? origin : ""));
    }
    return text;
}

static void write_record(struct explain *e, const char *event, const char *outcome, const char *detail,
                         void (*done)(void *data, enum audit_place place, const char *record,
                                      const struct error *error),
                         void *data)
{
    audit_write(e->audit,
                &(struct audit_entry){.event = event,
                                      .change = e->record,
                                      .server = e->session->server,
                                      .hazard = "measure",
                                      .verb = "explain analyze",
                                      .target = e->session->database,
                                      .command = e->sql ? e->sql : e->session->statement->sql,
                                      .role = e->session->role,
                                      .outcome = outcome,
                                      .detail = detail},
                done, data);
}

static void record_outcome(struct explain *e, const char *outcome, const char *why)
{
    char detail[1500];
    if (!e->recorded)
        return;
    e->recorded = false;
    snprintf(detail, sizeof detail, "%.0f ms%s%s", (clock_monotonic() - e->ran) * 1000, why ? ": " : "",
             why ? why : "");
    write_record(e, "after", outcome, detail, NULL, NULL);
}

/* ---- the end ---- */

static void finish(struct explain *e, enum explain_phase phase)
{
    char why[1400] = "";
    if (phase == EXPLAIN_FAILED)
        error_format(&e->error, why, sizeof why);
    const char *outcome = phase == EXPLAIN_DONE              ? "done"
                          : e->error.kind == ERROR_CANCELLED ? "cancelled"
                                                             : "failed";
    record_outcome(e, outcome, *why ? why : NULL);
    ev_timer_stop(loop_ev(e->loop), &e->cancel_late);
    ev_timer_stop(loop_ev(e->loop), &e->cancel_now);
    e->phase = phase;
    e->ended = clock_monotonic();
    e->running = false;
    explain_session_close(e->session);
    if (e->changed)
        e->changed(e->data, e); /* may free it */
}

static void fail(struct explain *e, const struct error *error)
{
    e->error = *error;
    if (!e->error.what[0])
        snprintf(e->error.what, sizeof e->error.what, "no plan");
    if (!e->error.where[0])
        snprintf(e->error.where, sizeof e->error.where, "%s", e->session->where);
    finish(e, EXPLAIN_FAILED);
}

static void fail_cancelled(struct explain *e)
{
    struct error error;
    error_set(&error, ERROR_CANCELLED, e->session->where, "no plan", NULL, "cancelled before it ran");
    fail(e, &error);
}

static void enter_phase(struct explain *e, enum explain_phase phase)
{
    if (e->phase != EXPLAIN_CANCELLING)
        e->phase = phase;
    if (e->changed)
        e->changed(e->data, e);
}

/* ---- the plan ---- */

static void write_note(struct explain *e)
{
    char time[32];
    const struct plain_statement *statement = e->session->statement;
    const char *kind = e->request.measure ? (statement->parameters ? "custom plan, measured" : "measured")
                                          : (statement->parameters ? "generic plan" : "plan");
    e->note =
        must(talloc_asprintf(e, "%s%s · as %s on %s, database %s, search_path %s · %s", kind,
                             statement->rewritten ? " (interval $n read as $n::interval)" : "",
                             e->session->role, e->session->server, e->session->database,
                             e->session->search_path, clock_time_of_day(time, sizeof time, clock_wall())));
}

static void take_plan(void *data, int index, const struct pg_rows *rows)
{
    struct explain *e = data;
    bool answer = strcmp(pg_rows_command(rows), "EXPLAIN") == 0 && pg_rows_count(rows) > 0;
    const char *json = answer ? pg_rows_text(rows, 0, 0) : NULL;
    (void)index;
    if (!json)
        return;
    write_note(e);
    e->plan = plan_read(e, json, strlen(json), &e->error);
}

static void plan_done(void *data, const struct error *error)
{
    struct explain *e = data;
    /* A cancel that came too late takes nothing away. */
    if (e->plan) {
        finish(e, EXPLAIN_DONE);
        return;
    }
    if (error) {
        struct error told = *error;
        if (e->phase == EXPLAIN_CANCELLING && error->kind == ERROR_CANCELLED)
            error_set(&told, ERROR_CANCELLED, e->session->where, "no plan", NULL,
                      "cancelled by you; the server has stopped it");
        fail(e, &told);
        return;
    }
    if (e->error.kind == ERROR_NONE)
        error_set(&e->error, ERROR_SERVER, e->session->where, "no plan", NULL,
                  "the server answered with no plan");
    struct error unread = e->error;
    fail(e, &unread);
}

/* Through PREPARE on all versions: EXPLAIN (GENERIC_PLAN) of 16 and newer takes its parameters as unbound
 * only in the simple protocol, where nothing guards against a second command; in the extended one they must
 * be bound, and then NULLs are planned for. */
static void ask_plan(struct explain *e)
{
    e->sql = must(talloc_strdup(e, "EXPLAIN (FORMAT JSON, VERBOSE, SETTINGS) EXECUTE signalbox"));
    for (size_t i = 0; i < e->session->type_count; i++)
        e->sql = must(talloc_asprintf_append(e->sql, "%sNULL", i ? ", " : "("));
    if (e->session->type_count)
        e->sql = must(talloc_strdup_append(e->sql, ")"));
    const struct pg_statement statements[] = {{.sql = "SET LOCAL plan_cache_mode = force_generic_plan"},
                                              {.sql = e->sql}};
    e->running = true;
    explain_session_ask(e->session, statements + (e->session->type_count ? 0 : 1),
                        e->session->type_count ? 2 : 1, PLAN_TIMEOUT_S + 10, take_plan, plan_done, e);
    enter_phase(e, EXPLAIN_RUNNING);
}

/* ---- the measured plan ---- */

static void run_measured(struct explain *e)
{
    struct pg_statement statements[] = {{.sql = e->sql}, {.sql = "ROLLBACK"}};
    statements[0].parameter_count = (int)e->session->type_count;
    for (size_t i = 0; i < e->session->type_count; i++)
        statements[0].parameters[i] = e->request.values[i];
    e->ran = clock_monotonic();
    e->running = true;
    explain_session_ask(e->session, statements, 2, e->request.statement_timeout_s + 10, take_plan, plan_done,
                        e);
    enter_phase(e, EXPLAIN_RUNNING);
}

static void before_recorded(void *data, enum audit_place place, const char *record, const struct error *error)
{
    struct ticket *ticket = data;
    struct explain *e = ticket->explain;
    (void)record;
    free(ticket);
    if (!e)
        return;
    e->ticket = NULL;
    e->ran = clock_monotonic();
    e->recorded = place != AUDIT_NOWHERE;
    if (over(e))
        return;
    if (!e->recorded) {
        struct error unrecorded;
        error_set(&unrecorded, ERROR_INTERLOCK, e->session->where,
                  "the measuring cannot be recorded, so nothing was run",
                  "Make room for the audit log, or correct its folder.", "%s: %s", error ? error->what : "",
                  error ? error->why : "");
        fail(e, &unrecorded);
    } else if (e->phase == EXPLAIN_CANCELLING) {
        fail_cancelled(e);
    } else {
        run_measured(e);
    }
}

static void record_and_run(struct explain *e)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint64_t)(clock_monotonic() * 1e9) ^ (uint64_t)(uintptr_t)e;
    e->record = must(talloc_asprintf(e, "%016" PRIx64, random));
    bool wal = pg_connection_version(e->session->connection) >= 130000;
    e->sql = must(talloc_asprintf(e, "EXPLAIN (ANALYZE, BUFFERS, VERBOSE, SETTINGS, %sFORMAT JSON) %s",
                                  wal ? "WAL, " : "", e->session->statement->sql));
    e->ticket = must(calloc(1, sizeof *e->ticket));
    e->ticket->explain = e;
    write_record(e, "measure", NULL, describe_values(e), before_recorded, e->ticket);
}

static void take_verdict(void *data, int index, const struct pg_rows *rows)
{
    struct explain *e = data;
    if (index == 1)
        e->judged = plain_read_verdict(rows, &e->error);
}

static void verdict_done(void *data, const struct error *error)
{
    struct explain *e = data;
    if (e->phase == EXPLAIN_CANCELLING) {
        fail_cancelled(e);
    } else if (error) {
        fail(e, error);
    } else if (!e->judged) {
        struct error refusal = e->error;
        if (refusal.kind == ERROR_NONE)
            error_set(&refusal, ERROR_INTERLOCK, NULL, "not measured", NULL,
                      "the server did not say what it calls");
        fail(e, &refusal);
    } else {
        record_and_run(e);
    }
}

static void ask_verdict(struct explain *e)
{
    /* Compiling the question would cost more than answering it. */
    const struct pg_statement statements[] = {
        {.sql = "SET LOCAL jit = off"},
        {.sql = plain_read_sql,
         .parameter_count = 1,
         .parameters = {plain_statement_names(e, e->session->statement, ~0u)}},
        {.sql = "SET LOCAL jit TO DEFAULT"}};
    explain_session_ask(e->session, statements, 3, PLAN_TIMEOUT_S + 10, take_verdict, verdict_done, e);
}

/* ---- from the start ---- */

static void opened(void *data, const struct error *error)
{
    struct explain *e = data;
    if (e->phase == EXPLAIN_CANCELLING) {
        fail_cancelled(e);
    } else if (error) {
        fail(e, error);
    } else if (!e->request.measure) {
        ask_plan(e);
    } else if (e->request.value_count < e->session->type_count) {
        struct error missing;
        error_set(&missing, ERROR_USAGE, e->session->where, "nothing was run",
                  "Give a value, or NULL, for each.",
                  "the statement has %zu parameters, and there are %zu values", e->session->type_count,
                  e->request.value_count);
        fail(e, &missing);
    } else {
        ask_verdict(e);
    }
}

static void refuse_measuring(struct explain *e)
{
    const struct error *refusal = &e->session->statement->refusal;
    if (e->session->error.kind == ERROR_NONE && refusal->kind != ERROR_NONE)
        e->session->error = *refusal;
    if (e->session->error.kind == ERROR_NONE && !e->audit)
        error_set(&e->session->error, ERROR_INTERLOCK, e->session->where, "nothing was run", NULL,
                  "there is no audit log to record it in");
}

static void on_cancel_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct explain *e = timer->data;
    struct error error;
    (void)ev, (void)events;
    error_set(&error, ERROR_CANCELLED, e->session->where, "no plan",
              "Look at the sessions of the server for \"signalbox explain\"; its statement_timeout ends it.",
              "the server did not answer the cancel within %d s: it may still run the statement",
              CANCEL_PATIENCE_S);
    fail(e, &error);
}

static void on_cancel_now(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    fail_cancelled(timer->data);
}

static int explain_destroy(struct explain *e)
{
    ev_timer_stop(loop_ev(e->loop), &e->cancel_late);
    ev_timer_stop(loop_ev(e->loop), &e->cancel_now);
    if (e->ticket)
        e->ticket->explain = NULL;
    if (e->running && e->session->connection)
        pg_connection_cancel(e->session->connection);
    record_outcome(e, "cancelled", "given up by the user: the server was asked to stop it");
    return 0;
}

struct explain *explain_new(struct loop *loop, struct pg_server *server, struct audit *audit,
                            const struct explain_request *request,
                            void (*changed)(void *data, struct explain *explain), void *data)
{
    struct explain *e = must(talloc_zero(NULL, struct explain));
    e->loop = loop;
    e->audit = audit;
    e->changed = changed;
    e->data = data;
    e->started = e->ran = clock_monotonic();
    e->request = *request;
    if (e->request.value_count > EXPLAIN_PARAMETERS)
        e->request.value_count = EXPLAIN_PARAMETERS;
    for (size_t i = 0; i < e->request.value_count; i++) {
        e->request.values[i] = copy(e, request->values[i]);
        e->request.origins[i] = copy(e, request->origins[i]);
    }
    if (!(e->request.statement_timeout_s > 0))
        e->request.statement_timeout_s = MEASURE_TIMEOUT_S;
    ev_timer_init(&e->cancel_late, on_cancel_late, CANCEL_PATIENCE_S, 0);
    ev_timer_init(&e->cancel_now, on_cancel_now, 0, 0);
    e->cancel_late.data = e->cancel_now.data = e;
    e->session = explain_session_new(e, loop, server, request);
    talloc_set_destructor(e, explain_destroy);
    if (request->measure)
        refuse_measuring(e);
    explain_session_open(e->session, true, request->measure ? e->request.statement_timeout_s : PLAN_TIMEOUT_S,
                         request->measure ? MEASURE_LOCK_TIMEOUT_S : PLAN_LOCK_TIMEOUT_S, opened, e);
    return e;
}

void explain_free(struct explain *e)
{
    talloc_free(e);
}

void explain_cancel(struct explain *e)
{
    struct pg_connection *connection = e->session->connection;
    if (over(e) || e->phase == EXPLAIN_CANCELLING)
        return;
    e->phase = EXPLAIN_CANCELLING;
    ev_now_update(loop_ev(e->loop));
    if (!connection || pg_connection_state(connection) != CONNECTION_UP) {
        ev_timer_start(loop_ev(e->loop), &e->cancel_now);
        return;
    }
    pg_connection_cancel(connection);
    if (!e->ticket) /* else the audit log answers within its own deadline, and then nothing runs */
        ev_timer_start(loop_ev(e->loop), &e->cancel_late);
}

enum explain_phase explain_phase(const struct explain *e)
{
    return e->phase;
}

double explain_elapsed_s(const struct explain *e)
{
    return (over(e) ? e->ended : clock_monotonic()) - e->started;
}

const struct error *explain_error(const struct explain *e)
{
    return &e->error;
}

const struct plan *explain_plan(const struct explain *e)
{
    return e->phase == EXPLAIN_DONE ? e->plan : NULL;
}

const char *explain_note(const struct explain *e)
{
    return e->note;
}
