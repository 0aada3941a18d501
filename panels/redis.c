/* The panel of one Redis, and the command of all of them. */
#include "panels/redis.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "panels/batch.h"
#include "panels/console.h"

static int state_free(struct redis_state *state)
{
    for (size_t i = 0; i < state->count; i++)
        redis_look_free(state->looks[i]);
    return 0;
}

struct redis_state *redis_state(struct app *app)
{
    if (!app->redis_state) {
        app->redis_state = talloc_zero(app, struct redis_state);
        if (!app->redis_state)
            abort();
        talloc_set_destructor(app->redis_state, state_free);
    }
    return app->redis_state;
}

/* ---- the looks that are shown ---- */

static void look_changed(void *data)
{
    struct app *app = data;
    if (app->changed)
        app->changed(app);
}

static void make_looks(struct app *app)
{
    struct redis_state *state = redis_state(app);
    if (state->looks)
        return;
    state->looks = talloc_array(state, struct redis_look *, app->redis_count + 1);
    if (!state->looks)
        abort();
    for (; state->count < app->redis_count; state->count++)
        state->looks[state->count] = redis_look_new(app->loop, app->redis[state->count], look_changed, app);
}

/* The next one that is shown, from *at on; NULL at the end. */
static struct redis_look *next_look(struct app *app, size_t *at)
{
    struct redis_state *state = redis_state(app);
    make_looks(app);
    while (*at < state->count) {
        struct redis_look *look = state->looks[(*at)++];
        if (!state->focus || redis_look_server(look) == state->focus)
            return look;
    }
    return NULL;
}

void redis_part_want(struct app *app, enum redis_part part, bool wanted)
{
    size_t at = 0;
    for (struct redis_look *look; (look = next_look(app, &at));)
        redis_look_want(look, part, wanted);
}

void redis_part_sources(struct app *app, enum redis_part part, struct source_list *list)
{
    size_t at = 0;
    for (struct redis_look *look; (look = next_look(app, &at));) {
        const struct redis_server *server = redis_look_server(look);
        source_list_add(list, (struct source){.server = redis_server_name(server),
                                              .feed = redis_look_feed(look, part),
                                              .connection_error = redis_server_error(server),
                                              .note = redis_server_note(server)});
    }
}

uint64_t redis_part_version(struct app *app, enum redis_part part)
{
    uint64_t version = 1;
    size_t at = 0;
    for (struct redis_look *look; (look = next_look(app, &at));) {
        const struct snapshot *snapshot = redis_look_latest(look, part);
        version += snapshot ? snapshot->generation : 0;
    }
    return version;
}

void redis_part_rows(struct app *app, enum redis_part part, struct row_list *list,
                     void (*each)(struct row_list *list, const char *server, const void *snapshot))
{
    size_t at = 0;
    for (struct redis_look *look; (look = next_look(app, &at));) {
        const void *snapshot = redis_look_latest(look, part);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        each(list, redis_server_name(redis_look_server(look)), snapshot);
    }
}

const void *redis_part_first(struct app *app, enum redis_part part)
{
    size_t at = 0;
    for (struct redis_look *look; (look = next_look(app, &at));)
        if (redis_look_latest(look, part))
            return redis_look_latest(look, part);
    return NULL;
}

void redis_row_add(struct row_list *list, const char *server, const char *node, const void *item,
                   const char *id)
{
    struct redis_row *row = talloc_zero(list, struct redis_row);
    if (!row || !id)
        abort();
    row->server = node ? talloc_asprintf(row, "%s %s", server, node) : server;
    row->item = item;
    row_list_add(list, (struct table_row){.data = row, .id = id});
}

struct value redis_row_server(const void *row)
{
    return value_text(((const struct redis_row *)row)->server);
}

void redis_detail(const struct column *columns, size_t count, const struct table_row *row, struct page *page)
{
    for (size_t i = 0; i < count; i++) {
        char text[1024];
        struct value value = columns[i].value(row->data);
        if (value.kind == VALUE_BLANK)
            continue;
        value_format(text, sizeof text, &columns[i], value);
        enum style style = value.severity == SEVERITY_CRITICAL  ? STYLE_CRITICAL
                           : value.severity == SEVERITY_WARNING ? STYLE_WARNING
                                                                : STYLE_NORMAL;
        page_pair(page, columns[i].title, style, text);
    }
}

/* ---- the panel ---- */

void redis_open(struct app *app, struct redis_server *server)
{
    redis_state(app)->focus = server;
    console_push_panel(app->console, &panel_redis);
}

static const char *subject(struct app *app)
{
    const struct redis_server *focus = redis_state(app)->focus;
    return focus ? redis_server_name(focus) : "Redis";
}

static void view_chosen(struct app *app, void *data, size_t choice)
{
    (void)data;
    console_show_view(app->console, panel_redis.views[choice]->id);
}

static void choose_view(struct app *app)
{
    struct choice_line *lines = talloc_zero_array(NULL, struct choice_line, panel_redis.view_count);
    for (size_t i = 0; i < panel_redis.view_count; i++)
        lines[i].text =
            talloc_asprintf(lines, "%-12s %s", panel_redis.views[i]->title, panel_redis.views[i]->summary);
    console_choose(app->console, "Which view?", lines, panel_redis.view_count, view_chosen, NULL);
    talloc_free(lines);
}

/* Another server takes the place of this one. */
static void server_chosen(struct app *app, void *data, size_t choice)
{
    (void)data;
    const char *view = console_view(app->console)->id;
    console_pop(app->console);
    redis_open(app, app->redis[choice]);
    console_show_view(app->console, view);
}

static void choose_server(struct app *app)
{
    struct choice_line *lines = talloc_zero_array(NULL, struct choice_line, app->redis_count);
    for (size_t i = 0; i < app->redis_count; i++)
        lines[i].text =
            talloc_asprintf(lines, "%-16s %s", redis_server_name(app->redis[i]),
                            redis_server_place(app->redis[i]) ? redis_server_place(app->redis[i]) : "");
    console_choose(app->console, "Which Redis?", lines, app->redis_count, server_chosen, NULL);
    talloc_free(lines);
}

static bool act(struct app *app, const char *action, struct error *error)
{
    const char *name = strchr(action, '.') + 1;
    if (strcmp(action, "redis.view") == 0)
        choose_view(app);
    else if (strcmp(action, "redis.server") == 0)
        choose_server(app);
    else if (strncmp(action, "redis.", 6) == 0 && panel_view(&panel_redis, name))
        console_show_view(app->console, name);
    else
        return error_set(error, ERROR_USAGE, NULL, action, NULL, "not possible here");
    return true;
}

static const struct action actions[] = {
    {"redis.view", "redis-view", "views …", "another view of this Redis", HAZARD_LOOK, 0},
    {"redis.server", "redis-server", NULL, "another Redis of the environment", HAZARD_LOOK, 0},
    {"redis.overview", "redis-overview", "overview",
     "memory, hit ratio, clients, persistence, replication: what is out of bounds", HAZARD_LOOK, 0},
    {"redis.keyspace", "keyspace", "keys", "what fills it, by how keys begin, from a sample", HAZARD_LOOK, 0},
    {"redis.tenants", "tenants", "tenants",
     "what fills it, by the first part of keys: tenants, in most applications", HAZARD_LOOK, 0},
    {"redis.bigkeys", "bigkeys", "big keys", "the largest keys that were seen", HAZARD_LOOK, 0},
    {"redis.clients", "clients", "clients", "who is connected, and what they do", HAZARD_LOOK, 0},
    {"redis.slowlog", "slowlog", "slow log", "commands that took long", HAZARD_LOOK, 0},
    {"redis.latency", "redis-latency", NULL, "events that made it stand still", HAZARD_LOOK, 0},
    {"redis.streams", "streams", NULL, "streams and their consumer groups", HAZARD_LOOK, 0},
    {"redis.channels", "channels", NULL, "channels that somebody listens to", HAZARD_LOOK, 0},
};

static const struct view *const views[] = {
    &redis_overview_view, &redis_keyspace_view, &redis_firsts_view,
    &redis_bigkeys_view,  &redis_clients_view,  &redis_slowlog_view,
    &redis_latency_view,  &redis_streams_view,  &redis_channels_view,
};

const struct panel_ops panel_redis = {
    .id = "redis",
    .title = "Redis",
    .summary = "one Redis: how it is, who is connected, what was slow, what fills it",
    .subject = subject,
    .views = views,
    .view_count = sizeof views / sizeof *views,
    .actions = actions,
    .action_count = sizeof actions / sizeof *actions,
    .act = act,
};

/* ---- the command ---- */

int redis_command(const struct options *options)
{
    struct error error;
    struct app *app = batch_app(options);
    if (!app)
        return 2;
    for (size_t i = 0; i < app->redis_count; i++)
        if (options->server && strcmp(redis_server_name(app->redis[i]), options->server) == 0)
            redis_state(app)->focus = app->redis[i];
    if (!app->redis_count || (options->server && !redis_state(app)->focus)) {
        error_set(&error, ERROR_USAGE, app->environment->name, "no such server",
                  "Name one under `redis` of the environment file, or --redis URL", "%s",
                  app->redis_count ? options->server : "the environment has no Redis");
        batch_print_error(&error);
        app_free(app);
        return 2;
    }
    return batch_panel_with(app, &panel_redis);
}
