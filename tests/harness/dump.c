#include "tests/harness/dump.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/base64.h"
#include "tests/harness/cmocka.h"

enum { WORDS_MOST = 4096 };

struct words {
    void *context;
    int count;
    const char *texts[WORDS_MOST];
    size_t lengths[WORDS_MOST];
};

static void add(struct words *words, const char *text, size_t length)
{
    assert_true(words->count < WORDS_MOST);
    words->texts[words->count] = text;
    words->lengths[words->count++] = length;
}

/* A string, a number, or bytes as base64. */
static void add_value(struct words *words, struct json_object *value)
{
    struct json_object *packed;
    if (json_object_is_type(value, json_type_object) && json_object_object_get_ex(value, "b64", &packed)) {
        size_t length;
        const char *text = json_object_get_string(packed);
        char *bytes = (char *)base64_decode(words->context, text, strlen(text), &length);
        assert_non_null(bytes);
        add(words, bytes, length);
    } else if (json_object_is_type(value, json_type_double)) {
        char *number = talloc_asprintf(words->context, "%.17g", json_object_get_double(value));
        add(words, number, strlen(number));
    } else
        add(words, json_object_get_string(value), (size_t)json_object_get_string_len(value));
}

static void send(struct redis_box *r, struct words *words)
{
    char *reply = redis_box_send(r, 0, words->count, words->texts, words->lengths);
    if (strncmp(reply, "ERR", 3) == 0 || strncmp(reply, "WRONG", 5) == 0)
        fail_msg("%s: %s", words->texts[0], reply);
    free(reply);
}

static void begin(struct words *words, const char *command, const char *key)
{
    words->count = 0;
    add(words, command, strlen(command));
    add(words, key, strlen(key));
}

static void load_items(struct redis_box *r, struct words *words, const char *type, const char *key,
                       struct json_object *value)
{
    bool list = strcmp(type, "list") == 0, set = strcmp(type, "set") == 0, sorted = strcmp(type, "zset") == 0;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        struct json_object *item = json_object_array_get_idx(value, i);
        begin(words,
              list                        ? "RPUSH"
              : set                       ? "SADD"
              : sorted                    ? "ZADD"
              : strcmp(type, "hash") == 0 ? "HSET"
                                          : "XADD",
              key);
        if (list || set)
            add_value(words, item);
        else {
            struct json_object *first = json_object_array_get_idx(item, 0);
            struct json_object *second = json_object_array_get_idx(item, 1);
            add_value(words, sorted ? second : first);
            if (json_object_is_type(second, json_type_array))
                for (size_t j = 0; j < json_object_array_length(second); j++) {
                    struct json_object *pair = json_object_array_get_idx(second, j);
                    add_value(words, json_object_array_get_idx(pair, 0));
                    add_value(words, json_object_array_get_idx(pair, 1));
                }
            else
                add_value(words, sorted ? first : second);
        }
        send(r, words);
    }
}

static void load_line(struct redis_box *r, const char *line)
{
    struct json_object *entry = json_tokener_parse(line), *key, *type, *ttl, *value;
    struct words *words = talloc_zero(NULL, struct words);
    words->context = words;
    assert_non_null(entry);
    assert_true(json_object_object_get_ex(entry, "key", &key));
    assert_true(json_object_object_get_ex(entry, "type", &type));
    assert_true(json_object_object_get_ex(entry, "value", &value));
    const char *name = json_object_get_string(key);
    if (strcmp(json_object_get_string(type), "string") == 0) {
        begin(words, "SET", name);
        add_value(words, value);
        send(r, words);
    } else
        load_items(r, words, json_object_get_string(type), name, value);
    if (json_object_object_get_ex(entry, "ttl_ms", &ttl) && json_object_get_int64(ttl) > 0) {
        char *time = talloc_asprintf(words, "%lld", (long long)json_object_get_int64(ttl));
        begin(words, "PEXPIRE", name);
        add(words, time, strlen(time));
        send(r, words);
    }
    talloc_free(words);
    json_object_put(entry);
}

size_t dump_load(struct redis_box *r, const char *file)
{
    char *path = talloc_asprintf(NULL, "%s/tests/data/queues/%s", TEST_ROOT, file), *line = NULL;
    FILE *stream = fopen(path, "r");
    size_t room = 0;
    if (!stream)
        fail_msg("cannot read %s", path);
    while (getline(&line, &room, stream) > 0)
        if (*line == '{')
            load_line(r, line);
    free(line);
    fclose(stream);
    talloc_free(path);
    char *count = redis_box_ask(r, "DBSIZE");
    size_t keys = (size_t)atoi(count);
    free(count);
    return keys;
}
