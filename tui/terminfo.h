/* What is asked of terminfo directly. Apart, because <term.h> makes macros of words such as `columns`. */
#ifndef TUI_TERMINFO_H
#define TUI_TERMINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* Whether a terminal of this name is known and can place its cursor. */
bool terminfo_usable(const char *name, struct error *error);

/* The bytes that give the current terminal back to a shell; returns their number. */
size_t terminfo_reset(char *buffer, size_t size);

#endif
