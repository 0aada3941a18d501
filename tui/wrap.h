/* Breaking text into lines of a width. */
#ifndef TUI_WRAP_H
#define TUI_WRAP_H

#include <stddef.h>

/* The bytes of the first line of a safe text within `cells` (at least one grapheme), broken at a blank where
 * there is one; *next receives where the following line begins (blanks at the break are left out). */
size_t wrap_line(const char *text, int cells, size_t *next);

#endif
