/* A change on Redis: steps of EVALs, their commands as text, sending them, judging what they answered. */
#include <ctype.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/redis_act.h"

enum { WORD_SHOWN = 120, SUBJECTS_SHOWN = 20 };

struct act_step {
    struct change *change;
    struct change_step *step;
    struct queue_system *system;
    struct redis_batch *batch;
};

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- commands as text ---- */

/* As redis-cli would take it; long payloads only by their size and hash: they hold people's data. */
static char *append_word(char *text, const char *word, size_t length, bool script)
{
    if (length > WORD_SHOWN && !script) {
        unsigned char digest[SHA_DIGEST_LENGTH];
        SHA1((const unsigned char *)word, length, digest);
        return or_die(talloc_asprintf_append_buffer(text, " <%zu bytes, sha1 %02x%02x%02x%02x...>", length,
                                                    digest[0], digest[1], digest[2], digest[3]));
    }
    bool plain = length > 0;
    for (size_t i = 0; plain && i < length; i++)
        plain = isgraph((unsigned char)word[i]) && !strchr("\"'\\;$", word[i]);
    if (plain)
        return or_die(talloc_asprintf_append_buffer(text, " %.*s", (int)length, word));
    text = or_die(talloc_strdup_append_buffer(text, " \""));
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)word[i];
        if (script && isspace(c)) {
            if (i && !isspace((unsigned char)word[i - 1]))
                text = or_die(talloc_strdup_append_buffer(text, " "));
        } else if (c < ' ' || c == 127)
            text = or_die(talloc_asprintf_append_buffer(text, "\\x%02x", c));
        else
            text =
                or_die(talloc_asprintf_append_buffer(text, c == '"' || c == '\\' ? "\\%c" : "%c", word[i]));
    }
    return or_die(talloc_strdup_append_buffer(text, "\""));
}

static char *command_text(const void *context, const struct redis_batch *batch)
{
    const struct redis_command *first = redis_batch_command(batch, 0);
    char *text = or_die(talloc_strdup(context, first->words[0]));
    for (int i = 1; i < first->count; i++)
        text = append_word(text, first->words[i], first->lengths[i], i == 1);
    size_t others = redis_batch_count(batch) - 1;
    if (others)
        text = or_die(talloc_asprintf_append_buffer(
            text, "\nand the same for %zu further jobs, one EVAL each", others));
    return text;
}

void redis_act_eval(struct redis_batch *batch, const char *script, int keys)
{
    redis_batch_add(batch, "EVAL", NULL);
    redis_batch_static(batch, script);
    redis_batch_format(batch, "%d", keys);
}

/* ---- sending ---- */

struct outcome_count {
    size_t done, gone, refused;
    const char *why; /* of the first that refused */
};

static struct outcome_count count_answers(const struct redis_batch *batch)
{
    struct outcome_count count = {0};
    for (size_t i = 0; i < redis_batch_count(batch); i++) {
        const struct redis_answer *answer = redis_batch_answer(batch, i);
        const char *text = answer->text ? answer->text : "no answer";
        if (answer->kind == ANSWER_TEXT && strcmp(text, "done") == 0)
            count.done++;
        else if (answer->kind == ANSWER_TEXT && strcmp(text, "gone") == 0)
            count.gone++;
        else {
            count.why = count.why ? count.why : text;
            count.refused++;
        }
    }
    return count;
}

static char *outcome_text(const void *context, const struct change *change, const struct outcome_count *count)
{
    char *text =
        or_die(talloc_asprintf(context, "%zu %s", count->done, change->past ? change->past : "done"));
    if (count->gone)
        text = or_die(talloc_asprintf_append_buffer(text, ", %zu gone or changed meanwhile", count->gone));
    if (count->refused)
        text = or_die(talloc_asprintf_append_buffer(text, ", %zu refused: %s", count->refused, count->why));
    return text;
}

static void step_ended(void *data, struct redis_batch *batch, const struct error *error)
{
    struct act_step *own = data;
    struct change *change = own->change;
    struct change_step *step = own->step;
    struct error why = {0};
    if (error) { /* it may have been done or not */
        change_step_done(
            change, step,
            error->kind == ERROR_LOST || error->kind == ERROR_TIMEOUT ? STEP_UNKNOWN : STEP_FAILED, error);
        return;
    }
    struct outcome_count count = count_answers(batch);
    enum step_outcome outcome = STEP_DONE;
    step->output = outcome_text(change, change, &count);
    if (redis_batch_refusal(batch)) {
        why = *redis_batch_refusal(batch);
        outcome = STEP_FAILED;
    } else if (!count.done && count.refused) {
        error_set(&why, ERROR_INTERLOCK, change->server, change->title, NULL, "%s", count.why);
        outcome = STEP_FAILED;
    } else if (!count.done) {
        error_set(&why, ERROR_GONE, change->server, change->title, NULL,
                  "%s is no longer what was selected: it moved, changed or ran meanwhile", step->target);
        outcome = STEP_GONE;
    }
    change_step_done(change, step, outcome, outcome == STEP_DONE ? NULL : &why);
}

static void send_step(struct change *change, struct change_step *step)
{
    struct act_step *own = step->data;
    (void)change;
    redis_batch_act(own->batch, own->system->at.redis, own->system->at.database, step_ended, own);
}

/* ---- making one ---- */

struct change *redis_change_new(struct queue_system *system, const char *verb, const char *past,
                                enum hazard hazard, size_t steps)
{
    struct change *change = change_new();
    const char *role = redis_server_act_role(system->at.redis);
    change->hazard = hazard;
    change->environment = or_die(talloc_strdup(change, system->environment->name));
    change->server = or_die(talloc_strdup(change, redis_server_name(system->at.redis)));
    change->role = role ? or_die(talloc_strdup(change, role)) : NULL;
    change->verb = or_die(talloc_strdup(change, verb));
    change->past = or_die(talloc_strdup(change, past));
    change->steps = or_die(talloc_zero_array(change, struct change_step, steps ? steps : 1));
    change->batch = 1; /* what is gone of one step is no reason to leave the others out */
    change->withdrawable = true;
    return change;
}

struct redis_batch *redis_change_step(struct change *change, struct queue_system *system, const char *name,
                                      const char *target, const char *subject, const char *undo)
{
    struct change_step *step = &change->steps[change->step_count++];
    struct act_step *own = or_die(talloc_zero(change, struct act_step));
    own->change = change;
    own->step = step;
    own->system = system;
    own->batch = redis_batch_new(own);
    step->name = or_die(talloc_strdup(change, name));
    step->target = or_die(talloc_strdup(change, target));
    step->subject = subject ? or_die(talloc_strdup(change, subject)) : NULL;
    step->undo = undo ? or_die(talloc_strdup(change, undo)) : NULL;
    step->send = send_step;
    step->data = own;
    return own->batch;
}

void redis_change_ready(struct change *change)
{
    for (size_t i = 0; i < change->step_count; i++) {
        struct act_step *own = change->steps[i].data;
        change->steps[i].command = command_text(change, own->batch);
    }
}

void redis_change_confirm_name(struct change *change, const char *name, const char *what)
{
    change->reach = REACH_NAME;
    change->confirm = or_die(talloc_strdup(change, name));
    change->confirm_prompt = or_die(talloc_strdup(change, what));
}
