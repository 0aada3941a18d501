/* The list of all panels. Adding one is a line here. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/snapshot.h"
#include "keymaps/general_actions.h"
#include "panels/hosts_logs.h"
#include "panels/panel.h"

extern const struct panel_ops panel_queries;
extern const struct panel_ops panel_jobs;
extern const struct panel_ops panel_queue;
extern const struct panel_ops panel_hosts;
extern const struct panel_ops panel_host;
extern const struct panel_ops panel_audit;
extern const struct panel_ops panel_redis;

const struct panel_ops *const panel_registry[] = {
    /* each on the key of its number */
    &panel_queries,
    &panel_jobs,
    &panel_hosts,
    &panel_audit,
    /* opened by another one */
    &panel_host,
    &panel_redis,
    &panel_queue,
};
const size_t panel_count = sizeof panel_registry / sizeof *panel_registry;

const struct panel_ops *panel_find(const char *id)
{
    for (size_t i = 0; i < panel_count; i++)
        if (strcmp(panel_registry[i]->id, id) == 0)
            return panel_registry[i];
    return NULL;
}

const struct view *panel_view(const struct panel_ops *panel, const char *id)
{
    for (size_t i = 0; i < panel->view_count; i++)
        if (strcmp(panel->views[i]->id, id) == 0)
            return panel->views[i];
    return NULL;
}

const struct action **panel_actions(const void *context, size_t *count)
{
    size_t general_count, total;
    const struct action *general = general_actions(&general_count);
    total = general_count;
    for (size_t p = 0; p < panel_count; p++)
        total += panel_registry[p]->action_count;
    total += hosts_logs_action_count;
    const struct action **actions = talloc_array(context, const struct action *, total);
    *count = 0;
    for (size_t i = 0; i < general_count; i++)
        actions[(*count)++] = &general[i];
    for (size_t p = 0; p < panel_count; p++)
        for (size_t i = 0; i < panel_registry[p]->action_count; i++)
            actions[(*count)++] = &panel_registry[p]->actions[i];
    for (size_t i = 0; i < hosts_logs_action_count; i++)
        actions[(*count)++] = &hosts_logs_actions[i];
    return actions;
}

struct row_list *row_list_new(const void *context)
{
    return talloc_zero(context, struct row_list);
}

void row_list_add(struct row_list *list, struct table_row row)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->rows = talloc_realloc(list, list->rows, struct table_row, list->room);
        if (!list->rows)
            abort();
    }
    list->rows[list->count++] = row;
}

struct source_list *source_list_new(const void *context)
{
    return talloc_zero(context, struct source_list);
}

void source_list_add(struct source_list *list, struct source source)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 16;
        list->items = talloc_realloc(list, list->items, struct source, list->room);
        if (!list->items)
            abort();
    }
    list->items[list->count++] = source;
}

struct hold {
    const void *snapshot;
};

static int hold_free(struct hold *hold)
{
    snapshot_release(hold->snapshot);
    return 0;
}

void row_list_hold(struct row_list *list, const void *snapshot)
{
    struct hold *hold = talloc_zero(list, struct hold);
    hold->snapshot = snapshot_hold(snapshot);
    talloc_set_destructor(hold, hold_free);
}
