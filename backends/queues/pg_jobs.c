/* Job systems on Postgres: making one, what of a job is selected and how a row becomes a job. */
#include "backends/queues/pg_jobs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* What applications call the tenant in a job's arguments, the most certain first. */
static char *tenant_expression(const void *context, const struct pg_layout *layout,
                               const struct environment_jobs *settings)
{
    static const char *const names[] = {"_schema_name", "schema_name", "tenant",
                                        "tenant_id",    "tenantId",    "schema"};
    if (layout->tenant)
        return talloc_strdup(context, layout->tenant);
    if (!layout->data)
        return talloc_strdup(context, "NULL::text");
    char *text = talloc_strdup(context, "COALESCE(");
    /* `@` and `$` are placeholders in a layout's SQL: no keyword of Python has them. */
    if (settings && settings->tenant_keyword && !strpbrk(settings->tenant_keyword, "@$")) {
        char *name = pg_literal(text, settings->tenant_keyword);
        return talloc_asprintf_append_buffer(text, "(%s) ->> %s, NULL)", layout->data, name);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        text = talloc_asprintf_append_buffer(text, "%s(%s) ->> '%s'", i ? ", " : "", layout->data, names[i]);
    return talloc_strdup_append_buffer(text, ")");
}

static char *place_text(struct pg_jobs *jobs, const struct pg_catalog *catalog)
{
    char *text = talloc_strdup(jobs, pg_server_name(jobs->base.at.postgres));
    if (catalog->login)
        text = talloc_asprintf_append_buffer(text, ", database %s", catalog->login);
    if (jobs->schema_count == 1)
        return talloc_asprintf_append_buffer(text, ", schema %s", jobs->schemas[0]);
    /* Not how many: tenants come and go, and it stays the same system. */
    return talloc_asprintf_append_buffer(text, ", schemas of the tenants%s",
                                         jobs->layout->place ? jobs->layout->place : "");
}

static void take_schemas(struct pg_jobs *jobs, const char *const *schemas, size_t count)
{
    jobs->schema_count = count > PG_SCHEMAS_MOST ? PG_SCHEMAS_MOST : count;
    jobs->schemas_left_out = count - jobs->schema_count;
    talloc_free(jobs->schemas);
    jobs->schemas = talloc_array(jobs, const char *, jobs->schema_count + 1);
    if (!jobs->schemas)
        abort();
    for (size_t i = 0; i < jobs->schema_count; i++)
        jobs->schemas[i] = talloc_strdup(jobs->schemas, schemas[i]);
}

struct pg_jobs *pg_jobs_new(struct queue_search *search, const struct queue_adapter *adapter,
                            const struct pg_layout *layout, const struct pg_catalog *catalog,
                            const char *const *schemas, size_t schema_count)
{
    struct pg_jobs *jobs = queue_system_new(search, adapter, sizeof *jobs);
    jobs->layout = layout;
    jobs->login = catalog->login ? talloc_strdup(jobs, catalog->login) : NULL;
    jobs->database = talloc_strdup(jobs, catalog->database);
    take_schemas(jobs, schemas, schema_count);
    jobs->data_tenant = tenant_expression(jobs, layout, jobs->base.at.settings);
    jobs->base.place = place_text(jobs, catalog);
    return jobs;
}

void pg_jobs_follow_tenants(struct pg_jobs *jobs)
{
    const struct environment_jobs *settings = jobs->base.at.settings;
    uint64_t version;
    const struct pg_catalog *catalog = pg_catalog_latest(jobs->base.at.postgres, jobs->login, &version);
    if (!jobs->layout->fits || !catalog || version == jobs->catalog_version || (settings && settings->schema))
        return;
    size_t count, fitting = 0;
    const char **schemas = pg_catalog_schemas(NULL, catalog, &count);
    for (size_t i = 0; i < count; i++)
        if (jobs->layout->fits(catalog, schemas[i]))
            schemas[fitting++] = schemas[i];
    if (fitting && jobs->schema_count > 1)
        take_schemas(jobs, schemas, fitting);
    jobs->catalog_version = version;
    talloc_free(schemas);
}

struct pg_connection *pg_jobs_connection(struct pg_jobs *jobs)
{
    return pg_server_read(jobs->base.at.postgres, jobs->login);
}

const struct pg_state *pg_jobs_state(const struct pg_layout *layout, enum job_state state)
{
    for (size_t i = 0; i < layout->state_count; i++)
        if (layout->states[i].state == state)
            return &layout->states[i];
    return NULL;
}

const char *pg_jobs_part_absent(const struct queue_system *system, enum queue_part part)
{
    const struct pg_layout *layout = ((const struct pg_jobs *)system)->layout;
    if (part == PART_ASIDE)
        return "signalbox sets nothing aside in tables of Postgres";
    return layout->part_absent[part];
}

const char *pg_jobs_act_absent(const struct queue_system *system, enum queue_act act)
{
    const struct pg_layout *layout = ((const struct pg_jobs *)system)->layout;
    for (size_t i = 0; i < layout->act_count; i++)
        if (layout->acts[i].act == act)
            return NULL;
    if (layout->act_absent)
        return layout->act_absent(act);
    return layout->read_only ? layout->read_only : "it is only looked at";
}

/* ---- rows ---- */

static bool is_time(int column)
{
    return column == PG_ENQUEUED || column == PG_ETA || column == PG_EXPIRES || column == PG_TAKEN ||
           column == PG_STARTED || column == PG_FINISHED;
}

char *pg_jobs_columns(const void *context, const struct pg_jobs *jobs, bool trace)
{
    const struct pg_layout *layout = jobs->layout;
    char *text = talloc_strdup(context, "");
    for (int i = 0; i < PG_COLUMNS; i++) {
        const char *expression = layout->columns[i];
        const char *format = !expression                 ? "NULL"
                             : is_time(i)                ? "extract(epoch FROM (%s))"
                             : i == PG_TRACE && !trace   ? "left((%s)::text, 4000)"
                             : i == PG_TRACE             ? "left((%s)::text, 100000)"
                             : i == PG_MESSAGE && !trace ? "left((%s)::text, 1000)"
                                                         : "(%s)::text";
        const char *place = strstr(format, "%s");
        text = talloc_strdup_append_buffer(text, i ? ", " : "");
        if (!place) {
            text = talloc_strdup_append_buffer(text, format);
            continue;
        }
        text = talloc_strndup_append_buffer(text, format, (size_t)(place - format));
        text = talloc_asprintf_append_buffer(text, "%s%s", expression, place + 2);
    }
    text = talloc_asprintf_append_buffer(text, ", %s", jobs->data_tenant);
    if (!layout->data)
        return talloc_strdup_append_buffer(text, ", NULL, NULL");
    return talloc_asprintf_append_buffer(text, ", octet_length((%s)::text), left((%s)::text, 65536)",
                                         layout->data, layout->data);
}

static double time_at(const struct pg_rows *rows, int row, int column)
{
    double time = pg_rows_real(rows, row, column);
    return isfinite(time) ? time : 0;
}

static const char *text_at(const void *context, const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    return text && *text ? talloc_strdup(context, text) : NULL;
}

static int number_at(const struct pg_rows *rows, int row, int column)
{
    return pg_rows_null(rows, row, column) ? -1 : (int)pg_rows_integer(rows, row, column);
}

static void fill_failure(const void *context, struct job *job, const struct pg_rows *rows, int row)
{
    const int first = PG_FIRST_COLUMN;
    job->exception = text_at(context, rows, row, first + PG_EXCEPTION);
    job->message = text_at(context, rows, row, first + PG_MESSAGE);
    job->frame = pg_trace_frame(context, pg_rows_text(rows, row, first + PG_TRACE));
    job->why = job->message;
}

void pg_jobs_fill(const void *context, const struct pg_jobs *jobs, struct job *job,
                  const struct pg_rows *rows, int row, enum job_state state, const char **data)
{
    const int first = PG_FIRST_COLUMN;
    *job = (struct job){.state = state, .index = -1, .size = -1, .priority = -1, .retries_max = -1};
    job->id = text_at(context, rows, row, first + PG_ID);
    job->tag = job->id;
    job->task = text_at(context, rows, row, first + PG_TASK);
    job->queue = text_at(context, rows, row, first + PG_QUEUE);
    job->tenant = text_at(context, rows, row, first + PG_TENANT);
    job->tenant_known = job->tenant || (jobs->layout->data && !jobs->layout->tenant);
    job->priority = number_at(rows, row, first + PG_PRIORITY);
    job->retries = number_at(rows, row, first + PG_RETRIES);
    job->retries_max = number_at(rows, row, first + PG_RETRIES_MAX);
    job->enqueued_at = time_at(rows, row, first + PG_ENQUEUED);
    job->eta = time_at(rows, row, first + PG_ETA);
    job->expires = time_at(rows, row, first + PG_EXPIRES);
    job->taken_at = time_at(rows, row, first + PG_TAKEN);
    job->started_at = time_at(rows, row, first + PG_STARTED);
    job->finished_at = time_at(rows, row, first + PG_FINISHED);
    job->limit_s = time_at(rows, row, first + PG_LIMIT);
    job->worker = text_at(context, rows, row, first + PG_WORKER);
    job->root = text_at(context, rows, row, first + PG_ROOT);
    if (pg_rows_boolean(rows, row, first + PG_PERIODIC))
        job->flags |= JOB_PERIODIC;
    if (!pg_rows_null(rows, row, first + PG_SIZE))
        job->size = pg_rows_integer(rows, row, first + PG_SIZE);
    if (job->size > 128 * 1024)
        job->flags |= JOB_BIG;
    if (job->eta > 0 && job->enqueued_at > 0 && job->eta - job->enqueued_at < 1 && state == JOB_READY)
        job->eta = 0; /* due when it was made: no time of its own */
    fill_failure(context, job, rows, row);
    *data = pg_rows_text(rows, row, first + PG_DATA);
}

char *pg_jobs_arguments(const void *context, const struct pg_jobs *jobs, const char *data)
{
    return jobs->layout->data_is_repr ? NULL : pg_json_shape(context, data);
}

void pg_jobs_explain(const struct pg_jobs *jobs, struct error *error, const char *what)
{
    const char *schema = jobs->schema_count ? jobs->schemas[0] : "public";
    char *role = pg_server_read_role(NULL, jobs->base.at.postgres);
    snprintf(error->what, sizeof error->what, "%s", what);
    if (error->kind == ERROR_DENIED)
        snprintf(error->todo, sizeof error->todo,
                 "As the owner of the tables: GRANT USAGE ON SCHEMA \"%s\" TO \"%s\"; GRANT SELECT ON ALL "
                 "TABLES IN SCHEMA \"%s\" TO \"%s\";",
                 schema, role, schema, role);
    else if (error->kind == ERROR_TIMEOUT && !error->todo[0])
        snprintf(error->todo, sizeof error->todo,
                 "The tables of %s are large: a question is given up after 2 s. Remove old jobs.",
                 jobs->layout->name);
    talloc_free(role);
}
