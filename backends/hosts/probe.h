/*
 * From outside: can a user log in now? The environment's URLs are asked from here (libcurl, on the loop) and
 * from a host (curl over SSH), one domain after the other, and nothing is sent but GET.
 */
#ifndef BACKENDS_HOSTS_PROBE_H
#define BACKENDS_HOSTS_PROBE_H

#include "backends/environment.h"
#include "backends/feed.h"
#include "backends/hosts/fleet.h"

struct probes;

/* The last answer of one URL, for one domain, from one place. All texts live as long as the probes. Times in
 * ms, NAN: unknown or not reached. */
struct probe {
    const char *id;                  /* unique: "app/alnoor.example.edu/bastion" */
    const char *name, *domain, *url; /* domain: NULL when the URL names none; url: as asked */
    const char *from;                /* a host, or "here" */
    int expect, status;              /* status: 0 when there was no answer */
    double name_ms, connect_ms, tls_ms, first_byte_ms, total_ms; /* since it was begun */
    double certificate_until;     /* seconds since the epoch; NAN: none, or unknown */
    double asked_at, answered_at; /* seconds since the epoch; 0: never */
    double failing_since;         /* 0: it does not fail */
    struct error error;           /* why there is no good answer; kind ERROR_NONE when there is one */
};

/* All borrowed; `changed` when a probe answered. Nothing is asked until somebody wants the feed. */
struct probes *probes_new(struct loop *loop, const struct environment *environment, struct fleet *fleet,
                          void (*changed)(void *data), void *data);
void probes_free(struct probes *probes);

/* One round of all probes, every 30 s while it is wanted. */
struct feed *probes_feed(struct probes *probes);
size_t probes_count(const struct probes *probes);
const struct probe *probes_item(const struct probes *probes, size_t index);

/* The domains of the tenants, for URLs with {domain} that name none themselves; at most PROBE_DOMAINS are
 * asked. The list is copied. */
enum { PROBE_DOMAINS = 50 };
void probes_set_domains(struct probes *probes, const char *const *domains, size_t count);
/* They cannot be had: only URLs that need none are asked, and the feed says why. */
void probes_no_domains(struct probes *probes, const struct error *error);
/* Whether such a URL waits for them. */
bool probes_want_domains(const struct probes *probes);

#endif
