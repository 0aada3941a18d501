/* The tables of options and sub-commands, and their parser. */
#include "panels/options.h"

#include <stdlib.h>
#include <string.h>

#include "core/units.h"

enum option_kind { FLAG, TEXT, DURATION, NUMBER, DSN, HOST, REDIS };

struct option_spec {
    const char *name;
    char letter; /* 0: none */
    enum option_kind kind;
    size_t offset; /* in struct options */
    const char *argument;
    const char *help;
};

#define FIELD(name) offsetof(struct options, name)

static const struct option_spec specs[] = {
    {"environment", 'e', TEXT, FIELD(environment), "NAME",
     "the environment: a name, or the path of its file"},
    {"postgres", 0, DSN, 0, "DSN", "a Postgres server (URI or key=value), instead of a file; repeatable"},
    {"redis", 0, REDIS, 0, "URL",
     "a Redis server (redis://USER@HOST:PORT/NUMBER), instead of a file; repeatable"},
    {"ssh", 0, HOST, 0, "USER@HOST:PORT", "a host, as ssh takes it, instead of a file; repeatable"},
    {"server", 0, TEXT, FIELD(server), "NAME", "one server of the environment"},
    {"view", 0, TEXT, FIELD(view), "VIEW", "which view of the panel"},
    {"json", 0, FLAG, FIELD(json), NULL, "one JSON object"},
    {"csv", 0, FLAG, FIELD(csv), NULL, "comma-separated values with a header"},
    {"plain", 0, FLAG, FIELD(plain), NULL, "aligned text (the default)"},
    {"interval", 0, DURATION, FIELD(interval_s), "TIME",
     "measure over this time instead of since the last reset"},
    {"watch", 0, DURATION, FIELD(watch_s), "TIME",
     "again and again, this far apart; with --json one object a line"},
    {"reason", 0, TEXT, FIELD(reason), "TEXT", "why; kept in the audit log"},
    {"dry-run", 0, FLAG, FIELD(dry_run), NULL, "print what would be sent, and send nothing"},
    {"yes", 0, FLAG, FIELD(yes), NULL, "do not ask; the environment must be unlocked"},
    {"force", 0, FLAG, FIELD(force), NULL,
     "also what would take down the last healthy host of a group; wants a reason"},
    {"hosts", 0, TEXT, FIELD(hosts), "NAMES", "a group, or hosts with commas between them; all"},
    {"runbook", 0, TEXT, FIELD(runbook), "NAME", "the named steps of the environment file"},
    {"batch", 0, NUMBER, FIELD(batch), "N", "so many hosts at once; 1 when not said"},
    {"deadline", 0, DURATION, FIELD(deadline_s), "TIME",
     "at most this long on each host; 5 min when not said"},
    {"limit", 0, NUMBER, FIELD(limit), "N", "at most N records, jobs"},
    {"source", 0, TEXT, FIELD(source), "LOG",
     "which log: nginx-access, journal, a name of the environment file"},
    {"grep", 0, TEXT, FIELD(grep), "TEXT", "only lines with this text, without regard to case"},
    {"since", 0, DURATION, FIELD(since_s), "TIME", "what is not older than this: 10min"},
    {"head", 0, TEXT, FIELD(head), "HASH", "a hash that some record must have: kept from an earlier verify"},
    {"queue", 0, TEXT, FIELD(queue), "NAME", "one queue"},
    {"filter", 0, TEXT, FIELD(filter), "WORDS",
     "which jobs: task:report tenant=al_noor retries>3 age>1h poison text:\"Year 9\""},
    {"from", 0, TEXT, FIELD(from), "END", "head (what runs next) or tail (the newest)"},
    {"system", 0, TEXT, FIELD(system), "NAME", "one job system, as the column says it"},
    {"tenant", 0, TEXT, FIELD(tenant), "NAME", "the tenant that is meant"},
    {"worker", 0, TEXT, FIELD(worker), "NAME", "the worker that is meant"},
    {"task", 0, TEXT, FIELD(task), "NAME", "the task that is meant"},
    {"entry", 0, TEXT, FIELD(entry), "ID", "of the schedule, or of what was set aside"},
    {"argument", 0, TEXT, FIELD(argument), "TEXT", "what the act needs: a rate such as 10/m, +1, a queue"},
    {"keymap", 0, TEXT, FIELD(keymap), "NAME", "default, vim or emacs"},
    {"ascii", 0, FLAG, FIELD(ascii), NULL, "draw with ASCII characters only"},
    {"mono", 0, FLAG, FIELD(mono), NULL, "no colour (as with NO_COLOR)"},
    {"no-state", 0, FLAG, FIELD(no_state), NULL,
     "write nothing but the audit log: no past of the hosts is kept or read"},
};
enum { SPECS = sizeof specs / sizeof *specs };

static const struct option_spec *find_spec(const char *name, size_t length)
{
    for (int i = 0; i < SPECS; i++)
        if (strlen(specs[i].name) == length && strncmp(specs[i].name, name, length) == 0)
            return &specs[i];
    return NULL;
}

static const struct option_spec *find_letter(char letter)
{
    for (int i = 0; i < SPECS; i++)
        if (specs[i].letter && specs[i].letter == letter)
            return &specs[i];
    return NULL;
}

/* Is the option named in the command's blank-separated list? */
static bool command_takes(const struct command *command, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = command->options; (at = strstr(at, name)); at += length)
        if ((at == command->options || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].name && strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static bool looks_like_dsn(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0;
}

static bool add_dsn(struct options *options, const char *dsn, struct error *error)
{
    if (options->postgres_count == OPTIONS_DSNS)
        return error_set(error, ERROR_USAGE, "command line", "too many servers",
                         "Put them into an environment file.", "at most %d can be named here", OPTIONS_DSNS);
    options->postgres[options->postgres_count++] = dsn;
    return true;
}

static bool add_host(struct options *options, const char *destination, struct error *error)
{
    if (options->ssh_count == OPTIONS_HOSTS)
        return error_set(error, ERROR_USAGE, "command line", "too many hosts",
                         "Put them into an environment file.", "at most %d can be named here", OPTIONS_HOSTS);
    options->ssh[options->ssh_count++] = destination;
    return true;
}

static bool looks_like_redis(const char *text)
{
    return strncmp(text, "redis://", 8) == 0 || strncmp(text, "rediss://", 9) == 0;
}

static bool add_redis(struct options *options, const char *url, struct error *error)
{
    if (options->redis_count == OPTIONS_DSNS)
        return error_set(error, ERROR_USAGE, "command line", "too many servers",
                         "Put them into an environment file.", "at most %d can be named here", OPTIONS_DSNS);
    options->redis[options->redis_count++] = url;
    return true;
}

static bool set_option(struct options *options, const struct option_spec *spec, const char *text,
                       struct error *error)
{
    char *field = (char *)options + spec->offset;
    char *end;
    switch (spec->kind) {
    case FLAG:
        *(bool *)field = true;
        return true;
    case TEXT:
        *(const char **)field = text;
        return true;
    case DSN:
        return add_dsn(options, text, error);
    case HOST:
        return add_host(options, text, error);
    case REDIS:
        return add_redis(options, text, error);
    case NUMBER:
        *(long *)field = strtol(text, &end, 10);
        if (*text == '\0' || *end || *(long *)field < 0)
            return error_set(error, ERROR_USAGE, "command line", spec->name,
                             "Write a whole number, such as 20.", "\"%s\" is not a number", text);
        return true;
    case DURATION:
        *(double *)field = strtod(text, &end); /* a bare number is in seconds */
        if (*text == '\0' || *end)
            if (!parse_duration(text, (double *)field))
                *(double *)field = -1;
        if (!(*(double *)field > 0) || *(double *)field > 86400 * 366.0)
            return error_set(error, ERROR_USAGE, "command line", spec->name,
                             "Write seconds, or a time such as 2s or 5min.", "\"%s\" is not a time", text);
        return true;
    }
    return false;
}

/* One word that begins with '-'. Uses up *next when the option takes an argument. */
static bool parse_option(struct options *options, const struct command **command, const char *word, int *at,
                         int argc, char *argv[], const struct option_spec **seen, struct error *error)
{
    const struct option_spec *spec;
    const char *value = NULL;
    if (word[1] == '-') {
        const char *equals = strchr(word, '=');
        spec = find_spec(word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2));
        value = equals ? equals + 1 : NULL;
    } else {
        spec = find_letter(word[1]);
        value = word[2] ? word + 2 : NULL;
    }
    if (!spec)
        return error_set(error, ERROR_USAGE, "command line", "unknown option",
                         "signalbox --help lists the options.", "%s", word);
    if (spec->kind == FLAG && value)
        return error_set(error, ERROR_USAGE, "command line", word, NULL, "this option takes no value");
    if (spec->kind != FLAG && !value) {
        if (*at + 1 >= argc)
            return error_set(error, ERROR_USAGE, "command line", word, NULL, "it must be followed by its %s",
                             spec->argument);
        value = argv[++*at];
    }
    (void)command;
    *seen = spec;
    return set_option(options, spec, value, error);
}

/* Sub-commands come before other plain arguments; DSNs may stand anywhere but behind "--". */
static bool parse_argument(struct options *options, const struct command **command, const char *word,
                           bool literal, struct error *error)
{
    if (!literal && looks_like_dsn(word))
        return add_dsn(options, word, error);
    if (!literal && looks_like_redis(word))
        return add_redis(options, word, error);
    if (!(*command)->name && options->argument_count == 0) {
        const struct command *found = find_command(word);
        if (found) {
            *command = found;
            return true;
        }
        if (strchr(word, '='))
            return add_dsn(options, word, error);
        return error_set(error, ERROR_USAGE, "command line", "unknown command",
                         "signalbox --help lists the commands.", "%s", word);
    }
    if (!(*command)->arguments)
        return error_set(error, ERROR_USAGE, "command line", (*command)->name, NULL,
                         "it takes no argument: %s", word);
    if (options->argument_count == OPTIONS_ARGUMENTS)
        return error_set(error, ERROR_USAGE, "command line", "too many arguments", NULL, "at most %d",
                         OPTIONS_ARGUMENTS);
    options->arguments[options->argument_count++] = word;
    return true;
}

const struct command *options_parse(struct options *options, int argc, char *argv[],
                                    enum options_answer *answer, struct error *error)
{
    const struct command *command = &commands[0];
    const struct option_spec *seen[OPTIONS_HOSTS + 2 * OPTIONS_DSNS + 64] = {NULL};
    size_t seen_count = 0;
    bool only_arguments = false;
    memset(options, 0, sizeof *options);
    *answer = OPTIONS_RUN;
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at];
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            if (!parse_argument(options, &command, word, only_arguments, error))
                return NULL;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *answer = OPTIONS_HELP;
        } else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
            *answer = OPTIONS_VERSION;
        } else if (strcmp(word, "--manual") == 0) {
            *answer = OPTIONS_MANUAL;
        } else if (strcmp(word, "--keys") == 0) {
            *answer = OPTIONS_KEYS;
        } else {
            if (!parse_option(options, &command, word, &at, argc, argv, &seen[seen_count], error))
                return NULL;
            if (seen_count + 1 < sizeof seen / sizeof *seen)
                seen_count++;
        }
    }
    for (size_t i = 0; i < seen_count && *answer == OPTIONS_RUN; i++)
        /* parse_option has set it. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        if (!command_takes(command, seen[i]->name)) {
            error_set(error, ERROR_USAGE, "command line", seen[i]->name,
                      "signalbox --help says which options it takes.", "not an option of %s",
                      command->name ? command->name : "the console");
            return NULL;
        }
    if (options->json + options->csv + options->plain > 1) {
        error_set(error, ERROR_USAGE, "command line", "--json, --csv, --plain", NULL,
                  "only one of them can be given");
        return NULL;
    }
    return command;
}

static void print_option(const struct option_spec *spec, FILE *file)
{
    char left[64];
    snprintf(left, sizeof left, "%s%c%s--%s%s%s", spec->letter ? "-" : "", spec->letter ? spec->letter : ' ',
             spec->letter ? ", " : "   ", spec->name, spec->argument ? " " : "",
             spec->argument ? spec->argument : "");
    fprintf(file, "  %-26s %s\n", left, spec->help);
}

void options_print_help(const struct command *command, FILE *file)
{
    if (command && command->name) {
        fprintf(file, "signalbox %s%s%s: %s\n\n", command->name, command->arguments ? " " : "",
                command->arguments ? command->arguments : "", command->help);
    } else {
        fputs("signalbox: a terminal console for a multi-tenant platform: PostgreSQL and its hosts\n\n"
              "  signalbox [OPTIONS] [DSN ...]          opens the console\n"
              "  signalbox COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n",
              file);
        for (size_t i = 1; i < command_count; i++) {
            char left[64];
            snprintf(left, sizeof left, "%s%s%s", commands[i].name, commands[i].arguments ? " " : "",
                     commands[i].arguments ? commands[i].arguments : "");
            fprintf(file, "  %-26s %s\n", left, commands[i].help);
        }
        fputs("\nWithout a file, --ssh, --redis, --postgres or a DSN, the PG* variables say where to look, "
              "as with "
              "psql.\n\n",
              file);
    }
    fputs("Options:\n", file);
    for (int i = 0; i < SPECS; i++)
        if (!command || !command->name || command_takes(command, specs[i].name))
            print_option(&specs[i], file);
    fputs("  -h, --help                 this page; after a command, that command's\n"
          "  -V, --version              the version\n",
          file);
}

void options_print_troff(FILE *file, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '\\')
            fputs("\\e", file);
        else if (*at == '-')
            fputs("\\-", file);
        else
            fputc(*at, file);
    }
}

void options_print_manual(FILE *file)
{
    fputs(".TH SIGNALBOX 1 \"\" \"signalbox " SIGNALBOX_VERSION "\"\n.SH NAME\n"
          "signalbox \\- a terminal console for a multi\\-tenant platform: PostgreSQL and its hosts\n.SH "
          "SYNOPSIS\n"
          ".B signalbox\n[OPTIONS] [DSN ...]\n.br\n.B signalbox\nCOMMAND [OPTIONS] [ARGUMENTS]\n",
          file);
    fputs(".SH COMMANDS\n", file);
    for (size_t i = 1; i < command_count; i++) {
        fprintf(file, ".TP\n.B ");
        options_print_troff(file, commands[i].name);
        if (commands[i].arguments) {
            fputs(" ", file);
            options_print_troff(file, commands[i].arguments);
        }
        fputs("\n", file);
        options_print_troff(file, commands[i].help);
        fputs(".\n", file);
    }
    fputs(".SH OPTIONS\n", file);
    for (int i = 0; i < SPECS; i++) {
        fputs(".TP\n.B ", file);
        if (specs[i].letter)
            fprintf(file, "\\-%c, ", specs[i].letter);
        fputs("\\-\\-", file);
        options_print_troff(file, specs[i].name);
        if (specs[i].argument)
            fprintf(file, " %s", specs[i].argument);
        fputs("\n", file);
        options_print_troff(file, specs[i].help);
        fputs(".\n", file);
    }
}
