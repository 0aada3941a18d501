/* Shared by audit_*.c and their tests only: the form of a line and of the chain. */
#ifndef BACKENDS_AUDIT_INTERNAL_H
#define BACKENDS_AUDIT_INTERNAL_H

#include "backends/audit.h"

enum { AUDIT_HASH = 64 /* hex digits of SHA-256 */ };

/* {"sequence":N,BODY,"prev":"64 hex digits","hash":"64 hex digits"} and a newline. The hash is over all bytes
 * in front of ,"hash" and so covers prev too; the first record's prev is 64 zeros. */
struct audit_link {
    uint64_t sequence;
    char prev[AUDIT_HASH + 1];
    char hash[AUDIT_HASH + 1];
};

/* Hex SHA-256; hash has room for AUDIT_HASH + 1. Any thread. */
void audit_hash(char *hash, const char *bytes, size_t length);
/* The line (with its newline) that follows `last` (sequence 0: the first one); makes `last` this one.
 * malloc'd.
 */
char *audit_line(const char *body, struct audit_link *last);
/* Reads and checks one line (without its newline). */
bool audit_link_read(const char *line, size_t length, struct audit_link *link);
/* What a "torn" record says about an unfinished line, so that the chain covers its bytes from then on. */
void audit_torn_detail(char *detail, size_t size, const char *bytes, size_t length);

/* "time":...,"user":..., all of the line but the chain. malloc'd. */
char *audit_body(const char *environment, const struct audit_entry *entry);

/* One batch for the file: appends all bodies as records with one lock, one write and one flush. Any thread;
 * `until` (monotonic) is when to give up on the lock. */
bool audit_append(const char *folder, const char *environment, const char *const *bodies, size_t count,
                  double until, struct error *error);
/* One datagram to the journal or syslog, with a priority of syslog(3); never blocks. */
bool audit_journal(const char *environment, int priority, const char *line, struct error *error);

/* `directory`/audit.jsonl, or that of the user's state folder. */
char *audit_folder(const void *context, const char *environment, const char *directory);

/* The parts of audit_read and audit_verify that work on bytes. */
struct audit_list *audit_parse(const void *context, const char *text, size_t length, size_t limit);
void audit_check(const char *text, size_t length, const char *expected_head, struct audit_verdict *verdict);

#endif
