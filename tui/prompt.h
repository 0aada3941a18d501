/*
 * The prompt at the bottom (":", "/"), edited by readline with the user's own inputrc and history, drawn by
 * us. readline knows one line at a time: so there is one prompt.
 */
#ifndef TUI_PROMPT_H
#define TUI_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/keycode.h"
#include "tui/screen.h"

struct prompt;

struct prompt_candidate {
    const char *text; /* what would stand there */
    const char *help; /* a few words, or NULL */
};

struct prompt_options {
    const char *label;   /* ":", "/", "Reason: "; copied, as the next two */
    const char *kind;    /* the history it belongs to: "command", "filter" */
    const char *initial; /* or NULL */
    /* What the word from `start` to `end` (bytes) could become. Fills at most `max`, returns how many. Texts
     * are borrowed until the next call. NULL: no completion. */
    size_t (*complete)(void *data, const char *line, size_t start, size_t end, struct prompt_candidate *out,
                       size_t max);
    /* After every change of the line, or NULL. */
    void (*changed)(void *data, const char *line);
    /* The end: the line, or NULL when the prompt was left. The prompt is closed already. */
    void (*done)(void *data, const char *line);
    void *data;
};

/* `application` is readline's name for conditionals in inputrc, which is read when the prompt opens first.
 * Owned by `context`; talloc_free closes it. */
struct prompt *prompt_new(const void *context, const char *application);

void prompt_open(struct prompt *prompt, const struct prompt_options *options);
bool prompt_is_open(const struct prompt *prompt);
/* A key. A bare Esc leaves, except in vi's insert mode, where a second one does. C-c leaves. */
void prompt_key(struct prompt *prompt, keycode key);
void prompt_paste(struct prompt *prompt, const char *text);

/* A few words at the right of the line: "12 of 340", or what is wrong with it. NULL takes them off; so does
 * opening. */
void prompt_set_note(struct prompt *prompt, enum severity severity, const char *text);

/* Rows that it takes now: one, and those of the candidates above it. */
int prompt_rows(const struct prompt *prompt, int columns);
/* Draws with its last line on `row`, and sets the cursor. */
void prompt_draw(struct prompt *prompt, struct screen *screen, int row);

#endif
