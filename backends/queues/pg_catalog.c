/* Looking for job tables: the question, its answer for a while, and who waits for it. */
#include "backends/queues/pg_catalog.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"

enum { ROWS_MOST = 6000, DEADLINE_S = 8 };
#define FRESH_S 5.0

/* By these names the tables of all systems are found, in any schema that is not the server's own. */
static const char *const RELATIONS =
    "{version,job,queue,schedule,archive,"
    "django_celery_beat_periodictask,django_celery_beat_periodictasks,django_celery_beat_crontabschedule,"
    "django_celery_beat_intervalschedule,django_celery_beat_solarschedule,"
    "django_celery_beat_clockedschedule,django_celery_results_taskresult,"
    "procrastinate_jobs,procrastinate_events,procrastinate_workers,procrastinate_periodic_defers,"
    "solid_queue_jobs,solid_queue_ready_executions,solid_queue_scheduled_executions,"
    "solid_queue_claimed_executions,solid_queue_blocked_executions,solid_queue_failed_executions,"
    "solid_queue_pauses,solid_queue_processes,solid_queue_recurring_tasks,"
    "solid_queue_recurring_executions,good_jobs,good_job_processes,good_job_executions,good_job_settings,"
    "river_job,river_queue,river_leader,django_tasks_database_dbtaskresult}";

static const char *const QUERY =
    "SELECT n.nspname, c.relname, ',' || string_agg(a.attname, ',') || ',', current_database()"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE c.relname = ANY ($1::name[]) AND c.relkind IN ('r', 'p')"
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    " GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname LIMIT 6001";

struct waiter {
    struct waiter *next;
    void (*done)(void *data, const struct pg_catalog *catalog, const struct error *error);
    void *data;
};

/* One database: its last answer, and those who wait for the next. */
struct look {
    struct look *next;
    struct looks *looks;
    char *login;
    struct pg_catalog *catalog;
    struct error error;
    double answered; /* monotonic */
    uint64_t version;
    bool in_flight;
    struct waiter *waiters;
    ev_timer later; /* for those who are answered from what is known */
};

/* In the server's slot. */
struct looks {
    struct pg_server *server;
    struct loop *loop;
    struct look *first;
};

static int compare_relations(const void *a, const void *b)
{
    const struct pg_relation *left = a, *right = b;
    int order = strcmp(left->schema, right->schema);
    return order ? order : strcmp(left->name, right->name);
}

const struct pg_relation *pg_catalog_find(const struct pg_catalog *catalog, const char *schema,
                                          const char *relation)
{
    struct pg_relation wanted = {.schema = schema, .name = relation};
    return bsearch(&wanted, catalog->relations, catalog->count, sizeof wanted, compare_relations);
}

bool pg_relation_has(const struct pg_relation *relation, const char *column)
{
    size_t length = strlen(column);
    for (const char *at = relation ? relation->columns : NULL; at && (at = strstr(at, column)); at++)
        if (at > relation->columns && at[-1] == ',' && at[length] == ',')
            return true;
    return false;
}

bool pg_catalog_has_all(const struct pg_catalog *catalog, const char *schema, const char *const *names,
                        const char **missing, bool *some)
{
    for (size_t i = 0; names[i]; i++) {
        char relation[64];
        const char *dot = strchr(names[i], '.');
        snprintf(relation, sizeof relation, "%.*s", (int)(dot - names[i]), names[i]);
        const struct pg_relation *found = pg_catalog_find(catalog, schema, relation);
        if (some && i == 0)
            *some = found != NULL;
        if (!found || !pg_relation_has(found, dot + 1)) {
            if (missing)
                *missing = names[i];
            return false;
        }
    }
    return true;
}

const char **pg_catalog_schemas(const void *context, const struct pg_catalog *catalog, size_t *count)
{
    const char **schemas = talloc_array(context, const char *, catalog->count + 1);
    if (!schemas)
        abort();
    *count = 0;
    for (size_t i = 0; i < catalog->count; i++)
        if (i == 0 || strcmp(catalog->relations[i].schema, catalog->relations[i - 1].schema) != 0)
            schemas[(*count)++] = catalog->relations[i].schema;
    return schemas;
}

/* ---- asking ---- */

static void answer_waiters(struct look *look)
{
    struct waiter *waiters = look->waiters;
    look->waiters = NULL;
    while (waiters) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        if (look->error.kind)
            waiter->done(waiter->data, NULL, &look->error);
        else
            waiter->done(waiter->data, look->catalog, NULL);
        talloc_free(waiter);
    }
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    answer_waiters(timer->data);
}

static void look_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct look *look = data;
    (void)index;
    if (error) {
        look->error = *error;
        return;
    }
    struct pg_catalog *catalog = talloc_zero(look, struct pg_catalog);
    int count = pg_rows_count(rows);
    catalog->cut = count > ROWS_MOST;
    catalog->count = (size_t)(catalog->cut ? ROWS_MOST : count);
    catalog->login = look->login;
    catalog->relations = talloc_array(catalog, struct pg_relation, catalog->count + 1);
    if (!catalog->relations)
        abort();
    for (size_t i = 0; i < catalog->count; i++)
        catalog->relations[i] =
            (struct pg_relation){.schema = talloc_strdup(catalog, pg_rows_text(rows, (int)i, 0)),
                                 .name = talloc_strdup(catalog, pg_rows_text(rows, (int)i, 1)),
                                 .columns = talloc_strdup(catalog, pg_rows_text(rows, (int)i, 2))};
    qsort(catalog->relations, catalog->count, sizeof *catalog->relations, compare_relations);
    catalog->database = talloc_strdup(catalog, count ? pg_rows_text(rows, 0, 3) : "");
    talloc_free(look->catalog);
    look->catalog = catalog;
    look->version++;
}

static void look_done(void *data, const struct error *error)
{
    struct look *look = data;
    look->in_flight = false;
    look->answered = clock_monotonic();
    if (error)
        look->error = *error;
    answer_waiters(look);
}

static int looks_free(struct looks *looks)
{
    for (struct look *look = looks->first; look; look = look->next) {
        ev_timer_stop(loop_ev(looks->loop), &look->later);
        error_set(&look->error, ERROR_LOST, pg_server_name(looks->server), "cannot look for job tables", NULL,
                  "the server is no longer watched");
        answer_waiters(look);
    }
    return 0;
}

static struct look *find_look(struct pg_server *server, struct loop *loop, const char *login)
{
    void **slot = pg_server_slot(server);
    if (!*slot) {
        struct looks *fresh = talloc_zero(NULL, struct looks);
        if (!fresh)
            abort();
        fresh->server = server;
        fresh->loop = loop;
        talloc_set_destructor(fresh, looks_free);
        *slot = fresh;
    }
    struct looks *looks = *slot;
    for (struct look *look = looks->first; look; look = look->next)
        if (strcmp(look->login ? look->login : "", login ? login : "") == 0)
            return look;
    struct look *look = talloc_zero(looks, struct look);
    if (!look)
        abort();
    look->looks = looks;
    look->login = login ? talloc_strdup(look, login) : NULL;
    look->next = looks->first;
    ev_timer_init(&look->later, on_later, 0, 0);
    look->later.data = look;
    looks->first = look;
    return look;
}

const struct pg_catalog *pg_catalog_latest(struct pg_server *server, const char *login, uint64_t *version)
{
    const struct looks *looks = *pg_server_slot(server);
    const struct look *look = looks ? looks->first : NULL;
    while (look && strcmp(look->login ? look->login : "", login ? login : "") != 0)
        look = look->next;
    if (version)
        *version = look ? look->version : 0;
    return look ? look->catalog : NULL;
}

/* `done` once, in a later turn. */
static void pg_catalog_look(struct pg_server *server, struct loop *loop, const char *login,
                            void (*done)(void *data, const struct pg_catalog *catalog,
                                         const struct error *error),
                            void *data)
{
    struct look *look = find_look(server, loop, login);
    struct waiter *waiter = talloc_zero(look, struct waiter);
    if (!waiter)
        abort();
    *waiter = (struct waiter){.next = look->waiters, .done = done, .data = data};
    look->waiters = waiter;
    if (look->in_flight)
        return;
    if (look->answered > 0 && clock_monotonic() - look->answered < FRESH_S) {
        ev_timer_start(loop_ev(loop), &look->later);
        return;
    }
    look->in_flight = true;
    error_clear(&look->error);
    const struct pg_statement statement = {.sql = QUERY, .parameter_count = 1, .parameters = {RELATIONS}};
    pg_connection_send(pg_server_read(server, login), &statement, 1, DEADLINE_S,
                       (struct pg_handler){.rows = look_rows, .done = look_done, .data = look});
}

/* ---- one search ---- */

struct pg_search {
    struct queue_search *search;
    struct queue_place place;
    size_t next;  /* of the databases that the environment names */
    char own[64]; /* the login's database: it may be named again */
    struct error error;
    void (*take)(struct queue_search *search, const struct queue_place *place,
                 const struct pg_catalog *catalog, struct error *error);
};

/* One after the other, the login's own first: it is known under that name. */
static void on_catalog(void *data, const struct pg_catalog *catalog, const struct error *error)
{
    struct pg_search *self = data;
    const struct environment_server *definition = pg_server_definition(self->place.postgres);
    bool alive = queue_search_alive(self->search);
    if (error && !self->error.kind)
        self->error = *error;
    if (catalog && !self->next)
        snprintf(self->own, sizeof self->own, "%s", catalog->database);
    if (catalog && alive)
        self->take(self->search, &self->place, catalog, &self->error);
    while (self->next < definition->database_count &&
           strcmp(definition->databases[self->next], self->own) == 0)
        self->next++;
    if (alive && self->next < definition->database_count) {
        pg_catalog_look(self->place.postgres, queue_search_loop(self->search),
                        definition->databases[self->next++], on_catalog, self);
        return;
    }
    queue_search_done(self->search, self->error.kind ? &self->error : NULL);
    talloc_free(self);
}

void pg_catalog_search(struct queue_search *search, const struct queue_place *place,
                       void (*take)(struct queue_search *search, const struct queue_place *place,
                                    const struct pg_catalog *catalog, struct error *error))
{
    struct pg_search *self = talloc_zero(NULL, struct pg_search);
    if (!self)
        abort();
    *self = (struct pg_search){.search = search, .place = *place, .take = take};
    pg_catalog_look(place->postgres, queue_search_loop(search), NULL, on_catalog, self);
}
