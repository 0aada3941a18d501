/* The fixed list of Celery's remote control methods that this console sends, and what each may be told
 * (celery/worker/control.py). Not on it: election, hello, objgraph, memdump, pool_restart, report, conf. */
#include <json-c/json.h>
#include <math.h>
#include <string.h>

#include "backends/queues/celery_control_internal.h"
#include "core/width.h"

static const struct control_method methods[] = {
    {.name = "ping"},
    {.name = "stats"},
    {.name = "active", .arguments = {{"safe", CONTROL_BOOLEAN, false}}},
    {.name = "reserved"},
    {.name = "scheduled"},
    {.name = "revoked"},
    {.name = "registered"},
    {.name = "active_queues"},
    {.name = "query_task", .arguments = {{"ids", CONTROL_IDS, true}}},
    {.name = "clock"},
    {.name = "revoke",
     .arguments = {{"task_id", CONTROL_IDS, true},
                   {"terminate", CONTROL_BOOLEAN, false},
                   {"signal", CONTROL_SIGNAL, false}}},
    {.name = "rate_limit",
     .arguments = {{"task_name", CONTROL_NAME, true}, {"rate_limit", CONTROL_RATE, true}}},
    {.name = "time_limit",
     .arguments = {{"task_name", CONTROL_NAME, true},
                   {"hard", CONTROL_SECONDS, false},
                   {"soft", CONTROL_SECONDS, false}}},
    {.name = "enable_events"},
    {.name = "disable_events"},
    {.name = "pool_grow", .arguments = {{"n", CONTROL_NUMBER, true}}},
    {.name = "pool_shrink", .arguments = {{"n", CONTROL_NUMBER, true}}},
    {.name = "autoscale", .arguments = {{"max", CONTROL_NUMBER, true}, {"min", CONTROL_NUMBER, true}}},
    {.name = "add_consumer", .arguments = {{"queue", CONTROL_NAME, true}}},
    {.name = "cancel_consumer", .arguments = {{"queue", CONTROL_NAME, true}}},
    {.name = "shutdown", .silent = true},
};

const struct control_method *control_method_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, name))
            return &methods[i];
    return NULL;
}

/* UTF-8 without anything that is not seen; blanks only where they are allowed. */
static bool plain_text(const char *text, size_t length, bool blanks)
{
    if (!length || length > CONTROL_TEXT_MAX)
        return false;
    for (size_t at = 0; at < length;) {
        uint32_t character;
        size_t bytes = utf8_decode(text + at, length - at, &character);
        if (!bytes || character < 0x20 || character == 0x7f || (character == ' ' && !blanks) ||
            character_class(character) == CHARACTER_HIDDEN)
            return false;
        at += bytes;
    }
    return true;
}

bool control_worker_plausible(const char *name, size_t length)
{
    const char *at = name ? memchr(name, '@', length) : NULL;
    return at && at > name && at < name + length - 1 && plain_text(name, length, false);
}

bool control_uuid_plausible(const char *text, size_t length)
{
    if (!text || length != 36)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !text[i] || !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return true;
}

static bool text_fits(struct json_object *value, bool blanks)
{
    return json_object_is_type(value, json_type_string) &&
           plain_text(json_object_get_string(value), (size_t)json_object_get_string_len(value), blanks);
}

static bool ids_fit(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array))
        return text_fits(value, false);
    size_t count = json_object_array_length(value);
    if (!count || count > CONTROL_IDS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!text_fits(json_object_array_get_idx(value, i), false))
            return false;
    return true;
}

/* Digits, perhaps a fraction, perhaps / and s, m or h: Python's float() would take "nan" and "inf", too. */
static bool rate_fits(struct json_object *value)
{
    if (!text_fits(value, false))
        return false;
    const char *text = json_object_get_string(value);
    size_t whole = strspn(text, "0123456789"), fraction = 0;
    if (!whole || whole > 9)
        return false;
    text += whole;
    if (*text == '.') {
        fraction = strspn(++text, "0123456789");
        if (!fraction || fraction > 6)
            return false;
        text += fraction;
    }
    return !*text || (*text == '/' && text[1] && strchr("smh", text[1]) && !text[2]);
}

static bool signal_fits(struct json_object *value)
{
    static const char *const signals[] = {"SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGUSR1"};
    if (!json_object_is_type(value, json_type_string))
        return false;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!strcmp(json_object_get_string(value), signals[i]))
            return true;
    return false;
}

static bool seconds_fit(struct json_object *value)
{
    if (!value)
        return true;
    if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
        return false;
    double seconds = json_object_get_double(value);
    return isfinite(seconds) && seconds >= 1 && seconds <= 7 * 86400;
}

static bool value_fits(enum control_kind kind, struct json_object *value)
{
    switch (kind) {
    case CONTROL_IDS:
        return ids_fit(value);
    case CONTROL_NAME:
        return text_fits(value, true);
    case CONTROL_RATE:
        return rate_fits(value);
    case CONTROL_NUMBER:
        return json_object_is_type(value, json_type_int) && json_object_get_int64(value) >= 1 &&
               json_object_get_int64(value) <= CONTROL_NUMBER_MAX;
    case CONTROL_SECONDS:
        return seconds_fit(value);
    case CONTROL_SIGNAL:
        return signal_fits(value);
    case CONTROL_BOOLEAN:
        return json_object_is_type(value, json_type_boolean);
    }
    return false;
}

static const struct control_argument *find_argument(const struct control_method *method, const char *name)
{
    for (size_t i = 0; i < CONTROL_ARGUMENTS && method->arguments[i].name; i++)
        if (!strcmp(method->arguments[i].name, name))
            return &method->arguments[i];
    return NULL;
}

static bool refuse(const struct control_method *method, struct error *error, const char *why,
                   const char *argument)
{
    return error_set(error, ERROR_INTERLOCK, NULL, "control message", NULL, "%s of %s %s", argument,
                     method->name, why);
}

bool control_arguments_fit(const struct control_method *method, struct json_object *arguments,
                           struct error *error)
{
    if (arguments && !json_object_is_type(arguments, json_type_object))
        return refuse(method, error, "are not an object", "the arguments");
    if (arguments) {
        json_object_object_foreach(arguments, name, value)
        {
            const struct control_argument *argument = find_argument(method, name);
            if (!argument)
                return refuse(method, error, "is none that it takes", name);
            if (!value_fits(argument->kind, value))
                return refuse(method, error, "is not such a value", name);
        }
    }
    for (size_t i = 0; i < CONTROL_ARGUMENTS && method->arguments[i].name; i++)
        if (method->arguments[i].needed &&
            !(arguments && json_object_object_get_ex(arguments, method->arguments[i].name, NULL)))
            return refuse(method, error, "is missing", method->arguments[i].name);
    struct json_object *max, *min;
    if (arguments && json_object_object_get_ex(arguments, "max", &max) &&
        json_object_object_get_ex(arguments, "min", &min) &&
        json_object_get_int64(min) > json_object_get_int64(max))
        return refuse(method, error, "is above its maximum", "the minimum");
    return true;
}
