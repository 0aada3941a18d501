/* `signalbox explain`: reads the plan from a file or standard input and prints what backends/postgres/plan.h
 * finds. */
#include "panels/explain_command.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plan.h"
#include "core/error.h"

#define EXIT_ERROR 2

static int fail(const struct error *error)
{
    char text[1400];
    error_format(error, text, sizeof text);
    fprintf(stderr, "signalbox explain: %s\n", text);
    return EXIT_ERROR;
}

/* All that a stream gives, one byte more than a plan may have at most. */
static char *read_all(const void *context, FILE *file, size_t *length)
{
    size_t size = 1 << 16;
    char *text = talloc_array(context, char, size);
    *length = 0;
    while (text) {
        size_t got = fread(text + *length, 1, size - *length, file);
        *length += got;
        if (got == 0 || *length > PLAN_SIZE_MAX)
            return text;
        if (*length == size)
            text = talloc_realloc(context, text, char, size *= 2);
    }
    abort();
}

static char *read_file(const void *context, const char *path, size_t *length, struct error *error)
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rb");
    const char *where = standard ? "standard input" : path;
    if (!file) {
        error_set(error, ERROR_SYSTEM, where, "cannot open the plan",
                  "Name a file with EXPLAIN's JSON, or - for standard input.", "%s", strerror(errno));
        return NULL;
    }
    errno = 0;
    char *text = read_all(context, file, length);
    if (ferror(file)) {
        error_set(error, ERROR_SYSTEM, where, "cannot read the plan", NULL, "%s", strerror(errno));
        text = NULL;
    }
    if (!standard)
        fclose(file);
    return text;
}

static bool explain_file(const void *context, const char *path, bool json, struct error *error)
{
    size_t length;
    char *text = read_file(context, path, &length, error);
    if (!text)
        return false;
    struct plan *plan = plan_read(context, text, length, error);
    if (!plan) {
        snprintf(error->where, sizeof error->where, "%s", !strcmp(path, "-") ? "standard input" : path);
        return false;
    }
    errno = 0;
    if (!(json ? plan_print_json : plan_print_text)(plan, stdout))
        return error_set(error, ERROR_SYSTEM, "standard output", "cannot write the plan", NULL, "%s",
                         strerror(errno));
    return true;
}

int explain_command(const struct options *options)
{
    struct error error = {0};
    if (options->argument_count != 1) {
        error_set(&error, ERROR_USAGE, NULL, "which plan?",
                  "signalbox explain FILE [--json]; FILE may be - for standard input.",
                  options->argument_count ? "one file at a time" : "no file is named");
        return fail(&error);
    }
    void *context = talloc_new(NULL);
    bool good = explain_file(context, options->arguments[0], options->json, &error);
    talloc_free(context);
    return good ? 0 : fail(&error);
}
