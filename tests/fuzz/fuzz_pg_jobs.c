/* What job tables and rabbitmqctl may hold: crontab fields, zone files, JSON documents, tracebacks, names and
 * answers of any kind. The first byte says which. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/cron.h"
#include "backends/queues/pg_jobs.h"
#include "backends/queues/rabbitmq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void crontab(const char *text)
{
    struct cron cron;
    struct zone_cache *zones = zone_cache_new(NULL);
    for (int flavour = CRON_CELERY; flavour <= CRON_VIXIE; flavour++) {
        if (!cron_parse(&cron, text, (enum cron_flavour)flavour))
            continue;
        int64_t next = cron_next(&cron, zone_find(zones, "UTC"), INT64_C(1774746000));
        if (next && next <= INT64_C(1774746000))
            abort();
    }
    talloc_free(zones);
}

static void entry(char *text)
{
    static const char *const kinds[] = {"celery", "cron", "every", "text"};
    struct zone_cache *zones = zone_cache_new(NULL);
    char *zone = strchr(text, '\n');
    if (zone)
        *zone++ = '\0';
    for (size_t i = 0; i < 4; i++) {
        struct schedule_when when = {.kind = kinds[i], .text = text, .zone = zone, .last = 1774740000};
        struct schedule_due due = schedule_due(zones, &when, 1774746000);
        if (due.late < 0 || isnan(due.next))
            abort();
    }
    talloc_free(zones);
}

static void zone_file(const void *context, const uint8_t *data, size_t size)
{
    struct zone *zone = zone_parse(context, data, size);
    if (!zone)
        return;
    for (int64_t at = INT64_C(-4000000000); at < INT64_C(8000000000); at += 86400 * 97) {
        int offset = zone_offset(zone, at);
        if (offset < -700000 || offset > 700000)
            abort();
        zone_to_utc(zone, at);
    }
}

static void answer(const char *text, size_t length)
{
    struct error error = {0};
    struct queues_snapshot *queues = SNAPSHOT_NEW(struct queues_snapshot);
    bool right = rabbitmq_read_queues(queues, NULL, text, length, "x", &error);
    if (!right && !error.kind)
        abort();
    for (size_t i = 0; i < queues->count; i++)
        if (!queues->queues[i].name)
            abort();
    struct queues_snapshot *again = SNAPSHOT_NEW(struct queues_snapshot);
    rabbitmq_read_queues(again, queues, text, length, "x", &error);
    struct workers_snapshot *workers = SNAPSHOT_NEW(struct workers_snapshot);
    rabbitmq_read_consumers(workers, text, length, "x", &error);
    snapshot_release(queues);
    snapshot_release(again);
    snapshot_release(workers);
}

static void sql(const void *context, const char *text)
{
    size_t quotes = 0;
    const char *literal = pg_literal(context, text);
    for (const char *c = literal + (*literal == 'E') + 1; c[1]; c++)
        quotes += *c == '\'';
    if (quotes % 2)
        abort(); /* each of them must be doubled */
    pg_identifier(context, text);
    pg_jobs_sql(context, text, "@x $SCHEMA $1");
    pg_jobs_sql(context, "x", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    void *context = talloc_new(NULL);
    char *text = talloc_strndup(context, (const char *)data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        crontab(text);
        break;
    case 1:
        entry(text);
        break;
    case 2:
        zone_file(context, data + 1, size - 1);
        break;
    case 3:
        pg_json_shape(context, text);
        pg_trace_frame(context, text);
        break;
    case 4:
        answer((const char *)data + 1, size - 1);
        break;
    default:
        sql(context, text);
    }
    talloc_free(context);
    return 0;
}
