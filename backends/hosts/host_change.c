/* What all acts on hosts share: names that are names, sudo, sending a step, judging its end, and looking what
 * became of it. */
#include "backends/hosts/host_change.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

#define CHECK_EVERY_S 1
#define CHECK_DEADLINE_S 5
#define ACT_DEADLINE_S 60
#define OUTPUT_MAX (256u << 10)

/* ---- names ---- */

static bool made_of(const char *name, const char *others, size_t longest)
{
    size_t length = 0;
    for (const char *at = name; *at; at++, length++)
        if (!isalnum((unsigned char)*at) && !strchr(others, *at))
            return false;
    return length > 0 && length <= longest && name[0] != '-';
}

static bool bad_name(struct error *error, const char *what, const char *name)
{
    return error_set(error, ERROR_USAGE, NULL, what, NULL, "\"%s\" is not such a name", name ? name : "");
}

bool host_valid_unit(const char *name, struct error *error)
{
    return (name && made_of(name, ":-_.\\@", 255)) || bad_name(error, "name of a unit", name);
}

bool host_valid_container(const char *id, struct error *error)
{
    return (id && isalnum((unsigned char)*id) && made_of(id, "_.-", 255)) || bad_name(error, "container", id);
}

bool host_valid_path(const char *path, struct error *error)
{
    bool valid = path && path[0] == '/' && strlen(path) < 4096;
    for (const char *at = path; valid && *at; at++) {
        bool component = at[0] == '/' && at[1] == '.' && at[2] == '.' && (at[3] == '/' || !at[3]);
        valid = !iscntrl((unsigned char)*at) && !component;
    }
    return valid || bad_name(error, "absolute path", path);
}

char *host_login(const void *context, const char *address)
{
    if (!address)
        return NULL;
    size_t end = strcspn(address, " ");
    if (strncmp(address, "ssh://", 6) == 0) {
        address += 6;
        end -= 6;
    }
    for (size_t i = end; i-- > 1;) /* a login may hold an '@' of its own */
        if (address[i] == '@')
            return talloc_strndup(context, address, i);
    return NULL;
}

bool host_number(const char **text, double *number)
{
    char *end;
    *number = strtod(*text, &end);
    bool is_number = end != *text && *number >= 0 && isfinite(*number);
    *text = end;
    return is_number;
}

/* ---- shell lines ---- */

char *host_words(const void *context, const char *const words[])
{
    char *line = talloc_strdup(context, "");
    for (size_t i = 0; words[i]; i++) {
        char *quoted = ssh_quote(line, words[i]);
        line = talloc_asprintf_append_buffer(line, "%s%s", i ? " " : "", quoted);
        if (!line)
            abort();
        talloc_free(quoted);
    }
    return line;
}

/* Where Debian and Ubuntu have it; sudoers wants the whole path. */
static const char *program_folder(const char *program)
{
    static const char *const in_sbin[] = {"logrotate", "ufw", "nft", "reboot", "service", "rc-service"};
    for (size_t i = 0; i < sizeof in_sbin / sizeof *in_sbin; i++)
        if (strcmp(program, in_sbin[i]) == 0)
            return "/usr/sbin/";
    return "/usr/bin/";
}

/* "ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart nginx.service": its own quoting is a backslash. */
static char *sudoers_line(const void *context, const char *login, const char *const words[])
{
    char *line =
        talloc_asprintf(context, "%s ALL=(root) NOPASSWD: %s%s", login, program_folder(words[0]), words[0]);
    for (size_t i = 1; line && words[i]; i++) {
        line = talloc_strdup_append_buffer(line, " ");
        for (const char *at = words[i]; line && *at; at++)
            line = talloc_asprintf_append_buffer(line, strchr(" ,:=\\*?[]!", *at) ? "\\%c" : "%c", *at);
    }
    if (!line)
        abort();
    return line;
}

char *host_privileged(const void *context, const struct host_place *place, const char *const words[],
                      const char **sudoers)
{
    char *plain = host_words(context, words);
    if (!place->login || strcmp(place->login, "root") == 0)
        return plain;
    char *needed = sudoers_line(context, place->login, words);
    *sudoers = *sudoers ? talloc_asprintf(context, "%s\n%s", *sudoers, needed) : needed;
    return talloc_asprintf(context, "sudo -n %s", plain);
}

char *host_docker(const void *context, const struct host_place *place, const char *const words[],
                  const char **sudoers)
{
    char *plain = host_words(context, words);
    if (!place->login || strcmp(place->login, "root") == 0)
        return plain;
    char *privileged = host_privileged(context, place, words, sudoers);
    return talloc_asprintf(context, "if [ -w /var/run/docker.sock ]; then %s; else %s; fi", plain,
                           privileged);
}

/* ---- the end of a step ---- */

static bool sudo_refused(const char *errors)
{
    static const char *const signs[] = {"sudo: a password is required",
                                        "sudo: a terminal is required",
                                        "sudo: sorry, you must have a tty",
                                        "is not in the sudoers file",
                                        "is not allowed to execute",
                                        "is not allowed to run sudo",
                                        "may not run sudo",
                                        "sudo: not found",
                                        "sudo: command not found"};
    for (size_t i = 0; errors && i < sizeof signs / sizeof *signs; i++)
        if (strstr(errors, signs[i]))
            return true;
    return false;
}

static void explain_sudo(const struct host_step *own, struct error *error)
{
    char todo[sizeof error->todo];
    const char *first = own->sudoers ? own->sudoers : "";
    snprintf(todo, sizeof todo,
             first[0] ? "As root on the host: visudo -f /etc/sudoers.d/signalbox: %s" : "%s", first);
    error_set(error, ERROR_DENIED, own->step->server, own->change->title, todo,
              "login %s may not do it: sudo wants a password or refuses",
              own->step->role ? own->step->role : own->change->role);
}

static enum step_outcome judge_exit(const struct host_step *own, const struct ssh_result *result,
                                    struct error *error)
{
    const struct change_step *step = own->step;
    if (ssh_result_ok(result, step->server, own->change->title, error)) {
        error_clear(error);
        return STEP_DONE;
    }
    if (result->end.status == EXIT_GONE)
        return error_set(error, ERROR_GONE, step->server, own->change->title, NULL,
                         "%s is no longer what was selected", step->target),
               STEP_GONE;
    if (result->end.status == EXIT_REFUSED)
        error_set(error, ERROR_INTERLOCK, step->server, own->change->title, NULL, "%s",
                  result->errors && *result->errors ? result->errors : "refused on the host");
    else if (sudo_refused(result->errors))
        explain_sudo(own, error);
    return STEP_FAILED;
}

/* Exit status 0 is the only success; what broke off may have been done or not. */
enum step_outcome host_step_judge(const struct host_step *own, const struct ssh_result *result,
                                  struct error *error)
{
    const struct change_step *step = own->step;
    const char *look = own->look ? own->look : "Look at the host before it is done again.";
    if (result->cut) {
        error_set(error, ERROR_LOST, step->server, own->change->title, look,
                  "the outcome is unknown: it printed more than is taken and was given up");
        return STEP_UNKNOWN;
    }
    switch (result->end.ending) {
    case SSH_EXITED:
        return judge_exit(own, result, error);
    case SSH_SIGNALLED:
        error_set(error, ERROR_SERVER, step->server, own->change->title, look,
                  "the command died of signal %s: it was not finished", result->end.signal);
        return STEP_FAILED;
    case SSH_LOST:
        error_set(error, result->end.error.kind == ERROR_TIMEOUT ? ERROR_TIMEOUT : ERROR_LOST, step->server,
                  own->change->title, look, "the outcome is unknown: %s",
                  result->end.error.why[0] ? result->end.error.why : "the connection broke");
        return STEP_UNKNOWN;
    case SSH_REFUSED:
        break;
    }
    *error = result->end.error;
    if (error->kind == ERROR_NONE)
        error_set(error, ERROR_LOST, step->server, own->change->title, NULL, "it could not be sent");
    return STEP_FAILED;
}

static void step_ended(void *data, const struct ssh_result *result)
{
    struct host_step *own = data;
    struct error error = {0};
    own->run = NULL;
    if (result->output_length) {
        char *output = talloc_size(own, result->output_length + 1);
        if (!output)
            abort();
        memcpy(output, result->output, result->output_length);
        output[result->output_length] = '\0';
        own->output = output;
        own->output_length = result->output_length;
    }
    if (result->errors && *result->errors)
        own->errors = talloc_strdup(own, result->errors);
    bool lineless = own->output && own->output_length && own->output[own->output_length - 1] != '\n';
    if (own->output_length || own->errors)
        own->step->output =
            talloc_asprintf(own, "%s%s%s", own->output ? own->output : "",
                            lineless && own->errors ? "\n" : "", own->errors ? own->errors : "");
    enum step_outcome outcome = host_step_judge(own, result, &error);
    change_step_done(own->change, own->step, outcome, error.kind != ERROR_NONE ? &error : NULL);
}

static void send_step(struct change *change, struct change_step *step)
{
    struct host_step *own = step->data;
    (void)change;
    own->run = ssh_run(own->ssh, step->command, NULL, own->limits, step_ended, own);
}

static int step_destroy(struct host_step *own)
{
    if (own->run)
        ssh_run_cancel(own->run);
    return 0;
}

struct host_step *host_step_of(const struct change_step *step)
{
    return step->data;
}

const char *host_step_output(const struct change_step *step, size_t *length)
{
    const struct host_step *own = step->data;
    *length = own->output_length;
    return own->output ? own->output : "";
}

const char *host_step_errors(const struct change_step *step)
{
    const struct host_step *own = step->data;
    return own->errors ? own->errors : "";
}

/* ---- what became of it ---- */

struct host_watch {
    struct change *change;
    struct ssh_host *ssh;
    struct ssh_run *run;
    struct host_check check;
    double began; /* monotonic; 0: not yet */
    double asked;
    char text[256];
    bool over;
};

static int watch_destroy(struct host_watch *watch)
{
    if (watch->run)
        ssh_run_cancel(watch->run);
    return 0;
}

static void check_ended(void *data, const struct ssh_result *result)
{
    struct host_watch *watch = data;
    watch->run = NULL;
    watch->over = watch->check.read(&watch->check, result, clock_monotonic() - watch->began, watch->text,
                                    sizeof watch->text);
}

static bool watch_look(struct change *change, char *buffer, size_t size)
{
    struct host_watch *watch = change->data;
    double now = clock_monotonic();
    if (watch->began <= 0)
        watch->began = now;
    if (now - watch->began > watch->check.patience_s)
        watch->over = true;
    if (!watch->run && !watch->over && now - watch->asked >= CHECK_EVERY_S) {
        watch->asked = now;
        watch->run = ssh_run(watch->ssh, watch->check.command, NULL,
                             (struct ssh_run_limits){.deadline_s = CHECK_DEADLINE_S, .bytes = 8192},
                             check_ended, watch);
    }
    snprintf(buffer, size, "%s", watch->text);
    return watch->over;
}

void host_change_watch(struct change *change, struct ssh_host *ssh, const struct host_check *check)
{
    struct host_watch *watch = talloc_zero(change, struct host_watch);
    if (!watch)
        abort();
    watch->change = change;
    watch->ssh = ssh;
    watch->check = *check;
    talloc_set_destructor(watch, watch_destroy);
    change->data = watch;
    change->watch = watch_look;
}

/* ---- making a change ---- */

struct change *host_change_begin(const struct host_place *place, size_t steps, struct error *error)
{
    if (!place->login) {
        error_set(error, ERROR_LOST, place->host, "nothing can be done there yet",
                  "Wait until the host answers, or look at why it does not.",
                  "it never answered, so it is not known as whom we are logged in");
        return NULL;
    }
    struct change *change = change_new();
    change->hazard = HAZARD_CHANGE;
    change->withdrawable = true;
    change->environment = talloc_strdup(change, place->environment);
    change->server = talloc_strdup(change, place->host);
    change->role = talloc_strdup(change, place->login);
    change->steps = talloc_zero_array(change, struct change_step, steps);
    if (!change->steps)
        abort();
    return change;
}

struct change_step *host_change_add(struct change *change, const struct host_place *place, const char *name,
                                    const char *target, const char *command)
{
    struct change_step *step = &change->steps[change->step_count++];
    struct host_step *own = talloc_zero(change, struct host_step);
    if (!own)
        abort();
    own->change = change;
    own->step = step;
    own->ssh = place->ssh;
    own->limits = (struct ssh_run_limits){.deadline_s = ACT_DEADLINE_S, .bytes = OUTPUT_MAX};
    talloc_set_destructor(own, step_destroy);
    step->server = talloc_strdup(change, place->host);
    step->role = place->login ? talloc_strdup(change, place->login) : NULL;
    step->name = talloc_strdup(change, name);
    step->target = talloc_strdup(change, target);
    step->command = talloc_strdup(change, command);
    step->send = send_step;
    step->data = own;
    return step;
}

void host_change_confirm_name(struct change *change, const struct host_place *place)
{
    change->reach = REACH_NAME;
    change->confirm = talloc_strdup(change, place->host);
    change->confirm_prompt = "the name of the host";
}

const char *host_verb_name(enum host_verb verb)
{
    static const char *const names[] = {"reload", "restart", "start", "stop"};
    return names[verb];
}
