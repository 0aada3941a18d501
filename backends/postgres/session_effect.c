#include "backends/postgres/session_effect.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/units.h"

static bool in_state(const struct session *session, const char *beginning)
{
    return session->state && strncmp(session->state, beginning, strlen(beginning)) == 0;
}

static bool in_transaction(const struct session *session)
{
    return in_state(session, "active") || in_state(session, "fastpath") ||
           in_state(session, "idle in transaction");
}

char *session_subject(const void *context, const struct session *session)
{
    char age[32];
    char *text = talloc_strdup(context, session->role ? session->role : "no role");
    bool named = session->application && *session->application;
    if (named || session->client)
        text = talloc_asprintf_append_buffer(text, " · %s%s%s", named ? session->application : "",
                                             named && session->client ? " " : "",
                                             session->client ? session->client : "");
    bool waits = session->wait_type && strcmp(session->wait_type, "Lock") == 0;
    const char *state = session->state ? session->state : session->backend_type;
    text = talloc_asprintf_append_buffer(text, " · %s%s", state ? state : "unknown state",
                                         waits ? ", waiting for a lock" : "");
    if (!isnan(session->statement_s))
        text = talloc_asprintf_append_buffer(text, " %s", format_s(age, sizeof age, session->statement_s));
    if (in_transaction(session))
        text = talloc_asprintf_append_buffer(text, " · has written: %s", session->has_xid ? "yes" : "no");
    return text;
}

/* "ALTER TABLE": the first two words of a statement, when they are plain words. */
static void name_statement(char *name, size_t size, const char *query)
{
    size_t length = 0, words = 0;
    while (query && *query && isspace((unsigned char)*query))
        query++;
    for (; query && *query && length + 1 < size; query++) {
        bool blank = isspace((unsigned char)*query);
        if (!blank && !isalpha((unsigned char)*query))
            break;
        if (blank && ++words == 2)
            break;
        name[length++] = blank ? ' ' : (char)toupper((unsigned char)*query);
    }
    while (length && name[length - 1] == ' ')
        length--;
    name[length] = '\0';
}

static bool waits_for_transaction(const struct lock_node *node)
{
    return !node->relation || strncmp(node->relation, "transaction ", 12) == 0 ||
           strncmp(node->relation, "virtual transaction ", 20) == 0;
}

static const char *plural(size_t count, const char *one, const char *many)
{
    return count == 1 ? one : many;
}

/* "Then 8344 goes next and takes AccessExclusive on invoice; 29 wait on until it ends". */
static char *append_next(char *text, const struct locks_snapshot *locks, const struct lock_node *node)
{
    const struct lock_node *next = locks_next(locks, node);
    if (!next)
        return talloc_asprintf_append_buffer(text, " %d %s behind it, and for others too.", node->behind,
                                             plural((size_t)node->behind, "waits", "wait"));
    text = talloc_asprintf_append_buffer(text, " Then %d goes next", next->pid);
    if (!waits_for_transaction(next))
        text = talloc_asprintf_append_buffer(text, " and takes %s on %s", next->mode, next->relation);
    if (next->behind)
        text = talloc_asprintf_append_buffer(text, "; %d %s on until it ends", next->behind,
                                             plural((size_t)next->behind, "waits", "wait"));
    int others = node->behind - next->behind - 1;
    if (others > 0)
        text = talloc_asprintf_append_buffer(text, "; %d %s directly behind", others,
                                             plural((size_t)others, "more waits", "more wait"));
    return talloc_strdup_append_buffer(text, ".");
}

char *session_effect_one(const void *context, enum session_verb verb, const struct session *session,
                         const struct locks_snapshot *locks, const struct lock_node *node)
{
    char *text;
    if (verb == SESSION_CANCEL)
        text = talloc_strdup(context, "Its statement ends with an error and its transaction rolls back (to a "
                                      "savepoint, if it has set one); the session stays.");
    else if (in_transaction(session))
        text = talloc_strdup(context, "Its transaction rolls back.");
    else if (in_state(session, "idle"))
        text = talloc_strdup(context, "It is idle and has no open transaction; its client meets an error at "
                                      "its next statement.");
    else
        text =
            talloc_asprintf(context, "It is no session of a client: a %s, which the server may start again.",
                            session->backend_type ? session->backend_type : "process");
    if (node && node->behind > 0)
        text = append_next(text, locks, node);
    return text;
}

char *session_effect_many(const void *context, enum session_verb verb, const struct session *const sessions[],
                          size_t count, size_t behind)
{
    size_t open = 0, written = 0;
    for (size_t i = 0; i < count; i++) {
        open += in_transaction(sessions[i]);
        written += sessions[i]->has_xid;
    }
    char *text = talloc_asprintf(
        context, "%zu %s; %zu %s.", open,
        verb == SESSION_CANCEL ? plural(open, "statement ends with an error and its transaction rolls back",
                                        "statements end with errors and their transactions roll back")
                               : plural(open, "transaction rolls back", "transactions roll back"),
        written, plural(written, "of them has written", "of them have written"));
    if (behind)
        text = talloc_asprintf_append_buffer(text, " %zu other %s behind them now.", behind,
                                             plural(behind, "session waits", "sessions wait"));
    return text;
}

/* Whether all that wait directly behind the node wait for it alone. */
static bool frees_all(const struct locks_snapshot *locks, const struct lock_node *node)
{
    const struct lock_node *end = locks->nodes + locks->count;
    for (const struct lock_node *n = node + 1; n < end && n->depth > node->depth; n++)
        if (n->depth == node->depth + 1 && n->session && n->session->blocked_by_count != 1)
            return false;
    return true;
}

char *session_milder(const void *context, enum session_verb verb, const struct session *session,
                     const struct locks_snapshot *locks, const struct lock_node *node)
{
    const struct lock_node *next = node ? locks_next(locks, node) : NULL;
    if (next && next->behind > 0 && next->session) {
        char name[32];
        name_statement(name, sizeof name, next->session->query);
        return talloc_asprintf(context, "cancel %d's %s: %d behind it %s; its statement fails", next->pid,
                               *name ? name : "statement", next->behind,
                               frees_all(locks, next)
                                   ? plural((size_t)next->behind, "goes on at once", "go on at once")
                                   : "no longer wait for it");
    }
    if (verb == SESSION_TERMINATE && in_state(session, "active"))
        return talloc_asprintf(context, "cancel %d's statement: the session stays", session->pid);
    return NULL;
}
