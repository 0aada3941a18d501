/* Messages of tests/data/queues/celery, as Redis held them: a dump has one key a line. */
#ifndef TESTS_UNIT_CELERY_SAMPLES_H
#define TESTS_UNIT_CELERY_SAMPLES_H

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_body.h"

struct sample {
    const char *key; /* of Redis, or the name of a poisonous message */
    const char *tag; /* of a hash */
    char *raw;
    size_t length;
};

/* A string, or {"b64": ...} for one that is no text. */
static inline void sample_bytes(void *context, struct sample *sample, struct json_object *value)
{
    struct json_object *base64;
    if (json_object_object_get_ex(value, "b64", &base64)) {
        size_t length = (size_t)json_object_get_string_len(base64);
        sample->raw = talloc_array(context, char, length + 4);
        if (!celery_base64(json_object_get_string(base64), length, (unsigned char *)sample->raw,
                           &sample->length))
            abort();
        return;
    }
    sample->length = (size_t)json_object_get_string_len(value);
    sample->raw = talloc_memdup(context, json_object_get_string(value), sample->length);
}

/* Calls `each` for every element of the lists and values of the hash "unacked" in a dump. */
static inline size_t samples_each(const char *name, void (*each)(void *context, const struct sample *sample))
{
    void *context = talloc_new(NULL);
    char *path = talloc_asprintf(context, "%s/tests/data/queues/celery/%s.jsonl", TEST_ROOT, name);
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, count = 0;
    if (!file)
        abort();
    while (getline(&line, &room, file) > 0) {
        struct json_object *row = json_tokener_parse(line), *value = NULL, *raw = NULL, *base64 = NULL;
        struct sample sample = {0};
        if (json_object_object_get_ex(row, "raw", &raw) ||
            json_object_object_get_ex(row, "raw_b64", &base64)) {
            sample.key = json_object_get_string(json_object_object_get(row, "name"));
            struct json_object *wrapped = json_object_new_object();
            if (base64)
                json_object_object_add(wrapped, "b64", json_object_get(base64));
            sample_bytes(context, &sample, base64 ? wrapped : raw);
            each(context, &sample);
            count++;
            json_object_put(wrapped);
        } else if (json_object_object_get_ex(row, "value", &value)) {
            sample.key = json_object_get_string(json_object_object_get(row, "key"));
            const char *type = json_object_get_string(json_object_object_get(row, "type"));
            bool hash = strcmp(type, "hash") == 0;
            for (size_t i = 0; (hash || strcmp(type, "list") == 0) && i < json_object_array_length(value);
                 i++) {
                struct json_object *item = json_object_array_get_idx(value, i);
                sample.tag = hash ? json_object_get_string(json_object_array_get_idx(item, 0)) : NULL;
                sample_bytes(context, &sample, hash ? json_object_array_get_idx(item, 1) : item);
                each(context, &sample);
                count++;
            }
        }
        json_object_put(row);
    }
    free(line);
    fclose(file);
    talloc_free(context);
    return count;
}

#endif
