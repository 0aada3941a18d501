/* Starting redis-server and asking it, with hiredis' blocking calls. */
#include "tests/harness/redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/keeper.h"

enum { ASK_AGAIN_MS = 10 };
#define START_S 20.0

struct redis_box {
    char *folder, *config, *socket, *log, *password;
    int port;
    bool sentinel;
    struct keeper *keeper;
    pid_t pid;
};

static void box_fail(const char *what, const char *detail)
{
    print_error("redis: %s: %s\n", what, detail);
    _fail(__FILE__, __LINE__);
}

static double box_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *text, ...)
{
    char *made;
    va_list arguments;
    va_start(arguments, text);
    int length = vasprintf(&made, text, arguments);
    va_end(arguments);
    return length < 0 ? must(NULL) : made;
}

/* Two at once, so that they differ. */
static void free_ports(int ports[2])
{
    int fds[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&address, sizeof address) != 0 ||
            getsockname(fds[i], (struct sockaddr *)&address, &size) != 0)
            box_fail("no free port", strerror(errno));
        ports[i] = ntohs(address.sin_port);
    }
    close(fds[0]);
    close(fds[1]);
}

/* ---- asking ---- */

static redisContext *box_connect(struct redis_box *r)
{
    struct timeval timeout = {.tv_sec = 10};
    redisContext *context = redisConnectUnixWithTimeout(r->socket, timeout);
    if (context && context->err) {
        redisFree(context);
        return NULL;
    }
    if (context)
        redisSetTimeout(context, timeout);
    if (context && r->password)
        freeReplyObject(redisCommand(context, "AUTH %s", r->password));
    return context;
}

static void print_reply(FILE *output, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        fprintf(output, "%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        fputs("(nil)", output);
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++) {
            if (i)
                fputc('\n', output);
            print_reply(output, reply->element[i]);
        }
        break;
    default:
        fwrite(reply->str, 1, reply->len, output);
    }
}

/* NULL: it does not answer. */
static char *box_try(struct redis_box *r, int database, int count, const char *const words[],
                     const size_t lengths[])
{
    redisContext *context = box_connect(r);
    char *text = NULL;
    size_t size;
    if (!context)
        return NULL;
    if (database)
        freeReplyObject(redisCommand(context, "SELECT %d", database));
    redisReply *reply = redisCommandArgv(context, count, (const char **)words, lengths);
    if (reply) {
        FILE *output = must(open_memstream(&text, &size));
        print_reply(output, reply);
        fclose(output);
        freeReplyObject(reply);
    }
    redisFree(context);
    return text;
}

char *redis_box_send(struct redis_box *r, int database, int count, const char *const words[],
                     const size_t lengths[])
{
    char *text = box_try(r, database, count, words, lengths);
    if (!text)
        box_fail(words[0], "no answer");
    return text;
}

static int count_words(const char *const words[])
{
    int count = 0;
    while (words[count])
        count++;
    return count;
}

char *redis_box_ask_words_in(struct redis_box *r, int database, const char *const words[])
{
    return redis_box_send(r, database, count_words(words), words, NULL);
}

char *redis_box_ask_words(struct redis_box *r, const char *const words[])
{
    return redis_box_ask_words_in(r, 0, words);
}

/* Errors begin with a word of capitals. */
static bool is_error(const char *text)
{
    size_t letters = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return letters > 2 && text[letters] == ' ';
}

void redis_box_do_words(struct redis_box *r, const char *const words[])
{
    char *text = redis_box_ask_words(r, words);
    if (is_error(text))
        box_fail(words[0], text);
    free(text);
}

bool redis_box_await_words(struct redis_box *r, double seconds, const char *expected,
                           const char *const words[])
{
    double end = box_clock() + seconds;
    for (;;) {
        char *text = box_try(r, 0, count_words(words), words, NULL);
        bool equal = text && strcmp(text, expected) == 0;
        free(text);
        if (equal || box_clock() > end)
            return equal;
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

/* Until a part stands in the reply. */
static bool await_part(struct redis_box *r, double seconds, const char *part, const char *const words[])
{
    double end = box_clock() + seconds;
    for (;;) {
        char *text = box_try(r, 0, count_words(words), words, NULL);
        bool there = text && strstr(text, part);
        free(text);
        if (there || box_clock() > end)
            return there;
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

/* ---- starting ---- */

static char *read_log(const struct redis_box *r)
{
    static char text[3000];
    FILE *file = fopen(r->log, "re");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = '\0';
    if (file)
        fclose(file);
    return text;
}

/* False: it ended by itself (a port that somebody else took). */
static bool box_run(struct redis_box *r)
{
    const char *const argv[] = {"redis-server", r->config, r->sentinel ? "--sentinel" : NULL, NULL};
    const char *const ping[] = {"PING", NULL};
    double end = box_clock() + START_S;
    unlink(r->socket);
    r->pid = keeper_run(r->keeper, argv, r->log);
    while (box_clock() < end) {
        char *text = box_try(r, 0, 1, ping, NULL);
        bool answers = text != NULL;
        free(text);
        if (answers)
            return true;
        if (kill(r->pid, 0) != 0)
            return false;
        poll(NULL, 0, ASK_AGAIN_MS);
    }
    box_fail("it does not answer", read_log(r));
    return false;
}

static void write_config(const struct redis_box *r, int bus, const char *lines)
{
    FILE *file = fopen(r->config, "we");
    if (!file)
        box_fail(r->config, strerror(errno));
    fprintf(file, "bind 127.0.0.1\nport %d\nunixsocket %s\nunixsocketperm 700\ndir %s\n", r->port, r->socket,
            r->folder);
    if (!r->sentinel)
        fprintf(file,
                "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n"
                "user sb_act on >act %s\n",
                REDIS_BOX_ACT_RULES);
    if (lines && strstr(lines, "cluster-enabled yes"))
        fprintf(file, "cluster-port %d\ncluster-node-timeout 2000\n", bus);
    fputs(lines ? lines : "", file);
    fclose(file);
}

/* "requirepass WORD" among the lines, to free; or NULL. */
static char *find_password(const char *lines)
{
    const char *at = lines ? strstr(lines, "requirepass ") : NULL;
    return at ? must(strndup(at + 12, strcspn(at + 12, "\n"))) : NULL;
}

static struct redis_box *box_start(const char *lines, bool sentinel)
{
    const char *base = getenv("TMPDIR");
    struct redis_box *r = must(calloc(1, sizeof *r));
    int ports[2];
    r->folder = format("%s/signalbox-redis-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(r->folder))
        box_fail(r->folder, strerror(errno));
    r->config = format("%s/redis.conf", r->folder);
    r->socket = format("%s/redis.sock", r->folder);
    r->log = format("%s/log", r->folder);
    r->sentinel = sentinel;
    r->password = find_password(lines);
    r->keeper = keeper_start(r->folder);
    for (int i = 0; i < 5; i++) {
        free_ports(ports);
        r->port = ports[0];
        write_config(r, ports[1], lines);
        if (box_run(r))
            return r;
    }
    box_fail("it does not start", read_log(r));
    return r;
}

struct redis_box *redis_box_start(const char *config)
{
    return box_start(config, false);
}

struct redis_box *redis_box_replica(const struct redis_box *master, const char *config)
{
    char *lines =
        format("replicaof 127.0.0.1 %d\n%s%s%s%s", master->port, master->password ? "masterauth " : "",
               master->password ? master->password : "", master->password ? "\n" : "", config ? config : "");
    struct redis_box *r = redis_box_start(lines);
    free(lines);
    if (!await_part(r, START_S, "master_link_status:up", (const char *const[]){"INFO", "replication", NULL}))
        box_fail("the replica does not follow", read_log(r));
    return r;
}

struct redis_box *redis_box_sentinel(const struct redis_box *master, const char *name, size_t replicas)
{
    char *lines = format("sentinel monitor %s 127.0.0.1 %d 1\nsentinel down-after-milliseconds %s 1000\n"
                         "sentinel failover-timeout %s 5000\n%s%s%s%s%s",
                         name, master->port, name, name, master->password ? "sentinel auth-pass " : "",
                         master->password ? name : "", master->password ? " " : "",
                         master->password ? master->password : "", master->password ? "\n" : "");
    char *expected = format("num-slaves\n%zu\n", replicas);
    struct redis_box *r = box_start(lines, true);
    if (!await_part(r, START_S, expected, (const char *const[]){"SENTINEL", "MASTER", name, NULL}))
        box_fail("the Sentinel does not find the replicas", read_log(r));
    free(lines);
    free(expected);
    return r;
}

void redis_box_cluster(struct redis_box *nodes[], size_t count, const char *config)
{
    char *lines = format("cluster-enabled yes\ncluster-config-file nodes.conf\n%s", config ? config : "");
    for (size_t i = 0; i < count; i++)
        nodes[i] = redis_box_start(lines);
    free(lines);
    for (size_t i = 0; i < count; i++) {
        char first[24], last[24], port[16], bus[16];
        snprintf(first, sizeof first, "%zu", i * 16384 / count);
        snprintf(last, sizeof last, "%zu", (i + 1) * 16384 / count - 1);
        redis_box_do(nodes[i], "CLUSTER", "ADDSLOTSRANGE", first, last);
        char *setting = redis_box_ask(nodes[i], "CONFIG", "GET", "cluster-port");
        snprintf(port, sizeof port, "%d", nodes[i]->port);
        snprintf(bus, sizeof bus, "%s", strchr(setting, '\n') + 1);
        free(setting);
        snprintf(first, sizeof first, "%zu", i + 1);
        redis_box_do(nodes[i], "CLUSTER", "SET-CONFIG-EPOCH", first);
        if (i)
            redis_box_do(nodes[0], "CLUSTER", "MEET", "127.0.0.1", port, bus);
    }
    char *known = format("cluster_known_nodes:%zu", count);
    for (size_t i = 0; i < count; i++)
        if (!await_part(nodes[i], START_S, "cluster_state:ok",
                        (const char *const[]){"CLUSTER", "INFO", NULL}) ||
            !await_part(nodes[i], START_S, known, (const char *const[]){"CLUSTER", "INFO", NULL}))
            box_fail("the Cluster does not come together", read_log(nodes[i]));
    free(known);
}

struct redis_box *redis_box_cluster_replica(struct redis_box *nodes[], size_t count, size_t of)
{
    struct redis_box *r = redis_box_start("cluster-enabled yes\ncluster-config-file nodes.conf\n"
                                          "cluster-replica-validity-factor 0\n");
    char port[16], *known = format("cluster_known_nodes:%zu", count + 1);
    char *setting = redis_box_ask(nodes[0], "CONFIG", "GET", "cluster-port");
    char *master = redis_box_ask(nodes[of], "CLUSTER", "MYID");
    const char *const info[] = {"CLUSTER", "INFO", NULL}, *const list[] = {"CLUSTER", "NODES", NULL};
    snprintf(port, sizeof port, "%d", nodes[0]->port);
    redis_box_do(r, "CLUSTER", "MEET", "127.0.0.1", port, strchr(setting, '\n') + 1);
    if (!await_part(r, START_S, known, info))
        box_fail("the replica does not meet the Cluster", read_log(r));
    redis_box_do(r, "CLUSTER", "REPLICATE", master);
    char *follows = format("slave %s", master);
    bool met =
        await_part(r, START_S, "master_link_status:up", (const char *const[]){"INFO", "replication", NULL});
    for (size_t i = 0; i < count; i++)
        met = met && await_part(nodes[i], START_S, follows, list);
    if (!met)
        box_fail("the replica does not follow", read_log(r));
    free(follows);
    free(known);
    free(setting);
    free(master);
    return r;
}

void redis_box_free(struct redis_box *r)
{
    if (!r)
        return;
    keeper_free(r->keeper);
    free(r->folder);
    free(r->config);
    free(r->socket);
    free(r->log);
    free(r->password);
    free(r);
}

int redis_box_port(const struct redis_box *r)
{
    return r->port;
}

const char *redis_box_socket(const struct redis_box *r)
{
    return r->socket;
}

const char *redis_box_folder(const struct redis_box *r)
{
    return r->folder;
}

pid_t redis_box_pid(const struct redis_box *r)
{
    return r->pid;
}

char *redis_box_url(const struct redis_box *r, int database, const char *login)
{
    return format("redis://%s%s127.0.0.1:%d/%d", login ? login : "", login ? "@" : "", r->port, database);
}

char *redis_box_socket_url(const struct redis_box *r, int database, const char *login)
{
    return format("unix://%s%s%s?db=%d", login ? login : "", login ? "@" : "", r->socket, database);
}

/* ---- faults ---- */

void redis_box_pause(struct redis_box *r)
{
    if (kill(r->pid, SIGSTOP) != 0)
        box_fail("SIGSTOP", strerror(errno));
}

void redis_box_resume(struct redis_box *r)
{
    if (kill(r->pid, SIGCONT) != 0)
        box_fail("SIGCONT", strerror(errno));
}

static void box_end(struct redis_box *r, int signal_number)
{
    double end = box_clock() + START_S;
    if (kill(r->pid, signal_number) != 0 && signal_number)
        box_fail("it is not running", strerror(errno));
    while (kill(r->pid, 0) == 0 && box_clock() < end)
        poll(NULL, 0, 2);
    if (kill(r->pid, 0) == 0)
        box_fail("it does not end", r->folder);
}

void redis_box_kill(struct redis_box *r)
{
    box_end(r, SIGKILL);
}

void redis_box_halt(struct redis_box *r)
{
    free(box_try(r, 0, 2, (const char *const[]){"SHUTDOWN", "NOSAVE"}, NULL));
    box_end(r, 0);
}

void redis_box_again(struct redis_box *r)
{
    if (!box_run(r))
        box_fail("it does not start again", read_log(r));
}
