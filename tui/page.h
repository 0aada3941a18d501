/*
 * A page of text that scrolls: help, details, why. Lines have styles, sections, aligned labels; they wrap to
 * the width. It can be filled again (a refresh) without losing the place.
 */
#ifndef TUI_PAGE_H
#define TUI_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "tui/screen.h"

struct page;

/* Owned by `context`; talloc_free. */
struct page *page_new(const void *context);

/* "── Plan ─────", with a blank line before it unless it is the first. */
void page_section(struct page *page, const char *title);
/* A paragraph: wrapped at blanks to the width, indented by `indent` cells. Newlines begin new lines. Copied.
 */
void page_text(struct page *page, enum style style, int indent, const char *text);
void page_format(struct page *page, enum style style, int indent, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Lines that are not wrapped but scrolled sideways (SQL, EXPLAIN's own text). */
void page_line(struct page *page, enum style style, const char *text);
/* "label   text": labels of one section are aligned, the text is wrapped behind them. */
void page_pair(struct page *page, const char *label, enum style style, const char *text);
void page_pair_format(struct page *page, const char *label, enum style style, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with the label in the style of a key. */
void page_key(struct page *page, const char *key, const char *help);
void page_blank(struct page *page);

enum page_want {
    PAGE_IGNORED,    /* not an action of the page's */
    PAGE_HANDLED,    /* done; draw */
    PAGE_WANTS_FIND, /* open the prompt; then page_find */
    PAGE_WANTS_COPY, /* screen_copy(page_copy_text()) */
};

/* Does an action of the context text (keymaps/general_actions.h). */
enum page_want page_act(struct page *page, const char *action_id);
/* Finds a text, from the place where we are; NULL or "" ends the search. False when it is nowhere. */
bool page_find(struct page *page, const char *text);

/* All of it as plain text. Fresh talloc string. */
char *page_copy_text(const void *context, const struct page *page);

/* Draws into the rectangle. The last column says where we are when there is more. */
void page_draw(struct page *page, struct screen *screen, int top, int left, int rows, int columns);

#endif
