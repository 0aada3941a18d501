/* The parts of the Queries panel: its three views, and what they share. */
#ifndef PANELS_QUERIES_H
#define PANELS_QUERIES_H

#include "panels/panel.h"

extern const struct view queries_statements;
extern const struct view queries_activity;
extern const struct view queries_locks;

/* Wants one feed of every server, or no longer. */
void queries_want(struct app *app, enum pg_feed feed, bool wanted);
/* Adds one source a server that is looked at. */
void queries_sources(struct app *app, enum pg_feed feed, struct source_list *list);

/* What the feed of one server published last (a struct of the feed's own); NULL when there is nothing, or the
 * server is not looked at. Held for the list, whose rows point into it; NULL: borrowed until the next turn.
 */
const void *queries_snapshot(const struct app *app, size_t server, enum pg_feed feed, struct row_list *list);

/* The row's identity for the table: unique over all servers. Allocated under context. */
char *queries_row_id(const void *context, const char *server, const char *id);

/* The statement or session that a row of their views shows. */
const struct statement *queries_statement(const struct table_row *row);
const struct session *queries_session(const struct table_row *row);

/* A number that changes with the snapshots of the servers that are looked at. */
uint64_t queries_version(const struct app *app, enum pg_feed feed);

/* The lock tree node that a row of the view Locks shows. */
const struct lock_node *queries_lock_node(const struct table_row *row);

/* The chart of active sessions by wait class. */
int queries_activity_head(struct app *app, struct screen *screen, int top, int columns, int rows);

/* Asks for all locks of a session and adds them to the page when they come, if it is still open. */
void queries_held_locks(struct app *app, struct page *page, const struct session *session);
/* All about a session, for the pages of several views. */
void queries_session_page(struct page *page, const struct session *session);

#endif
