/* Any text at all as a plan: read, judged and printed both ways, without a crash, a leak or a hang. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <talloc.h>

#include "backends/postgres/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    struct plan *plan = plan_read(NULL, (const char *)data, size, &error);
    if (!plan)
        return error.kind == ERROR_NONE ? abort(), 0 : 0;
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    if (!file || !plan_print_json(plan, file) || !plan_print_text(plan, file))
        abort();
    fclose(file);
    free(text);
    plan_next_worst(plan, plan_next_worst(plan, 0));
    talloc_free(plan);
    return 0;
}
