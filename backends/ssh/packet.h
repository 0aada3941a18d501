/* Numbers and strings as the SSH protocol writes them (RFC 4251, section 5). */
#ifndef BACKENDS_SSH_PACKET_H
#define BACKENDS_SSH_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/ssh/buffer.h"

struct packet_reader {
    const unsigned char *at;
    size_t left;
    bool bad; /* it was too short; nothing read since means anything */
};
uint32_t packet_take_number(struct packet_reader *reader);
/* Points into what is read; never NULL. */
const unsigned char *packet_take_string(struct packet_reader *reader, size_t *length);

void packet_put_number(struct buffer *out, size_t number);
void packet_put_string(struct buffer *out, const void *bytes, size_t length);

#endif
