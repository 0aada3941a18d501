#include "panels/audit_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/audit.h"
#include "backends/environment.h"
#include "core/text.h"
#include "panels/batch.h"

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

static int show_verdict(const char *environment, const char *head)
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

/* Needs no server, and no file that can be read: only the environment's name. */
static int show(const struct options *options)
{
    struct environment *environment = talloc_zero(NULL, struct environment);
    char *name = choose_name(environment, options->environment);
    if (!name) {
        talloc_free(environment);
        return EXIT_ERROR;
    }
    environment->name = environment->title = name;
    environment->kind = ENVIRONMENT_ADHOC;
    environment->access.locked = true;
    return batch_panel_with(app_new_for(options, environment), panel_find("audit"));
}

int audit_command(const struct options *options)
{
    struct error error = {0};
    if (options->argument_count == 0)
        return show(options);
    if (options->argument_count > 1 || strcmp(options->arguments[0], "verify") != 0) {
        error_set(&error, ERROR_USAGE, NULL, "unknown argument",
                  "signalbox audit, or signalbox audit verify.", "%s", options->arguments[0]);
        return fail(&error);
    }
    return show_verdict(options->environment, options->head);
}
