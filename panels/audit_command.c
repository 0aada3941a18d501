#include "panels/audit_command.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/audit.h"
#include "backends/environment.h"
#include "core/clock.h"
#include "core/text.h"

#define EXIT_ERROR 2

static int fail(const struct error *error)
{
    char text[1400];
    error_format(error, text, sizeof text);
    fprintf(stderr, "signalbox audit: %s\n", text);
    return EXIT_ERROR;
}

/* A log can be read when the environment's file is broken or gone: only a path has to be loaded for its name.
 */
static char *choose_name(const void *context, const char *environment)
{
    struct error_list *errors = error_list_new(context);
    char *name = NULL;
    if (!environment) {
        name = environment_choose(context, errors);
        if (!name && !errors->count)
            name = talloc_strdup(context, "adhoc");
    } else if (!strchr(environment, '/')) {
        name = talloc_strdup(context, environment);
    } else {
        struct environment *loaded = environment_load(context, environment, errors);
        name = loaded ? talloc_strdup(context, loaded->name) : NULL;
    }
    if (!name)
        fputs(error_list_text(context, errors), stderr);
    return name;
}

/* One column of every output; the order is that of CSV. */
struct field {
    const char *id;
    size_t offset;
    int width; /* in plain text; 0: not shown there, -1: as wide as it is */
};

#define FIELD(name) offsetof(struct audit_record, name)
static const struct field fields[] = {
    {"user", FIELD(user), 10},     {"host", FIELD(host), 0},       {"environment", FIELD(environment), 0},
    {"event", FIELD(event), 11},   {"change", FIELD(change), 0},   {"server", FIELD(server), 10},
    {"hazard", FIELD(hazard), 0},  {"verb", FIELD(verb), 10},      {"outcome", FIELD(outcome), 8},
    {"target", FIELD(target), 44}, {"command", FIELD(command), 0}, {"role", FIELD(role), 0},
    {"reason", FIELD(reason), -1}, {"detail", FIELD(detail), 0},   {"hash", FIELD(hash), 0},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const char *field_of(const struct audit_record *record, const struct field *field)
{
    return *(char *const *)((const char *)record + field->offset);
}

static struct json_object *json_text(const char *text)
{
    return text ? json_object_new_string(text) : NULL;
}

static struct json_object *json_row(const struct audit_record *record)
{
    char time[32];
    struct json_object *row = json_object_new_object();
    json_object_object_add(row, "sequence", json_object_new_uint64(record->sequence));
    json_object_object_add(row, "time", json_text(clock_rfc3339(time, sizeof time, record->time)));
    for (size_t i = 0; i < FIELDS; i++)
        json_object_object_add(row, fields[i].id, json_text(field_of(record, &fields[i])));
    return row;
}

/* The envelope of every panel. */
static struct json_object *json_envelope(const char *environment, const struct audit_list *list)
{
    char now[32], since[32];
    clock_rfc3339(now, sizeof now, clock_wall());
    struct json_object *envelope = json_object_new_object(), *rows = json_object_new_array();
    struct json_object *source = json_object_new_object(), *sources = json_object_new_array();
    json_object_object_add(source, "server", json_text("audit log"));
    json_object_object_add(source, "database", NULL);
    json_object_object_add(source, "state", json_text("live"));
    json_object_object_add(source, "taken_at", json_text(now));
    json_object_object_add(source, "error", NULL);
    json_object_array_add(sources, source);
    for (size_t i = 0; i < list->count; i++)
        json_object_array_add(rows, json_row(&list->records[i]));
    json_object_object_add(envelope, "schema_version", json_object_new_int(1));
    json_object_object_add(envelope, "environment", json_text(environment));
    json_object_object_add(envelope, "panel", json_text("audit"));
    json_object_object_add(envelope, "view", json_text("log"));
    json_object_object_add(envelope, "basis", json_text("log"));
    if (list->count)
        clock_rfc3339(since, sizeof since, list->records[0].time);
    json_object_object_add(envelope, "since", list->count ? json_text(since) : NULL);
    json_object_object_add(envelope, "taken_at", json_text(now));
    json_object_object_add(envelope, "sources", sources);
    json_object_object_add(envelope, "rows", rows);
    return envelope;
}

static void print_json(const char *environment, const struct audit_list *list)
{
    struct json_object *envelope = json_envelope(environment, list);
    puts(json_object_to_json_string_ext(envelope, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(envelope);
}

static void print_csv_cell(const char *text)
{
    char *safe = safe_text_new(NULL, text);
    size_t size = csv_cell(NULL, 0, safe) + 1;
    char *cell = talloc_size(safe, size);
    if (!cell)
        abort();
    csv_cell(cell, size, safe);
    printf(",%s", cell);
    talloc_free(safe);
}

static void print_csv(const struct audit_list *list)
{
    char time[32];
    fputs("sequence,time", stdout);
    for (size_t i = 0; i < FIELDS; i++)
        printf(",%s", fields[i].id);
    fputs("\r\n", stdout);
    for (size_t i = 0; i < list->count; i++) {
        printf("%" PRIu64 ",%s", list->records[i].sequence,
               clock_rfc3339(time, sizeof time, list->records[i].time));
        for (size_t j = 0; j < FIELDS; j++)
            print_csv_cell(field_of(&list->records[i], &fields[j]));
        fputs("\r\n", stdout);
    }
}

static void print_cell(const char *text, int width)
{
    char cut[512];
    char *safe = safe_line_new(NULL, text);
    if (width < 0) {
        fputs(safe, stdout);
    } else {
        int used = text_cut(cut, sizeof cut, safe, width);
        printf("%s%*s  ", cut, width - used, "");
    }
    talloc_free(safe);
}

static void print_plain(const struct audit_list *list)
{
    char time[32];
    if (!list->count)
        return;
    print_cell("time", 24);
    for (size_t j = 0; j < FIELDS; j++)
        if (fields[j].width)
            print_cell(fields[j].id, fields[j].width);
    putchar('\n');
    for (size_t i = 0; i < list->count; i++) {
        print_cell(clock_rfc3339(time, sizeof time, list->records[i].time), 24);
        for (size_t j = 0; j < FIELDS; j++)
            if (fields[j].width)
                print_cell(field_of(&list->records[i], &fields[j]), fields[j].width);
        putchar('\n');
    }
}

int audit_show(const char *environment, enum audit_format format, size_t limit)
{
    struct error error = {0};
    void *context = talloc_new(NULL);
    char *name = choose_name(context, environment);
    struct audit_list *list = name ? audit_read(context, name, NULL, limit, &error) : NULL;
    int status = list ? 0 : EXIT_ERROR;
    if (name && !list)
        fail(&error);
    else if (list && format == AUDIT_JSON)
        print_json(name, list);
    else if (list && format == AUDIT_CSV)
        print_csv(list);
    else if (list)
        print_plain(list);
    talloc_free(context);
    if (fflush(stdout) != 0 && status == 0) {
        error_set(&error, ERROR_SYSTEM, "standard output", "cannot write the log", NULL, "%s",
                  strerror(errno));
        status = fail(&error);
    }
    return status;
}

static void print_verdict(const char *name, const struct audit_verdict *verdict)
{
    char *safe = safe_text_new(NULL, name);
    if (verdict->sound)
        printf("%s: sound, %" PRIu64 " %s\n", safe, verdict->records,
               verdict->records == 1 ? "record" : "records");
    else
        printf("%s: NOT SOUND at line %" PRIu64 ": %s\n", safe, verdict->first_bad, verdict->problem);
    if (*verdict->head)
        printf("  head %s (after record %" PRIu64 ")\n", verdict->head, verdict->records);
    if (verdict->torn)
        printf("  unfinished lines, left by a crash or a full disk and sealed since: %" PRIu64 "\n",
               verdict->torn);
    if (verdict->unfinished)
        printf("  begun without an end on record (outcome unknown, or still being sent): %" PRIu64 "\n",
               verdict->unfinished);
    if (verdict->sound)
        printf("  A cut end shows only against a head kept elsewhere: signalbox audit verify --head HASH\n");
    talloc_free(safe);
}

int audit_show_verdict(const char *environment, const char *head)
{
    struct error error = {0};
    struct audit_verdict verdict;
    void *context = talloc_new(NULL);
    char *name = choose_name(context, environment);
    int status = EXIT_ERROR;
    if (name && !audit_verify(name, NULL, head, &verdict, &error)) {
        fail(&error);
    } else if (name) {
        print_verdict(name, &verdict);
        status = verdict.sound ? 0 : EXIT_ERROR;
    }
    talloc_free(context);
    return status;
}

struct request {
    const char *environment, *head;
    enum audit_format format;
    size_t limit;
    bool verify;
};

static const char usage[] = "signalbox audit [-e ENV] [--json|--csv|--plain] [--limit N]; "
                            "signalbox audit verify [-e ENV] [--head HASH].";

static bool read_limit(const char *text, size_t *limit, struct error *error)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || !number)
        return error_set(error, ERROR_USAGE, NULL, "--limit is not a number above 0", usage, "%s", text);
    *limit = number;
    return true;
}

static bool read_arguments(int argc, char **argv, struct request *request, struct error *error)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes = !strcmp(word, "-e") || !strcmp(word, "--environment") || !strcmp(word, "--limit") ||
                     !strcmp(word, "--head");
        if (takes && !value)
            return error_set(error, ERROR_USAGE, NULL, "a value is missing", usage, "behind %s", word);
        i += takes;
        if (!strcmp(word, "verify"))
            request->verify = true;
        else if (!strcmp(word, "--json"))
            request->format = AUDIT_JSON;
        else if (!strcmp(word, "--csv"))
            request->format = AUDIT_CSV;
        else if (!strcmp(word, "--plain"))
            request->format = AUDIT_PLAIN;
        else if (!strcmp(word, "--head"))
            request->head = value;
        else if (!strcmp(word, "--limit")) {
            if (!read_limit(value, &request->limit, error))
                return false;
        } else if (takes)
            request->environment = value;
        else
            return error_set(error, ERROR_USAGE, NULL, "unknown argument", usage, "%s", word);
    }
    return true;
}

int audit_command(int argc, char **argv)
{
    struct request request = {0};
    struct error error = {0};
    if (!read_arguments(argc, argv, &request, &error))
        return fail(&error);
    return request.verify ? audit_show_verdict(request.environment, request.head)
                          : audit_show(request.environment, request.format, request.limit);
}
