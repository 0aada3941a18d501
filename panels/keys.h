/* The manual page and the key reference, generated from the tables of options, commands, actions and the
 * keymaps. */
#ifndef PANELS_KEYS_H
#define PANELS_KEYS_H

#include <stdio.h>

/* troff, man macros: docs/signalbox.1 */
void keys_print_manual(FILE *file);
/* Markdown: docs/keys.md */
void keys_print_reference(FILE *file);

#endif
