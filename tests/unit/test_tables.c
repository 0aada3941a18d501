/* The tables from which everything else comes: panels, views, columns, actions, commands, options. Each is
 * complete, and its names keep the promises that other programs rely on. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "keymaps/keymap.h"
#include "panels/options.h"
#include "panels/panel.h"
#include "tests/harness/cmocka.h"

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length > tail && strcmp(text + length - tail, suffix) == 0;
}

static bool is_word(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(text);
}

/* A sentence without its full stop ("..." may end it), on one line. */
static bool is_help(const char *text)
{
    size_t length = text ? strlen(text) : 0;
    return length >= 5 && !strchr(text, '\n') && (text[length - 1] != '.' || text[length - 2] == '.') &&
           text[0] != ' ';
}

static const struct {
    const char *suffix;
    enum unit unit, or_unit;
} suffixes[] = {
    {"_ms", UNIT_MS, UNIT_MS},
    {"_per_s", UNIT_PER_S, UNIT_PER_S},
    {"_s", UNIT_S, UNIT_S},
    {"_bytes", UNIT_BYTES, UNIT_BYTES},
    {"_blocks", UNIT_BLOCKS, UNIT_BLOCKS},
    {"_percent", UNIT_PERCENT, UNIT_SHARE},
};

/* The unit that the column's name promises; UNIT_NONE when it promises none. */
static bool name_fits_unit(const struct column *column)
{
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(column->id, suffixes[i].suffix))
            return column->unit == suffixes[i].unit || column->unit == suffixes[i].or_unit;
    /* The kernel's own names: PSI is a share of time by definition. */
    if (strncmp(column->id, "psi", 3) == 0)
        return column->unit == UNIT_PERCENT || column->unit == UNIT_NONE;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (column->unit == suffixes[i].unit || column->unit == suffixes[i].or_unit)
            return false;
    return true;
}

static void check_column(const struct view *view, size_t at)
{
    const struct column *column = &view->columns[at];
    char where[128];
    snprintf(where, sizeof where, "view %s, column %zu (%s)", view->id, at, column->id);
    if (!is_word(column->id) || strchr(column->id, '-'))
        fail_msg("%s: the name is no word for JSON", where);
    if (!is_help(column->help))
        fail_msg("%s: no help of one line", where);
    if (!column->title || !*column->title || !column->value)
        fail_msg("%s: no title or no value", where);
    if (!name_fits_unit(column))
        fail_msg("%s: the name and the unit %d do not fit", where, (int)column->unit);
    if (column->width == 0 && at + 1 != view->column_count)
        fail_msg("%s: only the last column takes what is left", where);
    for (size_t i = 0; i < at; i++)
        if (strcmp(view->columns[i].id, column->id) == 0)
            fail_msg("%s: twice in this view", where);
}

static void every_column_has_a_help_and_a_name_that_says_its_unit(void **state)
{
    (void)state;
    for (size_t p = 0; p < panel_count; p++)
        for (size_t v = 0; v < panel_registry[p]->view_count; v++) {
            const struct view *view = panel_registry[p]->views[v];
            assert_true(view->column_count > 0);
            for (size_t c = 0; c < view->column_count; c++)
                check_column(view, c);
        }
}

static bool has_column(const struct view *view, const char *id)
{
    for (size_t c = 0; c < view->column_count; c++)
        if (strcmp(view->columns[c].id, id) == 0)
            return true;
    return false;
}

static void every_panel_and_view_is_complete(void **state)
{
    (void)state;
    assert_true(panel_count >= 1);
    for (size_t p = 0; p < panel_count; p++) {
        const struct panel_ops *panel = panel_registry[p];
        assert_true(is_word(panel->id) && *panel->title && is_help(panel->summary));
        assert_true(panel->number >= 0 && panel->number <= 9 && panel->view_count > 0);
        /* Without a tab it must say what it is about. */
        assert_true((panel->number == 0) == (panel->subject != NULL));
        assert_ptr_equal(panel_find(panel->id), panel);
        for (size_t other = 0; other < p && panel->number; other++)
            assert_true(panel_registry[other]->number < panel->number);
        for (size_t v = 0; v < panel->view_count; v++) {
            const struct view *view = panel->views[v];
            assert_true(is_word(view->id) && *view->title && is_help(view->summary) && is_help(view->empty));
            assert_true(view->want && view->sources && view->rows);
            assert_ptr_equal(panel_view(panel, view->id), view);
            if (view->sort && !has_column(view, view->sort))
                fail_msg("view %s sorts by %s, which is no column of it", view->id, view->sort);
        }
    }
}

/* The statements, sessions and lock trees carry what scripts were promised. */
static void batch_rows_keep_their_names(void **state)
{
    (void)state;
    static const char *const promised[][32] = {
        {"queries", "statements", "server", "query_id", "query", "calls", "total_ms", "mean_ms", "max_ms",
         "rows", "rows_per_call", "share_percent", "shared_hit_blocks", "shared_read_blocks",
         "temp_written_blocks", "wal_bytes", "database", "role"},
        {"queries", "activity", "server", "pid", "state", "wait_type", "wait", "session_s", "transaction_s",
         "statement_s", "database", "role", "application", "client", "blocked_by", "query"},
        {"queries", "locks", "server", "pid", "root", "depth", "waited_s", "mode", "relation", "behind",
         "state", "query"},
        {"hosts",
         "fleet",
         "host",
         "group",
         "state",
         "why",
         "transport",
         "age_s",
         "cpu_percent",
         "steal_percent",
         "load1",
         "cores",
         "mem_used_percent",
         "swap_in_per_s",
         "psi_cpu_some10",
         "psi_io_some10",
         "psi_memory_some10",
         "disk_worst_mount",
         "disk_worst_percent",
         "inode_worst_percent",
         "failed_units",
         "containers_restarting",
         "oom_kills_1h",
         "cert_days_min",
         "updates_security",
         "reboot_required",
         "listen_overflows_per_s",
         "uptime_s",
         "release"},
    };
    for (size_t v = 0; v < sizeof promised / sizeof *promised; v++) {
        assert_non_null(panel_find(promised[v][0]));
        const struct view *view = panel_view(panel_find(promised[v][0]), promised[v][1]);
        assert_non_null(view);
        for (size_t i = 2; promised[v][i]; i++) {
            if (!has_column(view, promised[v][i]))
                fail_msg("view %s has no column %s", view->id, promised[v][i]);
            for (size_t c = 0; c < view->column_count; c++)
                if (strcmp(view->columns[c].id, promised[v][i]) == 0 &&
                    view->columns[c].flags & COLUMN_SCREEN)
                    fail_msg("view %s: column %s is not in batch output", view->id, promised[v][i]);
        }
    }
}

/* An action is reached by a key in its own context or by a command, in every keymap. */
static void every_action_has_a_help_and_can_be_reached(void **state)
{
    (void)state;
    static const char *const bases[] = {"default", "vim", "emacs"};
    void *context = talloc_new(NULL);
    size_t count;
    const struct action **actions = panel_actions(context, &count);
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++) {
        struct error_list *errors = error_list_new(context);
        struct keymap *map = keymap_load(context, bases[b], NULL, actions, count, errors);
        assert_non_null(map);
        for (size_t i = 0; i < count; i++) {
            char own[64];
            size_t length = strcspn(actions[i]->id, ".");
            assert_true(length < sizeof own && actions[i]->id[length] == '.');
            snprintf(own, sizeof own, "%.*s", (int)length, actions[i]->id);
            const char *const contexts[] = {own};
            const char *keys = keymap_keys_of(context, map, contexts, 1, actions[i]->id);
            if (!is_help(actions[i]->help))
                fail_msg("action %s has no help of one line", actions[i]->id);
            if (!keys[0] && !actions[i]->command)
                fail_msg("action %s has neither a key in the keymap %s nor a command", actions[i]->id,
                         bases[b]);
            for (size_t other = 0; other < i; other++)
                if (strcmp(actions[other]->id, actions[i]->id) == 0 ||
                    (actions[i]->command && actions[other]->command &&
                     strcmp(actions[other]->command, actions[i]->command) == 0))
                    fail_msg("actions %s and %s have the same name", actions[other]->id, actions[i]->id);
        }
    }
    talloc_free(context);
}

static void every_panel_is_a_command(void **state)
{
    (void)state;
    for (size_t p = 0; p < panel_count; p++) {
        size_t found = 0;
        /* One without a tab is reached through its parent's, or is a command of its own. */
        if (!panel_registry[p]->number && panel_registry[p]->parent) {
            assert_non_null(panel_find(panel_registry[p]->parent));
            continue;
        }
        for (size_t i = 0; i < command_count; i++)
            found += commands[i].name && strcmp(commands[i].name, panel_registry[p]->id) == 0;
        if (found != 1)
            fail_msg("panel %s is no command", panel_registry[p]->id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_column_has_a_help_and_a_name_that_says_its_unit),
        cmocka_unit_test(every_panel_and_view_is_complete),
        cmocka_unit_test(batch_rows_keep_their_names),
        cmocka_unit_test(every_action_has_a_help_and_can_be_reached),
        cmocka_unit_test(every_panel_is_a_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
