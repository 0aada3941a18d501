#include "tests/harness/partner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

#define WAIT_S 30

struct partner {
    pid_t pid;
    int in, out;
    char *buffer;
    size_t length;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static char *take_line(struct partner *p)
{
    char *end = p->length ? memchr(p->buffer, '\n', p->length) : NULL;
    if (!end)
        return NULL;
    size_t length = (size_t)(end - p->buffer);
    char *line = strndup(p->buffer, length);
    memmove(p->buffer, end + 1, p->length - length - 1);
    p->length -= length + 1;
    return line;
}

static char *read_line(struct partner *p, const char *asked)
{
    double end = now() + WAIT_S;
    char *line;
    while (!(line = take_line(p))) {
        struct pollfd fd = {.fd = p->out, .events = POLLIN};
        if (now() > end || poll(&fd, 1, 200) < 0)
            fail_msg("no answer to %s", asked);
        if (!fd.revents)
            continue;
        p->buffer = realloc(p->buffer, p->length + 65536);
        ssize_t got = p->buffer ? read(p->out, p->buffer + p->length, 65536) : -1;
        if (got <= 0)
            fail_msg("the program ended instead of answering to %s", asked);
        p->length += (size_t)got;
    }
    return line;
}

struct partner *partner_start(const char *const argv[], const char *folder)
{
    int to[2], from[2];
    struct partner *p = calloc(1, sizeof *p);
    assert_true(p && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || (folder && chdir(folder) != 0))
            _exit(126);
        dup2(to[0], 0);
        dup2(from[1], 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    p->in = to[1];
    p->out = from[0];
    signal(SIGPIPE, SIG_IGN);
    free(read_line(p, "being started"));
    return p;
}

char *partner_ask(struct partner *p, const char *line)
{
    size_t length = strlen(line);
    if (write(p->in, line, length) != (ssize_t)length || write(p->in, "\n", 1) != 1)
        fail_msg("the program has ended: %s", line);
    return read_line(p, line);
}

long partner_count(struct partner *p, const char *line)
{
    char *answer = partner_ask(p, line);
    long count = strtol(answer, NULL, 10);
    free(answer);
    return count;
}

pid_t partner_pid(const struct partner *p)
{
    return p->pid;
}

void partner_end(struct partner *p)
{
    if (!p)
        return;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->in);
    close(p->out);
    free(p->buffer);
    free(p);
}
