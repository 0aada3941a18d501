/* Header, path, messages, footer. Each measures its pieces first and then draws what fits. */
#include "tui/frame.h"

#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "tui/wrap.h"

enum { PIECE = 200 };

static const char *state_glyph(enum frame_state state)
{
    switch (state) {
    case FRAME_UP:
        return "●";
    case FRAME_CONNECTING:
        return "…";
    case FRAME_DOWN:
        return "○";
    case FRAME_IDLE:
        break;
    }
    return "·";
}

static enum style state_style(enum frame_state state)
{
    switch (state) {
    case FRAME_UP:
        return STYLE_OK;
    case FRAME_CONNECTING:
        return STYLE_WARNING;
    case FRAME_DOWN:
        return STYLE_CRITICAL;
    case FRAME_IDLE:
        break;
    }
    return STYLE_DIM;
}

/* ---- the header ---- */

/* " main ● " ; returns the cells. `screen` NULL measures only. */
static int put_connection(struct screen *screen, int row, int column,
                          const struct frame_connection *connection)
{
    const char *name = connection->name ? connection->name : "";
    const char *word = connection->word;
    int cells = text_width(name), word_cells = word ? text_width(word) + 1 : 0;
    if (connection->state == FRAME_DOWN && !word) {
        word = "down";
        word_cells = 5;
    }
    if (screen) {
        screen_put(screen, row, column, cells, connection->current ? STYLE_TAB : STYLE_NORMAL, name);
        screen_put(screen, row, column + cells + 1, 1, state_style(connection->state),
                   state_glyph(connection->state));
        if (word)
            screen_put(screen, row, column + cells + 3, word_cells - 1,
                       connection->state == FRAME_UP ? STYLE_WARNING : state_style(connection->state), word);
    }
    return cells + 2 + word_cells + 1;
}

/* How much is said of the connections; each less than the one before. */
enum connections_shown { SHOW_ALL, SHOW_TROUBLE, SHOW_COUNT };

static int put_connections(struct screen *screen, int row, int column, const struct frame_header *header,
                           enum connections_shown shown)
{
    int at = column;
    size_t up = 0;
    for (size_t i = 0; i < header->connection_count; i++) {
        const struct frame_connection *connection = &header->connections[i];
        bool quiet = connection->state == FRAME_UP || connection->state == FRAME_IDLE;
        up += connection->state == FRAME_UP;
        if (shown == SHOW_ALL || (shown == SHOW_TROUBLE && (!quiet || connection->current)))
            at += put_connection(screen, row, at, connection);
    }
    if (shown == SHOW_ALL || !header->connection_count)
        return at - column;
    char text[32];
    bool all = up == header->connection_count;
    int cells = snprintf(text, sizeof text, "%zu/%zu", up, header->connection_count);
    if (screen) {
        screen_put(screen, row, at, cells, STYLE_NORMAL, text);
        screen_put(screen, row, at + cells + 1, 1, all ? STYLE_OK : STYLE_WARNING, all ? "●" : "○");
    }
    return at + cells + 3 - column;
}

static int put_tabs(struct screen *screen, int row, int column, int room, const struct frame_header *header)
{
    int at = column;
    for (size_t i = 0; i < header->tab_count; i++) {
        const struct frame_tab *tab = &header->tabs[i];
        char text[PIECE];
        snprintf(text, sizeof text, "%s%s%s%s%s", tab->current ? "[" : "", tab->key ? tab->key : "",
                 tab->key ? " " : "", tab->title, tab->current ? "]" : "");
        int cells = text_width(text);
        if (screen && at + cells <= column + room)
            screen_put(screen, row, at, cells, tab->current ? STYLE_TAB : STYLE_LABEL, text);
        at += cells + 1;
    }
    return at - column;
}

/* " al-noor ▌PRODUCTION▐ locked" */
static int put_environment(struct screen *screen, const struct frame_header *header, int room)
{
    int at = 1;
    char badge[PIECE];
    snprintf(badge, sizeof badge, "▌%s▐", header->badge ? header->badge : "");
    int badge_cells = header->badge ? text_width(badge) + 1 : 0;
    int lock_cells = header->lock ? text_width(header->lock) + 1 : 0;
    int name = header->environment ? text_width(header->environment) : 0;
    if (name > room - badge_cells - lock_cells - 2) /* what kind it is says more than its name */
        name = room - badge_cells - lock_cells - 2;
    if (name > 2) {
        if (screen)
            screen_put(screen, 0, at, name, STYLE_HEADER, header->environment);
        at += name + 1;
    }
    if (header->badge && screen)
        screen_put(screen, 0, at, badge_cells, header->badge_style, badge);
    at += badge_cells;
    if (header->lock && screen)
        screen_put(screen, 0, at, lock_cells, header->lock_style, header->lock);
    return at + lock_cells;
}

/* Banner and clock at the right of the first line; returns where they begin. */
static int put_right(struct screen *screen, const struct frame_header *header, int columns, bool clock)
{
    int at = columns - 1;
    if (header->clock && clock) {
        int cells = text_width(header->clock);
        at -= cells;
        screen_put(screen, 0, at, cells, STYLE_NORMAL, header->clock);
        at--;
    }
    if (header->banner) {
        int cells = text_width(header->banner);
        at -= cells + 1;
        screen_put(screen, 0, at, cells, STYLE_WARNING, header->banner);
    }
    return at;
}

int frame_draw_header(struct screen *screen, const struct frame_header *header)
{
    int columns = screen_columns(screen), left = put_environment(NULL, header, columns);
    int tabs = put_tabs(NULL, 0, 0, columns, header);
    int right = (header->clock ? text_width(header->clock) + 1 : 0) +
                (header->banner ? text_width(header->banner) + 2 : 0);
    enum connections_shown shown = SHOW_ALL;
    int connections = put_connections(NULL, 0, 0, header, shown);
    if (left + 3 + tabs + 2 + connections + right <= columns) {
        put_environment(screen, header, columns);
        put_tabs(screen, 0, left + 3, columns, header);
        put_connections(screen, 0, put_right(screen, header, columns, true) - connections, header, shown);
        return 1;
    }
    /* Two lines: the connections stand above the tabs, or beside them, and say less when there is no room. */
    bool above = false, beside = false;
    for (;; shown++) {
        connections = put_connections(NULL, 0, 0, header, shown);
        above = left + 1 + connections + right <= columns - 1;
        beside = !above && 1 + tabs + 1 + connections <= columns - 1;
        if (above || beside || shown == SHOW_COUNT)
            break;
    }
    bool clock = left + right < columns; /* the clock is on every wall */
    int end = put_right(screen, header, columns, clock);
    put_environment(screen, header, end);
    put_tabs(screen, 1, 1, columns - 2, header);
    if (above)
        put_connections(screen, 0, end - connections, header, shown);
    else if (beside)
        put_connections(screen, 1, columns - connections, header, shown);
    return 2;
}

/* ---- the path ---- */

void frame_draw_path(struct screen *screen, int row, const char *const *parts, size_t count,
                     const char *right, enum style right_style)
{
    int columns = screen_columns(screen), end = columns - 1, at = 1, total = 0;
    if (right && *right) {
        int cells = text_width(right);
        if (cells < columns / 2) {
            screen_put(screen, row, columns - 1 - cells, cells, right_style, right);
            end = columns - 3 - cells;
        }
    }
    for (size_t i = 0; i < count; i++)
        total += text_width(parts[i]) + (i ? 3 : 0);
    /* What is in the middle gives way first, then what comes first; the last part is where we are. */
    int excess = total - (end - at);
    for (size_t i = 0; i < count; i++) {
        int cells = text_width(parts[i]);
        bool last = i + 1 == count;
        if (excess > 0 && !last && cells > 8) {
            int less = cells - 8 < excess ? cells - 8 : excess;
            cells -= less;
            excess -= less;
        }
        if (i)
            at += screen_put(screen, row, at, end - at, STYLE_BORDER, " › ");
        if (cells > end - at)
            cells = end - at;
        at += screen_put(screen, row, at, cells, last ? STYLE_TITLE : STYLE_BREADCRUMB, parts[i]);
    }
}

/* ---- the footer ---- */

void frame_draw_footer(struct screen *screen, int row, const struct frame_key *keys, size_t count,
                       const char *right)
{
    int columns = screen_columns(screen), end = columns - 1, at = 1;
    if (right && *right) {
        int cells = text_width(right);
        if (cells > columns / 2)
            cells = columns / 2;
        screen_put(screen, row, columns - 1 - cells, cells, STYLE_TITLE, right);
        end = columns - 3 - cells;
    }
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].key || !*keys[i].key)
            continue;
        int key = text_width(keys[i].key), label = text_width(keys[i].label);
        if (at + key + 1 + label > end)
            continue; /* a shorter one may still fit */
        screen_put(screen, row, at, key, STYLE_KEY, keys[i].key);
        screen_put(screen, row, at + key + 1, label, STYLE_LABEL, keys[i].label);
        at += key + 1 + label + 2;
    }
}

/* ---- messages ---- */

static const char *severity_word(enum severity severity)
{
    return severity == SEVERITY_CRITICAL ? "error: " : severity == SEVERITY_WARNING ? "warning: " : "";
}

static void whole_message(char *buffer, size_t size, enum severity severity, const char *text)
{
    char safe[1500];
    safe_line(safe, sizeof safe, text);
    snprintf(buffer, size, "%s%s", severity_word(severity), safe);
}

int frame_message_rows(enum severity severity, const char *text, int columns, int max)
{
    char whole[1600];
    size_t from = 0, next;
    int rows = 0;
    whole_message(whole, sizeof whole, severity, text);
    do {
        wrap_line(whole + from, columns - 2, &next);
        from += next;
        rows++;
    } while (whole[from] && rows < max);
    return rows;
}

void frame_draw_message(struct screen *screen, int row, int rows, enum severity severity, const char *text)
{
    char whole[1600], line[1600];
    size_t from = 0, next;
    int columns = screen_columns(screen);
    whole_message(whole, sizeof whole, severity, text);
    for (int i = 0; i < rows && whole[from]; i++) {
        size_t length = wrap_line(whole + from, columns - 2, &next);
        if (i + 1 == rows) /* the last line says with "…" that there is more */
            length = strlen(whole + from);
        snprintf(line, sizeof line, "%.*s", (int)length, whole + from);
        screen_put(screen, row + i, 1, columns - 2, theme_severity(severity, STYLE_NORMAL), line);
        from += next;
    }
}
