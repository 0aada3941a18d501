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
static int put_connection(struct screen *screen, int column, const struct frame_connection *connection)
{
    const char *name = connection->name ? connection->name : "";
    const char *word = connection->word && connection->state != FRAME_UP ? connection->word : NULL;
    int cells = text_width(name), word_cells = word ? text_width(word) + 1 : 0;
    if (connection->state == FRAME_DOWN && !word) {
        word = "down";
        word_cells = 5;
    }
    if (screen) {
        screen_put(screen, 0, column, cells, connection->current ? STYLE_TAB : STYLE_NORMAL, name);
        screen_put(screen, 0, column + cells + 1, 1, state_style(connection->state),
                   state_glyph(connection->state));
        if (word)
            screen_put(screen, 0, column + cells + 3, word_cells - 1, state_style(connection->state), word);
    }
    return cells + 2 + word_cells + 1;
}

/* All connections, or (when `few`) those that are not up and how many are. */
static int put_connections(struct screen *screen, int column, const struct frame_header *header, bool few)
{
    int at = column;
    size_t up = 0;
    for (size_t i = 0; i < header->connection_count; i++) {
        const struct frame_connection *connection = &header->connections[i];
        bool quiet = connection->state == FRAME_UP || connection->state == FRAME_IDLE;
        up += connection->state == FRAME_UP;
        if (!few || !quiet || connection->current)
            at += put_connection(screen, at, connection);
    }
    if (!few || !header->connection_count)
        return at - column;
    char text[32];
    int cells = snprintf(text, sizeof text, "%zu/%zu", up, header->connection_count);
    if (screen) {
        screen_put(screen, 0, at, cells, STYLE_NORMAL, text);
        screen_put(screen, 0, at + cells + 1, 1, up == header->connection_count ? STYLE_OK : STYLE_WARNING,
                   "●");
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

int frame_draw_header(struct screen *screen, const struct frame_header *header)
{
    int columns = screen_columns(screen);
    int clock = header->clock ? text_width(header->clock) + 1 : 0;
    int banner = header->banner ? text_width(header->banner) + 2 : 0;
    int left = put_environment(NULL, header, columns), tabs = put_tabs(NULL, 0, 0, columns, header);
    int connections = put_connections(NULL, 0, header, false);
    bool few = false, one_line = left + 3 + tabs + 2 + connections + 1 + banner + clock <= columns;
    if (!one_line && left + 2 + connections + 1 + banner + clock > columns) {
        few = true;
        connections = put_connections(NULL, 0, header, true);
    }
    int right = columns - clock;
    if (!one_line && left + 2 + connections + 1 + banner > right) { /* the clock is on every wall */
        right = columns - 1;
        clock = 0;
    }
    int at = right - banner - connections - 1;
    put_environment(screen, header, one_line ? columns : at > 20 ? at : columns);
    if (clock)
        screen_put(screen, 0, right, clock, STYLE_NORMAL, header->clock);
    if (banner)
        screen_put(screen, 0, right - banner, banner - 2, STYLE_WARNING, header->banner);
    if (at > left)
        put_connections(screen, at, header, few);
    if (one_line)
        put_tabs(screen, 0, left + 3, columns, header);
    else
        put_tabs(screen, 1, 1, columns - 2, header);
    return one_line ? 1 : 2;
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
            end = columns - 2 - cells;
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
