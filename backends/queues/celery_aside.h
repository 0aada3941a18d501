/*
 * What signalbox keeps in the broker, behind the prefix of all keys (global_keyprefix):
 *
 *   signalbox:park:QUEUE:STAMP     jobs that were parked; left is the newest, right runs next, as in the
 * queue signalbox:aside:QUEUE:STAMP    one tenant's jobs that were taken out signalbox:trash:QUEUE:STAMP jobs
 * that were purged or discarded signalbox:hold:QUEUE:STAMP     the part of a queue that a move has not looked
 * at yet; it is there only while the move runs, or when it was interrupted signalbox:note:KEY             a
 * hash about one of these: act, queue, tenant, filter, since, by, reason; of a hold list also `to` (where
 * what matches goes), `owner` (who moves it) and `last...` (the job that went back last); `returning` while
 * it goes back
 *
 * Jobs of another priority than 0 are in lists of the same name with the separator and the priority behind
 * it, as in the queue. STAMP is the time and a random number: "20261121T200501-1f3a9c". A list and its note
 * come and go in one script each.
 *
 * The login that acts needs: ~* +eval +lrange +llen +lindex +lmove +lset +lpos +lrem +lpush +rpush +lpop
 * +rpop +rename +renamenx +del +unlink +exists +hget +hset +hexists +hdel +zrem.
 */
#ifndef BACKENDS_QUEUES_CELERY_ASIDE_H
#define BACKENDS_QUEUES_CELERY_ASIDE_H

#include "backends/queues/celery.h"

enum celery_aside { ASIDE_PARK, ASIDE_TENANT, ASIDE_TRASH, ASIDE_HOLD, CELERY_ASIDES };
/* "park" ..: the word in the key. */
const char *celery_aside_word(enum celery_aside kind);
/* "signalbox:park:reports:20261121T200501-1f3a9c": without prefix and priority. Fresh talloc text. */
char *celery_aside_group(const void *context, enum celery_aside kind, const char *queue, const char *stamp);
/* What a group's name says; queue is fresh talloc text under context, stamp points into it. False: it is
 * none.
 */
bool celery_aside_parse(const void *context, const char *group, enum celery_aside *kind, char **queue,
                        const char **stamp);
/* The key of a group's list of a priority step, and of its note, with the prefix. Fresh talloc text. */
char *celery_aside_list(const void *context, const struct celery_system *system, const char *group, int step);
char *celery_aside_note(const void *context, const struct celery_system *system, const char *group);
/* A key without the prefix and without the priority behind it (*step, -1 when there is a number that is no
 * step). NULL: it does not begin with the prefix. Fresh talloc text. */
char *celery_base_name(const void *context, const struct celery_system *system, const char *key,
                       size_t length, int *step);

/* Names of all groups there are, by SCAN, paced. A talloc chunk under context, which is freed after `done`;
 * freeing it before withdraws it. */
void *celery_aside_list_groups(const void *context, struct celery_system *system,
                               void (*done)(void *data, char *const *groups, size_t count,
                                            const struct error *error),
                               void *data);

#endif
