/* A line of text that is typed: the fields of dialogs. Moves and deletes by grapheme. */
#ifndef TUI_FIELD_H
#define TUI_FIELD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/keycode.h"
#include "tui/screen.h"

enum { FIELD_MAX = 512 };

struct field {
    char text[FIELD_MAX];  /* safe UTF-8 */
    size_t length, cursor; /* bytes */
    size_t first;          /* byte that is drawn first, when the text is longer than the field */
    bool secret;           /* what is typed is drawn as dots */
};

/* NULL: empty. The cursor stands at the end. */
void field_set(struct field *field, const char *text);
/* Inserts what fits, made safe; line ends become spaces. */
void field_insert(struct field *field, const char *text);
/* False when the key means nothing to a field. */
bool field_key(struct field *field, keycode key);
/* Draws within `cells`; with the cursor when it has the focus. */
void field_draw(struct field *field, struct screen *screen, int row, int column, int cells, bool focus);

#endif
