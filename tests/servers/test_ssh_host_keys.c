/* Which server keys are believed. The system's ssh is asked too wherever it can say: both must agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/ssh_caller.h"

/* With this known_hosts: up or not, as the system's ssh. Hosts are called h1, h2 ...: a pool keeps its hosts.
 */
static struct ssh_host *judge(struct ssh_caller *c, const struct sshd *s, const char *alias,
                              const char *known, const char *lines, bool good)
{
    char *output;
    ssh_site_host(c->site, alias, (struct ssh_entry){.server = s, .known = known, .lines = lines});
    int status = ssh_site_ssh(c->site, alias, "true", &output);
    if ((status == 0) != good)
        print_error("%s: ssh itself says: %s\n", alias, output);
    free(output);
    assert_int_equal(status == 0, good);
    struct ssh_host *host = ssh_caller_host(c, alias);
    if (good) {
        ssh_expect_up(c, host);
        assert_null(ssh_host_unknown_key(host));
    } else {
        ssh_expect_down(c, host, 30, NULL);
    }
    /* nothing is ever added */
    char *now = ssh_site_known(c->site, alias);
    assert_string_equal(now, known);
    free(now);
    return host;
}

static char *text_of(const char *first, const char *second)
{
    char *text;
    if (asprintf(&text, "%s%s", first, second) < 0)
        abort();
    return text;
}

static void known_in_all_ways(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    char port[64], *lines[8];
    snprintf(port, sizeof port, "other,[127.0.0.1]:%d,more", sshd_port(s));
    lines[0] = sshd_known_lines(s, NULL, NULL, NULL);
    lines[1] = sshd_known_lines(s, NULL, NULL, "ecdsa");
    lines[2] = sshd_known_lines(s, NULL, NULL, "ed25519"); /* asked for by what is on file */
    lines[3] = sshd_hashed_lines(s, NULL, "ed25519");
    lines[4] = sshd_known_lines(s, NULL, "[127.0.0.?]:*", NULL);
    lines[5] = sshd_known_lines(s, NULL, port, NULL);
    lines[6] = sshd_known_lines(s, NULL, "127.0.0.1", NULL); /* without the port: ssh takes it too */
    lines[7] = sshd_hashed_lines(s, "127.0.0.1", NULL);
    for (int i = 0; i < 8; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        judge(c, s, alias, lines[i], NULL, true);
        free(lines[i]);
    }
}

static void known_by_another_name(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    char *lines = sshd_known_lines(s, NULL, "the-web-server", NULL), file[400];
    judge(c, s, "h1", lines, "    HostKeyAlias the-web-server", true);
    judge(c, s, "h2", lines, NULL, false);
    free(lines);
    /* several files, one of which is not there */
    snprintf(file, sizeof file, "    UserKnownHostsFile /nonexistent/known_hosts %s",
             ssh_site_known_file(c->site, "server"));
    judge(c, s, "h3", "", file, true);
    snprintf(file, sizeof file, "    UserKnownHostsFile /dev/null\n    GlobalKnownHostsFile %s",
             ssh_site_known_file(c->site, "server"));
    judge(c, s, "h4", "", file, true);
}

static void unknown(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    char *ed25519 = sshd_fingerprint(s, "ed25519"), *ecdsa = sshd_fingerprint(s, "ecdsa");
    char *others = sshd_known_lines(s, NULL, "[127.0.0.1]:1", NULL), negated[64];
    snprintf(negated, sizeof negated, "[127.0.0.*]:*,![127.0.0.1]:%d", sshd_port(s));
    char *not_this = sshd_known_lines(s, NULL, negated, NULL);
    const char *const known[] = {"", others, not_this};
    for (int i = 0; i < 3; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        struct ssh_host *host = judge(c, s, alias, known[i], NULL, false);
        const char *key = ssh_host_unknown_key(host);
        assert_non_null(key);
        assert_true(strcmp(key, ed25519) == 0 || strcmp(key, ecdsa) == 0);
        ssh_expect_words(ssh_error_text(ssh_host_error(host)), "known");
    }
    free(ed25519);
    free(ecdsa);
    free(others);
    free(not_this);
}

/* It is added by hand, as a change would: the next try gets in. */
static void unknown_becomes_known(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = judge(c, s, "h1", "", NULL, false);
    char *lines = sshd_known_lines(s, NULL, NULL, NULL);
    FILE *file = fopen(ssh_site_known_file(c->site, "h1"), "we");
    assert_non_null(file);
    fputs(lines, file);
    fclose(file);
    free(lines);
    ssh_host_retry(host);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 30));
    assert_null(ssh_host_unknown_key(host));
}

static void changed(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    sshd_new_host_keys(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_DOWN, 60));
    ssh_host_retry(host);
    ssh_expect_down(c, host, 30, "changed");
    assert_null(ssh_host_unknown_key(host));
    char *output;
    assert_int_equal(ssh_site_ssh(c->site, "server", "true", &output), 255);
    free(output);
}

/* Only a key of another type is on file: not the key that was believed, so it is not simply unknown. */
static void known_by_another_type(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *one = sshd_start(c->site, "one", (struct sshd_options){.host_keys = "ecdsa"});
    struct sshd *two = sshd_start(c->site, "two", (struct sshd_options){.host_keys = "ed25519"});
    char pattern[64];
    snprintf(pattern, sizeof pattern, "[127.0.0.1]:%d", sshd_port(one));
    char *lines = sshd_known_lines(two, NULL, pattern, NULL);
    judge(c, one, "h1", lines, NULL, false);
    free(lines);
}

static void revoked(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    char *good = sshd_known_lines(s, NULL, NULL, NULL), *bad = sshd_known_lines(s, "@revoked", "*", NULL);
    char *both = text_of(good, bad), *other = text_of(bad, good);
    const char *const known[] = {both, other, bad};
    for (int i = 0; i < 3; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        struct ssh_host *host = judge(c, s, alias, known[i], NULL, false);
        ssh_expect_words(ssh_error_text(ssh_host_error(host)), "revoked");
        assert_null(ssh_host_unknown_key(host));
    }
    free(good);
    free(bad);
    free(both);
    free(other);
}

static void signed_by_an_authority(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){.certificate = true});
    char *line = ssh_site_authority_line(c->site, "[127.0.0.*]:*");
    struct ssh_host *host = judge(c, s, "h1", line, NULL, true);
    assert_int_equal(ssh_host_transport_kind(host), SSH_TRANSPORT_SYSTEM);
    if (c->transport == SSH_TRANSPORT_AUTO)
        ssh_expect_words(ssh_host_transport(host), "ssh (", "certificate");
    free(line);
    /* the plain key is on file as well */
    char *plain = sshd_known_lines(s, NULL, NULL, NULL);
    ssh_expect_up(c, ssh_caller_host(c, "server"));
    free(plain);
}

static void authority_without_the_system(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){.certificate = true});
    char *line = ssh_site_authority_line(c->site, "[127.0.0.*]:*");
    ssh_site_host(c->site, "h1", (struct ssh_entry){.server = s, .known = line});
    ssh_expect_down(c, ssh_caller_host(c, "h1"), 30, "certificate");
    free(line);
}

static void malformed_lines(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    static const char bad[] =
        "x\n@revoked\n@cert-authority *\n@unknown * ssh-ed25519 AAAA\n\n   \n# a comment\n"
        "|1|short|hash ssh-ed25519 AAAA\n|1|||\n|9|a|b ssh-rsa AAAA\n"
        "127.0.0.1 ssh-ed25519\n127.0.0.1 ssh-ed25519 !!!not base64!!!\n"
        "127.0.0.1 1024 35 12345678901234567890\n* unknown-type AAAAB3NzaC1\n"
        "\xff\xfe\x01 \x02\n";
    char *good = sshd_known_lines(s, NULL, NULL, NULL), *lines = text_of(bad, good);
    judge(c, s, "h1", lines, NULL, true);
    char *last = text_of(good, bad);
    judge(c, s, "h2", last, NULL, true);
    free(last);
    free(lines);
    /* without a newline at its end, and with a very long line before */
    char *huge = malloc(300000);
    assert_non_null(huge);
    memset(huge, 'a', 299999);
    huge[299998] = '\n';
    huge[299999] = '\0';
    good[strlen(good) - 1] = '\0';
    lines = text_of(huge, good);
    judge(c, s, "h3", lines, NULL, true);
    free(lines);
    free(huge);
    free(good);
}

/* Never a way round: also when the configuration would have ssh add keys by itself. */
static void configuration_cannot_open_a_door(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    judge(c, s, "h1", "", "    StrictHostKeyChecking no", false);
    ssh_site_host(
        c->site, "h2",
        (struct ssh_entry){.server = s, .known = "", .lines = "    StrictHostKeyChecking accept-new"});
    ssh_expect_down(c, ssh_caller_host(c, "h2"), 30, NULL);
    char *known = ssh_site_known(c->site, "h2");
    assert_string_equal(known, "");
    free(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(known_in_all_ways),
        ssh_on_both(known_by_another_name),
        ssh_on_both(unknown),
        ssh_on_both(unknown_becomes_known),
        ssh_on_both(changed),
        ssh_on_both(known_by_another_type),
        ssh_on_both(revoked),
        ssh_on(signed_by_an_authority, auto),
        ssh_on(signed_by_an_authority, system),
        ssh_on(authority_without_the_system, libssh2),
        ssh_on_both(malformed_lines),
        ssh_on_both(configuration_cannot_open_a_door),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh host keys", tests, NULL, NULL);
}
