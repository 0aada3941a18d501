/* `signalbox explain FILE [--json]`: where the time of a measured plan went. */
#ifndef PANELS_EXPLAIN_COMMAND_H
#define PANELS_EXPLAIN_COMMAND_H

/* argv[0] is "explain"; then FILE ("-" reads standard input) and --json or --plain, in any order. Prints to
 * standard output, errors to standard error. Returns the exit code: 0, or 2 on any error. */
int explain_command(int argc, char **argv);

#endif
