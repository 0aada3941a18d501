/*
 * What is known about one host: the figures of its tiers, put together and judged. Made by parse_*.c and
 * health.c from what collector.sh answers; panels read it.
 *
 * NAN and -1 are "unknown". What was not permitted stands in `denied` with what to do, and is unknown, never
 * 0.
 */
#ifndef BACKENDS_HOSTS_HOST_H
#define BACKENDS_HOSTS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/snapshot.h"
#include "core/value.h"

struct host_core {
    float user, system, iowait, steal, busy; /* percent of this core since the last sample */
};

struct host_mount {
    const char *device, *mount, *type; /* type: "ext4"; NULL when df does not say */
    double size_bytes, used_bytes, available_bytes;
    float used_percent;  /* as df counts it: used / (used + available) */
    float inode_percent; /* NAN: the file system has none */
    double full_in_s;    /* at the rate of the last samples; INFINITY: does not grow; NAN: unknown yet */
};

struct host_block { /* a disk of /proc/diskstats (no partitions, no loops) */
    const char *name;
    float read_bytes_per_s, write_bytes_per_s, reads_per_s, writes_per_s;
    float busy_percent, queue, wait_ms; /* wait_ms: time of one request */
};

struct host_interface {
    const char *name;
    float in_bytes_per_s, out_bytes_per_s, in_packets_per_s, out_packets_per_s, errors_per_s, drops_per_s;
};

struct host_process {
    int pid, parent;
    const char *user, *state, *command; /* command: comm; arguments only with the detail tier */
    const char *arguments;              /* or NULL */
    const char *cgroup;                 /* "system.slice/nginx.service", or NULL */
    float cpu_percent;                  /* of one core since the last sample; NAN: first sample */
    double rss_bytes, cpu_s, age_s;
    float read_bytes_per_s, write_bytes_per_s; /* NAN: not permitted or unknown */
};

struct host_listener {
    const char *protocol, *address; /* "tcp", "127.0.0.1" */
    int port;
    int backlog, backlog_limit; /* connections that wait to be accepted; -1: unknown (busybox) */
    const char *process;        /* "nginx", NULL: not permitted */
    int pid;                    /* 0: unknown */
};

struct host_unit {
    const char *name, *load, *active, *sub, *description;
    double since;        /* seconds since the epoch; NAN: unknown */
    double memory_bytes; /* NAN: unknown */
    int restarts;        /* NRestarts; -1: unknown */
    const char *result;  /* "exit-code", "oom-kill", or NULL */
};

struct host_timer {
    const char *name, *activates, *schedule; /* schedule: of cron lines, "17 * * * *"; NULL for timers */
    const char *source;                      /* "systemd", "/etc/crontab", "crontab of app" */
    double next, last;                       /* NAN: unknown */
};

struct host_container {
    const char *id, *name, *image, *project; /* project: of compose, or NULL */
    const char *state, *health, *status;     /* "running", "unhealthy" or NULL, "Up 3 days" */
    int restarts, exit_code;                 /* -1: unknown */
    bool oom_killed;
    double started, image_created; /* NAN: unknown */
    float cpu_percent;
    double memory_bytes, memory_limit_bytes; /* NAN: unknown; limit INFINITY: none */
};

struct host_cgroup {
    const char *path;  /* "system.slice/nginx.service" */
    float cpu_percent; /* of one core since the last sample; NAN: first sample */
    double memory_bytes,
        memory_limit_bytes; /* what can be dropped at once is counted; limit INFINITY: none */
    int tasks;              /* processes and threads; -1: unknown */
    int oom_kills;          /* in it, since it is there; -1: unknown */
};

struct host_certificate {
    const char *path, *names, *issuer; /* names: "alnoor.example.edu *.example.edu" */
    double not_after;
};

struct host_event {  /* a line of the journal or the kernel, an OOM kill, a login */
    double time;     /* NAN: unknown */
    const char *who; /* unit, process, user */
    const char *text;
};

/* A service of the platform as it runs here. */
enum host_service_kind {
    SERVICE_NGINX,
    SERVICE_GUNICORN,
    SERVICE_UWSGI,
    SERVICE_CELERY,
    SERVICE_CELERY_BEAT,
    SERVICE_DOCKER,
    SERVICE_PGBOUNCER,
    SERVICE_POSTGRES,
    SERVICE_REDIS,
    SERVICE_OTHER
};
struct host_service {
    enum host_service_kind kind;
    const char *name;    /* "nginx", "gunicorn app:app" */
    const char *program; /* as it was started: "/usr/sbin/nginx", or NULL */
    int pid, workers;    /* of the master; workers -1: unknown */
    double memory_bytes, age_s;
    float cpu_percent;
    int restarts;               /* children younger than the master by more than a minute; -1: unknown */
    int backlog, backlog_limit; /* of its listening socket; -1: unknown */
    const char *version;        /* running; NULL: unknown */
    const char *version_disk;   /* installed; differs: a restart is due */
    bool deleted;               /* the running program or library was replaced on disk */
    const char *note; /* "active 31, waiting 4" from stub_status; "configuration test failed: ..." */
    enum severity severity;
};

/* Not permitted, with the way to permit it. */
struct host_denied {
    const char *what; /* "firewall" */
    const char *todo; /* "sudoers: signalbox ALL=(root) NOPASSWD: /usr/sbin/ufw status" */
};

/* Why the host needs somebody: worst first. */
struct host_problem {
    enum severity severity;
    char letter;      /* 'E' error, 'S' saturation, 'U' utilisation */
    const char *text; /* "gunicorn killed for memory 3 times" */
    double since;     /* first seen by this console; seconds since the epoch */
};

enum host_state { HOST_UNKNOWN, HOST_OK, HOST_WARNING, HOST_CRITICAL };

/* One refresh. Arrays are in order of their size or weight, largest first. */
struct host_snapshot {
    struct snapshot base;
    const char *host, *group; /* group may be NULL */
    enum host_state state;    /* UNKNOWN: it never answered, or not for long */
    const struct host_problem *problems;
    size_t problem_count;
    double fast_at, medium_at, slow_at, detail_at; /* when that tier was read; 0: never */

    /* fast */
    double uptime_s, booted_at, clock_offset_s; /* offset: theirs less ours, half the round trip taken off */
    float load1, load5, load15;
    int cores, running, blocked, processes;
    float cpu_percent, user_percent, system_percent, iowait_percent, steal_percent;
    const struct host_core *core;
    double memory_bytes, available_bytes, swap_bytes, swap_used_bytes, dirty_bytes, cached_bytes;
    float memory_percent;                /* 100 - MemAvailable / MemTotal */
    float swap_in_per_s, swap_out_per_s; /* pages */
    float psi_cpu_some10, psi_io_some10, psi_io_full10, psi_memory_some10,
        psi_memory_full10; /* NAN: no PSI */
    const struct host_block *blocks;
    size_t block_count;
    float io_busy_percent, io_queue; /* of the busiest disk */
    const struct host_interface *interfaces;
    size_t interface_count;
    float net_in_bytes_per_s, net_out_bytes_per_s, retransmits_percent, listen_overflows_per_s,
        listen_drops_per_s;
    int64_t oom_kills; /* since boot */
    int64_t files_open, files_limit;

    /* medium */
    const struct host_mount *mounts;
    size_t mount_count;
    const struct host_mount *worst_mount, *worst_inodes; /* or NULL */
    const struct host_process *process; /* those that weigh: by CPU, memory, I/O; at most 40 */
    size_t process_count;
    const struct host_listener *listeners;
    size_t listener_count;
    const struct host_listener *worst_listener; /* fullest accept queue, or NULL */
    const struct host_container *containers;
    size_t container_count;
    bool docker;                                   /* it is there, whether it may be asked or not */
    int containers_running, containers_restarting; /* -1: unknown */
    const struct host_service *services;
    size_t service_count;

    /* slow */
    const char *os, *kernel, *hostname,
        *init;        /* "Debian GNU/Linux 12 (bookworm)", "6.1.0-18", "web1", "systemd" */
    int failed_units; /* -1: unknown; no systemd: see init */
    const struct host_unit *failed;
    size_t failed_count;
    const struct host_event *errors; /* journal, error and worse, newest first; at most 20 */
    size_t error_count;
    const struct host_event *oom; /* OOM kills of the last hour with the process; newest first */
    size_t oom_count;
    int oom_kills_1h;                            /* -1: unknown */
    const struct host_certificate *certificates; /* the soonest to expire first */
    size_t certificate_count;
    double certificate_days;       /* of the soonest; NAN: none found or unknown */
    int updates, updates_security; /* -1: unknown */
    int reboot_required;           /* 0, 1, -1 unknown */
    const char *release;           /* the release marker's text, or NULL */
    double release_since;
    const char *firewall; /* "active, 5 rules", "inactive", NULL: unknown */
    const char *fail2ban; /* "sshd 3, nginx 1", NULL: unknown or not there */

    /* detail: only while somebody looks at this host */
    const struct host_unit *units;
    size_t unit_count;
    const struct host_timer *timers;
    size_t timer_count;
    const struct host_cgroup *cgroups;
    size_t cgroup_count;
    const struct host_event *logins;
    size_t login_count;
    const struct host_event *kernel_messages;
    size_t kernel_count;
    const char *firewall_rules; /* as the tool prints them, or NULL */
    const char *bans;           /* addresses, or NULL */

    const struct host_denied *denied;
    size_t denied_count;
};

/* What is asked of a host, by how often it is asked and what it costs there. */
enum host_tier { HOST_FAST, HOST_MEDIUM, HOST_SLOW, HOST_DETAIL, HOST_TIERS };

/* "ok", "warning", "critical", "unknown". */
const char *host_state_name(enum host_state state);
/* "fast", "medium", "slow", "detail". */
const char *host_tier_name(enum host_tier tier);
const char *host_service_name(enum host_service_kind kind);

#endif
