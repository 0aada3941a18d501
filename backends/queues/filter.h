/*
 * Which jobs are meant: words that must all hold. `task:report tenant:al_noor id:7f3a retries>3 age>1h
 * size>100kB eta<10m priority>=3 state:unacked flag:redelivered poison poison:A error:ValueError text:"Year
 * 9"`; `column=text` is the whole of it, `!` before a word turns it round, a bare word is text:. The text of
 * `text:` is looked for in all that can be read of a job: id, task, tenant, arguments, the decoded body.
 */
#ifndef BACKENDS_QUEUES_FILTER_H
#define BACKENDS_QUEUES_FILTER_H

#include "backends/queues/job.h"
#include "core/error.h"

struct job_filter;

/* NULL with error (ERROR_USAGE) naming the word that is wrong and the words there are. "" gives a filter that
 * everything matches. A talloc chunk under context; immutable. */
struct job_filter *job_filter_parse(const void *context, const char *text, struct error *error);
const char *job_filter_text(const struct job_filter *filter);
bool job_filter_is_all(const struct job_filter *filter);

/*
 * A quick look at a message's raw bytes, before anything is parsed: false means that it cannot match; true
 * that it must be parsed to know. Texts are looked for as they are and with \uXXXX escapes, as Python writes
 * them; bodies in base64 cannot be excluded, so that words on the arguments always say true.
 */
bool job_filter_may_match(const struct job_filter *filter, const char *raw, size_t length);

/* Does the job match? `body`: what could be decoded of its arguments, for text:, may be NULL. `now`: seconds
 * since the epoch, for ages. Unknown values match no comparison. */
bool job_filter_matches(const struct job_filter *filter, const struct job *job, const char *body,
                        size_t body_length, double now);
/* Does deciding need the decoded body (text: or a bare word that nothing else may satisfy)? */
bool job_filter_needs_body(const struct job_filter *filter);
/* Does it ask for poison, flags or anything that only a whole parse tells? */
bool job_filter_needs_parse(const struct job_filter *filter);
/* `tenant=NAME` or `id=NAME` when the filter is about exactly one, else NULL. */
const char *job_filter_tenant(const struct job_filter *filter);
const char *job_filter_id(const struct job_filter *filter);

#endif
