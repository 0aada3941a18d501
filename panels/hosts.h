/* The parts of the Hosts panel: the fleet, and the panel of one host that lies on it. */
#ifndef PANELS_HOSTS_H
#define PANELS_HOSTS_H

#include "backends/hosts/fleet.h"
#include "backends/hosts/levels.h"
#include "panels/panel.h"

extern const struct panel_ops panel_host;

/* The panel's own state. */
struct hosts_state {
    struct host *focus;              /* what the panel of one host is about; NULL: none */
    struct host_past *past;          /* of the host in focus, for the charts */
    struct probes *probes;           /* made when they are first looked at */
    struct tenancy_domains *domains; /* being read for them */
    struct error none;
};
struct hosts_state *hosts_state(struct app *app);

/* What can be said of a host at this moment, its silence included. */
struct host_now {
    enum host_state state;
    struct host *host;
    const struct host_snapshot *snapshot; /* NULL before the first answer */
    bool late;                            /* the figures are old */
    const char *why;                      /* the worst first; NULL: nothing is wrong */
};
/* `why` is allocated under context. */
struct host_now host_now(const void *context, struct host *host);

/* Has it been asked twice, so that there are rates? True for one that does not answer. */
bool host_rates_known(struct host *host);

bool host_has_no_systemd(const struct host_snapshot *snapshot);

/* Higher needs somebody sooner. */
int host_urgency(enum host_state state);
enum severity host_state_severity(enum host_state state);

/* Adds the sources of the tiers that a view shows: one a host and tier. */
void hosts_add_sources(struct source_list *list, struct host *host, const enum host_tier *tiers,
                       size_t count);

/* Opens the panel of the row's host; nothing for a group. */
void hosts_open_host(struct app *app, const struct table_row *row);
/* The same for a host that another panel found. */
void hosts_show(struct app *app, struct host *host);
/* The host that this console itself runs on, or NULL: the header warns. */
const char *hosts_here(struct app *app);

/* The host that a row of the fleet's views is about; NULL for a group. */
struct host *fleet_row_host(const struct table_row *row);

extern const struct view hosts_fleet;
extern const struct view hosts_groups;
extern const struct view hosts_outside;

/* A value with the severity that the levels give it; unknown for NAN. */
struct value host_value(enum host_measure measure, double value);

#endif
