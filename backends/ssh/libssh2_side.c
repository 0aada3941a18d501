/*
 * Side sessions: libssh2 opens one channel at a time, and a bastion that is to reach a dead host answers
 * after two minutes. While one opening hangs, the others go by another session with the same server.
 */
#include <stdlib.h>

#include "backends/ssh/libssh2_internal.h"
#include "core/clock.h"

#define HURRY_S 0.3       /* an opening that takes longer keeps nobody else waiting */
#define FAILED_PAUSE_S 10 /* after a side session failed */
#define UNUSED_S 30
enum { SIDES_MAX = 8 };

static void on_hurry(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct lib_session *session = timer->data;
    (void)ev, (void)events;
    if (!lib_channels_wait(session))
        return;
    int count = 0;
    bool help = false; /* one of them can take it, or soon will */
    for (struct lib_session *side = session->sides; side; side = side->next_side, count++) {
        if (side->phase != LIB_UP)
            help = true;
        else if (!side->opening)
            session_wake(side);
    }
    if (!help && count < SIDES_MAX && clock_monotonic() - session->side_failed > FAILED_PAUSE_S) {
        struct lib_session *side = session_new(session->host);
        side->main = session;
        side->next_side = session->sides;
        session->sides = side;
        dial_start(side);
    }
    side_hurry(session);
}

void side_hurry(struct lib_session *session)
{
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    if (ev_is_active(&session->hurry))
        return;
    session->hurry.data = session;
    ev_timer_init(&session->hurry, on_hurry, HURRY_S, 0);
    ev_now_update(ev);
    ev_timer_start(ev, &session->hurry);
}

static void leave_main(struct lib_session *side)
{
    struct lib_session **at = &side->main->sides;
    while (*at && *at != side)
        at = &(*at)->next_side;
    if (*at)
        *at = side->next_side;
}

void side_fail(struct lib_session *side, const struct error *error)
{
    struct error why = *error;
    side->depth++;
    side->main->side_failed = clock_monotonic();
    leave_main(side);
    lib_channels_end(side, &why);
    session_close(side);
    session_release(side);
}

void side_check_use(struct lib_session *side)
{
    if (side->channels && !lib_channels_hopeless(side)) {
        side->unused = 0;
    } else if (side->unused == 0 && !side->channels) {
        side->unused = clock_monotonic();
    } else if (side->channels || clock_monotonic() - side->unused > UNUSED_S) {
        leave_main(side);
        session_close(side);
    }
}

void sides_close(struct lib_session *session)
{
    ev_timer_stop(loop_ev(ssh_host_loop(session->host)), &session->hurry);
    while (session->sides) {
        struct lib_session *side = session->sides;
        session->sides = side->next_side;
        session_close(side);
    }
}
