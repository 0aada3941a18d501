/*
 * What the workers answered: one round pings those that are alive, then asks those that answered what they
 * run, hold, wait with, take from and know. After the first round, which is a change, it is asked again while
 * the environment is unlocked and somebody looks at the workers.
 */
#include "backends/queues/celery_answers.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/queues/celery_workers.h"
#include "core/clock.h"
#include "core/secret.h"

#define AGAIN_S 10
/* Of these rounds one asks for the tasks that workers know: they change with their programs only. */
#define REGISTERED_EACH 6

enum { LISTENERS_MAX = 8 };

static const char *const methods[] = {"ping",      "stats",         "active",    "reserved",
                                      "scheduled", "active_queues", "registered"};
enum { PING, STATS, ACTIVE, RESERVED, SCHEDULED, QUEUES, REGISTERED, METHODS };

struct listener {
    void (*done)(void *data, size_t answered, size_t asked, const char *silent, const struct error *error);
    void *data;
};

struct round {
    struct celery_asked *asked;
    struct celery_answers fresh; /* its texts are under the round, its values are owned */
    const char **alive;          /* those that answered the ping */
    size_t alive_count;
    int method;
    void *sending;
    struct error error;
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
    ev_timer later; /* nobody to ask: told in a later turn */
};

struct known_task {
    UT_hash_handle hh;
    char name[];
};

struct celery_asked {
    struct celery_system *system;
    struct celery_sending **sendings; /* on their way */
    size_t sending_count;
    bool swept;
    struct round *round;  /* that is asked now */
    struct round *latest; /* that was answered last */
    struct known_task *tasks;
    bool tasks_known;
    bool goes_on;
    unsigned rounds;
    ev_timer again;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static int asked_destroy(struct celery_asked *asked)
{
    HASH_CLEAR(hh, asked->tasks);
    return 0;
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events);

static struct celery_asked *asked_of(struct celery_system *system)
{
    if (!system->asked) {
        struct celery_asked *asked = there(talloc_zero(NULL, struct celery_asked));
        asked->system = system;
        ev_timer_init(&asked->again, on_again, AGAIN_S, AGAIN_S);
        asked->again.data = asked;
        talloc_set_destructor(asked, asked_destroy);
        system->asked = asked;
    }
    return system->asked;
}

/* ---- messages on their way ---- */

bool celery_asked_add(struct celery_system *system, struct celery_sending *sending)
{
    struct celery_asked *asked = asked_of(system);
    bool swept = asked->swept;
    asked->swept = true;
    asked->sendings =
        there(talloc_realloc(asked, asked->sendings, struct celery_sending *, asked->sending_count + 1));
    asked->sendings[asked->sending_count++] = sending;
    return swept;
}

void celery_asked_remove(struct celery_system *system, struct celery_sending *sending)
{
    struct celery_asked *asked = system->asked;
    for (size_t i = 0; asked && i < asked->sending_count; i++)
        if (asked->sendings[i] == sending)
            asked->sendings[i--] = asked->sendings[--asked->sending_count];
}

/* ---- what was answered ---- */

static struct json_object **value_of(struct celery_worker_answer *answer, int method)
{
    switch (method) {
    case STATS:
        return &answer->stats;
    case ACTIVE:
        return &answer->active;
    case RESERVED:
        return &answer->reserved;
    case SCHEDULED:
        return &answer->scheduled;
    case QUEUES:
        return &answer->queues;
    case REGISTERED:
        return &answer->registered;
    default:
        return NULL;
    }
}

static int round_destroy(struct round *round)
{
    ev_timer_stop(loop_ev(round->asked->system->base.loop), &round->later);
    for (size_t i = 0; i < round->fresh.worker_count; i++)
        for (int method = STATS; method < METHODS; method++)
            json_object_put(*value_of(&round->fresh.workers[i], method));
    return 0;
}

static struct celery_worker_answer *answer_of(struct round *round, const char *worker)
{
    for (size_t i = 0; round && i < round->fresh.worker_count; i++)
        if (!strcmp(round->fresh.workers[i].worker, worker))
            return &round->fresh.workers[i];
    return NULL;
}

static bool is_secret(const char *key)
{
    static const char *const words[] = {"pass", "secret", "token", "credential"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(key, words[i]))
            return true;
    return false;
}

/* Of the broker: Celery takes the password of the URL out, but not those of the alternates and options. */
static struct json_object *masked(struct json_object *value)
{
    struct json_object *copy;
    if (json_object_is_type(value, json_type_object)) {
        copy = json_object_new_object();
        json_object_object_foreach(value, key, member)
        {
            bool hide = is_secret(key) && member;
            json_object_object_add(copy, key, hide ? json_object_new_string("***") : masked(member));
        }
        return copy;
    }
    if (json_object_is_type(value, json_type_array)) {
        copy = json_object_new_array();
        for (size_t i = 0; i < json_object_array_length(value); i++)
            json_object_array_add(copy, masked(json_object_array_get_idx(value, i)));
        return copy;
    }
    if (json_object_is_type(value, json_type_string)) {
        char *text = secret_mask_dsn(NULL, json_object_get_string(value));
        copy = json_object_new_string(text);
        talloc_free(text);
        return copy;
    }
    return json_object_get(value);
}

struct json_object *celery_stats_masked(struct json_object *stats)
{
    struct json_object *broker, *copy = json_object_new_object();
    json_object_object_foreach(stats, key, value) json_object_object_add(copy, key, json_object_get(value));
    if (json_object_object_get_ex(stats, "broker", &broker))
        json_object_object_add(copy, "broker", masked(broker));
    return copy;
}

static void take_value(struct celery_worker_answer *answer, int method, struct json_object *value)
{
    bool right = json_object_is_type(value, method == STATS ? json_type_object : json_type_array);
    struct json_object **slot = value_of(answer, method);
    if (!right || !slot || *slot)
        return;
    *slot = method == STATS ? celery_stats_masked(value) : json_object_get(value);
}

/* "reports.build [rate_limit=10/m]" */
static void learn_tasks(struct celery_asked *asked)
{
    struct celery_answers *answers = &asked->latest->fresh;
    HASH_CLEAR(hh, asked->tasks);
    asked->tasks_known = false;
    for (size_t i = 0; i < answers->worker_count; i++) {
        struct json_object *list = answers->workers[i].registered;
        for (size_t j = 0; list && j < json_object_array_length(list); j++) {
            const char *text = json_object_get_string(json_object_array_get_idx(list, j));
            size_t length = text ? strcspn(text, " ") : 0;
            struct known_task *task;
            if (!length)
                continue;
            HASH_FIND(hh, asked->tasks, text, length, task);
            if (task)
                continue;
            task = there(talloc_zero_size(asked->latest, sizeof *task + length + 1));
            memcpy(task->name, text, length);
            HASH_ADD_KEYPTR(hh, asked->tasks, task->name, length, task);
        }
        asked->tasks_known = asked->tasks_known || list;
    }
}

static void learn_queues(struct celery_asked *asked)
{
    const struct celery_answers *answers = &asked->latest->fresh;
    for (size_t i = 0; i < answers->worker_count; i++) {
        struct json_object *list = answers->workers[i].queues, *name;
        for (size_t j = 0; list && j < json_object_array_length(list); j++) {
            struct json_object *queue = json_object_array_get_idx(list, j);
            if (json_object_is_type(queue, json_type_object) &&
                json_object_object_get_ex(queue, "name", &name) &&
                json_object_is_type(name, json_type_string))
                celery_add_queues(asked->system, &(const char *){json_object_get_string(name)}, 1);
        }
    }
}

bool celery_task_known(const struct celery_system *system, const char *task)
{
    struct known_task *known;
    if (!system->asked || !system->asked->tasks_known || !strncmp(task, "celery.", 7))
        return true;
    HASH_FIND_STR(system->asked->tasks, task, known);
    return known != NULL;
}

const struct celery_answers *celery_answers(const struct celery_system *system)
{
    return system->asked && system->asked->latest ? &system->asked->latest->fresh : NULL;
}

/* ---- a round ---- */

static void send_next(struct round *round);

static void tell(struct round *round, size_t answered, size_t asked, const char *silent,
                 const struct error *error)
{
    for (size_t i = 0; i < round->listener_count; i++)
        if (round->listeners[i].done)
            round->listeners[i].done(round->listeners[i].data, answered, asked, silent, error);
}

static void end_round(struct round *round)
{
    struct celery_asked *asked = round->asked;
    struct celery_system *system = asked->system;
    char *silent = there(talloc_strdup(NULL, ""));
    size_t count = round->fresh.worker_count, answered = round->alive_count;
    asked->round = NULL;
    for (size_t i = 0; i < count; i++) {
        bool alive = false;
        for (size_t j = 0; j < answered; j++)
            alive = alive || !strcmp(round->alive[j], round->fresh.workers[i].worker);
        if (!alive)
            silent = there(talloc_asprintf_append_buffer(silent, "%s%s", *silent ? ", " : "",
                                                         round->fresh.workers[i].worker));
    }
    struct error error = round->error;
    bool sent = round->fresh.asked_at > 0;
    if (sent) {
        /* Known tasks are asked for rarely: the old ones still hold. */
        for (size_t i = 0; i < count; i++) {
            struct celery_worker_answer *fresh = &round->fresh.workers[i];
            struct celery_worker_answer *old = answer_of(asked->latest, fresh->worker);
            if (!fresh->registered && fresh->active && old)
                fresh->registered = json_object_get(old->registered);
        }
        HASH_CLEAR(hh, asked->tasks);
        struct round *old = asked->latest;
        asked->latest = round;
        learn_tasks(asked);
        learn_queues(asked);
        talloc_free(old);
    }
    tell(round, answered, count, silent, error.kind != ERROR_NONE ? &error : NULL);
    round->listener_count = 0;
    talloc_free(silent);
    if (!sent)
        talloc_free(round);
    queue_system_changed(&system->base);
}

static void on_answers(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                       const struct error *error)
{
    struct round *round = data;
    round->sending = NULL;
    if (heard >= 0) {
        round->fresh.asked_at = clock_wall();
        round->fresh.heard = heard;
    }
    for (size_t i = 0; i < count; i++) {
        struct celery_worker_answer *answer = answer_of(round, replies[i].worker);
        if (answer && round->method != PING)
            take_value(answer, round->method, replies[i].value);
        else if (answer && round->alive_count < round->fresh.worker_count)
            round->alive[round->alive_count++] = answer->worker;
    }
    if (error) {
        round->error = *error;
        end_round(round);
        return;
    }
    round->method++;
    if (round->method == REGISTERED && round->asked->rounds++ % REGISTERED_EACH)
        round->method++;
    if (round->method >= METHODS || !round->alive_count)
        end_round(round);
    else
        send_next(round);
}

static void send_next(struct round *round)
{
    struct celery_control_request request = {.method = methods[round->method], .wants_reply = true};
    const char **everybody = NULL;
    if (round->method == PING) {
        everybody = there(talloc_array(round, const char *, round->fresh.worker_count));
        for (size_t i = 0; i < round->fresh.worker_count; i++)
            everybody[i] = round->fresh.workers[i].worker;
    }
    request.destination = everybody ? everybody : round->alive;
    request.destination_count = everybody ? round->fresh.worker_count : round->alive_count;
    if (round->method == ACTIVE) { /* not the arguments themselves: what the application lets see */
        request.arguments = json_object_new_object();
        json_object_object_add(request.arguments, "safe", json_object_new_boolean(1));
    }
    round->sending = celery_control_send(round->asked->system, &request, on_answers, round);
    json_object_put(request.arguments);
    talloc_free(everybody);
}

static void on_nobody(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct round *round = timer->data;
    (void)loop, (void)events;
    error_set(&round->error, ERROR_GONE, round->asked->system->base.place, "ask the workers", NULL,
              "no worker is known that lives");
    end_round(round);
}

void celery_asked_ask(struct celery_system *system, const char *const *workers, size_t count,
                      void (*done)(void *data, size_t answered, size_t asked, const char *silent,
                                   const struct error *error),
                      void *data)
{
    struct celery_asked *asked = asked_of(system);
    struct round *round = asked->round;
    bool fresh = !round;
    if (fresh) {
        round = asked->round = there(talloc_zero(asked, struct round));
        round->asked = asked;
        round->fresh.workers = there(talloc_zero_array(round, struct celery_worker_answer, count + 1));
        round->alive = there(talloc_zero_array(round, const char *, count + 1));
        round->fresh.worker_count = count;
        for (size_t i = 0; i < count; i++)
            round->fresh.workers[i].worker = there(talloc_strdup(round, workers[i]));
        ev_timer_init(&round->later, on_nobody, 0, 0);
        round->later.data = round;
        talloc_set_destructor(round, round_destroy);
    }
    if (done && round->listener_count < LISTENERS_MAX)
        round->listeners[round->listener_count++] = (struct listener){done, data};
    if (fresh && count)
        send_next(round);
    else if (fresh)
        ev_timer_start(loop_ev(system->base.loop), &round->later);
}

void celery_asked_forsake(struct celery_system *system, const void *data)
{
    struct round *round = system->asked ? system->asked->round : NULL;
    for (size_t i = 0; round && i < round->listener_count; i++)
        if (round->listeners[i].data == data)
            round->listeners[i].done = NULL;
}

/* ---- again and again ---- */

static void ask_again(struct celery_asked *asked)
{
    size_t count;
    if (asked->round || asked->system->base.feeds[PART_WORKERS].wanted <= 0)
        return;
    const char **workers = celery_workers_alive(NULL, asked->system, &count);
    if (count)
        celery_asked_ask(asked->system, workers, count, NULL, NULL);
    talloc_free(workers);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct celery_asked *asked = timer->data;
    struct error error;
    (void)events;
    if (redis_server_can_act(asked->system->redis, &error)) {
        ask_again(asked);
        return;
    }
    asked->goes_on = false;
    ev_timer_stop(loop, timer);
}

void celery_asked_go_on(struct celery_system *system)
{
    struct celery_asked *asked = asked_of(system);
    asked->goes_on = true;
    ev_timer_again(loop_ev(system->base.loop), &asked->again);
}

bool celery_asked_goes_on(const struct celery_system *system)
{
    struct error error;
    return system->asked && system->asked->goes_on && redis_server_can_act(system->redis, &error);
}

void celery_asked_stale(struct celery_system *system)
{
    if (celery_asked_goes_on(system))
        ask_again(system->asked);
}

void celery_asked_free(struct celery_asked *asked)
{
    if (!asked)
        return;
    ev_timer_stop(loop_ev(asked->system->base.loop), &asked->again);
    while (asked->sending_count)
        celery_sending_close(asked->sendings[0]);
    asked->system->asked = NULL;
    talloc_free(asked);
}
