/*
 * Acts on jobs that are rows: which jobs are meant is frozen when an act is prepared; each step is one
 * statement whose WHERE holds the identities and the state, so that check and act are one. What is no longer
 * in that state is counted and told.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"
#include "core/units.h"

enum { SEND_DEADLINE_S = 15, STEP_JOBS = 200, TARGETS_MOST = 100000 };

/* ---- sending ---- */

struct pg_step {
    struct pg_jobs *jobs;
    struct change *change;
    struct change_step *step;
    const char *sql;
    int64_t expected, reached;
    struct error error;
};

static void step_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_step *own = data;
    (void)index;
    if (error) {
        own->error = *error;
        return;
    }
    const char *tag = pg_rows_command(rows), *count = tag ? strrchr(tag, ' ') : NULL;
    own->reached = pg_rows_count(rows) > 0 ? pg_rows_integer(rows, 0, 0)
                   : count                 ? strtoll(count, NULL, 10)
                                           : 0;
}

static void refresh(struct pg_jobs *jobs)
{
    for (int part = 0; part < QUEUE_PARTS && !jobs->base.closed; part++) {
        jobs->parts[part].cost = 0; /* asked at once, however long it took */
        if (jobs->base.feeds[part].wanted > 0)
            feed_refresh(&jobs->base.feeds[part]);
    }
}

static void explain_denial(struct pg_step *own)
{
    const char *rights = own->jobs->layout->act_rights, *schema = own->jobs->schemas[0];
    if (own->error.kind != ERROR_DENIED)
        return;
    char *needs =
        rights ? pg_jobs_sql(NULL, schema, rights)
               : talloc_asprintf(NULL, "SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"%s\"", schema);
    snprintf(own->error.todo, sizeof own->error.todo,
             "As the owner of the tables: GRANT USAGE ON SCHEMA \"%s\" TO \"%s\"; GRANT %s TO \"%s\";",
             schema, own->change->role, needs, own->change->role);
    talloc_free(needs);
}

static void step_done(void *data, const struct error *error)
{
    struct pg_step *own = data;
    enum step_outcome outcome = STEP_DONE;
    if (error) {
        own->error = *error;
        outcome = error->kind == ERROR_LOST || error->kind == ERROR_TIMEOUT ? STEP_UNKNOWN : STEP_FAILED;
        if (outcome == STEP_UNKNOWN)
            snprintf(own->error.what, sizeof own->error.what,
                     "it is not known whether the jobs were reached");
    } else if (own->error.kind) {
        explain_denial(own);
        outcome = STEP_FAILED;
    } else if (own->reached <= 0) {
        outcome = STEP_GONE;
        error_set(&own->error, ERROR_GONE, own->change->server, own->change->title, NULL,
                  own->expected == 1 ? "it is no longer in that state" : "none of them is in that state now");
    } else if (own->expected > 1) {
        own->step->output =
            talloc_asprintf(own->change, "%lld of %lld%s", (long long)own->reached, (long long)own->expected,
                            own->reached < own->expected ? ": the others had moved on" : "");
    }
    if (!error)
        refresh(own->jobs);
    change_step_done(own->change, own->step, outcome, own->error.kind ? &own->error : NULL);
}

static void send_step(struct change *change, struct change_step *step)
{
    struct pg_step *own = step->data;
    struct pg_connection *act =
        own->jobs->base.closed ? NULL : pg_server_act_in(own->jobs->base.at.postgres, own->jobs->login);
    own->change = change;
    own->step = step;
    if (!act) {
        error_set(&own->error, ERROR_INTERLOCK, change->server, change->title,
                  "Unlock the environment first.", "no connection as `act` is open");
        change_step_done(change, step, STEP_FAILED, &own->error);
        return;
    }
    if (pg_connection_state(act) == CONNECTION_DOWN)
        pg_connection_open(act);
    struct pg_statement statement = {.sql = own->sql};
    pg_connection_send(act, &statement, 1, SEND_DEADLINE_S, (struct pg_handler){step_rows, step_done, own});
}

void pg_jobs_step(struct change *change, struct change_step *step, struct pg_jobs *jobs, const char *sql,
                  int64_t expected)
{
    struct pg_step *own = talloc_zero(change, struct pg_step);
    if (!own)
        abort();
    *own = (struct pg_step){.jobs = jobs, .sql = sql, .expected = expected};
    step->command = sql;
    step->send = send_step;
    step->data = own;
}

/* ---- making the change ---- */

struct change *pg_jobs_change_new(struct pg_jobs *jobs, struct error *error)
{
    struct pg_server *server = jobs->base.at.postgres;
    if (!pg_server_definition(server)->act) {
        error_set(error, ERROR_INTERLOCK, jobs->base.place, "cannot change jobs",
                  "Add `act` with the DSN of a role that may update the job tables to the environment file.",
                  "this server has no login named act");
        return NULL;
    }
    struct change *change = change_new();
    struct pg_connection *act = pg_server_act(server);
    const char *role = act ? pg_connection_role(act) : NULL;
    change->role =
        role ? talloc_strdup(change, role) : pg_dsn_role(change, pg_server_definition(server)->act);
    if (!change->role)
        change->role = "act";
    change->environment = talloc_strdup(change, jobs->base.environment->name);
    change->server = talloc_strdup(change, pg_server_name(server));
    change->batch = 1;
    return change;
}

static int compare_targets(const void *a, const void *b)
{
    const struct pg_target *left = a, *right = b;
    int order = strcmp(left->queue, right->queue);
    return order ? order : strcmp(left->id, right->id);
}

static char *replaced(char *text, const char *word, const char *with)
{
    const void *context = talloc_parent(text);
    char *result = talloc_strdup(context, "");
    for (const char *at = text, *found; *at; at = found + strlen(word)) {
        found = strstr(at, word);
        if (!found)
            return talloc_strdup_append_buffer(result, at);
        result = talloc_strndup_append_buffer(result, at, (size_t)(found - at));
        result = talloc_strdup_append_buffer(result, with);
    }
    return result;
}

/* '{a,b}': ids of rows, which hold nothing that an array or a literal would take for its own (checked). */
static char *id_array(const void *context, const struct pg_target *targets, size_t count)
{
    char *text = talloc_strdup(context, "'{");
    for (size_t i = 0; i < count; i++)
        text = talloc_asprintf_append_buffer(text, "%s%s", i ? "," : "", targets[i].id);
    return talloc_strdup_append_buffer(text, "}'");
}

static char *act_sql(struct change *change, const struct pg_jobs *jobs, const char *template,
                     const struct pg_target *targets, size_t count)
{
    char *text = pg_jobs_sql(change, jobs->schemas[0], template);
    text = replaced(text, "$IDS", id_array(change, targets, count));
    return replaced(text, "$NAME", pg_literal(change, targets->queue));
}

static bool is_plain(const char *id)
{
    return *id && strspn(id, "0123456789abcdefABCDEF-") == strlen(id);
}

static void fill_steps(struct change *change, struct pg_jobs *jobs, const struct pg_act *act,
                       const struct pg_target *targets, size_t count)
{
    change->steps = talloc_zero_array(change, struct change_step, count);
    if (!change->steps)
        abort();
    for (size_t at = 0, n; at < count; at += n) {
        const struct pg_target *first = &targets[at];
        for (n = 1; n < STEP_JOBS && at + n < count && strcmp(first->queue, targets[at + n].queue) == 0;)
            n++;
        struct change_step *step = &change->steps[change->step_count++];
        if (n == 1)
            step->target = talloc_asprintf(change, "%s@%s", first->id, first->queue);
        else
            step->target = talloc_asprintf(change, "%zu jobs from %s@%s", n, first->id, first->queue);
        step->name = n == 1 ? talloc_strdup(change, first->id)
                            : talloc_asprintf(change, "%zu jobs of %s", n, first->queue);
        step->subject = talloc_asprintf(change, "%s · %zu %s", first->queue, n, n == 1 ? "job" : "jobs");
        step->undo = act->undo ? act_sql(change, jobs, act->undo, first, n) : NULL;
        pg_jobs_step(change, step, jobs, act_sql(change, jobs, act->sql, first, n), (int64_t)n);
    }
}

struct change *pg_jobs_change(struct pg_jobs *jobs, const struct pg_act *act, struct pg_target *targets,
                              size_t count, int64_t left_out, struct error *error)
{
    char number[32];
    size_t good = 0;
    for (size_t i = 0; i < count; i++)
        if (is_plain(targets[i].id))
            targets[good++] = targets[i];
    struct change *change = good ? pg_jobs_change_new(jobs, error) : NULL;
    if (!good)
        error_set(error, ERROR_GONE, jobs->base.place, "nothing to do", NULL,
                  "no job of those is %s, or nothing matches", job_state_name(act->state));
    if (!change)
        return NULL;
    qsort(targets, good, sizeof *targets, compare_targets);
    fill_steps(change, jobs, act, targets, good);
    change->hazard = act->destroys ? HAZARD_DESTROY : HAZARD_CHANGE;
    change->verb = queue_act_name(act->act);
    change->past = act->past;
    change->reach = good == 1 ? REACH_ONE : REACH_MANY;
    format_count(number, sizeof number, (double)good);
    if (good == 1) {
        size_t length = strlen(targets->id);
        change->title = talloc_asprintf(change, "%s job %s of %s on %s",
                                        act->act == ACT_RETRY     ? "Retry"
                                        : act->act == ACT_RUN_NOW ? "Run now"
                                                                  : "Discard",
                                        targets->id, targets->queue, change->server);
        change->confirm = talloc_strdup(change, targets->id + (length > 2 ? length - 2 : 0));
        change->confirm_prompt = "the last two characters of the job's id";
    } else {
        change->title =
            talloc_asprintf(change, "%s %s %s jobs of %s on %s",
                            act->act == ACT_RETRY     ? "Retry"
                            : act->act == ACT_RUN_NOW ? "Run now"
                                                      : "Discard",
                            number, job_state_name(act->state), jobs->layout->name, change->server);
        change->confirm = talloc_asprintf(change, "%zu", good);
        change->confirm_prompt = "the number of jobs";
    }
    change->effect = act->effect;
    if (left_out > 0)
        change->left_out =
            talloc_asprintf(change, "%lld jobs are in another state: left out", (long long)left_out);
    return change;
}

/* ---- preparing ---- */

struct pg_prepare {
    struct queue_prepare prepare;
    struct pg_jobs *jobs;
    struct queue_prepare_handler handler;
    struct queue_act_request request; /* only what is used: texts are copied */
    const struct pg_act *act;
    struct queue_read *read;
    struct pg_target *targets;
    size_t count;
    int64_t left_out;
    struct change *change;
    struct error error;
    ev_timer later;
};

static int prepare_free(struct pg_prepare *self)
{
    ev_timer_stop(loop_ev(self->jobs->base.loop), &self->later);
    if (self->read)
        pg_jobs_forsake(self->read);
    talloc_free(self->change);
    return 0;
}

static void finish(struct pg_prepare *self)
{
    struct change *change = self->change;
    self->change = NULL;
    if (self->jobs->base.closed && change)
        TALLOC_FREE(change);
    self->handler.done(self->handler.data, change, change ? NULL : &self->error);
    talloc_free(self);
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    finish(timer->data);
}

static void add_target(struct pg_prepare *self, const char *id, const char *queue)
{
    if ((self->count & (self->count - 1)) == 0) {
        self->targets =
            talloc_realloc(self, self->targets, struct pg_target, self->count ? self->count * 2 : 1);
        if (!self->targets)
            abort();
    }
    self->targets[self->count++] = (struct pg_target){.id = talloc_strdup(self->targets, id),
                                                      .queue = talloc_strdup(self->targets, queue)};
}

static void found_jobs(void *data, const struct job *jobs, size_t count)
{
    struct pg_prepare *self = data;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].id && jobs[i].queue && self->count < TARGETS_MOST)
            add_target(self, jobs[i].id, jobs[i].queue);
}

static void read_progress(void *data, const struct queue_read_progress *progress)
{
    struct pg_prepare *self = data;
    if (self->handler.progress)
        self->handler.progress(self->handler.data, progress);
}

static void read_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct pg_prepare *self = data;
    (void)progress;
    talloc_steal(NULL, self->read); /* it frees itself */
    self->read = NULL;
    if (error)
        self->error = *error;
    else
        self->change = pg_jobs_change(self->jobs, self->act, self->targets, self->count, 0, &self->error);
    finish(self);
}

static const struct pg_act *find_act(const struct pg_layout *layout, const struct queue_act_request *request,
                                     enum job_state state)
{
    for (size_t i = 0; i < layout->act_count; i++)
        if (layout->acts[i].act == request->act && layout->acts[i].state == state)
            return &layout->acts[i];
    return NULL;
}

/* Named jobs: those of the first one's kind. */
static void take_named(struct pg_prepare *self, const struct queue_act_request *request)
{
    for (size_t i = 0; i < request->job_count && !self->act; i++)
        self->act = find_act(self->jobs->layout, request, request->jobs[i].state);
    for (size_t i = 0; i < request->job_count && self->act; i++) {
        const struct job *job = &request->jobs[i];
        if (job->state == self->act->state && job->id && job->queue)
            add_target(self, job->id, job->queue);
        else
            self->left_out++;
    }
    if (self->act)
        self->change =
            pg_jobs_change(self->jobs, self->act, self->targets, self->count, self->left_out, &self->error);
    else
        error_set(&self->error, ERROR_INTERLOCK, self->jobs->base.place, "nothing to do", NULL,
                  "jobs in this state cannot be changed so");
}

static void read_matching(struct pg_prepare *self, const struct queue_act_request *request)
{
    const struct pg_layout *layout = self->jobs->layout;
    for (size_t i = 0; i < layout->act_count && !self->act; i++)
        if (layout->acts[i].act == request->act &&
            (!request->states || request->states & (1u << layout->acts[i].state)))
            self->act = &layout->acts[i];
    if (!self->act) {
        error_set(&self->error, ERROR_INTERLOCK, self->jobs->base.place, "nothing to do", NULL,
                  "jobs in this state cannot be changed so");
        ev_timer_start(loop_ev(self->jobs->base.loop), &self->later);
        return;
    }
    const char *text = request->filter ? job_filter_text(request->filter) : "";
    struct queue_read_request read = {
        .queue = self->request.queue,
        .states = 1u << self->act->state,
        .limit = TARGETS_MOST,
        .filter = *text ? job_filter_parse(self, text, &self->error) : NULL,
    };
    self->read =
        pg_jobs_read(&self->jobs->base, &read,
                     (struct queue_read_handler){
                         .jobs = found_jobs, .progress = read_progress, .done = read_done, .data = self});
    talloc_steal(self, self->read);
}

struct queue_prepare *pg_jobs_prepare(struct queue_system *system, const struct queue_act_request *request,
                                      struct queue_prepare_handler handler)
{
    struct pg_jobs *jobs = (struct pg_jobs *)system;
    struct pg_prepare *self = talloc_zero(system, struct pg_prepare);
    const char *absent = pg_jobs_act_absent(system, request->act);
    if (!self)
        abort();
    self->prepare.system = system;
    self->jobs = jobs;
    self->handler = handler;
    self->request.act = request->act;
    self->request.queue = request->queue ? talloc_strdup(self, request->queue) : NULL;
    ev_timer_init(&self->later, on_later, 0, 0);
    self->later.data = self;
    talloc_set_destructor(self, prepare_free);
    bool by_entry = request->act == ACT_SCHEDULE_RUN || request->act == ACT_SCHEDULE_ENABLE ||
                    request->act == ACT_SCHEDULE_DISABLE;
    if (absent) {
        error_set(&self->error, ERROR_UNSUPPORTED, system->place, "that cannot be done here", NULL, "%s",
                  absent);
    } else if (by_entry && jobs->layout->prepare) {
        self->change = jobs->layout->prepare(system, request, &self->error);
    } else if (request->job_count) {
        take_named(self, request);
    } else {
        read_matching(self, request);
        return &self->prepare;
    }
    ev_timer_start(loop_ev(system->loop), &self->later);
    return &self->prepare;
}

void pg_jobs_forsake_prepare(struct queue_prepare *prepare)
{
    talloc_free(prepare);
}
