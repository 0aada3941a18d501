/* What Redis answers instead of a reply, as errors that say what to do. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/redis/connection.h"
#include "backends/redis/watch_commands.h"

struct known_error {
    const char *code; /* how it begins */
    const char *part; /* what it holds besides; NULL: anything */
    enum error_kind kind;
    const char *todo;
};

static const struct known_error known_errors[] = {
    {"NOAUTH", NULL, ERROR_AUTH,
     "Write its password into ~/.config/signalbox/redispass (HOST:PORT:USER:PASSWORD) or set REDISCLI_AUTH"},
    {"WRONGPASS", NULL, ERROR_AUTH,
     "Check the user in the URL and the password in ~/.config/signalbox/redispass"},
    {"ERR", "invalid password", ERROR_AUTH, "Check the password in ~/.config/signalbox/redispass"},
    {"ERR", "invalid username-password pair", ERROR_AUTH, "Check the user and the password"},
    {"LOADING", NULL, ERROR_REFUSED, "It reads its data from disk; wait"},
    {"MASTERDOWN", NULL, ERROR_REFUSED, "This replica has lost its master: look at the master"},
    {"CLUSTERDOWN", NULL, ERROR_REFUSED, "Look at CLUSTER INFO: slots without a node, or too few masters"},
    {"BUSY", NULL, ERROR_REFUSED, "A script runs on it: SCRIPT KILL ends one that has written nothing"},
    {"TRYAGAIN", NULL, ERROR_REFUSED, "The slot is being moved; try again"},
    {"NOREPLICAS", NULL, ERROR_REFUSED, "min-replicas-to-write: too few replicas follow"},
    {"DENIED", NULL, ERROR_REFUSED, "Give it a password, or connect from its own machine (via:)"},
    {"READONLY", NULL, ERROR_SERVER,
     "This is a replica: connect to its master, or name the Sentinels and `master`"},
    {"OOM", NULL, ERROR_SERVER,
     "maxmemory is reached and nothing may be evicted: free memory or raise maxmemory"},
    {"MISCONF", NULL, ERROR_SERVER,
     "It cannot save to disk and refuses writes: look at its log and the disk"},
    {"WRONGTYPE", NULL, ERROR_SERVER, "Something else than expected lies under this key"},
    {"EXECABORT", NULL, ERROR_SERVER, NULL},
    {"MOVED", NULL, ERROR_SERVER, "It is a Cluster, whose slots have moved"},
    {"ASK", NULL, ERROR_SERVER, "It is a Cluster, and the slot is being moved"},
    {"CROSSSLOT", NULL, ERROR_UNSUPPORTED, "In a Cluster the keys of one command lie in one slot"},
    {"NOGOODSLAVE", NULL, ERROR_REFUSED, NULL},
    {"IDONTKNOW", NULL, ERROR_MISSING, "Check the name in `master`"},
    {"ERR", "No such master", ERROR_MISSING, "Check the name in `master`"},
    {"ERR", "max number of clients", ERROR_SLOTS, "Raise maxclients, or close idle clients"},
    {"ERR", "unknown command", ERROR_UNSUPPORTED, "It needs a newer Redis, or the command was renamed"},
    {"ERR", "unknown subcommand", ERROR_UNSUPPORTED, "It needs a newer Redis"},
    {"ERR", "Unknown subcommand", ERROR_UNSUPPORTED, "It needs a newer Redis"},
    {"ERR", "cluster support disabled", ERROR_UNSUPPORTED, NULL},
    {"ERR", "no such key", ERROR_GONE, NULL},
    {"NOGROUP", NULL, ERROR_MISSING, NULL},
    {"NOSCRIPT", NULL, ERROR_MISSING, NULL},
};

static bool begins(const redisReply *reply, const char *code)
{
    size_t length = strlen(code);
    return reply->len >= length && strncasecmp(reply->str, code, length) == 0 &&
           (reply->len == length || reply->str[length] == ' ');
}

/* "this user has no permissions to run the 'info' command": the ACL SETUSER that grants it. */
static void explain_noperm(const char *text, char *todo, size_t size)
{
    const char *command = strstr(text, "run the '"), *end = command ? strchr(command + 9, '\'') : NULL;
    if (end && strstr(text, "command"))
        snprintf(todo, size, "As an administrator: ACL SETUSER %s +%.*s", "USER", (int)(end - command - 9),
                 command + 9);
    else if (strstr(text, "channel"))
        snprintf(todo, size, "As an administrator: ACL SETUSER USER &CHANNEL");
    else
        snprintf(todo, size, "As an administrator: ACL SETUSER USER %%R~*");
}

void redis_error(struct error *error, const char *where, const char *what, const struct redisReply *reply)
{
    char text[sizeof error->why], todo[sizeof error->todo];
    snprintf(text, sizeof text, "%.*s", (int)(reply->len < sizeof text ? reply->len : sizeof text - 1),
             reply->str);
    if (begins(reply, "NOPERM")) {
        explain_noperm(text, todo, sizeof todo);
        error_set(error, ERROR_DENIED, where, what, todo, "%s", text);
        return;
    }
    for (size_t i = 0; i < sizeof known_errors / sizeof *known_errors; i++) {
        const struct known_error *known = &known_errors[i];
        if (!begins(reply, known->code) || (known->part && !strstr(text, known->part)))
            continue;
        error_set(error, known->kind, where, what, known->todo, "%s", text);
        return;
    }
    error_set(error, ERROR_SERVER, where, what, NULL, "%s", text);
}
