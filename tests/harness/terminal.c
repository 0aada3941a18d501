/* The process behind the terminal: starting, pumping, waiting, ending. */
#include "tests/harness/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/terminal_internal.h"

enum { TERMINAL_ENV_MAX = 128, TERMINAL_RAW_MAX = 8 << 20, TERMINAL_TURN_MAX = 1 << 15 };

double terminal_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void terminal_append(struct terminal_buffer *buffer, const char *bytes, size_t length)
{
    if (buffer->length + length + 1 > buffer->capacity) {
        buffer->capacity = (buffer->length + length + 1) * 2;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes)
            abort();
    }
    if (length)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    buffer->bytes[buffer->length] = '\0';
}

static void terminal_die(const char *what)
{
    fprintf(stderr, "terminal: %s: %s\n", what, strerror(errno));
    abort();
}

/* ── Environment ───────────────────────────────────────────────────────────────────────────────────────────
 */

struct terminal_environment {
    char *entries[TERMINAL_ENV_MAX + 1];
    int count;
};

/* A later value of a name replaces the earlier one. */
static void terminal_setenv(struct terminal_environment *e, const char *name, const char *value)
{
    char *entry;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        abort();
    size_t length = strlen(name) + 1;
    for (int i = 0; i < e->count; i++) {
        if (strncmp(e->entries[i], entry, length) == 0) {
            free(e->entries[i]);
            e->entries[i] = entry;
            return;
        }
    }
    if (e->count == TERMINAL_ENV_MAX)
        abort();
    e->entries[e->count++] = entry;
}

/* The program's screen is no place for a sanitizer's report: it goes to a file that terminal_sanitizer_report
 * reads. */
static void terminal_setenv_sanitizer(struct terminal_environment *e, const char *name, const char *folder)
{
    const char *options = getenv(name);
    char *value;
    if (asprintf(&value, "%s%slog_path=%s/sanitizer", options ? options : "", options && *options ? ":" : "",
                 folder) < 0)
        abort();
    terminal_setenv(e, name, value);
    free(value);
}

static void terminal_environment(struct terminal_environment *e, struct terminal *t, const char *const env[],
                                 const char *term)
{
    static const char *const passed[] = {"PATH", "TMPDIR", "ASAN_SYMBOLIZER_PATH"};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
        if (getenv(passed[i]))
            terminal_setenv(e, passed[i], getenv(passed[i]));
    }
    static const char *const sanitizers[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
    for (size_t i = 0; i < sizeof sanitizers / sizeof *sanitizers; i++)
        terminal_setenv_sanitizer(e, sanitizers[i], t->folder);
    terminal_setenv(e, "HOME", t->folder);
    terminal_setenv(e, "LANG", "C.UTF-8");
    terminal_setenv(e, "TZ", "UTC");
    terminal_setenv(e, "TERM", term ? term : "xterm-256color");
    for (; env && *env; env++) {
        const char *equals = strchr(*env, '=');
        if (!equals) {
            fprintf(stderr, "terminal: \"%s\" is not NAME=VALUE\n", *env);
            abort();
        }
        char *name = strndup(*env, (size_t)(equals - *env));
        terminal_setenv(e, name, equals + 1);
        if (strcmp(name, "HOME") == 0)
            t->home = strdup(equals + 1);
        free(name);
    }
    if (!t->home)
        t->home = strdup(t->folder);
}

static char *terminal_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *folder;
    if (asprintf(&folder, "%s/signalbox-terminal-XXXXXX", base && *base ? base : "/tmp") < 0)
        abort();
    if (!mkdtemp(folder))
        terminal_die(folder);
    return folder;
}

static int terminal_remove_entry(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status, (void)flag, (void)walk;
    return remove(path);
}

/* ── The screen's callbacks ────────────────────────────────────────────────────────────────────────────────
 */

static int terminal_on_damage(VTermRect rect, void *user)
{
    (void)rect;
    ((struct terminal *)user)->changed = true;
    return 1;
}

static int terminal_on_bell(void *user)
{
    ((struct terminal *)user)->bells++;
    return 1;
}

/* Keys that were typed, and the emulator's answers to the program's questions. */
static void terminal_on_output(const char *bytes, size_t length, void *user)
{
    terminal_append(&((struct terminal *)user)->input, bytes, length);
}

static void terminal_open_screen(struct terminal *t, int rows, int columns)
{
    static const VTermScreenCallbacks callbacks = {.damage = terminal_on_damage, .bell = terminal_on_bell};
    t->vterm = vterm_new(rows, columns);
    vterm_set_utf8(t->vterm, 1);
    vterm_output_set_callback(t->vterm, terminal_on_output, t);
    t->screen = vterm_obtain_screen(t->vterm);
    vterm_screen_enable_altscreen(t->screen, 1);
    vterm_screen_set_callbacks(t->screen, &callbacks, t);
    vterm_screen_set_damage_merge(t->screen, VTERM_DAMAGE_SCREEN);
    vterm_screen_reset(t->screen, 1);
    escapes_init(&t->escapes);
}

/* ── Starting ──────────────────────────────────────────────────────────────────────────────────────────────
 */

/* The path of a program, looked up before the fork. Free it. */
static char *terminal_which(const char *program)
{
    const char *path = getenv("PATH");
    if (strchr(program, '/') || !path)
        return strdup(program);
    char *copy = strdup(path), *rest = copy, *found = NULL;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        if (asprintf(&found, "%s/%s", folder, program) < 0)
            abort();
        if (access(found, X_OK) != 0) {
            free(found);
            found = NULL;
        }
    }
    free(copy);
    return found ? found : strdup(program);
}

/* In the child: signals as a login leaves them, no descriptor of the test, no life after the test. */
static void terminal_exec(const char *path, const char *const argv[], char **environment, pid_t parent)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    struct termios mode;
    if (tcgetattr(0, &mode) == 0) {
        mode.c_iflag |= IUTF8;
        tcsetattr(0, TCSANOW, &mode);
    }
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    execve(path, (char *const *)argv, environment);
    dprintf(2, "%s cannot be executed: %s\r\n", path, strerror(errno));
    _exit(127);
}

/* Until the exec the child may not have its controlling terminal yet, and a hang-up or a key would go
 * nowhere. */
static void terminal_await_exec(int started[2])
{
    char none;
    close(started[1]);
    while (read(started[0], &none, 1) < 0 && errno == EINTR)
        ;
    close(started[0]);
}

struct terminal *terminal_start(const char *const argv[], const char *const env[], int rows, int columns,
                                const char *term)
{
    struct terminal *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->status = -1;
    t->folder = terminal_folder();
    terminal_open_screen(t, rows, columns);
    struct terminal_environment environment = {.count = 0};
    terminal_environment(&environment, t, env, term);
    char *path = terminal_which(argv[0]);

    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    pid_t parent = getpid();
    int started[2];
    if (pipe2(started, O_CLOEXEC) != 0)
        terminal_die("pipe");
    t->pid = forkpty(&t->master, NULL, NULL, &size);
    if (t->pid < 0)
        terminal_die("forkpty");
    if (t->pid == 0)
        terminal_exec(path, argv, environment.entries, parent);
    terminal_await_exec(started);
    fcntl(t->master, F_SETFL, O_NONBLOCK);
    fcntl(t->master, F_SETFD, FD_CLOEXEC);
    t->ended = (int)syscall(SYS_pidfd_open, t->pid, 0);
    if (t->ended < 0)
        terminal_die("pidfd_open");

    free(path);
    for (int i = 0; i < environment.count; i++)
        free(environment.entries[i]);
    return t;
}

/* ── Pumping ───────────────────────────────────────────────────────────────────────────────────────────────
 */

static void terminal_close_master(struct terminal *t)
{
    if (t->master >= 0)
        close(t->master);
    t->master = -1;
}

static bool terminal_flush_input(struct terminal *t)
{
    bool some = false;
    while (t->input.length > 0 && t->master >= 0) {
        ssize_t n = write(t->master, t->input.bytes, t->input.length);
        if (n <= 0)
            break;
        memmove(t->input.bytes, t->input.bytes + n, t->input.length - (size_t)n);
        t->input.length -= (size_t)n;
        some = true;
    }
    return some;
}

void terminal_type(struct terminal *t, const char *bytes, size_t length)
{
    terminal_append(&t->input, bytes, length);
    terminal_flush_input(t);
}

static void terminal_show(struct terminal *t, const char *bytes, size_t length)
{
    t->bytes += length;
    if (t->raw.length + length > TERMINAL_RAW_MAX) {
        size_t half = t->raw.length / 2;
        memmove(t->raw.bytes, t->raw.bytes + half, t->raw.length - half);
        t->raw.length -= half;
    }
    terminal_append(&t->raw, bytes, length);
    escapes_feed(&t->escapes, bytes, length);
    vterm_input_write(t->vterm, bytes, length);
    vterm_screen_flush_damage(t->screen);
}

/* Reads what is there, at most TERMINAL_TURN_MAX so that a flood cannot hold a deadline up. */
static bool terminal_read(struct terminal *t)
{
    static const size_t chunk_size = 1 << 14;
    char *chunk = malloc(chunk_size);
    size_t total = 0;
    while (t->master >= 0 && total < TERMINAL_TURN_MAX) {
        ssize_t n = read(t->master, chunk, chunk_size);
        if (n > 0) {
            terminal_show(t, chunk, (size_t)n);
            total += (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        } else {
            /* EIO: the last process has closed its side. Before the program's own end this can pass: some
             * close and open it. */
            if (t->status >= 0)
                terminal_close_master(t);
            break;
        }
    }
    free(chunk);
    return total > 0;
}

static bool terminal_reap(struct terminal *t)
{
    int status;
    if (t->ended < 0 || waitpid(t->pid, &status, WNOHANG) != t->pid)
        return false;
    t->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    close(t->ended);
    t->ended = -1;
    return true;
}

/* After the program's end nobody may be left to close the terminal's other side; what has been written is
 * there already. */
static void terminal_drain(struct terminal *t)
{
    while (terminal_read(t))
        ;
}

bool terminal_pump(struct terminal *t, double seconds)
{
    bool some = terminal_flush_input(t);
    some |= terminal_read(t);
    if (some || seconds <= 0) {
        if (terminal_reap(t)) {
            terminal_drain(t);
            return true;
        }
        return some;
    }
    /* A master whose other side is closed is always readable: then only the program's end is waited for. */
    struct pollfd ready[2] = {{.fd = t->ended, .events = POLLIN}, {.fd = t->master, .events = POLLIN}};
    if (t->input.length > 0)
        ready[1].events |= POLLOUT;
    int milliseconds = (int)(seconds * 1000) + 1;
    if (t->ended < 0 && t->master < 0)
        return false;
    if (poll(ready, 2, milliseconds) > 0 && (ready[1].revents & (POLLHUP | POLLIN)) == POLLHUP &&
        t->ended >= 0)
        poll(ready, 1, milliseconds < 10 ? milliseconds : 10);
    some = terminal_flush_input(t);
    some |= terminal_read(t);
    if (terminal_reap(t)) {
        terminal_drain(t);
        some = true;
    }
    return some;
}

/* Nothing more can come: the program has ended and its output was read. */
static bool terminal_over(const struct terminal *t)
{
    return t->status >= 0;
}

bool terminal_await(struct terminal *t, double seconds, bool (*done)(struct terminal *t, void *data),
                    void *data)
{
    double deadline = terminal_now() + seconds;
    terminal_pump(t, 0);
    for (;;) {
        if (done(t, data))
            return true;
        double left = deadline - terminal_now();
        if (left <= 0 || terminal_over(t))
            return false;
        terminal_pump(t, left);
    }
}

static bool terminal_done_text(struct terminal *t, void *data)
{
    return terminal_has(t, data);
}

static bool terminal_done_gone(struct terminal *t, void *data)
{
    return !terminal_has(t, data);
}

static bool terminal_done_exit(struct terminal *t, void *data)
{
    (void)data;
    return t->status >= 0;
}

bool terminal_await_text(struct terminal *t, double seconds, const char *text)
{
    return terminal_await(t, seconds, terminal_done_text, (void *)text);
}

bool terminal_await_gone(struct terminal *t, double seconds, const char *text)
{
    return terminal_await(t, seconds, terminal_done_gone, (void *)text);
}

int terminal_await_exit(struct terminal *t, double seconds)
{
    terminal_await(t, seconds, terminal_done_exit, NULL);
    return t->status;
}

bool terminal_await_quiet(struct terminal *t, double quiet, double seconds)
{
    double now = terminal_now(), deadline = now + seconds, since = now;
    size_t seen = t->bytes;
    while (now < deadline && now - since < quiet && !terminal_over(t)) {
        double left = since + quiet - now;
        terminal_pump(t, left < deadline - now ? left : deadline - now);
        now = terminal_now();
        if (t->bytes != seen) {
            seen = t->bytes;
            since = now;
        }
    }
    return now - since >= quiet || terminal_over(t);
}

double terminal_latency(struct terminal *t, const char *key, double seconds)
{
    while (terminal_pump(t, 0))
        ;
    t->changed = false;
    double start = terminal_now();
    if (!terminal_send(t, key))
        return -1;
    while (!t->changed && !terminal_over(t)) {
        double left = start + seconds - terminal_now();
        if (left <= 0)
            return -1;
        terminal_pump(t, left);
    }
    return t->changed ? (terminal_now() - start) * 1000 : -1;
}

/* ── Events and the end ────────────────────────────────────────────────────────────────────────────────────
 */

void terminal_resize(struct terminal *t, int rows, int columns)
{
    terminal_pump(t, 0);
    vterm_set_size(t->vterm, rows, columns);
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if (t->master >= 0)
        ioctl(t->master, TIOCSWINSZ, &size); /* the kernel sends SIGWINCH to the foreground job */
}

void terminal_signal(struct terminal *t, int number)
{
    if (t->status < 0)
        kill(t->pid, number);
}

void terminal_hangup(struct terminal *t)
{
    terminal_pump(t, 0);
    terminal_close_master(t);
}

int terminal_exit_status(const struct terminal *t)
{
    return t->status;
}

pid_t terminal_pid(const struct terminal *t)
{
    return t->pid;
}

char *terminal_sanitizer_report(const struct terminal *t)
{
    char *pattern;
    if (asprintf(&pattern, "%s/sanitizer.*", t->folder) < 0)
        abort();
    struct terminal_buffer report = {.length = 0};
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            FILE *file = fopen(found.gl_pathv[i], "r");
            char chunk[4096];
            for (size_t n; file && (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
                terminal_append(&report, chunk, n);
            if (file)
                fclose(file);
        }
        globfree(&found);
    }
    free(pattern);
    return report.bytes;
}

static void terminal_kill(struct terminal *t)
{
    if (t->status >= 0)
        return;
    pid_t job = t->master >= 0 ? tcgetpgrp(t->master) : -1;
    if (job > 1 && job != getpgrp() && tcgetsid(t->master) == t->pid)
        kill(-job, SIGKILL);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, &t->status, 0);
    close(t->ended);
}

void terminal_free(struct terminal *t)
{
    if (!t)
        return;
    terminal_kill(t);
    terminal_close_master(t);
    nftw(t->folder, terminal_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    vterm_free(t->vterm);
    escapes_free(&t->escapes);
    for (int i = 0; i < t->lines_count; i++)
        free(t->lines[i]);
    free(t->lines);
    free(t->input.bytes);
    free(t->raw.bytes);
    free(t->text.bytes);
    free(t->folder);
    free(t->home);
    free(t);
}
