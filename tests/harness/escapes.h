/* Reads the escape sequences in a program's output that libvterm keeps to itself or reports differently in
 * its versions: private modes (alternate screen, cursor, mouse, paste), the title, the clipboard (OSC 52). */
#ifndef TESTS_HARNESS_ESCAPES_H
#define TESTS_HARNESS_ESCAPES_H

#include <stdbool.h>
#include <stddef.h>

enum { ESCAPES_MODES = 4096 };

struct escapes {
    enum {
        ESCAPES_TEXT,
        ESCAPES_ESCAPE,
        ESCAPES_CSI,
        ESCAPES_OSC,
        ESCAPES_OSC_ESCAPE,
        ESCAPES_STRING,
        ESCAPES_STRING_ESCAPE,
    } state;
    char *collected; /* the sequence so far, without its introducer */
    size_t length, capacity;
    bool modes[ESCAPES_MODES];
    char *title;     /* NULL: never set */
    char *clipboard; /* NULL: never set */
};

/* A cursor is visible until it is hidden. */
void escapes_init(struct escapes *e);
/* Sequences may be cut anywhere between two calls. */
void escapes_feed(struct escapes *e, const char *bytes, size_t length);
void escapes_free(struct escapes *e);

#endif
