/* Sessions that have something to do stand in a row; each turn of the loop serves some of them. */
#include "backends/ssh/libssh2_turns.h"

#include <fcntl.h>
#include <unistd.h>

#include "backends/ssh/libssh2_internal.h"
#include "core/clock.h"

#define TURN_S 0.010

struct lib_turns {
    struct loop *loop;
    ev_timer timer;
    struct lib_session *first, *last;
    int no_socket;
};

static void on_turn(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct lib_turns *turns = timer->data;
    (void)events;
    double end = clock_monotonic() + TURN_S;
    while (turns->first && clock_monotonic() < end) {
        struct lib_session *session = turns->first;
        lib_turns_remove(turns, session);
        session_step(session);
    }
    if (turns->first && !ev_is_active(timer)) {
        ev_timer_set(timer, 0, 0);
        ev_timer_start(ev, timer);
    }
}

struct lib_turns *lib_turns_new(struct loop *loop)
{
    struct lib_turns *turns = talloc_zero(NULL, struct lib_turns);
    turns->loop = loop;
    turns->no_socket = open("/dev/null", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ev_init(&turns->timer, on_turn);
    turns->timer.data = turns;
    return turns;
}

void lib_turns_free(struct lib_turns *turns)
{
    ev_timer_stop(loop_ev(turns->loop), &turns->timer);
    if (turns->no_socket >= 0)
        close(turns->no_socket);
    talloc_free(turns);
}

int lib_turns_no_socket(const struct lib_turns *turns)
{
    return turns->no_socket;
}

void lib_turns_add(struct lib_turns *turns, struct lib_session *session)
{
    if (session->ready)
        return;
    session->ready = true;
    session->next_ready = NULL;
    session->previous_ready = turns->last;
    if (turns->last)
        turns->last->next_ready = session;
    else
        turns->first = session;
    turns->last = session;
    if (!ev_is_active(&turns->timer)) {
        ev_timer_set(&turns->timer, 0, 0);
        ev_timer_start(loop_ev(turns->loop), &turns->timer);
    }
}

void lib_turns_remove(struct lib_turns *turns, struct lib_session *session)
{
    if (!session->ready)
        return;
    session->ready = false;
    if (session->previous_ready)
        session->previous_ready->next_ready = session->next_ready;
    else
        turns->first = session->next_ready;
    if (session->next_ready)
        session->next_ready->previous_ready = session->previous_ready;
    else
        turns->last = session->previous_ready;
    session->next_ready = session->previous_ready = NULL;
}
