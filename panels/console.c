/* The console itself: start and end, keys to actions, the stack of layers. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/files.h"
#include "panels/batch.h"
#include "panels/console_internal.h"

/* ---- layers ---- */

void console_push(struct console *console, struct layer *layer)
{
    layer->app = console->app;
    layer->below = console->top;
    console->top = layer;
    console->place++;
    console->pending_count = 0;
    console->dirty = true;
}

void console_pop(struct console *console)
{
    struct layer *layer = console->top;
    console->place++;
    if (layer == console->base)
        return;
    console->top = layer->below;
    if (layer->ops->free)
        layer->ops->free(layer);
    talloc_free(layer);
    console->pending_count = 0;
    console->dirty = true;
}

bool console_is_on_top(const struct console *console, const struct layer *layer)
{
    return console->top == layer;
}

unsigned console_place(const struct console *console)
{
    return console->place;
}

struct page_layer {
    struct layer layer;
    char *crumb;
    struct page *page;
    const char *contexts[3]; /* the panel's actions work on a page about its row too */
};

static const char *page_crumb(struct layer *layer)
{
    return ((struct page_layer *)layer)->crumb;
}

static void page_layer_draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    page_draw(((struct page_layer *)layer)->page, screen, top, 0, rows, columns);
}

static bool page_layer_act(struct layer *layer, const char *action)
{
    struct page_layer *self = (struct page_layer *)layer;
    struct console *console = layer->app->console;
    char *text;
    switch (page_act(self->page, action)) {
    case PAGE_IGNORED:
        return false;
    case PAGE_HANDLED:
        return true;
    case PAGE_WANTS_FIND:
        console_open_find(console, self->page);
        return true;
    case PAGE_WANTS_COPY:
        text = page_copy_text(layer, self->page);
        console_say(console, SEVERITY_NONE, "%s",
                    screen_copy(console->screen, text) ? "copied" : "too long to copy");
        talloc_free(text);
        return true;
    }
    return false;
}

void console_push_page(struct console *console, const char *crumb, struct page *page)
{
    struct page_layer *layer = talloc_zero(NULL, struct page_layer);
    struct layer_ops *ops = talloc_zero(layer, struct layer_ops);
    layer->contexts[0] = "text";
    layer->contexts[1] = console_panel(console)->id;
    *ops = (struct layer_ops){
        .contexts = layer->contexts, .crumb = page_crumb, .draw = page_layer_draw, .act = page_layer_act};
    layer->layer.ops = ops;
    layer->crumb = talloc_strdup(layer, crumb);
    layer->page = talloc_steal(layer, page);
    console_push(console, &layer->layer);
}

struct layer *console_view_layer(const struct console *console)
{
    struct layer *layer = console->top;
    while (layer != console->base && !layer_is_view(layer))
        layer = layer->below;
    return layer;
}

void console_push_panel(struct console *console, const struct panel_ops *panel)
{
    console_push(console, view_layer_new(console, panel));
}

/* ---- what panels ask ---- */

void console_say(struct console *console, enum severity severity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(console->message, sizeof console->message, format, arguments);
    va_end(arguments);
    console->message_severity = severity;
    console->dirty = true;
}

void console_say_error(struct console *console, const struct error *error)
{
    error_format(error, console->message, sizeof console->message);
    console->message_severity = SEVERITY_CRITICAL;
    console->dirty = true;
}

const struct panel_ops *console_panel(const struct console *console)
{
    return view_layer_panel(console_view_layer(console));
}

const struct view *console_view(const struct console *console)
{
    return view_layer_view(console_view_layer(console));
}

void console_show_view(struct console *console, const char *view_id)
{
    const struct view *view = panel_view(console_panel(console), view_id);
    struct layer *layer = console_view_layer(console);
    console->place++;
    while (console->top != layer)
        console_pop(console);
    if (view)
        view_layer_show(layer, view);
    console->dirty = true;
}

const struct table_row *console_selected(struct console *console)
{
    return table_selected(console_view_layer(console)->table);
}

const struct table_row **console_marked(struct console *console, const void *context, size_t *count)
{
    struct table *table = console_view_layer(console)->table;
    const struct table_row **rows =
        talloc_array(context, const struct table_row *, table_marked_count(table) + 1);
    const struct table_row *row;
    size_t at = 0;
    *count = 0;
    while ((row = table_next_marked(table, &at)))
        rows[(*count)++] = row;
    return rows;
}

const struct table_row **console_filtered(struct console *console, const void *context, size_t *count)
{
    struct table *table = console_view_layer(console)->table;
    *count = table_matching(table);
    const struct table_row **rows = talloc_array(context, const struct table_row *, *count + 1);
    for (size_t i = 0; i < *count; i++)
        rows[i] = table_shown(table, i);
    return rows;
}

bool console_is_filtered(const struct console *console)
{
    return table_filter(console_view_layer(console)->table)[0] != '\0';
}

/* ---- keys and actions ---- */

size_t console_contexts(const struct console *console, const char *contexts[CONTEXTS_MAX])
{
    size_t count = 0;
    for (const char *const *at = console->top->ops->contexts; *at && count < CONTEXTS_MAX - 1; at++) {
        size_t known = 0;
        while (known < count && strcmp(contexts[known], *at) != 0)
            known++;
        if (known == count) /* a view may have its panel's name */
            contexts[count++] = *at;
    }
    /* A dialog takes its own keys only. */
    if (!layer_is_dialog(console->top))
        contexts[count++] = "global";
    return count;
}

const struct action *console_action(const struct console *console, const char *id)
{
    for (size_t i = 0; i < console->action_count; i++)
        if (strcmp(console->actions[i]->id, id) == 0)
            return console->actions[i];
    return NULL;
}

void console_quit(struct console *console, int status)
{
    console->exit_status = status;
    loop_stop(console->app->loop);
}

static void next_view(struct console *console, int step)
{
    const struct panel_ops *panel = console_panel(console);
    for (size_t i = 0; i < panel->view_count; i++)
        if (panel->views[i] == console_view(console)) {
            console_show_view(console,
                              panel->views[(i + panel->view_count + (size_t)step) % panel->view_count]->id);
            return;
        }
}

static void show_panel(struct console *console, int number)
{
    for (size_t i = 0; i < panel_count; i++)
        if (panel_registry[i]->number == number) {
            while (console->top != console->base)
                console_pop(console);
            struct layer *old = console->base;
            if (panel_registry[i] == view_layer_panel(old))
                return;
            console->place++;
            console->top = NULL;
            console->base = view_layer_new(console, panel_registry[i]);
            console->top = console->base;
            old->ops->free(old);
            talloc_free(old);
            return;
        }
    console_say(console, SEVERITY_NONE, "there is no panel %d in this version", number);
}

/* Actions of the context "global". False: not one of them. */
static bool do_global(struct console *console, const char *name, const char *argument)
{
    if (strcmp(name, "help") == 0)
        console_help(console);
    else if (strcmp(name, "command") == 0)
        console_open_command(console);
    else if (strcmp(name, "quit") == 0)
        console_quit(console, 0);
    else if (strcmp(name, "close") == 0 && console->top == console->base)
        console_quit(console, 0);
    else if (strcmp(name, "close") == 0 || strcmp(name, "back") == 0)
        console_pop(console);
    else if (strcmp(name, "redraw") == 0)
        screen_redraw(console->screen);
    else if (strcmp(name, "suspend") == 0)
        screen_stop(console->screen);
    else if (strcmp(name, "refresh") == 0)
        view_layer_ask(console_view_layer(console));
    else if (strcmp(name, "next-view") == 0)
        next_view(console, 1);
    else if (strcmp(name, "previous-view") == 0)
        next_view(console, -1);
    else if (strcmp(name, "server") == 0)
        console_choose_server(console, argument);
    else if (strcmp(name, "unlock") == 0)
        console_unlock(console, argument);
    else if (strcmp(name, "breakglass") == 0)
        console_break_glass(console, argument);
    else if (strcmp(name, "lock") == 0)
        access_lock(console->app->access, argument);
    else if (strncmp(name, "panel-", 6) == 0)
        show_panel(console, (int)strtol(name + 6, NULL, 10));
    else if (strcmp(name, "cancel") == 0 && change_interrupt(console))
        console_say(console, SEVERITY_WARNING, "nothing more is sent; what was sent is waited for");
    else if (strcmp(name, "cancel") == 0)
        console_say(console, SEVERITY_NONE, "nothing of ours runs · q closes, :q leaves signalbox");
    else
        return false;
    return true;
}

static void copy_rows(struct console *console, struct table *table)
{
    char *text = table_copy_text(NULL, table);
    console_say(console, SEVERITY_NONE, "%s",
                screen_copy(console->screen, text) ? "copied" : "too long to copy");
    talloc_free(text);
}

static bool do_table(struct console *console, const char *action, const char *argument)
{
    struct table *table = console->top->table;
    if (!table)
        return false;
    if (argument && strcmp(action, "table.filter") == 0) {
        struct error error = {0};
        if (!table_set_filter(table, argument, &error))
            console_say_error(console, &error);
        return true;
    }
    if (argument && strcmp(action, "table.sort-next") == 0) {
        if (!table_sort(table, argument, true))
            console_say(console, SEVERITY_WARNING, "this table cannot be sorted by %s", argument);
        return true;
    }
    switch (table_act(table, action)) {
    case TABLE_IGNORED:
        return false;
    case TABLE_HANDLED:
        return true;
    case TABLE_WANTS_FILTER:
        console_open_filter(console, table);
        return true;
    case TABLE_WANTS_COPY:
        copy_rows(console, table);
        return true;
    case TABLE_WANTS_EXPORT:
        if (layer_is_view(console->top))
            console_open_export(console);
        else
            console_say(
                console, SEVERITY_WARNING,
                "only the tables of a panel can be exported · signalbox explain prints a plan as JSON");
        return true;
    }
    return false;
}

void console_do(struct console *console, const char *action, const char *argument)
{
    struct error error = {0};
    const struct action *known = console_action(console, action);
    console->dirty = true;
    if (console->top->ops->act && console->top->ops->act(console->top, action))
        return;
    if (do_table(console, action, argument))
        return;
    if (strncmp(action, "global.", 7) == 0 && do_global(console, action + 7, argument))
        return;
    if (known && (known->needs & NEED_ROW) && console->top->table && !table_selected(console->top->table)) {
        console_say(console, SEVERITY_NONE, "no row is selected");
        return;
    }
    if (strncmp(action, "table.", 6) == 0 || strncmp(action, "text.", 5) == 0 ||
        strncmp(action, "dialog.", 7) == 0 || !console_panel(console)->act) {
        console_say(console, SEVERITY_NONE, "not possible here");
        return;
    }
    if (!console_panel(console)->act(console->app, action, &error))
        console_say_error(console, &error);
}

static void on_key(void *data, keycode key)
{
    struct console *console = data;
    const char *contexts[CONTEXTS_MAX];
    console->dirty = true;
    console->message[0] = '\0';
    if (prompt_is_open(console->prompt)) {
        prompt_key(console->prompt, key);
        return;
    }
    if (layer_is_dialog(console->top)) {
        const char *const dialog[] = {"dialog"};
        dialog_layer_key(console->top, key, keymap_find(console->keymap, dialog, 1, &key, 1, NULL));
        return;
    }
    bool more = false;
    console->pending[console->pending_count++] = key;
    const char *action = keymap_find(console->keymap, contexts, console_contexts(console, contexts),
                                     console->pending, console->pending_count, &more);
    if (!action && more && console->pending_count < KEY_SEQUENCE_MAX)
        return;
    console->pending_count = 0;
    if (action) {
        console_do(console, action, NULL);
    } else {
        char name[32];
        console_say(console, SEVERITY_NONE, "%s does nothing here · ? shows what does",
                    key_format(name, sizeof name, key));
    }
}

static void on_paste(void *data, const char *text)
{
    struct console *console = data;
    console->dirty = true;
    if (prompt_is_open(console->prompt))
        prompt_paste(console->prompt, text);
    else if (layer_is_dialog(console->top))
        dialog_layer_paste(console->top, text);
}

static void on_click(void *data, int row, int column, int button)
{
    struct console *console = data;
    console->dirty = true;
    if (console->top->table && button <= 3)
        table_click(console->top->table, row, column);
    else if (console->top->table)
        table_act(console->top->table, button == 4 ? "table.up" : "table.down");
}

static void on_resized(void *data)
{
    ((struct console *)data)->dirty = true;
}

/* The terminal is gone: nobody is there who could watch what happens. */
static void on_gone(void *data)
{
    struct console *console = data;
    access_lock(console->app->access, "the terminal was closed");
    console_quit(console, 129);
}

void console_ask(struct console *console, const struct prompt_options *options)
{
    prompt_open(console->prompt, options);
    console->place++;
    console->dirty = true;
}

/* ---- running ---- */

static void app_changed(struct app *app)
{
    app->console->dirty = true;
}

static void on_second(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    ((struct console *)timer->data)->dirty = true;
}

static void on_terminate(struct ev_loop *loop, ev_signal *signal_watcher, int events)
{
    (void)loop;
    (void)events;
    console_quit(signal_watcher->data, 143);
}

static void on_turn(void *data)
{
    struct console *console = data;
    /* The terminal is another program's meanwhile. */
    if (!console->dirty || console->program)
        return;
    console->dirty = false;
    if (!console->paused)
        view_layer_refresh(console_view_layer(console));
    change_watch_check(console);
    console_draw(console);
    /* A dialog begins to take keys after a quiet moment: draw again then. */
    double wait = layer_is_dialog(console->top) ? dialog_layer_wait(console->top) : 0;
    if (wait != 0) {
        ev_timer_stop(loop_ev(console->app->loop), &console->dialog_wait);
        ev_timer_set(&console->dialog_wait, wait > 0 ? wait + 0.01 : 0.05, 0);
        ev_timer_start(loop_ev(console->app->loop), &console->dialog_wait);
    }
}

static bool console_take_screen(struct console *console, const struct options *options)
{
    static const struct screen_handlers handlers = {on_key, on_paste, on_click, on_resized, on_gone};
    struct error error = {0};
    struct screen_options screen = {.ascii = options->ascii, .mono = options->mono};
    console->screen = screen_new(&screen, &error);
    if (!console->screen) {
        batch_print_error(&error);
        return false;
    }
    console->theme = screen_theme(console->screen);
    console->prompt = prompt_new(console, "signalbox");
    screen_watch(console->screen, loop_ev(console->app->loop), &handlers, console);
    return true;
}

static bool console_load_keys(struct console *console, const struct options *options)
{
    struct error_list *errors = error_list_new(console);
    char *path = files_config_path(console, "keymap");
    console->actions = panel_actions(console, &console->action_count);
    console->keymap =
        keymap_load(console, options->keymap, path, console->actions, console->action_count, errors);
    for (size_t i = 0; i < errors->count; i++)
        batch_print_error(&errors->items[i]);
    return console->keymap != NULL;
}

static void console_start_watchers(struct console *console)
{
    struct ev_loop *ev = loop_ev(console->app->loop);
    ev_timer_init(&console->second, on_second, 1, 1);
    ev_timer_init(&console->dialog_wait, on_second, 0, 0);
    ev_signal_init(&console->terminate, on_terminate, SIGTERM);
    console->second.data = console->dialog_wait.data = console->terminate.data = console;
    ev_timer_start(ev, &console->second);
    ev_signal_start(ev, &console->terminate);
    loop_set_turn(console->app->loop, on_turn, console);
}

static void console_stop_watchers(struct console *console)
{
    struct ev_loop *ev = loop_ev(console->app->loop);
    loop_set_turn(console->app->loop, NULL, NULL);
    ev_timer_stop(ev, &console->second);
    ev_timer_stop(ev, &console->dialog_wait);
    ev_signal_stop(ev, &console->terminate);
}

/* The one that has the view that was asked for; else the first that has something to show. */
static const struct panel_ops *first_panel(const struct app *app)
{
    for (size_t i = 0; app->options->view && i < panel_count; i++)
        if (panel_registry[i]->number && panel_view(panel_registry[i], app->options->view))
            return panel_registry[i];
    return panel_find(app->server_count || !fleet_count(app->fleet) ? "queries" : "hosts");
}

int console_run(const struct options *options)
{
    struct app *app = batch_app(options);
    if (!app)
        return 2;
    struct console *console = talloc_zero(NULL, struct console);
    int status = 2;
    console->app = app;
    if (console_load_keys(console, options) && console_take_screen(console, options)) {
        app->console = console;
        app->changed = app_changed;
        app->ask = console_ask_secret;
        console->base = console->top = view_layer_new(console, first_panel(app));
        if (options->view)
            console_show_view(console, options->view);
        console->dirty = true;
        console_start_watchers(console);
        on_turn(console); /* the first frame does not wait for anything */
        loop_run(app->loop);
        console_stop_watchers(console);
        console_end_program(console);
        change_finish_all(console);
        if (access_state(app->access) != ACCESS_OPEN && access_state(app->access) != ACCESS_LOCKED)
            access_lock(app->access, "the console was left");
        while (console->top != console->base)
            console_pop(console);
        console->base->ops->free(console->base);
        talloc_free(console->base);
        screen_free(console->screen);
        status = console->exit_status;
    }
    app->changed = NULL;
    app_free(app);
    talloc_free(console);
    return status;
}
