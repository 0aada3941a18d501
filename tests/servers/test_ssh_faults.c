/* What was up breaks: killed, restarted, hung, cut, talking nonsense. The loop
 * is never blocked, nothing that was lost is called a success, and what comes back is found again. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "tests/harness/proxy.h"
#include "tests/harness/ssh_caller.h"

enum { DEADLINE_S = 60 }; /* within which any fault must be noticed */

/* ---- what was up breaks ---- */

static void killed_in_the_middle_of_a_command(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_host_want(host, true);
    struct ssh_heard *heard = ssh_hear(host, "echo begun; cat; echo never");
    struct ssh_heard *quiet = ssh_hear(host, "sleep 1000");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    sshd_kill_sessions(s);
    ssh_finish(c, heard, DEADLINE_S);
    ssh_finish(c, quiet, DEADLINE_S);
    assert_int_equal(heard->end.ending, SSH_LOST);
    assert_int_equal(quiet->end.ending, SSH_LOST);
    assert_string_equal(heard->kept[0], "begun\n");
    assert_int_equal(heard->end.error.kind, ERROR_LOST);
    assert_true(heard->end.error.why[0] != '\0');
    ssh_heard_free(heard);
    ssh_heard_free(quiet);
    /* wanted: it comes back by itself */
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 30));
    ssh_expect(c, host, "echo again", 0, "again\n");
    ssh_expect_free_loop(c);
}

static void restarted_server_is_found_again(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    sshd_halt(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_DOWN, DEADLINE_S));
    ssh_host_retry(host);
    ssh_expect_down(c, host, 30, NULL);
    assert_int_equal(ssh_host_error(host)->kind, ERROR_REFUSED);
    sshd_again(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
    /* not wanted any more, it is left alone */
    ssh_host_want(host, false);
    sshd_halt(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_DOWN, DEADLINE_S) ||
                ssh_host_state(host) == CONNECTION_IDLE);
}

static void hung_server_is_noticed(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    struct ssh_heard *heard = ssh_hear(host, "echo begun; cat");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    c->longest_turn_s = 0;
    sshd_pause(s);
    ssh_finish(c, heard, DEADLINE_S);
    assert_int_equal(heard->end.ending, SSH_LOST);
    assert_int_equal(heard->end.error.kind, ERROR_TIMEOUT);
    ssh_heard_free(heard);
    ssh_expect_free_loop(c);
    sshd_resume(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
}

static void line_is_cut(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    ssh_expect_up(c, host);
    struct ssh_heard *heard = ssh_hear(host, "echo begun; cat");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    proxy_cut(p);
    ssh_finish(c, heard, DEADLINE_S);
    assert_int_equal(heard->end.ending, SSH_LOST);
    ssh_heard_free(heard);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
    ssh_caller_hang_up(c);
    proxy_free(p);
}

static void garbage_in_the_middle(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    ssh_expect_up(c, host);
    proxy_garbage(p, true);
    struct ssh_heard *heard = ssh_hear(host, "echo anything");
    ssh_finish(c, heard, DEADLINE_S);
    assert_int_not_equal(heard->end.ending, SSH_EXITED);
    ssh_heard_free(heard);
    proxy_garbage(p, false);
    proxy_cut(p);
    ssh_host_retry(host);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
    ssh_caller_hang_up(c);
    proxy_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(killed_in_the_middle_of_a_command),
        ssh_on_both(restarted_server_is_found_again),
        ssh_on_both(hung_server_is_noticed),
        ssh_on_both(line_is_cut),
        ssh_on_both(garbage_in_the_middle),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh faults", tests, NULL, NULL);
}
