/* The master of transport two and what belongs to it: private, and gone when it is over, however it ends. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "tests/harness/ssh_caller.h"

/* Of the process that has this word on its command line and is not a zombie; 0: there is none. */
static pid_t find_process(const char *word)
{
    char path[300], command[4096];
    pid_t found = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : NULL;
        size_t length = file ? fread(command, 1, sizeof command, file) : 0;
        if (file)
            fclose(file);
        if (length && memmem(command, length, word, strlen(word) + 1))
            found = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    if (processes)
        closedir(processes);
    return found;
}

static bool is_gone(void *path)
{
    return access(path, F_OK) != 0 && !find_process(path);
}

/* The path of its control socket, on the heap; NULL: no master. */
static char *socket_of(struct ssh_host *host)
{
    const char **argv = ssh_host_argv(NULL, host, NULL);
    char *path = NULL;
    for (size_t i = 0; argv[i] && !path; i++)
        if (strcmp(argv[i], "-S") == 0)
            path = strdup(argv[i + 1]);
    talloc_free(argv);
    return path;
}

static struct ssh_host *serve(struct ssh_caller *c)
{
    sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    return host;
}

static void it_is_private_and_goes_with_the_pool(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c);
    struct stat found;
    char *path = socket_of(host), *folder = strdup(path), link[64], target[300] = "";
    *strrchr(folder, '/') = '\0';
    assert_int_equal(stat(folder, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    pid_t master = find_process(path);
    assert_true(master > 0);
    assert_int_equal(getsid(master), master); /* no terminal, and none of its signals */
    snprintf(link, sizeof link, "/proc/%d/fd/0", (int)master);
    assert_true(readlink(link, target, sizeof target - 1) > 0);
    assert_string_equal(target, "/dev/null");
    ssh_caller_hang_up(c);
    assert_true(is_gone(path));
    assert_true(access(folder, F_OK) != 0);
    free(path);
    free(folder);
}

static void it_gets_none_of_our_files(void **state)
{
    struct ssh_caller *c = *state;
    int leak = open("/etc/passwd", O_RDONLY); /* as a library might open one */
    struct ssh_host *host = serve(c);
    char *path = socket_of(host), name[64], target[300];
    snprintf(name, sizeof name, "/proc/%d/fd", (int)find_process(path));
    DIR *files = opendir(name);
    assert_non_null(files);
    for (struct dirent *entry; (entry = readdir(files));) {
        ssize_t length = readlinkat(dirfd(files), entry->d_name, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        assert_null(strstr(target, "passwd"));
    }
    closedir(files);
    close(leak);
    free(path);
}

static void it_crashes(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c);
    char *path = socket_of(host);
    ssh_host_want(host, true);
    struct ssh_heard *heard = ssh_hear(host, "echo begun; sleep 100");
    assert_true(loop_until(c->loop, 30, ssh_heard_output, heard));
    assert_int_equal(kill(find_process(path), SIGKILL), 0);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_LOST);
    assert_true(loop_until(c->loop, 10, is_gone, path));
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 60));
    char *again = socket_of(host);
    assert_string_not_equal(again, path);
    ssh_expect(c, host, "echo again", 0, "again\n");
    ssh_heard_free(heard);
    free(again);
    free(path);
}

/* The console dies without a chance to clean up: its masters end by themselves. */
static void the_console_crashes(void **state)
{
    struct ssh_caller *c = *state;
    int told[2];
    char path[300] = "";
    sshd_start(c->site, "server", (struct sshd_options){0});
    assert_int_equal(pipe(told), 0);
    pid_t console = fork();
    if (console == 0) {
        struct loop *loop = loop_new();
        struct ssh_caller own = {.site = c->site, .loop = loop, .transport = SSH_TRANSPORT_SYSTEM};
        struct ssh_host *host = ssh_caller_host(&own, "server");
        ssh_host_want(host, true);
        for (int i = 0; i < 2000 && ssh_host_state(host) != CONNECTION_UP; i++)
            ev_run(loop_ev(loop), EVRUN_ONCE);
        char *socket = socket_of(host);
        if (socket && write(told[1], socket, strlen(socket)) > 0)
            pause();
        _exit(1);
    }
    close(told[1]);
    assert_true(read(told[0], path, sizeof path - 1) > 0);
    close(told[0]);
    assert_true(find_process(path) > 0);
    kill(console, SIGKILL);
    waitpid(console, NULL, 0);
    assert_true(loop_until(c->loop, 10, is_gone, path));
    char *slash = strrchr(path, '/'), command[400];
    *slash = '\0'; /* what is left is a folder with a configuration; nobody else would take it away */
    snprintf(command, sizeof command, "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
}

/* A configuration that is named from where we stand, as `ssh -F` would take it. */
static void its_configuration_may_be_near(void **state)
{
    struct ssh_caller *c = *state;
    char before[500];
    sshd_start(c->site, "server", (struct sshd_options){0});
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(ssh_site_folder(c->site)), 0);
    const char *config = strrchr(ssh_site_config(c->site), '/') + 1;
    struct ssh_pool *pool = ssh_pool_new(
        c->loop, &(struct ssh_pool_options){
                     .environment = "test", .transport = SSH_TRANSPORT_SYSTEM, .config = config});
    struct ssh_host *host = ssh_pool_host(pool, "server", "server");
    ssh_host_want(host, true);
    bool up = ssh_caller_await(c, host, CONNECTION_UP, 30);
    assert_int_equal(chdir(before), 0);
    assert_true(up);
    ssh_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on(it_is_private_and_goes_with_the_pool, system),
        ssh_on(it_gets_none_of_our_files, system),
        ssh_on(it_crashes, system),
        ssh_on(the_console_crashes, system),
        ssh_on(its_configuration_may_be_near, system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
