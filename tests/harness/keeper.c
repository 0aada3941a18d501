/* The keeper: a process of its own that starts what it is told to, adopts all that these leave behind, and
 * waits for the test's end of a socket to close. */
#include "tests/harness/keeper.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

enum { KEEPER_MESSAGE = 16384, KEEPER_WORDS = 256, KEEPER_FAMILY = 4096 };

struct keeper {
    pid_t pid;
    int line;
};

static void keeper_fail(const char *what, const char *detail)
{
    print_error("keeper: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

/* ---- in the process of the keeper ---- */

/* The message: where the output goes, then the words of the command, each with its NUL. */
static pid_t keeper_spawn(char *message, size_t length, const sigset_t *mask)
{
    char *words[KEEPER_WORDS + 1];
    int count = 0;
    for (char *at = message; at < message + length && count < KEEPER_WORDS; at += strlen(at) + 1)
        words[count++] = at;
    words[count] = NULL;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    const char *output = words[0][0] ? words[0] : "/dev/null";
    int file = open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigprocmask(SIG_SETMASK, mask, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (file < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0)
        _exit(126);
    execvp(words[1], words + 1);
    dprintf(2, "%s: %s\n", words[1], strerror(errno));
    _exit(127);
}

/* Those that are left become children of the keeper when their parents end: until none is left. */
static void keeper_end_all(void)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
        close(file);
        if (length > 0) {
            text[length] = '\0';
            for (char *at = text, *end; *at; at = end + (*end == ' ')) {
                pid_t pid = (pid_t)strtol(at, &end, 10);
                if (end == at)
                    break;
                if (end[0]) /* the last one may be cut */
                    kill(pid, SIGKILL);
            }
        }
        poll(NULL, 0, 1);
    }
}

/* tests/run waits for this lock before it removes the folder that ours is in. */
static void keeper_lock(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%.*s/keepers.lock", (int)(strrchr(folder, '/') - folder), folder);
    int lock = open(path, O_WRONLY | O_APPEND);
    if (lock >= 0)
        flock(lock, LOCK_SH);
}

_Noreturn static void keeper_serve(int line, const char *folder)
{
    sigset_t all, child, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd ready[] = {{.fd = line, .events = POLLIN}, {.fd = children, .events = POLLIN}};
    static char message[KEEPER_MESSAGE];
    for (;;) {
        poll(ready, 2, -1);
        struct signalfd_siginfo info;
        while (read(children, &info, sizeof info) > 0)
            ;
        if (ready[0].revents) {
            ssize_t length = recv(line, message, sizeof message, 0);
            if (length <= 0)
                break;
            pid_t pid = keeper_spawn(message, (size_t)length, &before);
            if (send(line, &pid, sizeof pid, MSG_NOSIGNAL) < 0)
                break;
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    keeper_end_all();
    /* libpam-wrapper copies services to a folder of its own, which nobody removes */
    static const char script[] = "for service in /tmp/pam.?/*; do if grep -qsF \"$1/\" \"$service\"; then rm "
                                 "-rf \"${service%/*}\"; fi; done; "
                                 "exec rm -rf \"$1\"";
    execlp("sh", "sh", "-c", script, "sh", folder, (char *)NULL);
    _exit(127);
}

/* Nothing of the test stays open here: another keeper may wait for its end. */
static void keeper_close_all_but(int line)
{
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    if (line > 3)
        close_range(3, (unsigned)line - 1, 0);
    close_range((unsigned)line + 1, ~0u, 0);
}

/* ---- in the test ---- */

struct keeper *keeper_start(const char *folder)
{
    int ends[2];
    struct keeper *k = calloc(1, sizeof *k);
    if (!k || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    k->pid = fork();
    if (k->pid < 0)
        keeper_fail("fork", strerror(errno));
    if (k->pid == 0) {
        setsid();
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        prctl(PR_SET_NAME, "keeper");
        keeper_close_all_but(ends[1]);
        keeper_lock(folder);
        keeper_serve(ends[1], folder);
    }
    close(ends[1]);
    k->line = ends[0];
    return k;
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    int status = -1;
    close(k->line);
    while (waitpid(k->pid, &status, 0) < 0 && errno == EINTR)
        ;
    free(k);
    if (status != 0)
        keeper_fail("a folder", "it cannot be removed");
}

pid_t keeper_run(struct keeper *k, const char *const argv[], const char *output)
{
    char message[KEEPER_MESSAGE];
    size_t length = 0;
    for (int i = -1; i < 0 || argv[i]; i++) {
        const char *word = i < 0 ? (output ? output : "") : argv[i];
        if (i >= KEEPER_WORDS - 1 || length + strlen(word) + 1 > sizeof message)
            keeper_fail(argv[0], "its command is too long");
        memcpy(message + length, word, strlen(word) + 1);
        length += strlen(word) + 1;
    }
    pid_t pid = -1;
    if (send(k->line, message, length, MSG_NOSIGNAL) < 0 || recv(k->line, &pid, sizeof pid, 0) < 0 || pid < 0)
        keeper_fail(argv[0], "it cannot be started");
    return pid;
}

pid_t keeper_parent(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    const char *after = strrchr(text, ')');
    if (after)
        sscanf(after, ") %*c %d", &parent);
    return parent;
}

size_t keeper_family(struct keeper *k, pid_t pid, pid_t family[], size_t limit)
{
    struct {
        pid_t pid, parent;
    } *all = calloc(KEEPER_FAMILY, sizeof *all);
    size_t known = 0, count = 0;
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (all && processes && (entry = readdir(processes)) && known < KEEPER_FAMILY) {
        all[known].pid = (pid_t)atol(entry->d_name);
        if (all[known].pid > 1) {
            all[known].parent = keeper_parent(all[known].pid);
            known++;
        }
    }
    if (processes)
        closedir(processes);
    /* what was found is searched for children in turn */
    for (size_t at = 0; at <= count; at++) {
        pid_t parent = at ? family[at - 1] : (pid ? pid : k->pid);
        for (size_t i = 0; i < known && count < limit; i++)
            if (all[i].parent == parent)
                family[count++] = all[i].pid;
    }
    free(all);
    return count;
}

bool keeper_anybody_runs(const char *program, const char *text)
{
    char path[300], command[4096];
    bool found = false;
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && !found && (entry = readdir(processes))) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        size_t length = fread(command, 1, sizeof command - 1, file);
        fclose(file);
        command[length] = '\0';
        found = (!program || strcmp(command, program) == 0) &&
                memmem(command, length, text, strlen(text)) != NULL;
    }
    if (processes)
        closedir(processes);
    return found;
}
