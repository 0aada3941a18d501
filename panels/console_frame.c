/* What stands around the body: header, path, footer; and the help page, all from the tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/console_internal.h"
#include "panels/hosts.h"

static const struct {
    const char *badge;
    enum style style;
} kinds[] = {
    [ENVIRONMENT_DEVELOPMENT] = {"DEVELOPMENT", STYLE_DEVELOPMENT},
    [ENVIRONMENT_STAGING] = {"STAGING", STYLE_STAGING},
    [ENVIRONMENT_PRODUCTION] = {"PRODUCTION", STYLE_PRODUCTION},
    [ENVIRONMENT_ADHOC] = {"AD HOC", STYLE_PRODUCTION},
};

const char *console_badge(const struct console *console, enum style *style)
{
    enum environment_kind kind = console->app->environment->kind;
    *style = kinds[kind].style;
    return kinds[kind].badge;
}

/* "locked", "unlocked 28 min": whole minutes, so that the header does not flicker. */
static const char *lock_text(const struct console *console, char *buffer, size_t size, enum style *style)
{
    double left = access_left(console->app->access);
    *style = STYLE_NORMAL;
    switch (access_state(console->app->access)) {
    case ACCESS_LOCKED:
        return "locked";
    case ACCESS_UNLOCKED:
        *style = STYLE_WARNING;
        snprintf(buffer, size, "unlocked %.0f min", ceil(left / 60));
        return buffer;
    case ACCESS_OPEN:
        return "open";
    case ACCESS_BREAK_GLASS:
        *style = STYLE_BREAK_GLASS;
        snprintf(buffer, size, "BREAK-GLASS %.0f min", ceil(left / 60));
        return buffer;
    }
    return NULL;
}

/* As the header shows the state of a connection. */
static enum frame_state shown_state(enum connection_state state)
{
    static const enum frame_state states[] = {[CONNECTION_IDLE] = FRAME_IDLE,
                                              [CONNECTION_CONNECTING] = FRAME_CONNECTING,
                                              [CONNECTION_UP] = FRAME_UP,
                                              [CONNECTION_DOWN] = FRAME_DOWN};
    return states[state];
}

static struct frame_connection connection_of(const struct app *app, const struct pg_server *server)
{
    struct frame_connection connection = {.name = pg_server_name(server),
                                          .state = shown_state(pg_server_state(server)),
                                          .current = app->chosen == server};
    if (connection.state == FRAME_DOWN)
        connection.word = error_kind_name(pg_server_error(server)->kind);
    else if (connection.state == FRAME_CONNECTING)
        connection.word = "connecting";
    else if (pg_server_watch_is_superuser(server))
        connection.word = "superuser!";
    return connection;
}

static struct frame_connection connection_of_redis(const struct redis_server *server)
{
    struct frame_connection connection = {.name = redis_server_name(server),
                                          .state = shown_state(redis_server_state(server))};
    if (connection.state == FRAME_DOWN)
        connection.word = error_kind_name(redis_server_error(server)->kind);
    return connection;
}

enum { CONNECTIONS_MAX = 64 };

/* All hosts together: "ssh 6/7". */
static struct frame_connection connection_of_hosts(const struct app *app, char *word, size_t size)
{
    size_t up = 0, busy = 0, down = 0, count = fleet_count(app->fleet);
    for (size_t i = 0; i < count; i++) {
        enum connection_state state = ssh_host_state(host_ssh(fleet_host(app->fleet, i)));
        up += state == CONNECTION_UP;
        busy += state == CONNECTION_CONNECTING;
        down += state == CONNECTION_DOWN;
    }
    snprintf(word, size, "%zu/%zu", up, count);
    return (struct frame_connection){.name = "ssh",
                                     .word = up || busy || down ? word : NULL,
                                     .state = down   ? FRAME_DOWN
                                              : busy ? FRAME_CONNECTING
                                              : up   ? FRAME_UP
                                                     : FRAME_IDLE};
}

static int draw_header(struct console *console)
{
    const struct app *app = console->app;
    char clock[32], lock[64], hosts[32], banner[128], numbers[16][4];
    struct frame_tab tabs[16];
    struct frame_connection connections[CONNECTIONS_MAX];
    struct frame_header header = {
        .environment = app->environment->title, .tabs = tabs, .connections = connections};
    header.badge = console_badge(console, &header.badge_style);
    header.lock = lock_text(console, lock, sizeof lock, &header.lock_style);
    for (size_t i = 0; i < panel_count && header.tab_count < 16; i++) {
        if (!panel_registry[i]->number)
            continue;
        char *number = numbers[header.tab_count];
        snprintf(number, sizeof numbers[0], "%d", panel_registry[i]->number);
        tabs[header.tab_count++] = (struct frame_tab){number, panel_registry[i]->title,
                                                      panel_registry[i] == view_layer_panel(console->base)};
    }
    for (size_t i = 0; i < app->server_count && i < CONNECTIONS_MAX - 1; i++)
        connections[header.connection_count++] = connection_of(app, app->servers[i]);
    for (size_t i = 0; i < app->redis_count && header.connection_count < CONNECTIONS_MAX - 1; i++)
        connections[header.connection_count++] = connection_of_redis(app->redis[i]);
    if (fleet_count(app->fleet))
        connections[header.connection_count++] = connection_of_hosts(app, hosts, sizeof hosts);
    const char *here = hosts_here(console->app);
    if (here) {
        snprintf(banner, sizeof banner, "you are on %s", here);
        header.banner = banner;
    }
    header.clock = clock_time_of_day(clock, sizeof clock, clock_wall());
    return frame_draw_header(console->screen, &header);
}

static void draw_path(struct console *console, int row)
{
    const char *parts[16];
    const struct layer *layers[12];
    size_t depth = 0, count = 0;
    const struct layer *layer = console->top;
    do
        layers[depth++] = layer;
    while ((layer = layer->below) && depth < 12);
    parts[count++] = view_layer_panel(console->base)->title;
    while (depth--)
        if (layers[depth]->ops->crumb)
            parts[count++] = layers[depth]->ops->crumb((struct layer *)layers[depth]);
    char status[256] = "", shown[320];
    if (console->top->table)
        table_status(console->top->table, status, sizeof status);
    snprintf(shown, sizeof shown, "%s%s%s", status, status[0] && console->paused ? " · " : "",
             console->paused ? "paused" : "");
    frame_draw_path(console->screen, row, parts, count, shown[0] ? shown : NULL,
                    console->paused ? STYLE_WARNING : STYLE_NORMAL);
}

/* What must be seen at any width: the way back, and the way to help. Empty in dialogs. */
static void way_out(struct console *console, const char *const *contexts, size_t context_count, char *text,
                    size_t size)
{
    char key[64];
    text[0] = '\0';
    if (console->top != console->base &&
        keymap_key_of(console->keymap, contexts, context_count, "global.back", key, sizeof key))
        snprintf(text, size, "%s back", key);
    if (keymap_key_of(console->keymap, contexts, context_count, "global.help", key, sizeof key))
        snprintf(text + strlen(text), size - strlen(text), "%s%s help", text[0] ? "  " : "", key);
}

/* The labelled actions of the contexts that are in use here, innermost first. */
static void draw_footer(struct console *console, int row)
{
    const char *contexts[CONTEXTS_MAX];
    size_t context_count = console_contexts(console, contexts);
    /* The border of a dialog says what it offers. */
    if (layer_is_dialog(console->top))
        return;
    char names[48][64], right[160];
    struct frame_key keys[48];
    size_t count = 0;
    for (size_t c = 0; c < context_count; c++)
        for (size_t i = 0; i < console->action_count && count < 48; i++) {
            const struct action *action = console->actions[i];
            size_t length = strlen(contexts[c]);
            if (!action->label || strncmp(action->id, contexts[c], length) != 0 || action->id[length] != '.')
                continue;
            if (strcmp(action->id, "global.help") == 0 || strcmp(action->id, "global.back") == 0)
                continue; /* at the right */
            keys[count].key = keymap_key_of(console->keymap, contexts, context_count, action->id,
                                            names[count], sizeof names[count]);
            keys[count].label = action->label;
            if (keys[count].key)
                count++;
        }
    way_out(console, contexts, context_count, right, sizeof right);
    frame_draw_footer(console->screen, row, keys, count, right);
}

/* Draws a layer, and first what it lies on when it is a dialog. */
static void draw_layer(struct console *console, struct layer *layer, int top, int rows, int columns)
{
    if (layer_is_dialog(layer) && layer->below)
        draw_layer(console, layer->below, top, rows, columns);
    layer->ops->draw(layer, console->screen, top, rows, columns);
}

void console_draw(struct console *console)
{
    struct screen *screen = console->screen;
    screen_begin(screen);
    if (screen_too_small(screen)) {
        screen_draw_too_small(screen);
        screen_end(screen);
        return;
    }
    int rows = screen_rows(screen), columns = screen_columns(screen);
    int top = draw_header(console), bottom = rows - 1;
    draw_path(console, top++);
    if (prompt_is_open(console->prompt)) {
        prompt_draw(console->prompt, screen, rows - 1);
        bottom = rows - prompt_rows(console->prompt, columns);
    } else if (console->message[0]) {
        int used = frame_message_rows(console->message_severity, console->message, columns, MESSAGE_ROWS);
        bottom = rows - used;
        frame_draw_message(screen, bottom, used, console->message_severity, console->message);
    } else {
        draw_footer(console, rows - 1);
    }
    draw_layer(console, console->top, top, bottom - top, columns);
    if (prompt_is_open(console->prompt))
        prompt_draw(console->prompt, screen, rows - 1);
    screen_end(screen);
}

/* ---- help ---- */

static void help_context(struct console *console, struct page *page, const char *const *contexts,
                         size_t context_count, const char *context)
{
    bool any = false;
    for (size_t i = 0; i < console->action_count; i++) {
        const struct action *action = console->actions[i];
        size_t length = strlen(context);
        if (strncmp(action->id, context, length) != 0 || action->id[length] != '.')
            continue;
        char *keys = keymap_keys_of(page, console->keymap, contexts, context_count, action->id);
        if (!keys[0] && !action->command)
            continue;
        if (!any)
            page_section(page, strcmp(context, "global") == 0 ? "everywhere" : context);
        any = true;
        char *left = talloc_asprintf(page, "%s%s%s%s", keys, keys[0] && action->command ? "  " : "",
                                     action->command ? ":" : "", action->command ? action->command : "");
        const char *hazard =
            action->hazard == HAZARD_LOOK ? "" : talloc_asprintf(page, " [%s]", hazard_name(action->hazard));
        page_key(page, left, talloc_asprintf(page, "%s%s", action->help, hazard));
    }
}

/* What a server cannot give is absent, and here is why. */
static void help_column(const struct app *app, struct page *page, const struct column *column)
{
    const char *reason = column->absent ? column->absent(app) : NULL;
    if (reason)
        page_pair_format(page, column->title, STYLE_DIM, "absent: %s", reason);
    else if (!(column->flags & COLUMN_HIDDEN))
        page_pair(page, column->title, STYLE_NORMAL, column->help);
}

void console_help(struct console *console)
{
    const char *contexts[CONTEXTS_MAX];
    size_t count = console_contexts(console, contexts);
    struct page *page = page_new(NULL);
    const struct view *view = console_view(console);
    if (layer_is_view(console->top)) {
        page_section(page, view->title);
        page_text(page, STYLE_NORMAL, 0, view->summary);
    }
    for (size_t c = 0; c < count; c++)
        help_context(console, page, contexts, count, contexts[c]);
    if (layer_is_view(console->top)) {
        page_section(page, "columns");
        for (size_t i = 0; i < view->column_count; i++)
            help_column(console->app, page, &view->columns[i]);
    }
    page_section(page, "signs");
    static const char *const signs[][2] = {
        {"≈", "estimated"},
        {"≥", "at least"},
        {"?", "unknown"},
        {"!", "out of bounds"},
        {"0", "none"},
        {"never", "never"},
        {"blank", "not applicable"},
        {"…", "cut: there is more"},
    };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        page_pair(page, signs[i][0], STYLE_NORMAL, signs[i][1]);
    page_section(page, "filter");
    static const char *const filters[][2] = {
        {"text", "rows with the text in a column that is shown"},
        {"column:text", "rows with the text in this column"},
        {"column>1.5s", "rows above a number; also < >= <= and ="},
        {"!word", "rows that the word does not match"},
    };
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        page_pair(page, filters[i][0], STYLE_NORMAL, filters[i][1]);
    if (layer_is_view(console->top) && console_panel(console)->help)
        console_panel(console)->help(console->app, page);
    console_push_page(console, "help", page);
}
