/* The collector's script as it runs on hosts: in dash, bash and busybox (with nothing but busybox), as real
 * children; and the framing of its answers. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/collector.h"
#include "backends/hosts/record_internal.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

#define MARK "0123456789abcdef"
#define PATIENCE_S 30
#define FAST_CPU_MS 5.0

/* ---- framing ---- */

struct heard {
    int answers;
    unsigned number;
    char text[256];
    char user[64];
};

static void on_answer(void *data, struct collector_stream *stream, unsigned number, const char *text,
                      size_t length)
{
    struct heard *heard = data;
    (void)stream;
    heard->answers++;
    heard->number = number;
    snprintf(heard->text, sizeof heard->text, "%.*s", (int)length, text);
}

static void on_ready(void *data, const char *user)
{
    snprintf(((struct heard *)data)->user, sizeof((struct heard *)data)->user, "%s", user);
}

static struct collector_stream stream_of(struct heard *heard)
{
    *heard = (struct heard){0};
    return (struct collector_stream){.mark = MARK, .answer = on_answer, .ready = on_ready, .data = heard};
}

static const char conversation[] =
    "Welcome to web1!\nprompt$ @@" MARK " ready 1 ops 1000\n@@" MARK " fast\n@@other end 1 0\n@@" MARK
    " end 7 0\nnoise\n@@" MARK " fast\nx\n@@" MARK " end 8 1\n";

/* However the bytes are cut. */
static void answers_are_framed(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < sizeof conversation; piece++) {
        struct heard heard;
        struct collector_stream stream = stream_of(&heard);
        for (size_t at = 0; at < sizeof conversation - 1; at += piece) {
            size_t left = sizeof conversation - 1 - at;
            assert_true(collector_stream_feed(&stream, conversation + at, left < piece ? left : piece));
        }
        assert_int_equal(heard.answers, 2);
        assert_int_equal(heard.number, 8);
        assert_string_equal(heard.text, "@@" MARK " fast\nx\n@@" MARK " end 8 1\n");
        assert_string_equal(heard.user, "ops");
        assert_string_equal(stream.noise, "Welcome to web1! noise");
        assert_int_equal(stream.length, 0);
        assert_null(stream.buffer);
    }
}

static void streams_are_bounded(void **state)
{
    (void)state;
    struct heard heard;
    struct collector_stream stream = stream_of(&heard);
    static char much[1 << 16], lines[1 << 20];
    memset(much, 'x', sizeof much);
    /* Lines that are none of ours. */
    memset(lines, '\n', sizeof lines);
    assert_false(collector_stream_feed(&stream, lines, sizeof lines)); /* too much noise, and soon told */
    stream.noise_bytes = 0;
    assert_null(stream.buffer);
    /* Without a line end, outside of an answer. */
    int noisy = 0;
    while (collector_stream_feed(&stream, much, sizeof much)) {
        assert_true(stream.room <= 4 * sizeof much);
        assert_in_range(++noisy, 1, 8);
    }
    assert_in_range(noisy, 2, 8);
    stream.noise_bytes = 0;
    assert_in_range(strlen(stream.noise), 150, sizeof stream.noise - 1);
    static const char begin[] = "\n@@" MARK " fast\n";
    assert_true(collector_stream_feed(&stream, begin, sizeof begin - 1));
    int fed = 0;
    while (collector_stream_feed(&stream, much, sizeof much) && fed < 100)
        fed++;
    assert_in_range(fed, 10, 17);
    collector_stream_clear(&stream);
    assert_int_equal(heard.answers, 0);
}

static void users_cannot_smuggle(void **state)
{
    (void)state;
    struct heard heard;
    struct collector_stream stream = stream_of(&heard);
    static const char text[] = "@@" MARK " ready 1 a,ALL=(root)\x1b 0\n";
    assert_true(collector_stream_feed(&stream, text, sizeof text - 1));
    assert_string_equal(heard.user, "a?ALL??root??");
}

static void settings_are_quoted(void **state)
{
    (void)state;
    struct environment_ssh settings = {.release = "/srv/it's here; rm -rf /", .nginx_status = NULL};
    char *variables = collector_variables(NULL, MARK, &settings);
    assert_string_equal(variables, "M=" MARK " RELEASE='/srv/it'\\''s here; rm -rf /' NGINX=''\n");
    talloc_free(variables);
}

/* ---- real shells ---- */

struct shell {
    pid_t pid;
    int in, out[2];
    struct collector_stream streams[2];
    struct host_record *record;
    char folder[64];
    bool ready;
    int taken[HOST_TIERS], expected[HOST_TIERS];
    double asked[HOST_TIERS];
};

static void shell_ready(void *data, const char *user)
{
    struct shell *shell = data;
    shell->ready = true;
    host_record_set_user(shell->record, user);
}

/* Requests are numbered by their tier. */
static void shell_answer(void *data, struct collector_stream *stream, unsigned number, const char *text,
                         size_t length)
{
    struct shell *shell = data;
    struct error error = {0};
    assert_true(number < HOST_TIERS);
    struct host_answer answer = {.tier = (enum host_tier)number,
                                 .mark = MARK,
                                 .text = text,
                                 .length = length,
                                 .asked = shell->asked[number],
                                 .first = stream->first,
                                 .answered = clock_wall()};
    if (!host_record_take(shell->record, &answer, &error))
        fail_msg("%s: %.*s", error.why, (int)length, text);
    shell->taken[number]++;
}

static void write_program(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void prepare_hung_df(const char *folder)
{
    write_program(folder, "df", "#!/bin/sh\nexec sleep 600\n");
}

/* The mark of another session, an end, a section. */
static void prepare_hostile_df(const char *folder)
{
    write_program(folder, "df",
                  "#!/bin/sh\necho '@@ffffffffffffffff end 1 0'\necho '@@ end 1 0'\n"
                  "echo '/dev/x ext4 100 50 50 50% /forged'; exit 0\n");
}

static void prepare_sudo(const char *folder)
{
    char sudo[512];
    snprintf(
        sudo, sizeof sudo,
        "#!/bin/sh\necho 1 >>%s/asked\n[ \"$2\" = -l ] && { echo 'User ops may run the following:'; echo '   "
        " "
        "(root) NOPASSWD: %s/ufw status,'; echo '        %s/ss -H -txlnp'; exit; }\nshift\n"
        "SUDO=1 exec \"$@\"\n",
        folder, folder, folder);
    write_program(folder, "sudo", sudo);
    write_program(folder, "id", "#!/bin/sh\ncase $1 in -un) echo ops ;; *) echo 1000 ;; esac\n");
    write_program(folder, "ufw",
                  "#!/bin/sh\n[ \"$SUDO\" ] || exit 1\nprintf 'Status: active\\n\\nTo\\n--\\n22/tcp ALLOW "
                  "Anywhere\\n'\n");
    write_program(
        folder, "ss",
        "#!/bin/sh\ncase $2$SUDO in -tln) echo 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:*' ;;\n"
        "-txlnp1) echo 'tcp LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=5,fd=6))' ;; esac\n");
    write_program(folder, "fail2ban-client", "#!/bin/sh\nexit 1\n");
}

static void link_shell(const char *folder, const char *name)
{
    char path[128], target[64];
    snprintf(path, sizeof path, "%s/sh", folder);
    snprintf(target, sizeof target, "/bin/%s", name);
    if (strcmp(name, "busybox") != 0) {
        assert_int_equal(symlink(target, path), 0);
        return;
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        execl(target, "busybox", "--install", "-s", folder, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void run_child(const struct shell *shell, const char *name, const char *command, int in, int out,
                      int err)
{
    char variable[512];
    bool busybox = !strcmp(name, "busybox");
    snprintf(variable, sizeof variable, "PATH=%s%s", shell->folder, busybox ? "" : ":/usr/bin:/bin");
    char *environment[] = {variable, (char *)"HOME=/", (char *)"LANG=de_DE.UTF-8", NULL};
    dup2(in, 0), dup2(out, 1), dup2(err, 2);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    assert_int_equal(chdir(shell->folder), 0);
    execle("/bin/sh", "sh", "-c", command, (char *)NULL, environment);
    _exit(127);
}

static void put(struct shell *shell, const char *text)
{
    size_t length = strlen(text), done = 0;
    while (done < length) {
        ssize_t n = write(shell->in, text + done, length - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

/* `prepare` puts programs into the folder that is the first one of its PATH. */
static struct shell *shell_start_with(const char *name, void (*prepare)(const char *folder))
{
    struct shell *shell = calloc(1, sizeof *shell);
    struct environment_ssh settings = {.release = "/etc/hostname"};
    int in[2], out[2], err[2];
    assert_non_null(shell);
    snprintf(shell->folder, sizeof shell->folder, "/tmp/signalbox-collector-XXXXXX");
    assert_non_null(mkdtemp(shell->folder));
    link_shell(shell->folder, name);
    if (prepare)
        prepare(shell->folder);
    char *script = collector_script(NULL), *variables = collector_variables(NULL, MARK, &settings);
    char *command = collector_command(NULL, strlen(script) + strlen(variables));
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    shell->pid = fork();
    assert_true(shell->pid >= 0);
    if (!shell->pid)
        run_child(shell, name, command, in[0], out[1], err[1]);
    close(in[0]), close(out[1]), close(err[1]);
    shell->in = in[1], shell->out[0] = out[0], shell->out[1] = err[0];
    shell->record = host_record_new(NULL, name, NULL);
    for (int i = 0; i < 2; i++)
        shell->streams[i] = (struct collector_stream){
            .mark = MARK, .answer = shell_answer, .ready = i ? NULL : shell_ready, .data = shell};
    put(shell, variables);
    put(shell, script);
    talloc_free(script);
    talloc_free(variables);
    talloc_free(command);
    return shell;
}

static struct shell *shell_start(const char *name)
{
    return shell_start_with(name, NULL);
}

/* Reads what comes, for a moment. */
static void shell_read(struct shell *shell)
{
    struct pollfd polls[2] = {{.fd = shell->out[0], .events = POLLIN},
                              {.fd = shell->out[1], .events = POLLIN}};
    char buffer[8192];
    if (poll(polls, 2, 200) <= 0)
        return;
    for (int i = 0; i < 2; i++) {
        ssize_t n = polls[i].revents ? read(shell->out[i], buffer, sizeof buffer) : 0;
        if (n > 0)
            assert_true(collector_stream_feed(&shell->streams[i], buffer, (size_t)n));
    }
}

static void shell_ask(struct shell *shell, enum host_tier tier, const char *arguments)
{
    static const char letters[] = "fmsd";
    char line[128];
    double until = clock_monotonic() + PATIENCE_S;
    while (!shell->ready && clock_monotonic() < until)
        shell_read(shell);
    assert_true(shell->ready);
    shell->asked[tier] = clock_wall();
    shell->expected[tier]++;
    snprintf(line, sizeof line, "%c %d%s\n", letters[tier], (int)tier, arguments);
    put(shell, line);
}

static bool shell_await(struct shell *shell, enum host_tier tier)
{
    double until = clock_monotonic() + PATIENCE_S;
    while (shell->taken[tier] < shell->expected[tier] && clock_monotonic() < until)
        shell_read(shell);
    return shell->taken[tier] == shell->expected[tier];
}

static struct host_snapshot *shell_look(struct shell *shell)
{
    struct host_standing standing = {.now = clock_wall()};
    return host_record_publish(shell->record, &standing);
}

/* Its input ends: so does it. Returns the CPU time that it and what it ran have used. */
static double shell_stop(struct shell *shell)
{
    struct rusage usage;
    int status = 0;
    pid_t ended = 0;
    double until = clock_monotonic() + PATIENCE_S;
    close(shell->in);
    while (!ended && clock_monotonic() < until) {
        shell_read(shell);
        ended = wait4(shell->pid, &status, WNOHANG, &usage);
    }
    assert_int_equal(ended, shell->pid);
    assert_true(WIFEXITED(status));
    close(shell->out[0]), close(shell->out[1]);
    collector_stream_clear(&shell->streams[0]);
    collector_stream_clear(&shell->streams[1]);
    talloc_free(shell->record);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", shell->folder);
    assert_int_equal(system(command), 0);
    free(shell);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static double file_number(const char *path, const char *key)
{
    char line[512];
    double value = NAN;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (isnan(value) && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)))
            value = strtod(line + strlen(key), NULL);
    fclose(file);
    return value;
}

static const struct host_process *own_process(const struct host_snapshot *s)
{
    for (size_t i = 0; i < s->process_count; i++)
        if (s->process[i].pid == getpid())
            return &s->process[i];
    return NULL;
}

static void check_fast(const struct host_snapshot *s)
{
    assert_int_equal(s->cores, sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(s->memory_bytes == file_number("/proc/meminfo", "MemTotal:") * 1024);
    assert_true(fabs(s->available_bytes - file_number("/proc/meminfo", "MemAvailable:") * 1024) <
                s->memory_bytes * 0.1);
    assert_true(fabs(s->uptime_s - file_number("/proc/uptime", "")) < 60);
    assert_true(s->booted_at == file_number("/proc/stat", "btime "));
    assert_true(s->cpu_percent >= 0 && s->cpu_percent <= 100 && s->steal_percent >= 0);
    assert_true(s->load1 >= 0 && s->load1 < 10000);
    assert_true(s->files_open > 0 && s->files_limit >= s->files_open);
    assert_true(isfinite(s->retransmits_percent) && isfinite(s->listen_overflows_per_s));
}

static void check_medium(const struct host_snapshot *s)
{
    bool root = false;
    for (size_t i = 0; i < s->mount_count; i++)
        root = root || (!strcmp(s->mounts[i].mount, "/") && s->mounts[i].size_bytes > 0);
    assert_true(root);
    assert_true(fabs(s->clock_offset_s) < 2);
    assert_true(s->process_count > 0);
    const struct host_process *own = own_process(s);
    /* It has worked more than most. */
    if (own) {
        assert_true(own->rss_bytes > 0 && own->parent == getppid());
        assert_true(own->age_s >= 0 && own->age_s < 3600);
    }
}

/* Samples that follow each other too closely are not compared: asks until two are far enough apart. */
static struct host_snapshot *shell_look_at_rates(struct shell *shell)
{
    double until = clock_monotonic() + PATIENCE_S;
    for (;;) {
        shell_ask(shell, HOST_FAST, "");
        assert_true(shell_await(shell, HOST_FAST));
        struct host_snapshot *s = shell_look(shell);
        if (!isnan(s->cpu_percent) || clock_monotonic() > until)
            return s;
        snapshot_release(s);
    }
}

static void check_shell(const char *name)
{
    struct shell *shell = shell_start(name);
    shell_ask(shell, HOST_FAST, "");
    assert_true(shell_await(shell, HOST_FAST));
    assert_true(shell->ready);
    shell_ask(shell, HOST_MEDIUM, "");
    assert_true(shell_await(shell, HOST_MEDIUM));
    shell_ask(shell, HOST_SLOW, "");
    assert_true(shell_await(shell, HOST_SLOW));
    struct host_snapshot *s = shell_look_at_rates(shell);
    check_fast(s);
    check_medium(s);
    assert_non_null(s->os);
    assert_non_null(s->kernel);
    assert_true(s->release_since > 0);
    snapshot_release(s);
    assert_true(shell_stop(shell) > 0);
}

static void runs_in_dash(void **state)
{
    (void)state;
    check_shell("dash");
}

static void runs_in_bash(void **state)
{
    (void)state;
    check_shell("bash");
}

static void runs_in_busybox_alone(void **state)
{
    (void)state;
    check_shell("busybox");
}

static double fast_cost(const char *name)
{
    enum { TIMES = 40 };
    struct shell *shell = shell_start(name);
    shell_ask(shell, HOST_FAST, "");
    assert_true(shell_await(shell, HOST_FAST));
    double start = shell_stop(shell);
    shell = shell_start(name);
    for (int i = 0; i <= TIMES; i++) {
        shell_ask(shell, HOST_FAST, "");
        assert_true(shell_await(shell, HOST_FAST));
    }
    return (shell_stop(shell) - start) / TIMES;
}

static void fast_tier_is_cheap(void **state)
{
    static const char *const names[] = {"dash", "bash", "busybox"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        double best = INFINITY;
        /* The machine may be busy with something else. */
        for (int round = 0; round < 3 && best > FAST_CPU_MS; round++)
            best = fmin(best, fast_cost(names[i]));
        print_message("%s: %.2f ms of CPU for the fast tier\n", names[i], best);
        assert_true(best < FAST_CPU_MS);
    }
}

static void a_hung_df_does_not_hang_the_rest(void **state)
{
    (void)state;
    struct shell *shell = shell_start_with("dash", prepare_hung_df);
    shell_ask(shell, HOST_MEDIUM, "");
    double begin = clock_monotonic();
    shell_ask(shell, HOST_FAST, "");
    assert_true(shell_await(shell, HOST_FAST));
    assert_true(shell->taken[HOST_MEDIUM] == 0);
    shell_ask(shell, HOST_FAST, "");
    assert_true(shell_await(shell, HOST_FAST));
    /* And the medium tier ends by its time limits, with what else it has. */
    assert_true(shell_await(shell, HOST_MEDIUM));
    assert_true(clock_monotonic() - begin > 1);
    struct host_snapshot *s = shell_look(shell);
    assert_int_equal(s->mount_count, 0);
    assert_true(s->process_count > 0);
    snapshot_release(s);
    shell_stop(shell);
}

static void hostile_programs_cannot_forge(void **state)
{
    (void)state;
    struct shell *shell = shell_start_with("dash", prepare_hostile_df);
    shell_ask(shell, HOST_MEDIUM, "");
    assert_true(shell_await(shell, HOST_MEDIUM));
    struct host_snapshot *s = shell_look(shell);
    assert_int_equal(s->mount_count, 1);
    assert_string_equal(s->mounts[0].mount, "/forged");
    assert_true(s->process_count > 0);
    snapshot_release(s);
    shell_stop(shell);
}

/* As a user who is not root, with a sudo that permits some: it is asked once, and only what it permits is
 * run. What is not permitted is said with the line that permits it. */
static void sudo_permits_some(void **state)
{
    (void)state;
    struct shell *shell = shell_start_with("dash", prepare_sudo);
    shell_ask(shell, HOST_SLOW, "");
    assert_true(shell_await(shell, HOST_SLOW));
    shell_ask(shell, HOST_MEDIUM, "");
    assert_true(shell_await(shell, HOST_MEDIUM));
    struct host_snapshot *s = shell_look(shell);
    assert_string_equal(s->firewall, "ufw active, 1 rules");
    bool denied = false;
    for (size_t i = 0; i < s->denied_count; i++) {
        denied = denied || !strcmp(s->denied[i].what, "fail2ban");
        assert_string_not_equal(s->denied[i].what, "firewall");
        assert_string_not_equal(s->denied[i].what, "which process listens");
        assert_null(strstr(s->denied[i].todo, "%"));
        assert_null(strstr(s->denied[i].todo, "USER"));
    }
    assert_true(denied);
    assert_null(s->fail2ban);
    assert_int_equal(s->listener_count, 1);
    assert_string_equal(s->listeners[0].process, "nginx");
    snapshot_release(s);
    char path[128];
    snprintf(path, sizeof path, "%s/asked", shell->folder);
    struct stat asked;
    /* A line for each call: the list, ufw, ss. */
    assert_int_equal(stat(path, &asked), 0);
    assert_int_equal(asked.st_size, 3 * 2);
    shell_stop(shell);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_framed),
        cmocka_unit_test(streams_are_bounded),
        cmocka_unit_test(users_cannot_smuggle),
        cmocka_unit_test(settings_are_quoted),
        cmocka_unit_test(runs_in_dash),
        cmocka_unit_test(runs_in_bash),
        cmocka_unit_test(runs_in_busybox_alone),
        cmocka_unit_test(fast_tier_is_cheap),
        cmocka_unit_test(a_hung_df_does_not_hang_the_rest),
        cmocka_unit_test(hostile_programs_cannot_forge),
        cmocka_unit_test(sudo_permits_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
