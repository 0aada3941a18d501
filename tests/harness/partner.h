/* A program of another project that a test talks to by lines (JSON, mostly): a question to its input, an
 * answer from its output. It ends with the test, however that ends. What cannot be done fails the cmocka
 * test.
 *
 *     struct partner *p = partner_start((const char *[]){"node", "script.js", NULL}, NULL);
 *     char *answer = partner_ask(p, "{\"op\": \"count\"}"); ... free(answer);
 *     partner_end(p);
 */
#ifndef TESTS_HARNESS_PARTNER_H
#define TESTS_HARNESS_PARTNER_H

#include <sys/types.h>

struct partner;

/* `folder`: where it runs; NULL: here. Its errors go where the test's go. Returns when it has said its first
 * line ("ready"). */
struct partner *partner_start(const char *const argv[], const char *folder);
/* Its next line, to free. Fails after 30 s. */
char *partner_ask(struct partner *p, const char *line);
/* The same as a number. */
long partner_count(struct partner *p, const char *line);
pid_t partner_pid(const struct partner *p);
/* NULL is fine. */
void partner_end(struct partner *p);

#endif
