#include "panels/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <termios.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"

enum { SCHEMA_VERSION = 1, PATIENCE_S = 15 };

void batch_print_error(const struct error *error)
{
    char text[2048];
    error_format(error, text, sizeof text);
    fprintf(stderr, "signalbox: %s\n", text);
}

/* Nobody else uses the terminal in batch, and nothing goes on without the answer: blocking is right here. */
static void ask_at_terminal(struct app *app, struct ssh_question *question)
{
    struct termios before, quiet;
    char line[512];
    (void)app;
    FILE *terminal = fopen("/dev/tty", "r+e");
    if (!terminal) {
        ssh_answer(question, NULL);
        return;
    }
    setvbuf(terminal, NULL, _IONBF, 0); /* no copy of a passphrase in stdio's memory */
    fprintf(terminal, "%s%s%s: ", question->title, question->text[0] ? "\n" : "", question->text);
    fflush(terminal);
    bool hidden = !question->echo && tcgetattr(fileno(terminal), &before) == 0;
    if (hidden) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(fileno(terminal), TCSAFLUSH, &quiet);
    }
    bool answered = fgets(line, sizeof line, terminal) != NULL;
    if (hidden) {
        tcsetattr(fileno(terminal), TCSAFLUSH, &before);
        fputc('\n', terminal);
    }
    fclose(terminal);
    line[answered ? strcspn(line, "\n") : 0] = '\0';
    ssh_answer(question, answered ? line : NULL);
    explicit_bzero(line, sizeof line);
}

struct app *batch_app(const struct options *options)
{
    struct error_list *errors = error_list_new(NULL);
    struct app *app = app_new(options, errors);
    if (app)
        app->ask = ask_at_terminal;
    for (size_t i = 0; i < errors->count; i++)
        batch_print_error(&errors->items[i]);
    talloc_free(errors);
    return app;
}

/* ---- waiting ---- */

struct wait {
    struct loop *loop;
    bool (*ready)(void *data);
    void *data;
    bool answer;
    ev_timer timer;
};

static void wait_turn(void *data)
{
    struct wait *wait = data;
    if (!wait->answer && wait->ready && wait->ready(wait->data)) {
        wait->answer = true;
        loop_stop(wait->loop);
    }
}

static void wait_over(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)events;
    loop_stop(((struct wait *)timer->data)->loop);
}

bool batch_wait(struct loop *loop, double seconds, bool (*ready)(void *data), void *data)
{
    struct wait wait = {.loop = loop, .ready = ready, .data = data};
    if (ready && ready(data))
        return true;
    ev_timer_init(&wait.timer, wait_over, seconds, 0);
    wait.timer.data = &wait;
    ev_now_update(loop_ev(loop));
    ev_timer_start(loop_ev(loop), &wait.timer);
    loop_set_turn(loop, wait_turn, &wait);
    loop_run(loop);
    loop_set_turn(loop, NULL, NULL);
    ev_timer_stop(loop_ev(loop), &wait.timer);
    return wait.answer;
}

/* ---- JSON ---- */

struct json_object *batch_json_value(const struct column *column, struct value value)
{
    char text[32];
    struct json_object *array;
    switch (value.kind) {
    case VALUE_INTEGER:
        if (column->flags & COLUMN_STRING) {
            snprintf(text, sizeof text, "%lld", (long long)value.integer);
            return json_object_new_string(text);
        }
        return json_object_new_int64(value.integer);
    case VALUE_REAL:
        return column->unit == UNIT_TIME ? json_time(value.real) : json_real(value.real);
    case VALUE_TEXT:
        return json_text(value.text);
    case VALUE_BOOLEAN:
        return json_object_new_boolean(value.boolean);
    case VALUE_INTEGERS:
        array = json_object_new_array();
        for (size_t i = 0; i < value.integers.count; i++)
            json_object_array_add(array, json_object_new_int64(value.integers.items[i]));
        return array;
    case VALUE_BLANK:
    case VALUE_UNKNOWN:
    case VALUE_NEVER:
        return NULL;
    }
    return NULL;
}

static struct json_object *json_error(const struct error *error)
{
    if (error->kind == ERROR_NONE)
        return NULL;
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "kind", json_text(error_kind_name(error->kind)));
    const struct {
        const char *name, *text;
    } parts[] = {{"where", error->where}, {"what", error->what}, {"why", error->why}, {"todo", error->todo}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        json_object_object_add(object, parts[i].name, parts[i].text[0] ? json_text(parts[i].text) : NULL);
    return object;
}

/* Why a source has no rows now: its feed's error, else its connection's. */
static const struct error *source_error(const struct source *source)
{
    return source->feed->error.kind != ERROR_NONE ? &source->feed->error : source->connection_error;
}

static struct json_object *json_sources(struct app *app, const struct view *view)
{
    struct source_list *list = source_list_new(NULL);
    if (view->sources)
        view->sources(app, list);
    struct source *sources = list->items;
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < list->count; i++) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "server", json_text(sources[i].server));
        json_object_object_add(object, "database", json_text(sources[i].database));
        json_object_object_add(object, "feed", json_text(sources[i].feed->name));
        /* One that was never asked because there is no connection has failed. */
        enum feed_state state = sources[i].feed->state;
        if (state == FEED_IDLE && source_error(&sources[i])->kind != ERROR_NONE)
            state = FEED_FAILED;
        json_object_object_add(object, "state", json_text(feed_state_name(state)));
        json_object_object_add(object, "taken_at", json_time(sources[i].feed->answered_at));
        json_object_object_add(object, "error", json_error(source_error(&sources[i])));
        json_object_array_add(array, object);
    }
    talloc_free(list);
    return array;
}

static void add_line(void *data, const char *text)
{
    json_object_array_add(data, json_text(text));
}

struct json_object *batch_json_envelope(struct app *app, const struct panel_ops *panel,
                                        const struct view *view)
{
    double since = 0;
    const char *basis = view->basis ? view->basis(app, &since) : NULL;
    struct json_object *envelope = json_object_new_object();
    json_object_object_add(envelope, "schema_version", json_object_new_int(SCHEMA_VERSION));
    json_object_object_add(envelope, "environment", json_text(app->environment->name));
    json_object_object_add(envelope, "panel", json_text(panel->id));
    json_object_object_add(envelope, "view", json_text(view->id));
    json_object_object_add(envelope, "basis", json_text(basis));
    json_object_object_add(envelope, "since", json_time(since));
    json_object_object_add(envelope, "taken_at", json_time(clock_wall()));
    json_object_object_add(envelope, "sources", json_sources(app, view));
    if (view->lines) {
        struct json_object *notes = json_object_new_array();
        view->lines(app, add_line, notes);
        json_object_object_add(envelope, "notes", notes);
    }
    return envelope;
}

struct json_object *batch_json_row(const struct view *view, const void *row)
{
    struct json_object *object = json_object_new_object();
    for (size_t c = 0; c < view->column_count; c++) {
        const struct column *column = &view->columns[c];
        if (!(column->flags & COLUMN_SCREEN))
            json_object_object_add(object, column->id, batch_json_value(column, column->value(row)));
    }
    return object;
}

void batch_print_json(FILE *file, struct app *app, const struct panel_ops *panel, const struct view *view,
                      const struct row_list *rows)
{
    struct json_object *envelope = batch_json_envelope(app, panel, view);
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < rows->count; i++)
        json_object_array_add(array, batch_json_row(view, rows->rows[i].data));
    json_object_object_add(envelope, "rows", array);
    fputs(json_object_to_json_string_ext(envelope, JSON_C_TO_STRING_PLAIN), file);
    fputc('\n', file);
    json_object_put(envelope);
}

/* ---- CSV and aligned text ---- */

/* The exact value as text; "" for blank and unknown. */
static char *exact_text(const void *context, const struct column *column, struct value value)
{
    if (value.kind == VALUE_TEXT)
        return column->flags & COLUMN_STATEMENT ? safe_line_new(context, value.text)
                                                : safe_text_new(context, value.text);
    struct json_object *object = batch_json_value(column, value);
    if (!object)
        return talloc_strdup(context, "");
    char *text = talloc_strdup(context, json_object_is_type(object, json_type_string)
                                            ? json_object_get_string(object)
                                            : json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
    return text;
}

static void print_csv_cell(FILE *file, const char *text, bool first)
{
    size_t size = 2 * strlen(text) + 8;
    char *cell = malloc(size);
    if (!cell)
        abort();
    csv_cell(cell, size, text);
    fprintf(file, "%s%s", first ? "" : ",", cell);
    free(cell);
}

void batch_print_csv(FILE *file, const struct view *view, const struct row_list *rows)
{
    bool first = true;
    for (size_t c = 0; c < view->column_count; c++)
        if (!(view->columns[c].flags & COLUMN_SCREEN)) {
            print_csv_cell(file, view->columns[c].id, first);
            first = false;
        }
    fputs("\r\n", file);
    for (size_t i = 0; i < rows->count; i++) {
        void *context = talloc_new(NULL);
        first = true;
        for (size_t c = 0; c < view->column_count; c++) {
            const struct column *column = &view->columns[c];
            if (column->flags & COLUMN_SCREEN)
                continue;
            print_csv_cell(file, exact_text(context, column, column->value(rows->rows[i].data)), first);
            first = false;
        }
        fputs("\r\n", file);
        talloc_free(context);
    }
}

static void print_padded(FILE *file, const char *text, int width, bool right)
{
    int blanks = width - text_width(text);
    if (right)
        fprintf(file, "%*s%s", blanks > 0 ? blanks : 0, "", text);
    else
        fprintf(file, "%s%*s", text, blanks > 0 ? blanks : 0, "");
}

static char *plain_cell(const void *context, const struct column *column, struct value value)
{
    char text[512];
    if (value.kind == VALUE_TEXT && !(column->flags & COLUMN_SCREEN))
        return exact_text(context, column, value);
    return talloc_strdup(context, value_format(text, sizeof text, column, value));
}

/* The columns of the screen, but the statement whole where the screen has it shortened. */
static bool column_is_plain(const struct column *column)
{
    if (column->flags & COLUMN_SCREEN)
        return !(column->flags & COLUMN_STATEMENT);
    return !(column->flags & COLUMN_HIDDEN) || strcmp(column->id, "query") == 0;
}

void batch_print_plain(FILE *file, const struct view *view, const struct row_list *rows)
{
    void *context = talloc_new(NULL);
    size_t shown[256], count = 0;
    for (size_t c = 0; c < view->column_count && count < 256; c++)
        if (column_is_plain(&view->columns[c]))
            shown[count++] = c;
    char **cells = talloc_array(context, char *, rows->count *count + 1);
    int *widths = talloc_zero_array(context, int, count + 1);
    for (size_t c = 0; c < count; c++)
        widths[c] = text_width(view->columns[shown[c]].title);
    for (size_t i = 0; i < rows->count; i++)
        for (size_t c = 0; c < count; c++) {
            const struct column *column = &view->columns[shown[c]];
            char *cell = plain_cell(context, column, column->value(rows->rows[i].data));
            cells[i * count + c] = cell;
            if (text_width(cell) > widths[c])
                widths[c] = text_width(cell);
        }
    for (size_t i = 0; i <= rows->count; i++) {
        for (size_t c = 0; c < count; c++) {
            const struct column *column = &view->columns[shown[c]];
            fputs(c ? "  " : "", file);
            print_padded(file, i ? cells[(i - 1) * count + c] : column->title,
                         c + 1 < count || column->unit ? widths[c] : 0, column->unit != UNIT_NONE);
        }
        fputc('\n', file);
    }
    talloc_free(context);
}

/* ---- the command ---- */

struct batch {
    struct app *app;
    const struct view *view;
    double asked_at; /* answers must be newer */
};

static bool source_answered(const struct source *source, double asked_at)
{
    return source->feed->answered_at > 0 && source->feed->answered_at >= asked_at;
}

/* A source is settled when it answered, or when it is known that it will not. Late alone is neither: over a
 * slow line connecting takes longer than an answer may. */
static bool source_settled(const struct source *source, double asked_at)
{
    switch (source->feed->state) {
    case FEED_DENIED:
    case FEED_UNAVAILABLE:
    case FEED_FAILED:
        return true;
    case FEED_LIVE:
    case FEED_LATE:
        return source_answered(source, asked_at);
    case FEED_IDLE:
    case FEED_PAUSED:
        return source->connection_error->kind != ERROR_NONE;
    }
    return false;
}

/* Freed by the caller. */
static struct source_list *batch_sources(struct batch *batch)
{
    struct source_list *sources = source_list_new(NULL);
    batch->view->sources(batch->app, sources);
    return sources;
}

static bool batch_ready(void *data)
{
    struct batch *batch = data;
    struct source_list *sources = batch_sources(batch);
    bool settled = true;
    for (size_t i = 0; i < sources->count && settled; i++)
        settled = source_settled(&sources->items[i], batch->asked_at);
    talloc_free(sources);
    return settled && (!batch->view->complete || batch->view->complete(batch->app));
}

/* Tells what failed; the exit status. */
static int batch_verdict(struct batch *batch)
{
    struct source_list *sources = batch_sources(batch);
    struct error last = {0};
    int status = 0;
    for (size_t i = 0; i < sources->count; i++) {
        const struct source *source = &sources->items[i];
        enum feed_state state = source->feed->state;
        if (state == FEED_LIVE || (state == FEED_LATE && source_answered(source, batch->asked_at)))
            continue;
        status = 1;
        const struct error *error = source_error(source);
        struct error late;
        if (error->kind == ERROR_NONE) {
            error_set(&late, ERROR_TIMEOUT, source->server, "no answer", NULL,
                      "nothing came within the deadline");
            error = &late;
        }
        /* Feeds of one server fail together when nothing reaches it: told once. */
        bool told = i && sources->items[i - 1].server == source->server && last.kind == error->kind &&
                    strcmp(last.why, error->why) == 0;
        last = *error;
        if (!told)
            batch_print_error(error);
    }
    talloc_free(sources);
    return status;
}

struct row_order {
    const struct column *column;
    bool descending;
};

/* Unknown and blank stay last either way; equal rows keep their order by identity, so that output is stable.
 */
static int compare_rows(const void *a, const void *b, void *data)
{
    const struct row_order *order = data;
    const struct table_row *left = a, *right = b;
    struct value x = order->column->value(left->data), y = order->column->value(right->data);
    bool x_empty = x.kind == VALUE_BLANK || x.kind == VALUE_UNKNOWN;
    bool y_empty = y.kind == VALUE_BLANK || y.kind == VALUE_UNKNOWN;
    int result = x_empty || y_empty  ? (int)x_empty - (int)y_empty
                 : order->descending ? value_compare(y, x)
                                     : value_compare(x, y);
    return result ? result : strcmp(left->id, right->id);
}

/* The order that the screen begins with. */
static void sort_rows(const struct view *view, struct row_list *rows)
{
    struct row_order order = {.descending = view->descending};
    for (size_t c = 0; view->sort && c < view->column_count; c++)
        if (strcmp(view->columns[c].id, view->sort) == 0)
            order.column = &view->columns[c];
    if (order.column && rows->count)
        qsort_r(rows->rows, rows->count, sizeof *rows->rows, compare_rows, &order);
}

static void batch_print(struct batch *batch, const struct panel_ops *panel)
{
    struct row_list *rows = row_list_new(NULL);
    batch->view->rows(batch->app, rows);
    sort_rows(batch->view, rows);
    if (batch->app->options->json)
        batch_print_json(stdout, batch->app, panel, batch->view, rows);
    else if (batch->app->options->csv)
        batch_print_csv(stdout, batch->view, rows);
    else
        batch_print_plain(stdout, batch->view, rows);
    fflush(stdout);
    talloc_free(rows);
}

static void refresh_sources(struct batch *batch)
{
    struct source_list *sources = batch_sources(batch);
    batch->asked_at = clock_wall();
    for (size_t i = 0; i < sources->count; i++)
        feed_refresh(sources->items[i].feed);
    talloc_free(sources);
}

/* The panel's view that --view names, else its first. */
static const struct view *find_view(const struct panel_ops *panel, const char *name)
{
    struct error error;
    if (!name)
        return panel->views[0];
    const struct view *view = panel_view(panel, name);
    if (view)
        return view;
    char names[256] = "";
    for (size_t i = 0; i < panel->view_count; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, panel->views[i]->id, sizeof names - strlen(names) - 1);
    }
    error_set(&error, ERROR_USAGE, panel->id, "no such view", NULL, "\"%s\" is not one of: %s", name, names);
    batch_print_error(&error);
    return NULL;
}

int batch_panel(const struct panel_ops *panel, const struct options *options)
{
    if (!find_view(panel, options->view))
        return 2;
    struct app *app = batch_app(options);
    return app ? batch_panel_with(app, panel) : 2;
}

/* Waits, and asks every source again. */
static void batch_again(struct batch *batch, double seconds)
{
    batch_wait(batch->app->loop, seconds, NULL, NULL);
    refresh_sources(batch);
    batch_wait(batch->app->loop, PATIENCE_S, batch_ready, batch);
}

int batch_panel_with(struct app *app, const struct panel_ops *panel)
{
    const struct options *options = app->options;
    struct batch batch = {.app = app, .view = find_view(panel, options->view)};
    int status = 2;
    if (batch.view) {
        batch.view->want(app, true);
        batch_wait(app->loop, PATIENCE_S, batch_ready, &batch);
    }
    bool again = batch.view != NULL;
    while (again) {
        if (options->interval_s > 0)
            batch_again(&batch, options->interval_s);
        status = batch_verdict(&batch);
        batch_print(&batch, panel);
        again = options->watch_s > 0 && !ferror(stdout);
        if (again)
            batch_again(&batch, options->watch_s);
    }
    if (batch.view)
        batch.view->want(app, false);
    app_free(app);
    return status;
}
