#include "backends/hosts/log_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/ssh.h"

static char *must(char *text)
{
    if (!text)
        abort();
    return text;
}

/* ---- which there are ---- */

static const struct log_source usual[] = {
    {"journal", LOG_SOURCE_JOURNAL, NULL, NULL, NULL, LOG_FORMAT_JSON},
    {"nginx-access", LOG_SOURCE_FILES, "/var/log/nginx/access.log", NULL, NULL, LOG_FORMAT_ACCESS},
    {"nginx-error", LOG_SOURCE_FILES, "/var/log/nginx/error.log", NULL, NULL, LOG_FORMAT_NGINX_ERROR},
    {"gunicorn", LOG_SOURCE_FILES, "/var/log/gunicorn/*.log", NULL, NULL, LOG_FORMAT_GUNICORN},
    {"celery", LOG_SOURCE_FILES, "/var/log/celery/*.log", NULL, NULL, LOG_FORMAT_CELERY},
    {"postgres", LOG_SOURCE_FILES, "/var/log/postgresql/*.log", NULL, NULL, LOG_FORMAT_POSTGRES},
    {"redis", LOG_SOURCE_FILES, "/var/log/redis/*.log", NULL, NULL, LOG_FORMAT_REDIS},
    {"syslog", LOG_SOURCE_FILES, "/var/log/syslog", NULL, NULL, LOG_FORMAT_SYSLOG},
};

static enum log_format format_of(const struct environment_log *log)
{
    static const char *const words[] = {"nginx", "gunicorn", "celery", "postgres", "redis"};
    if (log->format)
        return log_format_find(log->format);
    if (log->unit)
        return LOG_FORMAT_JSON;
    if (log->container)
        return LOG_FORMAT_DOCKER;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(log->name, words[i]) || (log->path && strstr(log->path, words[i])))
            return log_format_find(words[i]);
    return LOG_FORMAT_AUTO;
}

static struct log_source of_environment(const struct environment_log *log)
{
    return (struct log_source){.name = log->name,
                               .kind = log->path        ? LOG_SOURCE_FILES
                                       : log->container ? LOG_SOURCE_CONTAINER
                                                        : LOG_SOURCE_JOURNAL,
                               .path = log->path,
                               .unit = log->unit,
                               .container = log->container,
                               .format = format_of(log)};
}

struct log_source *log_sources(const void *context, const struct environment *environment, const char *group,
                               const struct host_snapshot *snapshot, size_t *count)
{
    size_t containers = snapshot ? snapshot->container_count : 0;
    size_t room = environment->log_count + sizeof usual / sizeof *usual + containers;
    struct log_source *sources = talloc_zero_array(context, struct log_source, room);
    if (!sources)
        abort();
    *count = 0;
    for (size_t i = 0; i < environment->log_count; i++) {
        const struct environment_log *log = &environment->logs[i];
        if (!log->group || (group && strcmp(log->group, group) == 0))
            sources[(*count)++] = of_environment(log);
    }
    if (!environment->log_count)
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
            sources[(*count)++] = usual[i];
    for (size_t i = 0; i < containers; i++) {
        char *name = must(talloc_strdup(sources, snapshot->containers[i].name));
        sources[(*count)++] = (struct log_source){.name = must(talloc_asprintf(sources, "docker:%s", name)),
                                                  .kind = LOG_SOURCE_CONTAINER,
                                                  .container = name,
                                                  .format = LOG_FORMAT_DOCKER};
    }
    return sources;
}

/* ---- the command ---- */

char *log_source_needle(const void *context, const struct log_source *source, const char *filter)
{
    /* JSON escapes quotes and backslashes; which other formats do, only the line tells. */
    bool json = source->kind == LOG_SOURCE_JOURNAL || source->format == LOG_FORMAT_JSON;
    size_t best = 0, best_length = 0, begin = 0;
    for (size_t at = 0;; at++) {
        unsigned char c = (unsigned char)filter[at];
        if (c >= ' ' && c < 127 && !(json && (c == '"' || c == '\\')))
            continue;
        if (at - begin > best_length) {
            best = begin;
            best_length = at - begin;
        }
        begin = at + 1;
        if (!c)
            break;
    }
    return must(talloc_strndup(context, filter + best, best_length));
}

/* A path in which * and ? keep their meaning and nothing else has one. */
static char *quote_path(const void *context, const char *path)
{
    char *quoted = must(talloc_strdup(context, ""));
    while (*path) {
        size_t plain = strcspn(path, "*?");
        if (plain) {
            char *piece = must(talloc_strndup(quoted, path, plain));
            quoted = must(talloc_asprintf_append(quoted, "%s", ssh_quote(piece, piece)));
            path += plain;
        }
        for (; *path == '*' || *path == '?'; path++)
            quoted = must(talloc_asprintf_append(quoted, "%c", *path));
    }
    return quoted;
}

/* Says what cannot be read, and by whom it could be: the group that the file, or its folder, has. */
static const char check_files[] =
    "for f do d=${f%/*}; p=; if [ -e \"$f\" ]; then [ -r \"$f\" ] || p=$f; "
    "elif [ -d \"$d\" ] && { [ ! -x \"$d\" ] || [ ! -r \"$d\" ]; }; then p=$d; "
    "else echo \"@@missing $f\" >&2; fi; "
    "if [ \"$p\" ]; then g=$(ls -ld \"$p\" | { read -r a b c g x; echo \"$g\"; }); "
    "echo \"@@denied $g $(id -un) $p\" >&2; fi; done; ";

/*
 * Runs %1 until it ends or our standard input does, whichever is first. A log that says nothing never writes
 * into the closed pipe: without the watcher its tail would live on for ever. The watcher is a shell's own
 * loop: it has no child that could be left, and it holds nothing of ours open.
 */
static char *watched(const void *context, const char *command, bool follow)
{
    /* What reads a span of time ends by itself. */
    if (!follow)
        return must(talloc_asprintf(context, "{ %s </dev/null; echo \"@@exit $?\" >&2; }", command));
    return must(talloc_asprintf(
        context,
        "{ %s </dev/null 3<&- & t=$!; "
        "( while read -r x; do :; done; kill \"$t\" ) <&3 >/dev/null 2>&1 3<&- & k=$!; exec 3<&-; "
        "wait \"$t\"; s=$?; kill \"$k\" 2>/dev/null; echo \"@@exit $s\" >&2; } 3<&0 </dev/null",
        command));
}

/* The needle is a word of the shell that nothing interprets, and a fixed text for grep. busybox' grep cannot
 * write line by line. */
static char *filtered(const void *context, const char *command, const char *needle)
{
    if (!*needle)
        return must(talloc_strdup(context, command));
    return must(talloc_asprintf(
        context,
        "n=%s; export n; if echo x | grep -F --line-buffered x >/dev/null 2>&1; "
        "then %s | grep -a -i -F --line-buffered -e \"$n\"; "
        "else %s | awk 'BEGIN { n = tolower(ENVIRON[\"n\"]) } index(tolower($0), n) { print; fflush() }'; fi",
        ssh_quote(context, needle), command, command));
}

/* Texts that the lines of each minute begin with or hold, in every usual spelling, in the host's zone and in
 * UTC: a file is searched for all of them at once. */
static char *minutes(const void *context, double from, double to)
{
    return must(talloc_asprintf(
        context,
        "p=; l=$(printf '\\n_'); l=${l%%_}; t=%.0f; while [ $t -le %.0f ]; do for u in '' -u; do "
        "m=$(date $u -d @$t '+%%d/%%b/%%Y:%%H:%%M%%n%%Y/%%m/%%d %%H:%%M%%n%%Y-%%m-%%d %%H:%%M%%n"
        "%%Y-%%m-%%dT%%H:%%M%%n%%b %%e %%H:%%M%%n%%d %%b %%Y %%H:%%M'); "
        "[ \"$m\" ] && p=$p${p:+$l}$m; done; t=$((t + 60)); done; ",
        floor(from / 60) * 60, to));
}

static bool is_searched(const struct log_request *request)
{
    return !isnan(request->from) && !isnan(request->to) &&
           request->to - request->from <= LOG_SEARCH_MINUTES * 60.0;
}

/* Of a file, few lines may hold what is looked for: more of them are looked at. */
static size_t past_lines(const struct log_request *request)
{
    enum { TIMES = 50 };
    return request->filter && *request->filter ? TIMES * request->lines : request->lines;
}

static char *files_command(const void *context, const struct log_source *source,
                           const struct log_request *request)
{
    char *set =
        must(talloc_asprintf(context, "set -- %s; %s", quote_path(context, source->path), check_files));
    char *needle = request->filter ? log_source_needle(context, source, request->filter) : "";
    if (request->follow) {
        char *tail = must(talloc_asprintf(context, "tail -n %zu -q -F -- \"$@\"", past_lines(request)));
        return must(
            talloc_asprintf(context, "%s%s", set, filtered(context, watched(context, tail, true), needle)));
    }
    char *read;
    if (is_searched(request))
        read = must(talloc_asprintf(
            context,
            "( for f do for g in \"$f.1\" \"$f\"; do [ -r \"$g\" ] && tail -c %d -- \"$g\"; done; done | "
            "nice grep -a -F -A 20 -e \"$p\" | %s -n %zu )",
            LOG_SEARCH_BYTES, request->newest ? "tail" : "head", request->lines));
    else
        read = must(talloc_asprintf(context, "tail -n %zu -q -- \"$@\"", past_lines(request)));
    return must(talloc_asprintf(context, "%s%s%s", set,
                                is_searched(request) ? minutes(context, request->from, request->to) : "",
                                filtered(context, watched(context, read, false), needle)));
}

static char *journal_command(const void *context, const struct log_source *source,
                             const struct log_request *request)
{
    char *command =
        must(talloc_strdup(context, "journalctl --no-pager --all -o json "
                                    "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,"
                                    "_PID"));
    if (source->unit)
        command = must(talloc_asprintf_append(command, " --unit=%s", ssh_quote(context, source->unit)));
    if (!isnan(request->from))
        command = must(talloc_asprintf_append(command, " --since=@%.0f", floor(request->from)));
    if (!isnan(request->to))
        command = must(talloc_asprintf_append(command, " --until=@%.0f", ceil(request->to)));
    command =
        must(talloc_asprintf_append(command, " -n %zu%s", request->lines, request->follow ? " -f" : ""));
    char *needle = request->filter ? log_source_needle(context, source, request->filter) : "";
    return must(talloc_asprintf(
        context, "command -v journalctl >/dev/null || { echo '@@missing journalctl' >&2; exit 127; }; %s",
        filtered(context, watched(context, command, request->follow), needle)));
}

/* Both of the container's streams: programs write their errors to the second one. */
static char *container_command(const void *context, const struct log_source *source,
                               const struct log_request *request)
{
    char *command = must(talloc_asprintf(context, "docker logs --timestamps --tail %zu%s", request->lines,
                                         request->follow ? " -f" : ""));
    if (!isnan(request->from))
        command = must(talloc_asprintf_append(command, " --since %.0f", floor(request->from)));
    if (!isnan(request->to))
        command = must(talloc_asprintf_append(command, " --until %.0f", ceil(request->to)));
    command = must(talloc_asprintf_append(command, " %s 2>&1", ssh_quote(context, source->container)));
    char *needle = request->filter ? log_source_needle(context, source, request->filter) : "";
    return must(talloc_asprintf(
        context,
        "command -v docker >/dev/null || { echo '@@missing docker' >&2; exit 127; }; "
        "e=$(docker version 2>&1 >/dev/null) || { case $e in *ermission?denied*) "
        "echo \"@@denied docker $(id -un) docker\" >&2 ;; *) echo \"$e\" >&2 ;; esac; exit 126; }; %s",
        filtered(context, watched(context, command, request->follow), needle)));
}

char *log_source_command(const void *context, const struct log_source *source,
                         const struct log_request *request)
{
    void *work = talloc_new(context);
    char *body = source->kind == LOG_SOURCE_FILES     ? files_command(work, source, request)
                 : source->kind == LOG_SOURCE_JOURNAL ? journal_command(work, source, request)
                                                      : container_command(work, source, request);
    char *script = must(talloc_asprintf(
        work, "echo \"" LOG_HEADER "$(date '+%%s %%z')\"; LC_ALL=C; export LC_ALL; %s", body));
    char *command = must(talloc_asprintf(context, "exec sh -c %s", ssh_quote(work, script)));
    talloc_free(work);
    return command;
}
