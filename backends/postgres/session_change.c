/* Cancelling and ending sessions: which ones, the statements, sending them, and what became of it. */
#include "backends/postgres/session_change.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/session_effect.h"
#include "core/clock.h"
#include "core/units.h"

#define SEND_DEADLINE_S 5
#define WATCH_S 60

/* One session's step while it is being sent. */
struct session_step {
    struct session_change *owner;
    struct change *change;
    struct change_step *step;
    int pid;
    bool answered, signalled, hidden;
    struct error error;
};

struct session_change {
    struct pg_server *server;
    enum session_verb verb;
    char **targets; /* ids */
    size_t target_count;
    char **behind; /* ids of those that waited for them when the change was made */
    size_t behind_count;
    double sent; /* monotonic; 0: not yet */
    char trail[160];
    size_t last_behind;
};

/* ---- who is behind ---- */

/* Below a marked node in the tree: prepared transactions and unseen blockers have no pid to be found by. */
static bool is_below_marked(const struct locks_snapshot *locks, size_t at, const bool *marked)
{
    const struct lock_node *node = &locks->nodes[at];
    for (size_t i = at; node->depth > 0 && i-- > 0;)
        if (locks->nodes[i].depth == node->depth - 1)
            return marked[i];
    return false;
}

static bool waits_for_marked(const struct locks_snapshot *locks, size_t at, const bool *marked)
{
    const struct session *session = locks->nodes[at].session;
    for (size_t i = 0; session && i < session->blocked_by_count; i++)
        for (size_t j = 0; j < locks->count; j++)
            if (marked[j] && locks->nodes[j].pid && locks->nodes[j].pid == session->blocked_by[i])
                return true;
    return false;
}

/* Marks all nodes behind those that are marked already. */
static void mark_behind(const struct locks_snapshot *locks, bool *marked)
{
    for (bool grown = true; grown;) {
        grown = false;
        for (size_t i = 0; i < locks->count; i++)
            if (!marked[i] && (is_below_marked(locks, i, marked) || waits_for_marked(locks, i, marked)))
                grown = marked[i] = true;
    }
}

static char **behind_all(const void *context, const struct locks_snapshot *locks, const char *const *ids,
                         size_t id_count, size_t *count)
{
    size_t total = locks ? locks->count : 0;
    bool *marked = talloc_zero_array(context, bool, total + 1);
    char **behind = talloc_array(context, char *, total + 1);
    *count = 0;
    if (!marked || !behind)
        abort();
    for (size_t i = 0; locks && i < id_count; i++) {
        const struct lock_node *node = locks_find(locks, ids[i]);
        if (node)
            marked[node - locks->nodes] = true;
    }
    if (locks)
        mark_behind(locks, marked);
    for (size_t i = 0; i < total; i++) {
        bool named = !marked[i];
        for (size_t j = 0; j < id_count && !named; j++)
            named = strcmp(locks->nodes[i].id, ids[j]) == 0;
        if (!named)
            behind[(*count)++] = talloc_strdup(behind, locks->nodes[i].id);
    }
    talloc_free(marked);
    return behind;
}

char **session_behind(const void *context, const struct locks_snapshot *locks, const char *id, size_t *count)
{
    return behind_all(context, locks, &id, 1, count);
}

/* ---- which sessions ---- */

static const struct session *resolve(struct pg_server *server, const char *id)
{
    const struct locks_snapshot *locks = pg_server_locks(server);
    const struct session *session = activity_find(pg_server_activity(server), id);
    return session || !locks ? session : activity_find(locks->activity, id);
}

static bool begins(const char *text, const char *beginning)
{
    return text && strncmp(text, beginning, strlen(beginning)) == 0;
}

/* Why a session is left out when it is not named alone; NULL: it is not. */
static const char *reason_to_leave(const struct session *session)
{
    static const char *const backups[] = {"pgBackRest", "pg_basebackup", "barman", "wal-g", "pg_dump"};
    if (begins(session->backend_type, "walsender"))
        return "walsender";
    for (size_t i = 0; i < sizeof backups / sizeof *backups; i++)
        if (begins(session->application, backups[i]))
            return "backup";
    if (begins(session->backend_type, "autovacuum worker"))
        return session->query && strstr(session->query, "to prevent wraparound") ? "anti-wraparound vacuum"
                                                                                 : NULL;
    if (begins(session->application, "signalbox"))
        return "session of a console";
    if (!begins(session->backend_type, "client backend") && !begins(session->backend_type, "parallel worker"))
        return "background process";
    return NULL;
}

/* The server's own processes: none may be signalled by a role that is no superuser, and none should be. */
static bool own_process(const struct session *session)
{
    static const char *const others[] = {"client backend",
                                         "parallel worker",
                                         "walsender",
                                         "autovacuum worker",
                                         "logical replication worker",
                                         "logical replication apply"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins(session->backend_type, others[i]))
            return false;
    return session->backend_type != NULL;
}

static bool runs_nothing(const struct session *session)
{
    return begins(session->state, "idle");
}

struct choice {
    const struct session **sessions;
    size_t count;
    char *left_out;
};

static void leave_out(struct choice *choice, const void *context, int pid, const char *reason)
{
    choice->left_out = choice->left_out
                           ? talloc_asprintf_append_buffer(choice->left_out, ", %d (%s)", pid, reason)
                           : talloc_asprintf(context, "left out: %d (%s)", pid, reason);
}

static bool choose_one(struct choice *choice, struct pg_server *server, enum session_verb verb,
                       const char *id, struct error *error)
{
    const char *where = pg_server_name(server);
    const char *what = verb == SESSION_CANCEL ? "cannot cancel" : "cannot end the session";
    const struct session *session = resolve(server, id);
    if (begins(id, "prepared "))
        return error_set(error, ERROR_INTERLOCK, where, what,
                         "Finish it in its own database with COMMIT PREPARED or ROLLBACK PREPARED.",
                         "%s is a prepared transaction: it has no session", id);
    if (!session)
        return error_set(error, ERROR_GONE, where, what, NULL, "session %s is no longer there", id);
    if (!session->backend_start)
        return error_set(
            error, ERROR_DENIED, where, what, "As a superuser: GRANT pg_monitor to the role `watch`.",
            "the role `watch` may not see when session %d began, so it cannot be told from a later "
            "one",
            session->pid);
    if (own_process(session))
        return error_set(error, ERROR_INTERLOCK, where, what, NULL,
                         "%d is the server's own process (%s), not a session", session->pid,
                         session->backend_type);
    if (verb == SESSION_CANCEL && runs_nothing(session))
        return error_set(error, ERROR_INTERLOCK, where, what, "End the session instead (terminate).",
                         "session %d is %s: no statement runs that could be cancelled", session->pid,
                         session->state);
    choice->sessions[choice->count++] = session;
    return true;
}

static bool is_chosen(const struct choice *choice, const struct session *session)
{
    for (size_t i = 0; i < choice->count; i++)
        if (strcmp(choice->sessions[i]->id, session->id) == 0)
            return true;
    return false;
}

static bool choose_many(struct choice *choice, const void *context, struct pg_server *server,
                        enum session_verb verb, const char *const *ids, size_t count, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        const struct session *session = resolve(server, ids[i]);
        int pid = session ? session->pid : (int)strtol(ids[i], NULL, 10);
        const char *reason = session ? reason_to_leave(session) : "gone";
        if (session && !reason && !session->backend_start)
            reason = "not visible to the role `watch`";
        if (session && !reason && verb == SESSION_CANCEL && runs_nothing(session))
            reason = session->state;
        if (reason)
            leave_out(choice, context, pid, reason);
        else if (!is_chosen(choice, session))
            choice->sessions[choice->count++] = session;
    }
    if (choice->count)
        return true;
    return error_set(error, ERROR_GONE, pg_server_name(server), "nothing to do", NULL, "%s",
                     choice->left_out ? choice->left_out : "no session was named");
}

/* ---- sending ---- */

static void signal_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct session_step *step = data;
    if (error) {
        if (!step->error.kind)
            step->error = *error;
    } else if (index == 0) {
        step->answered = pg_rows_count(rows) > 0;
        step->signalled = step->answered && pg_rows_boolean(rows, 0, 0);
    } else {
        step->hidden = pg_rows_count(rows) > 0 && pg_rows_boolean(rows, 0, 0);
    }
}

static void explain_denial(struct session_step *step)
{
    const char *role = step->change->role;
    char todo[sizeof step->error.todo];
    snprintf(todo, sizeof todo,
             step->hidden
                 ? "As a superuser: GRANT pg_read_all_stats TO \"%s\";"
                 : "As a superuser: GRANT pg_signal_backend TO \"%s\"; the session of a superuser can be "
                   "ended by superusers alone.",
             role);
    if (step->hidden)
        error_set(&step->error, ERROR_DENIED, step->change->server, step->change->title, todo,
                  "role %s may not see when session %d began, so it cannot be told from a later one", role,
                  step->pid);
    else
        snprintf(step->error.todo, sizeof step->error.todo, "%s", todo);
}

static void refresh(struct pg_server *server, enum pg_feed which)
{
    if (pg_server_feed(server, which)->wanted > 0)
        feed_refresh(pg_server_feed(server, which));
}

static void signal_done(void *data, const struct error *error)
{
    struct session_step *step = data;
    enum step_outcome outcome = STEP_DONE;
    if (error) {
        step->error = *error;
        snprintf(step->error.what, sizeof step->error.what, "it is not known whether %d was reached",
                 step->pid);
    }
    bool denied = step->error.kind == ERROR_DENIED || (!step->error.kind && !step->answered && step->hidden);
    if (denied)
        explain_denial(step);
    if (step->error.kind)
        outcome = STEP_FAILED;
    else if (!step->answered)
        outcome = STEP_GONE;
    else if (!step->signalled)
        outcome = STEP_FAILED;
    if (!error) {
        refresh(step->owner->server, PG_FEED_ACTIVITY);
        refresh(step->owner->server, PG_FEED_LOCKS);
    }
    change_step_done(step->change, step->step, outcome, step->error.kind ? &step->error : NULL);
}

/* The identity is in the statement itself: check and act are one. The second statement only tells a session
 * that is gone from one whose start the role may not see. */
static void send_step(struct change *change, struct change_step *step)
{
    struct session_step *own = step->data;
    struct pg_connection *act = pg_server_act(own->owner->server);
    struct error error = {0};
    char check[96];
    own->change = change;
    own->step = step;
    if (own->owner->sent <= 0)
        own->owner->sent = clock_monotonic();
    if (!act) {
        error_set(&error, ERROR_INTERLOCK, change->server, change->title, "Unlock the environment first.",
                  "no connection as `act` is open");
        change_step_done(change, step, STEP_FAILED, &error);
        return;
    }
    if (pg_connection_state(act) == CONNECTION_DOWN)
        pg_connection_open(act);
    snprintf(check, sizeof check, "SELECT backend_start IS NULL FROM pg_stat_activity WHERE pid = %d",
             own->pid);
    struct pg_statement statements[] = {{.sql = step->command}, {.sql = check}};
    pg_connection_send(act, statements, 2, SEND_DEADLINE_S,
                       (struct pg_handler){signal_rows, signal_done, own});
}

/* ---- what became of it ---- */

static bool still_runs(const struct session_change *own, const struct activity_snapshot *activity,
                       const char *id)
{
    const struct session *session = activity_find(activity, id);
    return session && (own->verb == SESSION_TERMINATE || !runs_nothing(session));
}

static size_t still_waiting(const struct session_change *own, const struct locks_snapshot *locks)
{
    size_t count = 0;
    for (size_t i = 0; i < own->behind_count; i++) {
        const struct lock_node *node = locks_find(locks, own->behind[i]);
        count += node && !isnan(node->waited_s);
    }
    return count;
}

static bool watch_behind(struct session_change *own, const struct locks_snapshot *locks, char *buffer,
                         size_t size)
{
    char age[32];
    size_t now = still_waiting(own, locks), length = strlen(own->trail);
    if (!length)
        length = (size_t)snprintf(own->trail, sizeof own->trail, "behind %zu", own->behind_count);
    if (now != own->last_behind && length + 32 < sizeof own->trail)
        snprintf(own->trail + length, sizeof own->trail - length, " → %zu", now);
    own->last_behind = now;
    snprintf(buffer, size, "%s after %s", own->trail,
             format_s(age, sizeof age, locks->base.taken_monotonic - own->sent));
    return now == 0;
}

static bool watch_targets(const struct session_change *own, const struct activity_snapshot *activity,
                          char *buffer, size_t size)
{
    char age[32];
    size_t left = 0;
    for (size_t i = 0; i < own->target_count; i++)
        left += still_runs(own, activity, own->targets[i]);
    const char *what = own->verb == SESSION_TERMINATE ? "gone" : "stopped";
    format_s(age, sizeof age, activity->base.taken_monotonic - own->sent);
    if (own->target_count == 1)
        snprintf(buffer, size, "%s%s after %s", left ? "not " : "", what, age);
    else
        snprintf(buffer, size, "%zu of %zu %s after %s", own->target_count - left, own->target_count, what,
                 age);
    return left == 0;
}

static bool watch(struct change *change, char *buffer, size_t size)
{
    struct session_change *own = change->data;
    const struct locks_snapshot *locks = pg_server_locks(own->server);
    const struct activity_snapshot *activity = pg_server_activity(own->server);
    bool over = false;
    buffer[0] = '\0';
    if (own->sent <= 0)
        return false;
    if (own->behind_count && locks && locks->base.taken_monotonic > own->sent)
        over = watch_behind(own, locks, buffer, size);
    else if (!own->behind_count && activity && activity->base.taken_monotonic > own->sent)
        over = watch_targets(own, activity, buffer, size);
    return over || clock_monotonic() - own->sent > WATCH_S;
}

/* ---- making the change ---- */

static void fill_step(struct change *change, struct change_step *step, const struct session *session)
{
    struct session_change *own = change->data;
    struct session_step *data = talloc_zero(change, struct session_step);
    data->owner = own;
    data->pid = session->pid;
    step->target = talloc_strdup(change, session->id);
    step->subject = session_subject(change, session);
    step->command = talloc_asprintf(
        change, "SELECT %s(pid) FROM pg_stat_activity WHERE pid = %d AND backend_start = '%s'",
        own->verb == SESSION_CANCEL ? "pg_cancel_backend" : "pg_terminate_backend", session->pid,
        session->backend_start);
    step->send = send_step;
    step->data = data;
}

static void describe(struct change *change, const struct choice *choice)
{
    struct session_change *own = change->data;
    bool cancels = own->verb == SESSION_CANCEL;
    const char *server = pg_server_name(own->server);
    const struct session *first = choice->sessions[0];
    if (choice->count == 1) {
        const struct locks_snapshot *locks = pg_server_locks(own->server);
        const struct lock_node *node = locks_find(locks, first->id);
        change->reach = REACH_ONE;
        change->title = talloc_asprintf(
            change, cancels ? "Cancel the statement of session %d on %s" : "End session %d on %s", first->pid,
            server);
        change->confirm = talloc_asprintf(change, "%02d", first->pid % 100);
        change->confirm_prompt = "the last two digits of the session";
        change->effect = session_effect_one(change, own->verb, first, locks, node);
        change->milder = session_milder(change, own->verb, first, locks, node);
        return;
    }
    change->reach = REACH_MANY;
    change->title = talloc_asprintf(
        change, cancels ? "Cancel the statements of %zu sessions on %s" : "End %zu sessions on %s",
        choice->count, server);
    change->confirm = talloc_asprintf(change, "%zu", choice->count);
    change->confirm_prompt = "the number of sessions";
    change->effect =
        session_effect_many(change, own->verb, choice->sessions, choice->count, own->behind_count);
}

static const char *act_role(struct change *change, struct pg_server *server)
{
    struct pg_connection *act = pg_server_act(server);
    const char *role = act ? pg_connection_role(act) : NULL;
    if (role)
        return talloc_strdup(change, role);
    role = pg_dsn_role(change, pg_server_definition(server)->act);
    return role ? role : "act";
}

static void fill_change(struct change *change, struct pg_server *server, enum session_verb verb,
                        const struct choice *choice)
{
    struct session_change *own = talloc_zero(change, struct session_change);
    own->server = server;
    own->verb = verb;
    own->target_count = choice->count;
    own->targets = talloc_array(own, char *, choice->count);
    for (size_t i = 0; i < choice->count; i++)
        own->targets[i] = talloc_strdup(own, choice->sessions[i]->id);
    own->behind = behind_all(own, pg_server_locks(server), (const char *const *)own->targets, choice->count,
                             &own->behind_count);
    own->last_behind = own->behind_count;
    change->data = own;
    change->hazard = verb == SESSION_CANCEL ? HAZARD_CHANGE : HAZARD_DESTROY;
    change->verb = verb == SESSION_CANCEL ? "cancel" : "terminate";
    change->environment = talloc_strdup(change, pg_server_environment(server)->name);
    change->server = talloc_strdup(change, pg_server_name(server));
    change->role = act_role(change, server);
    change->left_out = choice->left_out;
    change->watch = watch;
    change->step_count = choice->count;
    change->steps = talloc_zero_array(change, struct change_step, choice->count);
    for (size_t i = 0; i < choice->count; i++)
        fill_step(change, &change->steps[i], choice->sessions[i]);
    describe(change, choice);
}

struct change *session_change_new(struct pg_server *server, enum session_verb verb, const char *const *ids,
                                  size_t count, struct error *error)
{
    if (!pg_server_definition(server)->act) {
        error_set(error, ERROR_INTERLOCK, pg_server_name(server),
                  verb == SESSION_CANCEL ? "cannot cancel" : "cannot end sessions",
                  "Add `act` with the DSN of a role in pg_signal_backend to the environment file.",
                  "this server has no login named act");
        return NULL;
    }
    struct change *change = change_new();
    struct choice choice = {.sessions = talloc_array(change, const struct session *, count + 1)};
    bool chosen = count == 1 ? choose_one(&choice, server, verb, ids[0], error)
                             : choose_many(&choice, change, server, verb, ids, count, error);
    if (!chosen) {
        talloc_free(change);
        return NULL;
    }
    fill_change(change, server, verb, &choice);
    return change;
}
