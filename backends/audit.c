/*
 * The audit log as the loop sees it: a queue to a thread of its own, and a timer for every record, so that an
 * answer comes whatever the disk does. What the two share (struct desk) is counted: a thread that hangs is
 * left behind, and frees it when it ends.
 */
#include "backends/audit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <talloc.h>
#include <time.h>

#include "backends/audit_internal.h"
#include "core/clock.h"
#include "core/text.h"

#define LOCK_S 2.0
#define ANSWER_S 2.4

struct item {
    struct item *next; /* in the queue of waiting or written ones; the thread's while it writes */
    char *body;
    double queued;
    bool good;
    struct error error;
    /* The loop's own: */
    ev_timer timer;
    struct audit *audit;
    bool answered;
    void (*done)(void *data, enum audit_place place, const char *record, const struct error *error);
    void *data;
};

struct desk {
    pthread_mutex_t lock;
    pthread_cond_t more, idle;
    struct item *waiting, **waiting_end;
    struct item *written;
    struct audit *audit;  /* NULL once it is gone */
    struct item *writing; /* the thread's batch: the loop may stop its timers, no more */
    bool thread;          /* it runs: */
    pthread_t writer;
    char *folder, *environment;
};

struct audit {
    struct loop *loop;
    struct desk *desk;
    ev_async finished;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void item_free(struct item *item)
{
    free(item->body);
    free(item);
}

static void items_free(struct item *item)
{
    while (item) {
        struct item *next = item->next;
        item_free(item);
        item = next;
    }
}

static void desk_free(struct desk *desk)
{
    items_free(desk->waiting);
    items_free(desk->written);
    pthread_mutex_destroy(&desk->lock);
    pthread_cond_destroy(&desk->more);
    pthread_cond_destroy(&desk->idle);
    free(desk->folder);
    free(desk->environment);
    free(desk);
}

static void write_batch(const struct desk *desk, struct item *batch)
{
    size_t count = 0;
    struct error error = {0};
    for (struct item *item = batch; item; item = item->next)
        count++;
    const char **bodies = must(calloc(count, sizeof *bodies));
    count = 0;
    for (struct item *item = batch; item; item = item->next)
        bodies[count++] = item->body;
    bool good = audit_append(desk->folder, desk->environment, bodies, count, batch->queued + LOCK_S, &error);
    for (struct item *item = batch; item; item = item->next) {
        item->good = good;
        item->error = error;
    }
    free(bodies);
}

/* Takes all that waits, writes it with one flush, hands it back. */
static void *run_writer(void *argument)
{
    struct desk *desk = argument;
    pthread_mutex_lock(&desk->lock);
    while (desk->audit) {
        struct item *batch = desk->waiting;
        if (!batch) {
            pthread_cond_wait(&desk->more, &desk->lock);
            continue;
        }
        desk->waiting = NULL;
        desk->waiting_end = &desk->waiting;
        desk->writing = batch;
        pthread_mutex_unlock(&desk->lock);
        write_batch(desk, batch);
        pthread_mutex_lock(&desk->lock);
        desk->writing = NULL;
        struct item **end = &desk->written;
        while (*end)
            end = &(*end)->next;
        *end = batch;
        if (desk->audit)
            ev_async_send(loop_ev(desk->audit->loop), &desk->audit->finished);
        pthread_cond_broadcast(&desk->idle);
    }
    pthread_mutex_unlock(&desk->lock);
    desk_free(desk);
    return NULL;
}

/* Called on the loop's thread, once a record. What is not in the file goes to the journal, which never
 * blocks. */
static void answer(struct item *item, const char *environment)
{
    item->answered = true;
    ev_timer_stop(loop_ev(item->audit->loop), &item->timer);
    char *record = must(talloc_asprintf(NULL, "{%s}", item->body));
    enum audit_place place = AUDIT_FILE;
    struct error error = item->error;
    if (!item->good) {
        struct error journal = {0};
        place = audit_journal(environment, LOG_NOTICE, record, &journal) ? AUDIT_JOURNAL : AUDIT_NOWHERE;
        if (place == AUDIT_NOWHERE) {
            size_t used = strlen(error.why);
            snprintf(error.why + used, sizeof error.why - used, "; nor to the journal: %s", journal.why);
        }
    }
    if (item->done)
        item->done(item->data, place, record, item->good ? NULL : &error);
    talloc_free(record);
}

static void on_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct item *item = timer->data;
    struct desk *desk = item->audit->desk;
    (void)ev, (void)events;
    /* The thread may be writing item->error right now: answer with a copy. It gives the item back later. */
    struct item late = {.body = item->body, .audit = item->audit, .done = item->done, .data = item->data};
    error_set(&late.error, ERROR_TIMEOUT, desk->folder, "cannot write the audit log",
              "Look whether the disk hangs.", "no answer from the disk within 2.4 s");
    item->answered = true;
    ev_timer_init(&late.timer, on_late, 0, 0);
    answer(&late, desk->environment);
}

static void on_finished(struct ev_loop *ev, ev_async *watcher, int events)
{
    struct audit *audit = watcher->data;
    struct desk *desk = audit->desk;
    (void)ev, (void)events;
    pthread_mutex_lock(&desk->lock);
    struct item *item = desk->written;
    desk->written = NULL;
    pthread_mutex_unlock(&desk->lock);
    while (item) {
        struct item *next = item->next;
        if (!item->answered)
            answer(item, desk->environment);
        item_free(item);
        item = next;
    }
}

struct audit *audit_new(struct loop *loop, const char *environment, const char *directory)
{
    struct audit *audit = must(calloc(1, sizeof *audit));
    struct desk *desk = must(calloc(1, sizeof *desk));
    char *folder = audit_folder(NULL, environment, directory);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->more, NULL);
    pthread_cond_init(&desk->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    desk->folder = must(strdup(folder));
    desk->environment = must(strdup(environment));
    desk->waiting_end = &desk->waiting;
    desk->audit = audit;
    talloc_free(folder);
    audit->loop = loop;
    audit->desk = desk;
    ev_async_init(&audit->finished, on_finished);
    audit->finished.data = audit;
    ev_async_start(loop_ev(loop), &audit->finished);
    return audit;
}

static void stop_timers(struct audit *audit, struct item *item)
{
    for (; item; item = item->next)
        ev_timer_stop(loop_ev(audit->loop), &item->timer);
}

void audit_free(struct audit *audit)
{
    if (!audit)
        return;
    struct desk *desk = audit->desk;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 2;
    pthread_mutex_lock(&desk->lock);
    while (desk->thread && (desk->waiting || desk->writing))
        if (pthread_cond_timedwait(&desk->idle, &desk->lock, &until) == ETIMEDOUT)
            break;
    stop_timers(audit, desk->written);
    stop_timers(audit, desk->writing);
    stop_timers(audit, desk->waiting);
    ev_async_stop(loop_ev(audit->loop), &audit->finished);
    desk->audit = NULL;
    bool thread = desk->thread, hangs = desk->writing != NULL;
    pthread_t writer = desk->writer;
    pthread_cond_signal(&desk->more);
    pthread_mutex_unlock(&desk->lock);
    if (!thread)
        desk_free(desk);
    else if (hangs)
        pthread_detach(writer);
    else
        pthread_join(writer, NULL);
    free(audit);
}

/* Signals belong to the loop's thread. */
static bool start_thread(struct desk *desk)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    desk->thread = pthread_create(&desk->writer, NULL, run_writer, desk) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return desk->thread;
}

void audit_write(struct audit *audit, const struct audit_entry *entry,
                 void (*done)(void *data, enum audit_place place, const char *record,
                              const struct error *error),
                 void *data)
{
    struct desk *desk = audit->desk;
    struct item *item = must(calloc(1, sizeof *item));
    *item = (struct item){.body = audit_body(desk->environment, entry),
                          .queued = clock_monotonic(),
                          .audit = audit,
                          .done = done,
                          .data = data};
    ev_timer_init(&item->timer, on_late, ANSWER_S, 0);
    item->timer.data = item;
    ev_now_update(loop_ev(audit->loop));
    ev_timer_start(loop_ev(audit->loop), &item->timer);
    pthread_mutex_lock(&desk->lock);
    if (desk->thread || start_thread(desk)) {
        *desk->waiting_end = item;
        desk->waiting_end = &item->next;
        pthread_cond_signal(&desk->more);
    } else {
        error_set(&item->error, ERROR_SYSTEM, desk->folder, "cannot write the audit log", NULL,
                  "no thread could be started");
        item->next = desk->written;
        desk->written = item;
        ev_async_send(loop_ev(audit->loop), &audit->finished);
    }
    pthread_mutex_unlock(&desk->lock);
}

bool audit_alert(const char *environment, const char *text)
{
    char *line = safe_line_new(NULL, text);
    bool sent = audit_journal(environment, LOG_ALERT, line, NULL);
    talloc_free(line);
    return sent;
}
