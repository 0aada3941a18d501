/* The slow tier: system, failed units, journal, certificates, updates, firewall, release, and what is not
 * permitted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/hosts/record_internal.h"

#define HOUR_S 3600.0

/* ---- not permitted ---- */

/* %1$s: the user that we are there, %2$s: the program's path there, %3$s: its file. Fixed command lines only:
 * a wildcard behind `openssl x509` or `ss` would be a way to root. */
static const struct {
    const char *key, *what, *todo;
} denials[] = {
    {"io", "reads and writes of other users' processes",
     "only root may read /proc/PID/io: connect as root, or go without"},
    {"sockets", "which process listens", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s -H -txlnp"},
    {"containers", "containers",
     "sudoers: %1$s ALL=(root) NOPASSWD: %2$s ps *, %2$s inspect *, %2$s images *, %2$s image inspect * (the "
     "group "
     "docker would be root in all but name)"},
    {"journal", "journal", "usermod -aG systemd-journal %1$s"},
    {"kernel", "kernel messages", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s \"\""},
    {"certificates", "certificates of Let's Encrypt",
     "chmod 0755 /etc/letsencrypt/live /etc/letsencrypt/archive (the private keys stay 0600)"},
    {"firewall", "firewall", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s status, %2$s status verbose"},
    {"firewall_nft", "firewall", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s list ruleset"},
    {"firewall_iptables", "firewall", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s -S"},
    {"bans", "fail2ban", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s banned"},
    {"kernel_root", "kernel messages",
     "not even root reads them there (CAP_SYSLOG is missing, as in a container): see the machine that "
     "carries it"},
    {"nginx_test", "configuration test of nginx", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s -t -q"},
    {"nginx_test_of", "configuration test of nginx", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s -t -q -c %3$s"},
    {"crontabs", "crontabs of other users", "sudoers: %1$s ALL=(root) NOPASSWD: %2$s -rs . /var/spool/cron"},
};

static char *replaced(const void *context, char *text, const char *what, const char *by)
{
    for (char *at; (at = strstr(text, what));) {
        char *fresh = talloc_asprintf(context, "%.*s%s%s", (int)(at - text), text, by, at + strlen(what));
        if (!fresh)
            abort();
        talloc_free(text);
        text = fresh;
    }
    return text;
}

/* A path as sudoers wants it; nothing else of what the host says gets into a line that people will copy. */
static char *program_path(const void *context, struct span program)
{
    for (size_t i = 0; i < program.length; i++) {
        char c = program.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr("/._-", c)))
            program.length = 0;
    }
    if (!program.length || program.at[0] != '/')
        program = span_of("PROGRAM");
    return span_copy(context, program, 80);
}

void parse_denied(struct host_record *record, struct host_part *part, struct span arguments)
{
    struct span key, program = {0}, file = {0};
    span_word(&arguments, &key);
    span_word(&arguments, &program);
    span_word(&arguments, &file);
    record->now.docker = record->now.docker || span_is(key, "containers");
    for (size_t i = 0; i < sizeof denials / sizeof *denials; i++) {
        if (!span_is(key, denials[i].key))
            continue;
        struct host_denied *denied = ARRAY_ADD(part, part->denied, part->denied_count, HOST_MAX_DENIED);
        char *todo = talloc_strdup(part, denials[i].todo), *path = program_path(part, program),
             *of = program_path(part, file);
        if (!denied || !todo)
            return;
        todo = replaced(part, todo, "%1$s", record->user ? record->user : "USER");
        todo = replaced(part, todo, "%2$s", path);
        *denied = (struct host_denied){denials[i].what, replaced(part, todo, "%3$s", of)};
        talloc_free(path);
        talloc_free(of);
    }
}

/* ---- system ---- */

static void parse_os(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line;
    while (span_line(&body, &line)) {
        if (!span_skip(&line, "PRETTY_NAME="))
            continue;
        if (line.length >= 2 && (line.at[0] == '"' || line.at[0] == '\''))
            line = (struct span){line.at + 1, line.length - 2};
        now->os = part_text(part, line, 60);
    }
}

static void parse_system(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line;
    const char **fields[] = {&now->kernel, &now->hostname, &now->init};
    for (size_t i = 0; i < 3 && span_line(&body, &line); i++)
        *fields[i] = line.length ? part_text(part, line, 64) : NULL;
}

/* "ok 3", then lines of OpenRC; "no systemd". */
static void parse_units(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line, word;
    if (!span_line(&body, &line) || !span_skip(&line, "ok"))
        return;
    now->failed_units = 0;
    now->failed = NULL, now->failed_count = 0;
    if (span_word(&line, &word))
        span_integer(word, 100000, &now->failed_units);
    struct host_unit *units = NULL;
    while (span_line(&body, &line)) {
        struct host_unit *unit =
            span_word(&line, &word) ? ARRAY_ADD(part, units, now->failed_count, 20) : NULL;
        now->failed_units++;
        if (unit)
            *unit = (struct host_unit){.name = part_text(part, word, 100),
                                       .active = "failed",
                                       .sub = "crashed",
                                       .since = NAN,
                                       .memory_bytes = NAN,
                                       .restarts = -1};
    }
    now->failed = units;
}

/* ---- kills for memory ---- */

/* "Out of memory: Killed process 815 (gunicorn) total-vm:812344kB, ..." */
static void parse_oom(struct host_record *record, struct host_part *part, struct span body)
{
    struct host_event *events = NULL, *kept = NULL;
    struct host_snapshot *now = &record->now;
    size_t count = 0, kept_count = 0;
    parse_events(part, body, now->booted_at, &events, &count);
    for (size_t i = count; i-- > 0;) {
        struct span text = span_of(events[i].text), rest;
        size_t at = span_find(text, "Killed process ");
        if (at == text.length)
            continue;
        struct host_event *event = ARRAY_ADD(part, kept, kept_count, 20);
        if (!event)
            break;
        *event = events[i];
        rest = (struct span){text.at + at, text.length - at};
        span_until(&rest, '(');
        struct span name = span_until(&rest, ')');
        event->who = name.length ? part_text(part, name, 32) : "a process";
    }
    now->oom = kept;
    now->oom_count = kept_count;
    now->oom_kills_1h = 0;
}

/* dmesg tells of all since boot. */
static void forget_old_kills(struct host_snapshot *now, double wall)
{
    size_t count = 0;
    if (now->oom_kills_1h < 0)
        return;
    /* Newest first. */
    while (count < now->oom_count && (isnan(now->oom[count].time) || wall - now->oom[count].time < HOUR_S))
        count++;
    now->oom_count = count;
    now->oom_kills_1h = (int)count;
}

/* ---- certificates ---- */

/* "Dec  3 11:59:59 2026 GMT" */
static double openssl_time(struct span span)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {0};
    struct span month, day, clock, year;
    if (!span_word(&span, &month) || month.length != 3 || !span_word(&span, &day) ||
        !span_word(&span, &clock) || !span_word(&span, &year))
        return NAN;
    for (tm.tm_mon = 0; tm.tm_mon < 12 && memcmp(months + (size_t)tm.tm_mon * 3, month.at, 3) != 0;
         tm.tm_mon++)
        ;
    struct span hour = span_until(&clock, ':'), minute = span_until(&clock, ':');
    if (tm.tm_mon == 12 || !span_integer(day, 31, &tm.tm_mday) || !span_integer(hour, 24, &tm.tm_hour) ||
        !span_integer(minute, 60, &tm.tm_min) || !span_integer(clock, 61, &tm.tm_sec) ||
        !span_integer(year, 9999, &tm.tm_year) || tm.tm_year < 1970)
        return NAN;
    tm.tm_year -= 1900;
    return (double)timegm(&tm);
}

/* "DNS:a.example, DNS:*.a.example, IP Address:10.0.0.1" */
static const char *alternative_names(struct host_part *part, struct span line)
{
    char *names = talloc_strdup(part, "");
    while (names && line.length && strlen(names) < 200) {
        struct span name = span_trim(span_until(&line, ','));
        if (!span_skip(&name, "DNS:") || !name.length)
            continue;
        char *copy = span_copy(part, name, 80);
        names = talloc_asprintf_append(names, "%s%s", names[0] ? " " : "", copy);
        talloc_free(copy);
    }
    if (!names)
        abort();
    return names[0] ? names : NULL;
}

/* "CN = acme.example", "C=US, O = Let's Encrypt, CN = R3" */
static const char *common_name(struct host_part *part, struct span line)
{
    struct span whole = line;
    while (line.length) {
        struct span item = span_trim(span_until(&line, ','));
        if (span_skip(&item, "CN = ") || span_skip(&item, "CN="))
            return part_text(part, span_trim(item), 80);
    }
    return part_text(part, whole, 80);
}

static void read_certificate(struct host_part *part, struct host_certificate *certificate, struct span line)
{
    if (span_skip(&line, "subject=")) {
        if (!certificate->names)
            certificate->names = common_name(part, line);
    } else if (span_skip(&line, "issuer=")) {
        certificate->issuer = common_name(part, line);
    } else if (span_skip(&line, "notAfter=")) {
        certificate->not_after = openssl_time(line);
    } else if (span_starts(span_trim(line), "DNS:")) {
        const char *names = alternative_names(part, span_trim(line));
        if (names)
            certificate->names = names;
    }
}

static int sooner(const void *a, const void *b)
{
    const struct host_certificate *x = a, *y = b;
    if (x->not_after != y->not_after)
        return (x->not_after > y->not_after) - (x->not_after < y->not_after);
    return strcmp(x->path, y->path);
}

static bool certificate_known(const struct host_certificate *list, size_t count,
                              const struct host_certificate *one)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].not_after == one->not_after && list[i].names && one->names &&
            !strcmp(list[i].names, one->names))
            return true;
    return false;
}

static void parse_certificates(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct host_certificate *list = (struct host_certificate *)now->certificates, one = {0};
    struct span line;
    bool more = true;
    while (more) {
        more = span_line(&body, &line);
        if (more && !span_starts(line, "path ")) {
            read_certificate(part, &one, line);
            continue;
        }
        if (one.path && one.not_after > 0 && !certificate_known(list, now->certificate_count, &one)) {
            struct host_certificate *slot =
                ARRAY_ADD(part, list, now->certificate_count, HOST_MAX_CERTIFICATES);
            if (slot)
                *slot = one;
        }
        if (more) {
            span_skip(&line, "path ");
            one = (struct host_certificate){.path = part_text(part, line, 200), .not_after = NAN};
        }
    }
    if (now->certificate_count)
        qsort(list, now->certificate_count, sizeof *list, sooner);
    now->certificates = list;
}

/* ---- updates, firewall, bans, versions ---- */

static void parse_updates(struct host_snapshot *now, struct span body)
{
    struct span line, word;
    int number;
    while (span_line(&body, &line)) {
        span_skip(&line, "apk ");
        struct span rest = line;
        if (!span_word(&rest, &word) || !span_integer(word, 100000, &number))
            continue;
        if (span_find(line, "ESM") != line.length || span_find(line, "additional") != line.length)
            continue; /* what a subscription would give */
        if (span_find(line, "ecurity") != line.length)
            now->updates_security = number;
        else if (now->updates < 0)
            now->updates = number;
    }
    if (now->updates >= 0 && now->updates_security < 0 && span_starts(body, "notifier"))
        now->updates_security = 0;
}

static const char *joined(struct host_part *part, const char *format, int number)
{
    char text[64];
    snprintf(text, sizeof text, "%d", number);
    char *result = talloc_strdup(part, format);
    if (!result)
        abort();
    return replaced(part, result, "#", text);
}

static void parse_firewall(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line;
    int rules = -1, number;
    bool active = false;
    while (span_line(&body, &line)) {
        if (rules >= 0) /* lines of the table of ufw */
            rules += span_trim(line).length > 0;
        else if (span_is(line, "Status: active"))
            active = true, now->firewall = "ufw active";
        else if (span_is(line, "Status: inactive"))
            now->firewall = "ufw inactive";
        else if (span_is(line, "ENABLED=yes"))
            now->firewall = "ufw enabled, its rules may not be read";
        else if (span_is(line, "ENABLED=no"))
            now->firewall = "ufw not enabled";
        else if (span_is(line, "none"))
            now->firewall = "none";
        else if (active && span_starts(line, "--"))
            rules = 0;
        else if (span_skip(&line, "nft rules ") && span_integer(line, 1000000, &number))
            now->firewall = joined(part, "nftables, # rules", number);
        else if (span_skip(&line, "iptables rules ") && span_integer(line, 1000000, &number))
            now->firewall = joined(part, "iptables, # rules", number);
    }
    if (rules >= 0)
        now->firewall = joined(part, "ufw active, # rules", rules);
}

/* "[{'sshd': ['203.0.113.7']}, {'nginx': []}]": a quoted word before a colon is a jail, the others are
 * addresses. */
void parse_bans(struct host_part *part, struct span body, const char **jails, const char **addresses)
{
    char *counts = talloc_strdup(part, ""), *all = talloc_strdup(part, "");
    char jail[48] = "";
    int banned = 0;
    while (body.length) {
        span_until(&body, '\'');
        struct span word = span_until(&body, '\'');
        bool is_jail = body.length && body.at[0] == ':';
        if ((is_jail || !body.length) && jail[0]) {
            counts = talloc_asprintf_append(counts, "%s%s %d", counts[0] ? ", " : "", jail, banned);
            banned = 0;
        }
        if (!body.length)
            break;
        char *copy = span_copy(part, word, 45);
        if (is_jail)
            snprintf(jail, sizeof jail, "%s", copy);
        else if (jail[0] && ++banned && strlen(all) < 4000)
            all = talloc_asprintf_append(all, "%s: %s\n", jail, copy);
        talloc_free(copy);
    }
    if (!counts || !all)
        abort();
    *jails = counts[0] ? counts : NULL;
    *addresses = all[0] ? all : NULL;
}

/* "nginx nginx version: nginx/1.22.1", "redis-server Redis server v=7.0.15 sha=...": the first number with a
 * point. */
static struct span version_number(struct span text)
{
    for (size_t i = 0; i + 2 < text.length; i++) {
        size_t end = i;
        while (end < text.length && ((text.at[end] >= '0' && text.at[end] <= '9') || text.at[end] == '.'))
            end++;
        if (end > i + 2 && text.at[i] != '.' && memchr(text.at + i, '.', end - i))
            return (struct span){text.at + i, end - i};
        i = end;
    }
    return (struct span){0};
}

/* "nginx @1700000000 nginx version: ...", "/usr/lib/postgresql/15/bin/postgres @1700000000 postgres ..." */
static void parse_versions(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line, word, stamp;
    while (span_line(&body, &line)) {
        if (!span_word(&line, &word))
            continue;
        struct span rest = line;
        uint64_t changed = 0;
        if (span_word(&rest, &stamp) && span_skip(&stamp, "@")) {
            line = rest;
            span_counter(stamp, &changed);
        }
        struct span number = version_number(line);
        struct host_version *version =
            number.length ? ARRAY_ADD(part, record->versions, record->version_count, 16) : NULL;
        if (version)
            *version = (struct host_version){.program = part_text(part, word, 80),
                                             .version = part_text(part, number, 30),
                                             .changed_at = changed ? (double)changed : NAN};
    }
}

/* "ok", or what nginx complains of: "nginx: [emerg] unknown directive ..." */
static void parse_nginx_test(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line;
    if (!span_line(&body, &line) || !span_trim(line).length)
        return;
    line = span_trim(line);
    span_skip(&line, "nginx: ");
    record->nginx_test = part_text(part, line, 240);
}

static void parse_images(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line, id;
    while (span_line(&body, &line)) {
        if (!span_word(&line, &id))
            continue;
        struct host_image *image = ARRAY_ADD(part, record->images, record->image_count, 128);
        if (image)
            *image = (struct host_image){part_text(part, id, 80), span_time(line)};
    }
}

static void parse_release(struct host_snapshot *now, struct host_part *part, struct span body)
{
    struct span line;
    if (span_line(&body, &line) && span_trim(line).length)
        now->release = part_text(part, span_trim(line), 80);
}

void parse_slow_section(struct host_record *record, struct host_part *part, struct span name,
                        struct span body)
{
    struct host_snapshot *now = &record->now;
    struct span line;
    struct host_event *events = NULL;
    const char *unused;
    if (span_is(name, "os"))
        parse_os(now, part, body);
    else if (span_is(name, "system"))
        parse_system(now, part, body);
    else if (span_is(name, "units"))
        parse_units(now, part, body);
    else if (span_is(name, "unit_properties"))
        parse_unit_properties(part, body, (struct host_unit **)&now->failed, &now->failed_count);
    else if (span_is(name, "errors")) {
        now->error_count = 0;
        parse_events(part, body, now->booted_at, &events, &now->error_count);
        now->errors = events;
    } else if (span_is(name, "oom"))
        parse_oom(record, part, body);
    else if (span_is(name, "certificates"))
        parse_certificates(now, part, body);
    else if (span_is(name, "updates"))
        parse_updates(now, body);
    else if (span_is(name, "reboot"))
        now->reboot_required = span_starts(body, "1") ? 1 : span_starts(body, "0") ? 0 : -1;
    else if (span_is(name, "firewall"))
        parse_firewall(now, part, body);
    else if (span_is(name, "bans"))
        parse_bans(part, body, &now->fail2ban, &unused);
    else if (span_is(name, "release"))
        parse_release(now, part, body);
    else if (span_is(name, "release_since") && span_line(&body, &line))
        now->release_since = span_time(line);
    else if (span_is(name, "versions"))
        parse_versions(record, part, body);
    else if (span_is(name, "owners"))
        parse_owners(record, part, body);
    else if (span_is(name, "nginx_test"))
        parse_nginx_test(record, part, body);
    else if (span_is(name, "apt"))
        parse_apt(record, body);
    else if (span_is(name, "images"))
        parse_images(record, part, body);
}

void finish_slow(struct host_record *record, double wall)
{
    struct host_snapshot *now = &record->now;
    forget_old_kills(now, wall);
    if (now->updates < 0 && record->updates_counted >= 0) {
        now->updates = record->updates_counted;
        now->updates_security = record->security_counted;
    }
    if (now->certificate_count)
        now->certificate_days = (now->certificates[0].not_after - wall) / 86400;
}
