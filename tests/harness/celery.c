/* Running Celery's workers, beat and commands of the test's application, and reading what they left. */
#include "tests/harness/celery.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/keeper.h"

#define CELERY_FOLDER TEST_ROOT "/tests/data/queues/celery_app"

enum { CELERY_PROCESSES = 64, CELERY_WORDS = 64, CELERY_FAMILY = 256, CELERY_ASK_AGAIN_MS = 10 };
/* A machine that builds meanwhile starts Python slowly. */
static const double celery_patience_s = 60;

struct celery_process {
    struct celery_site *site;
    char *name, *log;
    pid_t pid;
};

struct celery_site {
    char *folder;
    struct keeper *keeper;
    struct celery_process *processes[CELERY_PROCESSES];
    int process_count;
    int run_count; /* of everything that was started: names of files */
};

static void celery_fail(const char *what, const char *detail)
{
    print_error("celery: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

static char *celery_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *celery_text(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

static double celery_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void celery_pause(void)
{
    poll(NULL, 0, CELERY_ASK_AGAIN_MS);
}

/* A whole file, to free; "" when it is not there. */
static char *celery_read(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    if (file) {
        if (getdelim(&text, &size, '\0', file) < 0 && text)
            text[0] = '\0';
        fclose(file);
    }
    return text ? text : strdup("");
}

static char *celery_path(const struct celery_site *site, const char *name)
{
    return celery_text("%s/%s", site->folder, name);
}

static void celery_write(const struct celery_site *site, const char *name, const char *text)
{
    char *path = celery_path(site, name);
    FILE *file = fopen(path, "we");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        celery_fail(path, strerror(errno));
    free(path);
}

struct celery_site *celery_site_new(const char *broker, const char *results, const char *settings)
{
    const char *base = getenv("TMPDIR");
    struct celery_site *site = calloc(1, sizeof *site);
    if (!site)
        abort();
    site->folder = celery_text("%s/signalbox-celery-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(site->folder))
        celery_fail(site->folder, strerror(errno));
    site->keeper = keeper_start(site->folder);
    celery_write(site, "broker", broker);
    celery_write(site, "results", results ? results : broker);
    celery_write(site, "settings.json", settings ? settings : "{}");
    return site;
}

void celery_site_free(struct celery_site *site)
{
    if (!site)
        return;
    keeper_free(site->keeper);
    for (int i = 0; i < site->process_count; i++) {
        free(site->processes[i]->name);
        free(site->processes[i]->log);
        free(site->processes[i]);
    }
    free(site->folder);
    free(site);
}

const char *celery_site_folder(const struct celery_site *site)
{
    return site->folder;
}

/* ---- processes ---- */

struct celery_command {
    const char *words[CELERY_WORDS + 1];
    char *owned[CELERY_WORDS];
    int count, owned_count;
};

static void celery_add(struct celery_command *command, const char *word)
{
    if (command->count == CELERY_WORDS)
        celery_fail(word, "its command is too long");
    command->words[command->count++] = word;
}

static void celery_add_owned(struct celery_command *command, char *word)
{
    command->owned[command->owned_count++] = word;
    celery_add(command, word);
}

static void celery_add_split(struct celery_command *command, const char *words)
{
    for (const char *at = words ? words : ""; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        celery_add_owned(command, strndup(at, length));
        at += length;
    }
}

/* What every program gets: no bytecode is written into the tree, the sanitizers are not its business. */
static void celery_begin(struct celery_command *command, const struct celery_site *site, const char *settings,
                         bool dead_letters)
{
    static const char *const fixed[] = {"env",
                                        "-u",
                                        "LD_PRELOAD",
                                        "PYTHONPATH=" CELERY_FOLDER,
                                        "PYTHONDONTWRITEBYTECODE=1",
                                        "LC_ALL=C.UTF-8",
                                        "C_FORCE_ROOT=1"};
    *command = (struct celery_command){.count = 0};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        celery_add(command, fixed[i]);
    celery_add_owned(command, celery_text("CELERY_SITE=%s", site->folder));
    celery_add_owned(command, celery_text("CELERY_SETTINGS=%s", settings ? settings : ""));
    if (dead_letters)
        celery_add(command, "CELERY_DEAD_LETTERS=1");
    celery_add(command, "/usr/bin/python3");
}

static void celery_end(struct celery_command *command)
{
    for (int i = 0; i < command->owned_count; i++)
        free(command->owned[i]);
}

static struct celery_process *celery_start(struct celery_site *site, struct celery_command *command,
                                           char *name)
{
    struct celery_process *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    if (site->process_count == CELERY_PROCESSES)
        celery_fail(name, "too many processes");
    *p = (struct celery_process){
        .site = site, .name = name, .log = celery_text("%s/%d.log", site->folder, site->run_count++)};
    site->processes[site->process_count++] = p;
    /* On its errors, not --logfile: what ends it before it has a log is kept, too. */
    celery_add(command, "--loglevel");
    celery_add(command, "INFO");
    p->pid = keeper_run(site->keeper, command->words, p->log);
    celery_end(command);
    return p;
}

static void celery_await_start(struct celery_process *p, bool (*started)(const struct celery_process *p))
{
    double end = celery_now() + celery_patience_s;
    while (!started(p)) {
        if (!celery_alive(p) || celery_now() > end) {
            char *log = celery_log(p);
            size_t length = strlen(log);
            celery_fail(p->name, length > 2000 ? log + length - 2000 : log);
        }
        celery_pause();
    }
}

static bool celery_is_ready(const struct celery_process *p)
{
    char *path = celery_text("%s/%s.ready", p->site->folder, p->name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

struct celery_process *celery_worker(struct celery_site *site, const char *name,
                                     struct celery_options options)
{
    struct celery_command command;
    char *node = strchr(name, '@') ? strdup(name) : celery_text("%s@test", name);
    char *ready = celery_text("%s/%s.ready", site->folder, node);
    unlink(ready);
    free(ready);
    celery_begin(&command, site, options.settings, options.dead_letters);
    static const char *const words[] = {"-m", "celery", "-A", "app", "worker", "--hostname"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        celery_add(&command, words[i]);
    celery_add(&command, node);
    celery_add(&command, "--queues");
    celery_add(&command, options.queues ? options.queues : "celery");
    celery_add(&command, "--pool");
    celery_add(&command, options.pool ? options.pool : "prefork");
    celery_add(&command, "--concurrency");
    celery_add_owned(&command, celery_text("%d", options.concurrency ? options.concurrency : 1));
    celery_add_split(&command, options.words);
    struct celery_process *p = celery_start(site, &command, node);
    celery_await_start(p, celery_is_ready);
    return p;
}

static bool celery_beat_runs(const struct celery_process *p)
{
    char *log = celery_log(p);
    bool runs = strstr(log, "beat: Starting...") != NULL;
    free(log);
    return runs;
}

struct celery_process *celery_beat(struct celery_site *site, const char *settings, const char *words)
{
    struct celery_command command;
    celery_begin(&command, site, settings, false);
    static const char *const fixed[] = {"-m", "celery", "-A", "app", "beat"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        celery_add(&command, fixed[i]);
    celery_add(&command, "--pidfile=");
    celery_add_owned(&command, celery_text("--schedule=%s/beat.%d", site->folder, site->run_count));
    celery_add_split(&command, words);
    struct celery_process *p = celery_start(site, &command, strdup("beat"));
    celery_await_start(p, celery_beat_runs);
    return p;
}

const char *celery_name(const struct celery_process *p)
{
    return p->name;
}

pid_t celery_pid(const struct celery_process *p)
{
    return p->pid;
}

size_t celery_children(const struct celery_process *p, pid_t children[], size_t limit)
{
    return keeper_family(p->site->keeper, p->pid, children, limit);
}

bool celery_alive(const struct celery_process *p)
{
    return keeper_parent(p->pid) != 0;
}

char *celery_log(const struct celery_process *p)
{
    return celery_read(p->log);
}

bool celery_await_log(const struct celery_process *p, double seconds, const char *text)
{
    double end = celery_now() + seconds;
    for (;;) {
        char *log = celery_log(p);
        bool there = strstr(log, text) != NULL;
        free(log);
        if (there || celery_now() > end)
            return there;
        celery_pause();
    }
}

bool celery_await_end(struct celery_process *p, double seconds)
{
    double end = celery_now() + seconds;
    while (celery_alive(p)) {
        if (celery_now() > end)
            return false;
        celery_pause();
    }
    return true;
}

void celery_stop(struct celery_process *p)
{
    if (celery_alive(p))
        kill(p->pid, SIGTERM);
    if (!celery_await_end(p, 20))
        celery_fail(p->name, "it does not end on SIGTERM");
}

/* The parent first: it would start others in their place. */
static void celery_signal_all(struct celery_process *p, int number)
{
    pid_t children[CELERY_FAMILY];
    size_t count = celery_children(p, children, CELERY_FAMILY);
    if (celery_alive(p))
        kill(p->pid, number);
    for (size_t i = 0; i < count; i++)
        kill(children[i], number);
}

void celery_kill(struct celery_process *p)
{
    celery_signal_all(p, SIGKILL);
    if (!celery_await_end(p, 20))
        celery_fail(p->name, "it does not end on SIGKILL");
}

void celery_freeze(struct celery_process *p)
{
    celery_signal_all(p, SIGSTOP);
}

void celery_thaw(struct celery_process *p)
{
    celery_signal_all(p, SIGCONT);
}

/* ---- commands ---- */

/* Runs it to its end; its output goes to OUT, its errors to ERR below the folder. */
static int celery_run(struct celery_site *site, struct celery_command *command, char **output, char **errors)
{
    static const char script[] = "out=$1 err=$2 end=$3; shift 3; \"$@\" >\"$out\" 2>\"$err\"; "
                                 "echo $? >\"$end.new\"; mv \"$end.new\" \"$end\"";
    const char *argv[CELERY_WORDS + 8] = {"sh", "-c", script, "sh"};
    char *files[3];
    int count = 4, run = site->run_count++;
    for (int i = 0; i < 3; i++)
        argv[count++] = files[i] = celery_text("%s/%d.%s", site->folder, run, &"out\0err\0end"[4 * i]);
    for (int i = 0; i < command->count; i++)
        argv[count++] = command->words[i];
    keeper_run(site->keeper, argv, NULL);
    celery_end(command);
    double end = celery_now() + celery_patience_s;
    while (access(files[2], F_OK) != 0) {
        if (celery_now() > end)
            celery_fail(command->words[command->count - 1], "the command does not end");
        celery_pause();
    }
    char *status = celery_read(files[2]);
    int code = atoi(status);
    free(status);
    *output = celery_read(files[0]);
    *errors = celery_read(files[1]);
    for (int i = 0; i < 3; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    return code;
}

char *celery_send_all(struct celery_site *site, const char *jobs)
{
    struct celery_command command;
    char *output, *errors, name[32];
    snprintf(name, sizeof name, "%d.jobs", site->run_count++);
    celery_write(site, name, jobs);
    celery_begin(&command, site, NULL, false);
    celery_add(&command, CELERY_FOLDER "/send.py");
    celery_add_owned(&command, celery_path(site, name));
    if (celery_run(site, &command, &output, &errors) != 0)
        celery_fail(jobs, errors);
    free(errors);
    return output;
}

char *celery_send(struct celery_site *site, const char *task, const char *arguments, const char *tenant,
                  int count, const char *options)
{
    char *jobs =
        celery_text("[{\"task\": \"%s\", \"args\": %s, \"count\": %d%s%s%s%s%s}]", task,
                    arguments ? arguments : "[]", count, tenant ? ", \"tenant\": \"" : "",
                    tenant ? tenant : "", tenant ? "\"" : "", options ? ", " : "", options ? options : "");
    char *ids = celery_send_all(site, jobs);
    free(jobs);
    return ids;
}

static char *celery_ask(struct celery_site *site, const char *verb, const char *method,
                        const char *const words[], int *status)
{
    struct celery_command command;
    char *output, *errors;
    celery_begin(&command, site, NULL, false);
    static const char *const fixed[] = {"-m", "celery", "-A", "app"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        celery_add(&command, fixed[i]);
    celery_add(&command, verb);
    celery_add(&command, "--json");
    celery_add(&command, "--timeout");
    celery_add(&command, "3");
    celery_add(&command, method);
    for (size_t i = 0; words && words[i]; i++)
        celery_add(&command, words[i]);
    int code = celery_run(site, &command, &output, &errors);
    if (code != 0 && !status)
        celery_fail(method, errors);
    if (status)
        *status = code;
    free(errors);
    return output;
}

char *celery_inspect(struct celery_site *site, const char *method, const char *const words[], int *status)
{
    return celery_ask(site, "inspect", method, words, status);
}

char *celery_control(struct celery_site *site, const char *method, const char *const words[], int *status)
{
    return celery_ask(site, "control", method, words, status);
}

/* ---- effects ---- */

static int celery_count(const struct celery_site *site, const char *verb, const char *id)
{
    char *path = celery_path(site, "effects"), *text = celery_read(path);
    size_t verb_length = strlen(verb), id_length = id ? strcspn(id, "\n") : 0;
    int count = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, verb, verb_length) == 0 && line[verb_length] == ' ' &&
            (!id || strncmp(line + verb_length + 1, id, id_length) == 0))
            count++;
    free(text);
    free(path);
    return count;
}

static bool celery_await_count(const struct celery_site *site, double seconds, const char *verb,
                               const char *id, int times)
{
    double end = celery_now() + seconds;
    while (celery_count(site, verb, id) < times) {
        if (celery_now() > end)
            return false;
        celery_pause();
    }
    return true;
}

int celery_begun(const struct celery_site *site, const char *id)
{
    return celery_count(site, "start", id);
}

int celery_ended(const struct celery_site *site, const char *id)
{
    return celery_count(site, "end", id);
}

bool celery_await_begun(const struct celery_site *site, double seconds, const char *id, int times)
{
    return celery_await_count(site, seconds, "start", id, times);
}

bool celery_await_ended(const struct celery_site *site, double seconds, const char *id, int times)
{
    return celery_await_count(site, seconds, "end", id, times);
}
