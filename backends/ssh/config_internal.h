/* Shared by the files that read the SSH configuration. */
#ifndef BACKENDS_SSH_CONFIG_INTERNAL_H
#define BACKENDS_SSH_CONFIG_INTERNAL_H

#include "backends/ssh/config.h"

struct ssh_destination {
    const char *user, *host; /* user NULL: not given */
    int port;                /* 0: not given */
};
/* Takes a destination apart. The texts are talloc'd under context. */
bool ssh_destination_parse(const void *context, const char *destination, struct ssh_destination *parts,
                           struct error *error);

#endif
