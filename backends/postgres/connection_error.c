#include "backends/postgres/connection_error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static enum error_kind kind_of_state(const char *state, const char *message)
{
    static const struct {
        const char *state;
        enum error_kind kind;
    } kinds[] = {
        {"28P01", ERROR_AUTH},        {"28000", ERROR_AUTH},    {"53300", ERROR_SLOTS},
        {"42501", ERROR_DENIED},      {"57P01", ERROR_LOST},    {"57P02", ERROR_LOST},
        {"57P03", ERROR_REFUSED},     {"57P05", ERROR_LOST},    {"25P03", ERROR_LOST},
        {"55P03", ERROR_TIMEOUT},     {"3D000", ERROR_REFUSED}, {"0A000", ERROR_UNSUPPORTED},
        {"42704", ERROR_SERVER},      {"08P01", ERROR_LOST},    {"08006", ERROR_LOST},
        {"55000", ERROR_UNSUPPORTED}, {"42P01", ERROR_MISSING}, {"3F000", ERROR_MISSING},
    };
    if (strcmp(state, "28000") == 0 && strstr(message, "pg_hba.conf"))
        return ERROR_REFUSED;
    /* One SQLSTATE for a cancel and for statement_timeout. Who cancelled on this connection knows it; of the
     * rest, in whatever language, most are timeouts. */
    if (strcmp(state, "57014") == 0)
        return strstr(message, "user request") ? ERROR_CANCELLED : ERROR_TIMEOUT;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(state, kinds[i].state) == 0)
            return kinds[i].kind;
    return ERROR_SERVER;
}

static const char *todo_of_state(const char *state, enum error_kind kind)
{
    if (kind == ERROR_REFUSED && strcmp(state, "28000") == 0)
        return "Add a line for this role, database and address to pg_hba.conf of the server, then SELECT "
               "pg_reload_conf().";
    if (strcmp(state, "28P01") == 0)
        return "Correct the password in ~/.pgpass, the service file or the DSN; check that the role exists "
               "and may LOGIN.";
    if (strcmp(state, "28000") == 0)
        return "Check the role's name, and that it may LOGIN.";
    if (strcmp(state, "3D000") == 0)
        return "Correct the database's name in the DSN.";
    if (kind == ERROR_SLOTS)
        return "End sessions that are not needed, with a connection as `act` or on the host as a superuser; "
               "reserved connections are for that.";
    if (strcmp(state, "57P03") == 0)
        return "The server is starting, stopping or recovering: it is tried again.";
    if (strcmp(state, "55000") == 0)
        return "Put the extension into shared_preload_libraries and restart the server.";
    if (strcmp(state, "55P03") == 0)
        return "A lock was not free in time: it is tried again.";
    return NULL;
}

bool pg_error_from_state(struct error *error, const char *where, const char *what, const char *sqlstate,
                         const char *message, const char *detail, const char *hint)
{
    const char *state = sqlstate ? sqlstate : "";
    const char *text = message && *message ? message : "no reason was given";
    enum error_kind kind = kind_of_state(state, text);
    const char *todo = todo_of_state(state, kind);
    if (!todo && hint && *hint)
        todo = hint;
    if (detail && *detail)
        return error_set(error, kind, where, what, todo, "%s (%s)", text, detail);
    return error_set(error, kind, where, what, todo, "%s", text);
}

/* "FATAL:  28P01: password ...": libpq writes two blanks, the SQLSTATE and a colon. */
static const char *next_state(const char *text)
{
    for (const char *at = text; (at = strstr(at, ":  ")); at += 3) {
        int n = 0;
        while (n < 5 && (isupper((unsigned char)at[3 + n]) || isdigit((unsigned char)at[3 + n])))
            n++;
        if (n == 5 && at[8] == ':' && at[9] == ' ')
            return at + 3;
    }
    return NULL;
}

/* Of several tries (with and without TLS, several hosts) the last counts, but a wrong password more. */
static const char *chosen_state(const char *text)
{
    const char *chosen = NULL;
    for (const char *at = text; (at = next_state(at)); at += 5) {
        if (!chosen || strncmp(chosen, "28P01", 5) != 0)
            chosen = at;
    }
    return chosen;
}

/* "connection to server at "db1" (10.0.0.1), port 5432 failed: " is said by `what` already. */
static const char *skip_place(const char *text)
{
    for (;;) {
        if (strncmp(text, "connection to server ", 21) != 0)
            return text;
        const char *failed = strstr(text, " failed: ");
        const char *line = strchr(text, '\n');
        if (!failed || (line && line < failed))
            return text;
        text = failed + 9;
    }
}

static void copy_line(char *buffer, size_t size, const char *text)
{
    size_t length = strcspn(text, "\n");
    snprintf(buffer, size, "%.*s", (int)(length < size ? length : size - 1), text);
}

static bool from_libpq(struct error *error, const char *where, const char *what, const char *text)
{
    static const struct {
        const char *part;
        enum error_kind kind;
        const char *todo;
    } known[] = {
        {"could not translate host name", ERROR_NAME,
         "Check the host's name in the DSN, and name resolution."},
        {"could not look up", ERROR_NAME, "Check the host's name in the DSN, and name resolution."},
        {"timeout expired", ERROR_TIMEOUT, "Is a firewall in between, or does the server hang?"},
        {"timed out", ERROR_TIMEOUT, "Is a firewall in between, or does the server hang?"},
        {"does not support SSL", ERROR_TLS,
         "Turn on ssl on the server, or use a weaker sslmode if the network is trusted."},
        {"certificate", ERROR_TLS, "Check sslrootcert and the certificate's host name."},
        {"SSL", ERROR_TLS, "Check sslmode and the certificates of both sides."},
        {"Connection refused", ERROR_REFUSED,
         "Does PostgreSQL run there, and listen on this address and port?"},
        {"No such file or directory", ERROR_REFUSED,
         "Does PostgreSQL run there, with its socket in this folder?"},
        {"No route to host", ERROR_REFUSED, "Check the network and firewalls in between."},
        {"unreachable", ERROR_REFUSED, "Check the network and firewalls in between."},
        {"no password supplied", ERROR_AUTH, "Add the password to ~/.pgpass or the service file."},
        {"server closed the connection", ERROR_LOST,
         "See the server's log: it may have crashed or be stopping."},
        {"definition of service", ERROR_CONFIG,
         "Check the service's name, and PGSERVICEFILE or ~/.pg_service.conf."},
        {"service file", ERROR_CONFIG, "Check PGSERVICEFILE or ~/.pg_service.conf."},
        {"invalid", ERROR_CONFIG, "Correct the DSN."},
        {"missing \"=\"", ERROR_CONFIG, "Correct the DSN."},
    };
    char why[sizeof error->why];
    copy_line(why, sizeof why, skip_place(text));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(text, known[i].part))
            return error_set(error, known[i].kind, where, what, known[i].todo, "%s", why);
    return error_set(error, ERROR_REFUSED, where, what, NULL, "%s", *why ? why : "no reason was given");
}

bool pg_error_from_connect(struct error *error, const char *where, const char *what, const char *text,
                           bool tls_disabled)
{
    const char *found = chosen_state(text);
    if (!found)
        return from_libpq(error, where, what, text);
    char state[6], message[sizeof error->why];
    snprintf(state, sizeof state, "%.5s", found);
    copy_line(message, sizeof message, found + 7);
    /* There may be a line for hostssl alone; a server that speaks another language is not understood here. */
    if (tls_disabled && strcmp(state, "28000") == 0 && strstr(message, "no pg_hba.conf entry"))
        return error_set(error, ERROR_TLS, where, what,
                         "Use sslmode=require in the DSN, or have a line without TLS added to pg_hba.conf.",
                         "%s", message);
    return pg_error_from_state(error, where, what, state, message, NULL, NULL);
}
