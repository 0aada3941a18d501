/*
 * Celery's message as kombu puts it into Redis (protocols 1 and 2): a scanner over the exact bytes that keeps
 * nothing and copies nothing, says what a worker would make of it, and splices single values. Format:
 * https://docs.celeryq.dev/en/stable/internals/protocol.html and kombu/transport/redis.py.
 */
#ifndef BACKENDS_QUEUES_CELERY_ENVELOPE_H
#define BACKENDS_QUEUES_CELERY_ENVELOPE_H

#include "backends/queues/job.h"
#include "core/error.h"

/* Bytes within the message; of a JSON string: what is between its quotes, still escaped. `at` NULL: absent.
 */
struct span {
    const char *at;
    size_t length;
    enum { SPAN_ABSENT, SPAN_NULL, SPAN_STRING, SPAN_NUMBER, SPAN_BOOLEAN, SPAN_ARRAY, SPAN_OBJECT } kind;
};

enum celery_body { BODY_JSON, BODY_PICKLE, BODY_MSGPACK, BODY_YAML, BODY_DATA, BODY_OTHER };

struct celery_envelope {
    const char *raw;
    size_t length;
    bool protocol1; /* then task, id, eta ... come from the decoded body */
    struct span body, content_type, content_encoding, headers, properties;
    /* headers */
    struct span task, id, eta, expires, group, root_id, parent_id, argsrepr, kwargsrepr, origin, schema_name,
        sent_at, compression, retries, timelimit, redelivered, shadow, tenant_header;
    /* properties */
    struct span delivery_tag, delivery_info, body_encoding, priority, routing_key, exchange, reply_to,
        periodic_task_name, delivery_redelivered, expiration;
    enum celery_body body_kind;
    bool chained; /* its body names others that follow (chain, callbacks) */
    bool chord;   /* its body names the chord that it is a member of */
    enum job_poison poison;
    const char *why; /* static text: why it is poison, and what a worker does with it */
};

/* Fills all of it in one pass over the bytes; a message that is not right is poison, never an error.
 * `tenant_header`: a further header that names the tenant, or NULL. */
void celery_envelope_scan(struct celery_envelope *envelope, const char *raw, size_t length,
                          const char *tenant_header);
/* Are all members equal that the splices below do not change? */
bool celery_envelope_same(const struct celery_envelope *a, const struct celery_envelope *b);
/* The text of a JSON string's span with its escapes undone (lone surrogates become U+FFFD); NULL when it is
 * none. Under context. */
char *celery_span_text(const void *context, struct span span);
double celery_span_real(struct span span); /* NAN: not a number */
/* ISO 8601; naive times are UTC (Celery reads them so). Seconds since the epoch; NAN: cannot be read. */
double celery_span_time(struct span span);

enum { CELERY_BODY_MAX = 4 * 1024 * 1024 }; /* inflated; larger ones are not shown (a zip bomb) */
/* The body after base64 and decompression; NULL with error (also for pickle, which is never decoded). Under
 * context. */
char *celery_body_decode(const void *context, const struct celery_envelope *envelope, size_t *length,
                         struct error *error);

/* Who a job's tenant is: settings of the environment's file (all NULL: the header _schema_name, then the
 * kwarg). */
struct celery_tenancy {
    const char *header;        /* a further header */
    const char *keyword;       /* a keyword argument; NULL: _schema_name */
    int argument;              /* position of an argument, from 0; -1: none */
    const char *queue_pattern; /* "tenant.*": the part that * stands for is the tenant; NULL: none */
};
/* Fills a job from its message: everything but state, key, index and raw. Texts are under context. `queue`
 * may be NULL (then the routing key). Decodes the body only when it must (protocol 1, tenant from arguments).
 */
void celery_job_fill(const void *context, struct job *job, const struct celery_envelope *envelope,
                     const char *queue, const struct celery_tenancy *tenancy);
/* The tenant alone, quickly, for counting; NULL: none. Not NUL-terminated unless unescaping was needed:
 * length. */
const char *celery_tenant_quick(const void *context, const struct celery_envelope *envelope,
                                const char *queue, const struct celery_tenancy *tenancy, size_t *length);

/* The same message with headers.expires set to `expires` (an ISO text), every other byte as it was; checked
 * by scanning it again. NULL with error when that is not possible (poison A, protocol 1). Under context. */
char *celery_envelope_expire(const void *context, const struct celery_envelope *envelope, const char *expires,
                             size_t *length, struct error *error);
/* The same with redelivered = true in headers and delivery_info, as kombu's restore does. */
char *celery_envelope_redelivered(const void *context, const struct celery_envelope *envelope, size_t *length,
                                  struct error *error);
/* The message within a value of the hash `unacked`: [message, exchange, routing_key]. False: it is none. */
bool celery_unacked_message(const char *value, size_t length, struct span *message, struct span *exchange,
                            struct span *routing_key);

/* The redacted arguments of a body [args, kwargs, embed], one line: names of keywords and types, no values
 * ("(int, str), {school: str, year: int}"). Under context; NULL when it is not one. */
char *celery_body_shape(const void *context, const char *body, size_t length);

#endif
