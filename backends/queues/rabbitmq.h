/*
 * RabbitMQ as `rabbitmqctl` on its host tells it: lengths of queues, consumers, alarms. The answers of one
 * question are sections "@signalbox WORD NAME" followed by JSON; what comes before the first is noise of the
 * login.
 */
#ifndef BACKENDS_QUEUES_RABBITMQ_H
#define BACKENDS_QUEUES_RABBITMQ_H

#include "backends/queues/snapshot.h"
#include "core/error.h"

/* Adds all queues of an answer to the snapshot, and its note (alarms). False with error: it is not what
 * rabbitmqctl prints. `before` (may be NULL) is the last snapshot, for what grew. */
bool rabbitmq_read_queues(struct queues_snapshot *snapshot, const struct queues_snapshot *before,
                          const char *text, size_t length, const char *where, struct error *error);
/* The same with consumers, as workers. */
bool rabbitmq_read_consumers(struct workers_snapshot *snapshot, const char *text, size_t length,
                             const char *where, struct error *error);

#endif
