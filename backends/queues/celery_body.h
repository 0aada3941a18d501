/* Bodies of Celery's messages: base64, decompression, and what their JSON is made of. */
#ifndef BACKENDS_QUEUES_CELERY_BODY_H
#define BACKENDS_QUEUES_CELERY_BODY_H

#include "backends/queues/celery_json.h"

/* As Python's base64.b64decode without validate: what is not of the alphabet is passed over, and what follows
 * the padding is ignored. `out` holds at least length / 4 * 3 + 3 bytes. False: Python refuses it. */
bool celery_base64(const char *text, size_t length, unsigned char *out, size_t *out_length);

enum celery_packing {
    PACKING_NONE,
    PACKING_ZLIB, /* kombu's gzip and zlib are both a zlib stream */
    PACKING_BZIP2,
    PACKING_OTHER,   /* lzma, brotli, zstd: not decoded here */
    PACKING_UNKNOWN, /* kombu knows none of that name */
};
enum celery_packing celery_packing(struct span compression);
enum celery_inflated { INFLATED, INFLATED_BROKEN, INFLATED_TOO_BIG };
/* `out` is malloc'd, NULL when there is nothing. `strict`: as Python's zlib.decompress, which takes no gzip.
 */
enum celery_inflated celery_unpack(enum celery_packing packing, const char *bytes, size_t length, bool strict,
                                   unsigned char **out, size_t *out_length);

/* The bytes of a body in front of deserializing, in a buffer that is used again (free with free()). */
struct celery_bytes {
    const char *at;
    size_t length;
    char *buffer;
    size_t room;
    bool lone; /* its text holds a lone surrogate, which cannot be encoded */
};
/* The text of `body` and, when `base64`, what it stands for. False: it cannot be decoded. */
bool celery_body_bytes(struct span body, bool base64, struct celery_bytes *bytes);

/* What a decoded body is. */
struct celery_payload {
    bool json; /* it is JSON; all else tells only then */
    struct span value;
    size_t count;  /* elements, or different keys (up to 4) */
    bool has_args; /* "args" is among its elements, keys or text */
    /* of an array of three */
    struct span args, kwargs, embed;
};
void celery_payload_look(struct celery_payload *payload, const char *body, size_t length);
/* UTF-8 as Python decodes it: no surrogates, nothing too long. */
bool celery_utf8(const char *text, size_t length);

#endif
