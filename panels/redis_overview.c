/* One Redis: how it is, its clients, slow commands and latency events. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/units.h"
#include "panels/redis.h"

/* ---- overview ---- */

REDIS_PART(overview, REDIS_OVERVIEW)
REDIS_TEXT(fact, subject, subject)
REDIS_TEXT(fact, detail, detail)

static struct value fact_state(const void *row)
{
    const struct redis_fact *fact = REDIS_ITEM(fact, row);
    if (!fact->value)
        return value_unknown();
    struct value value = value_text(fact->severity == SEVERITY_CRITICAL  ? "critical"
                                    : fact->severity == SEVERITY_WARNING ? "warning"
                                                                         : "ok");
    value.severity = fact->severity;
    return value;
}
static struct value fact_value(const void *row)
{
    const struct redis_fact *fact = REDIS_ITEM(fact, row);
    if (!fact->value)
        return value_unknown();
    struct value value = value_text(fact->value);
    value.severity = fact->severity;
    return value;
}
static struct value fact_number(const void *row)
{
    double number = REDIS_ITEM(fact, row)->number;
    return isnan(number) ? value_blank() : value_real(number);
}

static const struct column fact_columns[] = {
    REDIS_SERVER_COLUMN,
    {"subject", "what", "what was looked at", UNIT_NONE, 16, 0, 0, fact_subject, NULL},
    {"state", "state", "ok: in bounds; ? is not known", UNIT_NONE, 9, 0, 0, fact_state, NULL},
    {"value", "value", "the figure", UNIT_NONE, 24, 0, 0, fact_value, NULL},
    {"number", "number", "the figure as a number: bytes, percent, seconds, milliseconds of a round trip",
     UNIT_NONE, 12, 9, COLUMN_HIDDEN, fact_number, NULL},
    {"detail", "detail", "more, and what to do where it is out of bounds", UNIT_NONE, 0, 0, 0, fact_detail,
     NULL},
};

static void add_facts(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_overview *overview = snapshot;
    for (size_t i = 0; i < overview->count; i++) {
        const struct redis_fact *fact = &overview->facts[i];
        /* Replicas are several of one subject. */
        bool several = strcmp(fact->subject, "replica") == 0;
        redis_row_add(list, server, fact->node, fact,
                      talloc_asprintf(list, "%s/%s/%s%s%s", server, fact->node ? fact->node : "",
                                      fact->subject, several ? "/" : "", several ? fact->value : ""));
    }
}

REDIS_ROWS(overview, REDIS_OVERVIEW, add_facts)

/* "7.0.15 at 10.0.0.5:6379, behind Sentinels". */
static void overview_note(struct app *app, char *buffer, size_t size)
{
    static const char *const kinds[] = {[REDIS_UNKNOWN] = "",
                                        [REDIS_SINGLE] = "",
                                        [REDIS_SENTINEL] = ", found by Sentinels",
                                        [REDIS_CLUSTER] = ", a Cluster"};
    const struct redis_server *server = redis_state(app)->focus;
    *buffer = '\0';
    if (server && redis_server_place(server))
        snprintf(buffer, size, "%s %s at %s%s", redis_server_is_replica(server) ? "replica" : "master",
                 redis_server_version(server) ? redis_server_version(server) : "", redis_server_place(server),
                 kinds[redis_server_topology(server)]);
}

REDIS_DETAIL(fact, fact_columns)

const struct view redis_overview_view = {
    .id = "overview",
    .title = "Overview",
    .summary = "memory, hit ratio, clients, persistence, replication: what is out of bounds",
    .empty = "nothing is known of this Redis yet",
    .columns = fact_columns,
    .column_count = sizeof fact_columns / sizeof *fact_columns,
    .tell = "detail",
    .rows = overview_rows,
    .note = overview_note,
    .detail = fact_detail_page,
    REDIS_VIEW(overview),
};

/* ---- clients ---- */

REDIS_PART(clients, REDIS_CLIENTS)
REDIS_TEXT(client, id, id)
REDIS_TEXT(client, address, address)
REDIS_TEXT(client, name, name)
REDIS_TEXT(client, user, user)
REDIS_TEXT(client, command, command)
REDIS_TEXT(client, library, library)
REDIS_REAL(client, age, age_s)
REDIS_REAL(client, idle, idle_s)
REDIS_COUNT(client, database, database)
REDIS_COUNT(client, memory, memory_bytes)

static struct value client_flags(const void *row)
{
    const struct redis_client *client = REDIS_ITEM(client, row);
    struct value value = value_text(*client->flags ? client->flags : NULL);
    if (strstr(client->flags, "monitor"))
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value client_subscriptions(const void *row)
{
    int64_t count = REDIS_ITEM(client, row)->subscriptions;
    return count > 0 ? value_integer(count) : value_blank();
}
static struct value client_output(const void *row)
{
    const struct redis_client *client = REDIS_ITEM(client, row);
    if (client->output_bytes < 0)
        return value_unknown();
    struct value value = value_integer(client->output_bytes);
    value.severity = client->output_bytes ? client->severity : SEVERITY_NONE;
    return value;
}

static const struct column client_columns[] = {
    REDIS_SERVER_COLUMN,
    {"id", "id", "its number on the server", UNIT_NONE, 8, 3, 0, client_id, NULL},
    {"name", "name", "what it calls itself (CLIENT SETNAME)", UNIT_NONE, 18, 1, 0, client_name, NULL},
    {"user", "user", "its login", UNIT_NONE, 10, 2, 0, client_user, NULL},
    {"state", "state", "blocked: it waits in BRPOP and the like; subscribed, monitor, replica ...", UNIT_NONE,
     12, 0, 0, client_flags, NULL},
    {"command", "command", "the last one", UNIT_NONE, 16, 0, 0, client_command, NULL},
    {"db", "db", "the number of its database", UNIT_ID, 3, 1, 0, client_database, NULL},
    {"idle_s", "idle", "since its last command", UNIT_S, 9, 0, 0, client_idle, NULL},
    {"age_s", "age", "since it connected", UNIT_S, 9, 1, 0, client_age, NULL},
    {"subscriptions", "subs", "channels and patterns that it listens to", UNIT_COUNT, 5, 4, 0,
     client_subscriptions, NULL},
    {"output_bytes", "unsent", "answers that it has not taken yet: they use memory beyond maxmemory",
     UNIT_BYTES, 8, 0, 0, client_output, NULL},
    {"memory_bytes", "memory", "all that the server keeps for it", UNIT_BYTES, 8, 3, 0, client_memory, NULL},
    {"library", "library", "what it says it is made with", UNIT_NONE, 12, 9, COLUMN_HIDDEN, client_library,
     NULL},
    {"address", "address", "where it is connected from", UNIT_NONE, 0, 0, 0, client_address, NULL},
};

static void add_clients(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_clients *clients = snapshot;
    for (size_t i = 0; i < clients->count; i++) {
        const struct redis_client *client = &clients->clients[i];
        redis_row_add(
            list, server, client->node, client,
            talloc_asprintf(list, "%s/%s/%s", server, client->node ? client->node : "", client->id));
        list->rows[list->count - 1].dim = client->own;
    }
}

REDIS_ROWS(clients, REDIS_CLIENTS, add_clients)

REDIS_DETAIL(client, client_columns)

const struct view redis_clients_view = {
    .id = "clients",
    .title = "Clients",
    .summary = "who is connected, and what they do; this console's own connections are dim",
    .empty = "no client is known yet",
    .columns = client_columns,
    .column_count = sizeof client_columns / sizeof *client_columns,
    .sort = "output_bytes",
    .descending = true,
    .rows = clients_rows,
    .detail = client_detail_page,
    REDIS_VIEW(clients),
};

/* ---- slow log ---- */

REDIS_PART(slowlog, REDIS_SLOWLOG)
REDIS_TEXT(slow, id, id)
REDIS_TEXT(slow, command, command)
REDIS_TEXT(slow, key, key)
REDIS_TEXT(slow, client, client)
REDIS_TEXT(slow, name, name)
REDIS_TIME(slow, at, at)
REDIS_COUNT(slow, words, words)

static struct value slow_ms(const void *row)
{
    double ms = REDIS_ITEM(slow, row)->ms;
    struct value value = value_real(ms);
    value.severity = ms >= 1000 ? SEVERITY_CRITICAL : ms >= 100 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}

static const struct column slow_columns[] = {
    REDIS_SERVER_COLUMN,
    {"at", "when", "when it ran", UNIT_TIME, 14, 0, 0, slow_at, NULL},
    {"took_ms", "took", "time in which the server did nothing else", UNIT_MS, 10, 0, 0, slow_ms, NULL},
    {"command", "command", "what it was; its arguments are not shown, only its first key", UNIT_NONE, 18, 0,
     0, slow_command, NULL},
    {"words", "words", "of the command, 32 at most", UNIT_COUNT, 6, 3, 0, slow_words, NULL},
    {"name", "client", "what the client calls itself", UNIT_NONE, 16, 2, 0, slow_name, NULL},
    {"client", "address", "where the client was connected from", UNIT_NONE, 22, 3, 0, slow_client, NULL},
    {"id", "id", "its number in the log", UNIT_NONE, 8, 9, COLUMN_HIDDEN, slow_id, NULL},
    {"key", "key", "its first key", UNIT_NONE, 0, 0, 0, slow_key, NULL},
};

static void add_slow(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_slowlog *slowlog = snapshot;
    for (size_t i = 0; i < slowlog->count; i++) {
        const struct redis_slow *slow = &slowlog->entries[i];
        redis_row_add(list, server, slow->node, slow,
                      talloc_asprintf(list, "%s/%s/%s", server, slow->node ? slow->node : "", slow->id));
    }
}

REDIS_ROWS(slowlog, REDIS_SLOWLOG, add_slow)

static void slowlog_note(struct app *app, char *buffer, size_t size)
{
    char text[32];
    const struct redis_slowlog *slowlog = redis_part_first(app, REDIS_SLOWLOG);
    *buffer = '\0';
    if (slowlog && slowlog->threshold_ms < 0)
        snprintf(buffer, size, "slowlog-log-slower-than is -1: nothing is kept");
    else if (slowlog && !isnan(slowlog->threshold_ms))
        snprintf(buffer, size, "what took over %s is kept",
                 format_ms(text, sizeof text, slowlog->threshold_ms));
}

REDIS_DETAIL(slow, slow_columns)

const struct view redis_slowlog_view = {
    .id = "slowlog",
    .title = "Slow log",
    .summary = "commands that took long: while one runs all others wait",
    .empty = "no command took long",
    .columns = slow_columns,
    .column_count = sizeof slow_columns / sizeof *slow_columns,
    .sort = "at",
    .descending = true,
    .rows = slowlog_rows,
    .note = slowlog_note,
    .detail = slow_detail_page,
    REDIS_VIEW(slowlog),
};

/* ---- latency ---- */

REDIS_PART(latency, REDIS_LATENCY)
REDIS_TEXT(latency, event, event)
REDIS_TEXT(latency, help, help)
REDIS_TIME(latency, at, at)
REDIS_REAL(latency, latest, latest_ms)

static struct value latency_worst(const void *row)
{
    double ms = REDIS_ITEM(latency, row)->worst_ms;
    struct value value = value_real(ms);
    value.severity = ms >= 1000 ? SEVERITY_CRITICAL : ms >= 250 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}

static const struct column latency_columns[] = {
    REDIS_SERVER_COLUMN,
    {"event", "event", "what held it up", UNIT_NONE, 24, 0, 0, latency_event, NULL},
    {"latest_ms", "last", "how long it stood still the last time", UNIT_MS, 10, 0, 0, latency_latest, NULL},
    {"worst_ms", "worst", "the longest time", UNIT_MS, 10, 0, 0, latency_worst, NULL},
    {"at", "when", "the last time", UNIT_TIME, 14, 0, 0, latency_at, NULL},
    {"help", "means", "what usually causes it", UNIT_NONE, 0, 0, 0, latency_help, NULL},
};

static void add_latency(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_latencies *latencies = snapshot;
    for (size_t i = 0; i < latencies->count; i++) {
        const struct redis_latency *event = &latencies->events[i];
        redis_row_add(list, server, event->node, event,
                      talloc_asprintf(list, "%s/%s/%s", server, event->node ? event->node : "",
                                      event->event ? event->event : ""));
    }
}

REDIS_ROWS(latency, REDIS_LATENCY, add_latency)

static void latency_note(struct app *app, char *buffer, size_t size)
{
    const struct redis_latencies *latencies = redis_part_first(app, REDIS_LATENCY);
    *buffer = '\0';
    if (latencies && !isnan(latencies->threshold_ms) && latencies->threshold_ms <= 0)
        snprintf(buffer, size, "it watches for nothing: CONFIG SET latency-monitor-threshold 100");
    else if (latencies && latencies->threshold_ms > 0)
        snprintf(buffer, size, "what took over %.0f ms is noted", latencies->threshold_ms);
}

const struct view redis_latency_view = {
    .id = "latency",
    .title = "Latency",
    .summary = "events that made it stand still: forks, the disk, expiring, evicting, slow commands",
    .empty = "no event is noted",
    .columns = latency_columns,
    .column_count = sizeof latency_columns / sizeof *latency_columns,
    .tell = "help",
    .sort = "worst_ms",
    .descending = true,
    .rows = latency_rows,
    .note = latency_note,
    REDIS_VIEW(latency),
};
