/* Logs of hosts on the screen: lines merged by time, and the latency of tenants out of nginx' logs. */
#ifndef PANELS_HOSTS_LOGS_H
#define PANELS_HOSTS_LOGS_H

#include "backends/hosts/fleet.h"
#include "core/action.h"
#include "panels/app.h"

/*
 * Opens the logs of these hosts (at most LOGS_HOSTS_MAX; the array is copied). `source` names one
 * ("nginx-access", "journal"), "all" all of them, NULL asks. `around`: the time (seconds since the epoch) of
 * what is looked for, five minutes before and after it; 0 follows.
 */
void hosts_logs_open(struct app *app, struct host *const *hosts, size_t count, const char *source,
                     double around);
/* The same, with the latency of tenants first. */
void hosts_logs_open_latency(struct app *app, struct host *const *hosts, size_t count);

enum { LOGS_HOSTS_MAX = 64 };

/* What can be done there; their keys stand in the context "logs". */
extern const struct action hosts_logs_actions[];
extern const size_t hosts_logs_action_count;

#endif
