/* Real sshd for a test: a folder with user keys, an ssh_config and known_hosts for clients, servers on free
 * ports of 127.0.0.1 with host keys of their own, and agents. All of it goes away when the test ends in any
 * way (keeper.h). What cannot be done fails the cmocka test. Works as root and as an ordinary user; the login
 * is the user who runs the test, whose home in the sessions is an empty folder here.
 *
 *     struct ssh_site *site = ssh_site_new();
 *     struct sshd *web1 = sshd_start(site, "web1", (struct sshd_options){0});
 *     ... ssh -F ssh_site_config(site) web1 ...
 *     ssh_site_free(site);
 */
#ifndef TESTS_HARNESS_SSHD_H
#define TESTS_HARNESS_SSHD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ssh_site;
struct sshd;

#define SSH_SITE_PASSPHRASE "tracks are clear"

/* Takes SSH_AUTH_SOCK and SSH_ASKPASS out of the environment. Start it before threads run. */
struct ssh_site *ssh_site_new(void);
void ssh_site_free(struct ssh_site *site); /* NULL is fine */
const char *ssh_site_folder(const struct ssh_site *site);
const char *ssh_site_config(const struct ssh_site *site); /* of the ssh_config */

/* The path of a user's private key, made when it is first asked for; borrowed. Its name says what it is:
 * "...rsa..." and "...ecdsa..." are of these types, all others ed25519; "locked..." have the passphrase
 * SSH_SITE_PASSPHRASE; "stranger..." are let in nowhere, all others everywhere. */
const char *ssh_site_key(struct ssh_site *site, const char *name);

/* ---- what clients know ---- */

/* A Host entry of the ssh_config. NULL and 0 stand for what is usual. */
struct ssh_entry {
    const struct sshd *server;
    const char *address; /* instead of 127.0.0.1 */
    int port;            /* instead of the server's: a proxy's */
    const char *keys;    /* names of user keys, by blanks; "ed25519"; "" none: only what an agent has */
    const char *lines;   /* more lines; they come first, and in ssh_config the first one counts */
    const char *known;   /* content of the known_hosts file; all keys of the server */
};
/* Adds the entry, or replaces the one of this name. */
void ssh_site_host(struct ssh_site *site, const char *alias, struct ssh_entry entry);
/* The known_hosts file of a Host entry; borrowed until the entry is replaced. */
const char *ssh_site_known_file(const struct ssh_site *site, const char *alias);
/* Its content, to free. */
char *ssh_site_known(const struct ssh_site *site, const char *alias);
/* The lines of known_hosts for a server's keys, to free. pattern NULL: "[127.0.0.1]:PORT". `types`: "ed25519
 * ecdsa"; NULL: all it has. marker: "@revoked", or NULL. */
char *sshd_known_lines(const struct sshd *s, const char *marker, const char *pattern, const char *types);
/* The same, the names hashed as `ssh-keygen -H` does. */
char *sshd_hashed_lines(const struct sshd *s, const char *pattern, const char *types);
/* The line "@cert-authority PATTERN key" of the authority that signs the host keys of servers with
 * certificates. To free. */
char *ssh_site_authority_line(struct ssh_site *site, const char *pattern);

/* ---- servers ---- */

struct sshd_options {
    const char *host_keys; /* by blanks; NULL: "ed25519 ecdsa" */
    const char *lines;     /* more lines of sshd_config; they come first, and the first one counts */
    const char *bashrc;    /* what the user's .bashrc there does */
    /* Also let in by keyboard-interactive with this password (by PAM with libpam-wrapper: nothing in /etc is
     * used). Keys are then refused. */
    const char *password;
    bool certificate; /* of the first host key, by the site's authority, for "*" */
    bool nice;        /* it and its sessions give way to the client, as other machines would */
};
/* Starts a server, and adds the usual Host entry of its name. Borrowed: lives as long as the site. */
struct sshd *sshd_start(struct ssh_site *site, const char *name, struct sshd_options options);
int sshd_port(const struct sshd *s);
pid_t sshd_pid(const struct sshd *s);
/* "SHA256:..." of a host key, as ssh-keygen -l says. To free. */
char *sshd_fingerprint(const struct sshd *s, const char *type);
/* The home folder of its sessions; borrowed. */
const char *sshd_home(const struct sshd *s);

/* Connections that are open, being logged in or not. */
int sshd_connections(const struct sshd *s);
/* How often its log (LogLevel VERBOSE) holds a text: "Accepted publickey", "Connection from". */
int sshd_logged(const struct sshd *s, const char *text);
/* Waits until it does so often; false after the time. */
bool sshd_await_logged(const struct sshd *s, double seconds, const char *text, int times);
/* The log, to free. */
char *sshd_log(const struct sshd *s);

/* Stops (SIGSTOP) it and the processes of its sessions, without the commands: its kernel still accepts. */
void sshd_pause(struct sshd *s);
void sshd_resume(struct sshd *s);
/* SIGKILL to the processes of its sessions: connections break. The server goes on. */
void sshd_kill_sessions(struct sshd *s);
/* SIGKILL to all of it. */
void sshd_halt(struct sshd *s);
/* Starts a halted one on the same port. */
void sshd_again(struct sshd *s);
/* Halts it and starts it again with other host keys of the same types. */
void sshd_new_host_keys(struct sshd *s);

/* ---- agents ---- */

/* An ssh-agent that holds these keys (by blanks; "" none; locked ones are unlocked). Returns the path of its
 * socket, for `IdentityAgent` or SSH_AUTH_SOCK; borrowed. */
const char *ssh_site_agent(struct ssh_site *site, const char *keys);
/* A socket that accepts and never answers. */
const char *ssh_site_hung_agent(struct ssh_site *site);

/* ---- the system's ssh, for comparison ---- */

/* Runs `ssh -F config ALIAS COMMAND` to its end; its exit status (255: ssh itself failed). output, unless it
 * is NULL: what it wrote, errors too; to free. */
int ssh_site_ssh(struct ssh_site *site, const char *alias, const char *command, char **output);

#endif
