/* How a server is, by its INFO: each figure with its bounds, in words. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/info.h"
#include "backends/redis/look_internal.h"
#include "core/clock.h"
#include "core/units.h"

/* Below this, ratios of memory say nothing. */
#define SMALL_BYTES (64.0 * 1048576)
/* Hits and misses below this say nothing. */
#define FEW_LOOKUPS 1000

struct reading {
    struct redis_overview *overview;
    const char *node, *info, *save;
    size_t length;
    const struct look_counters *before;
    struct look_counters now;
    double elapsed_s; /* since `before`; NAN: there is none */
};

static int64_t integer(const struct reading *r, const char *name)
{
    return info_integer(r->info, r->length, name, -1);
}
static double real(const struct reading *r, const char *name)
{
    return info_real(r->info, r->length, name, NAN);
}
static const char *text(const struct reading *r, const char *name)
{
    char buffer[256];
    if (!info_text(r->info, r->length, name, buffer, sizeof buffer))
        return NULL;
    return look_must(talloc_strdup(r->overview, buffer));
}
static bool is(const struct reading *r, const char *name, const char *value)
{
    char buffer[64];
    return info_text(r->info, r->length, name, buffer, sizeof buffer) && strcmp(buffer, value) == 0;
}

static struct redis_fact *add_fact(const struct reading *r, const char *subject)
{
    struct redis_overview *overview = r->overview;
    overview->facts =
        look_must(talloc_realloc(overview, overview->facts, struct redis_fact, overview->count + 1));
    struct redis_fact *fact = &overview->facts[overview->count++];
    *fact = (struct redis_fact){.node = r->node ? look_must(talloc_strdup(overview, r->node)) : NULL,
                                .subject = subject,
                                .number = NAN};
    return fact;
}

static const char *format(const struct reading *r, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));
static const char *format(const struct reading *r, const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    char *made = look_must(talloc_vasprintf(r->overview, pattern, arguments));
    va_end(arguments);
    return made;
}

static double per_second(const struct reading *r, int64_t now, int64_t before)
{
    return r->elapsed_s > 0 && now >= before && before >= 0 ? (double)(now - before) / r->elapsed_s : NAN;
}

static void add_server(const struct reading *r)
{
    char up[32];
    struct redis_fact *fact = add_fact(r, "server");
    double uptime = real(r, "uptime_in_seconds");
    const char *version = text(r, "redis_version"), *mode = text(r, "redis_mode"), *role = text(r, "role");
    if (!version)
        return;
    fact->number = uptime;
    fact->value = format(r, "%s", version);
    fact->detail = format(r, "%s, %s · up %s", mode ? mode : "?",
                          role && strcmp(role, "slave") == 0 ? "replica"
                          : role                             ? role
                                                             : "?",
                          isnan(uptime) ? "?" : format_s(up, sizeof up, uptime));
    if (uptime >= 0 && uptime < 600) {
        fact->severity = SEVERITY_WARNING;
        fact->detail = format(r, "%s: it was started a short while ago", fact->detail);
    }
}

static void add_memory(const struct reading *r)
{
    char used[32], limit[32], share[32];
    struct redis_fact *fact = add_fact(r, "memory");
    double bytes = real(r, "used_memory"), most = real(r, "maxmemory"),
           machine = real(r, "total_system_memory");
    const char *policy = text(r, "maxmemory_policy");
    bool limited = most > 0, evicts = policy && strcmp(policy, "noeviction") != 0;
    double of = limited ? most : machine;
    if (isnan(bytes))
        return;
    fact->number = bytes;
    format_bytes(used, sizeof used, bytes);
    if (!(of > 0)) {
        fact->value = format(r, "%s", used);
        return;
    }
    fact->value = format(r, "%s of %s (%s)", used, format_bytes(limit, sizeof limit, of),
                         format_percent(share, sizeof share, 100 * bytes / of));
    if (limited) {
        fact->detail = format(r, evicts ? "when it is full, %s: keys go" : "when it is full, %s: writes fail",
                              policy ? policy : "?");
        if (bytes / of >= 0.9)
            fact->severity = evicts || bytes / of < 0.97 ? SEVERITY_WARNING : SEVERITY_CRITICAL;
    } else {
        fact->detail = "no maxmemory: it grows until the machine has no memory left";
        if (bytes / of >= 0.5)
            fact->severity = bytes / of >= 0.8 ? SEVERITY_CRITICAL : SEVERITY_WARNING;
    }
}

static void add_fragmentation(const struct reading *r)
{
    char resident[32];
    struct redis_fact *fact = add_fact(r, "fragmentation");
    double ratio = real(r, "mem_fragmentation_ratio"), used = real(r, "used_memory"),
           rss = real(r, "used_memory_rss");
    if (isnan(ratio) || isnan(used))
        return;
    fact->number = ratio;
    fact->value = format(r, "%.2f", ratio);
    fact->detail = format(r, "%s resident", format_bytes(resident, sizeof resident, rss));
    if (used < SMALL_BYTES) {
        fact->detail = format(r, "%s resident; says nothing below 64 MB", resident);
    } else if (ratio < 0.9) {
        fact->severity = SEVERITY_CRITICAL;
        fact->detail = "less is resident than in use: part of it is swapped out";
    } else if (ratio > 1.5) {
        fact->severity = SEVERITY_WARNING;
        fact->detail = "much freed memory is kept: activedefrag, or a restart, gives it back";
    }
}

static void add_evictions(const struct reading *r)
{
    char count[32], rate[32];
    struct redis_fact *fact = add_fact(r, "evictions");
    double each = per_second(r, r->now.evicted, r->before->evicted);
    const char *policy = text(r, "maxmemory_policy");
    if (r->now.evicted < 0)
        return;
    fact->number = (double)r->now.evicted;
    fact->value = format(r, "%s", format_count(count, sizeof count, (double)r->now.evicted));
    fact->detail = format(r, "policy %s", policy ? policy : "?");
    if (each > 0) {
        fact->severity = SEVERITY_WARNING;
        fact->detail = format(
            r, "%s/s now, policy %s: keys go before they expire; jobs and sessions too, if they are here",
            format_rate(rate, sizeof rate, each), policy ? policy : "?");
    }
    if (r->now.oom > 0) {
        fact->severity =
            r->before->oom >= 0 && r->now.oom > r->before->oom ? SEVERITY_CRITICAL : SEVERITY_WARNING;
        fact->detail = format(r, "%s writes were refused for memory (OOM)",
                              format_count(count, sizeof count, (double)r->now.oom));
    }
}

/* Is the cache worth it? */
static void add_hit_ratio(const struct reading *r)
{
    char share[32], lately[32] = "", lookups[32];
    struct redis_fact *fact = add_fact(r, "hit ratio");
    double all = (double)r->now.hits + (double)r->now.misses;
    double hits = (double)(r->now.hits - r->before->hits),
           misses = (double)(r->now.misses - r->before->misses);
    if (r->now.hits < 0 || r->now.misses < 0)
        return;
    if (all < FEW_LOOKUPS) {
        fact->detail = format(r, "%.0f lookups so far: too few to say", all);
        return;
    }
    double ratio = (double)r->now.hits / all;
    fact->number = 100 * ratio;
    fact->value = format(r, "%s", format_percent(share, sizeof share, 100 * ratio));
    if (!isnan(r->elapsed_s) && hits >= 0 && misses >= 0 && hits + misses >= 10)
        snprintf(lately, sizeof lately, ", %.0f %% now", 100 * hits / (hits + misses));
    format_count(lookups, sizeof lookups, all);
    if (ratio >= 0.8)
        fact->detail = format(r, "of %s lookups%s: as a cache it is worth it", lookups, lately);
    else if (r->now.evicted > 0)
        fact->detail = format(r, "of %s lookups%s: keys are evicted, it is too small for what is cached",
                              lookups, lately);
    else if (ratio >= 0.5)
        fact->detail =
            format(r, "of %s lookups%s: as a cache it is worth it for part of them", lookups, lately);
    else
        fact->detail =
            format(r, "of %s lookups%s: as a cache hardly worth it; usual where workers poll empty queues",
                   lookups, lately);
    if (ratio < 0.8 && r->now.evicted > 0)
        fact->severity = SEVERITY_WARNING;
}

static void add_clients(const struct reading *r)
{
    char rejected[32];
    struct redis_fact *fact = add_fact(r, "clients");
    int64_t connected = integer(r, "connected_clients"), most = integer(r, "maxclients");
    if (connected < 0)
        return;
    fact->number = (double)connected;
    fact->value = most > 0 ? format(r, "%lld of %lld", (long long)connected, (long long)most)
                           : format(r, "%lld", (long long)connected);
    if (most > 0 && connected >= most * 8 / 10) {
        fact->severity = connected >= most * 95 / 100 ? SEVERITY_CRITICAL : SEVERITY_WARNING;
        fact->detail = "beyond maxclients nobody can connect";
    }
    if (r->now.rejected > 0) {
        bool now = r->before->rejected >= 0 && r->now.rejected > r->before->rejected;
        fact->severity = now ? SEVERITY_CRITICAL : SEVERITY_WARNING;
        fact->detail = format(r, "%s connections were refused since its start: maxclients",
                              format_count(rejected, sizeof rejected, (double)r->now.rejected));
    }
}

static void add_blocked(const struct reading *r)
{
    struct redis_fact *fact = add_fact(r, "blocked clients");
    int64_t blocked = integer(r, "blocked_clients");
    if (blocked < 0)
        return;
    fact->number = (double)blocked;
    fact->value = format(r, "%lld", (long long)blocked);
    fact->detail = "wait in BRPOP, BLPOP or XREAD, as workers do";
}

static void add_commands(const struct reading *r)
{
    char rate[32], in[32], out[32], failed[32];
    struct redis_fact *fact = add_fact(r, "commands");
    double each = real(r, "instantaneous_ops_per_sec");
    double errors = per_second(r, r->now.errors, r->before->errors);
    if (isnan(each))
        return;
    fact->number = each;
    fact->value = format(r, "%s/s", format_rate(rate, sizeof rate, each));
    fact->detail = format(r, "%s/s in, %s/s out",
                          format_bytes(in, sizeof in, 1024 * real(r, "instantaneous_input_kbps")),
                          format_bytes(out, sizeof out, 1024 * real(r, "instantaneous_output_kbps")));
    if (errors >= 0.1) {
        fact->severity = SEVERITY_WARNING;
        fact->detail = format(r, "%s · %s/s are answered with an error", fact->detail,
                              format_rate(failed, sizeof failed, errors));
    }
}

static bool saves(const struct reading *r)
{
    return r->save && *r->save;
}

static void add_rdb(const struct reading *r, double now)
{
    char age[32], changes[32];
    struct redis_fact *fact = add_fact(r, "snapshot (RDB)");
    double last = real(r, "rdb_last_save_time"), since = real(r, "rdb_changes_since_last_save");
    bool aof = integer(r, "aof_enabled") == 1;
    if (isnan(last))
        return;
    double seconds = fmax(0, now - last);
    format_s(age, sizeof age, seconds);
    format_count(changes, sizeof changes, since);
    fact->number = seconds;
    fact->value = format(r, "%s ago", age);
    fact->detail = format(r, "%s changes since", changes);
    if (is(r, "rdb_last_bgsave_status", "err")) {
        fact->severity = SEVERITY_CRITICAL;
        fact->detail = "the last save failed: look at its log and the disk; writes may be refused (MISCONF)";
    } else if (r->save && !saves(r)) {
        fact->value = "off";
        fact->number = NAN;
        fact->detail =
            aof ? "the AOF keeps the data" : "neither RDB nor AOF: a restart loses everything, jobs too";
        fact->severity = aof ? SEVERITY_NONE : SEVERITY_WARNING;
    } else if (!aof && seconds > 3 * 3600 && since > 0) {
        fact->severity = SEVERITY_WARNING;
        fact->detail = format(r, "a crash now would lose %s changes", changes);
    }
}

static void add_aof(const struct reading *r)
{
    struct redis_fact *fact = add_fact(r, "log (AOF)");
    int64_t enabled = integer(r, "aof_enabled");
    if (enabled < 0)
        return;
    fact->value = enabled ? "on" : "off";
    fact->number = (double)enabled;
    if (!enabled)
        return;
    bool failed = is(r, "aof_last_write_status", "err");
    if (failed || is(r, "aof_last_bgrewrite_status", "err")) {
        fact->severity = SEVERITY_CRITICAL;
        fact->detail = failed ? "the last write to it failed: look at its log and the disk"
                              : "the last rewrite of it failed";
    } else if (r->now.delayed_fsync > 0) {
        bool now = r->before->delayed_fsync >= 0 && r->now.delayed_fsync > r->before->delayed_fsync;
        fact->severity = now ? SEVERITY_WARNING : SEVERITY_NONE;
        fact->detail = format(r, "%lld times writing waited for the disk", (long long)r->now.delayed_fsync);
    }
}

static void add_fork(const struct reading *r)
{
    char took[32];
    struct redis_fact *fact = add_fact(r, "last fork");
    double ms = real(r, "latest_fork_usec") / 1000;
    if (isnan(ms))
        return;
    fact->number = ms;
    fact->value = ms > 0 ? format(r, "%s", format_ms(took, sizeof took, ms)) : "never";
    fact->detail = "it stands still so long at each save";
    fact->severity = ms >= 1000 ? SEVERITY_WARNING : SEVERITY_NONE;
}

/* slave0:ip=...,port=...,state=online,offset=...,lag=1 */
static void add_replicas(const struct reading *r)
{
    char name[64], value[256];
    size_t at = 0;
    double offset = real(r, "master_repl_offset");
    while (info_next(r->info, r->length, &at, "slave", name, sizeof name, value, sizeof value)) {
        char behind[32], host[128] = "";
        int64_t lag = info_field(value, "lag", -1), its = info_field(value, "offset", -1);
        if (!strstr(value, "ip="))
            continue;
        sscanf(value, "ip=%127[^,]", host);
        struct redis_fact *fact = add_fact(r, "replica");
        fact->value = format(r, "%s:%lld", host, (long long)info_field(value, "port", 0));
        fact->number = (double)lag;
        format_bytes(behind, sizeof behind, fmax(0, offset - (double)its));
        bool online = strstr(value, "state=online") != NULL;
        fact->detail = online ? format(r, "heard %lld s ago, %s behind", (long long)lag, behind)
                              : "is not in step: it is being filled or has gone";
        fact->severity = !online || lag > 10 ? SEVERITY_WARNING : SEVERITY_NONE;
    }
}

static void add_replication(const struct reading *r)
{
    char down[32];
    struct redis_fact *fact = add_fact(r, "replication");
    const char *master = text(r, "master_host");
    if (is(r, "role", "master")) {
        int64_t count = integer(r, "connected_slaves");
        fact->number = (double)count;
        fact->value = count == 1 ? "1 replica" : format(r, "%lld replicas", (long long)count);
        add_replicas(r);
        return;
    }
    if (!master)
        return;
    fact->value = format(r, "of %s:%lld", master, (long long)integer(r, "master_port"));
    bool up = is(r, "master_link_status", "up");
    fact->number = real(r, "master_last_io_seconds_ago");
    fact->detail = format(r, "heard %.0f s ago", fact->number);
    if (!up) {
        double seconds = real(r, "master_link_down_since_seconds");
        fact->severity = SEVERITY_CRITICAL;
        fact->detail = seconds >= 0 ? format(r, "its master has not been there for %s",
                                             format_s(down, sizeof down, seconds))
                                    : "its master is not there";
    }
}

static void add_keys(const struct reading *r)
{
    char name[64], value[256], keys[32], expires[32];
    size_t at = 0;
    while (info_next(r->info, r->length, &at, "db", name, sizeof name, value, sizeof value)) {
        int64_t count = info_field(value, "keys", -1), going = info_field(value, "expires", -1);
        if (name[2] < '0' || name[2] > '9' || count < 0)
            continue;
        struct redis_fact *fact = add_fact(r, format(r, "keys in %s", name));
        fact->number = (double)count;
        fact->value = format(r, "%s", format_count(keys, sizeof keys, (double)count));
        fact->detail = format(r, "%s of them expire", format_count(expires, sizeof expires, (double)going));
    }
}

static void read_counters(struct reading *r, double now)
{
    char errors[128];
    r->now = (struct look_counters){.at = now,
                                    .hits = integer(r, "keyspace_hits"),
                                    .misses = integer(r, "keyspace_misses"),
                                    .evicted = integer(r, "evicted_keys"),
                                    .errors = integer(r, "total_error_replies"),
                                    .rejected = integer(r, "rejected_connections"),
                                    .delayed_fsync = integer(r, "aof_delayed_fsync"),
                                    .run = integer(r, "uptime_in_seconds"),
                                    .oom = 0};
    if (info_text(r->info, r->length, "errorstat_OOM", errors, sizeof errors))
        r->now.oom = info_field(errors, "count", 0);
}

void look_read_info(struct redis_overview *overview, const char *node, const char *info, size_t length,
                    const char *save, struct look_counters *before, double now)
{
    static const struct look_counters none = {0, -1, -1, -1, -1, -1, -1, -1, 0};
    struct reading r = {.overview = overview, .node = node, .info = info, .save = save, .length = length};
    read_counters(&r, clock_monotonic());
    r.before = before->at > 0 && r.now.run >= before->run ? before : &none;
    r.elapsed_s = r.before == before ? r.now.at - before->at : NAN;
    add_server(&r);
    add_memory(&r);
    add_fragmentation(&r);
    add_evictions(&r);
    add_hit_ratio(&r);
    add_clients(&r);
    add_blocked(&r);
    add_commands(&r);
    add_rdb(&r, now);
    add_aof(&r);
    add_fork(&r);
    add_replication(&r);
    add_keys(&r);
    *before = r.now;
}

/* ---- asking, one node after the other ---- */

struct overview_run {
    struct redis_look *look;
    struct redis_overview *overview;
    size_t node;
    char *info, *save;
    size_t length;
    struct error error;
};

static int run_free(struct overview_run *run)
{
    snapshot_release(run->overview);
    return 0;
}

static void overview_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct overview_run *run = data;
    if (error && index == 0)
        run->error = *error;
    if (error)
        return;
    if (index == 0 && reply->type == REDIS_REPLY_STRING) {
        run->info = look_must(talloc_memdup(run, reply->str, reply->len + 1));
        run->length = reply->len;
    } else if (index == 1 && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
               reply->element[1]->str) {
        run->save = look_must(talloc_strndup(run, reply->element[1]->str, reply->element[1]->len));
    }
}

static void ask_overview(struct overview_run *run);

/* What the console itself measures. */
static void add_ping(struct redis_look *look, struct redis_overview *overview)
{
    char last[32], often[32];
    double usual, ping = redis_server_ping(look->server, &usual);
    struct reading r = {.overview = overview};
    struct redis_fact *fact = add_fact(&r, "round trip");
    if (isnan(ping))
        return;
    fact->number = 1000 * ping;
    fact->value = format(&r, "%s", format_ms(last, sizeof last, 1000 * ping));
    fact->detail =
        format(&r, "of a PING from here; usually %s", format_ms(often, sizeof often, 1000 * usual));
    fact->severity = ping > usual + 0.05 ? SEVERITY_WARNING : SEVERITY_NONE;
}

static void overview_done(void *data, const struct error *error)
{
    struct overview_run *run = data;
    struct redis_look *look = run->look;
    if (!error && run->error.kind)
        error = &run->error;
    if (error) {
        look_failed(look, REDIS_OVERVIEW, error, "cannot read INFO");
        talloc_free(run);
        return;
    }
    if (run->node >= look->counter_count) {
        look->counters = look_must(talloc_realloc(look, look->counters, struct look_counters, run->node + 1));
        memset(look->counters + look->counter_count, 0,
               sizeof *look->counters * (run->node + 1 - look->counter_count));
        look->counter_count = run->node + 1;
    }
    look_read_info(run->overview, look_node(look, run->node), run->info ? run->info : "", run->length,
                   run->save, &look->counters[run->node], clock_wall());
    if (++run->node < redis_server_node_count(look->server)) {
        ask_overview(run);
        return;
    }
    add_ping(look, run->overview);
    struct redis_overview *overview = run->overview;
    run->overview = NULL;
    talloc_free(run);
    look_answered(look, REDIS_OVERVIEW, overview);
}

static void ask_overview(struct overview_run *run)
{
    TALLOC_FREE(run->info);
    TALLOC_FREE(run->save);
    run->length = 0;
    const struct redis_command commands[] = {REDIS_COMMAND("INFO"), REDIS_COMMAND("CONFIG", "GET", "save")};
    look_ask(run->look, run->node, -1, commands, 2, overview_reply, overview_done, run);
}

void look_overview(struct redis_look *look)
{
    struct overview_run *run = look_must(talloc_zero(NULL, struct overview_run));
    run->look = look;
    run->overview = SNAPSHOT_NEW(struct redis_overview);
    talloc_set_destructor(run, run_free);
    ask_overview(run);
}
