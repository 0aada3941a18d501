/*
 * The command line as data: options and sub-commands in one table each. --help, the errors, the manual page
 * and the completion of sub-commands come from them.
 */
#ifndef PANELS_OPTIONS_H
#define PANELS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/error.h"

enum { OPTIONS_DSNS = 32, OPTIONS_HOSTS = 256, OPTIONS_ARGUMENTS = 64 };

struct options {
    const char *environment;            /* -e */
    const char *postgres[OPTIONS_DSNS]; /* --postgres, and DSNs given as plain arguments */
    size_t postgres_count;
    const char *ssh[OPTIONS_HOSTS]; /* --ssh */
    size_t ssh_count;
    const char *redis[OPTIONS_DSNS]; /* --redis, and such URLs given as plain arguments */
    size_t redis_count;
    bool json, csv, plain;
    double watch_s;    /* --watch; 0: once */
    double interval_s; /* --interval; 0: totals since reset */
    const char *view;
    const char *server;
    const char *reason;
    bool dry_run, yes, force;
    const char *hosts; /* groups or hosts */
    const char *runbook;
    long batch;        /* hosts at once; 0: not said */
    double deadline_s; /* for each host; 0: not said */
    const char *keymap;
    bool ascii, mono;
    bool no_state; /* keep nothing but the audit log */
    long limit;
    const char *source; /* a log */
    const char *grep;
    double since_s; /* 0: not said */
    const char *head;
    const char *queue, *filter, *from; /* jobs */
    const char *system, *tenant, *worker, *task, *entry, *argument;
    const char *arguments[OPTIONS_ARGUMENTS]; /* what is left, the sub-command not counted */
    size_t argument_count;
};

struct command {
    const char *name;      /* NULL: the console itself */
    const char *arguments; /* "PID@START" */
    const char *help;
    const char *options;                       /* names of the options it takes, separated by blanks */
    int (*run)(const struct options *options); /* returns the exit status */
};

/* All sub-commands, the console first. */
extern const struct command commands[];
extern const size_t command_count;

/* Fills options. NULL with error when the line is wrong. --help and --version are answered with *command->run
 * NULL and `answer` set. */
enum options_answer { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_MANUAL, OPTIONS_KEYS };
const struct command *options_parse(struct options *options, int argc, char *argv[],
                                    enum options_answer *answer, struct error *error);

/* `command` NULL: of the whole program. */
void options_print_help(const struct command *command, FILE *file);
/* The beginning of the manual page (name, synopsis, commands, options), in troff's man macros. */
void options_print_manual(FILE *file);
/* Text in which troff sees no commands. */
void options_print_troff(FILE *file, const char *text);

#endif
