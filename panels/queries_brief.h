/* Statements in few cells: what an ORM writes begins with a long list of quoted columns, and the table comes
 * last. */
#ifndef PANELS_QUERIES_BRIEF_H
#define PANELS_QUERIES_BRIEF_H

/* The statement on one line with the list behind SELECT cut to "…" when it is long ("SELECT … FROM invoice
 * WHERE …") and without the quotes of plain lower-case identifiers. For reading only. Fresh talloc string;
 * NULL for NULL. */
char *statement_brief(const void *context, const char *sql);

#endif
