/*
 * Taking jobs out of the middle of a list of any length. The list is renamed to a hold list, which only we
 * touch, and goes back from its oldest job on, in pieces that cost the server a millisecond: each job back to
 * the queue's tail side (so that workers always find the oldest), aside, or back and replaced. Jobs that come
 * in meanwhile are put behind those that are still held, so that the order is as if nothing had been moved.
 * Workers never wait: what went back first runs first. A walk that ends in the middle leaves the rest in the
 * hold list, with all that is needed to go on.
 *
 * While the server works on one piece, the next is decided here.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"
#include "core/clock.h"

enum { ROOM = 4 * CELERY_CHUNK, OLDEST = 50 };

struct swap {
    char digits[41];
    char *message;
    size_t length;
};

struct walk {
    struct celery_command *command; /* what was built last */
    char *scratch, *note, *beside, *hold;
    char *holds[CELERY_STEPS], *targets[CELERY_STEPS];
    int64_t held; /* length of the hold list when the last piece was over */
    /* Decided and not sent, from the oldest on. */
    char mask[ROOM];
    size_t sizes[ROOM];
    size_t decided;
    char oldest[OLDEST][41]; /* SHA-1 of the oldest, which go on together with the renaming */
    struct swap *swaps;
    size_t swap_count;
    int64_t pending; /* asked for and not yet read: the sum of the windows that are on their way */
    int64_t windows[2];
    int window_count;
    size_t taking;      /* in the piece that is being moved */
    int64_t taking_out; /* of them, how many are what is meant */
    double bytes, read; /* for the size of a message */
    bool over;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void turn(struct celery_step *own);

/* ---- deciding ---- */

static bool of_tenant(const struct celery_step *own, const void *context, const char *raw, size_t length)
{
    const struct celery_system *system = own->act->system;
    struct celery_envelope envelope;
    size_t size;
    celery_envelope_scan(&envelope, raw, length, system->tenancy.header);
    const char *tenant = celery_tenant_quick(context, &envelope, own->list, &system->tenancy, &size);
    return tenant && size == strlen(own->act->tenant) && memcmp(tenant, own->act->tenant, size) == 0;
}

static bool of_filter(const struct celery_step *own, const void *context, const char *raw, size_t length)
{
    const struct celery_system *system = own->act->system;
    struct celery_envelope envelope;
    struct error error;
    size_t size = 0;
    if (!job_filter_may_match(own->act->filter, raw, length))
        return false;
    celery_envelope_scan(&envelope, raw, length, system->tenancy.header);
    struct job job = {.state = JOB_READY, .index = -1};
    celery_job_fill(context, &job, &envelope, own->list, &system->tenancy);
    char *body = job_filter_needs_body(own->act->filter)
                     ? celery_body_decode(context, &envelope, &size, &error)
                     : NULL;
    return job_filter_matches(own->act->filter, &job, body, size, clock_wall());
}

static char place_of(const struct celery_step *own, const void *context, const char *raw, size_t length,
                     char digits[41])
{
    const struct celery_act *act = own->act;
    if (act->put_back)
        return '0';
    bool meant = act->frozen   ? celery_frozen_take(act->frozen, raw, length, digits)
                 : act->filter ? of_filter(own, context, raw, length)
                 : act->tenant ? of_tenant(own, context, raw, length)
                               : false;
    if (!meant)
        return '0';
    if (own->to_queue)
        return (char)('1' + celery_level_of(act->system, raw, length));
    return own->group ? (char)('1' + own->level) : 'x';
}

static bool add_swap(struct walk *walk, const void *context, const char *raw, size_t length)
{
    struct celery_envelope envelope;
    struct error error;
    size_t size;
    celery_envelope_scan(&envelope, raw, length, NULL);
    char *message = celery_envelope_expire(context, &envelope, CELERY_LONG_AGO, &size, &error);
    if (!message)
        return false;
    walk->swaps = there(talloc_realloc(walk, walk->swaps, struct swap, walk->swap_count + 1));
    struct swap *swap = &walk->swaps[walk->swap_count++];
    celery_digest(raw, length, swap->digits);
    swap->message = talloc_steal(walk, message);
    swap->length = size;
    return true;
}

static void decide(struct celery_step *own, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    void *context = talloc_new(NULL);
    char digits[41];
    for (size_t i = reply->elements; i-- > 0 && walk->decided < ROOM;) {
        const struct redisReply *element = reply->element[i];
        const char *raw = element->str ? element->str : "";
        char where = place_of(own, context, raw, element->len, digits);
        if (where == 'x' && !add_swap(walk, context, raw, element->len))
            where = '0';
        walk->mask[walk->decided] = where;
        walk->sizes[walk->decided++] = element->len;
        walk->bytes += (double)element->len;
        walk->read++;
        if (where != '0')
            talloc_free_children(context);
    }
    talloc_free(context);
}

/* ---- pieces ---- */

/* How many decided jobs the next piece takes. */
static size_t piece(const struct walk *walk)
{
    size_t count = 0, bytes = 0;
    while (count < walk->decided && count < CELERY_CHUNK && (count == 0 || bytes < CELERY_CHUNK_BYTES))
        bytes += walk->sizes[count++];
    return count;
}

static struct celery_command *move_command(struct celery_step *own, size_t count)
{
    struct walk *walk = own->engine;
    struct celery_command *command = celery_step_eval(walk, own, SCRIPT_WALK, 9 + CELERY_STEPS);
    const char *const keys[] = {own->live, walk->hold, walk->note, walk->scratch};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        celery_command_add(command, keys[i]);
    for (int i = 0; i < CELERY_STEPS; i++)
        celery_command_add(command, walk->targets[i]);
    celery_command_add(command, walk->beside);
    for (int i = 0; i < CELERY_STEPS; i++)
        celery_command_add(command, walk->holds[i]);
    celery_command_add(command, own->act->token);
    celery_command_number(command, walk->held);
    celery_command_number(command, own->level);
    char *mask = there(talloc_strndup(command, walk->mask, count));
    celery_command_bytes(command, mask, count);
    size_t swaps = 0;
    walk->taking_out = 0;
    for (size_t i = 0; i < count; i++) {
        walk->taking_out += mask[i] != '0';
        if (mask[i] != 'x')
            continue;
        celery_command_add(command, walk->swaps[swaps].digits);
        celery_command_bytes(command, talloc_steal(command, walk->swaps[swaps].message),
                             walk->swaps[swaps].length);
        swaps++;
    }
    walk->swap_count -= swaps;
    if (swaps)
        memmove(walk->swaps, walk->swaps + swaps, walk->swap_count * sizeof *walk->swaps);
    walk->decided -= count;
    memmove(walk->mask, walk->mask + count, walk->decided);
    memmove(walk->sizes, walk->sizes + count, walk->decided * sizeof *walk->sizes);
    walk->taking = count;
    return command;
}

/* The window behind what is decided and asked for already; NULL: there is none, or enough is decided. */
static struct celery_command *read_command(struct celery_step *own)
{
    struct walk *walk = own->engine;
    int64_t known = (int64_t)walk->decided + walk->pending;
    int64_t rest = walk->held - (int64_t)walk->taking - known;
    double size = walk->read > 0 ? walk->bytes / walk->read : CELERY_CHUNK_BYTES / 20.0;
    int64_t count = (int64_t)(CELERY_CHUNK_BYTES / (size + 1)) + 1;
    if (count > CELERY_CHUNK)
        count = CELERY_CHUNK;
    if (count > rest)
        count = rest;
    if (count <= 0 || known > CELERY_CHUNK || walk->window_count == 2)
        return NULL;
    walk->pending += count;
    walk->windows[walk->window_count++] = count;
    struct celery_command *command = celery_command_new(walk, "LRANGE");
    celery_command_add(command, walk->hold);
    celery_command_number(command, -(known + count));
    celery_command_number(command, -(known + 1));
    return command;
}

static void fail_here(struct celery_step *own, const struct error *error, bool lost)
{
    struct walk *walk = own->engine;
    struct error why = *error;
    walk->over = true;
    if (!lost && own->begun && !*why.todo)
        error_set(&why, error->kind, error->where, error->what,
                  "What is not looked at yet waits in the hold list: continue the move, or put it back.",
                  "%s", error->why);
    celery_step_fail(own, &why, lost);
}

static void finish(struct celery_step *own)
{
    struct walk *walk = own->engine;
    walk->over = true;
    own->gone = own->act->frozen && own->meant > own->done ? own->meant - own->done : 0;
    celery_step_over(own);
}

static void refused(struct celery_step *own, const char *answer)
{
    struct error error;
    const struct change *change = own->act->change;
    if (strcmp(answer, "taken") == 0)
        error_set(&error, ERROR_GONE, change->server, change->title, NULL,
                  "another console goes on with this move");
    else
        error_set(&error, ERROR_GONE, change->server, change->title,
                  "Look at what is set aside, and continue the move.",
                  "somebody else changed the hold list %s", own->hold);
    fail_here(own, &error, false);
}

static void moved(struct celery_step *own, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    if (walk->over || reply->type != REDIS_REPLY_ARRAY || reply->elements < 1)
        return;
    if (reply->elements < 4 || strcmp(reply->element[0]->str, "moved") != 0) {
        refused(own, reply->element[0]->str ? reply->element[0]->str : "");
        return;
    }
    int64_t replaced = reply->element[3]->integer;
    own->done += own->group || own->to_queue ? walk->taking_out : replaced;
    walk->held = reply->element[1]->integer;
    walk->taking = 0;
    /* The next piece leaves before what came with this answer is decided. */
    if (walk->decided)
        turn(own);
}

static void window_read(struct celery_step *own, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    walk->pending -= walk->windows[0];
    walk->windows[0] = walk->windows[1];
    walk->window_count--;
    if (!walk->over && reply->type == REDIS_REPLY_ARRAY)
        decide(own, reply);
}

static void piece_reply(struct celery_step *own, int index, const struct redisReply *reply)
{
    if (index == 0)
        moved(own, reply);
    else
        window_read(own, reply);
}

static void read_reply(struct celery_step *own, int index, const struct redisReply *reply)
{
    (void)index;
    window_read(own, reply);
}

static void piece_done(struct celery_step *own, const struct error *error, bool lost)
{
    struct walk *walk = own->engine;
    if (walk->over)
        return;
    if (error)
        fail_here(own, error, lost);
    else
        turn(own);
}

/* Sends what can be sent now: the next piece, with the reading of the window behind it. */
static void turn(struct celery_step *own)
{
    struct walk *walk = own->engine;
    struct celery_command *commands[3];
    int count = 0;
    if (walk->over || walk->taking)
        return;
    if (walk->held == 0) {
        finish(own);
        return;
    }
    if (change_stopped(own->act->change)) {
        walk->over = true;
        celery_step_stopped(own, "The rest waits in the hold list: continue the move, or put it back.");
        return;
    }
    bool moves = walk->decided > 0;
    if (moves)
        commands[count++] = move_command(own, piece(walk));
    else if (walk->pending)
        return;
    /* A window more than the next piece needs: that is decided while the server works on this one. */
    struct celery_command *reading;
    while (count < 3 && (reading = read_command(own)))
        commands[count++] = reading;
    if (count)
        celery_step_call(own, commands, count,
                         (struct celery_call_handler){moves ? piece_reply : read_reply, piece_done});
    for (int i = 0; i < count; i++)
        talloc_free(commands[i]);
}

/* ---- beginning ---- */

/* A move that goes on. */
static void taken(struct celery_step *own, int index, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    (void)index;
    own->begun = true;
    if (reply->type == REDIS_REPLY_INTEGER)
        walk->held = reply->integer;
}

/* The oldest went where they belong when they were what was looked at; the others are looked at again. */
static void held(struct celery_step *own, int index, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    (void)index;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return;
    own->begun = true;
    walk->held = reply->element[1]->integer;
    size_t passed = (size_t)reply->element[2]->integer, over = (size_t)reply->element[3]->integer;
    for (size_t i = 0; i < walk->decided; i++) {
        if (walk->mask[i] == '0')
            continue;
        if (i >= passed && i < over)
            own->done++;
        else if (own->act->frozen && (i >= over || passed == walk->decided))
            celery_frozen_give_back(own->act->frozen, walk->oldest[i]);
    }
    walk->decided = 0;
}

static struct celery_command *hold_command(struct celery_step *own)
{
    struct walk *walk = own->engine;
    bool beside = own->group != NULL;
    struct celery_command *command = celery_step_eval(walk, own, SCRIPT_HOLD, 5 + 2 * CELERY_STEPS);
    const char *const keys[] = {own->live, walk->hold, walk->note, walk->scratch, walk->beside};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        celery_command_add(command, keys[i]);
    for (int i = 0; i < CELERY_STEPS; i++)
        celery_command_add(command, walk->targets[i]);
    for (int i = 0; i < CELERY_STEPS; i++)
        celery_command_add(command, walk->holds[i]);
    celery_command_number(command, own->level);
    celery_command_bytes(command, walk->mask, walk->decided);
    char *digests = there(talloc_strdup(command, ""));
    for (size_t i = 0; i < walk->decided; i++)
        digests = there(talloc_strdup_append_buffer(digests, walk->oldest[i]));
    celery_command_bytes(command, digests, strlen(digests));
    celery_command_number(command, celery_step_note_words(own) + (own->group || own->to_queue ? 4 : 2));
    celery_step_note(command, own);
    celery_command_add(command, "owner");
    celery_command_add(command, own->act->token);
    if (own->group || own->to_queue) {
        celery_command_add(command, beside ? "to" : "to_queue");
        celery_command_add(command, beside ? own->group : own->to_queue);
    }
    if (beside)
        celery_step_note(command, own);
    return command;
}

static void send_alone(struct celery_step *own, struct celery_command *command,
                       struct celery_call_handler handler)
{
    celery_step_call(own, &command, 1, handler);
    talloc_free(command);
}

static void oldest_read(struct celery_step *own, int index, const struct redisReply *reply)
{
    struct walk *walk = own->engine;
    (void)index;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > OLDEST)
        return;
    decide(own, reply);
    for (size_t i = 0; i < walk->decided; i++) {
        const struct redisReply *element = reply->element[reply->elements - 1 - i];
        celery_digest(element->str, element->len, walk->oldest[i]);
    }
}

static void oldest_done(struct celery_step *own, const struct error *error, bool lost)
{
    if (error)
        fail_here(own, error, lost);
    else
        send_alone(own, hold_command(own), (struct celery_call_handler){held, piece_done});
}

static void name_keys(struct celery_step *own)
{
    const struct celery_system *system = own->act->system;
    struct walk *walk = own->engine;
    walk->hold = celery_aside_list(walk, system, own->hold, own->level);
    walk->note = celery_aside_note(walk, system, own->hold);
    walk->scratch = there(talloc_asprintf(walk, "%s:scratch", walk->hold));
    walk->beside = own->group ? celery_aside_note(walk, system, own->group)
                              : there(talloc_asprintf(walk, "%s:none", walk->note));
    for (int i = 0; i < CELERY_STEPS; i++) {
        walk->holds[i] = celery_aside_list(walk, system, own->hold, i);
        walk->targets[i] = own->to_queue ? celery_queue_key(walk, system, own->to_queue, i, NULL)
                           : own->group  ? celery_aside_list(walk, system, own->group, i)
                                         : walk->scratch;
    }
}

void celery_run_walk(struct celery_step *own)
{
    struct walk *walk = own->engine = there(talloc_zero(own, struct walk));
    struct celery_command *commands[2];
    name_keys(own);
    if (own->goes_on) {
        commands[0] = celery_step_eval(walk, own, SCRIPT_TAKE, 1);
        celery_command_add(commands[0], walk->note);
        celery_command_add(commands[0], own->act->token);
        commands[1] = celery_command_new(walk, "LLEN");
        celery_command_add(commands[1], walk->hold);
        celery_step_call(own, commands, 2, (struct celery_call_handler){taken, piece_done});
        talloc_free(commands[0]);
        talloc_free(commands[1]);
    } else if (own->group || own->to_queue) {
        commands[0] = celery_command_new(walk, "LRANGE");
        celery_command_add(commands[0], own->live);
        celery_command_number(commands[0], -OLDEST);
        celery_command_number(commands[0], -1);
        send_alone(own, commands[0], (struct celery_call_handler){oldest_read, oldest_done});
    } else {
        send_alone(own, hold_command(own), (struct celery_call_handler){held, piece_done});
    }
}
