/* Logging in with real servers: keys in files and agents, passphrases, keyboard-interactive, what is refused,
 * and what libssh2 leaves to the system's ssh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/ssh_caller.h"

static struct sshd *serve(struct ssh_caller *c, const char *name, const char *lines)
{
    return sshd_start(c->site, name, (struct sshd_options){.lines = lines});
}

/* A Host entry that has only this agent. */
static void use_agent(struct ssh_caller *c, const struct sshd *s, const char *alias, const char *agent)
{
    char lines[300];
    snprintf(lines, sizeof lines, "    IdentityAgent %s", agent);
    ssh_site_host(c->site, alias, (struct ssh_entry){.server = s, .keys = "", .lines = lines});
}

static void use_keys(struct ssh_caller *c, const struct sshd *s, const char *alias, const char *keys)
{
    ssh_site_host(c->site, alias, (struct ssh_entry){.server = s, .keys = keys});
}

static void expect_in(struct ssh_caller *c, const char *alias)
{
    struct ssh_host *host = ssh_caller_host(c, alias);
    ssh_expect_up(c, host);
    ssh_expect(c, host, "echo in; exit 4", 4, "in\n");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_NONE);
    assert_true(ssh_host_handshake_ms(host) > 0);
}

static void key_files(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "files", NULL);
    use_keys(c, s, "ed25519", "ed25519");
    use_keys(c, s, "ecdsa", "ecdsa");
    use_keys(c, s, "second", "stranger ed25519");
    expect_in(c, "ed25519");
    expect_in(c, "ecdsa");
    expect_in(c, "second");
    assert_int_equal(c->questions, 0);
    assert_int_equal(ssh_host_transport_kind(ssh_caller_host(c, "ed25519")), c->transport);
    ssh_expect_words(ssh_host_address(ssh_caller_host(c, "ed25519")), "127.0.0.1");
    assert_string_equal(ssh_host_hostname(ssh_caller_host(c, "ed25519")), "127.0.0.1");
}

static void keys_of_an_agent(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "agents", NULL);
    use_agent(c, s, "one", ssh_site_agent(c->site, "ed25519"));
    use_agent(c, s, "locked", ssh_site_agent(c->site, "locked"));
    expect_in(c, "one");
    expect_in(c, "locked");
    assert_int_equal(c->questions, 0);
}

/* An encrypted key in a file that the agent holds unlocked: nobody is asked. */
static void agent_knows_the_locked_file(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "agents", NULL);
    char lines[300];
    snprintf(lines, sizeof lines, "    IdentityAgent %s", ssh_site_agent(c->site, "locked"));
    ssh_site_host(c->site, "both", (struct ssh_entry){.server = s, .keys = "locked", .lines = lines});
    expect_in(c, "both");
    assert_int_equal(c->questions, 0);
}

static void agent_of_the_environment(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "agents", NULL);
    setenv("SSH_AUTH_SOCK", ssh_site_agent(c->site, "ed25519"), 1);
    use_agent(c, s, "environment", "SSH_AUTH_SOCK");
    struct ssh_host *host = ssh_caller_host(c, "environment");
    ssh_host_want(host, true);
    bool up = ssh_caller_await(c, host, CONNECTION_UP, 30);
    unsetenv("SSH_AUTH_SOCK");
    if (!up)
        print_error("%s\n", ssh_error_text(ssh_host_error(host)));
    assert_true(up);
}

/* Each key that the server refuses burns a try: ed25519 goes before RSA, whatever the agent's order is. */
static void ed25519_is_offered_first(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "tries", "MaxAuthTries 2");
    use_agent(c, s, "tries", ssh_site_agent(c->site, "stranger-rsa stranger-rsa-2 stranger-rsa-3 ed25519"));
    expect_in(c, "tries");
}

static void agent_that_hangs(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "agents", NULL);
    use_agent(c, s, "hung", ssh_site_hung_agent(c->site));
    struct ssh_host *host = ssh_caller_host(c, "hung");
    ssh_host_want(host, true);
    assert_true(ssh_caller_await(c, host, CONNECTION_DOWN, 60));
    assert_true(c->longest_turn_s < 0.3);
}

static void refused_key(void **state)
{
    struct ssh_caller *c = *state;
    use_keys(c, serve(c, "refused", NULL), "refused", "stranger");
    struct ssh_host *host = ssh_caller_host(c, "refused");
    ssh_expect_down(c, host, 30, "refused");
    if (c->transport == SSH_TRANSPORT_LIBSSH2)
        ssh_expect_words(ssh_error_text(ssh_host_error(host)), "id_stranger");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_AUTH);
    assert_null(ssh_host_unknown_key(host));
    assert_true(ssh_host_error(host)->todo[0] != '\0');
    /* a channel of a host that is down fails with its error */
    struct ssh_heard *heard = ssh_hear(host, "true");
    assert_int_equal(heard->closed, 0);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    assert_int_equal(heard->end.error.kind, ERROR_AUTH);
    ssh_heard_free(heard);
}

static void passphrase_is_asked_for_once(void **state)
{
    struct ssh_caller *c = *state;
    use_keys(c, serve(c, "first", NULL), "first", "locked");
    use_keys(c, serve(c, "second", NULL), "second", "locked");
    c->answer = SSH_SITE_PASSPHRASE;
    struct ssh_host *first = ssh_caller_host(c, "first"), *second = ssh_caller_host(c, "second");
    ssh_host_want(second, true);
    ssh_expect_up(c, first);
    ssh_expect_up(c, second);
    assert_int_equal(c->questions, 1);
    ssh_expect_words(c->title, "passphrase", "id_locked");
    assert_false(c->echo);
    ssh_expect(c, second, "echo in", 0, "in");
    assert_true(c->longest_turn_s < 0.3);
}

static void passphrase_is_wrong_or_nobody_is_there(void **state)
{
    struct ssh_caller *c = *state;
    use_keys(c, serve(c, "locked", NULL), "locked", "locked");
    c->answer = "wrong";
    ssh_expect_down(c, ssh_caller_host(c, "locked"), 60, "passphrase", "id_locked");
    assert_in_range(c->questions, 1, 3);
    ssh_caller_hang_up(c);
    c->answer = NULL;
    c->questions = 0;
    ssh_expect_down(c, ssh_caller_host(c, "locked"), 60, "passphrase", "id_locked");
    assert_int_equal(c->questions, 1);
    ssh_caller_hang_up(c);
    c->unattended = true;
    c->questions = 0;
    ssh_expect_down(c, ssh_caller_host(c, "locked"), 60, "passphrase", "id_locked");
    assert_int_equal(c->questions, 0);
}

static void keyboard_interactive(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "asks", (struct sshd_options){.password = "green signal"});
    c->answer = "green signal";
    expect_in(c, "asks");
    assert_int_equal(c->questions, 1);
    ssh_expect_words(c->title, "password");
    assert_false(c->echo);
    ssh_caller_hang_up(c);
    c->answer = "red signal";
    struct ssh_host *host = ssh_caller_host(c, "asks");
    ssh_expect_down(c, host, 60, "asks");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_AUTH);
    ssh_caller_hang_up(c);
    c->unattended = true;
    c->questions = 0;
    ssh_expect_down(c, ssh_caller_host(c, "asks"), 60, "asks");
    assert_int_equal(c->questions, 0);
}

/* The system's ssh asks nobody (BatchMode): what to do instead is said. */
static void locked_key_without_an_agent(void **state)
{
    struct ssh_caller *c = *state;
    use_keys(c, serve(c, "locked", NULL), "locked", "locked");
    ssh_expect_down(c, ssh_caller_host(c, "locked"), 30, "passphrase", "id_locked", "ssh-add");
    assert_int_equal(c->questions, 0);
}

static void keyboard_interactive_is_beyond_it(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "asks", (struct sshd_options){.password = "green signal"});
    struct ssh_host *host = ssh_caller_host(c, "asks");
    ssh_expect_down(c, host, 30, "keyboard-interactive");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_AUTH);
}

/* ---- left to the system's ssh ---- */

static void rsa_key_falls_back(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "rsa", NULL);
    use_keys(c, s, "file", "rsa");
    use_agent(c, s, "agent", ssh_site_agent(c->site, "rsa"));
    const char *const aliases[] = {"file", "agent"};
    for (size_t i = 0; i < 2; i++) {
        expect_in(c, aliases[i]);
        struct ssh_host *host = ssh_caller_host(c, aliases[i]);
        assert_int_equal(ssh_host_transport_kind(host), SSH_TRANSPORT_SYSTEM);
        ssh_expect_words(ssh_host_transport(host), "ssh (", "RSA");
    }
}

/* One RSA key does not take the others away. */
static void other_keys_need_no_fallback(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = serve(c, "mixed", NULL);
    use_keys(c, s, "mixed", "rsa ed25519");
    use_agent(c, s, "agent", ssh_site_agent(c->site, "rsa ed25519"));
    expect_in(c, "mixed");
    expect_in(c, "agent");
    assert_string_equal(ssh_host_transport(ssh_caller_host(c, "mixed")), "libssh2");
    assert_string_equal(ssh_host_transport(ssh_caller_host(c, "agent")), "libssh2");
}

static void rsa_key_without_the_system(void **state)
{
    struct ssh_caller *c = *state;
    use_keys(c, serve(c, "rsa", NULL), "rsa", "rsa");
    ssh_expect_down(c, ssh_caller_host(c, "rsa"), 30, "RSA", "transport: auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(key_files),
        ssh_on_both(keys_of_an_agent),
        ssh_on_both(agent_knows_the_locked_file),
        ssh_on_both(agent_of_the_environment),
        ssh_on(ed25519_is_offered_first, libssh2), /* ssh keeps the agent's order */
        ssh_on_both(agent_that_hangs),
        ssh_on_both(refused_key),
        ssh_on(passphrase_is_asked_for_once, libssh2),
        ssh_on(passphrase_is_wrong_or_nobody_is_there, libssh2),
        ssh_on(locked_key_without_an_agent, system),
        ssh_on(keyboard_interactive, libssh2),
        ssh_on(keyboard_interactive_is_beyond_it, system),
        ssh_on(rsa_key_falls_back, auto),
        ssh_on(other_keys_need_no_fallback, auto),
        ssh_on(rsa_key_without_the_system, libssh2),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh auth", tests, NULL, NULL);
}
