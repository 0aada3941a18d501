/* libFuzzer: any bytes as an event or as a reply of a worker: memory stays bounded, and a snapshot can be
 * made. */
#include <json-c/json.h>
#include <stdint.h>
#include <talloc.h>

#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_crew.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct celery_system *system = talloc_zero(NULL, struct celery_system);
    system->names.control = "celery";
    system->ids = celery_ids_new(system);
    system->crew = talloc_zero(system, struct celery_crew);
    system->crew->system = system;
    celery_watch_hear(system, (const char *)data, size);
    /* the same bytes as a body that is not encoded */
    struct json_object *envelope = json_object_new_object();
    json_object_object_add(envelope, "body", json_object_new_string_len((const char *)data, (int)size));
    const char *text = json_object_to_json_string(envelope);
    celery_watch_hear(system, text, strlen(text));
    snapshot_release(celery_crew_snapshot(system));
    json_object_put(celery_control_reply((const char *)data, size, "t"));
    json_object_put(envelope);
    celery_watch_free(system->watch);
    talloc_free(system);
    return 0;
}
