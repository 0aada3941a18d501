/* libFuzzer: any bytes as the output of `ssh -G`, and as a destination. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/config_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *context = talloc_new(NULL);
    struct error error = {0};
    struct ssh_settings *settings = ssh_settings_parse(context, "fuzz", (const char *)data, size, &error);
    if (!settings != (error.kind != ERROR_NONE))
        abort();
    if (settings && (!settings->hostname || settings->port < 1 || settings->port > 65535))
        abort();
    const char **argv =
        ssh_destination_argv(context, talloc_strndup(context, (const char *)data, size), NULL);
    for (size_t i = 0; argv && argv[i]; i++)
        if (strcmp(argv[i], "--") == 0 && (!argv[i + 1] || argv[i + 1][0] == '-' || argv[i + 2]))
            abort();
    talloc_free(context);
    return 0;
}
