/* The views of the panel of one host. They show the snapshot of the host in focus. */
#ifndef PANELS_HOST_H
#define PANELS_HOST_H

#include "panels/hosts.h"

extern const struct view host_overview, host_processes, host_mounts, host_disks, host_network, host_cores,
    host_units, host_cgroups, host_containers, host_services, host_sockets, host_schedule, host_events,
    host_certificates;

/* The snapshot of the host in focus, held by the list; NULL when there is none yet. */
const struct host_snapshot *host_focused(struct app *app, struct row_list *list);
/* The problems and the charts above Overview. */
int host_charts_head(struct app *app, struct screen *screen, int top, int columns, int rows);
/* The charts go from the last hour to the last 6 and 48 hours, and round. */
void host_charts_range(struct app *app);
/* What all these views share. */
void host_view_want(struct app *app, bool wanted);
void host_view_sources(struct app *app, struct source_list *list);
uint64_t host_view_version(struct app *app);
#define HOST_VIEW .want = host_view_want, .sources = host_view_sources, .version = host_view_version

/* A row for each item of an array of the snapshot: the item itself is the row. */
#define HOST_ROWS(items, item_count, type, format, ...)                                                      \
    for (size_t i = 0; snapshot && i < (item_count); i++) {                                                  \
        const struct type *item = &(items)[i];                                                               \
        row_list_add(list,                                                                                   \
                     (struct table_row){.data = item, .id = talloc_asprintf(list, format, __VA_ARGS__)});    \
    }

/* Values of a member of a row's struct: NULL is blank, NAN and negative counts are unknown. */
#define HOST_TEXT(type, name, member)                                                                        \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        return value_text(((const struct host_##type *)row)->member);                                        \
    }
#define HOST_REAL(type, name, member)                                                                        \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        double real = (double)((const struct host_##type *)row)->member;                                     \
        return isnan(real) ? value_unknown() : value_real(real);                                             \
    }
#define HOST_COUNT(type, name, member)                                                                       \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        int64_t count = ((const struct host_##type *)row)->member;                                           \
        return count < 0 ? value_unknown() : value_integer(count);                                           \
    }
#define HOST_LEVEL(type, name, member, measure)                                                              \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        return host_value(measure, (double)((const struct host_##type *)row)->member);                       \
    }

#endif
