/* Asking `ssh -G` in a worker. */
#include "backends/ssh/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>

#include "backends/ssh/child.h"

#define DEADLINE_S 5
#define OUTPUT_LIMIT (1024 * 1024)

/* Parentless: the worker has it in between. */
struct ssh_resolving {
    char *where, *config, *destination;
    struct ssh_settings *settings;
    struct error error;
    bool cancelled;
    void (*done)(void *data, struct ssh_settings *settings, const struct error *error);
    void *data;
};

static char *copy_text(const void *context, const char *text)
{
    char *copy = talloc_strdup(context, text);
    if (!copy)
        abort();
    return copy;
}

static const char **make_argv(const struct ssh_resolving *own, const char *const *destination)
{
    const char **argv = talloc_zero_array(own, const char *, 16);
    size_t count = 0;
    if (!argv)
        abort();
    argv[count++] = "ssh";
    argv[count++] = "-T"; /* else it may complain that there is no terminal */
    argv[count++] = "-G";
    if (own->config) {
        argv[count++] = "-F";
        argv[count++] = own->config;
    }
    while (*destination)
        argv[count++] = *destination++;
    return argv;
}

/* What ssh says is the best explanation: file, line, reason. */
static void explain(struct ssh_resolving *own, const struct child_result *result)
{
    const char *what = "cannot read the SSH configuration";
    if (result->status == -1)
        error_set(&own->error, ERROR_TIMEOUT, NULL, what, "Look for a `Match exec` in ssh_config that hangs.",
                  "ssh -G did not end within %d s", DEADLINE_S);
    else if (result->errors[0])
        error_set(&own->error, ERROR_CONFIG, NULL, what, NULL, "%s", result->errors);
    else if (WIFEXITED(result->status))
        error_set(&own->error, ERROR_CONFIG, NULL, what, NULL, "ssh -G ended with exit status %d",
                  WEXITSTATUS(result->status));
    else
        error_set(&own->error, ERROR_SYSTEM, NULL, what, NULL, "ssh -G was ended by signal %d",
                  WTERMSIG(result->status));
}

static void resolve(void *job)
{
    struct ssh_resolving *own = job;
    struct child_result result;
    const char **destination = ssh_destination_argv(own, own->destination, &own->error);
    if (!destination ||
        !child_run(own, make_argv(own, destination), DEADLINE_S, OUTPUT_LIMIT, &result, &own->error))
        return;
    if (result.status == 0)
        own->settings = ssh_settings_parse(NULL, own->destination, result.output, result.length, &own->error);
    else
        explain(own, &result);
    if (own->settings)
        ssh_settings_examine(own->settings);
}

static void drop(void *job)
{
    struct ssh_resolving *own = job;
    talloc_free(own->settings);
    talloc_free(own);
}

static void resolved(void *job)
{
    struct ssh_resolving *own = job;
    struct ssh_settings *settings = own->settings;
    if (own->cancelled) {
        drop(own);
        return;
    }
    if (own->error.kind)
        error_set(&own->error, own->error.kind, own->where, own->error.what, own->error.todo, "%s",
                  own->error.why);
    own->done(own->data, settings, settings ? NULL : &own->error);
    talloc_free(own);
}

struct ssh_resolving *
ssh_settings_resolve(struct loop *loop, const char *where, const char *config, const char *destination,
                     void (*done)(void *data, struct ssh_settings *settings, const struct error *error),
                     void *data)
{
    struct ssh_resolving *own = talloc_zero(NULL, struct ssh_resolving);
    if (!own)
        abort();
    own->where = copy_text(own, where ? where : destination);
    own->config = config ? copy_text(own, config) : NULL;
    own->destination = copy_text(own, destination);
    own->done = done;
    own->data = data;
    loop_work_or_drop(loop, WORK_LOCAL, resolve, resolved, drop, own);
    return own;
}

void ssh_resolving_cancel(struct ssh_resolving *resolving)
{
    if (resolving)
        resolving->cancelled = true;
}
