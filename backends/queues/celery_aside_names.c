/* Names of what is kept aside: building and reading them. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_aside.h"

static const char *const words[CELERY_ASIDES] = {
    [ASIDE_PARK] = "park", [ASIDE_TENANT] = "aside", [ASIDE_TRASH] = "trash", [ASIDE_HOLD] = "hold"};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

const char *celery_aside_word(enum celery_aside kind)
{
    return words[kind];
}

char *celery_aside_group(const void *context, enum celery_aside kind, const char *queue, const char *stamp)
{
    return there(talloc_asprintf(context, "signalbox:%s:%s:%s", words[kind], queue, stamp));
}

bool celery_aside_parse(const void *context, const char *group, enum celery_aside *kind, char **queue,
                        const char **stamp)
{
    static const char begin[] = "signalbox:";
    if (strncmp(group, begin, sizeof begin - 1) != 0)
        return false;
    const char *word = group + sizeof begin - 1, *end = strrchr(word, ':');
    for (int i = 0; i < CELERY_ASIDES; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(word, words[i], length) != 0 || word[length] != ':' || end <= word + length)
            continue;
        *kind = (enum celery_aside)i;
        *queue = there(talloc_strndup(context, word + length + 1, (size_t)(end - word) - length - 1));
        *stamp = end + 1;
        return **queue && **stamp;
    }
    return false;
}

char *celery_aside_list(const void *context, const struct celery_system *system, const char *group, int step)
{
    return celery_queue_key(context, system, group, step, NULL);
}

char *celery_aside_note(const void *context, const struct celery_system *system, const char *group)
{
    return there(talloc_asprintf(context, "%ssignalbox:note:%s", system->names.prefix, group));
}

char *celery_base_name(const void *context, const struct celery_system *system, const char *key,
                       size_t length, int *step)
{
    const struct celery_names *names = &system->names;
    size_t prefix = strlen(names->prefix), separator = strlen(names->separator);
    if (length < prefix || memcmp(key, names->prefix, prefix) != 0 || memchr(key, '\0', length))
        return NULL;
    char *base = there(talloc_strndup(context, key + prefix, length - prefix));
    char *at = separator ? strstr(base, names->separator) : NULL;
    for (char *next = at; next; next = strstr(next + 1, names->separator))
        at = next;
    *step = 0;
    if (!at)
        return base;
    char *end;
    long number = strtol(at + separator, &end, 10);
    if (end == at + separator || *end)
        return base;
    *step = -1;
    for (int i = 1; i < CELERY_STEPS; i++)
        if (names->steps[i] == number)
            *step = i;
    *at = '\0';
    return base;
}
