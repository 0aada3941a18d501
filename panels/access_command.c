#include "panels/access_command.h"

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/access.h"
#include "core/text.h"
#include "core/units.h"

#define EXIT_ERROR 2

static int fail(const char *command, const struct error *error)
{
    char text[1400];
    error_format(error, text, sizeof text);
    fprintf(stderr, "signalbox %s: %s\n", command, text);
    return EXIT_ERROR;
}

struct recording {
    struct loop *loop;
    enum audit_place place;
    struct error error;
};

static void recorded(void *data, enum audit_place place, const char *record, const struct error *error)
{
    struct recording *recording = data;
    (void)record;
    recording->place = place;
    if (error)
        recording->error = *error;
    loop_stop(recording->loop);
}

/* Runs a loop until the record is somewhere, or nowhere. */
static bool record(const char *environment, bool unlock, const char *reason, struct error *error)
{
    struct recording recording = {.loop = loop_new()};
    struct audit *audit = audit_new(recording.loop, environment, NULL);
    audit_write(audit, &(struct audit_entry){.event = unlock ? "unlock" : "lock", .reason = reason}, recorded,
                &recording);
    loop_run(recording.loop);
    audit_free(audit);
    loop_free(recording.loop);
    if (recording.error.kind != ERROR_NONE)
        *error = recording.error;
    return recording.place != AUDIT_NOWHERE;
}

static bool unlock_it(const struct environment *environment, const char *reason, struct error *error)
{
    char left[32];
    if (!environment->access.locked) {
        printf("%s is open: it has no lock\n", environment->name);
        return true;
    }
    if (!record(environment->name, true, reason, error) ||
        !access_marker_write(environment->name, access_unlock_seconds(), error))
        return false;
    printf("%s is unlocked for %s\n", environment->name,
           format_s(left, sizeof left, access_unlock_seconds()));
    return true;
}

/* Locked first: a record that fails must not leave it unlocked. */
static bool lock_it(const struct environment *environment, const char *reason, struct error *error)
{
    if (!environment->access.locked) {
        printf("%s is open: it has no lock\n", environment->name);
        return true;
    }
    if (!access_marker_remove(environment->name, error))
        return false;
    printf("%s is locked\n", environment->name);
    return record(environment->name, false, reason, error);
}

static int access_command(const char *name, bool unlock, const char *reason)
{
    struct error error = {0};
    const char *command = unlock ? "unlock" : "lock";
    void *context = talloc_new(NULL);
    struct error_list *errors = error_list_new(context);
    const char *chosen = name ? name : environment_choose(context, errors);
    struct environment *environment = chosen          ? environment_load(context, chosen, errors)
                                      : errors->count ? NULL
                                                      : environment_from_pg_variables(context, errors);
    char *trimmed = safe_line_new(context, reason);
    int status = 0;
    if (!environment) {
        fputs(error_list_text(context, errors), stderr);
        status = EXIT_ERROR;
    } else if (unlock && !*trimmed) {
        error_set(&error, ERROR_USAGE, environment->name, "unlocking needs a reason",
                  "Give it with --reason TEXT.", "it goes into the audit log");
        status = fail(command, &error);
    } else if (!(unlock ? unlock_it : lock_it)(environment, *trimmed ? trimmed : NULL, &error)) {
        status = fail(command, &error);
    }
    talloc_free(context);
    return status;
}

int unlock_command(const struct options *options)
{
    return access_command(options->environment, true, options->reason);
}

int lock_command(const struct options *options)
{
    return access_command(options->environment, false, options->reason);
}
