/* Numbers and strings as the SSH protocol writes them: big-endian, the length in front. */
#include "backends/ssh/packet.h"

uint32_t packet_take_number(struct packet_reader *reader)
{
    const unsigned char *at = reader->at;
    if (reader->left < 4) {
        reader->bad = true;
        return 0;
    }
    reader->at += 4;
    reader->left -= 4;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

const unsigned char *packet_take_string(struct packet_reader *reader, size_t *length)
{
    *length = packet_take_number(reader);
    if (reader->bad || *length > reader->left) {
        reader->bad = true;
        *length = 0;
        return (const unsigned char *)"";
    }
    const unsigned char *string = reader->at;
    reader->at += *length;
    reader->left -= *length;
    return string;
}

void packet_put_number(struct buffer *out, size_t number)
{
    unsigned char bytes[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                              (unsigned char)(number >> 8), (unsigned char)number};
    buffer_append(out, bytes, sizeof bytes);
}

void packet_put_string(struct buffer *out, const void *bytes, size_t length)
{
    packet_put_number(out, length);
    buffer_append(out, bytes, length);
}
