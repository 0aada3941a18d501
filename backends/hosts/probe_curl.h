/* GET with libcurl on the loop: the part of probing that is done from here. */
#ifndef BACKENDS_HOSTS_PROBE_CURL_H
#define BACKENDS_HOSTS_PROBE_CURL_H

#include "core/error.h"
#include "core/loop.h"

struct probe_curl;

struct probe_answer {
    int status; /* 0: there was none */
    double name_ms, connect_ms, tls_ms, first_byte_ms, total_ms;
    double certificate_until;
    struct error error;
};

struct probe_curl *probe_curl_new(struct loop *loop);
/* Requests in flight are given up: their done is not called. */
void probe_curl_free(struct probe_curl *curl);

/* Asks `url`; the texts are copied. `connect` ("host:port") and `ca` may be NULL. The answer's body is read
 * and thrown away, 1 MiB at most. done exactly once, in a later turn, within deadline_s. */
void probe_curl_get(struct probe_curl *curl, const char *url, const char *connect, const char *ca,
                    double deadline_s, void (*done)(void *data, const struct probe_answer *answer),
                    void *data);

#endif
