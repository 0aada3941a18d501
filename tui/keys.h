/*
 * From the bytes that a terminal sends to keys, pastes and clicks. A state machine without a terminal and
 * without a clock of its own: it never waits, it says until when it wants to be asked again.
 */
#ifndef TUI_KEYS_H
#define TUI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/keycode.h"

enum { KEYS_SEQUENCE_MAX = 48, KEYS_PASTE_MAX = 65536 };

struct keys {
    double escape_s;         /* how long an Esc waits for what may follow */
    unsigned char backspace; /* what the terminal's erase key sends besides 127; 0: nothing */
    void (*key)(void *data, keycode key);
    void (*paste)(void *data, const char *text); /* safe text, line ends as spaces */
    void (*click)(void *data, int row, int column, int button);
    void *data;

    /* Only keys.c looks at these. */
    enum keys_state {
        KEYS_GROUND,
        KEYS_UTF8,
        KEYS_ESCAPE,
        KEYS_CSI,
        KEYS_SS3,
        KEYS_PASTE,
    } state;
    bool meta;         /* the UTF-8 character that is being read came behind Esc */
    bool tail;         /* the sequence that is being read lost its Esc to the deadline: it is swallowed */
    double deadline;   /* 0: none */
    double tail_until; /* until then "[A" in one piece is the tail of a late arrow key */
    char sequence[KEYS_SEQUENCE_MAX];
    size_t length;
    size_t wanted; /* bytes of the UTF-8 character */
    char *pasted;  /* malloc'd */
    size_t pasted_length, pasted_size;
};

/* `now` is a time in seconds that never goes back. */
void keys_feed(struct keys *keys, const char *bytes, size_t length, double now);
/* Seconds until keys_expire wants to be called; negative: nothing is pending. */
double keys_wait(const struct keys *keys, double now);
void keys_expire(struct keys *keys, double now);
/* Forgets what is pending and frees what was pasted. */
void keys_reset(struct keys *keys);

#endif
