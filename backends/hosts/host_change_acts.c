/* Acts on one thing of a host: a process, a log, a certificate, an address. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/text.h"
#include "core/units.h"

/* ---- a process ---- */

/* The name of a process may hold blanks and parentheses: what counts stands behind the last ')'. The start
 * time is field 22 of stat, the 20th behind the name. */
#define START_OF "sed -n '$s/.*) //p' /proc/%d/stat 2>/dev/null | cut -d' ' -f20"

char *host_victim_line(const void *context, int pid)
{
    return talloc_asprintf(context,
                           "{ printf '%%s\\n' %d \"$(" START_OF
                           ")\" \"$(ps -o user= -p %d || stat -c %%U /proc/%d)\"; "
                           "tr '\\000\\n' '  ' </proc/%d/cmdline; echo; cat /proc/%d/comm; } 2>/dev/null",
                           pid, pid, pid, pid, pid, pid);
}

/* The next line of *text, or NULL. */
static char *next_line(const void *context, const char **text)
{
    size_t length = strcspn(*text, "\n");
    if (!length && !**text)
        return NULL;
    char *line = talloc_strndup(context, *text, length);
    *text += length + ((*text)[length] == '\n');
    return line;
}

bool host_victim_read(const void *context, const char *output, struct host_victim *victim)
{
    char *end;
    char *pid = next_line(context, &output), *start = next_line(context, &output);
    char *user = next_line(context, &output), *arguments = next_line(context, &output);
    if (!pid || !start || !*start)
        return false;
    memset(victim, 0, sizeof *victim);
    victim->pid = (int)strtol(pid, NULL, 10);
    victim->start = strtoull(start, &end, 10);
    if (*end || victim->pid <= 0)
        return false;
    char *shown = arguments ? safe_line_new(context, arguments) : NULL;
    if (!shown || !*shown) { /* a kernel thread, or a process without arguments */
        char *comm = next_line(context, &output);
        shown = safe_line_new(context, comm ? comm : "");
    }
    victim->command = shown;
    victim->user = user && *user ? talloc_strndup(context, user, strcspn(user, " ")) : NULL;
    return true;
}

static bool read_victim(const struct host_check *check, const struct ssh_result *result, double since_s,
                        char *buffer, size_t size)
{
    char age[32];
    if (result->end.ending != SSH_EXITED)
        return false;
    bool gone = result->end.status != 0;
    snprintf(buffer, size, "%s %s after %s", check->name, gone ? "gone" : "still there",
             format_s(age, sizeof age, since_s));
    return gone;
}

static void describe_kill(struct change *change, const struct host_place *place,
                          const struct host_victim *victim, bool hard)
{
    change->hazard = HAZARD_DESTROY;
    change->verb = hard ? "kill" : "end";
    change->past = hard ? "killed" : "told to end:";
    change->title =
        talloc_asprintf(change, "%s process %d on %s", hard ? "Kill" : "End", victim->pid, place->host);
    change->reach = REACH_ONE;
    change->confirm = talloc_asprintf(change, "%02d", victim->pid % 100);
    change->confirm_prompt = "the last two digits of the process";
    change->effect = hard ? "The kernel ends it at once: it cannot save anything, finish a request or remove "
                            "its files. Its "
                            "supervisor may start it again."
                          : "It is asked to end (TERM): most programs finish or give up what they do, and "
                            "clean up. It may refuse. "
                            "Its supervisor may start it again.";
    change->milder = hard ? "end it with TERM: it may clean up" : NULL;
}

struct change *host_change_kill(const struct host_place *place, const struct host_victim *victim, bool hard,
                                struct error *error)
{
    const char *sudoers = NULL;
    char pid[16];
    if (victim->pid <= 2) {
        error_set(error, ERROR_INTERLOCK, place->host, "it cannot be ended", NULL,
                  "process %d is the system itself", victim->pid);
        return NULL;
    }
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    describe_kill(change, place, victim, hard);
    snprintf(pid, sizeof pid, "%d", victim->pid);
    const char *const words[] = {"kill", hard ? "-KILL" : "-TERM", pid, NULL};
    bool own = victim->user && strcmp(victim->user, place->login) == 0;
    char *kill = own ? host_words(change, words) : host_privileged(change, place, words, &sudoers);
    char *same = talloc_asprintf(change, "[ \"$(" START_OF ")\" = %llu ]", victim->pid, victim->start);
    char *name = safe_line_new(change, victim->command ? victim->command : "");
    struct change_step *step =
        host_change_add(change, place, talloc_asprintf(change, "%d on %s", victim->pid, place->host),
                        talloc_asprintf(change, "%d@%llu", victim->pid, victim->start),
                        talloc_asprintf(change, "%s || exit %d; %s", same, EXIT_GONE, kill));
    step->subject = talloc_asprintf(change, "%s%s%s", victim->user ? safe_line_new(change, victim->user) : "",
                                    victim->user ? " · " : "", name);
    host_step_of(step)->sudoers = sudoers;
    host_change_watch(
        change, place->ssh,
        &(struct host_check){
            .command = same, .patience_s = 20, .read = read_victim, .name = talloc_strdup(change, pid)});
    return change;
}

/* ---- logs ---- */

/* The last two components tell it from others in a report. */
static const char *short_path(const char *path)
{
    const char *at = path + strlen(path);
    for (int slashes = 0; at > path && slashes < 2;)
        slashes += *--at == '/';
    return *at == '/' ? at + 1 : at;
}

static struct change *log_change(const struct host_place *place, const char *path, const char *verb,
                                 struct error *error)
{
    if (!host_valid_path(path, error))
        return NULL;
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    change->verb = verb;
    host_change_confirm_name(change, place);
    return change;
}

struct change *host_change_rotate(const struct host_place *place, const char *path, struct error *error)
{
    struct change *change = log_change(place, path, "rotate", error);
    if (!change)
        return NULL;
    bool root = strcmp(place->login, "root") == 0;
    change->past = "rotated";
    change->title = talloc_asprintf(change, "Rotate %s on %s", short_path(path), place->host);
    change->effect = "logrotate runs the configuration that names this log, now and for all logs in it: each "
                     "is renamed, the "
                     "program is told to write to a new one, old ones are compressed and the oldest removed "
                     "as configured.";
    /* The shell opens the patterns of each configuration; the first that comes to the path is taken. */
    char *command = talloc_asprintf(change,
                                    "for f in /etc/logrotate.d/*; do for p in $(sed 's/[{].*//' \"$f\" | "
                                    "grep '^[[:space:]]*[\"/]' | tr -d "
                                    "'\"'); do [ \"$p\" = %s ] && exec %slogrotate -f \"$f\"; done; done; "
                                    "echo 'no file in /etc/logrotate.d "
                                    "names it' >&2; exit %d",
                                    ssh_quote(change, path), root ? "/usr/sbin/" : "sudo -n ", EXIT_REFUSED);
    struct change_step *step = host_change_add(
        change, place, talloc_asprintf(change, "%s on %s", short_path(path), place->host), path, command);
    if (!root)
        host_step_of(step)->sudoers = talloc_asprintf(
            change, "%s ALL=(root) NOPASSWD: /usr/sbin/logrotate ^-f /etc/logrotate\\.d/[A-Za-z0-9_-]+$",
            place->login);
    return change;
}

struct change *host_change_truncate(const struct host_place *place, const char *path, struct error *error)
{
    const char *sudoers = NULL;
    if (host_valid_path(path, error) && !strstr(path, "log")) {
        error_set(error, ERROR_INTERLOCK, place->host, "it is not truncated", NULL,
                  "nothing in \"%s\" says that it is a log", path);
        return NULL;
    }
    struct change *change = log_change(place, path, "truncate", error);
    if (!change)
        return NULL;
    change->hazard = HAZARD_DESTROY;
    change->past = "truncated";
    change->title = talloc_asprintf(change, "Truncate %s on %s", short_path(path), place->host);
    change->milder = "rotate it: what is in it is kept, compressed";
    change->effect =
        "Everything in the log is thrown away; its space is free at once. A program that does not write at "
        "the end of the file leaves a hole.";
    char *quoted = ssh_quote(change, path);
    char *line =
        host_privileged(change, place, (const char *const[]){"truncate", "-s", "0", path, NULL}, &sudoers);
    struct change_step *step = host_change_add(
        change, place, talloc_asprintf(change, "%s on %s", short_path(path), place->host), path,
        talloc_asprintf(change, "{ [ -f %s ] && [ ! -L %s ]; } || exit %d; %s", quoted, quoted, EXIT_GONE,
                        line));
    host_step_of(step)->sudoers = sudoers;
    return change;
}

/* ---- a certificate ---- */

static bool read_end_date(const struct host_check *check, const struct ssh_result *result, double since_s,
                          char *buffer, size_t size)
{
    char safe[96];
    const char *date = result->output ? strstr(result->output, "notAfter=") : NULL;
    (void)since_s;
    if (result->end.ending != SSH_EXITED || !date)
        return false;
    safe_text(safe, sizeof safe, date + 9, strcspn(date + 9, "\n"));
    snprintf(buffer, size, "%s is valid until %s", check->name, safe);
    return true;
}

struct change *host_change_renew(const struct host_place *place, const char *path, struct error *error)
{
    static const char live[] = "/etc/letsencrypt/live/";
    const char *sudoers = NULL, *ignored = NULL;
    if (!host_valid_path(path, error))
        return NULL;
    if (strncmp(path, live, sizeof live - 1) != 0) {
        error_set(error, ERROR_UNSUPPORTED, place->host, "it is not renewed",
                  "Renew it where it comes from; a runbook of the environment file can do it.",
                  "certbot does not look after %s", path);
        return NULL;
    }
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    const char *begin = path + sizeof live - 1;
    char *name = talloc_strndup(change, begin, strcspn(begin, "/"));
    struct error unused;
    if (!host_valid_container(name, &unused)) {
        error_set(error, ERROR_USAGE, place->host, "name of a certificate", NULL, "\"%s\" is not such a name",
                  name);
        talloc_free(change);
        return NULL;
    }
    change->verb = "renew";
    change->past = "renewed";
    change->title = talloc_asprintf(change, "Renew the certificate %s on %s", name, place->host);
    change->effect =
        "certbot asks the issuer for a new certificate if this one is due (less than 30 days left), and "
        "runs its deploy hooks. Failed tries count against the issuer's limits.";
    change->milder =
        talloc_asprintf(change, "certbot renew --dry-run --cert-name %s: tries it and keeps nothing", name);
    host_change_confirm_name(change, place);
    struct change_step *step = host_change_add(
        change, place, talloc_asprintf(change, "%s on %s", name, place->host), name,
        host_privileged(change, place, (const char *const[]){"certbot", "renew", "--cert-name", name, NULL},
                        &sudoers));
    host_step_of(step)->sudoers = sudoers;
    host_step_of(step)->limits.deadline_s = 300;
    const char *const look[] = {"openssl", "x509", "-noout", "-enddate", "-in", path, NULL};
    host_change_watch(change, place->ssh,
                      &(struct host_check){.command = host_privileged(change, place, look, &ignored),
                                           .patience_s = 20,
                                           .read = read_end_date,
                                           .name = name});
    return change;
}

/* ---- addresses ---- */

struct address {
    char text[80]; /* as the system prints it, with its length of prefix when it has one */
    char own[80];  /* what an address in it begins with, as sshd writes it; of a net's, a part */
    bool v6;
};

/* Whole numbers of the address that the prefix fixes. Where zeros begin, IPv6 has several spellings. */
static void set_beginning(struct address *address, const unsigned char *bytes, long prefix)
{
    char *at = address->own;
    for (long i = 0; !address->v6 && i < prefix / 8; i++)
        at += snprintf(at, 5, "%u.", bytes[i]);
    for (long i = 0; address->v6 && i < prefix / 16 && (bytes[2 * i] || bytes[2 * i + 1]); i++)
        at += snprintf(at, 6, "%x:", bytes[2 * i] << 8 | bytes[2 * i + 1]);
    *at = '\0';
}

/* Neither the whole net nor this machine. */
static bool parse_address(const char *typed, struct address *address, struct error *error)
{
    unsigned char bytes[16];
    char host[64], plain[INET6_ADDRSTRLEN], *end = NULL;
    const char *slash = typed ? strchr(typed, '/') : NULL;
    size_t length = typed ? strcspn(typed, "/") : 0;
    if (!length || length >= sizeof host)
        return error_set(error, ERROR_USAGE, NULL, "address", NULL, "\"%s\" is not one", typed ? typed : "");
    memcpy(host, typed, length);
    host[length] = '\0';
    address->v6 = strchr(host, ':') != NULL;
    if (inet_pton(address->v6 ? AF_INET6 : AF_INET, host, bytes) != 1)
        return error_set(error, ERROR_USAGE, NULL, "address", NULL, "\"%s\" is not one", typed);
    inet_ntop(address->v6 ? AF_INET6 : AF_INET, bytes, plain, sizeof plain);
    long prefix = slash ? strtol(slash + 1, &end, 10) : 0;
    if (slash && (end == slash + 1 || *end || prefix > (address->v6 ? 128 : 32)))
        return error_set(error, ERROR_USAGE, NULL, "address", NULL, "\"%s\" is not one", typed);
    if (slash && prefix < (address->v6 ? 32 : 8))
        return error_set(error, ERROR_INTERLOCK, NULL, "address", NULL,
                         "%s is too large a part of the internet", typed);
    if ((!address->v6 && (bytes[0] == 127 || bytes[0] == 0)) || (address->v6 && strcmp(plain, "::1") == 0))
        return error_set(error, ERROR_INTERLOCK, NULL, "address", NULL, "%s is the host itself", typed);
    if (slash)
        snprintf(address->text, sizeof address->text, "%s/%ld", plain, prefix);
    else
        snprintf(address->text, sizeof address->text, "%s", plain);
    snprintf(address->own, sizeof address->own, "%s ", plain);
    if (slash && prefix < (address->v6 ? 128 : 32))
        set_beginning(address, bytes, prefix);
    return true;
}

/* One transaction; the chain is made anew each time, so that a rule stands in it once. */
static char *nft_line(const void *context, const struct address *address, bool ban)
{
    const char *set = address->v6 ? "banned6" : "banned4";
    if (!ban)
        return talloc_asprintf(context, "delete element inet signalbox %s { %s }", set, address->text);
    return talloc_asprintf(context,
                           "add table inet signalbox; add set inet signalbox banned4 { type ipv4_addr; flags "
                           "interval; }; add set "
                           "inet signalbox banned6 { type ipv6_addr; flags interval; }; add chain inet "
                           "signalbox input { type filter "
                           "hook input priority -10; }; flush chain inet signalbox input; add rule inet "
                           "signalbox input ip saddr "
                           "@banned4 drop; add rule inet signalbox input ip6 saddr @banned6 drop; add "
                           "element inet signalbox %s { %s }",
                           set, address->text);
}

static char *ban_line(const void *context, const struct host_place *place, enum host_ban by, const char *jail,
                      const struct address *address, bool ban, const char **sudoers)
{
    const char *const fail2ban[] = {"fail2ban-client",         "set",         jail,
                                    ban ? "banip" : "unbanip", address->text, NULL};
    const char *const ufw_ban[] = {"ufw", "prepend", "deny", "from", address->text, NULL};
    const char *const ufw_unban[] = {"ufw", "delete", "deny", "from", address->text, NULL};
    const char *const nft[] = {"nft", nft_line(context, address, ban), NULL};
    switch (by) {
    case BAN_FAIL2BAN:
        return host_privileged(context, place, fail2ban, sudoers);
    case BAN_UFW:
        return host_privileged(context, place, ban ? ufw_ban : ufw_unban, sudoers);
    case BAN_NFT:
        break;
    }
    return host_privileged(context, place, nft, sudoers);
}

static char *ban_effect(const void *context, enum host_ban by, const char *jail, const char *address,
                        bool ban)
{
    static const char *const names[] = {"fail2ban", "ufw", "nftables"};
    if (!ban)
        return talloc_asprintf(context, "%s may connect again.", address);
    return talloc_asprintf(
        context,
        "Packets from %s are dropped by %s%s%s%s. Everybody who shares the address (a school, an office, a "
        "carrier) is shut out, too.",
        address, names[by], jail && by == BAN_FAIL2BAN ? " (jail " : "",
        jail && by == BAN_FAIL2BAN ? jail : "",
        by == BAN_FAIL2BAN ? ") for as long as the jail bans"
        : by == BAN_UFW    ? ", after a reboot too"
                           : " until a reboot");
}

struct change *host_change_ban(const struct host_place *place, enum host_ban by, const char *jail,
                               const char *typed, bool ban, struct error *error)
{
    struct address address;
    const char *sudoers = NULL, *ignored = NULL;
    if (!parse_address(typed, &address, error) || (by == BAN_FAIL2BAN && !host_valid_container(jail, error)))
        return NULL;
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    change->verb = ban ? "ban" : "unban";
    change->past = ban ? "banned" : "unbanned";
    change->title = talloc_asprintf(change, "%s %s on %s", ban ? "Ban" : "Unban", address.text, place->host);
    change->effect = ban_effect(change, by, jail, address.text, ban);
    host_change_confirm_name(change, place);
    char *line = ban_line(change, place, by, jail, &address, ban, &sudoers);
    if (ban) /* never the branch that one sits on */
        line = talloc_asprintf(
            change,
            "case \"$SSH_CONNECTION\" in \"%s\"*) echo 'it is, or holds, the address from which this console "
            "comes' >&2; exit %d;; esac; %s",
            address.own, EXIT_REFUSED, line);
    struct change_step *step = host_change_add(
        change, place, talloc_asprintf(change, "%s on %s", address.text, place->host), address.text, line);
    step->undo = ban_line(change, place, by, jail, &address, !ban, &ignored);
    host_step_of(step)->sudoers = sudoers;
    return change;
}
