/* Base64 as OpenSSH's files have it: one line, padded. */
#ifndef BACKENDS_SSH_BASE64_H
#define BACKENDS_SSH_BASE64_H

#include <stddef.h>

/* Fresh talloc bytes, or NULL when the text is not base64 (blanks count as such) or empty. */
unsigned char *base64_decode(const void *context, const char *text, size_t text_length, size_t *length);
/* Fresh talloc string; without the padding when `padded` is 0. */
char *base64_encode(const void *context, const unsigned char *bytes, size_t length, int padded);

#endif
