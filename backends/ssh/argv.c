/* The system's `ssh` for a shell in the terminal. There the user is asked as ever; keys are added by nobody.
 */
#include <stdlib.h>
#include <talloc.h>

#include "backends/ssh/config.h"
#include "backends/ssh/pool.h"
#include "backends/ssh/system_internal.h"

static void add(const char **argv, size_t *count, const char *word)
{
    if (!word)
        abort();
    argv[(*count)++] = word;
}

const char **ssh_host_argv(const void *context, const struct ssh_host *host, const char *command)
{
    const char **argv = talloc_zero_array(context, const char *, 24);
    const char *config = ssh_host_options(host)->config;
    const char *master = host->kind == SSH_TRANSPORT_SYSTEM && host->state == CONNECTION_UP
                             ? system_socket_path(host->session)
                             : NULL;
    size_t count = 0;
    if (!argv)
        abort();
    add(argv, &count, "ssh");
    if (config) {
        add(argv, &count, "-F");
        add(argv, &count, talloc_strdup(argv, config));
    }
    add(argv, &count, "-o");
    add(argv, &count, "StrictHostKeyChecking=yes");
    add(argv, &count, "-o");
    add(argv, &count, "UpdateHostKeys=no");
    if (master) { /* when it is gone meanwhile, ssh connects by itself */
        add(argv, &count, "-o");
        add(argv, &count, "ControlMaster=no");
        add(argv, &count, "-S");
        add(argv, &count, talloc_strdup(argv, master));
    }
    if (command)
        add(argv, &count, "-t");
    const char **destination = ssh_destination_argv(argv, ssh_host_destination(host), NULL);
    for (size_t i = 0; destination && destination[i]; i++)
        add(argv, &count, destination[i]);
    if (command)
        add(argv, &count, talloc_strdup(argv, command));
    return argv;
}
