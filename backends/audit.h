/*
 * The audit log: append-only, one file a user and environment, one JSON object a line, each chained to the
 * last by SHA-256. A thread of its own writes and flushes it, with a deadline, so that no disk ever blocks
 * the loop.
 */
#ifndef BACKENDS_AUDIT_H
#define BACKENDS_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/loop.h"

struct audit;

/* What is on record. Texts are borrowed for the call; NULL is left out. Secrets are masked by audit_write. */
struct audit_entry {
    const char *event;  /* "before", "after", "unlock", "lock", "break-glass", "measure", "refused";
                           the log itself adds "torn" and "damaged" */
    const char *change; /* id that ties before and after: unique in the environment */
    const char *server;
    const char *hazard;
    const char *verb;    /* "terminate" */
    const char *target;  /* identity and description of the thing */
    const char *command; /* exactly what is sent */
    const char *role;    /* as which login */
    const char *reason;
    const char *outcome; /* after: "done", "gone", "failed", "unknown", "skipped", "refused", "cancelled" */
    const char *detail;
};

/* Opens the log of `environment` in the state folder (made when missing, mode 0700/0600). `directory` NULL:
 * the user's state folder. Never fails: a log that cannot be opened shows at the first write. */
struct audit *audit_new(struct loop *loop, const char *environment, const char *directory);
/* Waits at most 2 s for what is queued; no `done` is called any more. NULL is allowed. */
void audit_free(struct audit *audit);

enum audit_place { AUDIT_NOWHERE, AUDIT_FILE, AUDIT_JOURNAL };
/* Appends; `done` is called on the loop's thread within 2.5 s whatever happens: where the record is now, and
 * why not in the file. A record that reached neither the file nor the journal is AUDIT_NOWHERE, with the
 * whole record in `record` so that break-glass can print it. When the disk only was late, the record may
 * still turn up in the file; that is not told again. Records in the journal are not part of the chain. */
void audit_write(struct audit *audit, const struct audit_entry *entry,
                 void (*done)(void *data, enum audit_place place, const char *record,
                              const struct error *error),
                 void *data);

/* Tells the journal (or syslog) at once, with priority alert: for what others must hear of now. Never blocks.
 * False: nobody listens. */
bool audit_alert(const char *environment, const char *text);

/* One line read back. Texts under the list's context; NULL when absent. */
struct audit_record {
    uint64_t sequence;
    double time;
    char *user, *host, *environment;
    char *event, *change, *server, *hazard, *verb, *target, *command, *role, *reason, *outcome, *detail;
    char *hash;
};
struct audit_list {
    struct audit_record *records; /* oldest first */
    size_t count;
};
/* Reads the log of an environment; `limit` last records (0: all). A missing file is an empty list. Blocking:
 * from batch commands and workers. */
struct audit_list *audit_read(const void *context, const char *environment, const char *directory,
                              size_t limit, struct error *error);

struct audit_verdict {
    bool sound;
    uint64_t records;
    uint64_t first_bad;  /* line number; 0 when sound */
    char head[65];       /* hash of the last record: keep it elsewhere to notice a cut tail */
    uint64_t unfinished; /* "before" without "after": outcome unknown (or still being sent) */
    uint64_t torn;       /* lines that a crash left unfinished and that the chain has since sealed */
    char problem[256];
};
/* Walks the chain. `expected_head` (NULL: none) is a head that was kept: some record must have that hash.
 * False only when the file cannot be read. */
bool audit_verify(const char *environment, const char *directory, const char *expected_head,
                  struct audit_verdict *verdict, struct error *error);

#endif
