/* URLs asked from outside with libcurl: a real nginx, with and without a trusted certificate, and servers
 * that refuse, hang, break off and talk garbage. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#include "backends/hosts/probe.h"
#include "backends/hosts/probe_curl.h"
#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

struct site {
    char folder[64];
    int port, tls_port; /* of nginx */
    pid_t nginx;
    struct loop *loop;
    struct probe_curl *curl;
    bool answered;
    struct probe_answer answer;
};

/* A listening socket on a free port of 127.0.0.1. */
static int listen_somewhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 8) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static int free_port(void)
{
    int port;
    close(listen_somewhere(&port));
    return port;
}

static void write_file(const struct site *site, const char *name, const char *text)
{
    char *path = talloc_asprintf(NULL, "%s/%s", site->folder, name);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
    talloc_free(path);
}

/* A certificate for "localhost" that ends in 5 days, signed by itself. */
static void make_certificate(const struct site *site)
{
    char *command =
        talloc_asprintf(NULL,
                        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -days 5 "
                        "-keyout %s/key.pem -out %s/cert.pem 2>/dev/null",
                        site->folder, site->folder);
    assert_int_equal(system(command), 0);
    talloc_free(command);
}

static void start_nginx(struct site *site)
{
    site->port = free_port();
    site->tls_port = free_port();
    char *text = talloc_asprintf(
        NULL,
        "daemon off; master_process off; pid %s/pid; error_log %s/error.log;\n"
        "events {worker_connections 64;}\n"
        "http { access_log off; client_body_temp_path %s/body; proxy_temp_path %s/proxy;\n"
        " fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
        " server { listen 127.0.0.1:%d; listen 127.0.0.1:%d ssl; ssl_certificate %s/cert.pem;\n"
        "  ssl_certificate_key %s/key.pem;\n"
        "  location /health { return 200 \"$host\"; } location /broken { return 503; }\n"
        "  location /moved { return 302 http://127.0.0.1:1/; }\n"
        "  location /large { root %s; } } }\n",
        site->folder, site->folder, site->folder, site->folder, site->folder, site->folder, site->folder,
        site->port, site->tls_port, site->folder, site->folder, site->folder);
    write_file(site, "nginx.conf", text);
    talloc_free(text);
    char *configuration = talloc_asprintf(NULL, "%s/nginx.conf", site->folder);
    char *log = talloc_asprintf(NULL, "%s/error.log", site->folder);
    site->nginx = fork();
    if (site->nginx == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/usr/sbin/nginx", "nginx", "-e", log, "-c", configuration, (char *)NULL);
        _exit(127);
    }
    talloc_free(configuration);
    talloc_free(log);
}

static void done(void *data, const struct probe_answer *answer)
{
    struct site *site = data;
    site->answer = *answer;
    site->answered = true;
}

static bool is_answered(void *data)
{
    return ((struct site *)data)->answered;
}

static const struct probe_answer *get(struct site *site, const char *connect, const char *ca,
                                      double deadline_s, const char *url)
{
    site->answered = false;
    probe_curl_get(site->curl, url, connect, ca, deadline_s, done, site);
    assert_false(site->answered);
    assert_true(loop_until(site->loop, 30, is_answered, site));
    return &site->answer;
}

static char *url(void *context, const char *scheme, int port, const char *path)
{
    return talloc_asprintf(context, "%s://localhost:%d%s", scheme, port, path);
}

static int begin(void **state)
{
    struct site *site = talloc_zero(NULL, struct site);
    strcpy(site->folder, "/tmp/signalbox-test-probe-XXXXXX");
    if (!mkdtemp(site->folder))
        return -1;
    signal(SIGPIPE, SIG_IGN);
    make_certificate(site);
    start_nginx(site);
    site->loop = loop_new();
    site->curl = probe_curl_new(site->loop);
    /* It listens when it answers. */
    for (int i = 0; i < 200; i++) {
        if (get(site, NULL, NULL, 5, url(site, "http", site->port, "/health"))->status == 200)
            break;
        assert_int_equal(waitpid(site->nginx, NULL, WNOHANG), 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    *state = site;
    return site->answer.status == 200 ? 0 : -1;
}

static int end(void **state)
{
    struct site *site = *state;
    char *command = talloc_asprintf(site, "rm -rf '%s'", site->folder);
    probe_curl_free(site->curl);
    loop_free(site->loop);
    kill(site->nginx, SIGKILL);
    waitpid(site->nginx, NULL, 0);
    int failed = system(command);
    talloc_free(site);
    return failed;
}

static void an_answer_has_its_times(void **state)
{
    struct site *site = *state;
    const struct probe_answer *answer = get(site, NULL, NULL, 5, url(site, "http", site->port, "/health"));
    assert_int_equal(answer->status, 200);
    assert_int_equal(answer->error.kind, ERROR_NONE);
    assert_true(answer->connect_ms > 0 && answer->first_byte_ms >= answer->connect_ms &&
                answer->total_ms >= answer->first_byte_ms && answer->total_ms < 5000);
    assert_true(isnan(answer->tls_ms) && isnan(answer->certificate_until));
    assert_int_equal(get(site, NULL, NULL, 5, url(site, "http", site->port, "/broken"))->status, 503);
    /* A redirection is an answer: where it leads is another URL. */
    assert_int_equal(get(site, NULL, NULL, 5, url(site, "http", site->port, "/moved"))->status, 302);
}

static void a_domain_is_asked_at_another_address(void **state)
{
    struct site *site = *state;
    char *connect = talloc_asprintf(site, "127.0.0.1:%d", site->port);
    const struct probe_answer *answer = get(site, connect, NULL, 5, "http://alnoor.example.edu/health");
    assert_int_equal(answer->status, 200);
}

static void a_certificate_says_until_when_and_whether_it_is_trusted(void **state)
{
    struct site *site = *state;
    char *address = url(site, "https", site->tls_port, "/health");
    const struct probe_answer *answer = get(site, NULL, NULL, 5, address);
    double days = (answer->certificate_until - clock_wall()) / 86400;
    assert_int_equal(answer->status, 200);
    assert_int_equal(answer->error.kind, ERROR_TLS);
    assert_true(days > 4.9 && days < 5.1);
    char *ca = talloc_asprintf(site, "%s/cert.pem", site->folder);
    answer = get(site, NULL, ca, 5, address);
    assert_int_equal(answer->status, 200);
    assert_int_equal(answer->error.kind, ERROR_NONE);
    assert_true(answer->tls_ms > 0);
    /* The name is checked, too. */
    char *connect = talloc_asprintf(site, "127.0.0.1:%d", site->tls_port);
    answer = get(site, connect, ca, 5, "https://alnoor.example.edu/health");
    assert_int_equal(answer->error.kind, ERROR_TLS);
}

static void nobody_listens_is_refused(void **state)
{
    struct site *site = *state;
    const struct probe_answer *answer = get(site, NULL, NULL, 5, url(site, "http", free_port(), "/"));
    assert_int_equal(answer->status, 0);
    assert_int_equal(answer->error.kind, ERROR_REFUSED);
}

static void a_server_that_hangs_is_given_up_at_the_deadline(void **state)
{
    struct site *site = *state;
    int port, fd = listen_somewhere(&port);
    const struct probe_answer *answer = get(site, NULL, NULL, 0.3, url(site, "http", port, "/"));
    assert_int_equal(answer->status, 0);
    assert_int_equal(answer->error.kind, ERROR_TIMEOUT);
    close(fd);
}

/* Answers one connection with bytes and closes it. */
static pid_t serve_once(int *port, const char *bytes)
{
    int fd = listen_somewhere(port);
    pid_t child = fork();
    if (child == 0) {
        char request[4096];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 4; i++) {
            int client = accept(fd, NULL, NULL);
            if (client < 0 || read(client, request, sizeof request) < 0 ||
                write(client, bytes, strlen(bytes)) < 0)
                _exit(1);
            close(client);
        }
        _exit(0);
    }
    close(fd);
    return child;
}

static void garbage_and_broken_answers_are_errors(void **state)
{
    struct site *site = *state;
    static const char *const answers[] = {"\x01\x02 what?\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", ""};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        int port;
        pid_t child = serve_once(&port, answers[i]);
        const struct probe_answer *answer = get(site, NULL, NULL, 5, url(site, "http", port, "/"));
        assert_int_not_equal(answer->error.kind, ERROR_NONE);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

static void a_body_without_end_is_cut_and_still_an_answer(void **state)
{
    struct site *site = *state;
    char *path = talloc_asprintf(site, "%s/large", site->folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && ftruncate(fd, 64 << 20) == 0 && close(fd) == 0);
    const struct probe_answer *answer = get(site, NULL, NULL, 10, url(site, "http", site->port, "/large"));
    assert_int_equal(answer->status, 200);
    assert_int_equal(answer->error.kind, ERROR_NONE);
}

static void it_may_be_given_up_in_the_middle(void **state)
{
    struct site *site = *state;
    int port, fd = listen_somewhere(&port);
    struct probe_curl *other = probe_curl_new(site->loop);
    site->answered = false;
    probe_curl_get(other, url(site, "http", port, "/"), NULL, NULL, 5, done, site);
    assert_false(loop_until(site->loop, 0.1, is_answered, site));
    probe_curl_free(other);
    assert_false(site->answered);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_its_times),
        cmocka_unit_test(a_domain_is_asked_at_another_address),
        cmocka_unit_test(a_certificate_says_until_when_and_whether_it_is_trusted),
        cmocka_unit_test(nobody_listens_is_refused),
        cmocka_unit_test(a_server_that_hangs_is_given_up_at_the_deadline),
        cmocka_unit_test(garbage_and_broken_answers_are_errors),
        cmocka_unit_test(a_body_without_end_is_cut_and_still_an_answer),
        cmocka_unit_test(it_may_be_given_up_in_the_middle),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
