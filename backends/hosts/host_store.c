#include "backends/hosts/host_store.h"

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "core/files.h"

enum { BUSY_MS = 2000, LOADED_MAX = HOST_STORE_HOURS * 60 + 60 };

/* The minute that is being gathered of one host. */
struct minute {
    char *host; /* key */
    int64_t number;
    double sums[SERIES_COUNT];
    int counts[SERIES_COUNT];
    UT_hash_handle hh;
};

struct row {
    char *host;
    int64_t minute;
    float values[SERIES_COUNT];
};

struct handle;

struct host_store {
    struct loop *loop;
    char *environment;
    struct minute *minutes;
    struct row *ready; /* talloc array: minutes that are over */
    size_t ready_count;
    bool writing;
    struct error error;
    struct handle *handle;
};

/* What jobs know of the store, which may be gone when they end. Counted, because a job that the loop drops
 * ends on another thread. */
struct handle {
    struct host_store *store; /* NULL once it is gone; the loop's thread only */
    int references;           /* atomic */
};

/* A job of the worker: writes rows, or reads a range. */
struct job {
    struct handle *handle;
    char *folder, *path;
    struct row *rows;
    size_t row_count;
    char *host;
    double from;
    double *times;
    float *values;
    size_t count;
    struct error error;
    void (*done)(void *data, const struct host_store_range *range, const struct error *error);
    void *data;
};

/* ---- in the worker ---- */

static bool complain(struct job *job, sqlite3 *db, const char *what)
{
    return error_set(&job->error, ERROR_SYSTEM, job->path, what,
                     "The past is not kept; everything else works. Removing the file begins anew.", "%s",
                     db ? sqlite3_errmsg(db) : "no memory");
}

static sqlite3 *open_database(struct job *job)
{
    static const char schema[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                                 "CREATE TABLE IF NOT EXISTS sample (host TEXT, minute INTEGER, series BLOB, "
                                 "PRIMARY KEY (host, minute)) "
                                 "WITHOUT ROWID;";
    sqlite3 *db = NULL;
    if (!files_make_folder(job->folder, &job->error))
        return NULL;
    if (sqlite3_open_v2(job->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_PRIVATECACHE,
                        NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(db, BUSY_MS) != SQLITE_OK ||
        sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        complain(job, db, "cannot be opened");
        sqlite3_close(db);
        return NULL;
    }
    return db;
}

static bool write_rows(struct job *job, sqlite3 *db)
{
    sqlite3_stmt *insert = NULL, *forget = NULL;
    bool good = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK &&
                sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", -1, &insert, NULL) ==
                    SQLITE_OK &&
                sqlite3_prepare_v2(db, "DELETE FROM sample WHERE host = ? AND minute < ?", -1, &forget,
                                   NULL) == SQLITE_OK;
    for (size_t i = 0; good && i < job->row_count; i++) {
        const struct row *row = &job->rows[i];
        sqlite3_bind_text(insert, 1, row->host, -1, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, row->minute);
        sqlite3_bind_blob(insert, 3, row->values, sizeof row->values, SQLITE_STATIC);
        sqlite3_bind_text(forget, 1, row->host, -1, SQLITE_STATIC);
        sqlite3_bind_int64(forget, 2, row->minute - HOST_STORE_HOURS * 60);
        good = sqlite3_step(insert) == SQLITE_DONE && sqlite3_step(forget) == SQLITE_DONE;
        sqlite3_reset(insert);
        sqlite3_reset(forget);
    }
    sqlite3_finalize(insert);
    sqlite3_finalize(forget);
    good = good && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    return good || complain(job, db, "cannot be written");
}

static bool read_rows(struct job *job, sqlite3 *db)
{
    sqlite3_stmt *select = NULL;
    if (sqlite3_prepare_v2(
            db, "SELECT minute, series FROM sample WHERE host = ? AND minute >= ? ORDER BY minute LIMIT ?",
            -1, &select, NULL) != SQLITE_OK)
        return complain(job, db, "cannot be read");
    sqlite3_bind_text(select, 1, job->host, -1, SQLITE_STATIC);
    sqlite3_bind_int64(select, 2, (int64_t)(job->from / 60));
    sqlite3_bind_int64(select, 3, LOADED_MAX);
    job->times = talloc_array(job, double, LOADED_MAX);
    job->values = talloc_array(job, float, (size_t)LOADED_MAX *SERIES_COUNT);
    int result;
    while ((result = sqlite3_step(select)) == SQLITE_ROW && job->count < LOADED_MAX) {
        /* A version with other series wrote it: not ours to guess. */
        if (sqlite3_column_bytes(select, 1) != (int)(sizeof(float) * SERIES_COUNT))
            continue;
        job->times[job->count] = (double)sqlite3_column_int64(select, 0) * 60 + 30;
        memcpy(&job->values[job->count * SERIES_COUNT], sqlite3_column_blob(select, 1),
               sizeof(float) * SERIES_COUNT);
        job->count++;
    }
    bool good = result == SQLITE_DONE || result == SQLITE_ROW || complain(job, db, "cannot be read");
    sqlite3_finalize(select);
    return good;
}

static void work(void *data)
{
    struct job *job = data;
    sqlite3 *db = open_database(job);
    if (!db)
        return;
    if (job->host)
        read_rows(job, db);
    else
        write_rows(job, db);
    sqlite3_close(db);
}

/* ---- on the loop ---- */

static void flush(struct host_store *store);

static void release(struct handle *handle)
{
    if (__atomic_sub_fetch(&handle->references, 1, __ATOMIC_ACQ_REL) == 0)
        free(handle);
}

static void drop(void *data)
{
    struct job *job = data;
    release(job->handle);
    talloc_free(job);
}

static void finished(void *data)
{
    struct job *job = data;
    struct host_store *store = job->handle->store;
    if (store && !job->host) {
        store->writing = false;
        store->error = job->error;
        if (store->ready_count)
            flush(store);
    } else if (store) {
        const struct host_store_range range = {job->times, job->values, job->count};
        bool failed = job->error.kind != ERROR_NONE;
        job->done(job->data, failed ? NULL : &range, failed ? &job->error : NULL);
    }
    drop(job);
}

static struct job *new_job(struct host_store *store)
{
    struct job *job = talloc_zero(NULL, struct job);
    job->handle = store->handle;
    __atomic_add_fetch(&job->handle->references, 1, __ATOMIC_ACQ_REL);
    job->folder = files_state_path(job, store->environment, NULL);
    job->path = files_state_path(job, store->environment, "history.db");
    return job;
}

static void flush(struct host_store *store)
{
    struct job *job = new_job(store);
    store->writing = true;
    job->rows = talloc_steal(job, store->ready);
    job->row_count = store->ready_count;
    store->ready = NULL;
    store->ready_count = 0;
    loop_work_or_drop(store->loop, WORK_FILE, work, finished, drop, job);
}

static void close_minute(struct host_store *store, struct minute *minute)
{
    store->ready = talloc_realloc(store, store->ready, struct row, store->ready_count + 1);
    struct row *row = &store->ready[store->ready_count++];
    row->host = talloc_strdup(store->ready, minute->host);
    row->minute = minute->number;
    for (int s = 0; s < SERIES_COUNT; s++) {
        row->values[s] = minute->counts[s] ? (float)(minute->sums[s] / minute->counts[s]) : NAN;
        minute->sums[s] = 0;
        minute->counts[s] = 0;
    }
}

void host_store_add(struct host_store *store, const char *host, double time, const float values[SERIES_COUNT])
{
    struct minute *minute;
    HASH_FIND_STR(store->minutes, host, minute);
    if (!minute) {
        minute = talloc_zero(store, struct minute);
        minute->host = talloc_strdup(minute, host);
        minute->number = (int64_t)(time / 60);
        HASH_ADD_KEYPTR(hh, store->minutes, minute->host, strlen(minute->host), minute);
    }
    if ((int64_t)(time / 60) != minute->number) {
        close_minute(store, minute);
        minute->number = (int64_t)(time / 60);
    }
    for (int s = 0; s < SERIES_COUNT; s++)
        if (!isnan(values[s])) {
            minute->sums[s] += (double)values[s];
            minute->counts[s]++;
        }
    if (store->ready_count && !store->writing)
        flush(store);
}

void host_store_load(struct host_store *store, const char *host, double from,
                     void (*done)(void *data, const struct host_store_range *range,
                                  const struct error *error),
                     void *data)
{
    /* The worker goes in order: what is known already is read too. */
    if (store->ready_count)
        flush(store);
    struct job *job = new_job(store);
    job->host = talloc_strdup(job, host);
    job->from = from;
    job->done = done;
    job->data = data;
    loop_work_or_drop(store->loop, WORK_FILE, work, finished, drop, job);
}

const struct error *host_store_error(const struct host_store *store)
{
    return &store->error;
}

struct host_store *host_store_new(struct loop *loop, const char *environment)
{
    struct host_store *store = talloc_zero(NULL, struct host_store);
    store->loop = loop;
    store->environment = talloc_strdup(store, environment);
    store->handle = malloc(sizeof *store->handle);
    if (!store->handle)
        abort();
    *store->handle = (struct handle){store, 1};
    return store;
}

void host_store_free(struct host_store *store)
{
    struct minute *minute, *next;
    if (!store)
        return;
    HASH_ITER(hh, store->minutes, minute, next)
    {
        HASH_DEL(store->minutes, minute);
    }
    store->handle->store = NULL;
    release(store->handle);
    talloc_free(store);
}
