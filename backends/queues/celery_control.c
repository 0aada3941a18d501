/* Making a control message: the envelope that kombu's Mailbox would publish. It is read again by
 * celery_control_check.c before it is sent; the two share nothing but the list of methods. */
#include "backends/queues/celery_control.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control_internal.h"
#include "backends/ssh/base64.h"

#define REFUSE(error, ...) error_set(error, ERROR_INTERLOCK, NULL, "control message", NULL, __VA_ARGS__)

static bool request_fits(const struct celery_control_request *request, const char *oid, const char *ticket,
                         struct error *error)
{
    const struct control_method *method = control_method_find(request->method);
    if (!method)
        return REFUSE(error, "\"%s\" is not on the list of methods that are sent",
                      request->method ? request->method : "");
    if (!request->destination_count)
        return REFUSE(error, "%s without a destination would reach every worker", request->method);
    for (size_t i = 0; i < request->destination_count; i++) {
        const char *name = request->destination[i];
        if (!name || !control_worker_plausible(name, strlen(name)))
            return REFUSE(error, "\"%s\" is no name of a worker", name ? name : "");
    }
    if (request->wants_reply && method->silent)
        return REFUSE(error, "%s is never answered", request->method);
    if (!control_uuid_plausible(oid, oid ? strlen(oid) : 0) ||
        !control_uuid_plausible(ticket, ticket ? strlen(ticket) : 0))
        return REFUSE(error, "the ids of the %s are none", "message");
    return control_arguments_fit(method, request->arguments, error);
}

static char *append_string(char *text, const char *string)
{
    struct json_object *value = json_object_new_string(string);
    const char *json = json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE);
    text = talloc_strdup_append_buffer(text, json);
    if (!text)
        abort();
    json_object_put(value);
    return text;
}

static char *make_body(const void *context, const struct celery_control_request *request, const char *oid,
                       const char *ticket)
{
    char *text = talloc_strdup(context, "{\"method\": ");
    text = append_string(text, request->method);
    text = talloc_strdup_append_buffer(text, ", \"arguments\": ");
    text = talloc_strdup_append_buffer(
        text, request->arguments
                  ? json_object_to_json_string_ext(request->arguments,
                                                   JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                  : "{}");
    text = talloc_strdup_append_buffer(text, ", \"destination\": [");
    for (size_t i = 0; i < request->destination_count; i++) {
        if (i)
            text = talloc_strdup_append_buffer(text, ", ");
        text = append_string(text, request->destination[i]);
    }
    text = talloc_asprintf_append_buffer(text, "], \"pattern\": null, \"matcher\": null, \"ticket\": \"%s\"",
                                         ticket);
    if (request->wants_reply)
        text = talloc_asprintf_append_buffer(
            text, ", \"reply_to\": {\"exchange\": \"" CONTROL_REPLY_EXCHANGE "\", \"routing_key\": \"%s\"}",
            oid);
    text = talloc_strdup_append_buffer(text, "}");
    if (!text)
        abort();
    return text;
}

char *celery_control_build(const void *context, const struct celery_control_request *request, const char *oid,
                           const char *ticket, double now, size_t *length, struct error *error)
{
    if (!request_fits(request, oid, ticket, error))
        return NULL;
    char *body = make_body(NULL, request, oid, ticket);
    char *encoded = base64_encode(body, (const unsigned char *)body, strlen(body), 1);
    double deadline = request->deadline_s > 0 ? request->deadline_s : CONTROL_DEADLINE_S;
    char *payload = talloc_asprintf(
        context,
        "{\"body\": \"%s\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", "
        "\"headers\": {\"clock\": 1, \"expires\": %" PRId64 "}, \"properties\": {\"delivery_mode\": 2, "
        "\"delivery_info\": {\"exchange\": \"" CONTROL_EXCHANGE "\", \"routing_key\": \"\"}, "
        "\"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"%s\"}}",
        encoded, (int64_t)ceil(now + deadline), ticket);
    talloc_free(body);
    if (!payload)
        abort();
    *length = strlen(payload);
    return payload;
}
