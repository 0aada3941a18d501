#include "backends/postgres/psql.h"

#include <libpq-fe.h>
#include <string.h>
#include <talloc.h>

char *psql_conninfo(const void *context, const char *dsn, char **password, struct error *error)
{
    char *message = NULL;
    PQconninfoOption *parts = PQconninfoParse(dsn, &message);
    if (!parts) {
        error_set(error, ERROR_CONFIG, NULL, "this is no connection string", NULL, "%s",
                  message ? message : "");
        PQfreemem(message);
        return NULL;
    }
    char *plain = talloc_strdup(context, "");
    *password = NULL;
    for (PQconninfoOption *part = parts; part->keyword; part++) {
        if (!part->val)
            continue;
        if (strcmp(part->keyword, "password") == 0) {
            *password = talloc_asprintf(context, "PGPASSWORD=%s", part->val);
            continue;
        }
        plain = talloc_asprintf_append(plain, "%s%s='", plain[0] ? " " : "", part->keyword);
        for (const char *at = part->val; *at; at++)
            plain = talloc_asprintf_append(plain, *at == '\'' || *at == '\\' ? "\\%c" : "%c", *at);
        plain = talloc_strdup_append(plain, "'");
    }
    PQconninfoFree(parts);
    return plain;
}
