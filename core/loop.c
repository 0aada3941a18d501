/*
 * The loop and the workers. Each kind of work has a pool with its own queue and threads, made on demand. What
 * the threads share (struct crew) is counted, so that a thread which hangs in the network can be left behind:
 * the last one out frees it.
 */
#include "core/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <talloc.h>

struct job {
    struct job *next;
    enum work_kind kind;
    void (*work)(void *job);
    void (*done)(void *job);
    void (*drop)(void *job); /* NULL: what becomes of the job is its owner's affair */
    void *data;
};

struct queue {
    struct job *first, *last;
};

struct pool {
    struct queue waiting;
    pthread_cond_t more;
    pthread_t threads[4];
    bool busy[4];     /* running a job: loop_free does not wait for it */
    unsigned count;   /* threads made */
    unsigned idle;    /* threads that wait */
    unsigned pending; /* jobs in `waiting` */
};

struct crew {
    pthread_mutex_t lock;
    struct pool pools[WORK_KINDS];
    struct queue finished;
    struct loop *loop; /* NULL once the loop is gone */
    unsigned references;
};

struct seat {
    struct crew *crew;
    enum work_kind kind;
    unsigned number;
};

struct loop {
    struct ev_loop *ev;
    struct crew *crew;
    ev_async finished;
    ev_prepare before_waiting;
    ev_check after_waiting;
    void (*after)(void *data);
    void *after_data;
    bool woken;
};

static const unsigned pool_sizes[WORK_KINDS] = {
    [WORK_CONNECT] = 4, [WORK_URGENT] = 2, [WORK_LOCAL] = 4, [WORK_NAME] = 4, [WORK_FILE] = 1};

static void queue_push(struct queue *queue, struct job *job)
{
    job->next = NULL;
    if (queue->last)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

static struct job *queue_pop(struct queue *queue)
{
    struct job *job = queue->first;
    if (job) {
        queue->first = job->next;
        if (!queue->first)
            queue->last = NULL;
    }
    return job;
}

static void queue_free(struct queue *queue)
{
    for (struct job *job; (job = queue_pop(queue));) {
        if (job->drop)
            job->drop(job->data);
        free(job);
    }
}

/* Called with the lock held; gives it back. */
static void crew_leave(struct crew *crew)
{
    bool last = --crew->references == 0;
    pthread_mutex_unlock(&crew->lock);
    if (!last)
        return;
    for (int i = 0; i < WORK_KINDS; i++) {
        queue_free(&crew->pools[i].waiting);
        pthread_cond_destroy(&crew->pools[i].more);
    }
    queue_free(&crew->finished);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

static void *run_worker(void *argument)
{
    struct seat seat = *(struct seat *)argument;
    free(argument);
    struct crew *crew = seat.crew;
    struct pool *pool = &crew->pools[seat.kind];
    pthread_mutex_lock(&crew->lock);
    while (crew->loop) {
        struct job *job = queue_pop(&pool->waiting);
        if (!job) {
            pool->idle++;
            pthread_cond_wait(&pool->more, &crew->lock);
            pool->idle--;
            continue;
        }
        pool->pending--;
        pool->busy[seat.number] = true;
        pthread_mutex_unlock(&crew->lock);
        job->work(job->data);
        pthread_mutex_lock(&crew->lock);
        pool->busy[seat.number] = false;
        queue_push(&crew->finished, job);
        if (crew->loop)
            ev_async_send(crew->loop->ev, &crew->loop->finished);
    }
    crew_leave(crew);
    return NULL;
}

/* Signals belong to the loop's thread. */
static void start_worker(struct crew *crew, enum work_kind kind)
{
    struct pool *pool = &crew->pools[kind];
    struct seat *seat = malloc(sizeof *seat);
    if (!seat)
        abort();
    *seat = (struct seat){.crew = crew, .kind = kind, .number = pool->count};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&pool->threads[pool->count], NULL, run_worker, seat);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) {
        pool->count++;
        crew->references++;
        return;
    }
    free(seat);
    if (!pool->count) /* nobody would ever do the work: as bad as no memory */
        abort();
}

void loop_work(struct loop *loop, enum work_kind kind, void (*work)(void *job), void (*done)(void *job),
               void *job)
{
    loop_work_or_drop(loop, kind, work, done, NULL, job);
}

void loop_work_or_drop(struct loop *loop, enum work_kind kind, void (*work)(void *job),
                       void (*done)(void *job), void (*drop)(void *job), void *job)
{
    struct crew *crew = loop->crew;
    struct pool *pool = &crew->pools[kind];
    struct job *queued = malloc(sizeof *queued);
    if (!queued)
        abort();
    *queued = (struct job){.kind = kind, .work = work, .done = done, .drop = drop, .data = job};
    pthread_mutex_lock(&crew->lock);
    queue_push(&pool->waiting, queued);
    pool->pending++;
    if (pool->pending > pool->idle && pool->count < pool_sizes[kind])
        start_worker(crew, kind);
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&crew->lock);
}

static void take_finished(struct ev_loop *ev, ev_async *watcher, int events)
{
    struct loop *loop = watcher->data;
    (void)ev, (void)events;
    pthread_mutex_lock(&loop->crew->lock);
    struct queue finished = loop->crew->finished;
    loop->crew->finished = (struct queue){0};
    pthread_mutex_unlock(&loop->crew->lock);
    for (struct job *job; (job = queue_pop(&finished));) {
        if (job->done)
            job->done(job->data);
        free(job);
    }
}

/* libev runs the check watchers of the highest priority before all others of a turn, and the prepare watchers
 * before it waits again. */
static void note_wake(struct ev_loop *ev, ev_check *watcher, int events)
{
    struct loop *loop = watcher->data;
    (void)events;
    loop->woken = loop->woken || ev_pending_count(ev) > 0;
}

static void end_turn(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    struct loop *loop = watcher->data;
    (void)ev, (void)events;
    if (!loop->woken)
        return;
    loop->woken = false;
    if (loop->after)
        loop->after(loop->after_data);
}

static struct crew *crew_new(struct loop *loop)
{
    struct crew *crew = calloc(1, sizeof *crew);
    if (!crew)
        abort();
    pthread_mutex_init(&crew->lock, NULL);
    for (int i = 0; i < WORK_KINDS; i++)
        pthread_cond_init(&crew->pools[i].more, NULL);
    crew->loop = loop;
    crew->references = 1;
    return crew;
}

struct loop *loop_new(void)
{
    struct loop *loop = talloc_zero(NULL, struct loop);
    if (!loop)
        abort();
    loop->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    if (!loop->ev)
        abort();
    loop->crew = crew_new(loop);
    ev_async_init(&loop->finished, take_finished);
    loop->finished.data = loop;
    ev_async_start(loop->ev, &loop->finished);
    ev_prepare_init(&loop->before_waiting, end_turn);
    loop->before_waiting.data = loop;
    ev_set_priority(&loop->before_waiting, EV_MINPRI);
    ev_prepare_start(loop->ev, &loop->before_waiting);
    ev_check_init(&loop->after_waiting, note_wake);
    loop->after_waiting.data = loop;
    ev_set_priority(&loop->after_waiting, EV_MAXPRI);
    ev_check_start(loop->ev, &loop->after_waiting);
    return loop;
}

/* Idle workers end at once and are waited for; the busy ones leave by themselves, if ever. */
static void dismiss(struct crew *crew)
{
    pthread_t idle[16];
    size_t count = 0;
    pthread_mutex_lock(&crew->lock);
    crew->loop = NULL;
    for (int i = 0; i < WORK_KINDS; i++) {
        struct pool *pool = &crew->pools[i];
        for (unsigned j = 0; j < pool->count; j++)
            if (pool->busy[j])
                pthread_detach(pool->threads[j]);
            else
                idle[count++] = pool->threads[j];
        pthread_cond_broadcast(&pool->more);
    }
    pthread_mutex_unlock(&crew->lock);
    for (size_t i = 0; i < count; i++)
        pthread_join(idle[i], NULL);
    pthread_mutex_lock(&crew->lock);
    crew_leave(crew);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    dismiss(loop->crew);
    ev_async_stop(loop->ev, &loop->finished);
    ev_prepare_stop(loop->ev, &loop->before_waiting);
    ev_check_stop(loop->ev, &loop->after_waiting);
    ev_loop_destroy(loop->ev);
    talloc_free(loop);
}

struct ev_loop *loop_ev(struct loop *loop)
{
    return loop->ev;
}

void loop_run(struct loop *loop)
{
    ev_run(loop->ev, 0);
}

void loop_stop(struct loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

void loop_set_turn(struct loop *loop, void (*after)(void *data), void *data)
{
    loop->after = after;
    loop->after_data = data;
}
