/* Servers, keys and what clients know, made with the tools of OpenSSH in one folder. */
#include "tests/harness/sshd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/keeper.h"

#define SSHD_PROGRAM "/usr/sbin/sshd"

enum {
    SITE_KEYS = 32,
    SITE_HOSTS = 512,
    SITE_SERVERS = 64,
    SITE_AGENTS = 16,
    SSHD_FAMILY = 2048,
    SSHD_ASK_AGAIN_MS = 5,
};

struct sshd {
    struct ssh_site *site;
    char *folder, *home, *host_keys;
    int port;
    pid_t pid;
    bool password; /* PAM: needs the wrapper */
    bool nice;
};

struct ssh_site {
    char *folder, *config, *user;
    struct keeper *keeper;
    struct {
        char *name, *path;
    } keys[SITE_KEYS];
    struct {
        char *alias, *text, *known;
    } hosts[SITE_HOSTS];
    struct sshd *servers[SITE_SERVERS];
    struct {
        char *path;
        int listener; /* of one that hangs; -1 */
    } agents[SITE_AGENTS];
    int key_count, host_count, server_count, agent_count;
};

static void sshd_fail(const char *what, const char *detail)
{
    print_error("sshd: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

/* ---- small things ---- */

static char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

/* Appends, and frees both; the first may be NULL. */
static char *joined(char *first, char *second)
{
    char *both = text_of("%s%s", first ? first : "", second);
    free(first);
    free(second);
    return both;
}

/* A whole file, to free; "" when it cannot be read. */
static char *contents(const char *path)
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

static void put(const char *path, const char *mode, const char *text)
{
    FILE *file = fopen(path, mode);
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        sshd_fail(path, strerror(errno));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs a program to its end; its exit status (128 + signal). What it wrote, to free. */
static int run(const char *const argv[], char **output)
{
    FILE *file = tmpfile();
    if (!file)
        abort();
    fcntl(fileno(file), F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(file), 1);
    posix_spawn_file_actions_adddup2(&actions, fileno(file), 2);
    pid_t pid;
    int status = -1, error = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    while (error == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (error != 0)
        sshd_fail(argv[0], strerror(error));
    long length = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    *output = calloc(1, (size_t)length + 1);
    rewind(file);
    if (!*output || fread(*output, 1, (size_t)length, file) != (size_t)length)
        abort();
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void must_run(const char *const argv[])
{
    char *output;
    if (run(argv, &output) != 0)
        sshd_fail(argv[0], output);
    free(output);
}

/* Calls `each` with every word of a text. */
static void for_words(const char *words, void (*each)(void *data, const char *word), void *data)
{
    char *copy = strdup(words), *rest = copy, *word;
    while ((word = strsep(&rest, " ")))
        if (*word)
            each(data, word);
    free(copy);
}

static void make_key(const char *path, const char *type, const char *passphrase, const char *comment)
{
    must_run((const char *const[]){"ssh-keygen", "-q", "-t", type, "-b",
                                   strcmp(type, "ecdsa") == 0 ? "256" : "2048", "-N", passphrase, "-C",
                                   comment, "-f", path, NULL});
}

/* ---- the site ---- */

struct ssh_site *ssh_site_new(void)
{
    const char *base = getenv("TMPDIR");
    struct ssh_site *site = calloc(1, sizeof *site);
    struct passwd *user = getpwuid(getuid());
    if (!site || !user)
        abort();
    site->folder = text_of("%s/signalbox-sshd-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(site->folder))
        sshd_fail(site->folder, strerror(errno));
    site->keeper = keeper_start(site->folder);
    site->config = text_of("%s/ssh_config", site->folder);
    site->user = strdup(user->pw_name);
    put(site->config, "we", "");
    unsetenv("SSH_AUTH_SOCK");
    unsetenv("SSH_ASKPASS");
    if (access(SSHD_PROGRAM, X_OK) != 0)
        sshd_fail(SSHD_PROGRAM, "install openssh-server");
    /* what the package's start script does */
    if (getuid() == 0 && mkdir("/run/sshd", 0755) != 0 && errno != EEXIST)
        sshd_fail("/run/sshd", strerror(errno));
    return site;
}

void ssh_site_free(struct ssh_site *site)
{
    if (!site)
        return;
    for (int i = 0; i < site->key_count; i++) {
        free(site->keys[i].name);
        free(site->keys[i].path);
    }
    for (int i = 0; i < site->host_count; i++) {
        free(site->hosts[i].alias);
        free(site->hosts[i].text);
        free(site->hosts[i].known);
    }
    for (int i = 0; i < site->server_count; i++) {
        free(site->servers[i]->folder);
        free(site->servers[i]->home);
        free(site->servers[i]->host_keys);
        free(site->servers[i]);
    }
    for (int i = 0; i < site->agent_count; i++) {
        free(site->agents[i].path);
        if (site->agents[i].listener >= 0)
            close(site->agents[i].listener);
    }
    struct keeper *keeper = site->keeper;
    free(site->folder);
    free(site->config);
    free(site->user);
    free(site);
    keeper_free(keeper);
}

const char *ssh_site_folder(const struct ssh_site *site)
{
    return site->folder;
}

const char *ssh_site_config(const struct ssh_site *site)
{
    return site->config;
}

const char *ssh_site_key(struct ssh_site *site, const char *name)
{
    for (int i = 0; i < site->key_count; i++)
        if (strcmp(site->keys[i].name, name) == 0)
            return site->keys[i].path;
    if (site->key_count == SITE_KEYS)
        sshd_fail(name, "too many keys");
    char *path = text_of("%s/id_%s", site->folder, name);
    const char *type = strstr(name, "rsa") ? "rsa" : strstr(name, "ecdsa") ? "ecdsa" : "ed25519";
    make_key(path, type, strncmp(name, "locked", 6) == 0 ? SSH_SITE_PASSPHRASE : "", name);
    if (strncmp(name, "stranger", 8) != 0) {
        char *public = text_of("%s.pub", path), *line = contents(public);
        char *authorized = text_of("%s/authorized_keys", site->folder);
        put(authorized, "ae", line);
        free(authorized);
        free(line);
        free(public);
    }
    site->keys[site->key_count].name = strdup(name);
    site->keys[site->key_count++].path = path;
    return path;
}

/* ---- what clients know ---- */

struct words {
    struct ssh_site *site;
    const struct sshd *server;
    const char *marker, *pattern;
    char *text;
};

static void add_identity(void *data, const char *name)
{
    struct words *w = data;
    w->text = joined(w->text, text_of("    IdentityFile %s\n", ssh_site_key(w->site, name)));
}

static void write_config(const struct ssh_site *site)
{
    FILE *file = fopen(site->config, "we");
    if (!file)
        sshd_fail(site->config, strerror(errno));
    for (int i = 0; i < site->host_count; i++)
        fprintf(file, "Host %s\n%s", site->hosts[i].alias, site->hosts[i].text);
    fclose(file);
}

void ssh_site_host(struct ssh_site *site, const char *alias, struct ssh_entry entry)
{
    struct words identities = {.site = site};
    for_words(entry.keys ? entry.keys : "ed25519", add_identity, &identities);
    int at = 0;
    while (at < site->host_count && strcmp(site->hosts[at].alias, alias) != 0)
        at++;
    if (at == SITE_HOSTS)
        sshd_fail(alias, "too many hosts");
    if (at == site->host_count) {
        site->hosts[at].alias = strdup(alias);
        site->hosts[at].known = text_of("%s/known_hosts.%s", site->folder, alias);
        site->host_count++;
    }
    free(site->hosts[at].text);
    site->hosts[at].text = text_of("%s%s    HostName %s\n    Port %d\n    User %s\n%s"
                                   "    IdentitiesOnly %s\n    IdentityAgent none\n"
                                   "    UserKnownHostsFile %s\n    GlobalKnownHostsFile /dev/null\n",
                                   entry.lines ? entry.lines : "", entry.lines ? "\n" : "",
                                   entry.address ? entry.address : "127.0.0.1",
                                   entry.port ? entry.port : sshd_port(entry.server), site->user,
                                   identities.text ? identities.text : "    IdentityFile /dev/null\n",
                                   identities.text ? "yes" : "no", site->hosts[at].known);
    free(identities.text);
    char *pattern = text_of("[%s]:%d", entry.address ? entry.address : "127.0.0.1", entry.port);
    char *known = entry.known                  ? strdup(entry.known)
                  : entry.server && entry.port ? sshd_known_lines(entry.server, NULL, pattern, NULL)
                  : entry.server               ? sshd_known_lines(entry.server, NULL, NULL, NULL)
                                               : strdup("");
    put(site->hosts[at].known, "we", known);
    free(known);
    free(pattern);
    write_config(site);
}

const char *ssh_site_known_file(const struct ssh_site *site, const char *alias)
{
    for (int i = 0; i < site->host_count; i++)
        if (strcmp(site->hosts[i].alias, alias) == 0)
            return site->hosts[i].known;
    sshd_fail(alias, "there is no such Host entry");
    return NULL;
}

char *ssh_site_known(const struct ssh_site *site, const char *alias)
{
    return contents(ssh_site_known_file(site, alias));
}

static void add_known_line(void *data, const char *type)
{
    struct words *w = data;
    char *path = text_of("%s/host_%s.pub", w->server->folder, type), *key = contents(path);
    w->text = joined(w->text,
                     text_of("%s%s%s %s", w->marker ? w->marker : "", w->marker ? " " : "", w->pattern, key));
    free(key);
    free(path);
}

char *sshd_known_lines(const struct sshd *s, const char *marker, const char *pattern, const char *types)
{
    char *own = text_of("[127.0.0.1]:%d", s->port);
    struct words w = {.server = s, .marker = marker, .pattern = pattern ? pattern : own};
    for_words(types ? types : s->host_keys, add_known_line, &w);
    free(own);
    return w.text ? w.text : strdup("");
}

char *sshd_hashed_lines(const struct sshd *s, const char *pattern, const char *types)
{
    char *lines = sshd_known_lines(s, NULL, pattern, types);
    char *path = text_of("%s/to_hash", s->folder);
    put(path, "we", lines);
    must_run((const char *const[]){"ssh-keygen", "-H", "-f", path, NULL});
    free(lines);
    lines = contents(path);
    free(path);
    return lines;
}

/* The authority's key, made when it is first asked for; to free. */
static char *authority(struct ssh_site *site)
{
    char *path = text_of("%s/authority", site->folder);
    if (access(path, F_OK) != 0)
        make_key(path, "ed25519", "", "authority");
    return path;
}

char *ssh_site_authority_line(struct ssh_site *site, const char *pattern)
{
    char *path = joined(authority(site), strdup(".pub")), *key = contents(path);
    char *line = text_of("@cert-authority %s %s", pattern, key);
    free(key);
    free(path);
    return line;
}

/* ---- servers ---- */

static void make_host_key(void *data, const char *type)
{
    const struct sshd *s = data;
    char *path = text_of("%s/host_%s", s->folder, type), *comment = text_of("host %s", type);
    char *public = text_of("%s.pub", path);
    unlink(path);
    unlink(public);
    make_key(path, type, "", comment);
    free(public);
    free(comment);
    free(path);
}

static void add_host_key(void *data, const char *type)
{
    struct words *w = data;
    w->text = joined(w->text, text_of("HostKey %s/host_%s\n", w->server->folder, type));
}

/* HostCertificate for the first host key; to free. */
static char *certificate_line(struct sshd *s)
{
    char *first = strndup(s->host_keys, strcspn(s->host_keys, " "));
    char *key = text_of("%s/host_%s.pub", s->folder, first), *signer = authority(s->site);
    must_run((const char *const[]){"ssh-keygen", "-q", "-s", signer, "-I", "host", "-h", "-V",
                                   "always:forever", key, NULL});
    char *line = text_of("HostCertificate %s/host_%s-cert.pub\n", s->folder, first);
    free(signer);
    free(key);
    free(first);
    return line;
}

/* PAM as libpam-wrapper lets it be: services in a folder, passwords in a file. Prompts come from pam_matrix.
 */
static void write_pam(const struct sshd *s, const char *password)
{
    char *folder = text_of("%s/pam", s->folder), *service = text_of("%s/sshd", folder);
    char *passwords = text_of("%s/passwords", folder),
         *line = text_of("%s:%s:sshd\n", s->site->user, password);
    glob_t found;
    if (glob("/usr/lib/*/pam_wrapper/pam_matrix.so", 0, NULL, &found) != 0)
        sshd_fail("pam_matrix.so", "install libpam-wrapper");
    char *module = text_of("auth required %s passdb=%s\naccount required %s passdb=%s\n"
                           "session required pam_permit.so\n",
                           found.gl_pathv[0], passwords, found.gl_pathv[0], passwords);
    globfree(&found);
    if (mkdir(folder, 0700) != 0)
        sshd_fail(folder, strerror(errno));
    put(passwords, "we", line);
    put(service, "we", module);
    free(module);
    free(line);
    free(passwords);
    free(service);
    free(folder);
}

static void write_server_config(struct sshd *s, const struct sshd_options *options)
{
    struct words keys = {.server = s};
    for_words(s->host_keys, add_host_key, &keys);
    char *path = text_of("%s/sshd_config", s->folder);
    char *certificate = options->certificate ? certificate_line(s) : strdup("");
    char *text = text_of("%s\n%s%s"
                         "%s"
                         "UsePAM no\nKbdInteractiveAuthentication no\nPasswordAuthentication no\n"
                         "ListenAddress 127.0.0.1\nPidFile %s/pid\nAuthorizedKeysFile %s/authorized_keys\n"
                         "StrictModes no\nPermitRootLogin yes\nUseDNS no\nPrintMotd no\nPrintLastLog no\n"
                         "LogLevel VERBOSE\nSetEnv HOME=%s\n",
                         options->lines ? options->lines : "", keys.text, certificate,
                         s->password ? "UsePAM yes\nKbdInteractiveAuthentication yes\n"
                                       "AuthenticationMethods keyboard-interactive\n"
                                     : "",
                         s->folder, s->site->folder, s->home);
    put(path, "we", text);
    free(text);
    free(certificate);
    free(path);
    free(keys.text);
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        sshd_fail("a free port", strerror(errno));
    close(listener);
    return ntohs(address.sin_port);
}

/* Starts it and waits until it listens, which is when it writes its pid. False: it ended. */
static bool sshd_try(struct sshd *s)
{
    char *config = text_of("%s/sshd_config", s->folder), *log = text_of("%s/log", s->folder);
    char *pid_file = text_of("%s/pid", s->folder), *port = text_of("Port=%d", s->port);
    char *services = text_of("PAM_WRAPPER_SERVICE_DIR=%s/pam", s->folder);
    const char *const plain[] = {
        "nice", "-n", s->nice ? "10" : "0", SSHD_PROGRAM, "-D", "-e", "-f", config, "-o", port, NULL};
    const char *const with_pam[] = {"env",
                                    "LD_PRELOAD=libpam_wrapper.so",
                                    "PAM_WRAPPER=1",
                                    services,
                                    SSHD_PROGRAM,
                                    "-D",
                                    "-e",
                                    "-f",
                                    config,
                                    "-o",
                                    port,
                                    NULL};
    double deadline = now() + 20;
    struct stat found;
    unlink(pid_file);
    s->pid = keeper_run(s->site->keeper, s->password ? with_pam : plain, log);
    bool listens = false;
    while (!listens && kill(s->pid, 0) == 0 && now() < deadline) {
        poll(NULL, 0, SSHD_ASK_AGAIN_MS);
        listens = stat(pid_file, &found) == 0 && found.st_size > 0;
    }
    free(services);
    free(port);
    free(pid_file);
    free(log);
    free(config);
    return listens;
}

static void sshd_run(struct sshd *s, bool any_port)
{
    /* somebody else may take the port in between */
    for (int i = 0; i < (any_port ? 5 : 1); i++) {
        if (any_port)
            s->port = free_port();
        if (sshd_try(s))
            return;
    }
    char *log = sshd_log(s);
    sshd_fail("it does not start", log);
}

struct sshd *sshd_start(struct ssh_site *site, const char *name, struct sshd_options options)
{
    struct sshd *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    if (site->server_count == SITE_SERVERS)
        sshd_fail(name, "too many servers");
    site->servers[site->server_count++] = s;
    s->site = site;
    s->folder = text_of("%s/%s", site->folder, name);
    s->home = text_of("%s/home", s->folder);
    s->host_keys = strdup(options.host_keys ? options.host_keys : "ed25519 ecdsa");
    s->password = options.password != NULL;
    s->nice = options.nice;
    if (mkdir(s->folder, 0700) != 0 || mkdir(s->home, 0700) != 0)
        sshd_fail(s->folder, strerror(errno));
    if (options.bashrc) {
        char *path = text_of("%s/.bashrc", s->home);
        put(path, "we", options.bashrc);
        free(path);
    }
    if (options.password)
        write_pam(s, options.password);
    for_words(s->host_keys, make_host_key, s);
    write_server_config(s, &options);
    sshd_run(s, true);
    ssh_site_host(site, name, (struct ssh_entry){.server = s});
    return s;
}

int sshd_port(const struct sshd *s)
{
    return s ? s->port : 0;
}

pid_t sshd_pid(const struct sshd *s)
{
    return s->pid;
}

const char *sshd_home(const struct sshd *s)
{
    return s->home;
}

char *sshd_fingerprint(const struct sshd *s, const char *type)
{
    char *path = text_of("%s/host_%s.pub", s->folder, type), *output, *end = NULL;
    if (run((const char *const[]){"ssh-keygen", "-l", "-f", path, NULL}, &output) != 0)
        sshd_fail("ssh-keygen", output);
    char *begin = strstr(output, "SHA256:");
    char *fingerprint = begin ? strndup(begin, strcspn(begin, " ")) : end;
    free(output);
    free(path);
    return fingerprint;
}

char *sshd_log(const struct sshd *s)
{
    char *path = text_of("%s/log", s->folder), *log = contents(path);
    free(path);
    return log;
}

int sshd_logged(const struct sshd *s, const char *text)
{
    char *log = sshd_log(s);
    int count = 0;
    for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
        count++;
    free(log);
    return count;
}

bool sshd_await_logged(const struct sshd *s, double seconds, const char *text, int times)
{
    double deadline = now() + seconds;
    while (sshd_logged(s, text) < times) {
        if (now() >= deadline)
            return false;
        poll(NULL, 0, SSHD_ASK_AGAIN_MS);
    }
    return true;
}

/* ---- their processes ---- */

static bool is_sshd(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    char *name = contents(path);
    bool is = strncmp(name, "sshd", 4) == 0; /* "sshd-session" of OpenSSH 9.8 too */
    free(name);
    return is;
}

/* Signals the sshd processes below the listener. */
static void signal_sessions(const struct sshd *s, int number)
{
    pid_t family[SSHD_FAMILY];
    size_t count = keeper_family(s->site->keeper, s->pid, family, SSHD_FAMILY);
    for (size_t i = 0; i < count; i++)
        if (is_sshd(family[i]))
            kill(family[i], number);
}

int sshd_connections(const struct sshd *s)
{
    pid_t family[SSHD_FAMILY];
    size_t count = keeper_family(s->site->keeper, s->pid, family, SSHD_FAMILY);
    int connections = 0;
    for (size_t i = 0; i < count; i++)
        connections += keeper_parent(family[i]) == s->pid;
    return connections;
}

void sshd_pause(struct sshd *s)
{
    kill(s->pid, SIGSTOP); /* first: it must not start sessions meanwhile */
    signal_sessions(s, SIGSTOP);
}

void sshd_resume(struct sshd *s)
{
    signal_sessions(s, SIGCONT);
    kill(s->pid, SIGCONT);
}

void sshd_kill_sessions(struct sshd *s)
{
    signal_sessions(s, SIGKILL);
}

void sshd_halt(struct sshd *s)
{
    kill(s->pid, SIGSTOP);
    signal_sessions(s, SIGKILL);
    kill(s->pid, SIGKILL);
    for (double deadline = now() + 10; kill(s->pid, 0) == 0 && now() < deadline;)
        poll(NULL, 0, SSHD_ASK_AGAIN_MS);
}

void sshd_again(struct sshd *s)
{
    sshd_run(s, false);
}

void sshd_new_host_keys(struct sshd *s)
{
    sshd_halt(s);
    for_words(s->host_keys, make_host_key, s);
    sshd_again(s);
}

/* ---- agents ---- */

static void add_to_agent(void *data, const char *name)
{
    struct words *w = data;
    char *socket = text_of("SSH_AUTH_SOCK=%s", w->text), *asking = text_of("SSH_ASKPASS=%s", w->pattern);
    must_run((const char *const[]){"env", socket, asking, "SSH_ASKPASS_REQUIRE=force", "ssh-add", "-q",
                                   ssh_site_key(w->site, name), NULL});
    free(asking);
    free(socket);
}

static char *new_agent_path(struct ssh_site *site)
{
    if (site->agent_count == SITE_AGENTS)
        sshd_fail("agent", "too many agents");
    char *path = text_of("%s/agent.%d", site->folder, site->agent_count);
    site->agents[site->agent_count].listener = -1;
    site->agents[site->agent_count++].path = path;
    return path;
}

/* Somebody listens on the socket: between its making and that there is a moment. */
static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    bool listens = connect(client, (struct sockaddr *)&address, sizeof address) == 0;
    close(client);
    return listens;
}

const char *ssh_site_agent(struct ssh_site *site, const char *keys)
{
    char *path = new_agent_path(site), *asking = text_of("%s/askpass", site->folder);
    put(asking, "we", "#!/bin/sh\necho '" SSH_SITE_PASSPHRASE "'\n");
    chmod(asking, 0700);
    keeper_run(site->keeper, (const char *const[]){"ssh-agent", "-D", "-a", path, NULL}, NULL);
    for (double deadline = now() + 10; !answers(path);) {
        if (now() > deadline)
            sshd_fail("ssh-agent", "it does not start");
        poll(NULL, 0, SSHD_ASK_AGAIN_MS);
    }
    struct words w = {.site = site, .text = path, .pattern = asking};
    for_words(keys, add_to_agent, &w);
    free(asking);
    return path;
}

const char *ssh_site_hung_agent(struct ssh_site *site)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *path = new_agent_path(site);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 16) != 0)
        sshd_fail(path, strerror(errno));
    site->agents[site->agent_count - 1].listener = listener;
    return path;
}

/* ---- the system's ssh ---- */

int ssh_site_ssh(struct ssh_site *site, const char *alias, const char *command, char **output)
{
    char *text;
    int status = run((const char *const[]){"ssh", "-F", site->config, "-o", "BatchMode=yes", "-o",
                                           "StrictHostKeyChecking=yes", alias, command, NULL},
                     &text);
    if (output)
        *output = text;
    else
        free(text);
    return status;
}
