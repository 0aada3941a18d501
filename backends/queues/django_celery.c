/*
 * Celery's tables of Django: the schedule that django-celery-beat keeps and the results of
 * django-celery-results, in one schema or in that of each tenant.
 *
 * beat notes its last runs every 180 s only, and reads the schedule again only when the one row of
 * django_celery_beat_periodictasks says that something changed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/cron.h"
#include "backends/queues/pg_jobs.h"
#include "core/clock.h"

extern const struct queue_adapter django_celery_adapter;

/* beat's sync interval, and some for its loop. */
#define SYNC_S 180
#define SLACK_S 200

#define SCHEDULE                                                                                             \
    "SELECT $SCHEMA || '/' || p.id, p.name, p.task,"                                                         \
    " CASE WHEN c.id IS NOT NULL THEN 'celery' WHEN i.id IS NOT NULL THEN 'every' ELSE 'text' END,"          \
    " CASE WHEN c.id IS NOT NULL THEN translate(c.minute, ' []', '') || ' ' ||"                              \
    "   translate(c.hour, ' []', '') || ' ' || translate(c.day_of_month, ' []', '') || ' ' ||"               \
    "   translate(c.month_of_year, ' []', '') || ' ' || translate(c.day_of_week, ' []', '')"                 \
    " WHEN i.id IS NOT NULL THEN (i.every * CASE i.period WHEN 'days' THEN 86400 WHEN 'hours' THEN 3600"     \
    "   WHEN 'minutes' THEN 60 WHEN 'microseconds' THEN 0.000001 ELSE 1 END)::text"                          \
    " WHEN k.id IS NOT NULL THEN 'once at ' ||"                                                              \
    "   to_char(k.clocked_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"')"                            \
    " WHEN s.id IS NOT NULL THEN replace(s.event, '_', ' ') || ' at ' || s.latitude || ' ' || s.longitude"   \
    " ELSE 'never' END,"                                                                                     \
    " c.timezone, p.queue,"                                                                                  \
    " coalesce(substring(p.headers FROM '\"_schema_name\": *\"([^\"\\\\]*)\"'), nullif($SCHEMA, 'public'))," \
    " '{\"args\": ' || p.args || ', \"kwargs\": ' || p.kwargs || '}', p.enabled,"                            \
    " extract(epoch FROM p.last_run_at), p.total_run_count, extract(epoch FROM p.date_changed),"             \
    " CASE WHEN k.id IS NOT NULL AND p.enabled AND p.total_run_count = 0"                                    \
    "   THEN extract(epoch FROM k.clocked_time) END,"                                                        \
    " extract(epoch FROM p.start_time), extract(epoch FROM p.expires)"                                       \
    " FROM @django_celery_beat_periodictask AS p"                                                            \
    " LEFT JOIN @django_celery_beat_crontabschedule AS c ON c.id = p.crontab_id"                             \
    " LEFT JOIN @django_celery_beat_intervalschedule AS i ON i.id = p.interval_id"                           \
    " LEFT JOIN @django_celery_beat_solarschedule AS s ON s.id = p.solar_id"                                 \
    " LEFT JOIN @django_celery_beat_clockedschedule AS k ON k.id = p.clocked_id"                             \
    " ORDER BY p.name LIMIT 5000"
#define SCHEDULER                                                                                            \
    "SELECT extract(epoch FROM now() - max(last_run_at)), 'it noted a run'"                                  \
    " FROM @django_celery_beat_periodictask"

#define NAME "CASE WHEN $SCHEMA = 'public' THEN 'results' ELSE 'results of ' || $SCHEMA END"
#define LIMITED(STATUS)                                                                                      \
    "(SELECT count(*) FROM (SELECT FROM @django_celery_results_taskresult WHERE status = '" STATUS           \
    "' LIMIT 100000) AS s)"
#define QUEUES                                                                                               \
    "SELECT " NAME ", NULL, NULL, " LIMITED("RETRY") ", " LIMITED("STARTED") ", NULL, " LIMITED(             \
        "FAILURE") ", NULL, " LIMITED("SUCCESS") ", NULL, NULL, NULL, NULL,"                                 \
                                                 " (SELECT count(*) FROM @django_celery_results_taskresult " \
                                                 "WHERE date_done > now() - interval '1 min'"                \
                                                 "   AND status IN ('SUCCESS', 'FAILURE')), NULL, NULL"

static const struct pg_state states[] = {
    {JOB_FAILED, "r.status = 'FAILURE'", "r.date_done", NULL, NULL},
    {JOB_RETRYING, "r.status = 'RETRY'", "r.date_done", NULL, NULL},
    {JOB_RUNNING, "r.status = 'STARTED'", "r.date_done", NULL, NULL},
    {JOB_CANCELLED, "r.status = 'REVOKED'", "r.date_done", NULL, NULL},
    {JOB_DONE, "r.status = 'SUCCESS'", "r.date_done", NULL, NULL},
};

static const char *const requires_beat[] = {"django_celery_beat_periodictask.crontab_id",
                                            "django_celery_beat_periodictask.clocked_id",
                                            "django_celery_beat_periodictask.headers",
                                            "django_celery_beat_periodictask.date_changed",
                                            "django_celery_beat_periodictask.start_time",
                                            "django_celery_beat_periodictasks.last_update",
                                            "django_celery_beat_crontabschedule.timezone",
                                            "django_celery_beat_intervalschedule.period",
                                            "django_celery_beat_solarschedule.event",
                                            "django_celery_beat_clockedschedule.clocked_time",
                                            NULL};
static const char *const requires_results[] = {
    "django_celery_results_taskresult.task_name",   "django_celery_results_taskresult.date_done",
    "django_celery_results_taskresult.traceback",   "django_celery_results_taskresult.worker",
    "django_celery_results_taskresult.task_kwargs", NULL};

/* ---- entries of the schedule ---- */

static const struct schedule_entry *find_entry(const struct queue_system *system, const char *id,
                                               struct error *error)
{
    const struct schedule_snapshot *snapshot = system->latest[PART_SCHEDULE];
    for (size_t i = 0; snapshot && id && i < snapshot->count; i++)
        if (strcmp(snapshot->entries[i].id, id) == 0 || strcmp(snapshot->entries[i].name, id) == 0)
            return &snapshot->entries[i];
    error_set(error, ERROR_GONE, system->place, "no such entry", NULL, "the schedule has no entry %s",
              id ? id : "");
    return NULL;
}

/* The latest time up to now at which the entry was due. */
static double last_due(const struct cron *cron, const struct zone *zone, double now)
{
    for (int64_t back = 7200; back < 300000000; back *= 4) {
        double due = (double)cron_next(cron, zone, (int64_t)now - back);
        if (due <= 0 || due > now)
            continue;
        for (double next = due; next > 0 && next <= now;) {
            due = next;
            next = (double)cron_next(cron, zone, (int64_t)due);
        }
        return due;
    }
    return 0;
}

/* "10 s", "2 h": as schedule_due wrote it. */
static double every_seconds(const char *text)
{
    char *unit;
    double every = strtod(text, &unit);
    unit += *unit == ' ';
    return strcmp(unit, "d") == 0     ? every * 86400
           : strcmp(unit, "h") == 0   ? every * 3600
           : strcmp(unit, "min") == 0 ? every * 60
                                      : every;
}

/*
 * When beat must believe that it ran last so that it runs it now, by its own rules. Not when it may have run
 * since it last wrote: its own note, which comes later, would win. 0 with error.
 */
static double pretended_run(const struct schedule_entry *entry, const char *place, double now,
                            struct error *error)
{
    static const char *const what = "it cannot be run now";
    double every = 0, due = 0;
    struct cron cron;
    struct zone_cache *zones = zone_cache_new(NULL);
    /* "0 2 * * * Asia/Riyadh": five fields and the zone. */
    size_t at = 0;
    for (int i = 0; i < 5; i++) {
        at += strcspn(entry->when + at, " ");
        at += i < 4 && entry->when[at] == ' ';
    }
    char *fields = talloc_strndup(zones, entry->when, at);
    const struct zone *zone = zone_find(zones, entry->when[at] == ' ' ? entry->when + at + 1 : NULL);
    if (strncmp(entry->when, "every ", 6) == 0)
        every = every_seconds(entry->when + 6);
    else if (zone && cron_parse(&cron, fields, CRON_CELERY))
        due = last_due(&cron, zone, now);
    talloc_free(zones);
    double ran = every > 0 && entry->last_run > 0 ? entry->last_run + every : due;
    if (every <= 0 && due <= 0) {
        error_set(error, ERROR_UNSUPPORTED, place, what, NULL,
                  "its schedule (%s) has no past time to start from", entry->when);
        return 0;
    }
    if ((every > 0 && every < 2 * SLACK_S) || (ran <= now && ran > now - SLACK_S)) {
        error_set(error, ERROR_INTERLOCK, place, what, "Try again in 4 minutes.",
                  "beat writes down every %d s what it ran, and may have run %s since", SYNC_S, entry->name);
        return 0;
    }
    return every > 0 ? now - every - 1 : due - 60;
}

static const char *told_beat(void)
{
    return " told AS (INSERT INTO @django_celery_beat_periodictasks (ident, last_update) SELECT 1, now() "
           "FROM "
           "changed ON CONFLICT (ident) DO UPDATE SET last_update = excluded.last_update RETURNING ident)"
           " SELECT count(*) FROM changed";
}

static char *entry_sql(const void *context, const struct schedule_entry *entry, enum queue_act act,
                       double run)
{
    char schema[64];
    const char *slash = strrchr(entry->id, '/');
    snprintf(schema, sizeof schema, "%.*s", (int)(slash - entry->id), entry->id);
    const char *set = act == ACT_SCHEDULE_ENABLE ? "enabled = true, last_run_at = NULL, date_changed = now()"
                      : act == ACT_SCHEDULE_DISABLE
                          ? "enabled = false, last_run_at = NULL, date_changed = now()"
                          : "last_run_at = to_timestamp(";
    const char *state = act == ACT_SCHEDULE_ENABLE ? "NOT enabled" : "enabled";
    char *prefix =
        pg_jobs_sql(context, schema, "WITH changed AS (UPDATE @django_celery_beat_periodictask SET ");
    char *suffix = pg_jobs_sql(context, schema, told_beat());
    char *sql = talloc_asprintf(context, "%s%s", prefix, set);
    if (act == ACT_SCHEDULE_RUN)
        sql = talloc_asprintf_append_buffer(sql, "%.3f)", run);
    sql = talloc_asprintf_append_buffer(sql, " WHERE id = %ld AND name = %s AND %s",
                                        strtol(slash + 1, NULL, 10), pg_literal(context, entry->name), state);
    if (act == ACT_SCHEDULE_RUN && entry->last_run > 0)
        sql = talloc_asprintf_append_buffer(sql, " AND abs(extract(epoch FROM last_run_at) - %.3f) < 0.01",
                                            entry->last_run);
    else if (act == ACT_SCHEDULE_RUN)
        sql = talloc_strdup_append_buffer(sql, " AND last_run_at IS NULL");
    return talloc_asprintf_append_buffer(sql, " RETURNING id),%s", suffix);
}

static void describe(struct change *change, const struct schedule_entry *entry, enum queue_act act)
{
    const char *verb = act == ACT_SCHEDULE_ENABLE    ? "Enable"
                       : act == ACT_SCHEDULE_DISABLE ? "Disable"
                                                     : "Run now";
    change->title = talloc_asprintf(change, "%s %s of the schedule on %s", verb, entry->name, change->server);
    change->past = act == ACT_SCHEDULE_ENABLE    ? "enabled"
                   : act == ACT_SCHEDULE_DISABLE ? "disabled"
                                                 : "made due";
    change->effect =
        act == ACT_SCHEDULE_ENABLE ? "beat takes it up within 5 s. What was missed is not made up for: it "
                                     "next runs at its next time."
        : act == ACT_SCHEDULE_DISABLE
            ? "beat drops it within 5 s; what it has sent already still runs. As when it is switched off in "
              "Django, its last run is forgotten, so that nothing is made up for when it is enabled again."
            : "Its last run is dated back to before the last time at which it was due: beat finds it due "
              "within "
              "5 s and sends it itself, with its own queue, arguments and headers. Nothing happens while no "
              "beat runs, or when the application sets beat_cron_starting_deadline shorter than that.";
}

static struct change *prepare_entry(struct queue_system *system, const struct queue_act_request *request,
                                    struct error *error)
{
    struct pg_jobs *jobs = (struct pg_jobs *)system;
    const struct schedule_entry *entry = find_entry(system, request->entry, error);
    enum queue_act act = request->act;
    double run = 0;
    if (!entry)
        return NULL;
    if (entry->enabled == (act == ACT_SCHEDULE_ENABLE)) {
        error_set(error, ERROR_GONE, system->place, "nothing to do", NULL, "%s is %s", entry->name,
                  entry->enabled ? "enabled already" : "not enabled");
        return NULL;
    }
    if (act == ACT_SCHEDULE_RUN && (run = pretended_run(entry, system->place, clock_wall(), error)) <= 0)
        return NULL;
    struct change *change = pg_jobs_change_new(jobs, error);
    if (!change)
        return NULL;
    struct change_step *step = change->steps = talloc_zero(change, struct change_step);
    if (!step)
        abort();
    change->step_count = 1;
    change->hazard = HAZARD_CHANGE;
    change->reach = REACH_NAME;
    change->verb = queue_act_name(act);
    change->confirm = talloc_strdup(change, entry->name);
    change->confirm_prompt = "the name of the entry";
    describe(change, entry, act);
    step->target = talloc_strdup(change, entry->id);
    step->name = talloc_strdup(change, entry->name);
    step->subject = talloc_asprintf(change, "%s · %s", entry->task ? entry->task : "", entry->when);
    pg_jobs_step(change, step, jobs, entry_sql(change, entry, act, run), 1);
    if (act != ACT_SCHEDULE_RUN)
        step->undo = entry_sql(change, entry,
                               act == ACT_SCHEDULE_ENABLE ? ACT_SCHEDULE_DISABLE : ACT_SCHEDULE_ENABLE, 0);
    return change;
}

static const char *why_not(enum queue_act act)
{
    switch (act) {
    case ACT_SCHEDULE_ENABLE:
    case ACT_SCHEDULE_DISABLE:
    case ACT_SCHEDULE_RUN:
        return NULL;
    case ACT_RETRY:
        return "a result keeps only how the arguments looked (their repr): no job can be made of that again";
    default:
        return "these are the schedule and results only: jobs are acted on in the broker";
    }
}

static const char *why_not_results(enum queue_act act)
{
    const char *why = why_not(act);
    return why ? why : "there is no schedule of django-celery-beat in these schemas";
}

/* ---- layouts ---- */

static bool has_beat(const struct pg_catalog *catalog, const char *schema)
{
    return pg_catalog_has_all(catalog, schema, requires_beat, NULL, NULL);
}

static bool has_results(const struct pg_catalog *catalog, const char *schema)
{
    return pg_catalog_has_all(catalog, schema, requires_results, NULL, NULL);
}

static bool fits_both(const struct pg_catalog *catalog, const char *schema)
{
    return has_beat(catalog, schema) && has_results(catalog, schema);
}

static bool fits_beat(const struct pg_catalog *catalog, const char *schema)
{
    return has_beat(catalog, schema) && !has_results(catalog, schema);
}

static bool fits_results(const struct pg_catalog *catalog, const char *schema)
{
    return !has_beat(catalog, schema) && has_results(catalog, schema);
}

#define RESULTS                                                                                              \
    .from = "@django_celery_results_taskresult AS r", .id_type = "text",                                     \
    .columns = {[PG_ID] = "r.task_id",                                                                       \
                [PG_TASK] = "r.task_name",                                                                   \
                [PG_QUEUE] = NAME,                                                                           \
                [PG_FINISHED] = "CASE WHEN r.status <> 'STARTED' THEN r.date_done END",                      \
                [PG_STARTED] = "CASE WHEN r.status = 'STARTED' THEN r.date_done END",                        \
                [PG_WORKER] = "r.worker",                                                                    \
                [PG_EXCEPTION] = "substring(left(r.result, 20000) FROM '\"exc_type\": *\"([^\"\\\\]*)\"')",  \
                [PG_MESSAGE] =                                                                               \
                    "substring(left(r.result, 20000) FROM '\"exc_message\": *\\[\"?(.*?)\"?\\](, \"|\\})')", \
                [PG_TRACE] = "r.traceback"},                                                                 \
    .data = "jsonb_build_array(r.task_args, r.task_kwargs)", .data_is_repr = true,                           \
    .tenant = "nullif($SCHEMA, 'public')", .row = "to_jsonb(r)",                                             \
    .secrets = ",task_args,task_kwargs,result,meta,", .states = states,                                      \
    .state_count = sizeof states / sizeof *states, .queues = QUEUES

#define NO_WORKERS "workers are known by the broker: see Celery there"
#define BEAT                                                                                                 \
    .schedule = SCHEDULE, .schedule_slack_s = SLACK_S, .scheduler = SCHEDULER, .scheduler_silent_s = 240,    \
    .act_rights = "SELECT, INSERT, UPDATE ON @django_celery_beat_periodictask, "                             \
                  "@django_celery_beat_periodictasks",                                                       \
    .prepare = prepare_entry

static const struct pg_layout layout_both = {
    .fits = fits_both,
    .name = "django-celery-beat and -results",
    .place = " with beat and results",
    .requires = requires_beat,
    RESULTS,
    BEAT,
    .part_absent = {[PART_WORKERS] = NO_WORKERS},
    .act_absent = why_not,
};
static const struct pg_layout layout_beat = {
    .fits = fits_beat,
    .name = "django-celery-beat",
    .place = " with beat",
    .requires = requires_beat,
    .id_type = "text",
    BEAT,
    .part_absent = {[PART_QUEUES] = "queues are in the broker: here is the schedule only",
                    [PART_WORKERS] = NO_WORKERS,
                    [PART_FAILURES] = "there are no results of django-celery-results in these schemas"},
    .act_absent = why_not,
};
static const struct pg_layout layout_results = {
    .fits = fits_results,
    .name = "django-celery-results",
    .place = " with results",
    .requires = requires_results,
    RESULTS,
    .part_absent = {[PART_WORKERS] = NO_WORKERS,
                    [PART_SCHEDULE] = "there is no schedule of django-celery-beat in these schemas"},
    .act_absent = why_not_results,
};

/* ---- the adapter ---- */

static void take_kind(struct queue_search *search, const struct queue_place *place,
                      const struct pg_catalog *catalog, const struct pg_layout *layout)
{
    const char *wanted = place->settings ? place->settings->schema : NULL;
    size_t count, fitting = 0;
    const char **schemas = pg_catalog_schemas(NULL, catalog, &count);
    for (size_t i = 0; i < count; i++)
        if ((!wanted || strcmp(wanted, schemas[i]) == 0) && layout->fits(catalog, schemas[i]))
            schemas[fitting++] = schemas[i];
    if (fitting)
        queue_search_found(
            search, &pg_jobs_new(search, &django_celery_adapter, layout, catalog, schemas, fitting)->base);
    talloc_free(schemas);
}

/* Names as these are nobody else's: when columns are missing that is told. */
static void tell_missing(const struct queue_place *place, const struct pg_catalog *catalog,
                         struct error *error)
{
    size_t count;
    const char **schemas = pg_catalog_schemas(NULL, catalog, &count);
    for (size_t i = 0; i < count && !error->kind; i++) {
        const char *missing = NULL;
        bool beat = false, results = false;
        const char *const *sets[] = {requires_beat, requires_results};
        for (size_t j = 0; j < 2; j++) {
            bool *some = j ? &results : &beat;
            if (!pg_catalog_has_all(catalog, schemas[i], sets[j], &missing, some) && *some)
                error_set(error, ERROR_UNSUPPORTED, pg_server_name(place->postgres),
                          "a table of django-celery is of an unknown version", NULL, "schema %s has no %s",
                          schemas[i], missing);
        }
    }
    talloc_free(schemas);
}

static void take(struct queue_search *search, const struct queue_place *place,
                 const struct pg_catalog *catalog, struct error *error)
{
    take_kind(search, place, catalog, &layout_both);
    take_kind(search, place, catalog, &layout_beat);
    take_kind(search, place, catalog, &layout_results);
    tell_missing(place, catalog, error);
}

static void search_django(struct queue_search *search, const struct queue_place *place)
{
    pg_catalog_search(search, place, take);
}

const struct queue_adapter django_celery_adapter = {
    .id = "django-celery",
    .title = "Celery's tables of Django",
    .where = ON_POSTGRES,
    .intervals = {[PART_QUEUES] = 15, [PART_WORKERS] = 30, [PART_FAILURES] = 30, [PART_SCHEDULE] = 10},
    .search = search_django,
    .part_absent = pg_jobs_part_absent,
    .act_absent = pg_jobs_act_absent,
    .ask = pg_jobs_ask,
    .read = pg_jobs_read,
    .stop = pg_jobs_stop,
    .forsake = pg_jobs_forsake,
    .job = pg_jobs_job,
    .prepare = pg_jobs_prepare,
    .forsake_prepare = pg_jobs_forsake_prepare,
};
