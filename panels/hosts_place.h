/* Where an act on a host happens, made from what is known of the host; and who else of its group is well. */
#ifndef PANELS_HOSTS_PLACE_H
#define PANELS_HOSTS_PLACE_H

#include "backends/hosts/fleet.h"
#include "backends/hosts/host_change.h"
#include "panels/app.h"

/* The texts are under context. */
struct host_place hosts_place(struct app *app, const void *context, struct host *host);

/* The rule for taking the host down; it lives under context and looks anew each time. */
struct host_reboot *hosts_reboot_rule(struct app *app, const void *context, struct host *host);

/* The hosts that "web", "web1,db1" or "all" names: groups or names. Talloc'd array under context; NULL with
 * error that says which is unknown. */
struct host **hosts_named(struct app *app, const void *context, const char *names, size_t *count,
                          struct error *error);

/* Would the group of one of these hosts be left without a healthy host when they go down, all of them? */
bool hosts_may_go_down(struct app *app, struct host *const *hosts, size_t count, struct error *error);

#endif
