/* Where our own files live (XDG), and how they are written. */
#ifndef CORE_FILES_H
#define CORE_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* $XDG_CONFIG_HOME/signalbox/NAME or ~/.config/signalbox/NAME. Fresh talloc strings, no check that they
 * exist. */
char *files_config_path(const void *context, const char *name);
/* $XDG_STATE_HOME/signalbox/ENVIRONMENT/NAME; name may be NULL for the folder. Slashes and leading dots in
 * environment are replaced. */
char *files_state_path(const void *context, const char *environment, const char *name);
/* mkdir -p with mode 0700. */
bool files_make_folder(const char *path, struct error *error);
/* The whole file as a NUL-terminated talloc string, at most `limit` bytes; *length may be NULL. */
char *files_read(const void *context, const char *path, size_t limit, size_t *length, struct error *error);
/* The name of the user who runs the program (getpwuid; the uid as digits if nameless). Fresh talloc string.
 */
char *files_user(const void *context);

#endif
