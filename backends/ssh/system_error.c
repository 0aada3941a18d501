/* What ssh says on standard error, as errors that say what to do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "backends/ssh/known_hosts.h"
#include "backends/ssh/system_internal.h"
#include "core/text.h"

/* The line that holds the words, without its end; NULL when none does. */
static char *line_with(const void *context, const char *said, const char *words)
{
    const char *found = strcasestr(said, words);
    if (!found)
        return NULL;
    const char *begin = found;
    while (begin > said && begin[-1] != '\n')
        begin--;
    char *line = talloc_strndup(context, begin, strcspn(begin, "\r\n"));
    if (!line)
        abort();
    return line;
}

/* The last line that says anything. */
static char *last_line(const void *context, const char *said)
{
    const char *end = said + strlen(said);
    while (end > said && strchr("\r\n ", end[-1]))
        end--;
    const char *begin = end;
    while (begin > said && begin[-1] != '\n')
        begin--;
    char *line = talloc_strndup(context, begin, (size_t)(end - begin));
    if (!line)
        abort();
    return line;
}

/* ---- keys of the server ---- */

/* "Offending ED25519 key in /home/u/.ssh/known_hosts:3" */
static void explain_changed(const void *scratch, const char *said, const char *label, struct error *error)
{
    char *offending = line_with(scratch, said, "Offending ");
    const char *place = offending ? strstr(offending, " in ") : NULL;
    char *host = line_with(scratch, said, "has changed and you have requested strict checking");
    const char *name = host && strncmp(host, "Host key for ", 13) == 0 ? host + 13 : "HOST";
    char *file = place ? talloc_strdup(scratch, place + 4) : NULL;
    char *colon = file ? strrchr(file, ':') : NULL;
    char *todo = talloc_asprintf(
        scratch,
        "Find out why. Only if the server was really set up anew: ssh-keygen -f \"%.*s\" -R \"%.*s\"",
        colon ? (int)(colon - file) : 0, file ? file : "", (int)strcspn(name, " "), name);
    error_set(error, ERROR_AUTH, label, "the server's key has changed", todo,
              "it is not the one in %s: another machine may be answering in its place",
              place ? place + 4 : "the known_hosts files");
}

/* "No ED25519 host key is known for [web1]:2222 and you have requested strict checking." */
static enum system_trouble explain_unknown(const void *scratch, const char *line,
                                           const struct ssh_settings *settings, const char *label,
                                           struct error *error)
{
    const char *at = strstr(line, " is known for ");
    char *name = talloc_strndup(scratch, at + 14, strcspn(at + 14, " "));
    char *wanted = known_hosts_name_of(scratch, settings);
    bool own = name && strcmp(name, wanted) == 0;
    char *todo = own ? talloc_asprintf(scratch, "Compare and add it by hand: ssh %s", settings->destination)
                     : talloc_asprintf(scratch, "Compare and add the key of the jump by hand: ssh %s",
                                       settings->hop_count ? settings->hops[0].destination : name);
    error_set(error, ERROR_AUTH, label,
              own ? "the server's key is not known" : "the key of a jump is not known", todo, "%s", line);
    return own ? TROUBLE_UNKNOWN_KEY : TROUBLE_OTHER;
}

/* ---- who we are ---- */

/* Encrypted keys are of no use here unless an agent has them: nobody is asked. */
static void explain_denied(const void *scratch, const char *said, const char *line,
                           const struct ssh_settings *settings, const char *label, struct error *error)
{
    const struct ssh_identity *locked = NULL, *open = NULL;
    char *todo = NULL;
    for (size_t i = 0; i < settings->identity_count; i++) {
        const struct ssh_identity *identity = &settings->identities[i];
        locked = identity->encrypted && !locked ? identity : locked;
        open = identity->too_open && !open ? identity : open;
    }
    if (strcasestr(said, "UNPROTECTED PRIVATE KEY FILE") && open)
        todo = talloc_asprintf(scratch, "ssh does not use a key that others may read: chmod 600 %s",
                               open->shown);
    else if (strstr(said, "agent refused operation"))
        todo = talloc_strdup(scratch, "The agent did not sign: touch the security key, or confirm it there.");
    else if (locked)
        todo =
            talloc_asprintf(scratch, "%s has a passphrase, and the system's ssh asks nobody here: ssh-add %s",
                            locked->shown, locked->shown);
    else if (!settings->identity_count && !settings->agent)
        todo = talloc_strdup(scratch, "There is neither a key file nor an agent: ssh-keygen -t ed25519, then "
                                      "ssh-copy-id.");
    else
        todo = talloc_asprintf(scratch, "Put the public key into ~%s/.ssh/authorized_keys there.",
                               settings->user ? settings->user : "");
    char *what = talloc_asprintf(scratch, "cannot log in as %s", settings->user ? settings->user : "");
    error_set(error, ERROR_AUTH, label, what, todo, "%s", line);
}

/* ---- all of it ---- */

/* Which of them it was is not always said. */
static void add_jumps(const struct ssh_settings *settings, struct error *error)
{
    char *why = talloc_strdup(NULL, error->why);
    for (size_t i = 0; i < settings->hop_count; i++)
        why = talloc_asprintf_append_buffer(why, "%s%s", i ? ", " : " (via ", settings->hops[i].destination);
    if (!why)
        abort();
    error_set(error, error->kind, error->where, error->what, error->todo, "%s)", why);
    talloc_free(why);
}

/* What comes first counts: what a jump says stands before its consequences. */
static const struct {
    const char *words;
    enum error_kind kind;
    const char *what, *todo;
} troubles[] = {
    {"Bad configuration option", ERROR_CONFIG, "cannot read the SSH configuration", NULL},
    {"Bad owner or permissions", ERROR_CONFIG, "cannot read the SSH configuration", NULL},
    {"Too many authentication failures", ERROR_AUTH, "cannot log in",
     "Name the key in ssh_config: IdentityFile and IdentitiesOnly yes."},
    {"Could not resolve hostname", ERROR_NAME, "cannot look up its name", NULL},
    {"no matching ", ERROR_UNSUPPORTED, "cannot shake hands",
     "The server is old or strict: see KexAlgorithms, Ciphers, MACs in ssh_config."},
    {"Permission denied", ERROR_AUTH, "cannot log in", NULL},
    {"administratively prohibited", ERROR_DENIED, "the jump does not let us through",
     "See AllowTcpForwarding and PermitOpen in its sshd_config."},
    {"Connection refused", ERROR_REFUSED, "cannot connect", "Does sshd run there, on this port?"},
    {"No route to host", ERROR_REFUSED, "cannot connect", NULL},
    {"Network is unreachable", ERROR_REFUSED, "cannot connect", NULL},
    {"timed out", ERROR_TIMEOUT, "cannot connect", NULL},
    {"not responding", ERROR_TIMEOUT, "the server no longer answers", NULL},
    {"banner exchange", ERROR_SERVER, "cannot shake hands", "Is this an SSH server?"},
    {"Exceeded MaxStartups", ERROR_SLOTS, "the server takes no more connections now",
     "See MaxStartups there."},
    {"kex_exchange_identification", ERROR_SLOTS, "the server closed the connection at once",
     "It may be full (MaxStartups), or may refuse this address (its log says)."},
    {"Connection reset", ERROR_LOST, "the connection broke", NULL},
    {"Broken pipe", ERROR_LOST, "the connection broke", NULL},
    {"closed by", ERROR_LOST, "the server closed the connection", NULL},
};

/* The one before the host. */
static const char *jump_of(const struct ssh_settings *settings)
{
    return settings->hop_count ? settings->hops[settings->hop_count - 1].destination : "ProxyCommand";
}

enum system_trouble system_explain(const char *said, const struct ssh_settings *settings, const char *label,
                                   struct error *error)
{
    void *scratch = talloc_new(NULL);
    enum system_trouble trouble = TROUBLE_OTHER;
    char *unknown = line_with(scratch, said, " host key is known for "), *line = NULL;
    size_t which = 0, count = sizeof troubles / sizeof *troubles;
    if (strstr(said, "REVOKED HOST KEY") || strstr(said, "was revoked and you have requested")) {
        error_set(error, ERROR_AUTH, label, "the server's key is revoked",
                  "Do not connect: the key may be in somebody else's hands. Give the server a new one.",
                  "it is marked as @revoked in the known_hosts files");
    } else if (strstr(said, "HOST IDENTIFICATION HAS CHANGED")) {
        explain_changed(scratch, said, label, error);
    } else if (unknown) {
        trouble = explain_unknown(scratch, unknown, settings, label, error);
    } else {
        while (which < count && !(line = line_with(scratch, said, troubles[which].words)))
            which++;
        if (line && strcmp(troubles[which].words, "Permission denied") == 0)
            explain_denied(scratch, said, line, settings, label, error);
        else if (line)
            error_set(error, troubles[which].kind, label, troubles[which].what, troubles[which].todo,
                      "%s%s%s", strstr(line, "open failed") ? jump_of(settings) : "",
                      strstr(line, "open failed") ? ": " : "", line);
        else
            error_set(error, ERROR_LOST, label, "ssh ended", NULL, "%s",
                      *said ? last_line(scratch, said) : "it did not say why");
    }
    if (settings->hop_count)
        add_jumps(settings, error);
    talloc_free(scratch);
    return trouble;
}
