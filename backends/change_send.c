/* Sending a change: recorded before, its steps handed over at once or a batch at a time, each recorded after
 * as soon as it is over, then told. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "backends/change.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

enum phase { PHASE_BEFORE, PHASE_SENDING, PHASE_AFTER };

/* Talloc child of the change. */
struct change_run {
    struct change *change;
    struct loop *loop;
    struct access *access;
    struct audit *audit;
    void (*done)(void *data, struct change *change, const char *report, const struct error *error);
    void *data;
    char id[20];
    enum phase phase;
    size_t waiting; /* records that have not been answered */
    size_t flying;  /* steps that have not been answered */
    bool stopped;   /* nothing more is sent */
    size_t refused_records;
    bool *recorded;     /* by step: its "before" is on record */
    bool handing;       /* the steps are being handed over */
    char *printed;      /* records that are nowhere else */
    double sent;        /* monotonic */
    struct error error; /* the first thing that went wrong */
    ev_timer later;
};

struct note {
    struct change_run *run;
    size_t step;
};

static void finish(struct change_run *run);

static void keep_error(struct change_run *run, const struct error *error)
{
    if (run->error.kind == ERROR_NONE && error)
        run->error = *error;
}

static const char *outcome_name(enum step_outcome outcome)
{
    switch (outcome) {
    case STEP_DONE:
        return "done";
    case STEP_GONE:
        return "gone";
    case STEP_FAILED:
        return "failed";
    case STEP_UNKNOWN:
        return "unknown";
    case STEP_SKIPPED:
        return "skipped";
    default:
        return "refused"; /* never sent */
    }
}

/* One record a step: every target and every statement has its own line. */
static void
write_record(struct change_run *run, const char *event, size_t step, const char *outcome, const char *detail,
             void (*done)(void *data, enum audit_place place, const char *record, const struct error *error))
{
    const struct change *change = run->change;
    const struct change_step *at = &change->steps[step];
    struct note *note = talloc(run, struct note);
    if (!note)
        abort();
    *note = (struct note){run, step};
    char *target =
        talloc_asprintf(note, "%s%s%s", at->target, at->subject ? " · " : "", at->subject ? at->subject : "");
    audit_write(run->audit,
                &(struct audit_entry){.event = event,
                                      .change = run->id,
                                      .server = at->server ? at->server : change->server,
                                      .hazard = hazard_name(change->hazard),
                                      .verb = change->verb,
                                      .target = target,
                                      .command = at->command,
                                      .role = at->role ? at->role : change->role,
                                      .reason = change->reason,
                                      .outcome = outcome,
                                      .detail = detail},
                done, note);
}

static void keep_record(struct change_run *run, const char *record)
{
    char *safe = safe_text_new(NULL, record);
    run->printed =
        run->printed ? talloc_asprintf_append_buffer(run->printed, "\n%s", safe) : talloc_strdup(run, safe);
    talloc_free(safe);
    if (!run->printed)
        abort();
}

static void record_answered(struct change_run *run)
{
    if (--run->waiting == 0 && run->phase == PHASE_AFTER)
        finish(run);
}

static void after_recorded(void *data, enum audit_place place, const char *record, const struct error *error)
{
    struct note *note = data;
    struct change_run *run = note->run;
    if (place == AUDIT_NOWHERE) {
        run->refused_records++;
        keep_record(run, record);
        keep_error(run, error);
    }
    talloc_free(note);
    record_answered(run);
}

/* What became of a step, when its beginning is on record. */
static void record_after(struct change_run *run, size_t at)
{
    const struct change_step *step = &run->change->steps[at];
    char detail[1400] = "";
    const struct error *why = step->error.kind != ERROR_NONE ? &step->error : &run->error;
    if (!run->recorded[at] && step->outcome == STEP_WAITING)
        return;
    if (step->outcome != STEP_DONE && why->kind != ERROR_NONE)
        error_format(why, detail, sizeof detail);
    run->waiting++;
    write_record(run, "after", at, outcome_name(step->outcome), *detail ? detail : NULL, after_recorded);
}

static const char *past_tense(const struct change *change)
{
    if (change->past)
        return change->past;
    if (!strcmp(change->verb, "cancel"))
        return "cancelled";
    return !strcmp(change->verb, "terminate") ? "ended" : "done:";
}

static void count_outcomes(const struct change *change, size_t counts[STEP_OUTCOMES])
{
    memset(counts, 0, STEP_OUTCOMES * sizeof *counts);
    for (size_t i = 0; i < change->step_count; i++)
        counts[change->steps[i].outcome]++;
}

/* "ended 3 of 5, 1 was gone, 1 failed, 2 were not sent". */
static char *count_report(const struct change *change, const size_t counts[STEP_OUTCOMES])
{
    char *report =
        talloc_asprintf(NULL, "%s %zu of %zu", change->verb ? past_tense(change) : "done:", counts[STEP_DONE],
                        change->step_count);
    if (counts[STEP_GONE])
        report = talloc_asprintf_append_buffer(report, ", %zu %s gone", counts[STEP_GONE],
                                               counts[STEP_GONE] == 1 ? "was" : "were");
    if (counts[STEP_FAILED])
        report = talloc_asprintf_append_buffer(report, ", %zu failed", counts[STEP_FAILED]);
    if (counts[STEP_UNKNOWN])
        report =
            talloc_asprintf_append_buffer(report, ", the outcome of %zu is unknown", counts[STEP_UNKNOWN]);
    if (counts[STEP_SKIPPED])
        report = talloc_asprintf_append_buffer(report, ", %zu %s not sent", counts[STEP_SKIPPED],
                                               counts[STEP_SKIPPED] == 1 ? "was" : "were");
    return report;
}

/* "ended 8121 after 0.1 s", "ended 3 of 5, 1 was gone, 1 failed after 0.2 s". */
static char *make_report(const struct change_run *run)
{
    const struct change *change = run->change;
    size_t counts[STEP_OUTCOMES];
    char took[32];
    count_outcomes(change, counts);
    char *report;
    if (run->sent <= 0) {
        report = talloc_asprintf(NULL, "%s: nothing was sent", change->verb ? change->verb : "change");
    } else if (change->step_count == 1 && counts[STEP_DONE]) {
        const struct change_step *step = &change->steps[0];
        report = step->name ? talloc_asprintf(NULL, "%s %s", past_tense(change), step->name)
                            : talloc_asprintf(NULL, "%s %.*s", past_tense(change),
                                              (int)strcspn(step->target, "@"), step->target);
    } else {
        report = count_report(change, counts);
    }
    if (run->sent > 0)
        report = talloc_asprintf_append_buffer(report, " after %s",
                                               format_s(took, sizeof took, clock_monotonic() - run->sent));
    if (run->sent > 0 && run->refused_records)
        report = talloc_asprintf_append_buffer(report, "; the outcome could not be recorded");
    if (run->printed)
        report = talloc_asprintf_append_buffer(report, "\n%s", run->printed);
    if (!report)
        abort();
    return report;
}

static void finish(struct change_run *run)
{
    struct change *change = run->change;
    char *report = make_report(run);
    access_change_ends(run->access);
    change->run = NULL;
    run->done(run->data, change, report, run->error.kind != ERROR_NONE ? &run->error : NULL);
    talloc_free(report);
}

static void keep_step_errors(struct change_run *run)
{
    const struct change *change = run->change;
    for (size_t i = 0; i < change->step_count; i++)
        keep_error(run, change->steps[i].error.kind != ERROR_NONE ? &change->steps[i].error : NULL);
}

/* Nothing was sent: what was recorded gets its end. */
static void refuse_steps(struct change_run *run)
{
    run->refused_records = 0;
    run->waiting = 1;
    run->phase = PHASE_AFTER;
    for (size_t i = 0; i < run->change->step_count; i++)
        record_after(run, i);
    record_answered(run);
}

static bool same_server(const struct change_step *a, const struct change_step *b)
{
    return a->server == b->server || (a->server && b->server && !strcmp(a->server, b->server));
}

/* The next step that may be sent; steps of one server wait for one another. step_count: none now. */
static size_t next_step(const struct change *change)
{
    for (size_t i = 0; i < change->step_count; i++) {
        bool waits = change->steps[i].outcome != STEP_WAITING;
        for (size_t j = 0; change->batch && !waits && j < i; j++)
            waits =
                change->steps[j].outcome == STEP_SENT && same_server(&change->steps[i], &change->steps[j]);
        if (!waits)
            return i;
    }
    return change->step_count;
}

static void skip_rest(struct change_run *run)
{
    struct change *change = run->change;
    for (size_t i = 0; i < change->step_count; i++) {
        struct change_step *step = &change->steps[i];
        if (step->outcome != STEP_WAITING)
            continue;
        step->outcome = STEP_SKIPPED;
        error_set(&step->error, ERROR_CANCELLED, step->server ? step->server : change->server, change->title,
                  NULL, "not sent: what came before it stopped the rest");
        record_after(run, i);
        if (change->step_over)
            change->step_over(change, step, change->step_over_data);
    }
}

/* Sends as many steps as may be in flight. */
static void send_more(struct change_run *run)
{
    struct change *change = run->change;
    if (run->handing)
        return;
    run->handing = true;
    size_t at;
    while (!run->stopped && (!change->batch || run->flying < change->batch) &&
           (at = next_step(change)) < change->step_count) {
        change->steps[at].outcome = STEP_SENT;
        run->flying++;
        change->steps[at].send(change, &change->steps[at]);
    }
    run->handing = false;
    if (run->flying)
        return;
    /* The errors of those that were sent say more than those of the rest. */
    keep_step_errors(run);
    skip_rest(run);
    keep_step_errors(run);
    /* Done frees the change, so nothing of the run may be touched behind this. */
    run->phase = PHASE_AFTER;
    record_answered(run);
}

void change_stop(struct change *change)
{
    if (change->run)
        change->run->stopped = true;
}

bool change_stopped(const struct change *change)
{
    return change->run && change->run->stopped;
}

void change_step_done(struct change *change, struct change_step *step, enum step_outcome outcome,
                      const struct error *error)
{
    struct change_run *run = change->run;
    const char *where = step->server ? step->server : change->server;
    if (!run || run->phase != PHASE_SENDING || step->outcome != STEP_SENT)
        return;
    step->outcome = outcome;
    if (error)
        step->error = *error;
    else if (outcome == STEP_GONE)
        error_set(&step->error, ERROR_GONE, where, change->title, NULL, "%s is no longer what was selected",
                  step->target);
    else if (outcome == STEP_FAILED)
        error_set(&step->error, ERROR_SERVER, where, change->title, NULL, "%s failed", step->target);
    else if (outcome == STEP_UNKNOWN)
        error_set(&step->error, ERROR_LOST, where, change->title, NULL, "the outcome of %s is unknown",
                  step->target);
    if (outcome != STEP_DONE && change->stop_at_failure)
        run->stopped = true;
    record_after(run, (size_t)(step - change->steps));
    if (change->step_over)
        change->step_over(change, step, change->step_over_data);
    run->flying--;
    send_more(run);
}

void change_abandon(struct change *change)
{
    struct error error;
    change_stop(change);
    for (size_t i = 0; i < change->step_count; i++) {
        struct change_step *step = &change->steps[i];
        if (step->outcome != STEP_SENT)
            continue;
        error_set(&error, ERROR_CANCELLED, step->server ? step->server : change->server, change->title,
                  "Look there before it is done again.",
                  "it was given up while it ran: the outcome is unknown");
        change_step_done(change, step, STEP_UNKNOWN, &error);
    }
}

static void send_steps(struct change_run *run)
{
    run->phase = PHASE_SENDING;
    run->sent = clock_monotonic();
    run->refused_records = 0;
    run->waiting = 1; /* until all steps are over */
    send_more(run);
}

static void before_recorded(void *data, enum audit_place place, const char *record, const struct error *error)
{
    struct note *note = data;
    struct change_run *run = note->run;
    struct change *change = run->change;
    struct error record_error = {0};
    run->recorded[note->step] = place != AUDIT_NOWHERE;
    if (place == AUDIT_NOWHERE) {
        run->refused_records++;
        keep_record(run, record);
        error_set(&record_error, ERROR_INTERLOCK, change->environment,
                  "the change cannot be recorded, so nothing was sent",
                  "Make room for the audit log or correct its folder; in an emergency, :breakglass REASON.",
                  "%s: %s", error->what, error->why);
        if (access_state(run->access) != ACCESS_BREAK_GLASS)
            keep_error(run, &record_error);
    }
    talloc_free(note);
    if (--run->waiting > 0)
        return;
    struct error gone = {0};
    if (run->error.kind == ERROR_NONE && change->still_there && !change->still_there(change, &gone))
        keep_error(run, &gone);
    if (run->error.kind != ERROR_NONE)
        refuse_steps(run);
    else
        send_steps(run);
}

/* A refusal is told in a later turn, as everything else. */
static void on_refused(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    finish(timer->data);
}

static int run_destroy(struct change_run *run)
{
    ev_timer_stop(loop_ev(run->loop), &run->later);
    return 0;
}

static void ignore_note(void *data, enum audit_place place, const char *record, const struct error *error)
{
    (void)data, (void)place, (void)record, (void)error;
}

static void refuse(struct change_run *run)
{
    const struct change *change = run->change;
    char detail[1400];
    error_format(&run->error, detail, sizeof detail);
    const struct change_step *first = change->step_count ? &change->steps[0] : NULL;
    audit_write(run->audit,
                &(struct audit_entry){.event = "refused",
                                      .change = run->id,
                                      .server = change->server,
                                      .hazard = hazard_name(change->hazard),
                                      .verb = change->verb,
                                      .target = change->step_count == 1 ? first->target : change->title,
                                      .command = change->step_count == 1 ? first->command : NULL,
                                      .role = change->role,
                                      .reason = change->reason,
                                      .outcome = "refused",
                                      .detail = detail},
                ignore_note, NULL);
    ev_timer_start(loop_ev(run->loop), &run->later);
}

void change_send(struct change *change, struct loop *loop, struct access *access, struct audit *audit,
                 void (*done)(void *data, struct change *change, const char *report,
                              const struct error *error),
                 void *data)
{
    struct change_run *run = talloc_zero(change, struct change_run);
    uint64_t random = 0;
    if (!run || !(run->recorded = talloc_zero_array(run, bool, change->step_count + 1)))
        abort();
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint64_t)(clock_monotonic() * 1e9) ^ (uint64_t)(uintptr_t)run;
    run->change = change;
    run->loop = loop;
    run->access = access;
    run->audit = audit;
    run->done = done;
    run->data = data;
    snprintf(run->id, sizeof run->id, "%016" PRIx64, random);
    ev_timer_init(&run->later, on_refused, 0, 0);
    run->later.data = run;
    talloc_set_destructor(run, run_destroy);
    change->run = run;
    access_change_begins(access);
    bool reasoned = !change->wants_reason || (change->reason && *change->reason);
    if (!reasoned)
        error_set(&run->error, ERROR_INTERLOCK, change->environment, change->title,
                  "Give one: it goes on record.", "what goes against a rule needs a reason");
    if (!reasoned || !change_allowed(change, access, &run->error)) {
        refuse(run);
        return;
    }
    run->waiting = change->step_count;
    for (size_t i = 0; i < change->step_count; i++)
        change->steps[i].outcome = STEP_WAITING;
    for (size_t i = 0; i < change->step_count; i++)
        write_record(run, "before", i, NULL, NULL, before_recorded);
}
