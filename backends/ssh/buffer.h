/* Bytes on their way: appended at the end, taken at the front. Gives its memory back when it is empty. */
#ifndef BACKENDS_SSH_BUFFER_H
#define BACKENDS_SSH_BUFFER_H

#include <stddef.h>

struct buffer {
    char *bytes;
    size_t start, length, size;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t length);
/* The bytes that are there; their number is buffer->length. */
const char *buffer_bytes(const struct buffer *buffer);
void buffer_take(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);

#endif
