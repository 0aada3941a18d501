/* Preparing acts on jobs: which they are now, what can be done with each, and the change that does it. */
#include "backends/queues/redis_act.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"

enum { JOBS_MOST = 20000, STEPS_SINGLE = 20, JOBS_A_STEP = 200, GROUPS = 40 };

struct redis_prepare {
    struct queue_prepare base;
    const struct redis_acting *acting;
    const struct redis_act *act; /* NULL: not on jobs */
    struct queue_act_request request;
    struct job_filter *filter;
    struct queue_prepare_handler handler;
    struct queue_read *read;
    struct redis_batch *details;
    struct redis_item *items; /* of the jobs that were selected */
    struct redis_shelf *shelves;
    struct job *found;
    size_t found_count, found_room;
    size_t vanished, over; /* were selected and are not there; match beyond what one change takes */
    ev_timer timer;
    bool busy, forsaken;
};

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

static int prepare_destroy(struct redis_prepare *prepare)
{
    ev_timer_stop(loop_ev(prepare->base.system->loop), &prepare->timer);
    return 0;
}

static void end(struct redis_prepare *prepare, struct change *change, const struct error *error)
{
    struct queue_prepare_handler handler = prepare->handler;
    prepare->busy = true;
    handler.done(handler.data, change, change ? NULL : error);
    talloc_free(prepare);
}

/* ---- words about many jobs ---- */

struct group {
    const char *name;
    size_t count;
};

static void count_name(struct group *groups, size_t *count, const char *name)
{
    name = name ? name : "?";
    for (size_t i = 0; i < *count; i++)
        if (strcmp(groups[i].name, name) == 0) {
            groups[i].count++;
            return;
        }
    if (*count < GROUPS)
        groups[(*count)++] = (struct group){name, 1};
}

static int most_first(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->name, y->name);
}

/* "tasks: 7 export_csv, 5 flaky" */
static char *append_groups(char *text, const char *label, struct group *groups, size_t count)
{
    qsort(groups, count, sizeof *groups, most_first);
    text = or_die(talloc_asprintf_append_buffer(text, "\n%s: ", label));
    for (size_t i = 0; i < count && i < 5; i++)
        text = or_die(
            talloc_asprintf_append_buffer(text, "%s%zu %s", i ? ", " : "", groups[i].count, groups[i].name));
    if (count > 5)
        text = or_die(talloc_asprintf_append_buffer(text, ", and %zu others", count - 5));
    return text;
}

static char *describe(const void *context, const struct redis_act *act, const struct job *jobs, size_t count)
{
    struct group tasks[GROUPS] = {{0}}, tenants[GROUPS] = {{0}}, queues[GROUPS] = {{0}};
    size_t task_count = 0, tenant_count = 0, queue_count = 0;
    for (size_t i = 0; i < count; i++) {
        count_name(tasks, &task_count, jobs[i].task);
        count_name(tenants, &tenant_count,
                   jobs[i].tenant         ? jobs[i].tenant
                   : jobs[i].tenant_known ? "without a tenant"
                                          : "of a tenant not known");
        count_name(queues, &queue_count, jobs[i].queue);
    }
    char *text = or_die(talloc_strdup(context, act->effect));
    if (count == 1)
        return text;
    text = append_groups(text, "tasks", tasks, task_count);
    text = append_groups(text, "tenants", tenants, tenant_count);
    return append_groups(text, "queues", queues, queue_count);
}

static char *job_subject(const void *context, const struct job *job)
{
    char *text = or_die(talloc_asprintf(context, "%s · %s · %s", job->task ? job->task : "task unknown",
                                        job->queue ? job->queue : "?", job_state_name(job->state)));
    if (job->tenant)
        text = or_die(talloc_asprintf_append_buffer(text, " · %s", job->tenant));
    if (job->exception)
        text = or_die(talloc_asprintf_append_buffer(text, " · %s", job->exception));
    if (job->message)
        text = or_die(talloc_asprintf_append_buffer(text, " · %.120s", job->message));
    return text;
}

/* ---- the change ---- */

struct refusals {
    size_t count;
    const char *why;
};

static char *left_out(const void *context, const struct redis_prepare *prepare,
                      const struct refusals *refusals)
{
    char *text = or_die(talloc_strdup(context, ""));
    if (prepare->vanished)
        text = or_die(talloc_asprintf_append_buffer(text, "%zu selected ones are not there any more\n",
                                                    prepare->vanished));
    if (refusals->count)
        text = or_die(talloc_asprintf_append_buffer(text, "%zu: %s\n", refusals->count, refusals->why));
    if (prepare->over)
        text = or_die(talloc_asprintf_append_buffer(
            text, "more than %d match: do the rest in another change\n", JOBS_MOST));
    size_t length = strlen(text);
    if (length)
        text[length - 1] = '\0';
    return length ? text : NULL;
}

static void set_confirm(struct change *change, const struct redis_act *act, const struct job *jobs,
                        size_t count)
{
    char verb[40];
    snprintf(verb, sizeof verb, "%s", act->verb);
    verb[0] = (char)(verb[0] >= 'a' && verb[0] <= 'z' ? verb[0] - 32 : verb[0]);
    if (count == 1) {
        const char *id = jobs[0].id ? jobs[0].id : "??";
        size_t length = strlen(id);
        change->reach = REACH_ONE;
        change->title = or_die(talloc_asprintf(change, "%s job %s", verb, id));
        change->confirm = or_die(talloc_strdup(change, length > 2 ? id + length - 2 : id));
        change->confirm_prompt = "the last two characters of the job's id";
    } else {
        change->reach = REACH_MANY;
        change->title = or_die(talloc_asprintf(change, "%s %zu jobs", verb, count));
        change->confirm = or_die(talloc_asprintf(change, "%zu", count));
        change->confirm_prompt = "the number of jobs";
    }
}

static struct redis_batch *add_step(struct change *change, struct queue_system *system,
                                    const struct redis_act *act, const struct job *jobs, size_t first,
                                    size_t here, size_t count)
{
    const struct job *job = &jobs[first];
    void *scratch = or_die(talloc_new(NULL));
    char *name, *target, *subject;
    const char *id = job->id ? job->id : "?";
    if (here == 1) {
        name = or_die(talloc_asprintf(scratch, "job %s", id));
        target = or_die(talloc_strdup(scratch, id));
        subject = job_subject(scratch, job);
    } else {
        const char *last = jobs[first + here - 1].id;
        name = or_die(talloc_asprintf(scratch, "jobs %zu-%zu of %zu", first + 1, first + here, count));
        target = or_die(talloc_asprintf(scratch, "jobs %zu-%zu of %zu: %s to %s", first + 1, first + here,
                                        count, id, last ? last : "?"));
        subject = NULL;
    }
    struct redis_batch *batch = redis_change_step(change, system, name, target, subject, act->undo);
    talloc_free(scratch);
    return batch;
}

/* Jobs for which there is an EVAL move to the front of found; the EVALs go to `evals` in that order. */
static size_t make_evals(struct redis_prepare *prepare, struct redis_batch *evals, struct refusals *refusals)
{
    size_t able = 0;
    for (size_t i = 0; i < prepare->found_count; i++) {
        const char *why = NULL;
        struct job job = prepare->found[i];
        if (prepare->act->add(prepare->base.system, &prepare->request, &job, evals, &why)) {
            prepare->found[i] = prepare->found[able];
            prepare->found[able++] = job;
        } else {
            refusals->count++;
            refusals->why = refusals->why ? refusals->why : why;
        }
    }
    return able;
}

static void build(struct redis_prepare *prepare)
{
    struct queue_system *system = prepare->base.system;
    const struct redis_act *act = prepare->act;
    struct refusals refusals = {0};
    struct redis_batch *evals = redis_batch_new(prepare);
    size_t count = make_evals(prepare, evals, &refusals);
    if (!count) {
        struct error error = {0};
        error_set(&error, refusals.count ? ERROR_INTERLOCK : ERROR_GONE, system->name, act->verb, NULL, "%s",
                  refusals.count ? refusals.why
                  : prepare->vanished
                      ? "what was selected is not there any more: it ran, moved or was removed"
                      : "no job matches");
        end(prepare, NULL, &error);
        return;
    }
    size_t each = count <= STEPS_SINGLE ? 1 : JOBS_A_STEP;
    struct change *change =
        redis_change_new(system, act->verb, act->past, act->hazard, (count + each - 1) / each);
    set_confirm(change, act, prepare->found, count);
    change->effect = describe(change, act, prepare->found, count);
    change->milder = act->milder;
    change->left_out = left_out(change, prepare, &refusals);
    for (size_t i = 0; i < count; i += each) {
        size_t here = count - i < each ? count - i : each;
        struct redis_batch *batch = add_step(change, system, act, prepare->found, i, here, count);
        for (size_t j = i; j < i + here; j++)
            redis_batch_copy(batch, evals, j);
    }
    redis_change_ready(change);
    end(prepare, change, NULL);
}

/* ---- finding the jobs ---- */

static struct job *add_found(struct redis_prepare *prepare)
{
    if (prepare->found_count == prepare->found_room) {
        prepare->found_room = prepare->found_room ? prepare->found_room * 2 : 64;
        prepare->found = or_die(talloc_realloc(prepare, prepare->found, struct job, prepare->found_room));
    }
    return &prepare->found[prepare->found_count++];
}

static bool same_job(const struct job *a, const struct job *b)
{
    if (!a->id || !b->id || strcmp(a->id, b->id) != 0)
        return false;
    return !a->raw || !b->raw || (a->raw_length == b->raw_length && !memcmp(a->raw, b->raw, a->raw_length));
}

/* Is it one of those that were selected? Without a list all are. */
static bool is_meant(const struct redis_prepare *prepare, const struct job *job)
{
    for (size_t i = 0; i < prepare->request.job_count; i++)
        if (same_job(&prepare->request.jobs[i], job))
            return true;
    return prepare->request.job_count == 0;
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct redis_prepare *prepare = data;
    const char *tenant = prepare->request.tenant, *task = prepare->request.task;
    for (size_t i = 0; i < count; i++) {
        if (tenant && (!jobs[i].tenant || strcmp(jobs[i].tenant, tenant) != 0))
            continue;
        if (task && (!jobs[i].task || strcmp(jobs[i].task, task) != 0))
            continue;
        if (!is_meant(prepare, &jobs[i]))
            continue;
        if (prepare->found_count >= JOBS_MOST)
            prepare->over++;
        else
            job_copy_into(prepare, add_found(prepare), &jobs[i]);
    }
    if (prepare->over)
        redis_read_stop(prepare->read);
}

static void on_progress(void *data, const struct queue_read_progress *progress)
{
    struct redis_prepare *prepare = data;
    if (prepare->handler.progress)
        prepare->handler.progress(prepare->handler.data, progress);
}

static void on_read(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct redis_prepare *prepare = data;
    (void)progress;
    prepare->read = NULL;
    if (prepare->request.job_count > prepare->found_count)
        prepare->vanished = prepare->request.job_count - prepare->found_count;
    if (error)
        end(prepare, NULL, error);
    else
        build(prepare);
}

/* Without a word on states, all in which the act is possible. What a worker holds is unacked or running,
 * depending on what the system knows of it. */
static unsigned states_meant(const struct redis_prepare *prepare)
{
    unsigned asked = prepare->request.states, held = 1u << JOB_UNACKED | 1u << JOB_RUNNING;
    if (prepare->act->act == ACT_REQUEUE && asked & held)
        asked |= held;
    return asked ? asked & prepare->act->states : prepare->act->states;
}

static void scan(struct redis_prepare *prepare)
{
    struct queue_read_request request = {.queue = prepare->request.queue,
                                         .states = prepare->request.states,
                                         .filter = prepare->filter,
                                         .keep_raw = true};
    unsigned states = 0;
    for (size_t i = 0; i < prepare->request.job_count; i++) {
        const char *queue = prepare->request.jobs[i].queue;
        states |= 1u << prepare->request.jobs[i].state;
        if (!i)
            request.queue = queue;
        else if (!queue || !request.queue || strcmp(queue, request.queue) != 0)
            request.queue = NULL;
    }
    request.states = states ? states : states_meant(prepare);
    if (states)
        request.filter = NULL;
    prepare->read =
        redis_read_start(prepare->base.system, prepare->acting->reading, &request,
                         (struct queue_read_handler){
                             .jobs = on_jobs, .progress = on_progress, .done = on_read, .data = prepare});
}

/* The jobs that were selected, as they are now. */
static void on_details(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_prepare *prepare = data;
    struct queue_system *system = prepare->base.system;
    if (error || redis_batch_refusal(batch)) {
        end(prepare, NULL, error ? error : redis_batch_refusal(batch));
        return;
    }
    for (size_t i = 0; i < prepare->request.job_count; i++) {
        const struct job *selected = &prepare->request.jobs[i];
        struct redis_item *item = &prepare->items[i];
        const char *body = NULL;
        size_t body_length = 0;
        struct job job;
        redis_item_take(item, batch);
        redis_job_clear(&job);
        job.state = selected->state;
        job.queue = selected->queue;
        job.key = selected->key;
        job.key_length = selected->key_length;
        job.raw = item->bytes;
        job.raw_length = item->length;
        bool there = system->adapter &&
                     prepare->acting->reading->fill(system, prepare, item, &job, &body, &body_length);
        /* It ran again since it was looked at. */
        if (there && selected->finished_at > 0 && job.finished_at != selected->finished_at)
            there = false;
        if (there)
            job_copy_into(prepare, add_found(prepare), &job);
        else
            prepare->vanished++;
    }
    build(prepare);
}

static void look_again(struct redis_prepare *prepare)
{
    size_t count = prepare->request.job_count;
    prepare->details = redis_batch_new(prepare);
    prepare->items = or_die(talloc_zero_array(prepare, struct redis_item, count));
    prepare->shelves = or_die(talloc_zero_array(prepare, struct redis_shelf, count));
    for (size_t i = 0; i < count; i++) {
        const struct job *job = &prepare->request.jobs[i];
        const char *bytes = job->raw ? job->raw : job->tag ? job->tag : job->id ? job->id : "";
        prepare->shelves[i] = (struct redis_shelf){.kind = SHELF_LIST,
                                                   .key = job->key ? job->key : "",
                                                   .queue = job->queue,
                                                   .state = job->state,
                                                   .count = -1};
        prepare->items[i] = (struct redis_item){.shelf = &prepare->shelves[i],
                                                .bytes = bytes,
                                                .length = job->raw ? job->raw_length : strlen(bytes),
                                                .index = job->index};
        redis_item_ask(prepare->base.system, prepare->acting->reading, prepare->details, &prepare->items[i]);
    }
    redis_batch_ask(prepare->details, prepare->base.system->at.redis, prepare->base.system->at.database,
                    on_details, prepare);
}

/* Whole messages need nothing else: the script compares their bytes. */
static void take_selected(struct redis_prepare *prepare)
{
    for (size_t i = 0; i < prepare->request.job_count; i++)
        *add_found(prepare) = prepare->request.jobs[i];
    build(prepare);
}

static bool all_raw(const struct redis_prepare *prepare)
{
    for (size_t i = 0; i < prepare->request.job_count; i++)
        if (!prepare->request.jobs[i].raw || !prepare->request.jobs[i].key)
            return false;
    return true;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct redis_prepare *prepare = timer->data;
    struct queue_system *system = prepare->base.system;
    struct error error = {0};
    (void)loop, (void)events;
    const char *absent = system->adapter->act_absent(system, prepare->request.act);
    if (absent) {
        error_set(&error, ERROR_UNSUPPORTED, system->name, queue_act_name(prepare->request.act), NULL, "%s",
                  absent);
        end(prepare, NULL, &error);
    } else if (!prepare->act) {
        end(prepare, prepare->acting->other(system, &prepare->request, &error), &error);
    } else if (prepare->request.job_count && prepare->acting->reading->ask_detail) {
        look_again(prepare);
    } else if (prepare->request.job_count && all_raw(prepare)) {
        take_selected(prepare);
    } else if (!prepare->request.job_count && !prepare->filter && !prepare->request.tenant &&
               !prepare->request.task) {
        error_set(&error, ERROR_USAGE, system->name, queue_act_name(prepare->request.act),
                  "Select jobs, or say which by a filter.", "it is not said which jobs are meant");
        end(prepare, NULL, &error);
    } else if (!prepare->request.job_count && !states_meant(prepare)) {
        build(prepare); /* nothing: there are no such jobs here */
    } else {
        scan(prepare);
    }
}

/* ---- beginning ---- */

static const char *copy_text(const void *context, const char *text)
{
    return text ? or_die(talloc_strdup(context, text)) : NULL;
}

static void copy_request(struct redis_prepare *prepare, const struct queue_act_request *request)
{
    struct queue_act_request *own = &prepare->request;
    *own = *request;
    own->queue = copy_text(prepare, request->queue);
    own->tenant = copy_text(prepare, request->tenant);
    own->task = copy_text(prepare, request->task);
    own->entry = copy_text(prepare, request->entry);
    own->argument = copy_text(prepare, request->argument);
    struct job *jobs = or_die(talloc_array(prepare, struct job, request->job_count + 1));
    for (size_t i = 0; i < request->job_count; i++)
        job_copy_into(jobs, &jobs[i], &request->jobs[i]);
    own->jobs = jobs;
    const char **workers = or_die(talloc_array(prepare, const char *, request->worker_count + 1));
    for (size_t i = 0; i < request->worker_count; i++)
        workers[i] = copy_text(prepare, request->workers[i]);
    own->workers = workers;
    if (request->filter)
        prepare->filter = job_filter_parse(prepare, job_filter_text(request->filter), NULL);
    own->filter = prepare->filter;
}

struct queue_prepare *redis_act_prepare(struct queue_system *system, const struct redis_acting *acting,
                                        const struct queue_act_request *request,
                                        struct queue_prepare_handler handler)
{
    struct redis_prepare *prepare = or_die(talloc_zero(NULL, struct redis_prepare));
    prepare->base.system = system;
    prepare->acting = acting;
    prepare->handler = handler;
    copy_request(prepare, request);
    for (size_t i = 0; i < acting->act_count; i++)
        if (acting->acts[i].act == request->act)
            prepare->act = &acting->acts[i];
    ev_timer_init(&prepare->timer, on_timer, 0, 0);
    prepare->timer.data = prepare;
    talloc_set_destructor(prepare, prepare_destroy);
    ev_timer_start(loop_ev(system->loop), &prepare->timer);
    return &prepare->base;
}

void redis_act_forsake(struct queue_prepare *base)
{
    struct redis_prepare *prepare = (struct redis_prepare *)base;
    prepare->handler.progress = NULL;
    if (prepare->busy)
        return;
    if (prepare->read)
        redis_read_forsake(prepare->read);
    talloc_free(prepare);
}
