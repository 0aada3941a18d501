/* What the parsers of the tiers share: the record of a host with its raw counters. Only for backends/hosts
 * and its tests. */
#ifndef BACKENDS_HOSTS_RECORD_INTERNAL_H
#define BACKENDS_HOSTS_RECORD_INTERNAL_H

#include "backends/hosts/lines.h"
#include "backends/hosts/record.h"

enum {
    HOST_MAX_CORES = 512,
    HOST_MAX_BLOCKS = 64,
    HOST_MAX_INTERFACES = 64,
    HOST_MAX_MOUNTS = 64,
    HOST_MAX_PROCESSES = 40, /* kept of those that weigh */
    HOST_MAX_COUNTED = 512,  /* processes whose counters are remembered for the next sample */
    HOST_MAX_LISTENERS = 64,
    HOST_MAX_CONTAINERS = 64,
    HOST_MAX_SERVICES = 24,
    HOST_MAX_UNITS = 400,
    HOST_MAX_EVENTS = 40,
    HOST_MAX_CERTIFICATES = 60,
    HOST_MAX_CGROUPS = 128,
    HOST_MAX_DENIED = 12,
    HOST_MAX_PROBLEMS = 24,
    MOUNT_SAMPLES = 24,
};

/* Everything that one answer taught: arrays and texts hang off it, snapshots hold it. */
struct host_part {
    struct snapshot base;
    struct host_denied *denied;
    size_t denied_count;
    char *room; /* for texts: a block each would take five times as much */
    size_t left;
};
/* A copy of at most `most` bytes, which lives as long as the part. Never NULL. */
char *part_text(struct host_part *part, struct span span, size_t most);

/* ---- raw counters, compact ---- */

struct raw_cpu {
    uint64_t user, system, idle, iowait, steal; /* ticks */
};
struct raw_block {
    char name[32];
    uint64_t reads, read_sectors, read_ms, writes, write_sectors, write_ms, busy_ms, queue_ms;
};
struct raw_interface {
    char name[16];
    uint64_t in_bytes, in_packets, in_errors, in_drops, out_bytes, out_packets, out_errors, out_drops;
};
/* Counters of the whole machine; UINT64_MAX: not there. */
enum raw_counter {
    RAW_SWAP_IN,
    RAW_SWAP_OUT,
    RAW_OOM_KILLS,
    RAW_SEGMENTS_OUT,
    RAW_RETRANSMITS,
    RAW_LISTEN_OVERFLOWS,
    RAW_LISTEN_DROPS,
    RAW_COUNTERS
};
struct raw_fast {
    double uptime, booted;
    struct raw_cpu all;
    struct raw_cpu *cores;
    size_t core_count;
    struct raw_block *blocks;
    size_t block_count;
    struct raw_interface *interfaces;
    size_t interface_count;
    uint64_t counters[RAW_COUNTERS];
};

struct raw_process {
    int pid;
    uint32_t start, ticks; /* ticks since boot; ticks of CPU */
    float read, written;   /* bytes; NAN: unknown */
};
struct raw_container {
    char id[13];
    uint64_t cpu_us;
};

struct raw_cgroup {
    uint64_t key, cpu_us;
};

/* How full a mount was: thinned out so that it reaches back an hour at most. */
struct mount_trend {
    char mount[64];
    size_t count;
    float used[MOUNT_SAMPLES]; /* share of its size */
    double time[MOUNT_SAMPLES];
};

/* A program of a service as it lies on the disk. */
struct host_version {
    const char *program, *version; /* "nginx", or the whole path where several may be installed */
    double changed_at;             /* when it came there, by the host's clock; NAN: unknown */
};

struct host_image {
    const char *id; /* "sha256:..." */
    double created;
};

/* Who listens: of the slow tier, because finding it out is dear. */
struct host_owner {
    const char *address, *process;
    int port, pid;
};

/* Of a process, learned with the details. */
struct host_arguments {
    int pid;
    const char *arguments, *cgroup; /* or NULL */
};

/* Since when a problem is there. */
struct known_problem {
    uint64_t key;
    double since, seen;
};

struct host_record {
    const char *name, *group;
    struct host_snapshot now; /* pointers go into the parts */
    struct host_part *parts[HOST_TIERS];
    struct raw_fast *fast; /* of the last sample, or NULL */
    double segments_out;   /* since the last sample: below some, a share means nothing */
    /* the medium tier's last sample */
    double process_uptime;
    struct raw_process *processes;
    size_t process_count;
    struct raw_container *raw_containers;
    size_t raw_container_count;
    struct mount_trend *trends;
    size_t trend_count;
    const char **hung; /* mounts that do not answer; of the medium part */
    size_t hung_count;
    const char *docker_error; /* of the medium part, or NULL */
    int zombies, uninterruptible;
    /* the slow tier's, for the others */
    struct host_version *versions;
    size_t version_count;
    bool status_guessed;    /* nobody said where nginx's status page is */
    const char *nginx_test; /* "ok", or what it complains of; NULL: unknown */
    struct host_image *images;
    size_t image_count;
    struct host_owner *owners; /* of the slow part */
    size_t owner_count;
    struct raw_cgroup *raw_cgroups; /* of the detail tier's last sample */
    size_t raw_cgroup_count;
    double cgroups_uptime;
    struct host_arguments *arguments; /* of the detail part */
    size_t argument_count;
    const char *user;                      /* that the collector runs as, or NULL */
    char updates_key[64];                  /* of the package lists that were counted */
    int updates_counted, security_counted; /* -1: never */
    /* kills for memory as the fast tier counted them */
    struct {
        double time;
        int64_t count;
    } kills[16];
    size_t kill_count;
    int64_t kills_before; /* count at the first sample */
    double kills_since;   /* of the first sample */
    struct known_problem problems[HOST_MAX_PROBLEMS];
    size_t problem_count;
};

/* ---- sections of an answer ---- */

struct section_reader {
    struct span rest;
    const char *mark;
};
/* The next section: its name (with its arguments) and its body. */
bool section_next(struct section_reader *reader, struct span *name, struct span *body);

/* ---- parsers: each fills record->now, allocating under the part ---- */

bool parse_fast(struct host_record *record, struct host_part *part, struct span body);
void parse_mounts(struct host_record *record, struct host_part *part, struct span body);
void parse_inodes(struct host_record *record, struct span body);
void parse_hung(struct host_record *record, struct host_part *part, struct span body);
/* After all of them: worst ones, trends. */
void finish_mounts(struct host_record *record, double now);

/* All processes of one sample, while it is read. */
struct sampled_process {
    int pid, parent;
    struct span user, comm, arguments;
    char state;
    uint32_t start, ticks;
    int threads;
    double rss_bytes;
    float read, written; /* bytes in all; NAN */
    float cpu_percent, read_rate, write_rate;
    bool deleted;
};
struct process_sample {
    double uptime, page;
    struct sampled_process *items; /* in order of their pid */
    size_t count;
};
/* NULL when there is nothing to read. Under `context`; spans point into the body. */
struct process_sample *parse_processes(const void *context, struct span body);
void parse_process_io(struct process_sample *sample, struct span body);
void parse_deleted(struct process_sample *sample, struct span body);
/* What each used since the last sample, and those that weigh, into the record. */
void finish_processes(struct host_record *record, struct host_part *part, struct process_sample *sample);
struct sampled_process *sampled_find(const struct process_sample *sample, int pid);

void parse_sockets(struct host_record *record, struct host_part *part, struct span body);
void parse_owners(struct host_record *record, struct host_part *part, struct span body);
/* Names those who listen, and puts the fullest first. */
void finish_sockets(struct host_record *record, struct host_part *part);
void parse_containers(struct host_record *record, struct host_part *part, struct span body, double now);
void parse_cgroups(struct host_record *record, struct span body, double seconds);
/* Slices, units and scopes: what they use. */
void parse_cgroup_tree(struct host_record *record, struct host_part *part, struct span body);
void find_services(struct host_record *record, struct host_part *part, const struct process_sample *sample,
                   struct span nginx);
/* What the slow tier knows of the services that the medium one found: versions, the configuration test. */
void complete_services(const struct host_record *record, struct host_snapshot *snapshot);

/* Parts of the slow tier and of the details. */
void parse_slow_section(struct host_record *record, struct host_part *part, struct span name,
                        struct span body);
void finish_slow(struct host_record *record, double wall);
void parse_detail_section(struct host_record *record, struct host_part *part, struct span name,
                          struct span body);
/* How many updates apt-get would bring; the key of the lists that were counted. */
void parse_apt(struct host_record *record, struct span body);
/* Properties of `systemctl show`, a block a unit. */
void parse_unit_properties(struct host_part *part, struct span body, struct host_unit **units, size_t *count);
/* Lines of the journal (short-unix) or of dmesg. `booted`: what dmesg's times count from. */
void parse_events(struct host_part *part, struct span body, double booted, struct host_event **events,
                  size_t *count);
/* What fail2ban-client prints: "sshd 3, nginx 1" and a line an address; NULL when there is nothing. */
void parse_bans(struct host_part *part, struct span body, const char **jails, const char **addresses);
/* "denied WHAT PROGRAM" */
void parse_denied(struct host_record *record, struct host_part *part, struct span arguments);

/* ---- judging ---- */

/* Fills problems and state of the snapshot, allocating under it. */
void host_judge(struct host_record *record, struct host_snapshot *snapshot,
                const struct host_standing *standing);

/* Arguments of a process with what looks like a secret masked; fresh talloc string of at most `most` bytes.
 */
char *mask_arguments(const void *context, struct span arguments, size_t most);

#endif
