/* `signalbox audit` and `signalbox audit verify`: what was done from here, and whether the log is whole. */
#ifndef PANELS_AUDIT_COMMAND_H
#define PANELS_AUDIT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

enum audit_format { AUDIT_PLAIN, AUDIT_JSON, AUDIT_CSV };

/* Prints the log of an environment (a name, or the path of its file; NULL: the one that environment_choose
 * takes, else "adhoc"), oldest first, at most the last `limit` records (0: all). Exit status: 0, or 2 on an
 * error. */
int audit_show(const char *environment, enum audit_format format, size_t limit);
/* Walks the chain. `head` NULL or a hash that must be in it. Exit status: 0 sound, 2 not sound or not
 * readable. */
int audit_show_verdict(const char *environment, const char *head);

/* argv[0] is "audit", then [verify] [-e ENV] [--json|--csv|--plain] [--limit N] [--head HASH] in any order.
 */
int audit_command(int argc, char **argv);

#endif
