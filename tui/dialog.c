/* Items, the focus among them, keys, and the lines that they make inside the box. */
#include "tui/dialog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"
#include "tui/field.h"
#include "tui/wrap.h"

enum { LABEL_MAX = 16, WIDTH_MAX = 100, FIELD_MIN = 12, CONFIRMATION_CELLS = 32, LINES_MAX = 400 };

enum item_kind { ITEM_TEXT, ITEM_CHOICE, ITEM_FIELD, ITEM_CONFIRMATION };

struct item {
    enum item_kind kind;
    enum style style;
    char *label;
    char *text; /* of a confirmation: notice and prompt */
    char *hint; /* of a field; of a choice: why it cannot be chosen */
    char *expected;
    char *notice, *prompt;
    bool required;
    struct field *field;
};

/* A line inside the box. */
struct dialog_line {
    int item;
    int from, length; /* bytes of the item's text */
    bool first;
    bool with_field; /* the field stands behind the text */
};

struct dialog {
    char *title, *badge;
    enum style badge_style, border;
    bool dry_run;
    char *accept_label, *leave_key, *accept_key, *dry_run_key, *next_field_key;
    struct item *items;
    int count;
    int focus;  /* the item that takes characters; -1: none */
    int chosen; /* -1: no choices */
    int scroll;
    bool follow; /* the focus is kept in sight: until someone scrolls */
    int page;    /* lines that were visible */
    char *message;
    enum severity severity;

    double quiet_since; /* when it was drawn first, or when the last early key came; 0: not drawn yet */
    bool armed;
};

static void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static void replace(void *context, char **slot, const char *text)
{
    char *fresh = text ? checked(talloc_strdup(context, text)) : NULL;
    talloc_free(*slot);
    *slot = fresh;
}

struct dialog *dialog_new(const void *context, const char *title, const char *badge, enum style badge_style)
{
    struct dialog *dialog = checked(talloc_zero(context, struct dialog));
    replace(dialog, &dialog->title, title);
    replace(dialog, &dialog->badge, badge);
    dialog->badge_style = badge_style;
    dialog->border = STYLE_BORDER;
    dialog->focus = dialog->chosen = -1;
    dialog->follow = true;
    return dialog;
}

void dialog_set_border(struct dialog *dialog, enum style style)
{
    dialog->border = style;
}

void dialog_set_dry_run(struct dialog *dialog, bool offered)
{
    dialog->dry_run = offered;
}

void dialog_set_accept(struct dialog *dialog, const char *label)
{
    replace(dialog, &dialog->accept_label, label);
}

void dialog_set_keys(struct dialog *dialog, const struct dialog_keys *keys)
{
    replace(dialog, &dialog->leave_key, keys->leave);
    replace(dialog, &dialog->accept_key, keys->accept);
    replace(dialog, &dialog->dry_run_key, keys->dry_run);
    replace(dialog, &dialog->next_field_key, keys->next_field);
}

/* ---- items ---- */

static struct item *add_item(struct dialog *dialog, enum item_kind kind, const char *label, const char *text)
{
    dialog->items = checked(talloc_realloc(dialog, dialog->items, struct item, (size_t)dialog->count + 1));
    struct item *item = &dialog->items[dialog->count++];
    *item = (struct item){.kind = kind, .style = STYLE_NORMAL};
    item->label = safe_line_new(dialog, label ? label : "");
    item->text = safe_text_new(dialog, text ? text : "");
    return item;
}

int dialog_add_text(struct dialog *dialog, const char *label, enum style style, const char *text)
{
    add_item(dialog, ITEM_TEXT, label, NULL);
    dialog_set_text(dialog, dialog->count - 1, style, text);
    return dialog->count - 1;
}

int dialog_add_choice(struct dialog *dialog, const char *label, const char *text, const char *disabled)
{
    struct item *item = add_item(dialog, ITEM_CHOICE, label, text);
    item->hint = disabled ? safe_line_new(dialog, disabled) : NULL;
    if (dialog->chosen < 0 && !disabled)
        dialog->chosen = dialog->count - 1;
    return dialog->count - 1;
}

static int wipe_field(struct field *field)
{
    explicit_bzero(field, sizeof *field);
    return 0;
}

/* The first field that is empty takes the characters. */
static void add_focus(struct dialog *dialog)
{
    int added = dialog->count - 1;
    if (dialog->focus < 0 ||
        (dialog->items[dialog->focus].field->length && !dialog->items[added].field->length))
        dialog->focus = added;
}

int dialog_add_field(struct dialog *dialog, const struct dialog_field *field)
{
    struct item *item = add_item(dialog, ITEM_FIELD, field->label, NULL);
    item->hint = field->hint ? safe_line_new(dialog, field->hint) : NULL;
    item->required = field->required;
    item->field = checked(talloc_zero(dialog, struct field));
    field_set(item->field, field->text);
    item->field->secret = field->secret;
    if (field->secret)
        talloc_set_destructor(item->field, wipe_field);
    add_focus(dialog);
    return dialog->count - 1;
}

int dialog_add_confirmation(struct dialog *dialog, const char *notice, const char *prompt,
                            const char *expected)
{
    struct item *item = add_item(dialog, ITEM_CONFIRMATION, NULL, NULL);
    item->notice = notice ? safe_line_new(dialog, notice) : NULL;
    item->field = checked(talloc_zero(dialog, struct field));
    add_focus(dialog);
    dialog_set_expected(dialog, dialog->count - 1, prompt, expected);
    return dialog->count - 1;
}

void dialog_set_text(struct dialog *dialog, int item, enum style style, const char *text)
{
    struct item *it = &dialog->items[item];
    /* Newlines of our own begin new lines; what is hostile in each line is made visible when it is drawn. */
    replace(dialog, &it->text, text ? text : "");
    it->style = style;
}

void dialog_set_expected(struct dialog *dialog, int item, const char *prompt, const char *expected)
{
    struct item *it = &dialog->items[item];
    if (it->expected && strcmp(it->expected, expected) != 0)
        field_set(it->field, NULL);
    replace(dialog, &it->expected, expected);
    replace(dialog, &it->prompt, prompt);
    talloc_free(it->text);
    it->text = checked(
        talloc_asprintf(dialog, "%s%s%s:", it->notice ? it->notice : "", it->notice ? " " : "", prompt));
}

void dialog_set_message(struct dialog *dialog, enum severity severity, const char *text)
{
    talloc_free(dialog->message);
    dialog->message = text && *text ? safe_line_new(dialog, text) : NULL;
    dialog->severity = severity;
}

int dialog_chosen(const struct dialog *dialog)
{
    return dialog->chosen;
}

const char *dialog_value(const struct dialog *dialog, int item)
{
    return dialog->items[item].field ? dialog->items[item].field->text : "";
}

/* ---- keys ---- */

double dialog_wait(const struct dialog *dialog)
{
    if (dialog->armed)
        return 0;
    if (dialog->quiet_since <= 0)
        return -1;
    double left = dialog->quiet_since + DIALOG_QUIET_S - clock_monotonic();
    return left > 0 ? left : 0;
}

/* Whether keys are taken; one that comes too early starts the waiting again. */
static bool takes_keys(struct dialog *dialog)
{
    if (dialog_wait(dialog) == 0)
        dialog->armed = true;
    else if (dialog->quiet_since > 0)
        dialog->quiet_since = clock_monotonic();
    return dialog->armed;
}

/* To the next field in that direction; it goes round. */
static void move_focus(struct dialog *dialog, int direction)
{
    dialog->follow = true;
    for (int i = 1; i <= dialog->count; i++) {
        int at = dialog->focus + direction * i;
        at = ((at % dialog->count) + dialog->count) % dialog->count;
        if (dialog->items[at].field) {
            dialog->focus = at;
            return;
        }
    }
}

static void move_choice(struct dialog *dialog, int direction)
{
    if (dialog->chosen < 0) {
        move_focus(dialog, direction);
        return;
    }
    for (int at = dialog->chosen + direction; at >= 0 && at < dialog->count; at += direction) {
        if (dialog->items[at].kind == ITEM_CHOICE && !dialog->items[at].hint) {
            dialog->chosen = at;
            dialog->follow = true;
            dialog_set_message(dialog, SEVERITY_NONE, NULL);
            return;
        }
    }
}

static bool filled(struct dialog *dialog, int at)
{
    const struct item *item = &dialog->items[at];
    char message[512];
    if (item->kind == ITEM_FIELD && item->required && strspn(item->field->text, " ") == item->field->length)
        snprintf(message, sizeof message, "%s is needed", *item->label ? item->label : "this field");
    else if (item->kind == ITEM_CONFIRMATION && strcmp(item->field->text, item->expected) != 0)
        snprintf(message, sizeof message, "%s: %s",
                 item->field->length ? "Not what was asked for, nothing was done" : "Not confirmed yet",
                 item->prompt);
    else
        return true;
    dialog->focus = at;
    dialog->follow = true;
    dialog_set_message(dialog, SEVERITY_WARNING, message);
    return false;
}

/* The next field that nothing was typed into, or a confirmation that is not right. False when there is none.
 */
static bool move_to_unfilled(struct dialog *dialog)
{
    for (int at = dialog->focus + 1; at < dialog->count; at++) {
        const struct item *item = &dialog->items[at];
        bool right = item->kind != ITEM_CONFIRMATION || strcmp(item->field->text, item->expected) == 0;
        if (!item->field || (item->field->length && right))
            continue;
        dialog->focus = at;
        dialog->follow = true;
        return true;
    }
    return false;
}

/* On to what is still to be filled in; when nothing is, it is accepted. */
static enum dialog_result accept(struct dialog *dialog)
{
    if (dialog->focus >= 0 && !filled(dialog, dialog->focus))
        return DIALOG_OPEN;
    if (dialog->focus >= 0 && move_to_unfilled(dialog))
        return DIALOG_OPEN;
    for (int i = 0; i < dialog->count; i++)
        if (!filled(dialog, i))
            return DIALOG_OPEN;
    return DIALOG_ACCEPT;
}

static void scroll(struct dialog *dialog, int lines)
{
    dialog->follow = false;
    dialog->scroll += lines; /* bounded when it is drawn */
    if (dialog->scroll < 0)
        dialog->scroll = 0;
}

static enum dialog_result act(struct dialog *dialog, const char *verb)
{
    if (strcmp(verb, "accept") == 0)
        return accept(dialog);
    if (strcmp(verb, "dry-run") == 0)
        return dialog->dry_run ? DIALOG_DRY_RUN : DIALOG_OPEN;
    if (strcmp(verb, "next-field") == 0)
        move_focus(dialog, 1);
    else if (strcmp(verb, "previous-field") == 0)
        move_focus(dialog, -1);
    else if (strcmp(verb, "next-choice") == 0)
        move_choice(dialog, 1);
    else if (strcmp(verb, "previous-choice") == 0)
        move_choice(dialog, -1);
    else if (strcmp(verb, "page-down") == 0)
        scroll(dialog, dialog->page > 1 ? dialog->page - 1 : 1);
    else if (strcmp(verb, "page-up") == 0)
        scroll(dialog, dialog->page > 1 ? 1 - dialog->page : -1);
    return DIALOG_OPEN;
}

enum dialog_result dialog_key(struct dialog *dialog, keycode key, const char *action_id)
{
    static const char prefix[] = "dialog.";
    bool ours = action_id && strncmp(action_id, prefix, sizeof prefix - 1) == 0;
    const char *verb = ours ? action_id + sizeof prefix - 1 : "";
    if (strcmp(verb, "leave") == 0)
        return DIALOG_LEAVE;
    if (!takes_keys(dialog))
        return DIALOG_OPEN;
    if (ours)
        return act(dialog, verb);
    if (dialog->focus < 0)
        return DIALOG_IGNORED;
    if (!field_key(dialog->items[dialog->focus].field, key))
        return DIALOG_IGNORED;
    dialog->follow = true;
    dialog_set_message(dialog, SEVERITY_NONE, NULL);
    return DIALOG_OPEN;
}

void dialog_paste(struct dialog *dialog, const char *text)
{
    if (!takes_keys(dialog) || dialog->focus < 0)
        return;
    field_insert(dialog->items[dialog->focus].field, text);
    dialog_set_message(dialog, SEVERITY_NONE, NULL);
}

/* ---- drawing ---- */

static int label_cells(const struct dialog *dialog)
{
    int most = 0;
    for (int i = 0; i < dialog->count; i++) {
        const struct item *item = &dialog->items[i];
        int cells = text_width(item->label) + (item->kind == ITEM_CHOICE ? 2 : 0);
        most = cells > most ? cells : most;
    }
    return most < LABEL_MAX ? most : LABEL_MAX;
}

static bool add_line(struct dialog_line *lines, int *count, struct dialog_line line)
{
    if (*count >= LINES_MAX)
        return false;
    lines[(*count)++] = line;
    return true;
}

/* The lines of one item, its texts wrapped to `cells`. */
static void add_lines(const struct dialog *dialog, int at, int cells, struct dialog_line *lines, int *count)
{
    const struct item *item = &dialog->items[at];
    if (item->kind == ITEM_FIELD) {
        add_line(lines, count, (struct dialog_line){.item = at, .first = true, .with_field = true});
        return;
    }
    bool first = true;
    int from = 0, width = 0;
    do {
        char line[2048];
        size_t length = strcspn(item->text + from, "\n"), next;
        snprintf(line, sizeof line, "%.*s", (int)length, item->text + from);
        size_t cut = wrap_line(line, cells, &next);
        line[cut] = '\0';
        width = text_width(line);
        if (!add_line(lines, count, (struct dialog_line){at, from, (int)cut, first, false}))
            return;
        first = false;
        from += (int)next;
        if (next >= length && item->text[from] == '\n')
            from++;
    } while (item->text[from]);
    if (item->kind != ITEM_CONFIRMATION)
        return;
    if (cells - width - 1 < FIELD_MIN)
        add_line(lines, count, (struct dialog_line){at, from, 0, false, true});
    else
        lines[*count - 1].with_field = true;
}

static void draw_label(const struct dialog *dialog, struct screen *screen, int row, int left, int cells,
                       int at)
{
    const struct item *item = &dialog->items[at];
    if (item->kind != ITEM_CHOICE) {
        screen_put(screen, row, left, cells, STYLE_LABEL, item->label);
        return;
    }
    bool chosen = at == dialog->chosen;
    screen_put(screen, row, left, 2, STYLE_KEY, chosen ? "▸ " : "  ");
    screen_put(screen, row, left + 2, cells - 2, chosen ? STYLE_KEY : STYLE_LABEL, item->label);
}

static void draw_line(const struct dialog *dialog, struct screen *screen, int row, int left, int cells,
                      int labels, const struct dialog_line *line)
{
    const struct item *item = &dialog->items[line->item];
    int indent = item->kind == ITEM_CONFIRMATION || !labels ? 0 : labels + 2;
    unsigned style = item->style;
    if (item->kind == ITEM_CHOICE)
        style = item->hint ? STYLE_DIM : line->item == dialog->chosen ? STYLE_TITLE : STYLE_NORMAL;
    if (item->kind == ITEM_CONFIRMATION)
        style = STYLE_TITLE;
    if (line->first && indent)
        draw_label(dialog, screen, row, left, labels, line->item);
    char text[2048];
    snprintf(text, sizeof text, "%.*s", line->length, item->text + line->from);
    int used = indent + screen_put(screen, row, left + indent, cells - indent, style, text);
    bool last = !item->text[line->from + line->length];
    if (item->kind == ITEM_CHOICE && item->hint && last)
        screen_format(screen, row, left + used + 1, cells - used - 1, STYLE_DIM, "(%s)", item->hint);
    if (!line->with_field)
        return;
    bool focus = line->item == dialog->focus && dialog_wait(dialog) == 0;
    int at = used > indent ? used + 1 : indent, room = cells - at;
    if (item->kind == ITEM_CONFIRMATION && room > CONFIRMATION_CELLS)
        room = CONFIRMATION_CELLS;
    if (item->kind == ITEM_FIELD && item->hint) {
        int hint = text_width(item->hint) + 1;
        if (room - hint >= FIELD_MIN * 2) {
            room -= hint;
            screen_put(screen, row, left + at + room + 1, hint - 1, STYLE_DIM, item->hint);
        }
    }
    field_draw(item->field, screen, row, left + at, room, focus);
}

static int draw_entry(struct screen *screen, int row, int column, int room, const char *key,
                      const char *label)
{
    int cells = text_width(key) + 1 + text_width(label) + 2;
    if (!key || cells > room)
        return 0;
    screen_put(screen, row, column, 1, STYLE_NORMAL, " ");
    screen_put(screen, row, column + 1, room, STYLE_KEY, key);
    screen_fill(screen, row, column + 1 + text_width(key), 1, STYLE_NORMAL);
    screen_put(screen, row, column + 2 + text_width(key), room, STYLE_LABEL, label);
    screen_fill(screen, row, column + cells - 1, 1, STYLE_NORMAL);
    return cells;
}

static void draw_footer(const struct dialog *dialog, struct screen *screen, int row, int left, int columns)
{
    int at = left + 2, end = left + columns - 2;
    if (dialog->leave_key)
        at += draw_entry(screen, row, at, end - at, dialog->leave_key, "leave") + 1;
    if (dialog_wait(dialog) != 0) {
        screen_put(screen, row, at, end - at, STYLE_DIM, " a moment … ");
        return;
    }
    if (dialog->accept_key)
        at += draw_entry(screen, row, at, end - at, dialog->accept_key,
                         dialog->accept_label ? dialog->accept_label : "go on") +
              1;
    bool fields = false;
    for (int i = 0; i < dialog->count; i++)
        fields = fields || (dialog->items[i].field && i != dialog->focus);
    if (dialog->next_field_key && fields)
        at += draw_entry(screen, row, at, end - at, dialog->next_field_key, "next field") + 1;
    if (dialog->dry_run && dialog->dry_run_key) {
        int cells = text_width(dialog->dry_run_key) + text_width(" dry run") + 2;
        if (end - cells >= at)
            draw_entry(screen, row, end - cells, cells, dialog->dry_run_key, "dry run");
    }
}

static void draw_frame(const struct dialog *dialog, struct screen *screen, int top, int left, int rows,
                       int columns)
{
    screen_box(screen, top, left, rows, columns, dialog->border);
    int badge = dialog->badge ? text_width(dialog->badge) + 4 : 0;
    if (badge > columns - 10)
        badge = 0;
    int title = columns - 6 - badge;
    int used = screen_put(screen, top, left + 3, title, STYLE_TITLE, dialog->title);
    screen_fill(screen, top, left + 2, 1, STYLE_NORMAL);
    screen_fill(screen, top, left + 3 + used, 1, STYLE_NORMAL);
    if (badge) {
        int at = left + columns - 2 - badge;
        screen_fill(screen, top, at, badge, STYLE_NORMAL);
        screen_format(screen, top, at + 1, badge - 2, dialog->badge_style, "▌%s▐", dialog->badge);
    }
    draw_footer(dialog, screen, top + rows - 1, left, columns);
}

/* Keeps the focus, or else the choice, in sight. */
static void bound_scroll(struct dialog *dialog, const struct dialog_line *lines, int count, int rows)
{
    int wanted = dialog->focus >= 0 ? dialog->focus : dialog->chosen;
    for (int i = 0; dialog->follow && i < count; i++) {
        if (lines[i].item != wanted || (dialog->focus >= 0 && !lines[i].with_field))
            continue;
        if (i < dialog->scroll)
            dialog->scroll = i;
        if (i >= dialog->scroll + rows)
            dialog->scroll = i - rows + 1;
    }
    if (dialog->scroll > count - rows)
        dialog->scroll = count - rows;
    if (dialog->scroll < 0)
        dialog->scroll = 0;
}

void dialog_draw(struct dialog *dialog, struct screen *screen, int top, int bottom)
{
    struct dialog_line lines[LINES_MAX];
    int count = 0, screen_cells = screen_columns(screen);
    int columns = screen_cells > WIDTH_MAX + 4 ? WIDTH_MAX : screen_cells - (screen_cells > 82 ? 4 : 0);
    int cells = columns - 4, labels = label_cells(dialog);
    if (labels > cells / 3)
        labels = cells / 3;
    for (int i = 0; i < dialog->count; i++) {
        bool whole = dialog->items[i].kind == ITEM_CONFIRMATION || !labels;
        add_lines(dialog, i, whole ? cells : cells - labels - 2, lines, &count);
    }
    int message = dialog->message ? 1 : 0, available = bottom - top;
    int rows = count + message + 2;
    if (rows > available)
        rows = available;
    int body = rows - 2 - message;
    if (body < 1 || cells < 8) /* no room for anything: leaving still works */
        return;
    int left = (screen_cells - columns) / 2, first_row = top + (available - rows) / 3 + 1;
    dialog->page = body;
    bound_scroll(dialog, lines, count, body);
    if (dialog->quiet_since <= 0)
        dialog->quiet_since = clock_monotonic();
    for (int i = 0; i < rows; i++) /* half a row beside the box would only disturb */
        screen_fill(screen, first_row - 1 + i, 0, screen_cells, STYLE_NORMAL);
    draw_frame(dialog, screen, first_row - 1, left, rows, columns);
    for (int i = 0; i < body && dialog->scroll + i < count; i++)
        draw_line(dialog, screen, first_row + i, left + 2, cells, labels, &lines[dialog->scroll + i]);
    if (dialog->scroll > 0)
        screen_put(screen, first_row, left + columns - 1, 1, STYLE_KEY, "▲");
    if (dialog->scroll + body < count)
        screen_put(screen, first_row + body - 1, left + columns - 1, 1, STYLE_KEY, "▼");
    if (message)
        screen_put(screen, first_row + body, left + 2, cells, theme_severity(dialog->severity, STYLE_NORMAL),
                   dialog->message);
}
