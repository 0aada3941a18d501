/* What the files of the terminal share. Tests include terminal.h. */
#ifndef TESTS_HARNESS_TERMINAL_INTERNAL_H
#define TESTS_HARNESS_TERMINAL_INTERNAL_H

#include <vterm.h>

#include "tests/harness/escapes.h"
#include "tests/harness/terminal.h"

struct terminal_buffer {
    char *bytes;
    size_t length, capacity;
};

struct terminal {
    pid_t pid;
    int master;   /* -1 after the hang-up and at the end of the output */
    int ended;    /* pidfd of the program; -1 once it was reaped */
    int status;   /* exit status, 128 + signal, or -1 while it runs */
    VTerm *vterm; /* owns the screen */
    VTermScreen *screen;
    struct escapes escapes;
    struct terminal_buffer input; /* typed, not yet taken by the pseudo-terminal */
    struct terminal_buffer raw;   /* the newest output */
    size_t bytes;                 /* all output ever */
    bool changed;                 /* a cell was drawn since this was last cleared */
    int bells;
    double escape_sent; /* when Esc was typed last; 0: another key since */
    char *folder;       /* temporary: HOME and the sanitizers' reports */
    char *home;
    struct terminal_buffer text;
    char **lines; /* one a row, made by terminal_line */
    int lines_count;
};

/* Seconds of the monotonic clock. */
double terminal_now(void);
void terminal_append(struct terminal_buffer *buffer, const char *bytes, size_t length);
/* Types bytes: written now as far as the pseudo-terminal takes them, the rest by later pumping. */
void terminal_type(struct terminal *t, const char *bytes, size_t length);

#endif
