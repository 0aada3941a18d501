/*
 * Acts on hosts, each a change: units, containers, processes, logs, certificates, addresses, reboots,
 * commands and runbooks. The shell line of a step is exactly what is sent. A command that died of a signal or
 * whose connection broke is never a success.
 *
 * Constructors copy their texts and return NULL with error when a name is not one (ERROR_USAGE), or nothing
 * can be done (ERROR_INTERLOCK, ERROR_UNSUPPORTED). Free an unsent change with talloc_free.
 */
#ifndef BACKENDS_HOSTS_HOST_CHANGE_H
#define BACKENDS_HOSTS_HOST_CHANGE_H

#include "backends/change.h"
#include "backends/environment.h"
#include "backends/ssh/run.h"

/* Where an act happens. */
struct host_place {
    const char *environment;
    const char *host;     /* its name */
    const char *login;    /* "ops"; NULL: not known, because it never answered. "root" needs no sudo */
    const char *init;     /* "systemd", "openrc" ...; NULL is taken for systemd */
    struct ssh_host *ssh; /* outlives the change */
};

/* The user of "ops@10.0.0.5:22 via bastion"; NULL when there is none in it. Fresh talloc string. */
char *host_login(const void *context, const char *address);

enum host_verb { HOST_RELOAD, HOST_RESTART, HOST_START, HOST_STOP };
const char *host_verb_name(enum host_verb verb);

struct change *host_change_unit(const struct host_place *place, enum host_verb verb, const char *unit,
                                struct error *error);
/* `name` is for people, `id` goes into the command. Reload sends HUP. */
struct change *host_change_container(const struct host_place *place, enum host_verb verb, const char *id,
                                     const char *name, struct error *error);

/* A process as it was when it was selected. The start time makes sure that it is still the same one. */
struct host_victim {
    int pid;
    unsigned long long start; /* field 22 of /proc/PID/stat: clock ticks after boot */
    const char *command;      /* "gunicorn" */
    const char *user;         /* owner; another one than the login needs sudo. NULL: unknown */
};
/* Asks the host who has that pid now: the line to run, and what it answered. False: nobody has. The texts of
 * the victim are under context. */
char *host_victim_line(const void *context, int pid);
bool host_victim_read(const void *context, const char *output, struct host_victim *victim);
/* TERM; `hard`: KILL. */
struct change *host_change_kill(const struct host_place *place, const struct host_victim *victim, bool hard,
                                struct error *error);

/* `path` is absolute. Rotating is logrotate's; it must know the log. Truncating throws its content away. */
struct change *host_change_rotate(const struct host_place *place, const char *path, struct error *error);
struct change *host_change_truncate(const struct host_place *place, const char *path, struct error *error);

/* `path`: of the certificate's file, below /etc/letsencrypt/live/. */
struct change *host_change_renew(const struct host_place *place, const char *path, struct error *error);

enum host_ban { BAN_FAIL2BAN, BAN_UFW, BAN_NFT };
/* `jail`: of fail2ban. Refuses the address from which this console comes, on the host. */
struct change *host_change_ban(const struct host_place *place, enum host_ban by, const char *jail,
                               const char *typed, bool ban, struct error *error);

/* A member of the group that the host belongs to. */
struct host_peer {
    const char *name;
    bool healthy;
    const char *why; /* why it is not: "no answer for 41 s" */
};
/*
 * `peers` are the others of its group (without a group: none, and `grouped` false). Refused with
 * ERROR_INTERLOCK, naming those that are not healthy, when no other one is healthy, unless forced. `check`
 * (may be NULL) looks again right before it is sent; it fills `peers` of at most `room` and returns how many.
 */
struct host_reboot {
    bool grouped, forced;
    const char *group;
    size_t (*peers)(void *data, struct host_peer *peers, size_t room);
    void *data;
};
struct change *host_change_reboot(const struct host_place *place, const struct host_reboot *reboot,
                                  struct error *error);
/* The rule alone: may it go down now? */
bool host_reboot_allowed(const struct host_place *place, const struct host_reboot *reboot,
                         struct error *error);
/* Does the command take a host down ("reboot", "shutdown -r now", "systemctl poweroff")? */
bool host_command_takes_down(const char *command);

struct host_run {
    const char *command;
    size_t batch;      /* how many hosts at once; 0: 1 */
    double deadline_s; /* for each host; 0: 5 min */
};
/* A command of the user's own, as the login and through its shell, on each host; stopped at the first
 * failure. */
struct change *host_change_run(const struct host_place *places, size_t count, const struct host_run *run,
                               struct error *error);
/* The steps of a runbook on each host, one host after the other (`batch` of them at once). */
struct change *host_change_runbook(const struct host_place *places, size_t count,
                                   const struct environment_runbook *runbook, size_t batch,
                                   struct error *error);

/* What a step of these changes printed; "" before it is over. */
const char *host_step_output(const struct change_step *step, size_t *length);
const char *host_step_errors(const struct change_step *step);

#endif
