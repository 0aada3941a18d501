/*
 * Reading a control message again before it is sent, as kombu would (transport/redis.py, virtual.Message,
 * pidbox.Node): a worker that cannot make a Message of it ends. More is refused than workers would mind:
 * whatever stands there must be what was asked for, and nothing else may.
 */
#include <json-c/json.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control_internal.h"

static bool refuse(struct error *error, const char *why)
{
    return error_set(error, ERROR_INTERLOCK, NULL, "control message",
                     "It was not sent. This is a defect of signalbox: please report it.",
                     "read again before it was sent, it is not right: %s", why);
}

/* ---- the envelope ---- */

static bool span_is(struct span span, const char *text)
{
    return span.kind == SPAN_STRING && span.length == strlen(text) && !memcmp(span.at, text, span.length);
}

/* Outside of the body there is nothing but printable ASCII: no escape can mean two things. */
static bool is_plain(const char *payload, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (payload[i] < 0x20 || payload[i] > 0x7e || payload[i] == '\\')
            return false;
    return true;
}

static bool is_printable(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

/* Python passes over what is not base64, others do not. */
static bool is_base64(struct span span)
{
    size_t padding = 0;
    while (padding < 2 && padding < span.length && span.at[span.length - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < span.length - padding; i++)
        if (!memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", span.at[i], 64))
            return false;
    return span.length % 4 == 0;
}

static bool envelope_right(const struct celery_envelope *envelope, struct error *error)
{
    if (envelope->body.kind != SPAN_STRING || !envelope->body.length || !is_base64(envelope->body))
        return refuse(error, "it has no body");
    if (envelope->headers.kind != SPAN_OBJECT || envelope->properties.kind != SPAN_OBJECT)
        return refuse(error, "headers and properties are not objects");
    if (!span_is(envelope->body_encoding, "base64") || !span_is(envelope->content_type, "application/json") ||
        !span_is(envelope->content_encoding, "utf-8"))
        return refuse(error, "it says another type or encoding of its body");
    if (envelope->compression.kind != SPAN_ABSENT)
        return refuse(error, "it says that it is compressed");
    if (envelope->delivery_tag.kind != SPAN_STRING ||
        !control_uuid_plausible(envelope->delivery_tag.at, envelope->delivery_tag.length))
        return refuse(error, "it has no delivery tag");
    if (!span_is(envelope->exchange, CONTROL_EXCHANGE) || !span_is(envelope->routing_key, ""))
        return refuse(error, "it says another exchange");
    if (envelope->expires.kind != SPAN_NUMBER || !(celery_span_real(envelope->expires) > 1e9))
        return refuse(error, "it does not say when it expires");
    return true;
}

/* ---- objects ---- */

/* The whole of the text, strictly; NULL: it is none. */
static struct json_object *parse(const char *text, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(16);
    if (!tokener || length > 1 << 24)
        return NULL;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)length);
    if (json_tokener_get_error(tokener) != json_tokener_success ||
        json_tokener_get_parse_end(tokener) != length) {
        json_object_put(object);
        object = NULL;
    }
    json_tokener_free(tokener);
    return object;
}

static bool is_object_of(struct json_object *object, const char *const *keys, size_t count)
{
    if (!json_object_is_type(object, json_type_object) || (size_t)json_object_object_length(object) != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!json_object_object_get_ex(object, keys[i], NULL))
            return false;
    return true;
}
#define IS_OBJECT_OF(object, ...)                                                                            \
    is_object_of(object, (const char *const[]){__VA_ARGS__},                                                 \
                 sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

static bool string_is(struct json_object *value, const char *text)
{
    return json_object_is_type(value, json_type_string) &&
           (size_t)json_object_get_string_len(value) == strlen(text) &&
           !memcmp(json_object_get_string(value), text, strlen(text));
}

static bool string_is_uuid(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) &&
           control_uuid_plausible(json_object_get_string(value), (size_t)json_object_get_string_len(value));
}

static bool integer_is(struct json_object *value, int64_t number)
{
    return json_object_is_type(value, json_type_int) && json_object_get_int64(value) == number;
}

/* The same envelope by its tree: the keys that there are, each known, none left out. */
static bool tree_right(struct json_object *envelope, struct error *error)
{
    if (!IS_OBJECT_OF(envelope, "body", "content-encoding", "content-type", "headers", "properties"))
        return refuse(error, "the envelope has other parts");
    struct json_object *headers = get(envelope, "headers"), *properties = get(envelope, "properties");
    if (!IS_OBJECT_OF(headers, "clock", "expires") || !integer_is(get(headers, "clock"), 1) ||
        !json_object_is_type(get(headers, "expires"), json_type_int))
        return refuse(error, "its headers are others");
    struct json_object *info = get(properties, "delivery_info");
    if (!IS_OBJECT_OF(properties, "delivery_mode", "delivery_info", "priority", "body_encoding",
                      "delivery_tag") ||
        !integer_is(get(properties, "delivery_mode"), 2) || !integer_is(get(properties, "priority"), 0) ||
        !string_is(get(properties, "body_encoding"), "base64") ||
        !string_is_uuid(get(properties, "delivery_tag")))
        return refuse(error, "its properties are others");
    if (!IS_OBJECT_OF(info, "exchange", "routing_key") ||
        !string_is(get(info, "exchange"), CONTROL_EXCHANGE) || !string_is(get(info, "routing_key"), ""))
        return refuse(error, "its delivery_info is another one");
    return true;
}

/* ---- the body ---- */

static bool destination_right(struct json_object *value, const struct celery_control_request *request,
                              struct error *error)
{
    /* A text would be searched for parts of it, an empty array would be everybody. */
    if (!json_object_is_type(value, json_type_array) || !json_object_array_length(value))
        return refuse(error, "it has no destination");
    if (json_object_array_length(value) != request->destination_count)
        return refuse(error, "it has another destination");
    for (size_t i = 0; i < request->destination_count; i++) {
        struct json_object *name = json_object_array_get_idx(value, i);
        if (!string_is(name, request->destination[i]) ||
            !control_worker_plausible(json_object_get_string(name), (size_t)json_object_get_string_len(name)))
            return refuse(error, "it has another destination");
    }
    return true;
}

static bool arguments_right(struct json_object *arguments, const struct celery_control_request *request,
                            struct error *error)
{
    const struct control_method *method = control_method_find(request->method);
    struct error why;
    if (!method)
        return refuse(error, "its method is not on the list");
    if (!json_object_is_type(arguments, json_type_object) || !control_arguments_fit(method, arguments, &why))
        return refuse(error, "its arguments are none that the method takes");
    bool same = request->arguments ? json_object_equal(arguments, request->arguments)
                                   : json_object_object_length(arguments) == 0;
    return same || refuse(error, "its arguments are others");
}

static bool body_right(struct json_object *body, const struct celery_control_request *request,
                       struct error *error)
{
    bool known = request->wants_reply ? IS_OBJECT_OF(body, "method", "arguments", "destination", "pattern",
                                                     "matcher", "ticket", "reply_to")
                                      : IS_OBJECT_OF(body, "method", "arguments", "destination", "pattern",
                                                     "matcher", "ticket");
    if (!known)
        return refuse(error, "its body has other parts");
    if (!request->method || !string_is(get(body, "method"), request->method))
        return refuse(error, "its method is another one");
    if (get(body, "pattern") || get(body, "matcher"))
        return refuse(error, "it says a pattern");
    if (!string_is_uuid(get(body, "ticket")))
        return refuse(error, "it has no ticket");
    struct json_object *reply_to = get(body, "reply_to");
    if (request->wants_reply && (!IS_OBJECT_OF(reply_to, "exchange", "routing_key") ||
                                 !string_is(get(reply_to, "exchange"), CONTROL_REPLY_EXCHANGE) ||
                                 !string_is_uuid(get(reply_to, "routing_key"))))
        return refuse(error, "it says nowhere to answer to");
    return destination_right(get(body, "destination"), request, error) &&
           arguments_right(get(body, "arguments"), request, error);
}

/* Every key stands there once: Python, json-c and we could each believe another one. The text is valid JSON.
 */
static bool keys_once(const char *text, size_t length, size_t expected)
{
    size_t colons = 0;
    bool string = false;
    for (size_t i = 0; i < length; i++) {
        if (string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            string = !string;
        else if (!string && text[i] == ':')
            colons++;
    }
    return colons == expected;
}

static size_t count_keys(struct json_object *value)
{
    size_t count = 0;
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, name, member)
        {
            (void)name;
            count += 1 + count_keys(member);
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            count += count_keys(json_object_array_get_idx(value, i));
    }
    return count;
}

bool celery_control_check(const char *payload, size_t length, const struct celery_control_request *request,
                          struct error *error)
{
    struct celery_envelope envelope;
    size_t body_length;
    struct error why;
    if (!payload || !is_plain(payload, length))
        return refuse(error, "it holds what an envelope does not");
    celery_envelope_scan(&envelope, payload, length, NULL);
    if (envelope.poison == POISON_A)
        return refuse(error, envelope.why ? envelope.why : "it would end a worker");
    if (!envelope_right(&envelope, error))
        return false;
    struct json_object *tree = parse(payload, length);
    bool right = tree_right(tree, error) && (keys_once(payload, length, count_keys(tree)) ||
                                             refuse(error, "the envelope says something twice"));
    json_object_put(tree);
    if (!right)
        return false;
    char *text = celery_body_decode(NULL, &envelope, &body_length, &why);
    struct json_object *body = text && is_printable(text, body_length) ? parse(text, body_length) : NULL;
    if (!text || !body)
        right = refuse(error, "its body is no JSON");
    else
        right = body_right(body, request, error) && (keys_once(text, body_length, count_keys(body)) ||
                                                     refuse(error, "its body says something twice"));
    json_object_put(body);
    talloc_free(text);
    return right;
}
