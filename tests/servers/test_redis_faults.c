/* What may go wrong between the console and Redis: each fault is told, and watching comes back by itself. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/redis_watch.h"
#include "tests/harness/sshd.h"

static void expect_error(struct redis_watch *w, enum error_kind kind, const char *part)
{
    const struct error *error = redis_server_error(w->server);
    char text[1200];
    error_format(error, text, sizeof text);
    if (error->kind != kind || !strstr(text, part))
        fail_msg("%s: %s instead of %s with \"%s\"", error_kind_name(error->kind), text,
                 error_kind_name(kind), part);
}

/* ---- a server that says what it is told to ---- */

struct fake {
    struct loop *loop;
    ev_io listener, client[8];
    int port;
    const char *ping, *other; /* how it answers; INFO is always answered */
    char input[8][4096];
    size_t length[8];
    bool raw; /* `other` at once, whatever comes */
};

static void fake_answer(struct fake *fake, int fd, const char *name)
{
    static const char info[] = "$40\r\nredis_version:7.9.9\r\nredis_mode:standalo\r\n";
    const char *text = strcmp(name, "INFO") == 0     ? info
                       : strcmp(name, "PING") == 0   ? fake->ping
                       : strcmp(name, "CLIENT") == 0 ? "+OK\r\n"
                       : strcmp(name, "ROLE") == 0   ? "*1\r\n$6\r\nmaster\r\n"
                                                     : fake->other;
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* One command of words that hold no line ends, from the front of the input. False: not whole yet. */
static bool fake_take(struct fake *fake, int index, int fd)
{
    char *input = fake->input[index], name[32] = "", *at = input;
    int words = 0;
    if (sscanf(input, "*%d\r\n", &words) != 1 || !(at = strstr(at, "\r\n")))
        return false;
    at += 2;
    for (int i = 0; i < words; i++) {
        char *line = strstr(at, "\r\n"), *end = line ? strstr(line + 2, "\r\n") : NULL;
        if (!end)
            return false;
        if (i == 0)
            snprintf(name, sizeof name, "%.*s", (int)(end - line - 2), line + 2);
        at = end + 2;
    }
    fake->length[index] -= (size_t)(at - input);
    memmove(input, at, fake->length[index] + 1);
    fake_answer(fake, fd, name);
    return true;
}

static void fake_read(struct ev_loop *ev, ev_io *io, int events)
{
    struct fake *fake = io->data;
    int index = (int)(io - fake->client);
    size_t *length = &fake->length[index];
    (void)events;
    ssize_t more = read(io->fd, fake->input[index] + *length, sizeof fake->input[index] - 1 - *length);
    if (more <= 0) {
        ev_io_stop(ev, io);
        close(io->fd);
        *length = 0;
        return;
    }
    *length += (size_t)more;
    fake->input[index][*length] = '\0';
    if (fake->raw) {
        assert_true(send(io->fd, fake->other, strlen(fake->other), MSG_NOSIGNAL) > 0);
        *length = 0;
        return;
    }
    while (fake_take(fake, index, io->fd))
        ;
}

static void fake_accept(struct ev_loop *ev, ev_io *io, int events)
{
    struct fake *fake = io->data;
    (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < 8; i++)
        if (!ev_is_active(&fake->client[i])) {
            ev_io_init(&fake->client[i], fake_read, fd, EV_READ);
            fake->client[i].data = fake;
            ev_io_start(ev, &fake->client[i]);
            return;
        }
    fail_msg("too many connections");
}

static char *fake_start(struct fake *fake, struct loop *loop)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char *url;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    fake->port = ntohs(address.sin_port);
    fake->loop = loop;
    ev_io_init(&fake->listener, fake_accept, fd, EV_READ);
    fake->listener.data = fake;
    ev_io_start(loop_ev(loop), &fake->listener);
    return asprintf(&url, "redis://127.0.0.1:%d", fake->port) < 0 ? NULL : url;
}

static void fake_stop(struct fake *fake)
{
    ev_io_stop(loop_ev(fake->loop), &fake->listener);
    close(fake->listener.fd);
    for (int i = 0; i < 8; i++)
        if (ev_is_active(&fake->client[i])) {
            ev_io_stop(loop_ev(fake->loop), &fake->client[i]);
            close(fake->client[i].fd);
        }
}

/* Errors that say: not now. */
static void test_not_now(void **state)
{
    static const struct {
        const char *answer;
        enum error_kind kind;
        const char *part;
    } cases[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", ERROR_REFUSED, "loading"},
        {"-MASTERDOWN Link with MASTER is down\r\n", ERROR_REFUSED, "master"},
        {"-BUSY Redis is busy running a script.\r\n", ERROR_REFUSED, "SCRIPT KILL"},
        {"-MISCONF Errors writing to the AOF file\r\n", ERROR_SERVER, "disk"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_watch w = {.loop = loop_new()};
        struct fake fake = {.ping = cases[i].answer, .other = cases[i].answer};
        char *url = fake_start(&fake, w.loop);
        redis_watch_start(&w, url, NULL, NULL, NULL);
        assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
        expect_error(&w, cases[i].kind, cases[i].part);
        assert_true(redis_server_pace(w.server) > 0.1);
        fake.ping = "+PONG\r\n";
        assert_true(redis_watch_until(&w, 5, redis_watch_is_up)); /* it is over */
        redis_watch_expect(&w, cases[i].kind == ERROR_REFUSED ? "! refused" : "! server", "LLEN", "q");
        fake_stop(&fake);
        redis_watch_end(&w);
        free(url);
    }
}

/* What writing is answered with. */
static void test_writing_refused(void **state)
{
    static const char *const answers[][2] = {
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "! server: OOM"},
        {"-READONLY You can't write against a read only replica.\r\n", "! server: READONLY"},
        {"-NOREPLICAS Not enough good replicas to write.\r\n", "! refused: NOREPLICAS"},
        {"-EXECABORT Transaction discarded because of previous errors.\r\n", "! server: EXECABORT"},
    };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct redis_watch w = {.loop = loop_new()};
        struct fake fake = {.ping = "+PONG\r\n", .other = answers[i][0]};
        char *url = fake_start(&fake, w.loop);
        redis_watch_start(&w, url, url, NULL, NULL);
        redis_server_unlock(w.server);
        assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
        char *text = redis_watch_act(&w, "LPUSH", "q", "x");
        assert_memory_equal(text, answers[i][1], strlen(answers[i][1]));
        free(text);
        fake_stop(&fake);
        redis_watch_end(&w);
        free(url);
    }
}

/* Another server, or one that has lost its mind. */
static void test_no_redis(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "*-5\r\n",
                                          "$99999999999999999999\r\n",
                                          ":12x\r\n",
                                          "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
                                          "\r\n\r\n",
                                          "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct redis_watch w = {.loop = loop_new()};
        struct fake fake = {.raw = true, .other = answers[i]};
        char *url = fake_start(&fake, w.loop);
        redis_watch_start(&w, url, NULL, NULL, NULL);
        assert_true(redis_watch_until(&w, 7, redis_watch_is_down));
        if (i == 0)
            expect_error(&w, ERROR_SERVER, "not a Redis server");
        fake_stop(&fake);
        redis_watch_end(&w);
        free(url);
    }
}

/* ---- the way ---- */

static void test_nobody_there(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    redis_watch_start(&w, "redis://127.0.0.1:1", NULL, NULL, NULL);
    redis_watch_expect(&w, "! refused", "PING");
    expect_error(&w, ERROR_REFUSED, "127.0.0.1:1");
    redis_watch_expect(&w, "! refused", "PING"); /* at once, while it is down */
    redis_watch_end(&w);
    redis_watch_start(&w, "redis://no-such-host.invalid", NULL, NULL, NULL);
    redis_watch_expect(&w, "! name", "PING");
    redis_watch_end(&w);
    redis_watch_start(&w, "unix:///nowhere/redis.sock", NULL, NULL, NULL);
    redis_watch_expect(&w, "! refused", "PING");
    redis_watch_end(&w);
    redis_watch_start(&w, "rediss://127.0.0.1:1", NULL, NULL, NULL);
    char *text = redis_watch_ask_words(&w, false, (const char *const[]){"PING", NULL});
    assert_non_null(strstr(text, "! "));
    free(text);
    redis_watch_end(&w);
    redis_watch_start(&w, "redis://127.0.0.1:1", NULL, NULL, "bastion");
    redis_watch_expect(&w, "! unsupported: there is no SSH", "PING");
    redis_watch_end(&w);
}

/* The second of the hosts is there. */
static void test_several_hosts(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    char *url;
    struct redis_box *r = redis_box_start(NULL);
    assert_true(asprintf(&url, "redis://127.0.0.1:1,127.0.0.1:%d/0", redis_box_port(r)) > 0);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
}

static bool is_slow(void *data)
{
    struct redis_watch *w = data;
    double usual, ping = redis_server_ping(w->server, &usual);
    return ping > 0.1 && redis_server_pace(w->server) > 0.05;
}

static void test_slow_and_cut_lines(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start(NULL);
    struct proxy *proxy = proxy_start(redis_box_port(r));
    char *url;
    assert_true(asprintf(&url, "redis://127.0.0.1:%d", proxy_port(proxy)) > 0);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
    proxy_latency(proxy, 100);
    assert_true(redis_watch_until(&w, 10, is_slow)); /* readers are told to wait */
    proxy_latency(proxy, 0);
    redis_watch_expect(&w, "PONG", "PING");
    proxy_cut(proxy);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
    expect_error(&w, ERROR_LOST, "the connection broke");
    assert_true(redis_watch_until(&w, 10, redis_watch_is_up));
    redis_watch_expect(&w, "PONG", "PING");
    proxy_garbage(proxy, true);
    assert_true(redis_watch_until(&w, 10, redis_watch_is_down));
    proxy_garbage(proxy, false);
    assert_true(redis_watch_until(&w, 20, redis_watch_is_up));
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    proxy_free(proxy);
    redis_box_free(r);
    free(url);
}

/* ---- the server ---- */

struct late {
    bool done;
    struct error error;
    double at;
};

static void late_done(void *data, const struct error *error)
{
    struct late *late = data;
    late->done = true;
    late->at = clock_monotonic();
    if (error)
        late->error = *error;
}

static bool is_late(void *data)
{
    return ((struct late *)data)->done;
}

static void test_hung_server(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start(NULL);
    char *url = redis_box_url(r, 0, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "PONG", "PING");
    redis_box_pause(r);
    struct late late = {0};
    double begun = clock_monotonic();
    redis_server_ask(w.server, -1, &REDIS_COMMAND("LLEN", "q"), 1, 0.5,
                     (struct redis_handler){NULL, late_done, &late});
    assert_true(loop_until(w.loop, 5, is_late, &late));
    assert_int_equal(late.error.kind, ERROR_TIMEOUT);
    assert_true(late.at - begun < 2);
    assert_true(redis_watch_until(&w, 15, redis_watch_is_down)); /* its own PING */
    expect_error(&w, ERROR_TIMEOUT, "no answer within");
    redis_box_resume(r);
    assert_true(redis_watch_until(&w, 15, redis_watch_is_up));
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
}

static void test_killed_and_back(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start("enable-debug-command yes\n");
    char *url = redis_box_url(r, 0, NULL);
    redis_watch_start(&w, url, url, NULL, NULL);
    redis_server_unlock(w.server);
    redis_watch_expect(&w, "PONG", "PING");
    unsigned epoch = redis_server_epoch(w.server);
    /* In the middle of an answer: it sleeps, and dies. */
    struct late late = {0};
    redis_server_act(w.server, -1, &REDIS_COMMAND("DEBUG", "SLEEP", "5"), 1, 10,
                     (struct redis_handler){NULL, late_done, &late});
    redis_box_kill(r);
    assert_true(loop_until(w.loop, 5, is_late, &late));
    assert_int_equal(late.error.kind, ERROR_LOST);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
    redis_box_again(r);
    assert_true(redis_watch_until(&w, 15, redis_watch_is_up));
    assert_true(redis_server_epoch(w.server) > epoch);
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
}

/* Freed while it is asked: everybody is told. */
static void test_freed_while_asked(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start(NULL);
    char *url = redis_box_url(r, 0, NULL);
    struct late late[3] = {{0}};
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_server_ask(w.server, -1, &REDIS_COMMAND("PING"), 1, 5,
                     (struct redis_handler){NULL, late_done, &late[0]});
    redis_watch_end(&w); /* before anything is known */
    assert_int_equal(late[0].error.kind, ERROR_LOST);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "PONG", "PING");
    redis_server_ask(w.server, -1, &REDIS_COMMAND("PING"), 1, 5,
                     (struct redis_handler){NULL, late_done, &late[1]});
    redis_server_ask(w.server, 4, &REDIS_COMMAND("PING"), 1, 5,
                     (struct redis_handler){NULL, late_done, &late[2]});
    redis_watch_end(&w);
    assert_int_equal(late[1].error.kind, ERROR_LOST);
    assert_int_equal(late[2].error.kind, ERROR_LOST);
    redis_box_free(r);
    free(url);
}

/* ---- who we are ---- */

static void test_wrong_logins(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start("requirepass secret\nuser nobody on >n ~* &* -@all\n");
    static const struct {
        const char *login;
        enum error_kind kind;
    } cases[] = {{NULL, ERROR_AUTH}, {":wrong", ERROR_AUTH}, {"stranger:x", ERROR_AUTH}};
    for (size_t i = 0; i < 3; i++) {
        char *url = redis_box_url(r, 0, cases[i].login);
        redis_watch_start(&w, url, NULL, NULL, NULL);
        assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
        expect_error(&w, cases[i].kind, "log in");
        redis_watch_end(&w);
        free(url);
    }
    /* May not do anything: it says what is missing. */
    char *url = redis_box_url(r, 0, "nobody:n");
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "! denied", "LLEN", "q");
    assert_int_equal(redis_server_note(w.server)->kind, ERROR_DENIED);
    assert_non_null(strstr(redis_server_note(w.server)->todo, "ACL SETUSER nobody +info"));
    redis_watch_end(&w);
    free(url);
    /* A password where none is needed does not hurt. */
    struct redis_box *open = redis_box_start(NULL);
    url = redis_box_url(open, 0, ":unneeded");
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    free(url);
    url = redis_box_url(open, 99, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
    expect_error(&w, ERROR_SERVER, "cannot select the database");
    redis_watch_end(&w);
    free(url);
    redis_box_free(open);
    redis_box_free(r);
}

/* The password comes from the user's file. */
static void test_password_file(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start("requirepass secret\n");
    char path[600], folder[500];
    snprintf(folder, sizeof folder, "%s/signalbox", redis_box_folder(r));
    snprintf(path, sizeof path, "%s/redispass", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("XDG_CONFIG_HOME", redis_box_folder(r), 1);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(dprintf(fd, "127.0.0.1:%d:default:secret\n", redis_box_port(r)) > 0);
    close(fd);
    char *url = redis_box_url(r, 0, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    unsetenv("XDG_CONFIG_HOME");
    redis_box_free(r);
    free(url);
}

/* ---- through SSH ---- */

static void ssh_changed(void *data)
{
    struct redis_watch *w = data;
    if (w->server)
        redis_server_ssh_changed(w->server);
}

static void test_through_ssh(void **state)
{
    (void)state;
    struct ssh_site *site = ssh_site_new();
    sshd_start(site, "bastion", (struct sshd_options){0});
    struct redis_box *r = redis_box_start(NULL);
    struct redis_watch w = {.loop = loop_new()};
    char *url = redis_box_url(r, 0, NULL);
    w.pool = ssh_pool_new(w.loop, &(struct ssh_pool_options){.environment = "test",
                                                             .config = ssh_site_config(site),
                                                             .changed = ssh_changed,
                                                             .data = &w});
    redis_watch_start(&w, url, NULL, NULL, "bastion");
    redis_watch_expect(&w, "PONG", "PING");
    assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
    redis_box_kill(r);
    assert_true(redis_watch_until(&w, 10, redis_watch_is_down));
    char *text = redis_watch_ask_words(&w, false, (const char *const[]){"PING", NULL});
    assert_memory_equal(text, "! ", 2);
    free(text);
    redis_box_again(r);
    assert_true(redis_watch_until(&w, 20, redis_watch_is_up));
    redis_watch_expect(&w, "PONG", "PING");
    redis_watch_end(&w);
    redis_box_free(r);
    ssh_site_free(site);
    free(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_now),           cmocka_unit_test(test_writing_refused),
        cmocka_unit_test(test_no_redis),          cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_several_hosts),     cmocka_unit_test(test_slow_and_cut_lines),
        cmocka_unit_test(test_hung_server),       cmocka_unit_test(test_killed_and_back),
        cmocka_unit_test(test_freed_while_asked), cmocka_unit_test(test_wrong_logins),
        cmocka_unit_test(test_password_file),     cmocka_unit_test(test_through_ssh),
    };
    return cmocka_run_group_tests_name("redis_faults", tests, NULL, NULL);
}
