/*
 * What can be done with a thing on a host: the choice that F9 opens, and the dialogs behind it. Each choice
 * is a change (backends/hosts/host_change.h) in its own dialog.
 */
#ifndef PANELS_HOSTS_ACTS_H
#define PANELS_HOSTS_ACTS_H

#include "backends/hosts/fleet.h"
#include "panels/panel.h"

enum hosts_target_kind {
    TARGET_HOST,
    TARGET_UNIT,        /* name */
    TARGET_CONTAINER,   /* name, id */
    TARGET_PROCESS,     /* name (its command), pid, started */
    TARGET_CERTIFICATE, /* name (its path) */
    TARGET_MOUNT,       /* name (where it is mounted) */
    TARGET_LOG,         /* name (its path) */
    TARGET_ADDRESS,     /* name (the address) */
};
/* Everything is copied. */
struct hosts_target {
    enum hosts_target_kind kind;
    const char *name;
    const char *id;
    int pid;
    double started; /* seconds after its host was booted; NAN: unknown */
};

/* Opens the choice for the selected thing. Several hosts (marked ones) go with TARGET_HOST only. */
void hosts_acts_choose(struct app *app, struct host *const *hosts, size_t count,
                       const struct hosts_target *target);
/* The dialog for a command on these hosts. */
void hosts_acts_run(struct app *app, struct host *const *hosts, size_t count);

/* What a row of a view of one host is about; the host itself where it is nothing that one can act on. Texts
 * are borrowed from the snapshot, or under context. */
struct hosts_target hosts_row_target(const void *context, const struct view *view,
                                     const struct host_snapshot *snapshot, const struct table_row *row);

#endif
