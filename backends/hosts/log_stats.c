#include "backends/hosts/log_stats.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "core/clock.h"

#define ERROR_RATE 0.02
#define SMALLEST_S 0.001

enum { HOST_MAX = 253, AHEAD_S = 600 };

static double log_gamma(void)
{
    return log((1 + ERROR_RATE) / (1 - ERROR_RATE));
}

size_t sketch_bucket(double seconds)
{
    /* Half a millisecond belongs to 0.000 and 0.001 alike. */
    if (!(seconds >= SMALLEST_S / 2))
        return 0;
    double bucket = ceil(log(seconds / SMALLEST_S) / log_gamma()) + 1;
    if (bucket < 1)
        return 1;
    return bucket >= SKETCH_BUCKETS ? SKETCH_BUCKETS - 1 : (size_t)bucket;
}

static double bucket_value(size_t bucket)
{
    double gamma = (1 + ERROR_RATE) / (1 - ERROR_RATE);
    return bucket == 0 ? 0 : SMALLEST_S * 2 * pow(gamma, (double)bucket - 1) / (gamma + 1);
}

void sketch_add(struct sketch *sketch, double seconds)
{
    sketch->counts[sketch_bucket(seconds)]++;
    sketch->total++;
}

void sketch_merge(struct sketch *into, const struct sketch *other)
{
    for (size_t i = 0; i < SKETCH_BUCKETS; i++)
        into->counts[i] += other->counts[i];
    into->total += other->total;
}

double sketch_quantile(const struct sketch *sketch, double share)
{
    if (!sketch->total)
        return NAN;
    uint64_t rank = (uint64_t)(share * (double)(sketch->total - 1)), seen = 0;
    for (size_t i = 0; i < SKETCH_BUCKETS; i++) {
        seen += sketch->counts[i];
        if (seen > rank)
            return bucket_value(i);
    }
    return bucket_value(SKETCH_BUCKETS - 1);
}

/* ---- tenants ---- */

struct tenant {
    char host[HOST_MAX + 1];
    uint32_t number; /* in slots */
    uint32_t requests, errors_5xx, errors_4xx, over;
    double bytes;
    struct sketch sketch;
    UT_hash_handle hh;
};

/* One request as it is kept, to be taken off again when the window has passed it. */
struct request {
    int32_t at_s; /* after `epoch` */
    float bytes;
    uint32_t tenant;
    uint16_t bucket;
    uint8_t hundred; /* of the status */
    bool over;
};

enum { NO_TIME = 0xffff };

struct log_stats {
    double window_s, promise_s;
    double epoch; /* time of the first request; NAN: none yet */
    int32_t newest_s;
    struct tenant *by_host;
    struct tenant **slots; /* by number; 0 is the others */
    uint32_t *free_slots;
    size_t slot_count, slot_room, free_count;
    struct request *requests; /* a ring, grown up to STATS_REQUESTS_MAX */
    size_t room, first, count;
    uint64_t dropped;
    bool full;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static int stats_free(struct log_stats *stats)
{
    HASH_CLEAR(hh, stats->by_host);
    return 0;
}

static struct tenant *new_tenant(struct log_stats *stats)
{
    struct tenant *tenant = must(talloc_zero(stats, struct tenant));
    if (stats->free_count) {
        tenant->number = stats->free_slots[--stats->free_count];
    } else {
        if (stats->slot_count == stats->slot_room) {
            stats->slot_room = stats->slot_room ? 2 * stats->slot_room : 16;
            stats->slots =
                must(talloc_realloc(stats, stats->slots, struct tenant *, (unsigned)stats->slot_room));
            stats->free_slots =
                must(talloc_realloc(stats, stats->free_slots, uint32_t, (unsigned)stats->slot_room));
        }
        tenant->number = (uint32_t)stats->slot_count++;
    }
    stats->slots[tenant->number] = tenant;
    return tenant;
}

struct log_stats *log_stats_new(const void *context, double window_s, double promise_s)
{
    struct log_stats *stats = must(talloc_zero(context, struct log_stats));
    stats->window_s = window_s;
    stats->promise_s = promise_s;
    stats->epoch = NAN;
    snprintf(new_tenant(stats)->host, HOST_MAX, "(others)");
    talloc_set_destructor(stats, stats_free);
    return stats;
}

/* Host names have no case, and the dot of the root says nothing. */
static size_t normalise(char host[HOST_MAX + 1], struct log_text text)
{
    size_t length = text.length < HOST_MAX ? text.length : HOST_MAX;
    for (size_t i = 0; i < length; i++)
        host[i] = text.bytes[i] ? (char)tolower((unsigned char)text.bytes[i]) : ' ';
    if (length > 1 && host[length - 1] == '.')
        length--;
    host[length] = '\0';
    return length;
}

static struct tenant *find_tenant(struct log_stats *stats, struct log_text host)
{
    char name[HOST_MAX + 1];
    struct tenant *tenant;
    size_t length = normalise(name, host);
    HASH_FIND(hh, stats->by_host, name, length, tenant);
    if (tenant)
        return tenant;
    if (HASH_COUNT(stats->by_host) >= STATS_TENANTS_MAX)
        return stats->slots[0];
    tenant = new_tenant(stats);
    memcpy(tenant->host, name, length + 1);
    HASH_ADD_KEYPTR(hh, stats->by_host, tenant->host, length, tenant);
    return tenant;
}

/* ---- requests come and go ---- */

static void drop_oldest(struct log_stats *stats)
{
    if (!stats->room)
        return;
    const struct request *request = &stats->requests[stats->first];
    struct tenant *tenant = stats->slots[request->tenant];
    tenant->requests--;
    tenant->errors_5xx -= request->hundred == 5;
    tenant->errors_4xx -= request->hundred == 4;
    tenant->over -= request->over;
    tenant->bytes -= (double)request->bytes;
    if (request->bucket != NO_TIME) {
        tenant->sketch.counts[request->bucket]--;
        tenant->sketch.total--;
    }
    stats->first = (stats->first + 1) % stats->room;
    stats->count--;
    if (tenant->requests == 0 && tenant->number != 0 && stats->by_host) {
        HASH_DEL(stats->by_host, tenant);
        stats->slots[tenant->number] = NULL;
        stats->free_slots[stats->free_count++] = tenant->number;
        talloc_free(tenant);
    }
}

static void make_room(struct log_stats *stats)
{
    if (stats->count < stats->room)
        return;
    if (stats->room == STATS_REQUESTS_MAX) {
        drop_oldest(stats);
        stats->full = true;
        return;
    }
    size_t room = stats->room ? 2 * stats->room : 1024;
    struct request *requests = must(talloc_array(stats, struct request, room));
    for (size_t i = 0; stats->room && i < stats->count; i++)
        requests[i] = stats->requests[(stats->first + i) % stats->room];
    talloc_free(stats->requests);
    stats->requests = requests;
    stats->room = room;
    stats->first = 0;
}

static void count_request(struct log_stats *stats, const struct log_line *line, int32_t at_s)
{
    struct tenant *tenant = find_tenant(stats, line->host);
    struct request request = {.at_s = at_s,
                              .tenant = tenant->number,
                              .bucket = NO_TIME,
                              .hundred = (uint8_t)(line->status / 100),
                              .bytes = isnan(line->bytes) ? 0 : (float)line->bytes};
    tenant->requests++;
    tenant->errors_5xx += request.hundred == 5;
    tenant->errors_4xx += request.hundred == 4;
    tenant->bytes += (double)request.bytes;
    if (!isnan(line->request_time)) {
        request.bucket = (uint16_t)sketch_bucket(line->request_time);
        request.over = line->request_time > stats->promise_s;
        tenant->over += request.over;
        sketch_add(&tenant->sketch, line->request_time);
    }
    if (stats->room) /* always: make_room was called */
        stats->requests[(stats->first + stats->count++) % stats->room] = request;
}

void log_stats_add(struct log_stats *stats, const struct log_line *line)
{
    /* One line of a clock that ran ahead would push all others out of the window. */
    if (!line->access || isnan(line->time) || line->time > clock_wall() + AHEAD_S)
        return;
    if (isnan(stats->epoch))
        stats->epoch = floor(line->time);
    double after = floor(line->time) - stats->epoch;
    if (fabs(after) > 1e9)
        return;
    int32_t at_s = (int32_t)after;
    if (stats->count == 0 || at_s > stats->newest_s)
        stats->newest_s = at_s;
    if (stats->newest_s - at_s > stats->window_s)
        return;
    make_room(stats);
    count_request(stats, line, at_s);
    while (stats->count > 1 && stats->newest_s - stats->requests[stats->first].at_s > stats->window_s)
        drop_oldest(stats);
}

void log_stats_dropped(struct log_stats *stats, uint64_t lines)
{
    stats->dropped += lines;
}

/* ---- the report ---- */

static void fill(struct tenant_stats *out, const struct tenant *tenant, double span_s)
{
    *out = (struct tenant_stats){.host = tenant->host,
                                 .requests = tenant->requests,
                                 .errors_5xx = tenant->errors_5xx,
                                 .errors_4xx = tenant->errors_4xx,
                                 .bytes = tenant->bytes,
                                 .timed = (double)tenant->sketch.total,
                                 .over_promise = tenant->over};
    out->requests_per_s = out->requests / span_s;
    out->errors_percent = out->requests > 0 ? 100 * out->errors_5xx / out->requests : 0;
    out->p50_ms = 1000 * sketch_quantile(&tenant->sketch, 0.50);
    out->p95_ms = 1000 * sketch_quantile(&tenant->sketch, 0.95);
    out->p99_ms = 1000 * sketch_quantile(&tenant->sketch, 0.99);
    out->over_percent = out->timed > 0 ? 100 * out->over_promise / out->timed : NAN;
}

static int by_requests(const void *a, const void *b)
{
    const struct tenant_stats *left = a, *right = b;
    if (left->requests != right->requests)
        return left->requests < right->requests ? 1 : -1;
    return strcmp(left->host, right->host);
}

static void add_up(struct tenant *total, const struct tenant *tenant)
{
    total->requests += tenant->requests;
    total->errors_5xx += tenant->errors_5xx;
    total->errors_4xx += tenant->errors_4xx;
    total->over += tenant->over;
    total->bytes += tenant->bytes;
    sketch_merge(&total->sketch, &tenant->sketch);
}

struct log_stats_report *log_stats_report(const void *context, struct log_stats *stats)
{
    struct log_stats_report *report = must(talloc_zero(context, struct log_stats_report));
    struct tenant *total = must(talloc_zero(report, struct tenant));
    int32_t oldest = stats->newest_s;
    for (size_t i = 0; i < stats->count; i++) {
        int32_t at_s = stats->requests[(stats->first + i) % stats->room].at_s;
        oldest = at_s < oldest ? at_s : oldest;
    }
    report->from = stats->count ? stats->epoch + oldest : NAN;
    report->to = stats->count ? stats->epoch + stats->newest_s : NAN;
    report->dropped = stats->dropped;
    report->full = stats->full;
    report->others = stats->slots[0]->requests;
    /* Times are whole seconds: requests of one second took that second. */
    double span_s = stats->newest_s - oldest + 1;
    report->tenants = must(talloc_array(report, struct tenant_stats, stats->slot_count));
    bool hosts = false;
    for (size_t i = 0; i < stats->slot_count; i++) {
        const struct tenant *tenant = stats->slots[i];
        if (!tenant || !tenant->requests)
            continue;
        struct tenant_stats *row = &report->tenants[report->tenant_count++];
        fill(row, tenant, span_s);
        row->host = must(talloc_strdup(report, tenant->host[0] ? tenant->host : "(no host)"));
        hosts = hosts || tenant->host[0];
        add_up(total, tenant);
    }
    qsort(report->tenants, report->tenant_count, sizeof *report->tenants, by_requests);
    snprintf(total->host, sizeof total->host, "all");
    fill(&report->total, total, span_s);
    report->without_times = total->requests && !total->sketch.total;
    report->without_hosts = total->requests && !hosts;
    return report;
}

const char *log_stats_advice(const struct log_stats_report *report)
{
    if (!report->without_times && !report->without_hosts)
        return NULL;
    return "log_format signalbox '$host $remote_addr - $remote_user [$time_local] \"$request\" $status "
           "$body_bytes_sent \"$http_referer\" \"$http_user_agent\" rt=$request_time "
           "urt=\"$upstream_response_time\"'; access_log /var/log/nginx/access.log signalbox;";
}
