/* Bytes on their way: a block that is moved together when its end is reached. */
#include "backends/ssh/buffer.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT = 4096 }; /* an empty buffer keeps no more than this */

void buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    if (buffer->start + buffer->length + length > buffer->size) {
        if (buffer->start) /* memory of its own may be overlapped by itself */
            memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->length);
        buffer->start = 0;
    }
    if (buffer->length + length > buffer->size) {
        size_t size = buffer->size ? buffer->size : 512;
        while (size < buffer->length + length)
            size *= 2;
        char *larger = realloc(buffer->bytes, size);
        if (!larger)
            abort();
        buffer->bytes = larger;
        buffer->size = size;
    }
    memcpy(buffer->bytes + buffer->start + buffer->length, bytes, length);
    buffer->length += length;
}

const char *buffer_bytes(const struct buffer *buffer)
{
    return buffer->length ? buffer->bytes + buffer->start : NULL;
}

void buffer_take(struct buffer *buffer, size_t length)
{
    buffer->start += length;
    buffer->length -= length;
    if (buffer->length)
        return;
    buffer->start = 0;
    if (buffer->size > KEPT)
        buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}
