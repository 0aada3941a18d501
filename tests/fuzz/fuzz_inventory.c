/* libFuzzer: any bytes as an Ansible inventory. It must end soon, tell an error or give hosts, never both,
 * and no name or destination may hold what a shell or ssh would take for something else. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error_list *errors = error_list_new(NULL);
    size_t count = 0;
    const struct environment_host *hosts =
        environment_parse_inventory(errors, "hosts.ini", (const char *)data, size, &count, errors);
    if (!hosts != (errors->count > 0) || count > INVENTORY_HOSTS_MAX)
        abort();
    for (size_t i = 0; i < count; i++)
        if (!environment_is_destination(hosts[i].name) || !environment_is_destination(hosts[i].ssh) ||
            environment_is_unsafe(hosts[i].ssh))
            abort();
    talloc_free(errors);
    return 0;
}
