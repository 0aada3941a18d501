/* How sessions are asked for and read: shared by the activity feed, the locks feed and the server. */
#ifndef BACKENDS_POSTGRES_ACTIVITY_INTERNAL_H
#define BACKENDS_POSTGRES_ACTIVITY_INTERNAL_H

#include "backends/postgres/activity.h"
#include "backends/postgres/connection.h"

enum { ACTIVITY_COLUMNS = 18 };  /* what activity_select selects; blocked_by is the one behind them */
#define ACTIVITY_QUERY_MAX 16384 /* characters of a text that are asked for */

/* "SELECT ..." of the ACTIVITY_COLUMNS from pg_stat_activity AS a, up to a last comma. Fresh talloc string.
 */
char *activity_select(const void *context, int version);
/* All sessions but those with the pids of $1 (int[]). Fresh talloc string. */
char *activity_query(const void *context, int version);
/* One row with the counts of active client backends by wait class, without those of $1. */
const char *activity_sample_query(void);

/* Reads what activity_query answers. `server` is borrowed. query_size: track_activity_query_size, 0 unknown.
 */
struct activity_snapshot *activity_read(const struct pg_rows *rows, const char *server, int connection_limit,
                                        int query_size);
/* "{1,2}" into numbers; a fresh talloc array, NULL when there are none. */
int64_t *activity_read_pids(const void *context, const char *text, size_t *count);

/* Counts the snapshot's active client backends by wait class. */
void activity_count(const struct activity_snapshot *snapshot, int16_t active[WAIT_CLASSES]);
/* Adds the sample of that second; the seconds left out since the last one become gaps. */
void activity_history_add(struct activity_history *history, int64_t second,
                          const int16_t active[WAIT_CLASSES]);

#endif
