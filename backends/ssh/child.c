/* Starting, ending and reaping children with posix_spawn and a pidfd. */
#include "backends/ssh/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "core/clock.h"

/* Nobody is there to be asked by a window that pops up behind the console. */
static const char no_window[] = "SSH_ASKPASS_REQUIRE=never";

static const char **child_environment(const void *context)
{
    size_t count = 0, used = 0;
    while (environ[count])
        count++;
    const char **variables = talloc_array(context, const char *, count + 2);
    if (!variables)
        abort();
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], no_window, strcspn(no_window, "=") + 1) != 0)
            variables[used++] = environ[i];
    variables[used++] = no_window;
    variables[used] = NULL;
    return variables;
}

/* setpriv replaces itself by the program: no process more. */
static const char **tied_argv(const void *context, const char *const *argv)
{
    static const char *const setpriv[] = {"/usr/bin/setpriv", "--pdeathsig", "TERM", "--"};
    size_t front = sizeof setpriv / sizeof *setpriv, count = 0;
    while (argv[count])
        count++;
    if (access(setpriv[0], X_OK) != 0)
        front = 0;
    const char **tied = talloc_array(context, const char *, front + count + 1);
    if (!tied)
        abort();
    memcpy(tied, setpriv, front * sizeof *tied);
    memcpy(tied + front, argv, (count + 1) * sizeof *tied);
    return tied;
}

static int spawn(pid_t *pid, const char *const *argv, int out, int err, const char *const *variables)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed =
        posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, (char *const *)variables);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void close_one(int *file)
{
    if (*file >= 0)
        close(*file);
    *file = -1;
}

bool child_start(struct child *child, const char *const *argv, bool with_output, bool dies_with_us,
                 struct error *error)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1}, failed = 0;
    void *scratch = talloc_new(NULL);
    *child = (struct child){.ended = -1, .out = -1, .err = -1};
    if ((with_output && pipe2(out, O_CLOEXEC) != 0) || pipe2(err, O_CLOEXEC) != 0)
        failed = errno;
    if (!failed)
        failed = spawn(&child->pid, dies_with_us ? tied_argv(scratch, argv) : argv, out[1], err[1],
                       child_environment(scratch));
    talloc_free(scratch);
    close_one(&out[1]);
    close_one(&err[1]);
    child->out = out[0];
    child->err = err[0];
    if (!failed && (child->ended = pidfd_open(child->pid, 0)) < 0) {
        failed = errno;
        kill(-child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
    }
    if (failed) {
        child->pid = 0;
        child_end(child, 0);
        return error_set(error, ERROR_SYSTEM, NULL, "cannot run ssh",
                         failed == ENOENT ? "Install the OpenSSH client." : NULL, "%s: %s", argv[0],
                         strerror(failed));
    }
    if (child->out >= 0)
        fcntl(child->out, F_SETFL, O_NONBLOCK);
    fcntl(child->err, F_SETFL, O_NONBLOCK);
    return true;
}

bool child_reap(struct child *child, int *status)
{
    siginfo_t seen = {0};
    int found = 0;
    if (!child->pid || waitid(P_PID, (id_t)child->pid, &seen, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        !seen.si_pid)
        return false;
    /* What it left behind in its group (a ProxyCommand) ends with it, as long as the number is still its own.
     */
    kill(-child->pid, SIGTERM);
    if (waitpid(child->pid, &found, 0) != child->pid)
        found = -1;
    child->pid = 0;
    if (status)
        *status = found;
    return true;
}

void child_end(struct child *child, double patience_s)
{
    if (child->pid && !child_reap(child, NULL)) {
        struct pollfd ended = {.fd = child->ended, .events = POLLIN};
        kill(-child->pid, SIGTERM);
        poll(&ended, 1, (int)(patience_s * 1e3));
        if (!child_reap(child, NULL)) {
            kill(-child->pid, SIGKILL);
            while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
                ;
            child->pid = 0;
        }
    }
    close_one(&child->ended);
    close_one(&child->out);
    close_one(&child->err);
}

static void reap_work(void *job)
{
    struct child *child = job;
    struct pollfd ended = {.fd = child->ended, .events = POLLIN};
    poll(&ended, 1, 1000); /* one that hangs in the kernel is left behind */
    child_reap(child, NULL);
    close_one(&child->ended);
}

static void reap_drop(void *job)
{
    reap_work(job);
    free(job);
}

void child_kill(struct child *child, struct loop *loop)
{
    struct child *job = child->pid ? malloc(sizeof *job) : NULL;
    if (child->pid && !job)
        abort();
    if (job) {
        kill(-child->pid, SIGKILL);
        *job = (struct child){.pid = child->pid, .ended = child->ended, .out = -1, .err = -1};
        child->pid = 0;
        child->ended = -1;
        loop_work_or_drop(loop, WORK_FILE, reap_work, free, reap_drop, job);
    }
    child_end(child, 0);
}

/* ---- to its end ---- */

/* Takes what is there; false at the end. */
static bool take_output(int file, struct child_result *result, size_t limit)
{
    char room[16384];
    for (;;) {
        ssize_t got = read(file, room, sizeof room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        size_t fits = limit - result->length < (size_t)got ? limit - result->length : (size_t)got;
        result->output = talloc_realloc_size(NULL, result->output, result->length + fits + 1);
        if (!result->output)
            abort();
        memcpy(result->output + result->length, room, fits);
        result->length += fits;
    }
}

static bool take_errors(int file, struct child_result *result)
{
    char room[4096];
    for (;;) {
        ssize_t got = read(file, room, sizeof room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        size_t used = strlen(result->errors), fits = sizeof result->errors - 1 - used;
        for (ssize_t i = 0; i < got && (size_t)i < fits; i++)
            result->errors[used + (size_t)i] = room[i] ? room[i] : ' ';
    }
}

bool child_run(const void *context, const char *const *argv, double deadline_s, size_t limit,
               struct child_result *result, struct error *error)
{
    struct child child;
    double until = clock_monotonic() + deadline_s, left;
    *result = (struct child_result){.status = -1, .output = talloc_zero_size(NULL, 1)};
    if (!child_start(&child, argv, true, false, error)) {
        talloc_free(result->output);
        return false;
    }
    struct pollfd files[] = {{.fd = child.out, .events = POLLIN},
                             {.fd = child.err, .events = POLLIN},
                             {.fd = child.ended, .events = POLLIN}};
    for (bool over = false; !over && (left = until - clock_monotonic()) > 0;) {
        if (poll(files, 3, (int)(left * 1e3) + 1) < 0 && errno != EINTR)
            break;
        over = files[2].revents != 0; /* a grandchild may keep the pipes open for ever */
        if (files[0].fd >= 0 && !take_output(child.out, result, limit))
            files[0].fd = -1;
        if (files[1].fd >= 0 && !take_errors(child.err, result))
            files[1].fd = -1;
    }
    if (!child_reap(&child, &result->status))
        result->status = -1;
    child_end(&child, 0.1);
    result->output[result->length] = '\0';
    result->output = talloc_steal(context, result->output);
    return true;
}
