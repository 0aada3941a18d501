/*
 * What is known of one host from answer to answer: takes the answers of collector.sh, computes what needs two
 * samples, and makes snapshots. Knows no connection: fleet.c feeds it, tests feed it texts.
 */
#ifndef BACKENDS_HOSTS_RECORD_H
#define BACKENDS_HOSTS_RECORD_H

#include "backends/hosts/host.h"
#include "core/error.h"

struct host_record;

/* `name` and `group` (may be NULL) are copied. */
struct host_record *host_record_new(const void *context, const char *name, const char *group);

/* A status page of nginx was only guessed, not configured: silence of it is no problem. */
void host_record_set_status_guessed(struct host_record *record, bool guessed);

struct host_answer {
    enum host_tier tier;
    const char *mark; /* what begins the lines that are not content: "@@MARK " */
    const char *text; /* not NUL-terminated */
    size_t length;
    double asked, first, answered; /* wall time: the request, the first byte, the last one */
};

/* Reads an answer. False when it holds nothing of its tier: what was known stays. */
bool host_record_take(struct host_record *record, const struct host_answer *answer, struct error *error);

/* What only the fleet knows of the host. */
struct host_standing {
    double now;
    double silent_s;             /* how long it has not answered although it was asked; 0: it answers */
    const char *why;             /* why it does not ("refused"), or NULL */
    const char *release_differs; /* "others r481" when the release is not that of its group, or NULL */
};

/* Nobody looks at the details any more. */
void host_record_drop_detail(struct host_record *record);
/* Who the collector runs as there: named in what would permit more. */
void host_record_set_user(struct host_record *record, const char *user);

/* The snapshot of what is known now, judged: the caller holds its one reference. */
struct host_snapshot *host_record_publish(struct host_record *record, const struct host_standing *standing);

/* The series of fleet.h as of the last answer of the fast tier, SERIES_COUNT floats. */
void host_record_series(const struct host_record *record, float *values);

/* Arguments of the next request of the slow tier: the key of the package lists. Fresh talloc string. */
char *host_record_slow_request(const void *context, const struct host_record *record);
/* Arguments of the next request of the detail tier: the key of the package lists and the processes to look
 * at. Fresh talloc string. */
char *host_record_detail_request(const void *context, const struct host_record *record);

#endif
