/* What is asked only while somebody looks at a host: units, timers and cron, logins, kernel messages,
 * firewall rules, arguments of processes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/hosts/record_internal.h"

#define MOST_TEXT 16000

static struct host_timer *add_timer(struct host_snapshot *now, struct host_part *part)
{
    struct host_timer *timers = (struct host_timer *)now->timers;
    struct host_timer *timer = ARRAY_ADD(part, timers, now->timer_count, 100);
    now->timers = timers;
    if (timer)
        *timer = (struct host_timer){.next = NAN, .last = NAN};
    return timer;
}

/* "{ OnCalendar=*-*-* 06:00:00 ; next_elapse=... }" */
static const char *calendar(struct host_part *part, struct span value)
{
    size_t at = span_find(value, "OnCalendar=");
    if (at == value.length)
        return NULL;
    value = (struct span){value.at + at + 11, value.length - at - 11};
    return part_text(part, span_trim(span_until(&value, ';')), 60);
}

static void parse_timers(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line;
    struct host_timer timer = {.next = NAN, .last = NAN, .source = "systemd"}, *slot;
    bool more = true;
    while (more) {
        more = span_line(&body, &line);
        if (!more || !line.length) {
            if (timer.name && (slot = add_timer(now, part)))
                *slot = timer;
            timer = (struct host_timer){.next = NAN, .last = NAN, .source = "systemd"};
            continue;
        }
        struct span key = span_until(&line, '=');
        if (span_is(key, "Id"))
            timer.name = part_text(part, line, 100);
        else if (span_is(key, "Unit"))
            timer.activates = part_text(part, line, 100);
        else if (span_is(key, "NextElapseUSecRealtime"))
            timer.next = span_time(line);
        else if (span_is(key, "LastTriggerUSec"))
            timer.last = span_time(line);
        else if (span_is(key, "TimersCalendar"))
            timer.schedule = calendar(part, line);
    }
}

/* The first five words of a line of cron, or "@daily". */
static bool cron_schedule(struct span *line, struct span *schedule)
{
    struct span word, rest = *line;
    if (!line->length || !(strchr("*@/", line->at[0]) || (line->at[0] >= '0' && line->at[0] <= '9')))
        return false;
    int words = line->at[0] == '@' ? 1 : 5;
    for (int i = 0; i < words; i++)
        if (!span_word(&rest, &word))
            return false;
    *schedule = (struct span){line->at, (size_t)(rest.at - line->at)};
    *line = span_trim(rest);
    return line->length > 0;
}

/* "/etc/cron.d/certbot:17 3 * * * root certbot renew"; lines of crontabs name no user. */
static void parse_cron(struct host_record *record, struct host_part *part, struct span body, bool of_system)
{
    struct span line, schedule, user = {0};
    while (span_line(&body, &line)) {
        struct span path = {0};
        if (span_starts(line, "/"))
            path = span_until(&line, ':');
        line = span_trim(line);
        if (!cron_schedule(&line, &schedule) || (of_system && !span_word(&line, &user)))
            continue;
        struct host_timer *timer = add_timer(&record->now, part);
        if (!timer)
            return;
        timer->schedule = part_text(part, schedule, 60);
        timer->activates = mask_arguments(part, span_trim(line), 120);
        timer->name = user.length ? part_text(part, user, 32) : NULL;
        if (of_system) {
            timer->source = part_text(part, path, 80);
            continue;
        }
        char *owner = span_copy(part, path, 120), *slash = strrchr(owner, '/');
        timer->source = talloc_asprintf(part, "crontab of %s",
                                        slash          ? slash + 1
                                        : record->user ? record->user
                                                       : "?");
        talloc_free(owner);
        if (!timer->source)
            abort();
    }
}

static struct host_event *add_login(struct host_snapshot *now, struct host_part *part)
{
    struct host_event *logins = (struct host_event *)now->logins;
    struct host_event *login = ARRAY_ADD(part, logins, now->login_count, HOST_MAX_EVENTS);
    now->logins = logins;
    return login;
}

/* "ops      pts/0        2026-11-21 11:36 (10.0.0.1)" */
static void parse_who(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line, user, tty, day, clock;
    while (span_line(&body, &line)) {
        if (!span_word(&line, &user) || !span_word(&line, &tty) || !span_word(&line, &day) ||
            !span_word(&line, &clock))
            continue;
        struct host_event *login = add_login(now, part);
        if (!login)
            return;
        char *t = span_copy(part, tty, 20), *d = span_copy(part, day, 10), *c = span_copy(part, clock, 5);
        char *from = span_copy(part, span_trim(line), 80), at[32];
        snprintf(at, sizeof at, "%s %s:00", d, c);
        login->time = span_time(span_of(at));
        login->who = part_text(part, user, 32);
        login->text = talloc_asprintf(part, "logged in now, %s%s%s", t, from[0] ? " " : "", from);
        if (!login->text)
            abort();
        talloc_free(t), talloc_free(d), talloc_free(c), talloc_free(from);
    }
}

/* "Nov 21 11:36:40 2026" within a line of `last -F`. */
static double last_time(struct span line)
{
    static const char months[] = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec ";
    for (size_t i = 0; i + 20 <= line.length; i++) {
        char month[5] = {line.at[i], line.at[i + 1], line.at[i + 2], line.at[i + 3], '\0'};
        const char *found = month[3] == ' ' && month[0] >= 'A' ? strstr(months, month) : NULL;
        struct span rest = {line.at + i + 4, line.length - i - 4}, day, clock, year;
        struct tm tm = {0};
        if (!found || !span_word(&rest, &day) || !span_word(&rest, &clock) || !span_word(&rest, &year))
            continue;
        struct span hour = span_until(&clock, ':'), minute = span_until(&clock, ':');
        if (!span_integer(day, 31, &tm.tm_mday) || !span_integer(hour, 24, &tm.tm_hour) ||
            !span_integer(minute, 60, &tm.tm_min) || !span_integer(clock, 61, &tm.tm_sec) ||
            !span_integer(year, 9999, &tm.tm_year) || tm.tm_year < 1970)
            continue;
        tm.tm_mon = (int)((found - months) / 4);
        tm.tm_year -= 1900;
        return (double)timegm(&tm);
    }
    return NAN;
}

static void parse_last(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line, user;
    while (span_line(&body, &line)) {
        double time = last_time(line);
        struct span rest = line;
        if (isnan(time) || !span_word(&rest, &user) || span_starts(line, "wtmp begins"))
            continue;
        struct host_event *login = add_login(now, part);
        if (!login)
            return;
        *login = (struct host_event){
            .time = time, .who = part_text(part, user, 32), .text = part_text(part, span_trim(rest), 120)};
    }
}

/* "815 0::/system.slice/gunicorn.service /usr/bin/python3 /usr/bin/gunicorn ..." */
static void parse_arguments(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line, word, group;
    int pid;
    while (span_line(&body, &line)) {
        if (!span_word(&line, &word) || !span_integer(word, 1 << 30, &pid))
            continue;
        struct host_arguments *entry = ARRAY_ADD(part, record->arguments, record->argument_count, 60);
        if (!entry)
            return;
        entry->pid = pid;
        struct span rest = line;
        if (span_word(&rest, &group) && span_find(group, ":/") != group.length) {
            size_t at = span_find(group, ":/");
            group = (struct span){group.at + at + 2, group.length - at - 2};
            entry->cgroup = group.length ? part_text(part, group, 120) : NULL;
            line = rest;
        }
        line = span_trim(line);
        entry->arguments = line.length ? mask_arguments(part, line, 240) : NULL;
    }
}

/* "key K", "updates 12 5" */
void parse_apt(struct host_record *record, struct span body)
{
    struct span line, word;
    int all, security;
    char key[sizeof record->updates_key] = "";
    while (span_line(&body, &line)) {
        if (span_skip(&line, "key ")) {
            if (line.length >= sizeof key || span_find(line, " ") != line.length)
                return;
            memcpy(key, line.at, line.length);
        } else if (span_skip(&line, "updates ") && span_word(&line, &word) &&
                   span_integer(word, 100000, &all) && span_word(&line, &word) &&
                   span_integer(word, 100000, &security)) {
            memcpy(record->updates_key, key, sizeof key);
            record->now.updates = record->updates_counted = all;
            record->now.updates_security = record->security_counted = security;
        }
    }
}

void parse_detail_section(struct host_record *record, struct host_part *part, struct span name,
                          struct span body)
{
    struct host_snapshot *now = &record->now;
    struct host_event *events = NULL;
    const char *unused;
    if (span_is(name, "unit_properties"))
        parse_unit_properties(part, body, (struct host_unit **)&now->units, &now->unit_count);
    else if (span_is(name, "timers"))
        parse_timers(now, part, body);
    else if (span_is(name, "cron"))
        parse_cron(record, part, body, true);
    else if (span_is(name, "crontabs"))
        parse_cron(record, part, body, false);
    else if (span_is(name, "who"))
        parse_who(now, part, body);
    else if (span_is(name, "last"))
        parse_last(now, part, body);
    else if (span_is(name, "kernel")) {
        now->kernel_count = 0;
        parse_events(part, body, now->booted_at, &events, &now->kernel_count);
        now->kernel_messages = events;
    } else if (span_is(name, "rules"))
        now->firewall_rules = body.length ? part_text(part, body, MOST_TEXT) : NULL;
    else if (span_is(name, "bans"))
        parse_bans(part, body, &unused, &now->bans);
    else if (span_is(name, "cgroup_tree"))
        parse_cgroup_tree(record, part, body);
    else if (span_is(name, "arguments"))
        parse_arguments(record, part, body);
    else if (span_is(name, "apt"))
        parse_apt(record, body);
}

/* ---- secrets in arguments ---- */

static bool secret_name(struct span word)
{
    static const char *const names[] = {"pass",    "token",   "secret", "apikey",
                                        "api-key", "api_key", "pwd",    "auth"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t at = 0; at + strlen(names[i]) <= word.length; at++)
            if (!strncasecmp(word.at + at, names[i], strlen(names[i])))
                return true;
    return false;
}

/* The word with its secret gone: "--password=x", "PGPASSWORD=x", "amqp://app:x@broker/1". */
static char *mask_word(char *text, struct span word)
{
    size_t scheme = span_find(word, "://"), equals = span_find(word, "=");
    if (equals < word.length && secret_name((struct span){word.at, equals}))
        return talloc_asprintf_append(text, "%.*s***", (int)equals + 1, word.at);
    if (scheme < word.length) {
        struct span rest = {word.at + scheme + 3, word.length - scheme - 3};
        size_t at = span_find(rest, "@"), colon = span_find(rest, ":");
        if (at < rest.length && colon < at)
            return talloc_asprintf_append(text, "%.*s***%.*s", (int)(scheme + 3 + colon + 1), word.at,
                                          (int)(rest.length - at), rest.at + at);
    }
    return talloc_asprintf_append(text, "%.*s", (int)word.length, word.at);
}

char *mask_arguments(const void *context, struct span arguments, size_t most)
{
    struct span copy = span_of(span_copy(NULL, arguments, most)), rest = copy, word;
    char *text = talloc_strdup(context, "");
    bool secret = false;
    while (text && span_word(&rest, &word)) {
        if (text[0])
            text = talloc_strdup_append(text, " ");
        text = secret ? talloc_strdup_append(text, "***") : mask_word(text, word);
        /* "--password x" */
        secret = !secret && word.length > 2 && word.at[0] == '-' && word.at[1] == '-' &&
                 span_find(word, "=") == word.length && secret_name(word);
    }
    if (!text)
        abort();
    talloc_free((char *)copy.at);
    return text;
}
