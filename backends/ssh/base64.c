/* Base64 of keys and fingerprints. Strict: what OpenSSH would not read is not read. */
#include "backends/ssh/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <talloc.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char letter)
{
    if (letter >= 'A' && letter <= 'Z')
        return letter - 'A';
    if (letter >= 'a' && letter <= 'z')
        return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9')
        return letter - '0' + 52;
    return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

unsigned char *base64_decode(const void *context, const char *text, size_t text_length, size_t *length)
{
    size_t used = 0, padding = 0;
    if (text_length == 0 || text_length % 4 != 0)
        return NULL;
    while (padding < 2 && text[text_length - 1 - padding] == '=')
        padding++;
    unsigned char *bytes = talloc_array(context, unsigned char, text_length / 4 * 3);
    if (!bytes)
        abort();
    for (size_t i = 0; i < text_length; i += 4) {
        uint32_t group = 0;
        for (size_t j = i; j < i + 4; j++) {
            int value = j >= text_length - padding ? 0 : value_of(text[j]);
            if (value < 0) {
                talloc_free(bytes);
                return NULL;
            }
            group = group << 6 | (uint32_t)value;
        }
        bytes[used++] = (unsigned char)(group >> 16);
        bytes[used++] = (unsigned char)(group >> 8);
        bytes[used++] = (unsigned char)group;
    }
    *length = used - padding;
    return bytes;
}

char *base64_encode(const void *context, const unsigned char *bytes, size_t length, int padded)
{
    size_t used = 0;
    char *text = talloc_array(context, char, (length + 2) / 3 * 4 + 1);
    if (!text)
        abort();
    for (size_t i = 0; i < length; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < length ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < length ? bytes[i + 2] : 0;
        text[used++] = alphabet[group >> 18 & 63];
        text[used++] = alphabet[group >> 12 & 63];
        if (i + 1 < length || padded)
            text[used++] = i + 1 < length ? alphabet[group >> 6 & 63] : '=';
        if (i + 2 < length || padded)
            text[used++] = i + 2 < length ? alphabet[group & 63] : '=';
    }
    text[used] = '\0';
    return text;
}
