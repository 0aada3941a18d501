#include "core/error_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

struct error_list *error_list_new(const void *context)
{
    struct error_list *list = talloc_zero(context, struct error_list);
    if (!list)
        abort();
    return list;
}

bool error_list_add(struct error_list *list, const struct error *error)
{
    if (!list)
        return false;
    if (list->count == ERROR_LIST_MAX) {
        list->dropped++;
        return false;
    }
    list->items = talloc_realloc(list, list->items, struct error, list->count + 1);
    if (!list->items)
        abort();
    list->items[list->count++] = *error;
    return false;
}

bool error_list_set(struct error_list *list, enum error_kind kind, const char *where, const char *what,
                    const char *todo, const char *why_format, ...)
{
    char why[1024];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    struct error error;
    error_set(&error, kind, where, what, todo, "%s", why);
    return error_list_add(list, &error);
}

bool error_list_at(struct error_list *list, const char *path, int line, int column, const char *what,
                   const char *todo, const char *why_format, ...)
{
    char why[1024];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    char position[32] = "";
    if (line > 0 && column > 0)
        snprintf(position, sizeof position, ":%d:%d", line, column);
    else if (line > 0)
        snprintf(position, sizeof position, ":%d", line);
    char where[sizeof((struct error *)NULL)->where];
    size_t room = sizeof where - 1 - strlen(position), length = strlen(path);
    if (length <= room) {
        snprintf(where, sizeof where, "%.*s%s", (int)room, path, position);
    } else {
        const char *tail = path + length - (room - strlen("..."));
        while (((unsigned char)*tail & 0xc0) == 0x80)
            tail++;
        snprintf(where, sizeof where, "...%s%s", tail, position);
    }
    return error_list_set(list, ERROR_CONFIG, where, what, todo, "%s", why);
}

char *error_list_text(const void *context, const struct error_list *list)
{
    char *text = talloc_strdup(context, "");
    for (size_t i = 0; text && i < list->count; i++) {
        char line[sizeof(struct error)];
        error_format(&list->items[i], line, sizeof line);
        text = talloc_asprintf_append(text, "%s\n", line);
    }
    if (text && list->dropped)
        text = talloc_asprintf_append(text, "... and %zu more\n", list->dropped);
    if (!text)
        abort();
    return text;
}
