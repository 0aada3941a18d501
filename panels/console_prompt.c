/* The prompt's uses: ":" and its commands, filter, find, export; and unlocking, which asks for a reason. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "core/clock.h"
#include "core/text.h"
#include "panels/batch.h"
#include "panels/console_internal.h"

/* ---- commands ---- */

static size_t complete_command(void *data, const char *line, size_t start, size_t end,
                               struct prompt_candidate *out, size_t max)
{
    struct console *console = data;
    size_t count = 0;
    const char *blank = strchr(line, ' ');
    size_t word = (size_t)(blank ? blank - line : (long)strlen(line));
    if (start == 0) {
        for (size_t i = 0; i < console->action_count && count < max; i++) {
            const struct action *action = console->actions[i];
            if (action->command && strncmp(action->command, line, end) == 0)
                out[count++] = (struct prompt_candidate){action->command, action->help};
        }
    } else if (word == 6 && strncmp(line, "server", 6) == 0) {
        for (size_t i = 0; i < console->app->server_count && count < max; i++) {
            const char *name = pg_server_name(console->app->servers[i]);
            if (strncmp(name, line + start, end - start) == 0)
                out[count++] = (struct prompt_candidate){name, NULL};
        }
    } else if (word == 4 && strncmp(line, "sort", 4) == 0) {
        const struct view *view = console_view(console);
        for (size_t i = 0; i < view->column_count && count < max; i++)
            if (strncmp(view->columns[i].id, line + start, end - start) == 0)
                out[count++] = (struct prompt_candidate){view->columns[i].id, view->columns[i].help};
    }
    return count;
}

static void run_words(struct console *console, const char *line)
{
    if (strcmp(line, "\\q") == 0)
        line = "q";
    size_t length = strcspn(line, " ");
    const char *argument = line + length + strspn(line + length, " ");
    if (length == 0)
        return;
    for (size_t i = 0; i < console->action_count; i++) {
        const char *command = console->actions[i]->command;
        if (command && strlen(command) == length && strncmp(command, line, length) == 0) {
            console_do(console, console->actions[i]->id, *argument ? argument : NULL);
            return;
        }
    }
    console_say(console, SEVERITY_WARNING, "there is no command \"%.*s\" · : and Tab show them all",
                (int)length, line);
}

/* Completion leaves a blank at the end. */
static void run_command(void *data, const char *line)
{
    if (!line)
        return;
    line += strspn(line, " :");
    size_t length = strlen(line);
    while (length && line[length - 1] == ' ')
        length--;
    char *words = talloc_strndup(NULL, line, length);
    run_words(data, words);
    talloc_free(words);
}

void console_open_command(struct console *console)
{
    console_ask(console, &(struct prompt_options){.label = ":",
                                                  .kind = "command",
                                                  .complete = complete_command,
                                                  .done = run_command,
                                                  .data = console});
}

/* ---- filter and find ---- */

static void filter_changed(void *data, const char *line)
{
    struct console *console = data;
    if (console->top->table)
        table_set_filter(console->top->table, line, NULL);
    console->dirty = true;
}

static void filter_done(void *data, const char *line)
{
    struct console *console = data;
    struct error error = {0};
    if (!console->top->table)
        return;
    if (!table_set_filter(console->top->table, line ? line : console->filter_before, &error))
        console_say_error(console, &error);
    TALLOC_FREE(console->filter_before);
}

void console_open_filter(struct console *console, struct table *table)
{
    talloc_free(console->filter_before);
    console->filter_before = talloc_strdup(console, table_filter(table));
    console_ask(console, &(struct prompt_options){.label = "/",
                                                  .kind = "filter",
                                                  .initial = table_filter(table),
                                                  .changed = filter_changed,
                                                  .done = filter_done,
                                                  .data = console});
}

struct find {
    struct console *console;
    struct page *page;
};

static void find_done(void *data, const char *line)
{
    struct find *find = data;
    if (line && !page_find(find->page, line))
        console_say(find->console, SEVERITY_NONE, "\"%s\" is not on this page", line);
    talloc_free(find);
}

void console_open_find(struct console *console, struct page *page)
{
    struct find *find = talloc_zero(NULL, struct find);
    *find = (struct find){console, page};
    console_ask(console,
                &(struct prompt_options){.label = "/", .kind = "find", .done = find_done, .data = find});
}

/* ---- export ---- */

/* A file that is being written by a worker. */
struct export
{
    struct console *console;
    char *path, *text;
    size_t length, rows;
    int failure; /* errno */
};

static void export_write(void *data)
{
    struct export *export = data;
    FILE *file = fopen(export->path, "wxe");
    if (!file) {
        export->failure = errno;
        return;
    }
    if (fwrite(export->text, 1, export->length, file) != export->length)
        export->failure = errno;
    if (fclose(file) != 0 && !export->failure)
        export->failure = errno;
}

static void export_done(void *data)
{
    struct export *export = data;
    if (export->failure == EEXIST)
        console_say(export->console, SEVERITY_WARNING, "%s exists already: nothing was written",
                    export->path);
    else if (export->failure)
        console_say(export->console, SEVERITY_CRITICAL, "%s cannot be written: %s", export->path,
                    strerror(export->failure));
    else
        console_say(export->console, SEVERITY_OK, "%zu rows written to %s", export->rows, export->path);
    free(export->text);
    talloc_free(export);
}

struct export_wish {
    struct console *console;
    size_t (*write)(struct app *app, void *data, const char *path, FILE *file);
    void *data;
};

static void export_start(void *data, const char *path)
{
    struct export_wish *wish = data;
    struct console *console = wish->console;
    if (path && *path) {
        struct export *export = talloc_zero(NULL, struct export);
        export->console = console;
        export->path = talloc_strdup(export, path);
        FILE *file = open_memstream(&export->text, &export->length);
        if (!file)
            abort();
        export->rows = wish->write(console->app, wish->data, path, file);
        fclose(file);
        loop_work(console->app->loop, WORK_FILE, export_write, export_done, export);
    }
    talloc_free(wish);
}

void console_export(struct console *console, const char *kinds, const char *name,
                    size_t (*write)(struct app *app, void *data, const char *path, FILE *file), void *data)
{
    struct export_wish *wish = talloc_zero(console, struct export_wish);
    char label[64];
    snprintf(label, sizeof label, "Write to (%s): ", kinds);
    *wish = (struct export_wish){console, write, data};
    console_ask(console,
                &(struct prompt_options){
                    .label = label, .kind = "export", .initial = name, .done = export_start, .data = wish});
}

static size_t write_view(struct app *app, void *data, const char *path, FILE *file)
{
    struct console *console = data;
    struct row_list *rows = row_list_new(NULL);
    size_t count;
    const struct table_row **shown = console_filtered(console, rows, &count);
    for (size_t i = 0; i < count; i++)
        row_list_add(rows, *shown[i]);
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".json") == 0)
        batch_print_json(file, app, console_panel(console), console_view(console), rows);
    else
        batch_print_csv(file, console_view(console), rows);
    talloc_free(rows);
    return count;
}

void console_open_export(struct console *console)
{
    char name[128], stamp[32];
    time_t now = (time_t)clock_wall();
    struct tm parts;
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", gmtime_r(&now, &parts));
    snprintf(name, sizeof name, "signalbox-%s-%s.csv", console_view(console)->id, stamp);
    console_export(console, ".csv or .json", name, write_view, console);
}

/* ---- for panels ---- */

struct asked {
    struct console *console;
    void (*done)(struct app *app, void *data, const char *line);
    void *data;
};

static void asked_done(void *data, const char *line)
{
    struct asked *asked = data;
    asked->done(asked->console->app, asked->data, line);
    talloc_free(asked);
}

void console_prompt(struct console *console, const char *label, const char *kind, const char *initial,
                    void (*done)(struct app *app, void *data, const char *line), void *data)
{
    struct asked *asked = talloc_zero(console, struct asked);
    *asked = (struct asked){console, done, data};
    console_ask(console,
                &(struct prompt_options){
                    .label = label, .kind = kind, .initial = initial, .done = asked_done, .data = asked});
}

void console_copy(struct console *console, const char *text)
{
    console_say(console, SEVERITY_NONE, "%s",
                screen_copy(console->screen, text) ? "copied" : "too long to copy");
}

/* ---- servers ---- */

static void choose_server(struct console *console, const struct pg_server *server)
{
    console->app->chosen = server;
    view_layer_refresh(console_view_layer(console));
    console->dirty = true;
}

static void server_chosen(struct app *app, void *data, size_t choice)
{
    (void)data;
    choose_server(app->console, choice == 0 ? NULL : app->servers[choice - 1]);
}

void console_choose_server(struct console *console, const char *name)
{
    struct app *app = console->app;
    if (name) {
        struct pg_server *server = app_server(app, name);
        if (!server && strcmp(name, "all") != 0)
            console_say(console, SEVERITY_WARNING, "there is no server \"%s\" in this environment", name);
        else
            choose_server(console, server);
        return;
    }
    struct choice_line *lines = talloc_zero_array(NULL, struct choice_line, app->server_count + 1);
    lines[0].text = "all servers";
    for (size_t i = 0; i < app->server_count; i++) {
        char error[1400] = "";
        if (pg_server_state(app->servers[i]) == CONNECTION_DOWN)
            error_format(pg_server_error(app->servers[i]), error, sizeof error);
        const char *version = pg_server_version_text(app->servers[i]);
        lines[i + 1].text = talloc_asprintf(lines, "%s%s%s%s%s", pg_server_name(app->servers[i]),
                                            version ? "  PostgreSQL " : "", version ? version : "",
                                            error[0] ? "  " : "", error);
    }
    console_choose(console, "Which server?", lines, app->server_count + 1, server_chosen, NULL);
    talloc_free(lines);
}

/* ---- unlocking ---- */

static void unlock_reason(void *data, const char *reason)
{
    struct console *console = data;
    if (!reason)
        return;
    if (!*reason)
        console_say(console, SEVERITY_WARNING,
                    "not unlocked: a reason is needed, it goes into the audit log");
    else
        access_unlock(console->app->access, reason);
}

void console_unlock(struct console *console, const char *reason)
{
    if (access_state(console->app->access) != ACCESS_LOCKED)
        console_say(console, SEVERITY_NONE, "this environment is not locked");
    else if (reason)
        access_unlock(console->app->access, reason);
    else
        console_ask(console,
                    &(struct prompt_options){
                        .label = "Unlock why: ", .kind = "reason", .done = unlock_reason, .data = console});
}

static void break_glass_reason(void *data, const char *reason)
{
    struct console *console = data;
    struct error error = {0};
    if (reason && !access_break_glass(console->app->access, reason, &error))
        console_say_error(console, &error);
}

void console_break_glass(struct console *console, const char *reason)
{
    if (reason)
        break_glass_reason(console, reason);
    else
        console_ask(console, &(struct prompt_options){.label = "Break the glass why: ",
                                                      .kind = "reason",
                                                      .done = break_glass_reason,
                                                      .data = console});
}
