/* Locked, unlocked for a while, open, or break-glass: one timer ends what was unlocked, never within a
 * change. */
#include "backends/access.h"

#include <math.h>
#include <stdlib.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/files.h"

#define LOOK_S 1.0

struct access {
    struct loop *loop;
    struct audit *audit;
    char *environment;
    enum access_state state, resting; /* resting: what a lock returns to */
    double until;                     /* boot time */
    unsigned changes;                 /* that are being made */
    ev_timer timer;
    ev_timer look; /* whether another process has locked: the marker is gone then */
    bool marked;   /* our unlock stands in the marker */
    void (*changed)(void *data, enum access_state state);
    void *data;
};

static void tell(struct access *access)
{
    if (access->changed)
        access->changed(access->data, access->state);
}

static void record(struct access *access, const char *event, const char *reason, const char *detail)
{
    if (access->audit)
        audit_write(access->audit, &(struct audit_entry){.event = event, .reason = reason, .detail = detail},
                    NULL, NULL);
}

static bool counts_down(const struct access *access)
{
    return access->state == ACCESS_UNLOCKED || access->state == ACCESS_BREAK_GLASS;
}

/* Fires at every full minute that is left, and at the end. */
static void start_timer(struct access *access)
{
    struct ev_loop *ev = loop_ev(access->loop);
    ev_timer_stop(ev, &access->timer);
    ev_timer_stop(ev, &access->look);
    if (!counts_down(access))
        return;
    if (access->state == ACCESS_UNLOCKED && access->marked)
        ev_timer_again(ev, &access->look);
    double left = access_left(access), step = fmod(left, 60);
    ev_now_update(ev);
    ev_timer_set(&access->timer, step > 0.001 ? step : fmin(left, 60), 0);
    ev_timer_start(ev, &access->timer);
}

static void lock(struct access *access, const char *reason, const char *detail)
{
    if (!counts_down(access))
        return;
    struct error error;
    access->state = access->resting;
    start_timer(access);
    if (access->resting == ACCESS_LOCKED && !access_marker_remove(access->environment, &error))
        detail = error.why;
    record(access, "lock", reason, detail);
    tell(access);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct access *access = timer->data;
    (void)ev, (void)events;
    if (access_left(access) > 0) {
        start_timer(access);
        tell(access);
    } else if (access->changes == 0) {
        lock(access, NULL, "nothing was changed for as long as it stays unlocked");
    }
}

/* `signalbox lock`, or another console of this user that was left, locks this one too. */
static void on_look(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct access *access = timer->data;
    (void)ev, (void)events;
    /* Near the end the marker runs out by itself. */
    if (access_left(access) > 2 * LOOK_S && access_marker_left(access->environment) <= 0)
        access_lock(access, "another process of this user has locked it");
}

/* The time starts again. Without a marker only this process knows of it, which is no reason to refuse. */
static void start_time(struct access *access)
{
    access->until = clock_boottime() + access_unlock_seconds();
    if (access->state == ACCESS_UNLOCKED)
        access->marked = access_marker_write(access->environment, access_unlock_seconds(), NULL);
    start_timer(access);
}

struct access *access_new(struct loop *loop, const struct environment *environment, struct audit *audit,
                          void (*changed)(void *data, enum access_state state), void *data)
{
    struct access *access = talloc_zero(NULL, struct access);
    if (!access || !(access->environment = talloc_strdup(access, environment->name)))
        abort();
    access->loop = loop;
    access->audit = audit;
    access->changed = changed;
    access->data = data;
    access->resting = environment->access.locked ? ACCESS_LOCKED : ACCESS_OPEN;
    access->state = access->resting;
    ev_timer_init(&access->timer, on_timer, 0, 0);
    ev_timer_init(&access->look, on_look, 0, LOOK_S);
    access->timer.data = access->look.data = access;
    double left = access->state == ACCESS_LOCKED ? access_marker_left(access->environment) : 0;
    if (left > 0) {
        access->state = ACCESS_UNLOCKED;
        access->until = clock_boottime() + left;
        access->marked = true;
        start_timer(access);
    }
    return access;
}

void access_free(struct access *access)
{
    if (!access)
        return;
    ev_timer_stop(loop_ev(access->loop), &access->timer);
    ev_timer_stop(loop_ev(access->loop), &access->look);
    talloc_free(access);
}

enum access_state access_state(const struct access *access)
{
    return access->state;
}

double access_left(const struct access *access)
{
    if (access->state == ACCESS_OPEN)
        return INFINITY;
    return counts_down(access) ? fmax(access->until - clock_boottime(), 0) : 0;
}

void access_unlock(struct access *access, const char *reason)
{
    if (access->state != ACCESS_LOCKED && access->state != ACCESS_UNLOCKED)
        return;
    access->state = ACCESS_UNLOCKED;
    start_time(access);
    record(access, "unlock", reason, NULL);
    tell(access);
}

bool access_break_glass(struct access *access, const char *reason, struct error *error)
{
    while (reason && (*reason == ' ' || *reason == '\t'))
        reason++;
    if (!reason || !*reason)
        return error_set(error, ERROR_INTERLOCK, access->environment, "break-glass needs a reason",
                         "Say :breakglass REASON.", "none was given");
    access->state = ACCESS_BREAK_GLASS;
    start_time(access);
    char *alert = talloc_asprintf(NULL, "break-glass in %s: %s", access->environment, reason);
    bool told = audit_alert(access->environment, alert);
    talloc_free(alert);
    record(access, "break-glass", reason, told ? "the journal was told" : "no journal could be told");
    tell(access);
    return true;
}

void access_lock(struct access *access, const char *reason)
{
    if (access->changes == 0)
        lock(access, reason, NULL);
    else
        access->until = 0; /* locked when the change is over */
}

void access_change_begins(struct access *access)
{
    access->changes++;
}

void access_change_ends(struct access *access)
{
    if (access->changes == 0 || --access->changes > 0 || !counts_down(access))
        return;
    if (access->until <= 0) {
        lock(access, NULL, "it was to be locked while a change was being made");
        return;
    }
    start_time(access);
    tell(access);
}
