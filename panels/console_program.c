/* Another program in the terminal (psql, ssh): the screen is left to it, and the loop goes on meanwhile,
 * because what the program talks to may be reached through a tunnel of ours. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "panels/console_internal.h"

#define LOOK_S 0.05

/* Comes back when it has ended. */
static void program_ended(struct console *console, int status)
{
    ev_timer_stop(loop_ev(console->app->loop), &console->program_watch);
    console->program = 0;
    signal(SIGINT, console->program_interrupt);
    screen_resume(console->screen);
    console->dirty = true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        console_say(console, SEVERITY_CRITICAL, "%s cannot be started: is it installed, and on the PATH?",
                    console->program_name);
    TALLOC_FREE(console->program_name);
}

static void look_for_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct console *console = timer->data;
    int status = 0;
    (void)loop, (void)events;
    if (waitpid(console->program, &status, WNOHANG) != 0)
        program_ended(console, status);
}

void console_run_program(struct console *console, const char *const argv[], const char *const environment[])
{
    if (console->program)
        return;
    screen_suspend(console->screen);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; environment && environment[i]; i++)
            putenv((char *)environment[i]);
        signal(SIGINT, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
        execvp(argv[0], (char *const *)argv);
        fprintf(stderr, "signalbox: %s cannot be started: is it installed, and on the PATH?\n", argv[0]);
        _exit(127);
    }
    if (child < 0) {
        screen_resume(console->screen);
        console->dirty = true;
        console_say(console, SEVERITY_CRITICAL, "%s cannot be started: no process could be made", argv[0]);
        return;
    }
    console->program = child;
    console->program_name = talloc_strdup(console, argv[0]);
    /* C-c is that program's. */
    console->program_interrupt = signal(SIGINT, SIG_IGN);
    ev_timer_init(&console->program_watch, look_for_end, LOOK_S, LOOK_S);
    console->program_watch.data = console;
    ev_timer_start(loop_ev(console->app->loop), &console->program_watch);
}

void console_end_program(struct console *console)
{
    if (!console->program)
        return;
    /* The terminal goes back to the shell: two must not read from it. */
    kill(console->program, SIGHUP);
    waitpid(console->program, NULL, 0);
    program_ended(console, 0);
}
