/* Fleets of 50 and 200 sshd sessions on loopback, seen by the console, by pssh and by a loop of ssh with a
 * ControlMaster: the same Host entries, the same keys, one after the other. What a peer does is run one small
 * command on each host; the console has the first answer of its collector from each. 200 are only connected
 * to, not watched: all of them are this machine, whose df and ps would run 200 times. The servers are niced:
 * they stand for other machines, which take no processor away from the client. */
#include "tests/bench/hosts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/bench/figures.h"
#include "tests/bench/turns.h"
#include "tests/harness/sshd.h"
#include "tests/harness/terminal.h"

enum { LISTENERS = 4, SMALL = 50, LARGE = 200, STARTS = 5, KEYS = 150, ROWS = 60, COLUMNS = 160 };

struct fleet_figures {
    double start_ms, large_ms;           /* until all answer; INFINITY: some never did */
    double pssh_ms, large_pssh_ms;       /* pssh -p8 */
    double master_ms, warm_ms;           /* a loop over ssh with a ControlMaster: the first time, and again */
    double lost, pssh_lost, master_lost; /* hosts of the small fleet that were not reached */
    double cpu_percent;                  /* of a core, all processes of the console */
    double memory_kb;                    /* private, for each host */
    double key_ms, key_slowest_ms;       /* while they all hang */
    struct turns turns;
};

/* ---- the fleet ---- */

struct fleet_site {
    struct ssh_site *site;
    struct sshd *servers[LISTENERS];
    char *home; /* of the console */
};

/* Two texts together, to free. */
static char *joined(const char *first, const char *second)
{
    char *text;
    if (asprintf(&text, "%s%s", first, second) < 0)
        abort();
    return text;
}

static void environment_path(const struct fleet_site *fleet, int count, char *path, size_t size)
{
    snprintf(path, size, "%s/.config/signalbox/hosts%d.yaml", fleet->home, count);
}

/* An environment of the first `count` hosts. */
static void write_environment(const struct fleet_site *fleet, int count)
{
    char path[600];
    environment_path(fleet, count, path, sizeof path);
    FILE *file = fopen(path, "we");
    if (!file)
        abort();
    fprintf(file, "environment: {kind: development, title: Fleet}\nssh: {config: %s}\nhosts:\n",
            ssh_site_config(fleet->site));
    for (int i = 1; i <= count; i++)
        fprintf(file, "  h%03d: {group: %s}\n", i, i % 2 ? "web" : "worker");
    fclose(file);
}

static void write_host_list(const struct fleet_site *fleet, int count)
{
    char path[600];
    snprintf(path, sizeof path, "%s/list%d", fleet->home, count);
    FILE *file = fopen(path, "we");
    if (!file)
        abort();
    for (int i = 1; i <= count; i++)
        fprintf(file, "h%03d\n", i);
    fclose(file);
}

static void fleet_site_start(struct fleet_site *fleet)
{
    struct sshd **servers = fleet->servers;
    char name[32];
    fleet->site = ssh_site_new();
    for (int i = 0; i < LISTENERS; i++) {
        snprintf(name, sizeof name, "server%d", i);
        servers[i] =
            sshd_start(fleet->site, name,
                       (struct sshd_options){.lines = "MaxStartups 500\nLogLevel ERROR", .nice = true});
    }
    /* one known_hosts for all, as people have it */
    char *known = strdup(""),
         *line = joined("    UserKnownHostsFile ", ssh_site_known_file(fleet->site, "server0"));
    for (int i = 0; i < LISTENERS; i++) {
        char *one = sshd_known_lines(servers[i], NULL, NULL, NULL), *all = joined(known, one);
        free(one);
        free(known);
        known = all;
    }
    ssh_site_host(fleet->site, "server0", (struct ssh_entry){.server = servers[0], .known = known});
    for (int i = 1; i <= LARGE; i++) {
        snprintf(name, sizeof name, "h%03d", i);
        ssh_site_host(fleet->site, name,
                      (struct ssh_entry){.server = servers[i % LISTENERS], .lines = line, .known = ""});
    }
    free(line);
    free(known);
    fleet->home = joined(ssh_site_folder(fleet->site), "/console");
    char *config = joined(fleet->home, "/.config"), *own = joined(config, "/signalbox");
    if (mkdir(fleet->home, 0700) != 0 || mkdir(config, 0700) != 0 || mkdir(own, 0700) != 0)
        abort();
    free(own);
    free(config);
    const int counts[] = {1, SMALL, LARGE};
    for (int i = 0; i < 3; i++) {
        write_environment(fleet, counts[i]);
        write_host_list(fleet, counts[i]);
    }
}

static void fleet_site_end(struct fleet_site *fleet)
{
    free(fleet->home);
    ssh_site_free(fleet->site);
}

/* ---- the console ---- */

static struct terminal *start_console(const struct fleet_site *fleet, int count)
{
    char environment[32], *home = joined("HOME=", fleet->home);
    snprintf(environment, sizeof environment, "hosts%d", count);
    const char *const env[] = {home, NULL};
    struct terminal *t =
        terminal_start((const char *const[]){SIGNALBOX_PROGRAM, "--view", "fleet", "-e", environment, NULL},
                       env, ROWS, COLUMNS, NULL);
    free(home);
    return t;
}

/* Seconds until all answer; INFINITY when they do not. */
static double await_fleet(struct terminal *t, int count, double begun)
{
    char text[64];
    snprintf(text, sizeof text, " %d of %d answer", count, count);
    if (terminal_await_text(t, 30, text))
        return now_s() - begun;
    char *picture = terminal_picture(t);
    fprintf(stderr, "not all of %d hosts answer within 30 s:\n%s\n", count, picture);
    free(picture);
    return INFINITY;
}

static double measure_start(const struct fleet_site *fleet, int count)
{
    double samples[STARTS];
    for (int i = 0; i < STARTS; i++) {
        double begun = now_s();
        struct terminal *t = start_console(fleet, count);
        samples[i] = await_fleet(t, count, begun) * 1000;
        terminal_free(t);
        if (isinf(samples[i]))
            return INFINITY;
    }
    return percentile(samples, STARTS, 0.5);
}

static double measure_memory(const struct fleet_site *fleet, int count, double seconds)
{
    struct terminal *t = start_console(fleet, count);
    double bytes = isinf(await_fleet(t, count, now_s())) ? INFINITY : 0;
    for (double end = now_s() + seconds; now_s() < end;)
        terminal_pump(t, 0.1);
    bytes += private_bytes(terminal_pid(t));
    terminal_free(t);
    return bytes;
}

/* CPU while they answer every 5 s, keys while they hang. */
static void measure_watching(const struct fleet_site *fleet, int count, double seconds,
                             struct fleet_figures *figures)
{
    double samples[KEYS];
    size_t taken = 0;
    struct terminal *t = start_console(fleet, count);
    if (isinf(await_fleet(t, count, now_s()))) {
        figures->cpu_percent = figures->key_ms = INFINITY;
        terminal_free(t);
        return;
    }
    for (double end = now_s() + 10; now_s() < end;) /* the slow tiers of all come once */
        terminal_pump(t, 0.1);
    pid_t pid = terminal_pid(t);
    double before = cpu_s(pid) + cpu_of_ended_children_s(pid);
    for (double end = now_s() + seconds; now_s() < end;)
        terminal_pump(t, 0.1);
    figures->cpu_percent = (cpu_s(pid) + cpu_of_ended_children_s(pid) - before) * 100 / seconds;
    /* keys are measured while every server hangs */
    for (int i = 0; i < LISTENERS; i++)
        sshd_pause(fleet->servers[i]);
    for (double end = now_s() + 3; now_s() < end;)
        terminal_pump(t, 0.1);
    while (taken < KEYS) {
        terminal_pump(t, 0.03);
        double ms = terminal_latency(t, taken % 2 ? "Up" : "Down", 2);
        samples[taken++] = ms < 0 ? INFINITY : ms;
    }
    figures->key_ms = percentile(samples, taken, 0.99);
    figures->key_slowest_ms = percentile(samples, taken, 1);
    for (int i = 0; i < LISTENERS; i++)
        sshd_resume(fleet->servers[i]);
    terminal_free(t);
}

/* ---- peers ---- */

/* Milliseconds that a script takes; what it prints is the number of hosts that failed. */
static double run_script(const char *script, const char *first, int count, double *failed)
{
    char number[16], line[64] = "";
    snprintf(number, sizeof number, "%d", count);
    setenv("FLEET", first, 1);
    setenv("COUNT", number, 1);
    double begun = now_s();
    FILE *output = popen(script, "re");
    if (!output)
        return INFINITY;
    if (!fgets(line, sizeof line, output))
        line[0] = '\0';
    pclose(output);
    *failed = strtod(line, NULL);
    return (now_s() - begun) * 1000;
}

static const char pssh_script[] = "parallel-ssh -p 8 -t 60 -h \"$FLEET/console/list$COUNT\" -x \"-F "
                                  "$FLEET/ssh_config\" 'cat /proc/loadavg' "
                                  "2>/dev/null | grep -c FAILURE";
static const char master_script[] = "failed=0; while read -r host; do ssh -F \"$FLEET/ssh_config\" -n -o "
                                    "ControlMaster=auto -o ControlPersist=60 "
                                    "-o ControlPath=\"$FLEET/console/m-%n\" \"$host\" 'cat /proc/loadavg' "
                                    ">/dev/null 2>&1 || failed=$((failed + "
                                    "1)); "
                                    "done <\"$FLEET/console/list$COUNT\"; echo $failed";
static const char master_end_script[] = "while read -r host; do ssh -F \"$FLEET/ssh_config\" -o "
                                        "ControlPath=\"$FLEET/console/m-%n\" -O exit \"$host\" "
                                        "2>/dev/null; done <\"$FLEET/console/list$COUNT\"; echo 0";

static void measure_peers(const struct fleet_site *fleet, struct fleet_figures *figures)
{
    const char *folder = ssh_site_folder(fleet->site);
    double failed;
    figures->pssh_ms = run_script(pssh_script, folder, SMALL, &figures->pssh_lost);
    figures->large_pssh_ms = run_script(pssh_script, folder, LARGE, &failed);
    figures->master_ms = run_script(master_script, folder, SMALL, &figures->master_lost);
    figures->warm_ms = run_script(master_script, folder, SMALL, &failed);
    run_script(master_end_script, folder, SMALL, &failed);
}

/* ---- the table ---- */

static bool print_line(const char *figure, double budget, double ours, double pssh, double master,
                       int decimals)
{
    const double cells[] = {budget, ours, pssh, master};
    static const int widths[] = {9, 11, 13, 15};
    printf("%-46s", figure);
    for (int i = 0; i < 4; i++)
        if (isnan(cells[i]))
            printf("%*s", widths[i], "");
        else if (isinf(cells[i]))
            printf("%*s", widths[i], "none");
        else
            printf("%*.*f", widths[i], decimals, cells[i]);
    if (!isnan(pssh) && pssh > 0 && ours > 0)
        printf("%9.1fx", pssh / ours);
    else
        printf("%10s", "");
    bool met = isnan(budget) || ours <= budget;
    puts(met ? "" : "  MISSED");
    return met;
}

static bool report(const struct fleet_figures *f)
{
    bool met = true;
    printf("\n%-46s%9s%11s%13s%15s%10s\n", "hosts over SSH", "budget", "signalbox", "pssh -p8",
           "ControlMaster", "ratio");
#define LINE(name, budget, ours, pssh, master, decimals)                                                     \
    met = print_line(name, budget, ours, pssh, master, decimals) && met
    LINE("start until 50 hosts answer, ms", 1500, f->start_ms, f->pssh_ms, f->master_ms, 0);
    LINE("  hosts lost", 0, f->lost, f->pssh_lost, f->master_lost, 0);
    LINE("  a ControlMaster that is already there, ms", NAN, NAN, NAN, f->warm_ms, 0);
    LINE("until 200 hosts answer, none lost, ms", f->large_pssh_ms, f->large_ms, f->large_pssh_ms, NAN, 0);
    LINE("CPU of the console, 50 hosts at 5 s, % of a core", 1, f->cpu_percent, NAN, NAN, 2);
    LINE("private memory of a host, kB", 150, f->memory_kb, NAN, NAN, 0);
    LINE("longest turn of the loop, ms", 50, f->turns.longest_ms, NAN, NAN, 1);
    LINE("  while 50 are connected, ms of CPU", 50, f->turns.start_cpu_ms, NAN, NAN, 1);
    LINE("  the same on the clock, ms", NAN, f->turns.start_ms, NAN, NAN, 1);
    LINE("key to screen while 50 hosts hang, p99 ms", 16, f->key_ms, NAN, NAN, 1);
    LINE("  the slowest, ms", 50, f->key_slowest_ms, NAN, NAN, 1);
#undef LINE
    return met;
}

bool bench_hosts(double seconds)
{
    struct fleet_site fleet = {0};
    struct fleet_figures figures = {0};
    fprintf(stderr, "bench: start of the console on %d hosts\n", SMALL);
    fleet_site_start(&fleet);
    figures.start_ms = measure_start(&fleet, SMALL);
    figures.lost = isinf(figures.start_ms) ? NAN : 0;
    char small[600], large[600];
    environment_path(&fleet, SMALL, small, sizeof small);
    environment_path(&fleet, LARGE, large, sizeof large);
    fprintf(stderr, "bench: watching %d hosts for %.0f s\n", SMALL, 3 * seconds);
    measure_watching(&fleet, SMALL, seconds, &figures);
    figures.turns = measure_turns(small, seconds);
    double one = measure_memory(&fleet, 1, seconds / 2), all = measure_memory(&fleet, SMALL, seconds / 2);
    figures.memory_kb = (all - one) / 1000 / (SMALL - 1);
    fprintf(stderr, "bench: %d hosts, then pssh and a ControlMaster\n", LARGE);
    figures.large_ms = measure_turns(large, 0).live_ms;
    measure_peers(&fleet, &figures);
    fleet_site_end(&fleet);
    return report(&figures);
}
