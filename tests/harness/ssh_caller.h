/* What a test of backends/ssh plays on: a site with servers (sshd.h), a loop, a pool of sessions over one of
 * the transports, commands whose output is kept, and a watch on how long the loop was blocked. Each test has
 * one of its own:
 *
 *     cmocka_unit_test_setup_teardown(test, ssh_caller_libssh2, ssh_caller_end)
 *
 * or, for both transports at once, with ssh_on_both(test). */
#ifndef TESTS_HARNESS_SSH_CALLER_H
#define TESTS_HARNESS_SSH_CALLER_H

#include <stdint.h>

#include "backends/ssh/ssh.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/sshd.h"
#include "tests/harness/watcher.h"

struct ssh_caller {
    struct ssh_site *site;
    struct loop *loop;
    struct ssh_pool *pool; /* made by the first ssh_caller_host */
    enum ssh_transport transport;
    /* Before the pool is made: nobody can be asked. */
    bool unattended;
    const char *answer; /* to every question; NULL: leaves it */
    int questions;
    char title[256], text[256]; /* of the last question */
    bool echo;
    /* The loop's longest turn so far, and the most memory in use; set to 0 by whoever measures. */
    double longest_turn_s;
    size_t most_bytes;
    double last_tick;
    ev_timer tick;
};

int ssh_caller_libssh2(void **state);
int ssh_caller_system(void **state);
int ssh_caller_auto(void **state);
/* Fails when a process of the pool is left. */
int ssh_caller_end(void **state);

#define ssh_on(test, transport)                                                                              \
    {                                                                                                        \
        .name = #test "_" #transport, .test_func = (test), .setup_func = ssh_caller_##transport,             \
        .teardown_func = ssh_caller_end                                                                      \
    }
#define ssh_on_both(test) ssh_on(test, libssh2), ssh_on(test, system)

/* The host of a Host entry; makes the pool. */
struct ssh_host *ssh_caller_host(struct ssh_caller *c, const char *alias);
/* Frees the pool now; ssh_caller_host makes another. */
void ssh_caller_hang_up(struct ssh_caller *c);
/* Memory in use now, also under AddressSanitizer (which keeps what is freed: it never shrinks there). */
size_t ssh_caller_bytes(void);
/* Runs the loop, watched, until holds(data); false after the time. */
bool ssh_caller_until(struct ssh_caller *c, double seconds, bool (*holds)(void *data), void *data);
/* Waits for the state; false after the time. */
bool ssh_caller_await(struct ssh_caller *c, struct ssh_host *host, enum connection_state state,
                      double seconds);
/* Fails when the loop was ever kept from turning for long. */
void ssh_expect_free_loop(const struct ssh_caller *c);
/* A server behind a proxy: the Host entry "far". */
struct ssh_host *ssh_serve_behind(struct ssh_caller *c, struct sshd **s, struct proxy **p);
/* Wants the host and expects it up; prints its error and fails otherwise. */
#define ssh_expect_up(c, host) ssh_expect_up_at(__FILE__, __LINE__, (c), (host))
void ssh_expect_up_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host);
/* Wants the host and expects it down with these words in its error (NULL: any), without regard to case. */
#define ssh_expect_down(c, host, seconds, ...)                                                               \
    ssh_expect_down_at(__FILE__, __LINE__, (c), (host), (seconds), (const char *const[]){__VA_ARGS__, NULL})
void ssh_expect_down_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host,
                        double seconds, const char *const words[]);
#define ssh_expect_words(text, ...)                                                                          \
    ssh_expect_words_at(__FILE__, __LINE__, (text), (const char *const[]){__VA_ARGS__, NULL})
void ssh_expect_words_at(const char *file, int line, const char *text, const char *const words[]);
/* "what: why. todo" in a buffer of the caller; borrowed until the next call. */
const char *ssh_error_text(const struct error *error);

/* ---- channels ---- */

enum { SSH_HEARD_KEPT = 1 << 17 };

struct ssh_heard {
    struct ssh_channel *channel; /* NULL when it is gone */
    char *kept[2];               /* the first bytes of output and errors; NUL-terminated */
    size_t total[2];             /* all of them */
    uint64_t sum;                /* of all output: ssh_sum */
    int drained, closed;
    struct ssh_end end;
    bool close_at_output; /* closes the channel when the first output comes */
};
/* Starts one; free it with ssh_heard_free (closes it when it is open). */
struct ssh_heard *ssh_hear(struct ssh_host *host, const char *command);
struct ssh_heard *ssh_hear_tcp(struct ssh_host *host, const char *address, int port);
struct ssh_heard *ssh_hear_unix(struct ssh_host *host, const char *path);
void ssh_heard_free(struct ssh_heard *heard);
bool ssh_heard_closed(void *heard);
bool ssh_heard_output(void *heard); /* anything came, or it is closed */
uint64_t ssh_sum(uint64_t sum, const char *bytes, size_t length);
/* Waits until it is closed; fails the test after the time. */
#define ssh_finish(c, heard, seconds) ssh_finish_at(__FILE__, __LINE__, (c), (heard), (seconds))
void ssh_finish_at(const char *file, int line, struct ssh_caller *c, struct ssh_heard *heard, double seconds);
/* Runs a command and expects this exit status and, in its output, this text. */
#define ssh_expect(c, host, command, status, output)                                                         \
    ssh_expect_at(__FILE__, __LINE__, (c), (host), (command), (status), (output))
void ssh_expect_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host,
                   const char *command, int status, const char *output);

/* ---- who listens ---- */

/* A listener on the caller's loop that sends back all that it gets. */
struct ssh_echo;
struct ssh_echo *ssh_echo_tcp(struct ssh_caller *c, int *port);
struct ssh_echo *ssh_echo_unix(struct ssh_caller *c, const char *path);
/* The same, that never accepts: a silent port. */
struct ssh_echo *ssh_echo_mute(struct ssh_caller *c, int *port);
void ssh_echo_free(struct ssh_echo *echo);

#endif
