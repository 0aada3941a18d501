/* Entries as they were added, and the lines that they make at the width of the last drawing. */
#include "tui/page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "tui/wrap.h"

enum entry_kind { ENTRY_TEXT, ENTRY_RAW, ENTRY_PAIR, ENTRY_SECTION };

enum { LABEL_MAX = 24, EDGE = 1, SIDEWAYS = 8 };

struct entry {
    enum entry_kind kind;
    enum style style, label_style;
    int indent;
    char *label; /* of pairs */
    char *text;  /* safe, one line */
};

struct page_line {
    uint32_t entry;
    uint32_t from, length; /* bytes of its text */
    int indent;
};

struct page {
    struct entry *entries; /* with their texts below them */
    size_t count;
    struct page_line *lines;
    size_t line_count, line_size;
    int width; /* that the lines were made for; 0: none */
    size_t top;
    int left;   /* cells that raw lines are moved */
    int height; /* rows of the last drawing */
    char *find;
    size_t found; /* the line; SIZE_MAX: none */
};

static void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

struct page *page_new(const void *context)
{
    struct page *page = checked(talloc_zero(context, struct page));
    page->found = SIZE_MAX;
    return page;
}

/* `text` need not be safe. */
static void add(struct page *page, struct entry entry, const char *label, const char *text)
{
    if (page->count % 32 == 0)
        page->entries = checked(talloc_realloc(page, page->entries, struct entry, page->count + 32));
    entry.text = safe_text_new(page->entries, text);
    entry.label = label ? safe_text_new(page->entries, label) : NULL;
    page->entries[page->count++] = entry;
    page->width = 0;
}

/* One entry a line of the text. */
static void add_lines(struct page *page, struct entry entry, const char *label, const char *text)
{
    const char *end;
    do {
        end = strchr(text, '\n');
        char *line = checked(talloc_strndup(NULL, text, end ? (size_t)(end - text) : strlen(text)));
        char *tab;
        while ((tab = strchr(line, '\t'))) /* never shown as a mark of hostility in texts of our own */
            *tab = ' ';
        add(page, entry, label, line);
        talloc_free(line);
        if (label)
            label = "";
        text = end ? end + 1 : text;
    } while (end && *text);
}

void page_section(struct page *page, const char *title)
{
    if (page->count)
        page_blank(page);
    add(page, (struct entry){.kind = ENTRY_SECTION, .style = STYLE_TITLE}, NULL, title);
}

void page_text(struct page *page, enum style style, int indent, const char *text)
{
    add_lines(page, (struct entry){.kind = ENTRY_TEXT, .style = style, .indent = indent}, NULL, text);
}

void page_line(struct page *page, enum style style, const char *text)
{
    add_lines(page, (struct entry){.kind = ENTRY_RAW, .style = style}, NULL, text);
}

void page_pair(struct page *page, const char *label, enum style style, const char *text)
{
    add_lines(page, (struct entry){.kind = ENTRY_PAIR, .style = style, .label_style = STYLE_LABEL}, label,
              text);
}

void page_key(struct page *page, const char *key, const char *help)
{
    add_lines(page, (struct entry){.kind = ENTRY_PAIR, .style = STYLE_NORMAL, .label_style = STYLE_KEY}, key,
              help);
}

void page_blank(struct page *page)
{
    add(page, (struct entry){.kind = ENTRY_TEXT}, NULL, "");
}

void page_format(struct page *page, enum style style, int indent, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = checked(talloc_vasprintf(NULL, format, arguments));
    va_end(arguments);
    page_text(page, style, indent, text);
    talloc_free(text);
}

void page_pair_format(struct page *page, const char *label, enum style style, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = checked(talloc_vasprintf(NULL, format, arguments));
    va_end(arguments);
    page_pair(page, label, style, text);
    talloc_free(text);
}

/* ---- lines ---- */

/* The width of the labels of the section that entry `at` belongs to. */
static int label_width(const struct page *page, size_t at)
{
    int width = 0;
    size_t from = at;
    while (from > 0 && page->entries[from].kind != ENTRY_SECTION)
        from--;
    for (size_t i = from; i < page->count && (i <= at || page->entries[i].kind != ENTRY_SECTION); i++) {
        int cells = page->entries[i].label ? text_width(page->entries[i].label) : 0;
        width = cells > width ? cells : width;
    }
    return width < LABEL_MAX ? width : LABEL_MAX;
}

static void add_page_line(struct page *page, struct page_line line)
{
    if (page->line_count == page->line_size) {
        page->line_size = page->line_size ? page->line_size * 2 : 64;
        page->lines = checked(talloc_realloc(page, page->lines, struct page_line, page->line_size));
    }
    page->lines[page->line_count++] = line;
}

static void wrap_entry(struct page *page, size_t at, int indent, int width)
{
    const char *text = page->entries[at].text;
    size_t from = 0, next;
    /* a text that is indented by itself keeps that on its further lines */
    int own = (int)strspn(text, " ");
    do {
        int hang = from ? own : 0;
        size_t length = wrap_line(text + from, width - indent - hang, &next);
        add_page_line(page,
                      (struct page_line){(uint32_t)at, (uint32_t)from, (uint32_t)length, indent + hang});
        from += next;
    } while (text[from] && next);
}

static void make_lines(struct page *page, int columns)
{
    if (page->width == columns)
        return;
    page->width = columns;
    page->line_count = 0;
    int labels = 0, width = columns - 2 * EDGE;
    for (size_t i = 0; i < page->count; i++) {
        const struct entry *entry = &page->entries[i];
        if (i == 0 || entry->kind == ENTRY_SECTION)
            labels = label_width(page, i + (entry->kind == ENTRY_SECTION && i + 1 < page->count));
        if (entry->kind == ENTRY_TEXT)
            wrap_entry(page, i, entry->indent, width > entry->indent + 8 ? width : entry->indent + 8);
        else if (entry->kind == ENTRY_PAIR)
            wrap_entry(page, i, labels + 2, width > labels + 10 ? width : labels + 10);
        else
            add_page_line(page, (struct page_line){(uint32_t)i, 0, (uint32_t)strlen(entry->text), 0});
    }
}

/* ---- moving ---- */

static void bound_top(struct page *page)
{
    size_t height = page->height > 0 ? (size_t)page->height : 1;
    size_t last = page->line_count > height ? page->line_count - height : 0;
    if (page->top > last)
        page->top = last;
}

static bool line_has(const struct page *page, size_t line)
{
    const struct entry *entry = &page->entries[page->lines[line].entry];
    /* A text that was wrapped is found where it begins. */
    return page->lines[line].from == 0 && (text_contains(entry->text, page->find) ||
                                           (entry->label && text_contains(entry->label, page->find)));
}

/* From the line `from` on, going round. */
static bool find_from(struct page *page, size_t from, bool backwards)
{
    size_t count = page->line_count;
    for (size_t i = 0; page->find && i < count; i++) {
        size_t line = (from + (backwards ? count - i : i)) % count;
        if (!line_has(page, line))
            continue;
        page->found = line;
        if (line < page->top || line >= page->top + (size_t)(page->height > 0 ? page->height : 1))
            page->top = line > 2 ? line - 2 : 0;
        bound_top(page);
        return true;
    }
    page->found = SIZE_MAX;
    return false;
}

bool page_find(struct page *page, const char *text)
{
    talloc_free(page->find);
    page->find = text && *text ? checked(talloc_strdup(page, text)) : NULL;
    page->found = SIZE_MAX;
    if (!page->find)
        return true;
    make_lines(page, page->width ? page->width : 80);
    return find_from(page, page->top, false);
}

static void find_next(struct page *page, bool backwards)
{
    size_t count = page->line_count;
    if (!page->find || !count)
        return;
    size_t from = page->found == SIZE_MAX ? page->top : page->found;
    find_from(page, (from + (backwards ? count - 1 : 1)) % count, backwards);
}

static void page_top(struct page *page)
{
    page->top = 0;
    page->left = 0;
}

enum page_want page_act(struct page *page, const char *action_id)
{
    static const char prefix[] = "text.";
    if (strncmp(action_id, prefix, sizeof prefix - 1) != 0)
        return PAGE_IGNORED;
    const char *verb = action_id + sizeof prefix - 1;
    size_t screenful = page->height > 2 ? (size_t)page->height - 1 : 1;
    if (strcmp(verb, "down") == 0)
        page->top++;
    else if (strcmp(verb, "up") == 0)
        page->top -= page->top > 0;
    else if (strcmp(verb, "page-down") == 0)
        page->top += screenful;
    else if (strcmp(verb, "page-up") == 0)
        page->top = page->top > screenful ? page->top - screenful : 0;
    else if (strcmp(verb, "first") == 0)
        page_top(page);
    else if (strcmp(verb, "last") == 0)
        page->top = page->line_count;
    else if (strcmp(verb, "left") == 0)
        page->left = page->left > SIDEWAYS ? page->left - SIDEWAYS : 0;
    else if (strcmp(verb, "right") == 0)
        page->left += SIDEWAYS;
    else if (strcmp(verb, "find") == 0)
        return PAGE_WANTS_FIND;
    else if (strcmp(verb, "next-match") == 0)
        find_next(page, false);
    else if (strcmp(verb, "previous-match") == 0)
        find_next(page, true);
    else if (strcmp(verb, "copy") == 0)
        return PAGE_WANTS_COPY;
    else
        return PAGE_IGNORED;
    bound_top(page);
    return PAGE_HANDLED;
}

char *page_copy_text(const void *context, const struct page *page)
{
    char *text = checked(talloc_strdup(context, ""));
    for (size_t i = 0; i < page->count; i++) {
        const struct entry *entry = &page->entries[i];
        if (entry->kind == ENTRY_PAIR)
            text = talloc_asprintf_append_buffer(text, "%-*s  %s\n", label_width(page, i), entry->label,
                                                 entry->text);
        else
            text = talloc_asprintf_append_buffer(text, "%*s%s\n", entry->indent, "", entry->text);
        checked(text);
    }
    return text;
}

/* ---- drawing ---- */

static void draw_page_line(const struct page *page, struct screen *screen, int row, int left, int columns,
                           size_t at)
{
    const struct page_line *line = &page->lines[at];
    const struct entry *entry = &page->entries[line->entry];
    if (entry->kind == ENTRY_SECTION) {
        screen_section(screen, row, left, columns, entry->text);
        return;
    }
    char text[4096];
    const char *from = entry->text + line->from;
    size_t length = line->length < sizeof text ? line->length : sizeof text - 1;
    if (entry->kind == ENTRY_RAW && page->left)
        from += text_fit(from, page->left, NULL);
    else {
        memcpy(text, from, length);
        text[length] = '\0';
        from = text;
    }
    unsigned style = at == page->found ? STYLE_MATCH : entry->style;
    if (entry->kind == ENTRY_PAIR && line->from == 0)
        screen_put(screen, row, left, line->indent - 1, entry->label_style, entry->label);
    screen_put(screen, row, left + line->indent, columns - line->indent, style, from);
}

void page_draw(struct page *page, struct screen *screen, int top, int left, int rows, int columns)
{
    if (rows < 1 || columns < 4)
        return;
    page->height = rows;
    make_lines(page, columns);
    bound_top(page);
    for (int i = 0; i < rows && page->top + (size_t)i < page->line_count; i++)
        draw_page_line(page, screen, top + i, left + EDGE, columns - 2 * EDGE, page->top + (size_t)i);
    if (page->line_count <= (size_t)rows)
        return;
    /* where we are: a thumb in the last column */
    int last = (int)page->line_count - rows;
    int thumb = last > 0 ? (int)(page->top * (size_t)(rows - 1) / (size_t)last) : 0;
    for (int i = 0; i < rows; i++)
        screen_put(screen, top + i, left + columns - 1, 1, STYLE_BORDER, i == thumb ? "█" : "│");
}
