/*
 * Draws one scene with fixed data through the real screen, and answers to the default keys: what the golden
 * screens are made of. Usage: show SCENE [ascii|mono|mouse]...
 * The last line of the screen is a log of what the widgets answered.
 */
#include <ev.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "keymaps/keymap.h"
#include "tests/stand_ins.h"
#include "tui/chart.h"
#include "tui/dialog.h"
#include "tui/frame.h"
#include "tui/page.h"
#include "tui/prompt.h"
#include "tui/screen.h"
#include "tui/table.h"

struct show {
    struct ev_loop *loop;
    struct ev_timer timer;
    struct screen *screen;
    struct keymap *keymap;
    const struct scene *scene;
    struct table *table;
    struct page *page;
    struct dialog *dialog;
    struct prompt *prompt;
    char log[256];
    int refreshes;
    keycode pending;
};

struct scene {
    const char *name;
    void (*make)(struct show *show);
    void (*draw)(struct show *show, int top, int rows, int columns);
    const char *contexts[2];
};

/* ---- data ---- */

struct session {
    const char *pid, *root;
    int depth;
    double waited_s; /* negative: not waiting */
    int behind;
    const char *wants, *state, *tenant, *query;
    enum severity severity;
};

static const struct session sessions[] = {
    {"8121", NULL, 0, -1, 31, NULL, "idle in transaction", "al_noor",
     "last, 4 m 12 s ago: UPDATE invoice SET paid", SEVERITY_CRITICAL},
    {"8344", NULL, 1, 242, 29, "AccessExclusive invoice", "waiting", "migrate",
     "ALTER TABLE invoice\n  ADD COLUMN note text", SEVERITY_WARNING},
    {"8351", NULL, 2, 238, 0, "RowExclusive invoice", "waiting", "al_noor", "UPDATE invoice SET paid = true",
     0},
    {"8352", NULL, 2, 237, 0, "RowExclusive invoice", "waiting", "大同小学", "UPDATE invoice SET paid = true",
     0},
    {"8353", NULL, 2, 230, 0, "RowExclusive invoice", "waiting", "مدرسة النور",
     "UPDATE invoice SET paid = false", 0},
    {"8354", NULL, 2, 12.4, 0, "RowExclusive invoice", "waiting", "école 🏫👩‍🏫",
     "SELECT 'x\033[31mred\n\u202e'", 0},
    {"8360", NULL, 1, 3, 0, "RowShare invoice", "waiting", "st_marys", "SELECT 1 FROM invoice FOR SHARE", 0},
    {"9001", NULL, 0, -1, 1, NULL, "prepared transaction", "", "PREPARE TRANSACTION 'tx1'", 0},
    {"9002", NULL, 1, 0.4, 0, "Exclusive tuple", "waiting", "st_marys", "DELETE FROM pupil WHERE id = 4711",
     0},
};
enum { SESSION_COUNT = sizeof sessions / sizeof *sessions };

static struct value pid_of(const void *row)
{
    return value_integer(atoi(((const struct session *)row)->pid));
}
static struct value waited_of(const void *row)
{
    const struct session *s = row;
    return s->waited_s < 0 ? value_blank() : value_real(s->waited_s);
}
static struct value behind_of(const void *row)
{
    const struct session *s = row;
    struct value value = value_integer(s->behind);
    value.severity = s->behind > 30 ? SEVERITY_CRITICAL : s->behind > 20 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value share_of(const void *row)
{
    return value_real(((const struct session *)row)->behind / 31.0 * 99.8);
}
static struct value wants_of(const void *row)
{
    return value_text(((const struct session *)row)->wants);
}
static struct value state_of(const void *row)
{
    struct value value = value_text(((const struct session *)row)->state);
    value.severity = ((const struct session *)row)->severity;
    return value;
}
static struct value tenant_of(const void *row)
{
    const char *tenant = ((const struct session *)row)->tenant;
    return *tenant ? value_text(tenant) : value_unknown();
}
static struct value query_of(const void *row)
{
    return value_text(((const struct session *)row)->query);
}

static const struct column lock_columns[] = {
    {"pid", "pid", "process", UNIT_ID, 12, 0, COLUMN_TREE, pid_of, NULL},
    {"waited_s", "waited", "how long", UNIT_S, 8, 0, 0, waited_of, NULL},
    {"behind", "behind", "who waits for it", UNIT_COUNT, 6, 1, 0, behind_of, NULL},
    {"mode", "wants", "mode and relation", UNIT_NONE, 24, 3, 0, wants_of, NULL},
    {"state", "state", "state", UNIT_NONE, 21, 2, 0, state_of, NULL},
    {"tenant", "tenant", "tenant", UNIT_NONE, 11, 2, 0, tenant_of, NULL},
    {"query", "statement", "statement", UNIT_NONE, 0, 0, COLUMN_STATEMENT, query_of, NULL},
};

static const struct column list_columns[] = {
    {"pid", "pid", "process", UNIT_ID, 7, 0, 0, pid_of, NULL},
    {"share_percent", "share", "share", UNIT_SHARE, 18, 4, 0, share_of, NULL},
    {"waited_s", "waited", "how long", UNIT_S, 10, 0, 0, waited_of, NULL},
    {"behind", "behind", "who waits for it", UNIT_COUNT, 8, 1, 0, behind_of, NULL},
    {"state", "state", "state", UNIT_NONE, 21, 2, 0, state_of, NULL},
    {"tenant", "tenant", "tenant", UNIT_NONE, 11, 2, 0, tenant_of, NULL},
    {"query", "statement", "statement", UNIT_NONE, 0, 0, COLUMN_STATEMENT, query_of, NULL},
};

/* ---- scenes ---- */

static void fill_table(struct show *show, bool tree)
{
    struct table_row rows[SESSION_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < SESSION_COUNT; i++) {
        if (show->refreshes % 2 == 1 && i == 3) /* every second refresh has one session less */
            continue;
        rows[count++] = (struct table_row){.data = &sessions[i],
                                           .id = sessions[i].pid,
                                           .depth = tree ? sessions[i].depth : 0,
                                           .dim = strcmp(sessions[i].state, "prepared transaction") == 0};
    }
    table_set_rows(show->table, rows, count);
}

static void make_locks(struct show *show)
{
    show->table = table_new(NULL, lock_columns, sizeof lock_columns / sizeof *lock_columns);
    table_set_empty(show->table, "nobody waits for a lock");
    table_set_branch_limit(show->table, 2);
    fill_table(show, true);
}

static void make_list(struct show *show)
{
    show->table = table_new(NULL, list_columns, sizeof list_columns / sizeof *list_columns);
    fill_table(show, false);
    table_sort(show->table, "waited_s", true);
}

static void make_empty(struct show *show)
{
    make_locks(show);
    table_set_rows(show->table, NULL, 0);
}

static void draw_table(struct show *show, int top, int rows, int columns)
{
    table_draw(show->table, show->screen, top, 0, rows, columns);
}

enum { SAMPLES = 600 };

static void draw_chart(struct show *show, int top, int rows, int columns)
{
    static const struct chart_series series[] = {{"running", "█", STYLE_CHART_RUNNING},
                                                 {"other", "▓", STYLE_CHART_OTHER},
                                                 {"io", "▒", STYLE_CHART_IO},
                                                 {"lock", "░", STYLE_CHART_LOCK}};
    static double times[SAMPLES];
    static float values[SAMPLES * 4];
    for (int i = 0; i < SAMPLES; i++) {
        times[i] = 1795270500 + i;
        values[i * 4] = 4 + (float)(i % 60) / 20;
        values[i * 4 + 1] = i > 100 && i < 130 ? 3 : 0;
        values[i * 4 + 2] = i % 200 < 40 ? 6 : 1;
        values[i * 4 + 3] = i > 300 && i < 420 ? (float)(i - 300) / 4 : 0;
        if (i > 220 && i < 250)
            values[i * 4] = NAN;
    }
    struct chart chart = {.title = "active sessions",
                          .series = series,
                          .series_count = 4,
                          .times = times,
                          .values = values,
                          .samples = SAMPLES,
                          .from = times[0],
                          .to = times[SAMPLES - 1],
                          .interval_s = 1,
                          .limit = 400,
                          .selected_from = times[300],
                          .selected_to = times[400]};
    chart_draw(&chart, show->screen, top, 0, rows < 9 ? rows : 9, columns);
    float spark[] = {1, 2, 3, NAN, 5, 6, 7, 8, 8, 2, 0};
    char text[64];
    screen_put(show->screen, top + 10, 1, columns, STYLE_NORMAL,
               chart_spark(text, sizeof text, spark, sizeof spark / sizeof *spark, 12));
}

static void make_page(struct show *show)
{
    show->page = page_new(NULL);
    page_section(show->page, "Session 8121");
    page_pair(show->page, "state", STYLE_CRITICAL, "idle in transaction! for 4 m 12 s");
    page_pair(show->page, "application", STYLE_NORMAL, "gunicorn web2, as app_user, from 10.1.2.3:50122");
    page_pair(
        show->page, "what to do", STYLE_NORMAL,
        "Its last statement is not necessarily the one that took the lock. End it when it has been idle for "
        "longer than anybody can need; its transaction rolls back, and 31 sessions go on.");
    page_section(show->page, "Keys");
    page_key(show->page, "Enter", "all locks that it holds");
    page_key(show->page, "F9", "cancel or end");
    page_section(show->page, "Statement");
    page_line(show->page, STYLE_NORMAL,
              "UPDATE invoice\n   SET paid = true, note = 'a line that is too long for a "
              "narrow terminal, and is moved sideways instead of wrapped'\n WHERE id = 4711");
    page_section(show->page, "Rest");
    for (int i = 1; i <= 30; i++)
        page_format(show->page, i % 10 ? STYLE_NORMAL : STYLE_DIM, 2, "line %d of thirty", i);
}

static void draw_page(struct show *show, int top, int rows, int columns)
{
    page_draw(show->page, show->screen, top, 0, rows, columns);
}

static void make_dialog(struct show *show)
{
    make_locks(show);
    show->dialog = dialog_new(NULL, "Session 8344, or 8121?", "PRODUCTION", STYLE_PRODUCTION);
    struct dialog *d = show->dialog;
    dialog_set_accept(d, "end the session");
    dialog_set_dry_run(d, true);
    dialog_set_keys(d, &(struct dialog_keys){"Esc", "Enter", "F5", "Tab"});
    dialog_add_choice(d, "Mildest",
                      "cancel 8344's ALTER TABLE: its 29 waiters go on at once; the migration fails", NULL);
    dialog_add_choice(d, "Or", "end session 8121 on db1, as sb_act", NULL);
    dialog_add_choice(d, "Or", "end all 31", "walsenders are among them");
    dialog_add_text(d, "Sends", STYLE_NORMAL,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity\n"
                    "WHERE pid = 8121 AND backend_start = '2026-11-21 13:58:31.204+00'");
    dialog_add_text(d, "Target", STYLE_NORMAL,
                    "app_user · gunicorn web2 · idle in transaction 4 m 12 s · has written: yes");
    dialog_add_text(
        d, "Effect", STYLE_WARNING,
        "its transaction rolls back. Then 8344 goes next and takes AccessExclusive on invoice; 29 wait on "
        "until it ends");
    dialog_add_text(d, "Undo", STYLE_NORMAL, "none");
    dialog_add_field(d, &(struct dialog_field){.label = "Reason", .required = true});
    dialog_add_confirmation(d, "This unlocks production for 30 min.",
                            "Type the last two digits of the session", "21");
}

static const struct scene scenes[] = {
    {"locks", make_locks, draw_table, {"table", "global"}},
    {"list", make_list, draw_table, {"table", "global"}},
    {"empty", make_empty, draw_table, {"table", "global"}},
    {"chart", NULL, draw_chart, {"global", NULL}},
    {"page", make_page, draw_page, {"text", "global"}},
    {"dialog", make_dialog, draw_table, {"table", "global"}},
};

/* ---- the frame and the keys ---- */

static void draw(struct show *show)
{
    static const struct frame_tab tabs[] = {
        {"1", "Triage", false}, {"2", "Tenants", false}, {"3", "Queries", true}};
    static const struct frame_connection connections[] = {{"main", FRAME_UP, NULL, true},
                                                          {"replica", FRAME_DOWN, "refused", false},
                                                          {"redis", FRAME_CONNECTING, NULL, false}};
    static const char *const path[] = {"Queries", "SELECT … FROM invoice WHERE NOT paid AND student_id = $1",
                                       "Locks"};
    static const struct frame_key keys[] = {{"Enter", "detail"}, {"z", "fold"},   {"/", "filter"},
                                            {"o", "sort"},       {NULL, "none"},  {"F9", "cancel or end …"},
                                            {"?", "help"},       {":", "command"}};
    struct screen *screen = show->screen;
    int rows = screen_rows(screen), columns = screen_columns(screen);
    char status[128] = "";
    screen_begin(screen);
    if (screen_too_small(screen)) {
        screen_draw_too_small(screen);
        screen_end(screen);
        return;
    }
    struct frame_header header = {
        "Al-Noor",      "PRODUCTION", STYLE_PRODUCTION, "locked", STYLE_OK, tabs, 3, connections, 3,
        "14:05:10 UTC", NULL};
    int top = frame_draw_header(screen, &header);
    frame_draw_path(screen, top++, path, 3, "data 41 s old!", STYLE_WARNING);
    int bottom = rows - 2;
    show->scene->draw(show, top, bottom - top, columns);
    if (show->dialog)
        dialog_draw(show->dialog, screen, top, bottom);
    screen_put(screen, rows - 2, 1, columns - 2, STYLE_DIM, show->log);
    if (show->table)
        table_status(show->table, status, sizeof status);
    frame_draw_footer(screen, rows - 1, keys, sizeof keys / sizeof *keys, status);
    if (prompt_is_open(show->prompt))
        prompt_draw(show->prompt, screen, rows - 1);
    screen_end(screen);
}

static void log_text(struct show *show, const char *what, const char *text)
{
    snprintf(show->log, sizeof show->log, "%.60s%.180s", what, text);
}

static void filter_changed(void *data, const char *line)
{
    struct show *show = data;
    struct error error;
    char note[64];
    error_clear(&error);
    bool good = table_set_filter(show->table, line, &error);
    snprintf(note, sizeof note, "%zu of %zu", table_matching(show->table), table_count(show->table));
    prompt_set_note(show->prompt, good ? SEVERITY_NONE : SEVERITY_WARNING, good ? note : error.why);
}

static void filter_done(void *data, const char *line)
{
    filter_changed(data, line ? line : "");
}

static void command_done(void *data, const char *line)
{
    struct show *show = data;
    log_text(show, line ? "command: " : "left", line ? line : "");
}

static size_t complete(void *data, const char *line, size_t start, size_t end, struct prompt_candidate *out,
                       size_t max)
{
    static const struct prompt_candidate words[] = {{"cancel", "cancel the statement"},
                                                    {"clear-filter", "show all rows again"},
                                                    {"close", NULL},
                                                    {"pause", "stop refreshing"}};
    size_t count = 0;
    (void)data;
    for (size_t i = 0; i < sizeof words / sizeof *words && count < max; i++)
        if (start == 0 && strncmp(words[i].text, line + start, end - start) == 0)
            out[count++] = words[i];
    return count;
}

static void act_on_dialog(struct show *show, keycode key, const char *action)
{
    static const char *const results[] = {"open", "ignored", "left", "accepted", "dry run"};
    enum dialog_result result = dialog_key(show->dialog, key, action);
    log_text(show, "dialog: ", results[result]);
    if (result != DIALOG_LEAVE && result != DIALOG_ACCEPT)
        return;
    if (result == DIALOG_ACCEPT)
        log_text(show, "accepted: ", dialog_value(show->dialog, 7));
    talloc_free(show->dialog);
    show->dialog = NULL;
}

static void act_on_table(struct show *show, const char *action)
{
    enum table_want want = table_act(show->table, action);
    if (want == TABLE_WANTS_FILTER)
        prompt_open(show->prompt,
                    &(struct prompt_options){"/", "filter", NULL, NULL, filter_changed, filter_done, show});
    if (want != TABLE_WANTS_COPY)
        return;
    char *text = table_copy_text(NULL, show->table);
    screen_copy(show->screen, text);
    talloc_free(text);
}

static void act(struct show *show, const char *action)
{
    if (strcmp(action, "global.quit") == 0 || strcmp(action, "global.close") == 0)
        ev_break(show->loop, EVBREAK_ALL);
    else if (strcmp(action, "global.redraw") == 0)
        screen_redraw(show->screen);
    else if (strcmp(action, "global.suspend") == 0)
        screen_stop(show->screen);
    else if (strcmp(action, "global.cancel") == 0)
        log_text(show, "cancel", "");
    else if (strcmp(action, "global.refresh") == 0 && show->table) {
        show->refreshes++;
        fill_table(show, strcmp(show->scene->name, "list") != 0);
        log_text(show, "", table_selection_moved(show->table) ? "the selection moved" : "");
    } else if (strcmp(action, "global.command") == 0)
        prompt_open(show->prompt,
                    &(struct prompt_options){":", "command", NULL, complete, NULL, command_done, show});
    else if (show->table)
        act_on_table(show, action);
    else if (show->page && page_act(show->page, action) == PAGE_WANTS_FIND)
        page_find(show->page, "thirty");
}

static void key_came(void *data, keycode key)
{
    struct show *show = data;
    bool more = false;
    size_t contexts = show->scene->contexts[1] ? 2 : 1;
    if (prompt_is_open(show->prompt)) {
        prompt_key(show->prompt, key);
    } else {
        const char *const *in = show->dialog ? (const char *const[]){"dialog"} : show->scene->contexts;
        const char *action = keymap_find(show->keymap, in, show->dialog ? 1 : contexts, &key, 1, &more);
        if (show->dialog)
            act_on_dialog(show, key, action);
        else if (action)
            act(show, action);
        else if (key == 'q')
            ev_break(show->loop, EVBREAK_ALL);
    }
    draw(show);
}

static void paste_came(void *data, const char *text)
{
    struct show *show = data;
    if (prompt_is_open(show->prompt))
        prompt_paste(show->prompt, text);
    else if (show->dialog)
        dialog_paste(show->dialog, text);
    else
        log_text(show, "pasted: ", text);
    draw(show);
}

static void click_came(void *data, int row, int column, int button)
{
    struct show *show = data;
    if (button == 1 && show->table)
        table_click(show->table, row, column);
    draw(show);
}

static void resized(void *data)
{
    draw(data);
}

static void gone(void *data)
{
    ev_break(((struct show *)data)->loop, EVBREAK_ALL);
}

static void dialog_due(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct show *show = timer->data;
    (void)events;
    draw(show);
    double wait = show->dialog ? dialog_wait(show->dialog) : 0;
    ev_timer_stop(loop, timer);
    if (wait > 0) {
        ev_timer_set(timer, wait + 0.001, 0.);
        ev_timer_start(loop, timer);
    }
}

int main(int argc, char **argv)
{
    struct show show = {0};
    struct screen_options options = {0};
    struct error error;
    error_clear(&error);
    setlocale(LC_CTYPE, "");
    for (size_t i = 0; argc > 1 && i < sizeof scenes / sizeof *scenes; i++)
        if (strcmp(scenes[i].name, argv[1]) == 0)
            show.scene = &scenes[i];
    for (int i = 2; i < argc; i++) {
        options.ascii = options.ascii || strcmp(argv[i], "ascii") == 0;
        options.mono = options.mono || strcmp(argv[i], "mono") == 0;
        options.mouse = options.mouse || strcmp(argv[i], "mouse") == 0;
    }
    if (!show.scene) {
        fprintf(stderr, "show: no such scene\n");
        return 2;
    }
    void *context = talloc_new(NULL);
    struct stand_ins *all = stand_ins_new(context, NULL, 0);
    struct error_list *errors = error_list_new(context);
    show.keymap = keymap_load(context, "default", NULL, all->actions, all->count, errors);
    if (!show.keymap) {
        fprintf(stderr, "%s\n", error_list_text(context, errors));
        return 1;
    }
    show.screen = screen_new(&options, &error);
    if (!show.screen) {
        char text[1200];
        error_format(&error, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        talloc_free(context);
        return 1;
    }
    static const struct screen_handlers handlers = {key_came, paste_came, click_came, resized, gone};
    show.loop = ev_loop_new(0);
    show.prompt = prompt_new(context, "signalbox");
    if (show.scene->make)
        show.scene->make(&show);
    screen_watch(show.screen, show.loop, &handlers, &show);
    ev_timer_init(&show.timer, dialog_due, 0.001, 0.);
    show.timer.data = &show;
    ev_timer_start(show.loop, &show.timer);
    draw(&show);
    ev_run(show.loop, 0);
    screen_free(show.screen);
    talloc_free(show.dialog);
    talloc_free(show.page);
    talloc_free(show.table);
    talloc_free(context);
    ev_loop_destroy(show.loop);
    return 0;
}
