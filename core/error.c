#include "core/error.h"

#include <stdio.h>
#include <string.h>

#include "core/text.h"

void error_clear(struct error *error)
{
    if (error)
        memset(error, 0, sizeof *error);
}

bool error_set(struct error *error, enum error_kind kind, const char *where, const char *what,
               const char *todo, const char *why_format, ...)
{
    if (!error)
        return false;
    /* Arguments may point into the error that is being filled: build it aside. */
    struct error fresh = {.kind = kind};
    char why[2 * sizeof fresh.why];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    /* libpq ends its messages with a newline. */
    size_t length = strlen(why);
    while (length && (why[length - 1] == '\n' || why[length - 1] == ' '))
        why[--length] = '\0';
    safe_text(fresh.why, sizeof fresh.why, why, length);
    safe_text(fresh.where, sizeof fresh.where, where ? where : "", (size_t)-1);
    safe_text(fresh.what, sizeof fresh.what, what ? what : "", (size_t)-1);
    safe_text(fresh.todo, sizeof fresh.todo, todo ? todo : "", (size_t)-1);
    *error = fresh;
    return false;
}

size_t error_format(const struct error *error, char *buffer, size_t size)
{
    const char *parts[] = {error->where, error->what, error->why};
    size_t used = 0;
    if (size)
        buffer[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i][0])
            used += (size_t)snprintf(buffer + (used < size ? used : size), used < size ? size - used : 0,
                                     "%s%s", used ? ": " : "", parts[i]);
    if (error->todo[0])
        used += (size_t)snprintf(buffer + (used < size ? used : size), used < size ? size - used : 0, "%s%s",
                                 used ? ". " : "", error->todo);
    return used;
}

const char *error_kind_name(enum error_kind kind)
{
    static const char *const names[] = {
        [ERROR_NONE] = "none",
        [ERROR_USAGE] = "usage",
        [ERROR_CONFIG] = "config",
        [ERROR_NAME] = "name",
        [ERROR_REFUSED] = "refused",
        [ERROR_AUTH] = "auth",
        [ERROR_TLS] = "tls",
        [ERROR_SLOTS] = "slots",
        [ERROR_DENIED] = "denied",
        [ERROR_TIMEOUT] = "timeout",
        [ERROR_LOST] = "lost",
        [ERROR_CANCELLED] = "cancelled",
        [ERROR_GONE] = "gone",
        [ERROR_MISSING] = "missing",
        [ERROR_UNSUPPORTED] = "unsupported",
        [ERROR_INTERLOCK] = "interlock",
        [ERROR_SERVER] = "server",
        [ERROR_SYSTEM] = "system",
    };
    return names[kind];
}
