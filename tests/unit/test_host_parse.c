/* What hosts answer, read: captures of Debian, busybox and composed ones (tests/data/hosts, each with its
 * request in the first line), and hostile ones. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/record_internal.h"
#include "tests/unit/unit.h"

#define NOW 1795262500.0 /* 2026-11-21 12:01:40 UTC */

static struct host_record *record_new(void **state)
{
    struct host_record *record = host_record_new(NULL, "web1", "web");
    host_record_set_user(record, "ops");
    *state = record;
    return record;
}

static int forget(void **state)
{
    talloc_free(*state);
    return 0;
}

static char *read_data(const char *name, size_t *length)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/hosts/%s", TEST_ROOT, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(1 << 16);
    assert_non_null(text);
    *length = fread(text, 1, 1 << 16, file);
    fclose(file);
    return text;
}

static bool take_text(struct host_record *record, char letter, const char *text, size_t length, double at)
{
    const char *letters = "fmsd";
    struct error error;
    struct host_answer answer = {.tier = (enum host_tier)(strchr(letters, letter) - letters),
                                 .mark = "MARK",
                                 .text = text,
                                 .length = length,
                                 .asked = at - 0.02,
                                 .first = at - 0.01,
                                 .answered = at};
    return host_record_take(record, &answer, &error);
}

static void take(struct host_record *record, const char *name, double at)
{
    size_t length;
    char *text = read_data(name, &length);
    char *body = memchr(text, '\n', length);
    assert_non_null(body);
    body++;
    assert_true(take_text(record, text[0], body, length - (size_t)(body - text), at));
    free(text);
}

static struct host_snapshot *publish(struct host_record *record, double at)
{
    struct host_standing standing = {.now = at};
    return host_record_publish(record, &standing);
}

static bool near(double value, double expected)
{
    if (fabs(value - expected) <= fabs(expected) * 0.001 + 1e-6)
        return true;
    print_error("%g instead of %g\n", value, expected);
    return false;
}

static const struct host_problem *problem(const struct host_snapshot *s, const char *text)
{
    for (size_t i = 0; i < s->problem_count; i++)
        if (strstr(s->problems[i].text, text))
            return &s->problems[i];
    return NULL;
}

/* ---- fast ---- */

static void nothing_is_known_at_first(void **state)
{
    struct host_snapshot *s = publish(record_new(state), NOW);
    assert_int_equal(s->state, HOST_UNKNOWN);
    assert_true(isnan(s->cpu_percent) && isnan(s->memory_percent) && isnan(s->uptime_s));
    assert_int_equal(s->failed_units, -1);
    assert_int_equal(s->oom_kills_1h, -1);
    assert_int_equal(s->updates_security, -1);
    assert_int_equal(s->problem_count, 0);
    assert_string_equal(s->host, "web1");
    assert_string_equal(s->group, "web");
    snapshot_release(s);
}

static void rates_need_two_samples(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "fast_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_true(isnan(s->cpu_percent) && isnan(s->io_busy_percent) && isnan(s->net_in_bytes_per_s));
    assert_true(isnan(s->listen_overflows_per_s) && isnan(s->core[0].busy));
    assert_true(near(s->memory_bytes, 24684092.0 * 1024));
    assert_true(near(s->memory_percent, 100 - 100 * 23890920.0 / 24684092));
    assert_int_equal(s->cores, 2);
    assert_true(near(s->load1, 0.25) && near(s->uptime_s, 2551.55) && s->booted_at == 1795260560);
    assert_int_equal(s->processes, 134);
    assert_int_equal(s->files_open, 2474);
    assert_int_equal(s->oom_kills, 2);
    /* It runs for less than an hour: the kills are of this hour. */
    assert_int_equal(s->oom_kills_1h, 2);
    assert_int_equal(s->state, HOST_CRITICAL);
    assert_int_equal(s->problem_count, 1);
    snapshot_release(s);
}

static void rates_of_five_seconds(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "fast_1", NOW);
    take(record, "fast_2", NOW + 5);
    struct host_snapshot *s = publish(record, NOW + 5);
    assert_true(near(s->cpu_percent, 50) && near(s->user_percent, 40) && near(s->system_percent, 10));
    assert_true(near(s->iowait_percent, 10) && near(s->steal_percent, 5));
    assert_true(near(s->core[0].busy, 100) && near(s->core[1].busy, 0) && near(s->core[1].steal, 10));
    assert_int_equal(s->block_count, 1);
    const struct host_block *disk = &s->blocks[0];
    assert_string_equal(disk->name, "vda");
    assert_true(near(disk->busy_percent, 50) && near(disk->queue, 2) && near(disk->reads_per_s, 20));
    assert_true(near(disk->read_bytes_per_s, 2048 * 512.0 / 5) && near(disk->writes_per_s, 10));
    assert_true(near(disk->wait_ms, 2) && near(s->io_busy_percent, 50) && near(s->io_queue, 2));
    assert_true(near(s->net_in_bytes_per_s, 1e6) && near(s->net_out_bytes_per_s, 2e5));
    assert_true(near(s->retransmits_percent, 3) && near(s->listen_overflows_per_s, 3));
    assert_true(near(s->listen_drops_per_s, 4) && near(s->swap_in_per_s, 100) && near(s->swap_out_per_s, 0));
    assert_int_equal(s->oom_kills, 5);
    assert_non_null(problem(s, "accept queues overflow"));
    assert_int_equal(problem(s, "kernel: OOM killer")->severity, SEVERITY_CRITICAL);
    snapshot_release(s);
}

/* Counters that went back: a reboot, another machine. */
static void resets_are_unknown(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "fast_2", NOW);
    take(record, "fast_1", NOW + 5);
    struct host_snapshot *s = publish(record, NOW + 5);
    assert_true(isnan(s->cpu_percent) && isnan(s->io_busy_percent) && isnan(s->retransmits_percent));
    snapshot_release(s);
    take(record, "fast_2", NOW + 10);
    s = publish(record, NOW + 10);
    assert_true(near(s->cpu_percent, 50));
    snapshot_release(s);
}

static void old_kernels_have_no_psi(void **state)
{
    static const char text[] =
        "@@MARK fast\n/proc/uptime:10.00 5.00\n/proc/stat:cpu  1 2 3 4\n/proc/stat:cpu0 1 2 3 4\n"
        "/proc/meminfo:MemTotal: 1000 kB\n@@MARK end 1 0\n";
    struct host_record *record = record_new(state);
    assert_true(take_text(record, 'f', text, sizeof text - 1, NOW));
    struct host_snapshot *s = publish(record, NOW);
    assert_true(isnan(s->psi_cpu_some10) && isnan(s->memory_percent) && s->oom_kills == -1);
    snapshot_release(s);
}

static void garbage_is_refused(void **state)
{
    static const char *const texts[] = {"", "hello", "@@MARK fast\nnothing\n",
                                        "@@OTHER fast\n/proc/uptime:1 1\n",
                                        "@@MARK fast\n/proc/uptime:-1 1\n/proc/meminfo:MemTotal: -5 kB\n"};
    struct host_record *record = record_new(state);
    take(record, "fast_1", NOW);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(take_text(record, 'f', texts[i], strlen(texts[i]), NOW + 5));
    struct host_snapshot *s = publish(record, NOW + 5);
    assert_true(near(s->uptime_s, 2551.55) && s->cores == 2);
    snapshot_release(s);
}

/* ---- medium ---- */

static const struct host_mount *mount(const struct host_snapshot *s, const char *path)
{
    for (size_t i = 0; i < s->mount_count; i++)
        if (!strcmp(s->mounts[i].mount, path))
            return &s->mounts[i];
    return NULL;
}

static const struct host_service *service(const struct host_snapshot *s, enum host_service_kind kind)
{
    for (size_t i = 0; i < s->service_count; i++)
        if (s->services[i].kind == kind)
            return &s->services[i];
    return NULL;
}

static void mounts_with_types(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_debian_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_string_equal(s->worst_mount->mount, "/srv/with blank");
    assert_string_equal(s->worst_mount->device, "/dev/vdb1");
    assert_string_equal(s->worst_mount->type, "ext4");
    assert_true(near(s->worst_mount->used_percent, 100 * 9500000.0 / 9712000));
    assert_true(near(s->worst_mount->inode_percent, 100 * 650000.0 / 655360));
    assert_ptr_equal(s->worst_inodes, s->worst_mount);
    assert_true(isnan(s->worst_mount->full_in_s));
    assert_null(mount(s, "/dev"));
    assert_null(mount(s, "/snap/core20/1"));
    assert_null(mount(s, "/var/lib/docker/overlay2/x/merged"));
    assert_non_null(mount(s, "/"));
    assert_string_equal(problem(s, "disk /srv")->text, "disk /srv/with blank is 98 % full");
    assert_non_null(problem(s, "mount /mnt/nas does not answer"));
    snapshot_release(s);
}

static void processes_by_weight(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_debian_1", NOW);
    take(record, "medium_debian_2", NOW + 20);
    struct host_snapshot *s = publish(record, NOW + 20);
    const struct host_process *top = &s->process[0];
    assert_int_equal(top->pid, 14548);
    assert_int_equal(top->parent, 14546);
    assert_true(near(top->cpu_percent, 50) && near(top->cpu_s, 20) && near(top->write_bytes_per_s, 1e6));
    assert_true(near(top->rss_bytes, 6428 * 4096.0) && near(top->age_s, 2571.5 - 1100.05));
    assert_string_equal(top->user, "app");
    assert_null(top->arguments);
    assert_true(s->process_count <= HOST_MAX_PROCESSES);
    for (size_t i = 1; i < s->process_count; i++) {
        assert_true(isnan(s->process[i].write_bytes_per_s));
        if (s->process[i].pid == 18000)
            assert_string_equal(s->process[i].command, "odd (name) x");
        assert_true(s->process[i].pid > 0);
    }
    assert_int_equal(record->zombies, 1);
    assert_int_equal(record->uninterruptible, 1);
    snapshot_release(s);
}

static void sockets_with_accept_queues(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_debian_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    const struct host_listener *worst = s->worst_listener;
    assert_int_equal(worst->port, 56381);
    assert_int_equal(worst->backlog, 2048);
    assert_int_equal(worst->backlog_limit, 2048);
    assert_string_equal(worst->process, "gunicorn");
    assert_string_equal(worst->address, "127.0.0.1");
    assert_string_equal(problem(s, "accept queue")->text, "accept queue of :56381 is full (2048 of 2048)");
    bool unix_socket = false, six = false;
    for (size_t i = 0; i < s->listener_count; i++) {
        unix_socket = unix_socket || !strcmp(s->listeners[i].address, "/run/gunicorn.sock");
        six = six || (!strcmp(s->listeners[i].address, "::") && s->listeners[i].port == 80);
        assert_string_not_equal(s->listeners[i].address, "/run/systemd/private");
    }
    assert_true(unix_socket && six);
    snapshot_release(s);
}

/* Learned by the slow tier, named by the next medium one. */
static void sockets_have_owners(void **state)
{
    struct host_record *record = record_new(state);
    const struct host_listener *found = NULL;
    take(record, "slow_systemd", NOW - 100);
    take(record, "medium_debian_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    for (size_t i = 0; i < s->listener_count; i++)
        found = s->listeners[i].port == 8443 ? &s->listeners[i] : found;
    if (!found)
        fail();
    assert_string_equal(found->process, "nginx");
    assert_int_equal(found->pid, 14541);
    snapshot_release(s);
}

static void services_without_titles(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_systemd", NOW - 100);
    take(record, "medium_debian_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    const struct host_service *gunicorn = service(s, SERVICE_GUNICORN), *nginx = service(s, SERVICE_NGINX);
    assert_string_equal(gunicorn->name, "gunicorn app.wsgi:application");
    assert_int_equal(gunicorn->workers, 3);
    assert_int_equal(gunicorn->restarts, 1);
    assert_int_equal(gunicorn->pid, 14546);
    assert_int_equal(gunicorn->backlog, 2048);
    assert_int_equal(gunicorn->severity, SEVERITY_CRITICAL);
    assert_true(near(gunicorn->memory_bytes, (6408 + 6428 + 6427 + 6429) * 4096.0));
    assert_int_equal(nginx->workers, 2);
    assert_true(nginx->deleted);
    assert_null(nginx->version);
    assert_string_equal(nginx->version_disk, "1.22.1");
    assert_string_equal(nginx->note, "configuration test failed: [emerg] unknown directive \"lissten\" in "
                                     "/etc/nginx/nginx.conf:12 · active 31, waiting 4");
    assert_non_null(problem(s, "configuration test failed"));
    assert_int_equal(service(s, SERVICE_CELERY)->workers, 2);
    assert_int_equal(service(s, SERVICE_CELERY_BEAT)->pid, 14700);
    assert_string_equal(service(s, SERVICE_CELERY_BEAT)->name, "celery beat proj");
    assert_string_equal(service(s, SERVICE_REDIS)->version, "7.0.15");
    assert_false(service(s, SERVICE_REDIS)->deleted);
    assert_int_equal(service(s, SERVICE_POSTGRES)->workers, 1);
    assert_null(service(s, SERVICE_DOCKER));
    snapshot_release(s);
}

static void cgroups_of_both_versions(void **state)
{
    static const char format[] =
        "@@MARK cgroup_tree\nuptime %d.00\n"
        "/sys/fs/cgroup/system.slice/memory.current:52428800\n/sys/fs/cgroup/system.slice/memory.max:max\n"
        "/sys/fs/cgroup/system.slice/web.service/memory.current:104857600\n"
        "/sys/fs/cgroup/system.slice/web.service/memory.max:209715200\n"
        "/sys/fs/cgroup/system.slice/web.service/memory.events:oom_kill 2\n"
        "/sys/fs/cgroup/system.slice/web.service/cpu.stat:usage_usec %d\n"
        "/sys/fs/cgroup/system.slice/web.service/pids.current:17\n"
        "/sys/fs/cgroup/memory/docker/memory.usage_in_bytes:4096\n"
        "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes:9223372036854771712\n"
        "/sys/fs/cgroup/cpuacct/docker/cpuacct.usage:%d000\nrubbish\n/etc/passwd:1\n@@MARK end 1 0\n";
    struct host_record *record = record_new(state);
    char text[1200];
    int length = snprintf(text, sizeof text, format, 100, 1000000, 5000);
    assert_true(take_text(record, 'd', text, (size_t)length, NOW - 10));
    length = snprintf(text, sizeof text, format, 110, 6000000, 5000);
    assert_true(take_text(record, 'd', text, (size_t)length, NOW));
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->cgroup_count, 3);
    assert_string_equal(s->cgroups[0].path, "system.slice/web.service");
    assert_true(near((double)s->cgroups[0].cpu_percent, 50));
    assert_true(near(s->cgroups[0].memory_limit_bytes, 209715200));
    assert_int_equal(s->cgroups[0].oom_kills, 2);
    assert_int_equal(s->cgroups[0].tasks, 17);
    assert_true(isinf(s->cgroups[1].memory_limit_bytes) && isnan(s->cgroups[1].cpu_percent));
    assert_string_equal(s->cgroups[2].path, "docker");
    assert_true(isinf(s->cgroups[2].memory_limit_bytes) && near((double)s->cgroups[2].cpu_percent, 0));
    snapshot_release(s);
}

/* Whose program it is cannot be asked by everybody; that a younger one lies on the disk, can. */
static void programs_replaced_on_disk(void **state)
{
    static const char format[] = "@@MARK versions\nredis-server @%.0f Redis server v=7.2.0 sha=0\n"
                                 "/usr/lib/postgresql/15/bin/postgres @%.0f postgres (PostgreSQL) 15.20\n"
                                 "@@MARK nginx_test\nok\n@@MARK end 1 0\n";
    struct host_record *record = record_new(state);
    char text[400];
    host_record_set_user(record, "ops");
    take(record, "medium_debian_1", NOW);
    int length = snprintf(text, sizeof text, format, NOW - 5, NOW - 86400 * 900);
    assert_true(take_text(record, 's', text, (size_t)length, NOW));
    struct host_snapshot *s = publish(record, NOW);
    assert_true(service(s, SERVICE_REDIS)->deleted);
    assert_null(service(s, SERVICE_REDIS)->version);
    assert_string_equal(service(s, SERVICE_REDIS)->version_disk, "7.2.0");
    assert_string_equal(service(s, SERVICE_POSTGRES)->version, "15.20");
    assert_string_equal(service(s, SERVICE_NGINX)->note, "configuration ok · active 31, waiting 4");
    snapshot_release(s);
}

static void containers_and_their_cgroups(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_systemd", NOW - 100);
    take(record, "medium_debian_1", NOW);
    take(record, "medium_debian_2", NOW + 20);
    struct host_snapshot *s = publish(record, NOW + 20);
    assert_int_equal(s->container_count, 4);
    assert_int_equal(s->containers_running, 2);
    assert_int_equal(s->containers_restarting, 1);
    const struct host_container *web = NULL, *worker = NULL, *oom = NULL;
    for (size_t i = 0; i < s->container_count; i++) {
        web = !strcmp(s->containers[i].name, "web") ? &s->containers[i] : web;
        worker = !strcmp(s->containers[i].name, "worker") ? &s->containers[i] : worker;
        oom = !strcmp(s->containers[i].name, "oom") ? &s->containers[i] : oom;
    }
    if (!web || !worker || !oom)
        fail();
    assert_string_equal(web->project, "saas");
    assert_string_equal(web->health, "healthy");
    assert_true(near(web->memory_bytes, 8388608) && near(web->memory_limit_bytes, 536870912));
    assert_true(near(web->cpu_percent, 50));
    assert_true(near(web->image_created, 1793527200.5));
    assert_string_equal(web->image, "bb:1");
    assert_int_equal(worker->restarts, 3);
    assert_true(isinf(worker->memory_limit_bytes) && isnan(worker->memory_bytes));
    assert_true(oom->oom_killed && oom->exit_code == 137 && !oom->health);
    assert_non_null(problem(s, "container worker restarts again and again, 3 times so far"));
    assert_non_null(problem(s, "container sick is unhealthy"));
    assert_non_null(problem(s, "container oom was killed for memory"));
    snapshot_release(s);
}

static void a_docker_without_daemon_is_told(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_nodaemon", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->containers_running, -1);
    assert_non_null(problem(s, "Cannot connect to the Docker daemon"));
    snapshot_release(s);
}

static void busybox_gives_the_same(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_busybox", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_non_null(mount(s, "/"));
    assert_true(near(mount(s, "/")->inode_percent, 100 * 476400.0 / 16777216));
    assert_null(mount(s, "/")->type);
    assert_int_equal(s->listener_count, 3);
    assert_int_equal(s->worst_listener->port, 8080);
    assert_int_equal(s->worst_listener->backlog, 3);
    assert_int_equal(s->worst_listener->backlog_limit, -1);
    assert_string_equal(s->worst_listener->address, "127.0.0.1");
    assert_int_equal(service(s, SERVICE_NGINX)->workers, 0);
    /* Without a fraction of the second the clock is known to a second only. */
    assert_true(fabs(s->clock_offset_s) < 60);
    assert_int_equal(s->denied_count, 2);
    assert_string_equal(s->denied[1].what, "containers");
    assert_non_null(strstr(s->denied[1].todo, "ops ALL=(root) NOPASSWD: /usr/bin/docker ps *"));
    snapshot_release(s);
}

/* A disk that grows by the same each minute. */
static void time_until_full(void **state)
{
    struct host_record *record = record_new(state);
    struct host_snapshot *s = NULL;
    for (int i = 0; i < 40; i++) {
        char text[512];
        int length =
            snprintf(text, sizeof text,
                     "@@MARK df\nFilesystem Type 1024-blocks Used Available Capacity Mounted on\n"
                     "/dev/vda ext4 1000000 %d %d 50%% /\n/dev/vdb ext4 1000000 400000 600000 40%% /still\n"
                     "@@MARK end 1 0\n",
                     500000 + i * 1000, 500000 - i * 1000);
        assert_true(take_text(record, 'm', text, (size_t)length, NOW + i * 20));
        s = publish(record, NOW + i * 20);
        if (i < 9)
            assert_true(isnan(mount(s, "/")->full_in_s));
        if (i < 39)
            snapshot_release(s);
    }
    assert_true(near(mount(s, "/")->full_in_s, (500000 - 39000) / 50.0));
    assert_true(isinf(mount(s, "/still")->full_in_s));
    assert_string_equal(problem(s, "disk /")->text, "disk / is 54 % full, full in about 3 h");
    snapshot_release(s);
}

/* ---- slow ---- */

static void units_journal_and_kills(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_systemd", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_string_equal(s->os, "Debian GNU/Linux 12 (bookworm)");
    assert_string_equal(s->hostname, "web1");
    assert_string_equal(s->init, "systemd");
    assert_int_equal(s->failed_units, 2);
    assert_int_equal(s->failed_count, 2);
    assert_string_equal(s->failed[1].name, "celery.service");
    assert_string_equal(s->failed[1].result, "exit-code");
    assert_int_equal(s->failed[1].restarts, 5);
    assert_true(s->failed[1].since == 1795261020 && isnan(s->failed[0].since));
    assert_int_equal(s->error_count, 3);
    assert_string_equal(s->errors[2].who, "gunicorn");
    assert_string_equal(s->errors[0].text, "Failed to start celery.service - Celery workers.");
    assert_int_equal(s->oom_kills_1h, 3);
    assert_string_equal(s->oom[0].who, "gunicorn");
    assert_true(s->oom[0].time == 1795261210);
    assert_string_equal(problem(s, "gunicorn killed")->text, "gunicorn killed for memory 3 times");
    assert_non_null(problem(s, "unit celery.service failed (exit-code)"));
    snapshot_release(s);
}

static void certificates_updates_and_the_rest(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_systemd", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->certificate_count, 2);
    assert_string_equal(s->certificates[0].names, "alnoor.example.edu *.alnoor.example.edu");
    assert_string_equal(s->certificates[0].issuer, "R3");
    assert_true(near(s->certificate_days, (1795694399 - NOW) / 86400));
    assert_string_equal(problem(s, "certificate")->text, "certificate alnoor.example.edu ends in 4 days");
    assert_int_equal(s->updates, 12);
    assert_int_equal(s->updates_security, 5);
    assert_int_equal(s->reboot_required, 1);
    assert_string_equal(s->firewall, "ufw active, 2 rules");
    assert_string_equal(s->fail2ban, "sshd 2, nginx-http-auth 0");
    assert_string_equal(s->release, "r480");
    assert_true(s->release_since == 1795260000);
    /* Known and not urgent: the state is that of the rest. */
    assert_int_equal(problem(s, "security updates are not installed")->severity, SEVERITY_DIM);
    snapshot_release(s);
}

static const char *todo(const struct host_snapshot *s, const char *what)
{
    for (size_t i = 0; i < s->denied_count; i++)
        if (!strcmp(s->denied[i].what, what))
            return s->denied[i].todo;
    return "";
}

static void what_is_not_permitted_is_unknown(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_nosystemd", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->failed_units, -1);
    assert_int_equal(s->oom_kills_1h, -1);
    assert_string_equal(s->init, "init");
    assert_int_equal(s->certificate_count, 0);
    assert_true(isnan(s->certificate_days));
    assert_int_equal(s->updates, 3);
    assert_int_equal(s->updates_security, -1);
    assert_int_equal(s->reboot_required, 0);
    assert_null(s->fail2ban);
    assert_string_equal(todo(s, "journal"), "usermod -aG systemd-journal ops");
    assert_string_equal(todo(s, "kernel messages"), "sudoers: ops ALL=(root) NOPASSWD: /usr/bin/dmesg \"\"");
    assert_string_equal(
        todo(s, "firewall"),
        "sudoers: ops ALL=(root) NOPASSWD: /usr/sbin/ufw status, /usr/sbin/ufw status verbose");
    assert_string_equal(todo(s, "fail2ban"),
                        "sudoers: ops ALL=(root) NOPASSWD: /usr/bin/fail2ban-client banned");
    /* Each once, unknown ones not at all. */
    assert_int_equal(s->denied_count, 4);
    snapshot_release(s);
}

static void kernel_log_without_a_journal(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "fast_1", NOW);
    take(record, "slow_dmesg", NOW + 2000);
    struct host_snapshot *s = publish(record, NOW + 2000);
    assert_int_equal(s->oom_count, 1);
    assert_string_equal(s->oom[0].who, "python3");
    assert_true(near(s->oom[0].time, 1795260560 + 2500.123456));
    snapshot_release(s);
}

/* ---- detail ---- */

static void details(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_debian_1", NOW);
    take(record, "detail_systemd", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->unit_count, 2);
    assert_string_equal(s->units[0].name, "celery.service");
    assert_string_equal(s->units[1].sub, "running");
    assert_null(s->units[1].result);
    assert_true(near(s->units[1].memory_bytes, 12345678));
    assert_int_equal(s->timer_count, 4);
    assert_string_equal(s->timers[0].schedule, "*-*-* 03:17:00");
    assert_true(s->timers[0].next == 1795317420);
    assert_string_equal(s->timers[1].schedule, "17 *\t* * *");
    assert_string_equal(s->timers[1].name, "root");
    assert_string_equal(s->timers[1].source, "/etc/crontab");
    assert_string_equal(s->timers[2].activates, "/srv/app/clean --password=***");
    assert_string_equal(s->timers[3].source, "crontab of ops");
    assert_int_equal(s->login_count, 3);
    assert_string_equal(s->logins[0].text, "logged in now, pts/0 (10.0.0.1)");
    assert_true(s->logins[1].time == 1795261000);
    assert_int_equal(s->kernel_count, 1);
    assert_string_equal(s->bans, "sshd: 203.0.113.7\n");
    assert_non_null(strstr(s->firewall_rules, "Logging: on"));
    assert_int_equal(s->updates, 12);
    bool found = false;
    for (size_t i = 0; i < s->process_count; i++)
        if (s->process[i].pid == 14548) {
            found = true;
            assert_string_equal(s->process[i].cgroup, "system.slice/gunicorn.service");
            assert_string_equal(
                s->process[i].arguments,
                "/usr/bin/python3 /usr/bin/gunicorn --statsd-password *** -b amqp://app:***@broker/1");
        }
    assert_true(found);
    char *request = host_record_detail_request(NULL, record);
    assert_int_equal(strncmp(request, "1-2- ", 5), 0);
    assert_non_null(strstr(request, " 14548"));
    talloc_free(request);
    snapshot_release(s);
    host_record_drop_detail(record);
    s = publish(record, NOW);
    assert_int_equal(s->unit_count, 0);
    assert_null(s->process[0].arguments);
    snapshot_release(s);
}

/* ---- judging ---- */

static void problems_keep_their_beginning(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "slow_systemd", NOW);
    take(record, "medium_debian_1", NOW);
    take(record, "fast_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    assert_int_equal(s->state, HOST_CRITICAL);
    assert_int_equal(s->problems[0].severity, SEVERITY_CRITICAL);
    assert_int_equal(s->problems[0].letter, 'E');
    for (size_t i = 1; i < s->problem_count; i++)
        assert_true(s->problems[i - 1].severity >= s->problems[i].severity);
    snapshot_release(s);
    s = publish(record, NOW + 60);
    assert_true(problem(s, "gunicorn killed")->since == NOW);
    snapshot_release(s);
    /* Gone for long enough, it is a new one. */
    take(record, "slow_nosystemd", NOW + 100);
    snapshot_release(publish(record, NOW + 100));
    take(record, "slow_systemd", NOW + 500);
    s = publish(record, NOW + 500);
    assert_true(problem(s, "unit celery.service")->since == NOW + 500);
    snapshot_release(s);
}

static void silence_is_told(void **state)
{
    struct host_record *record = record_new(state);
    struct host_standing standing = {.now = NOW, .silent_s = 41, .why = "connection refused"};
    struct host_snapshot *s = host_record_publish(record, &standing);
    assert_int_equal(s->state, HOST_UNKNOWN);
    assert_string_equal(s->problems[0].text, "has never answered: connection refused");
    snapshot_release(s);
    take(record, "fast_1", NOW - 41);
    s = host_record_publish(record, &standing);
    assert_int_equal(s->state, HOST_UNKNOWN);
    assert_string_equal(s->problems[0].text, "no answer for 41 s: connection refused");
    assert_true(s->memory_bytes > 0);
    snapshot_release(s);
}

/* Snapshots stay whole when the record has gone on. */
static void snapshots_hold_what_they_show(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "medium_debian_1", NOW);
    struct host_snapshot *s = publish(record, NOW);
    take(record, "medium_busybox", NOW + 20);
    take(record, "medium_nodaemon", NOW + 40);
    assert_string_equal(s->worst_mount->mount, "/srv/with blank");
    assert_int_equal(service(s, SERVICE_GUNICORN)->workers, 3);
    talloc_free(record);
    *state = NULL;
    assert_string_equal(s->containers[0].image, "bb:1");
    snapshot_release(s);
}

static void a_host_takes_little_memory(void **state)
{
    struct host_record *record = record_new(state);
    take(record, "fast_1", NOW);
    take(record, "slow_systemd", NOW);
    take(record, "medium_debian_1", NOW);
    take(record, "medium_debian_2", NOW + 20);
    take(record, "fast_2", NOW + 20);
    struct host_snapshot *s = publish(record, NOW + 20);
    size_t bytes = talloc_total_size(record) + talloc_total_size(s);
    for (int i = 0; i < HOST_TIERS; i++)
        bytes += record->parts[i] ? talloc_total_size(record->parts[i]) : 0;
    print_message("a host's record and snapshot: %zu bytes\n", bytes);
    assert_true(bytes < 32768);
    snapshot_release(s);
}

static void hostile_text_is_only_text(void **state)
{
    static const char medium[] =
        "@@MARK processes\nuptime 99999999999999999999999 4096\n@@MARK processes\nuptime 100.0 4096\n"
        "99999999999999999999 1 root S 1 1 1 1 x\n5 1 \x1b[31m S 18446744073709551616 1 1 1 y\n"
        "6 1 r\xff\xfe S 1 9223372036854775807 1 1 a\0b\n7 1 u S 1 1 9999999999 1 \n"
        "@@MARK io\n/proc/6/io:read_bytes: 99999999999999999999999\n/proc/-6/io:x\n"
        "@@MARK df\n/dev/x ext4 -5 99999999999999999999999999999999999999999 1 5% /a\n/dev/y 5 5 5 5%\n"
        "/dev/z ext4 1 1 -9223372036854775808 100% /z\n@@MARK sockets\nLISTEN 99999999999 1 *:1 *:*\nLISTEN "
        "5 5 x y\n"
        "LISTEN 1 1 :99999 *:*\n@@MARK end 1 0\n";
    struct host_record *record = record_new(state);
    assert_true(take_text(record, 'm', medium, sizeof medium - 1, NOW));
    assert_true(take_text(record, 'm', medium, sizeof medium - 1, NOW + 20));
    struct host_snapshot *s = publish(record, NOW + 20);
    assert_int_equal(s->listener_count, 0);
    for (size_t i = 0; i < s->process_count; i++)
        assert_true(s->process[i].pid >= 5 && s->process[i].pid <= 7);
    snapshot_release(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, forget)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_known_at_first),
        TEST(rates_need_two_samples),
        TEST(rates_of_five_seconds),
        TEST(resets_are_unknown),
        TEST(old_kernels_have_no_psi),
        TEST(garbage_is_refused),
        TEST(mounts_with_types),
        TEST(processes_by_weight),
        TEST(sockets_with_accept_queues),
        TEST(sockets_have_owners),
        TEST(services_without_titles),
        TEST(programs_replaced_on_disk),
        TEST(cgroups_of_both_versions),
        TEST(containers_and_their_cgroups),
        TEST(a_docker_without_daemon_is_told),
        TEST(busybox_gives_the_same),
        TEST(time_until_full),
        TEST(units_journal_and_kills),
        TEST(certificates_updates_and_the_rest),
        TEST(what_is_not_permitted_is_unknown),
        TEST(kernel_log_without_a_journal),
        TEST(details),
        TEST(problems_keep_their_beginning),
        TEST(silence_is_told),
        TEST(snapshots_hold_what_they_show),
        TEST(a_host_takes_little_memory),
        TEST(hostile_text_is_only_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
