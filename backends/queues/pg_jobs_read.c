/*
 * Reading jobs that are rows: windows by key, never by counting rows off, one state after the other; a
 * sample; and one job in full.
 */
#include <ctype.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"
#include "core/clock.h"

enum { WINDOW = 500, DEADLINE_S = 8, OFFSET_MOST = 20000, SORTED_MOST = 50000 };

struct pg_read {
    struct queue_read read;
    struct pg_jobs *jobs;
    struct queue_read_request request;
    struct queue_read_handler handler;
    struct queue_read_progress progress;
    struct error error;
    size_t schema, state; /* which are being read */
    char *keys[3];        /* where the last window ended; NULL: at the beginning */
    int rows, size;       /* of the last window: how many came, how many were asked for */
    int64_t skip;         /* still to be passed over */
    double begun, asked;
    bool in_flight, forsaken, stopping, sampling;
    bool indexed; /* there are too many to sort: in an order that an index has */
    ev_timer next;
};

static bool state_wanted(const struct pg_read *self, enum job_state state)
{
    return !self->request.states || self->request.states & (1u << state);
}

static const struct pg_state *current_state(struct pg_read *self)
{
    const struct pg_layout *layout = self->jobs->layout;
    while (self->schema < self->jobs->schema_count) {
        for (; self->state < layout->state_count; self->state++)
            if (state_wanted(self, layout->states[self->state].state))
                return &layout->states[self->state];
        self->state = 0;
        self->schema++;
    }
    return NULL;
}

static void forget_keys(struct pg_read *self)
{
    for (int i = 0; i < 3; i++)
        TALLOC_FREE(self->keys[i]);
}

/* ---- the end ---- */

static int read_free(struct pg_read *self)
{
    ev_timer_stop(loop_ev(self->jobs->base.loop), &self->next);
    return 0;
}

static void remember_page(struct pg_read *self)
{
    struct pg_jobs *jobs = self->jobs;
    if (!self->keys[2] || jobs->schema_count != 1 || self->request.filter || self->progress.complete ||
        self->sampling)
        return;
    talloc_free(jobs->page.queue);
    jobs->page.queue = talloc_strdup(jobs, self->request.queue ? self->request.queue : "");
    jobs->page.states = self->request.states;
    jobs->page.from = self->request.from;
    jobs->page.offset = self->request.offset + self->progress.matched;
    jobs->page.state = self->state;
    jobs->page.indexed = self->indexed;
    for (int i = 0; i < 3; i++) {
        talloc_free(jobs->page.keys[i]);
        jobs->page.keys[i] = talloc_steal(jobs, self->keys[i]);
        self->keys[i] = NULL;
    }
}

static void finish(struct pg_read *self)
{
    self->progress.seconds = clock_monotonic() - self->begun;
    self->progress.stopped = self->stopping;
    if (!self->error.kind)
        remember_page(self);
    if (!self->forsaken)
        self->handler.done(self->handler.data, &self->progress, self->error.kind ? &self->error : NULL);
    talloc_free(self);
}

/* ---- windows ---- */

/* Only what can be an id is put into a comparison of that type. */
static bool is_id(const char *type, const char *text)
{
    size_t length = strlen(text);
    if (strcmp(type, "text") == 0)
        return true;
    if (strcmp(type, "uuid") == 0) {
        bool right = length == 36;
        for (size_t i = 0; i < length && right; i++)
            right = i == 8 || i == 13 || i == 18 || i == 23 ? text[i] == '-'
                                                            : isxdigit((unsigned char)text[i]) != 0;
        return right;
    }
    return length > 0 && length <= 18 && strspn(text, "0123456789") == length;
}

/* What the filter is about, when that is one job: it is looked up by its key. */
static const char *id_asked(const struct pg_read *self)
{
    return self->request.filter ? job_filter_id(self->request.filter) : NULL;
}

/* A statement being put together: values are parameters, so that nothing in them is taken for SQL. */
struct window_sql {
    char *text;
    struct pg_statement statement;
};

static const char *add_value(struct window_sql *sql, const char *value, const char *type)
{
    sql->statement.parameters[sql->statement.parameter_count++] = value;
    return talloc_asprintf(sql, "$%d::%s", sql->statement.parameter_count, type);
}

static void add(struct window_sql *sql, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct window_sql *sql, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sql->text = talloc_vasprintf_append_buffer(sql->text, format, arguments);
    va_end(arguments);
    if (!sql->text)
        abort();
}

static struct window_sql *begin_sql(const struct pg_read *self, const char *keys)
{
    struct window_sql *sql = talloc_zero(self, struct window_sql);
    if (!sql)
        abort();
    sql->text = talloc_asprintf(sql, "SELECT %s, %s FROM ", keys, pg_jobs_columns(sql, self->jobs, false));
    return sql;
}

static void add_conditions(struct pg_read *self, struct window_sql *sql, const struct pg_state *state)
{
    const struct pg_layout *layout = self->jobs->layout;
    const char *id = id_asked(self);
    add(sql, " WHERE (%s)", state->where);
    if (self->request.queue)
        add(sql, " AND %s = %s", layout->columns[PG_QUEUE], add_value(sql, self->request.queue, "text"));
    if (id && is_id(layout->id_type, id))
        add(sql, " AND %s = %s", layout->columns[PG_ID], add_value(sql, id, layout->id_type));
    else if (id)
        add(sql, " AND false");
}

/* What a window is ordered by. Among too many to sort, ready ones come by the time that they were due, which
 * an index has; and finished ones, whose order hardly matters, by their id within a queue. */
struct order {
    const char *rank, *when; /* NULL: not by it */
};

static struct order choose_order(const struct pg_read *self, const struct pg_state *state)
{
    struct order order = {.rank = state->rank, .when = state->when};
    bool finished = state->state == JOB_FAILED || state->state == JOB_DONE || state->state == JOB_CANCELLED;
    if (!self->indexed)
        return order;
    if (state->when_indexed)
        order = (struct order){.when = state->when_indexed};
    else if (finished && self->request.queue)
        order = (struct order){NULL, NULL};
    return order;
}

static void add_window(struct pg_read *self, struct window_sql *sql, struct order by, int limit)
{
    const char *type = self->jobs->layout->id_type, *id = self->jobs->layout->columns[PG_ID];
    const char *order = self->request.from == FROM_TAIL ? "DESC" : "ASC";
    const char *than = self->request.from == FROM_TAIL ? "<" : ">";
    if (self->keys[2]) {
        add(sql, " AND (");
        if (by.rank)
            add(sql, "%s, ", by.rank);
        if (by.when)
            add(sql, "%s, ", by.when);
        add(sql, "%s) %s (", id, than);
        if (by.rank)
            add(sql, "%s, ", add_value(sql, self->keys[0], "bigint"));
        if (by.when)
            add(sql, "%s, ", add_value(sql, self->keys[1], "timestamptz"));
        add(sql, "%s)", add_value(sql, self->keys[2], type));
    }
    add(sql, " ORDER BY ");
    if (by.rank)
        add(sql, "%s %s, ", by.rank, order);
    if (by.when)
        add(sql, "%s %s, ", by.when, order);
    add(sql, "%s %s LIMIT %d", id, order, limit);
}

static struct window_sql *window_text(struct pg_read *self, const struct pg_state *state, int limit)
{
    const struct pg_layout *layout = self->jobs->layout;
    struct order by = choose_order(self, state);
    char *keys = talloc_asprintf(self, "%s, (%s)::text, (%s)::text", by.rank ? by.rank : "NULL",
                                 by.when ? by.when : "NULL", layout->columns[PG_ID]);
    struct window_sql *sql = begin_sql(self, keys);
    talloc_free(keys);
    add(sql, "%s", layout->from);
    add_conditions(self, sql, state);
    add_window(self, sql, by, limit);
    return sql;
}

/* Blocks of the table at random: each row at most once. What is shown of a row is made of those that are
 * taken, not of all that were in these blocks. */
static struct window_sql *sample_text(struct pg_read *self, const struct pg_state *state, int limit)
{
    const char *from = self->jobs->layout->from, *alias = strstr(from, " AS ");
    bool joined = alias && strchr(alias + 4, ' ');
    double total = self->progress.total > 0 ? (double)self->progress.total : 100.0 * limit;
    struct window_sql *sql = begin_sql(self, "NULL, NULL, NULL");
    if (!joined)
        add(sql, "(SELECT %s.* FROM ", alias ? alias + 4 : from);
    add(sql, "%s", pg_jobs_sampled(sql, from, 200.0 * limit / total));
    add_conditions(self, sql, state);
    add(sql, " ORDER BY random() LIMIT %d", limit);
    if (!joined)
        add(sql, ") AS %s", alias ? alias + 4 : from);
    return sql;
}

static void take_window(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_read *self = data;
    (void)index;
    if (error) {
        self->error = *error;
        return;
    }
    if (self->forsaken)
        return;
    const struct pg_layout *layout = self->jobs->layout;
    enum job_state state = layout->states[self->state].state;
    const char *schema = self->jobs->schemas[self->schema];
    void *context = talloc_new(self);
    double now = clock_wall();
    size_t count = 0;
    self->rows = pg_rows_count(rows);
    struct job *found = talloc_zero_array(context, struct job, (size_t)self->rows + 1);
    if (!found)
        abort();
    for (int i = 0; i < self->rows; i++) {
        const char *body;
        struct job *job = &found[count];
        pg_jobs_fill(context, self->jobs, job, rows, i, state, &body);
        job->key = schema;
        job->key_length = strlen(schema);
        self->progress.bytes += job->size > 0 ? job->size : 0;
        if (self->request.filter &&
            !job_filter_matches(self->request.filter, job, body, body ? strlen(body) : 0, now))
            continue;
        if (self->request.limit && self->progress.matched + (int64_t)count >= self->request.limit)
            break;
        if (self->skip > 0) {
            self->skip--;
            continue;
        }
        job->arguments = pg_jobs_arguments(context, self->jobs, body);
        if (self->request.keep_raw && body) {
            job->raw = body;
            job->raw_length = strlen(body);
        }
        count++;
    }
    self->progress.scanned += self->rows;
    if (self->rows) {
        forget_keys(self);
        for (int i = 0; i < 3; i++)
            self->keys[i] = pg_rows_null(rows, self->rows - 1, i)
                                ? NULL
                                : talloc_strdup(self, pg_rows_text(rows, self->rows - 1, i));
    }
    if (count && self->handler.jobs)
        self->handler.jobs(self->handler.data, found, count);
    self->progress.matched += (int64_t)count;
    talloc_free(context);
}

static bool is_enough(const struct pg_read *self)
{
    return (self->request.limit && self->progress.matched >= self->request.limit) ||
           (self->request.look && self->progress.scanned >= self->request.look);
}

static int window_size(const struct pg_read *self)
{
    int64_t size = self->sampling ? 4 * WINDOW : WINDOW;
    if (self->request.limit && !self->request.filter && !self->skip &&
        self->request.limit - self->progress.matched < size)
        size = self->request.limit - self->progress.matched;
    if (self->request.look && self->request.look - self->progress.scanned < size)
        size = self->request.look - self->progress.scanned;
    return size > 0 ? (int)size : 1;
}

static void window_done(void *data, const struct error *error);

static void ask_window(struct pg_read *self)
{
    const struct pg_state *state = current_state(self);
    if (self->stopping || self->jobs->base.closed || is_enough(self) || !state) {
        self->progress.complete = !state && !self->stopping;
        finish(self);
        return;
    }
    int size = self->size = window_size(self);
    struct window_sql *sql = self->sampling ? sample_text(self, state, size) : window_text(self, state, size);
    sql->statement.sql = pg_jobs_sql(sql, self->jobs->schemas[self->schema], sql->text);
    self->rows = 0;
    self->asked = clock_monotonic();
    self->in_flight = true;
    pg_connection_send(pg_jobs_connection(self->jobs), &sql->statement, 1, DEADLINE_S,
                       (struct pg_handler){.rows = take_window, .done = window_done, .data = self});
    talloc_free(sql);
}

static void on_next(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    ask_window(timer->data);
}

static void next_after(struct pg_read *self, double pause)
{
    ev_timer_set(&self->next, pause, 0);
    ev_timer_start(loop_ev(self->jobs->base.loop), &self->next);
}

static void window_done(void *data, const struct error *error)
{
    struct pg_read *self = data;
    self->in_flight = false;
    if (error && !self->error.kind)
        self->error = *error;
    if (self->forsaken || self->jobs->base.closed) {
        finish(self);
        return;
    }
    if (self->error.kind == ERROR_TIMEOUT && !error && !self->indexed && !self->keys[2]) {
        error_clear(&self->error);
        self->indexed = true;
        next_after(self, 0);
        return;
    }
    if (self->error.kind) {
        if (!error)
            pg_jobs_explain(self->jobs, &self->error, "cannot read jobs");
        finish(self);
        return;
    }
    if ((self->sampling || self->rows < self->size) && !is_enough(self)) { /* this state is read */
        self->state++;
        forget_keys(self);
    }
    self->progress.seconds = clock_monotonic() - self->begun;
    if (self->handler.progress)
        self->handler.progress(self->handler.data, &self->progress);
    /* As long as the answer took the server is left alone. */
    next_after(self, self->request.unpaced ? 0 : fmin(1, clock_monotonic() - self->asked));
}

/* ---- beginning ---- */

static int64_t count_of(const struct queue *queue, enum job_state state)
{
    switch (state) {
    case JOB_READY:
        return queue->ready;
    case JOB_RUNNING:
        return queue->running;
    case JOB_SCHEDULED:
        return queue->scheduled;
    case JOB_RETRYING:
        return queue->retrying;
    case JOB_WAITING:
        return queue->waiting;
    case JOB_FAILED:
        return queue->failed;
    case JOB_DEAD:
        return queue->dead;
    case JOB_DONE:
        return queue->done;
    default:
        return -1;
    }
}

/* Of how many: what was counted last. -1: unknown. */
static int64_t expected_total(const struct pg_read *self)
{
    const struct queues_snapshot *queues = self->jobs->base.latest[PART_QUEUES];
    int64_t total = 0;
    for (size_t i = 0; queues && i < queues->count; i++) {
        if (self->request.queue && strcmp(queues->queues[i].name, self->request.queue) != 0)
            continue;
        for (size_t j = 0; j < self->jobs->layout->state_count; j++) {
            enum job_state state = self->jobs->layout->states[j].state;
            int64_t count = state_wanted(self, state) ? count_of(&queues->queues[i], state) : 0;
            if (count < 0 && state != JOB_CANCELLED)
                return -1;
            total += count < 0 ? 0 : count;
        }
    }
    return queues ? total : -1;
}

/* The page after the last one begins where that ended. */
static void continue_page(struct pg_read *self)
{
    struct pg_jobs *jobs = self->jobs;
    const char *queue = self->request.queue ? self->request.queue : "";
    self->skip = self->request.offset;
    if (!self->skip || self->request.filter || !jobs->page.queue || strcmp(jobs->page.queue, queue) != 0 ||
        jobs->page.states != self->request.states || jobs->page.from != (int)self->request.from ||
        jobs->page.offset != self->request.offset)
        return;
    self->skip = 0;
    self->state = jobs->page.state;
    self->indexed = jobs->page.indexed;
    for (int i = 0; i < 3; i++)
        self->keys[i] = jobs->page.keys[i] ? talloc_strdup(self, jobs->page.keys[i]) : NULL;
}

struct queue_read *pg_jobs_read(struct queue_system *system, const struct queue_read_request *request,
                                struct queue_read_handler handler)
{
    struct pg_read *self = talloc_zero(system, struct pg_read);
    if (!self)
        abort();
    self->read.system = system;
    self->jobs = (struct pg_jobs *)system;
    self->request = *request;
    self->request.queue = request->queue ? talloc_strdup(self, request->queue) : NULL;
    if (request->filter && job_filter_is_all(request->filter))
        self->request.filter = NULL;
    self->handler = handler;
    self->begun = clock_monotonic();
    ev_timer_init(&self->next, on_next, 0, 0);
    self->next.data = self;
    talloc_set_destructor(self, read_free);
    self->progress.total = expected_total(self);
    self->sampling = request->from == FROM_ANY && (self->progress.total < 0 || self->progress.total > 2000);
    self->indexed = self->jobs->lite || self->progress.total > SORTED_MOST;
    continue_page(self);
    if (self->skip > OFFSET_MOST)
        error_set(&self->error, ERROR_UNSUPPORTED, system->place, "cannot read jobs",
                  "Begin at the other end, or use a filter.",
                  "in a table more than %d jobs are not passed over one by one", OFFSET_MOST);
    if (self->error.kind)
        self->stopping = true;
    next_after(self, 0);
    return &self->read;
}

void pg_jobs_stop(struct queue_read *read)
{
    ((struct pg_read *)read)->stopping = true;
}

void pg_jobs_forsake(struct queue_read *read)
{
    struct pg_read *self = (struct pg_read *)read;
    self->forsaken = true;
    if (self->in_flight)
        talloc_steal(NULL, self); /* freed when its answer is there */
    else
        talloc_free(self);
}

/* ---- one job ---- */

struct job_question {
    struct pg_jobs *jobs;
    struct job_facts *facts;
    struct error error;
    bool found;
    ev_timer later;
    void (*done)(void *data, const struct job_facts *facts, const struct error *error);
    void *data;
};

static void add_fact(struct job_facts *facts, const char *section, const char *label, bool secret,
                     const char *text)
{
    if (text && *text)
        job_facts_add(facts, section, label, secret, "%s", text);
}

static bool is_secret(const struct pg_layout *layout, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = layout->secrets; at && (at = strstr(at, key)); at++)
        if (at > layout->secrets && at[-1] == ',' && at[length] == ',')
            return true;
    return false;
}

static void add_secrets(struct job_facts *facts, const char *key, struct json_object *value)
{
    const char *section =
        strstr(key, "result") || strstr(key, "output") || strstr(key, "return") ? "Result" : "Arguments";
    if (json_object_is_type(value, json_type_object) && json_object_object_length(value)) {
        json_object_object_foreach(value, name, child)
        {
            add_fact(facts, section, name, true,
                     json_object_is_type(child, json_type_string)
                         ? json_object_get_string(child)
                         : json_object_to_json_string_ext(child, JSON_C_TO_STRING_PLAIN));
        }
        return;
    }
    add_fact(facts, section, key, true,
             json_object_is_type(value, json_type_string)
                 ? json_object_get_string(value)
                 : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
}

static void add_row(struct job_question *question, const char *text)
{
    struct json_object *row = text ? json_tokener_parse(text) : NULL;
    if (json_object_is_type(row, json_type_object)) {
        json_object_object_foreach(row, key, value)
        {
            if (!value)
                continue;
            if (is_secret(question->jobs->layout, key))
                add_secrets(question->facts, key, value);
            else
                add_fact(question->facts, "Row", key, false, json_object_get_string(value));
        }
    }
    json_object_put(row);
}

static void take_job(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct job_question *question = data;
    struct job job;
    const char *body;
    (void)index;
    if (error) {
        question->error = *error;
        return;
    }
    if (!pg_rows_count(rows))
        return;
    struct job_facts *facts = question->facts;
    question->found = true;
    pg_jobs_fill(facts, question->jobs, &job, rows, 0, JOB_READY, &body);
    add_fact(facts, "Job", "id", false, job.id);
    add_fact(facts, "Job", "task", false, job.task);
    add_fact(facts, "Job", "queue", false, job.queue);
    add_fact(facts, "Job", "tenant", false, job.tenant);
    add_fact(facts, "Job", "worker", false, job.worker);
    add_fact(facts, "Job", "arguments", false, pg_jobs_arguments(facts, question->jobs, body));
    if (job.exception || job.message) {
        add_fact(facts, "Failure", "exception", false, job.exception);
        add_fact(facts, "Failure", "message", false, job.message);
        add_fact(facts, "Failure", NULL, false, pg_rows_text(rows, 0, PG_FIRST_COLUMN + PG_TRACE));
    }
    add_row(question, pg_rows_text(rows, 0, PG_FIRST_COLUMN + PG_COLUMNS_ALL));
}

static void tell_job(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct job_question *question = timer->data;
    (void)ev, (void)events;
    if (question->error.kind)
        question->done(question->data, NULL, &question->error);
    else
        question->done(question->data, question->facts, NULL);
    talloc_free(question);
}

static int question_free(struct job_question *question)
{
    ev_timer_stop(loop_ev(question->jobs->base.loop), &question->later);
    return 0;
}

static void job_done(void *data, const struct error *error)
{
    struct job_question *question = data;
    if (error && !question->error.kind)
        question->error = *error;
    else if (question->error.kind && !question->jobs->base.closed)
        pg_jobs_explain(question->jobs, &question->error, "cannot read the job");
    if (!question->error.kind && !question->found)
        error_set(&question->error, ERROR_GONE, question->jobs->base.place, "the job is no longer there",
                  NULL, "its row was removed");
    tell_job(NULL, &question->later, 0);
}

void pg_jobs_job(struct queue_system *system, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data)
{
    struct pg_jobs *jobs = (struct pg_jobs *)system;
    const struct pg_layout *layout = jobs->layout;
    struct job_question *question = talloc_zero(jobs, struct job_question);
    if (!question)
        abort();
    *question = (struct job_question){.jobs = jobs, .done = done, .data = data};
    question->facts = talloc_zero(question, struct job_facts);
    ev_timer_init(&question->later, tell_job, 0, 0);
    question->later.data = question;
    talloc_set_destructor(question, question_free);
    const char *id = job->tag ? job->tag : job->id;
    if (!id || !layout->from || !is_id(layout->id_type, id)) {
        error_set(&question->error, ERROR_GONE, system->place, "the job is no longer there", NULL,
                  "it has no id of this system");
        ev_timer_start(loop_ev(system->loop), &question->later);
        return;
    }
    struct pg_statement statement = {.parameter_count = 1, .parameters = {id}};
    char *text = talloc_asprintf(question,
                                 "SELECT NULL, NULL, NULL, %s, CASE WHEN octet_length((%s)::text) < 1000000 "
                                 "THEN (%s)::text END FROM %s "
                                 "WHERE %s = $1::%s",
                                 pg_jobs_columns(question, jobs, true), layout->row, layout->row,
                                 layout->from, layout->columns[PG_ID], layout->id_type);
    if (job->queue && layout->columns[PG_QUEUE]) {
        text = talloc_asprintf_append_buffer(text, " AND %s = $2", layout->columns[PG_QUEUE]);
        statement.parameters[statement.parameter_count++] = job->queue;
    }
    const char *schema =
        job->key && job->key_length ? talloc_strndup(question, job->key, job->key_length) : jobs->schemas[0];
    statement.sql = pg_jobs_sql(question, schema, text);
    pg_connection_send(pg_jobs_connection(jobs), &statement, 1, DEADLINE_S,
                       (struct pg_handler){.rows = take_job, .done = job_done, .data = question});
}
