/*
 * The fixed list of commands that watching code can send: they write nothing, and the server answers each
 * within 5 ms. Arguments are looked at where they decide (SCAN and LRANGE windows, CONFIG GET only, CLIENT
 * LIST only, SLOWLOG GET, MEMORY USAGE, OBJECT, XINFO, PUBSUB, SCRIPT never, EVAL never).
 */
#ifndef BACKENDS_REDIS_WATCH_COMMANDS_H
#define BACKENDS_REDIS_WATCH_COMMANDS_H

#include "backends/redis/connection.h"

/* False with error (ERROR_INTERLOCK): the command is not on the list, or its arguments would cost too much (a
 * window of more than 1000 elements, a COUNT of more than 1000). */
bool redis_watch_allows(const struct redis_command *command, struct error *error);

/* The ACL line that lets a user watch, for errors and documentation ("ACL SETUSER sb_watch on >... +info
 * ..."). */
const char *redis_watch_acl(void);

/* Where the first key of a command stands among its words (commands of changes too), or -1: it has none. */
int redis_command_key(const struct redis_command *command);

/* A word with its length. */
const char *redis_command_word(const struct redis_command *command, int index, size_t *length);
/* The command's name for errors: "LLEN", "CLIENT LIST"; safe. Returns buffer. */
char *redis_command_name(char *buffer, size_t size, const struct redis_command *command);

#endif
