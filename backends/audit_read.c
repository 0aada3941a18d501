/* Reading the audit log back, and walking its chain. What is read may be anything. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "backends/audit_internal.h"

#define LINE_PARSED_MAX (4 * 1024 * 1024)
#define TAIL_FIRST (1024 * 1024)

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static struct json_object *parse_line(const char *line, size_t length)
{
    if (length > LINE_PARSED_MAX)
        return NULL;
    struct json_tokener *tokener = must(json_tokener_new_ex(4));
    struct json_object *object = json_tokener_parse_ex(tokener, line, (int)length);
    if (object &&
        (json_tokener_get_parse_end(tokener) != length || !json_object_is_type(object, json_type_object))) {
        json_object_put(object);
        object = NULL;
    }
    json_tokener_free(tokener);
    return object;
}

static const char *member(struct json_object *object, const char *name)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

static char *copy(const void *context, struct json_object *object, const char *name)
{
    const char *text = member(object, name);
    return text ? must(talloc_strdup(context, text)) : NULL;
}

/* "2026-11-21T14:05:10.204Z"; 0 when it is not one. */
static double parse_time(const char *text)
{
    struct tm parts = {0};
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &parts) : NULL;
    if (!rest || (*rest != '.' && *rest != 'Z'))
        return 0;
    double fraction = *rest == '.' ? strtod(rest, NULL) : 0;
    return (double)timegm(&parts) + (fraction >= 0 && fraction < 1 ? fraction : 0);
}

static bool parse_record(const void *context, const char *line, size_t length, struct audit_record *record)
{
    struct json_object *object = parse_line(line, length), *sequence;
    if (!object)
        return false;
    *record = (struct audit_record){
        .time = parse_time(member(object, "time")),
        .user = copy(context, object, "user"),
        .host = copy(context, object, "host"),
        .environment = copy(context, object, "environment"),
        .event = copy(context, object, "event"),
        .change = copy(context, object, "change"),
        .server = copy(context, object, "server"),
        .hazard = copy(context, object, "hazard"),
        .verb = copy(context, object, "verb"),
        .target = copy(context, object, "target"),
        .command = copy(context, object, "command"),
        .role = copy(context, object, "role"),
        .reason = copy(context, object, "reason"),
        .outcome = copy(context, object, "outcome"),
        .detail = copy(context, object, "detail"),
        .hash = copy(context, object, "hash"),
    };
    if (json_object_object_get_ex(object, "sequence", &sequence))
        record->sequence = json_object_get_uint64(sequence);
    json_object_put(object);
    return true;
}

struct lines {
    const char *at, *end;
};

/* The next line without its newline; *whole says whether it had one. */
static bool next_line(struct lines *lines, const char **line, size_t *length, bool *whole)
{
    if (lines->at >= lines->end)
        return false;
    const char *newline = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    *line = lines->at;
    *length = (size_t)((newline ? newline : lines->end) - lines->at);
    *whole = newline != NULL;
    lines->at = newline ? newline + 1 : lines->end;
    return true;
}

/* Where the last `limit` lines begin. */
static const char *last_lines(const char *text, size_t length, size_t limit)
{
    size_t end = length;
    while (end > 0 && limit-- > 0) {
        const char *newline = memrchr(text, '\n', end - 1);
        end = newline ? (size_t)(newline - text) + 1 : 0;
    }
    return text + end;
}

struct audit_list *audit_parse(const void *context, const char *text, size_t length, size_t limit)
{
    struct audit_list *list = must(talloc_zero(context, struct audit_list));
    struct lines lines = {limit ? last_lines(text, length, limit) : text, text + length};
    const char *line;
    size_t size, room = 0;
    bool whole;
    while (next_line(&lines, &line, &size, &whole)) {
        if (list->count == room) {
            room = room ? 2 * room : 64;
            list->records = must(talloc_realloc(list, list->records, struct audit_record, room));
        }
        if (parse_record(list, line, size, &list->records[list->count]))
            list->count++;
    }
    return list;
}

static bool holds_lines(const char *text, size_t length, size_t limit)
{
    for (size_t i = 0; i < length && limit; i++)
        limit -= text[i] == '\n';
    return !limit;
}

/* The bytes from `from` to `size`; NULL with errno when they cannot be read. */
static char *read_part(const void *context, int file, off_t from, off_t size, size_t *length)
{
    char *text = must(talloc_size(context, (size_t)(size - from) + 1));
    ssize_t got = 1;
    *length = 0;
    while (*length < (size_t)(size - from) && got > 0) {
        got = pread(file, text + *length, (size_t)(size - from) - *length, from + (off_t)*length);
        *length += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        TALLOC_FREE(text);
    return text;
}

/* A log of years is not read whole for its last lines: from the end, as much as they take. With the line
 * before them, which may have been met in its middle. */
static char *read_last(const void *context, int file, off_t size, size_t limit, size_t *length)
{
    for (off_t take = TAIL_FIRST;; take *= 4) {
        off_t from = limit && take < size ? size - take : 0;
        char *text = read_part(context, file, from, size, length);
        if (!text || !from || holds_lines(text, *length, limit + 1))
            return text;
        talloc_free(text);
    }
}

/* The file's bytes, at least its last `limit` lines (0: all); "" when there is none yet. */
static char *read_log(const void *context, const char *environment, const char *directory, size_t limit,
                      size_t *length, struct error *error)
{
    char *folder = audit_folder(NULL, environment, directory);
    char *path = must(talloc_asprintf(folder, "%s/audit.jsonl", folder));
    char *text = NULL;
    struct stat found;
    *length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && errno == ENOENT) {
        text = must(talloc_strdup(context, ""));
    } else if (file >= 0 && fstat(file, &found) == 0 && S_ISREG(found.st_mode)) {
        text = read_last(context, file, found.st_size, limit, length);
    } else if (file >= 0) {
        errno = EINVAL;
    }
    if (!text)
        error_set(error, ERROR_SYSTEM, path, "cannot read the audit log", NULL, "%s", strerror(errno));
    if (file >= 0)
        close(file);
    talloc_free(folder);
    return text;
}

struct audit_list *audit_read(const void *context, const char *environment, const char *directory,
                              size_t limit, struct error *error)
{
    size_t length;
    char *text = read_log(NULL, environment, directory, limit, &length, error);
    struct audit_list *list = text ? audit_parse(context, text, length, limit) : NULL;
    talloc_free(text);
    return list;
}

struct open_change {
    char *name;
    int64_t open; /* "before" that wait for their "after" */
    UT_hash_handle hh;
};

/* Counts before and after by change and target. */
static void count_change(struct open_change **changes, const struct audit_record *record)
{
    bool before = record->event && !strcmp(record->event, "before");
    if (!record->change || (!before && (!record->event || strcmp(record->event, "after") != 0)))
        return;
    struct open_change *change;
    char *name = must(talloc_asprintf(NULL, "%s %s", record->change, record->target ? record->target : ""));
    HASH_FIND_STR(*changes, name, change);
    if (change) {
        talloc_free(name);
    } else {
        change = must(calloc(1, sizeof *change));
        change->name = name;
        HASH_ADD_KEYPTR(hh, *changes, name, strlen(name), change);
    }
    change->open += before ? 1 : -1;
}

static uint64_t count_unfinished(struct open_change **changes)
{
    uint64_t unfinished = 0;
    struct open_change *change, *next;
    HASH_ITER(hh, *changes, change, next)
    {
        unfinished += change->open > 0 ? (uint64_t)change->open : 0;
        HASH_DEL(*changes, change); /* NOLINT(clang-analyzer-unix.Malloc): ends with the last of them */
        talloc_free(change->name);
        free(change);
    }
    return unfinished;
}

struct walk {
    struct audit_verdict *verdict;
    struct audit_link last;
    const char *torn; /* a line that is no record: the next one must seal it */
    size_t torn_length;
    struct open_change *changes;
    const char *expected; /* a hash that must be met, or NULL */
};

static bool unsound(struct audit_verdict *verdict, uint64_t line, const char *problem)
{
    verdict->sound = false;
    verdict->first_bad = line;
    snprintf(verdict->problem, sizeof verdict->problem, "%s", problem);
    return false;
}

static bool is_seal(const struct walk *walk, const struct audit_record *record)
{
    char detail[160];
    audit_torn_detail(detail, sizeof detail, walk->torn, walk->torn_length);
    return record->event && record->detail && !strcmp(record->event, "torn") &&
           !strcmp(record->detail, detail);
}

static bool check_line(struct walk *walk, const char *line, size_t length, uint64_t number)
{
    struct audit_verdict *verdict = walk->verdict;
    struct audit_link link;
    if (!audit_link_read(line, length, &link)) {
        if (walk->torn)
            return unsound(verdict, number - 1, "it was altered: it is not what its hash says");
        walk->torn = line;
        walk->torn_length = length;
        return true;
    }
    void *scratch = must(talloc_new(NULL));
    struct audit_record record;
    bool parsed = parse_record(scratch, line, length, &record);
    bool good = true;
    if (walk->torn && (!parsed || !is_seal(walk, &record)))
        good = unsound(verdict, number - 1, "it was altered: it is not what its hash says");
    else if (!parsed)
        good = unsound(verdict, number, "its hash fits, but it is not JSON");
    else if (strcmp(link.prev, walk->last.hash) != 0 || link.sequence != walk->last.sequence + 1)
        good = unsound(verdict, number,
                       "it does not follow the record before it: records were removed, added or moved");
    if (good) {
        verdict->torn += walk->torn ? 1 : 0;
        verdict->records++;
        count_change(&walk->changes, &record);
        walk->torn = NULL;
        walk->last = link;
        if (walk->expected && !strcmp(walk->expected, link.hash))
            walk->expected = NULL;
    }
    talloc_free(scratch);
    return good;
}

static void check_all(struct walk *walk, const char *text, size_t length)
{
    struct lines lines = {text, text + length};
    const char *line;
    size_t size;
    uint64_t number = 0;
    bool whole = true;
    while (next_line(&lines, &line, &size, &whole)) {
        number++;
        if (!whole) {
            unsound(
                walk->verdict, number,
                "it is unfinished: a crash while it was written, or it was cut. The next record seals it");
            return;
        }
        if (!check_line(walk, line, size, number))
            return;
    }
    if (walk->torn)
        unsound(walk->verdict, number, "it was altered: it is not what its hash says");
}

void audit_check(const char *text, size_t length, const char *expected_head, struct audit_verdict *verdict)
{
    struct walk walk = {.verdict = verdict, .expected = expected_head};
    *verdict = (struct audit_verdict){.sound = true};
    memset(walk.last.hash, '0', AUDIT_HASH);
    check_all(&walk, text, length);
    verdict->unfinished = count_unfinished(&walk.changes);
    if (walk.last.sequence)
        memcpy(verdict->head, walk.last.hash, sizeof verdict->head);
    if (verdict->sound && walk.expected)
        unsound(verdict, verdict->records + verdict->torn + 1,
                "no record has the expected hash: the end of the log was cut, or it was written anew");
}

bool audit_verify(const char *environment, const char *directory, const char *expected_head,
                  struct audit_verdict *verdict, struct error *error)
{
    size_t length;
    char *text = read_log(NULL, environment, directory, 0, &length, error);
    if (!text)
        return false;
    audit_check(text, length, expected_head, verdict);
    talloc_free(text);
    return true;
}
