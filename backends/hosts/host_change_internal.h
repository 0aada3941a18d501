/* What the acts on hosts share: quoting and sudo, sending a step, looking what became of it. Only
 * host_change*.c and disk*.c include it. */
#ifndef BACKENDS_HOSTS_HOST_CHANGE_INTERNAL_H
#define BACKENDS_HOSTS_HOST_CHANGE_INTERNAL_H

#include "backends/hosts/host_change.h"

/* Exit statuses of our own lines: the target is gone, and refused on the host. */
enum { EXIT_GONE = 75, EXIT_REFUSED = 77 };

/* Asked again and again after the change until `read` says that it is over. */
struct host_check {
    const char *command;
    double patience_s; /* then it is over anyway */
    /* What the answer means, in words into buffer; true when there is nothing more to watch. `result` may be
     * a failure. */
    bool (*read)(const struct host_check *check, const struct ssh_result *result, double since_s,
                 char *buffer, size_t size);
    const char *name; /* "nginx.service" */
    const void *data;
};

/* A step's own data. */
struct host_step {
    struct change *change;
    struct change_step *step;
    struct ssh_host *ssh;
    struct ssh_run *run;
    struct ssh_run_limits limits;
    const char *look;    /* where to look when the outcome is unknown */
    const char *sudoers; /* the lines that would allow it, or NULL */
    const void *guard;   /* what still_there looks at */
    const char *output, *errors;
    size_t output_length;
};

/* A change with the place's texts and room for `steps` steps; NULL with error when the login is unknown. */
struct change *host_change_begin(const struct host_place *place, size_t steps, struct error *error);
/* The next step of the change. `name` is short, for the report; `command` is what is sent. All copied. */
struct change_step *host_change_add(struct change *change, const struct host_place *place, const char *name,
                                    const char *target, const char *command);
struct host_step *host_step_of(const struct change_step *step);
/* What an end means. Exit status 0 is the only success; what broke off may have been done or not. */
enum step_outcome host_step_judge(const struct host_step *own, const struct ssh_result *result,
                                  struct error *error);
/* The host's name must be typed. */
void host_change_confirm_name(struct change *change, const struct host_place *place);
/* Looks what became of it; the check is copied, its texts are borrowed from the change. */
void host_change_watch(struct change *change, struct ssh_host *ssh, const struct host_check *check);

/* Words quoted for the shell, a blank between them. */
char *host_words(const void *context, const char *const words[]);
/* The same with sudo -n in front unless the login is root. What sudoers must hold for it is added to
 * *sudoers. */
char *host_privileged(const void *context, const struct host_place *place, const char *const words[],
                      const char **sudoers);
/* The docker command: with sudo only where its socket is not writable. */
char *host_docker(const void *context, const struct host_place *place, const char *const words[],
                  const char **sudoers);

/* The number at *text, which goes behind it; false when there is none, or when it is below 0 or not finite.
 */
bool host_number(const char **text, double *number);

/* Is `name` such a name? Otherwise ERROR_USAGE with `what`. */
bool host_valid_unit(const char *name, struct error *error);
bool host_valid_container(const char *id, struct error *error);
bool host_valid_path(const char *path, struct error *error);

#endif
