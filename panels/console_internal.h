/* What the parts of the console share. Only panels/console*.c include it. */
#ifndef PANELS_CONSOLE_INTERNAL_H
#define PANELS_CONSOLE_INTERNAL_H

#include <sys/types.h>

#include "keymaps/keymap.h"
#include "panels/console.h"
#include "tui/dialog.h"
#include "tui/frame.h"
#include "tui/prompt.h"

enum { CONTEXTS_MAX = 6, MESSAGE_ROWS = 4 };

struct console {
    struct app *app;
    struct screen *screen;
    const struct theme *theme;
    struct keymap *keymap;
    const struct action **actions;
    size_t action_count;
    struct prompt *prompt;
    struct layer *top; /* the view lies at the bottom and is always there */
    struct layer *base;
    unsigned place; /* see console_place */
    keycode pending[KEY_SEQUENCE_MAX];
    size_t pending_count;
    char message[1024];
    enum severity message_severity;
    bool dirty;
    bool paused;
    int exit_status;
    ev_timer second; /* the clock and ages */
    ev_timer dialog_wait;
    ev_signal terminate;
    struct change_watch *watch;
    size_t sending;           /* changes that are not finished */
    struct layer *being_made; /* a dialog that is not shown yet */
    pid_t program;            /* that runs in the terminal now; 0: none */
    char *program_name;
    void (*program_interrupt)(int); /* how SIGINT was treated before */
    ev_timer program_watch;
    char *filter_before; /* what Esc in the filter prompt brings back */
};

/* console.c */
void console_do(struct console *console, const char *action, const char *argument);
const struct action *console_action(const struct console *console, const char *id);
/* The contexts of the topmost layer with "global" at the end. Returns how many. */
size_t console_contexts(const struct console *console, const char *contexts[CONTEXTS_MAX]);
void console_quit(struct console *console, int status);
void console_ask(struct console *console, const struct prompt_options *options);

/* The topmost layer that shows a view: console->base, or a panel that was laid on it. */
struct layer *console_view_layer(const struct console *console);

/* console_view.c: the layer that shows a view of a panel */
bool layer_is_view(const struct layer *layer);
const struct panel_ops *view_layer_panel(const struct layer *layer);
struct layer *view_layer_new(struct console *console, const struct panel_ops *panel);
void view_layer_show(struct layer *layer, const struct view *view);
void view_layer_refresh(struct layer *layer);
const struct view *view_layer_view(const struct layer *layer);
/* Asks all sources of the view again. */
void view_layer_ask(struct layer *layer);
void view_layer_pause(struct layer *layer, bool paused);
/* Where the numbers come from. */
void view_layer_why(struct layer *layer);

/* console_dialog.c */
bool layer_is_dialog(const struct layer *layer);
void dialog_layer_key(struct layer *layer, keycode key, const char *action);
void dialog_layer_paste(struct layer *layer, const char *text);
double dialog_layer_wait(const struct layer *layer);
void change_watch_check(struct console *console);
/* Before the end: what is being sent is finished, so that its outcome is on record. */
void change_finish_all(struct console *console);
/* Nothing more is sent of the change that is being sent. False: none is. */
bool change_interrupt(struct console *console);

/* What SSH needs of the user, in a dialog; leaving it is an answer too. */
void console_ask_secret(struct app *app, struct ssh_question *question);

/* console_program.c: before the end of the console */
void console_end_program(struct console *console);

/* console_frame.c */
/* "PRODUCTION" and its style. */
const char *console_badge(const struct console *console, enum style *style);
void console_draw(struct console *console);
void console_help(struct console *console);

/* console_prompt.c: ":" and its commands, the filter, find, export */
void console_open_command(struct console *console);
void console_open_filter(struct console *console, struct table *table);
void console_open_find(struct console *console, struct page *page);
void console_open_export(struct console *console);
void console_choose_server(struct console *console, const char *name);
void console_unlock(struct console *console, const char *reason);
void console_break_glass(struct console *console, const char *reason);

#endif
