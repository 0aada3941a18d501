/* The store of entries, texts and names; deltas; snapshots. */
#include "backends/postgres/statements.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "backends/postgres/statements_internal.h"
#include "core/secret.h"

enum { TEXTS_SPARE = 1000 };

struct key {
    int64_t query_id;
    uint32_t database, role;
    uint32_t top_level, zero; /* no padding: hashed as bytes */
};

struct entry {
    struct key key;
    uint64_t seen; /* number of the last reading that had it */
    struct statement_counters first, previous, now;
    double max_ms, since;
    struct text *text;
    UT_hash_handle hh;
};

struct text {
    int64_t query_id;
    uint64_t seen; /* number of the last reading that had an entry of it */
    char *text;    /* NULL until fetched; lies in the store's shelf */
    uint64_t
        asked; /* reading in which it was asked for; one that is not there is not asked for at once again */
    UT_hash_handle hh;
};

struct name {
    uint64_t key; /* oid, and 1 << 32 for roles */
    char *name;
    UT_hash_handle hh;
};

struct statements_store {
    const char *server;
    struct entry *entries;
    struct text *texts;
    void *shelf; /* of the texts that were fetched; snapshots hold a reference to it, and so to all of them */
    struct name *names;
    uint64_t reading; /* number of the last one; 0: none */
    bool read_whole;  /* one reading came to its end */
    double opened_at, opened_monotonic;
    double previous_at, previous_monotonic;
    double now_at, now_monotonic;
    double reset_at;
    int64_t first_deallocated, deallocated;
    bool reset_seen, io_timing;
};

static struct statement_counters zero_counters(const struct statement_counters *like)
{
    struct statement_counters zero = {0};
    zero.wal_bytes = like->wal_bytes < 0 ? -1 : 0;
    return zero;
}

static int64_t minus(int64_t now, int64_t then)
{
    return now < 0 ? -1 : now - (then > 0 ? then : 0);
}

static struct statement_counters difference(const struct statement_counters *now,
                                            const struct statement_counters *then)
{
    return (struct statement_counters){
        .calls = now->calls - then->calls,
        .rows = now->rows - then->rows,
        .total_ms = now->total_ms - then->total_ms,
        .plan_ms = now->plan_ms - (isnan(then->plan_ms) ? 0 : then->plan_ms),
        .shared_hit = now->shared_hit - then->shared_hit,
        .shared_read = now->shared_read - then->shared_read,
        .shared_dirtied = now->shared_dirtied - then->shared_dirtied,
        .shared_written = now->shared_written - then->shared_written,
        .temp_read = now->temp_read - then->temp_read,
        .temp_written = now->temp_written - then->temp_written,
        .io_read_ms = now->io_read_ms - then->io_read_ms,
        .io_write_ms = now->io_write_ms - then->io_write_ms,
        .wal_bytes = minus(now->wal_bytes, then->wal_bytes),
    };
}

struct statements_store *statements_store_new(const void *context, const char *server)
{
    struct statements_store *store = talloc_zero(context, struct statements_store);
    if (!store)
        abort();
    store->server = server;
    store->shelf = talloc_new(store);
    return store;
}

/* uthash keeps its table outside of talloc. */
static void forget_entries(struct statements_store *store)
{
    struct entry *entry, *next;
    HASH_ITER(hh, store->entries, entry, next)
    {
        HASH_DEL(store->entries, entry);
        talloc_free(entry);
    }
}

void statements_store_free(struct statements_store *store)
{
    if (!store)
        return;
    forget_entries(store);
    HASH_CLEAR(hh, store->texts);
    HASH_CLEAR(hh, store->names);
    talloc_free(store);
}

void statements_store_begin(struct statements_store *store, double wall, double monotonic, double reset_at,
                            int64_t deallocated, bool io_timing)
{
    bool reset = store->reading && reset_at > 0 && reset_at != store->reset_at;
    if (!store->reading) {
        store->opened_at = wall;
        store->opened_monotonic = monotonic;
        store->first_deallocated = deallocated;
    }
    if (reset) {
        store->reset_seen = true;
        store->first_deallocated = 0; /* a reset sets dealloc to 0 too */
        for (struct entry *entry = store->entries; entry; entry = entry->hh.next)
            entry->first = entry->now = zero_counters(&entry->now);
    }
    store->previous_at = store->now_at;
    store->previous_monotonic = store->now_monotonic;
    store->now_at = wall;
    store->now_monotonic = monotonic;
    store->reset_at = reset_at;
    store->deallocated = deallocated;
    store->io_timing = io_timing;
    store->reading++;
}

static struct text *find_text(struct statements_store *store, int64_t query_id)
{
    struct text *text;
    HASH_FIND(hh, store->texts, &query_id, sizeof query_id, text);
    if (text)
        return text;
    text = talloc_zero(store, struct text);
    if (!text)
        abort();
    text->query_id = query_id;
    HASH_ADD(hh, store->texts, query_id, sizeof text->query_id, text);
    return text;
}

/* An entry that is not in the first whole reading was made after this console opened: it counts from zero. */
static struct entry *new_entry(struct statements_store *store, const struct key *key,
                               const struct statement_counters *now)
{
    struct entry *entry = talloc_zero(store, struct entry);
    if (!entry)
        abort();
    entry->key = *key;
    entry->text = find_text(store, key->query_id);
    entry->first = store->read_whole ? zero_counters(now) : *now;
    entry->now = entry->first;
    HASH_ADD(hh, store->entries, key, sizeof entry->key, entry);
    return entry;
}

void statements_store_take(struct statements_store *store, const struct statement_reading *reading)
{
    struct key key = {.query_id = reading->query_id,
                      .database = reading->database,
                      .role = reading->role,
                      .top_level = reading->top_level};
    const struct statement_counters *now = &reading->counters;
    struct entry *entry;
    /* The hash reads bytes behind a switch, which the analyzer does not follow.
     * NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    HASH_FIND(hh, store->entries, &key, sizeof key, entry);
    if (!entry)
        entry = new_entry(store, &key, now);
    else if (now->calls < entry->now.calls || (reading->since > entry->since)) {
        /* Reset by itself, or evicted and made anew. */
        entry->first = entry->now = zero_counters(now);
        store->reset_seen = true;
    }
    entry->previous = entry->now;
    entry->now = *now;
    entry->max_ms = reading->max_ms;
    entry->since = reading->since;
    entry->seen = entry->text->seen = store->reading;
}

/* Statements come and go for as long as the console is open: texts that no entry has any more go too, when
 * they are many. Snapshots that show them keep the old shelf. */
static void forget_texts(struct statements_store *store)
{
    void *old = store->shelf;
    struct text *text, *next;
    if (HASH_COUNT(store->texts) < 2 * HASH_COUNT(store->entries) + TEXTS_SPARE)
        return;
    store->shelf = talloc_new(store);
    HASH_ITER(hh, store->texts, text, next)
    {
        if (text->seen == store->reading) {
            text->text = talloc_strdup(store->shelf, text->text); /* NULL stays NULL */
            continue;
        }
        HASH_DEL(store->texts, text);
        talloc_free(text);
    }
    talloc_unlink(store, old);
}

void statements_store_end(struct statements_store *store)
{
    struct entry *entry, *next;
    store->read_whole = true;
    HASH_ITER(hh, store->entries, entry, next)
    {
        if (entry->seen == store->reading)
            continue;
        HASH_DEL(store->entries, entry);
        talloc_free(entry);
    }
    forget_texts(store);
}

void statements_store_text(struct statements_store *store, int64_t query_id, const char *text)
{
    struct text *kept = find_text(store, query_id);
    if (!kept->text && text)
        kept->text = secret_mask_statement(store->shelf, text);
}

static bool has_calls(const struct entry *entry)
{
    return entry->now.calls > entry->first.calls;
}

char *statements_store_wanted(const void *context, struct statements_store *store, bool with_calls_only)
{
    char *list = NULL;
    for (struct entry *entry = store->entries; entry; entry = entry->hh.next) {
        struct text *text = entry->text;
        if (text->text || (text->asked && store->reading - text->asked < 6) ||
            (with_calls_only && !has_calls(entry)))
            continue;
        text->asked = store->reading;
        list = list ? talloc_asprintf_append_buffer(list, ",%lld", (long long)text->query_id)
                    : talloc_asprintf(context, "{%lld", (long long)text->query_id);
    }
    return list ? talloc_strdup_append_buffer(list, "}") : NULL;
}

static struct name *find_name(const struct statements_store *store, bool is_role, uint32_t oid)
{
    uint64_t key = (uint64_t)is_role << 32 | oid;
    struct name *name;
    HASH_FIND(hh, store->names, &key, sizeof key, name);
    return name;
}

void statements_store_name(struct statements_store *store, bool is_role, uint32_t oid, const char *name)
{
    struct name *kept = find_name(store, is_role, oid);
    if (kept && strcmp(kept->name, name) == 0)
        return;
    if (!kept) {
        kept = talloc_zero(store, struct name);
        kept->key = (uint64_t)is_role << 32 | oid;
        HASH_ADD(hh, store->names, key, sizeof kept->key, kept);
    }
    talloc_free(kept->name);
    kept->name = talloc_strdup(kept, name);
}

/* ---- snapshots ---- */

struct builder {
    struct statements_store *store;
    struct statements_snapshot *snapshot;
    char *at; /* the block that ids and names lie in */
    size_t left;
    double total_ms;
};

static struct statement_counters counters_of(const struct entry *entry, enum statements_basis basis)
{
    if (basis == BASIS_RESET)
        return entry->now;
    return difference(&entry->now, basis == BASIS_OPENED ? &entry->first : &entry->previous);
}

static char *keep(struct builder *builder, const char *text)
{
    char *kept = builder->at;
    size_t size = strlen(text) + 1;
    if (size > builder->left) { /* a longer name than names can be: never lost */
        char *apart = talloc_strdup(builder->snapshot, text);
        return apart;
    }
    memcpy(kept, text, size);
    builder->at += size;
    builder->left -= size;
    return kept;
}

static char *name_of(struct builder *builder, bool is_role, uint32_t oid)
{
    const struct name *name = find_name(builder->store, is_role, oid);
    char text[24];
    snprintf(text, sizeof text, "%u", oid); /* dropped meanwhile */
    return keep(builder, name ? name->name : text);
}

static void add_statement(struct builder *builder, const struct entry *entry)
{
    struct statements_snapshot *snapshot = builder->snapshot;
    struct statement_counters c = counters_of(entry, snapshot->basis);
    if (c.calls <= 0)
        return;
    const struct key *key = &entry->key;
    char id[80];
    snprintf(id, sizeof id, "%lld/%u/%u/%u", (long long)key->query_id, key->database, key->role,
             key->top_level);
    bool timed = builder->store->io_timing;
    builder->total_ms += c.total_ms;
    snapshot->statements[snapshot->count++] = (struct statement){
        .id = keep(builder, id),
        .query_id = key->query_id,
        .query = entry->text->text ? entry->text->text : "",
        .database = name_of(builder, false, key->database),
        .role = name_of(builder, true, key->role),
        .top_level = key->top_level,
        .calls = c.calls,
        .total_ms = c.total_ms,
        .mean_ms = c.total_ms / (double)c.calls,
        .max_ms = snapshot->basis == BASIS_RESET ? entry->max_ms : NAN,
        .plan_ms = c.plan_ms,
        .rows = c.rows,
        .rows_per_call = (double)c.rows / (double)c.calls,
        .shared_hit_blocks = c.shared_hit,
        .shared_read_blocks = c.shared_read,
        .shared_dirtied_blocks = c.shared_dirtied,
        .shared_written_blocks = c.shared_written,
        .temp_read_blocks = c.temp_read,
        .temp_written_blocks = c.temp_written,
        .io_read_ms = timed ? c.io_read_ms : NAN,
        .io_write_ms = timed ? c.io_write_ms : NAN,
        .wal_bytes = c.wal_bytes,
        .snapshot = snapshot,
    };
}

static void describe_basis(const struct statements_store *store, struct statements_snapshot *snapshot)
{
    bool twice = store->reading > 1;
    switch (snapshot->basis) {
    case BASIS_OPENED:
        snapshot->since = store->opened_at;
        snapshot->elapsed_s = store->now_monotonic - store->opened_monotonic;
        break;
    case BASIS_INTERVAL:
        snapshot->since = twice ? store->previous_at : 0;
        snapshot->elapsed_s = twice ? store->now_monotonic - store->previous_monotonic : NAN;
        break;
    case BASIS_RESET:
        snapshot->since = store->reset_at;
        snapshot->elapsed_s = store->reset_at > 0 ? store->now_at - store->reset_at : NAN;
        break;
    }
}

struct statements_snapshot *statements_store_snapshot(struct statements_store *store,
                                                      enum statements_basis basis)
{
    if (!store->reading)
        return NULL;
    struct statements_snapshot *snapshot = SNAPSHOT_NEW(struct statements_snapshot);
    size_t most = HASH_COUNT(store->entries), given = 0;
    for (struct entry *entry = store->entries; entry; entry = entry->hh.next)
        given += counters_of(entry, basis).calls > 0;
    if (!talloc_reference(snapshot, store->shelf))
        abort();
    snapshot->server = store->server;
    snapshot->basis = basis;
    snapshot->base.taken_at = store->now_at;
    snapshot->base.taken_monotonic = store->now_monotonic;
    snapshot->entries = most;
    snapshot->evicted = store->deallocated < 0 ? -1 : store->deallocated - store->first_deallocated;
    snapshot->reset_seen = store->reset_seen;
    snapshot->io_timing = store->io_timing;
    describe_basis(store, snapshot);
    snapshot->statements = talloc_array(snapshot, struct statement, given);
    struct builder builder = {.store = store, .snapshot = snapshot, .left = given * 96};
    builder.at = talloc_size(snapshot, builder.left + 1);
    if (!snapshot->statements || !builder.at)
        abort();
    for (struct entry *entry = store->entries; entry; entry = entry->hh.next)
        add_statement(&builder, entry);
    for (size_t i = 0; i < snapshot->count; i++) {
        struct statement *s = &snapshot->statements[i];
        s->share_percent = builder.total_ms > 0 ? 100 * s->total_ms / builder.total_ms : 0;
    }
    return snapshot;
}

const struct statement *statements_find(const struct statements_snapshot *snapshot, const char *id)
{
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->statements[i].id, id) == 0)
            return &snapshot->statements[i];
    return NULL;
}

const char *statements_basis_name(enum statements_basis basis)
{
    static const char *const names[] = {
        [BASIS_OPENED] = "since opened", [BASIS_INTERVAL] = "last interval", [BASIS_RESET] = "since reset"};
    return names[basis];
}

/* ---- what is asked ---- */

/* The columns that changed their names or came later, by version of the extension. */
char *statements_query(const void *context, const char *schema, int version)
{
    bool plans = version >= 108, top_level = version >= 109, temp_io = version >= 110, split = version >= 111;
    return talloc_asprintf(
        context,
        "SELECT queryid, dbid, userid, %s, calls, rows, %s, %s, %s, shared_blks_hit, shared_blks_read,"
        " shared_blks_dirtied, shared_blks_written, temp_blks_read, temp_blks_written, %s%s, %s%s, %s, %s"
        " FROM %s.pg_stat_statements(false) WHERE queryid IS NOT NULL",
        top_level ? "toplevel" : "true", plans ? "total_exec_time" : "total_time",
        plans ? "max_exec_time" : "max_time", plans ? "total_plan_time" : "NULL::float8",
        split ? "shared_blk_read_time + local_blk_read_time" : "blk_read_time",
        temp_io ? " + temp_blk_read_time" : "",
        split ? "shared_blk_write_time + local_blk_write_time" : "blk_write_time",
        temp_io ? " + temp_blk_write_time" : "", plans ? "wal_bytes::int8" : "NULL::int8",
        split ? "extract(epoch FROM stats_since)::float8" : "NULL::float8", schema);
}

void statements_read_row(struct statement_reading *reading, const struct pg_rows *rows, int row)
{
    int column = 0;
    *reading = (struct statement_reading){0};
    struct statement_counters *c = &reading->counters;
    reading->query_id = pg_rows_integer(rows, row, column++);
    reading->database = (uint32_t)pg_rows_integer(rows, row, column++);
    reading->role = (uint32_t)pg_rows_integer(rows, row, column++);
    reading->top_level = pg_rows_boolean(rows, row, column++);
    c->calls = pg_rows_integer(rows, row, column++);
    c->rows = pg_rows_integer(rows, row, column++);
    c->total_ms = pg_rows_real(rows, row, column++);
    reading->max_ms = pg_rows_real(rows, row, column++);
    c->plan_ms = pg_rows_real(rows, row, column++);
    int64_t *blocks[] = {&c->shared_hit,     &c->shared_read, &c->shared_dirtied,
                         &c->shared_written, &c->temp_read,   &c->temp_written};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        *blocks[i] = pg_rows_integer(rows, row, column++);
    c->io_read_ms = pg_rows_real(rows, row, column++);
    c->io_write_ms = pg_rows_real(rows, row, column++);
    c->wal_bytes = pg_rows_null(rows, row, column) ? -1 : pg_rows_integer(rows, row, column);
    reading->since = pg_rows_real(rows, row, column + 1);
}

char *statements_info_query(const void *context, const char *schema, int version)
{
    if (version < 109)
        return talloc_strdup(context,
                             "SELECT NULL::float8, -1::int8, current_setting('track_io_timing')::bool");
    return talloc_asprintf(context,
                           "SELECT extract(epoch FROM stats_reset)::float8, dealloc,"
                           " current_setting('track_io_timing')::bool FROM %s.pg_stat_statements_info",
                           schema);
}

char *statements_text_query(const void *context, const char *schema)
{
    return talloc_asprintf(context,
                           "SELECT queryid, query FROM %s.pg_stat_statements(true)"
                           " WHERE queryid = ANY ($1::int8[]) AND query IS NOT NULL",
                           schema);
}

const char *statements_names_query(void)
{
    return "SELECT false, oid, datname::text FROM pg_database UNION ALL"
           " SELECT true, oid, rolname::text FROM pg_roles";
}
