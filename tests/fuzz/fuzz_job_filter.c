/* A line of filter, then a Celery message: what matches is never excluded by the quick look at its bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_envelope.h"
#include "backends/queues/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = memchr(data, '\n', size);
    size_t length = line ? (size_t)(line - data) : size;
    void *context = talloc_new(NULL);
    struct error error = {0};
    char *text = talloc_strndup(context, (const char *)data, length);
    struct job_filter *filter = job_filter_parse(context, text, &error);
    if (!filter && error.kind != ERROR_USAGE)
        abort();
    if (filter && line) {
        const char *raw = (const char *)line + 1;
        struct celery_envelope envelope;
        struct job job = {0};
        const struct celery_tenancy tenancy = {.argument = -1};
        celery_envelope_scan(&envelope, raw, size - length - 1, NULL);
        celery_job_fill(context, &job, &envelope, "reports", &tenancy);
        size_t body_length;
        char *body = celery_body_decode(context, &envelope, &body_length, &error);
        bool matches = job_filter_matches(filter, &job, body, body_length, 1795262400);
        /* Members of that name in odd places are none of kombu's. */
        bool usual = !envelope.protocol1 && (envelope.schema_name.kind == SPAN_STRING ||
                                             !memmem(raw, size - length - 1, "_schema_name", 12));
        if (matches && usual && !job_filter_may_match(filter, raw, size - length - 1))
            abort();
    }
    talloc_free(context);
    return 0;
}
