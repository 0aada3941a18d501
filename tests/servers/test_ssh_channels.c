/* What goes through a session: commands and how they end, much output, much input, tunnels, many at once. */
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/harness/ssh_caller.h"

enum { MEGABYTE = 1 << 20 };

static struct ssh_host *serve(struct ssh_caller *c, struct sshd_options options)
{
    sshd_start(c->site, "server", options);
    return ssh_caller_host(c, "server");
}

/* ---- how commands end ---- */

static void exit_statuses(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    ssh_expect(c, host, "true", 0, "");
    ssh_expect(c, host, "false", 1, "");
    ssh_expect(c, host, "exit 77", 77, "");
    ssh_expect(c, host, "exit 255", 255, "");
    ssh_expect(c, host, "no_such_program_here", 127, "");
    ssh_expect(c, host, "sh -c 'exit 137'", 137, ""); /* a status, no signal */
}

static void signals_are_no_success(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    static const struct {
        const char *command, *signal;
    } cases[] = {
        {"echo before; kill -KILL $$", "KILL"}, {"kill -TERM $$", "TERM"}, {"kill -SEGV $$", "SEGV"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ssh_heard *heard = ssh_hear(host, cases[i].command);
        ssh_finish(c, heard, 30);
        assert_int_equal(heard->end.ending, SSH_SIGNALLED);
        assert_string_equal(heard->end.signal, cases[i].signal);
        ssh_heard_free(heard);
    }
    ssh_expect(c, host, "echo after", 0, "after\n");
}

static void errors_are_apart(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    struct ssh_heard *heard = ssh_hear(host, "echo out; echo err >&2; echo more; exit 3");
    ssh_finish(c, heard, 30);
    assert_string_equal(heard->kept[0], "out\nmore\n");
    assert_string_equal(heard->kept[1], "err\n");
    assert_int_equal(heard->end.status, 3);
    ssh_heard_free(heard);
    /* much on both at once */
    heard = ssh_hear(host, "seq 1 100000 & seq 1 200000 >&2; wait");
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->total[0], 588895);
    assert_int_equal(heard->total[1], 1288895);
    ssh_heard_free(heard);
}

/* What a shell and a server say by themselves stands beside what the command says, and breaks nothing. */
static void shells_that_talk(void **state)
{
    struct ssh_caller *c = *state;
    char banner[300], line[400];
    snprintf(banner, sizeof banner, "%s/banner", ssh_site_folder(c->site));
    FILE *file = fopen(banner, "we");
    assert_non_null(file);
    fputs("*** authorised staff only ***\n", file);
    fclose(file);
    snprintf(line, sizeof line, "Banner %s", banner);
    struct ssh_host *host =
        serve(c, (struct sshd_options){.lines = line,
                                       .bashrc = "echo 'welcome to this host'\necho complaint >&2\n"});
    struct ssh_heard *heard = ssh_hear(host, "echo the end");
    ssh_finish(c, heard, 30);
    assert_string_equal(heard->kept[0], "welcome to this host\nthe end\n");
    assert_string_equal(heard->kept[1], "complaint\n");
    assert_int_equal(heard->end.ending, SSH_EXITED);
    ssh_heard_free(heard);
}

static void other_locales(void **state)
{
    struct ssh_caller *c = *state;
    setenv("LC_ALL", "de_DE.UTF-8", 1);
    setenv("LANGUAGE", "de", 1);
    struct ssh_host *host = serve(c, (struct sshd_options){.lines = "AcceptEnv LANG LC_*"});
    ssh_expect(c, host, "printf '\\303\\251\\330\\271 \\377\\n'; exit 2", 2, "\303\251\330\271 \377\n");
    struct ssh_heard *heard = ssh_hear_tcp(host, "127.0.0.1", 1);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    ssh_heard_free(heard);
    unsetenv("LC_ALL");
    unsetenv("LANGUAGE");
}

static void words_are_quoted(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    static const char word[] = "a'b \"c\" $HOME `id` \\ * ; & | \xc3\xa9 -n";
    char *quoted = ssh_quote(NULL, word), command[300];
    snprintf(command, sizeof command, "printf '<%%s>' %s", quoted);
    talloc_free(quoted);
    ssh_expect(c, host, command, 0, "<a'b \"c\" $HOME `id` \\ * ; & | \xc3\xa9 -n>");
    ssh_expect(c, host, "echo one\necho two", 0, "one\ntwo\n");
}

/* ---- much ---- */

static uint64_t sum_of_numbers(size_t bytes)
{
    uint64_t sum = 0;
    char line[16];
    for (int i = 1; bytes > 0; i++) {
        size_t length = (size_t)snprintf(line, sizeof line, "%d\n", i);
        length = length < bytes ? length : bytes;
        sum = ssh_sum(sum, line, length);
        bytes -= length;
    }
    return sum;
}

static void sixty_four_megabytes(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    ssh_expect_up(c, host);
    ssh_expect(c, host, "seq 1 100000", 0, "1\n2\n"); /* what is allocated once, is now */
    size_t before = ssh_caller_bytes();
    c->most_bytes = 0;
    struct ssh_heard *heard = ssh_hear(host, "seq 1 9999999 | head -c 67108864");
    ssh_finish(c, heard, 120);
    assert_int_equal(heard->end.ending, SSH_EXITED);
    assert_int_equal(heard->total[0], 64 * MEGABYTE);
    assert_true(heard->sum == sum_of_numbers((size_t)64 * MEGABYTE));
    if (c->most_bytes > before + 4 * MEGABYTE)
        print_error("memory: %zu bytes before, at most %zu\n", before, c->most_bytes);
    assert_true(c->most_bytes <= before + 4 * MEGABYTE);
    assert_true(c->longest_turn_s < 0.3);
    ssh_heard_free(heard);
}

static void five_megabytes_of_input(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    size_t length = (size_t)5 * MEGABYTE;
    char *bytes = malloc(length), hex[2 * EVP_MAX_MD_SIZE + 8];
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_length;
    assert_int_equal(EVP_Digest(bytes, length, digest, &digest_length, EVP_sha256(), NULL), 1);
    for (unsigned i = 0; i < digest_length; i++)
        snprintf(hex + 2 * i, 8, "%02x", digest[i]);
    struct ssh_heard *sum = ssh_hear(host, "sha256sum"), *cat = ssh_hear(host, "cat");
    ssh_channel_write(sum->channel, bytes, length);
    ssh_channel_end(sum->channel);
    ssh_channel_write(cat->channel, bytes, length / 2);
    ssh_channel_write(cat->channel, bytes + length / 2, length - length / 2);
    assert_true(ssh_channel_unsent(cat->channel) > 0);
    ssh_channel_end(cat->channel);
    uint64_t expected = ssh_sum(0, bytes, length);
    free(bytes); /* all was copied */
    ssh_finish(c, sum, 60);
    assert_int_equal(sum->end.status, 0);
    assert_memory_equal(sum->kept[0], hex, 64);
    assert_int_equal(sum->drained, 1);
    ssh_finish(c, cat, 60);
    assert_int_equal(cat->total[0], length);
    assert_true(cat->sum == expected);
    ssh_heard_free(sum);
    ssh_heard_free(cat);
}

struct watched {
    struct ssh_heard *heard;
    size_t seen;
    double since;
    double quiet_s;
};

/* Nothing has come for a while. */
static bool is_quiet(void *data)
{
    struct watched *watched = data;
    double now = clock_monotonic();
    if (watched->heard->total[0] != watched->seen || watched->since == 0) {
        watched->seen = watched->heard->total[0];
        watched->since = now;
    }
    return now - watched->since > watched->quiet_s;
}

static void paused_reader(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    struct ssh_heard *heard = ssh_hear(host, "seq 1 9999999 | head -c 33554432");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    ssh_channel_pause(heard->channel, true);
    size_t at_once = heard->total[0], memory = ssh_caller_bytes();
    c->most_bytes = 0;
    struct watched watched = {.heard = heard, .quiet_s = 0.5};
    assert_true(ssh_caller_until(c, 30, is_quiet, &watched));
    assert_int_equal(heard->total[0], at_once);
    assert_int_equal(heard->closed, 0);
    assert_true(c->most_bytes < memory + 4 * MEGABYTE);
    /* others go on meanwhile */
    ssh_expect(c, host, "echo beside", 0, "beside\n");
    ssh_channel_pause(heard->channel, false);
    ssh_finish(c, heard, 60);
    assert_int_equal(heard->total[0], 32 * MEGABYTE);
    assert_true(heard->sum == sum_of_numbers((size_t)32 * MEGABYTE));
    ssh_heard_free(heard);
}

struct many {
    struct ssh_heard *heard[64];
    int count;
};

static bool all_closed(void *data)
{
    const struct many *many = data;
    for (int i = 0; i < many->count; i++)
        if (!many->heard[i]->closed)
            return false;
    return true;
}

static void sixty_four_commands_at_once(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){.lines = "MaxSessions 100\nMaxStartups 100"});
    struct many many = {.count = 64};
    for (int i = 0; i < many.count; i++) {
        char command[64];
        snprintf(command, sizeof command, "cat; echo number %d; exit %d", i, i);
        many.heard[i] = ssh_hear(host, command);
    }
    ssh_expect_up(c, host);
    for (int i = 0; i < many.count; i++) {
        assert_non_null(many.heard[i]->channel);
        ssh_channel_write(many.heard[i]->channel, "in\n", 3);
        ssh_channel_end(many.heard[i]->channel);
    }
    assert_true(ssh_caller_until(c, 60, all_closed, &many));
    for (int i = 0; i < many.count; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "in\nnumber %d\n", i);
        assert_string_equal(many.heard[i]->kept[0], expected);
        assert_int_equal(many.heard[i]->end.status, i);
        ssh_heard_free(many.heard[i]);
    }
}

/* ---- tunnels ---- */

static bool sixteen_bytes(void *data)
{
    const struct ssh_heard *heard = data;
    return heard->closed || heard->total[0] >= 16;
}

static void expect_echo(struct ssh_caller *c, struct ssh_heard *heard)
{
    ssh_channel_write(heard->channel, "there and back..", 16);
    if (!ssh_caller_until(c, 30, sixteen_bytes, heard) || heard->closed)
        print_error("tunnel: %d %s\n", heard->closed, ssh_error_text(&heard->end.error));
    assert_string_equal(heard->kept[0], "there and back..");
    ssh_channel_end(heard->channel);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_EXITED);
    ssh_heard_free(heard);
}

static void tunnels_to_tcp(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    int port;
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    expect_echo(c, ssh_hear_tcp(host, "127.0.0.1", port));
    expect_echo(c, ssh_hear_tcp(host, "localhost", port)); /* resolved there */
    ssh_echo_free(echo);
}

static void tunnels_to_unix_sockets(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    char path[300], missing[300];
    snprintf(path, sizeof path, "%s/echo socket", ssh_site_folder(c->site));
    snprintf(missing, sizeof missing, "%s/nobody", ssh_site_folder(c->site));
    struct ssh_echo *echo = ssh_echo_unix(c, path);
    expect_echo(c, ssh_hear_unix(host, path));
    struct ssh_heard *heard = ssh_hear_unix(host, missing);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    ssh_expect_words(ssh_error_text(&heard->end.error), "nobody");
    ssh_heard_free(heard);
    ssh_echo_free(echo);
}

static void refused_tunnels(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    struct ssh_heard *heard = ssh_hear_tcp(host, "127.0.0.1", 1); /* nobody listens */
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    ssh_expect_words(ssh_error_text(&heard->end.error), "127.0.0.1", "refused");
    ssh_heard_free(heard);
    heard = ssh_hear_tcp(host, "no-such-host.invalid", 80);
    ssh_finish(c, heard, 60);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    ssh_heard_free(heard);
    ssh_expect(c, host, "echo still here", 0, "still here\n"); /* takes nothing else down */
}

static void forbidden_tunnels(void **state)
{
    struct ssh_caller *c = *state;
    int port;
    char lines[200], path[300];
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    snprintf(lines, sizeof lines, "PermitOpen 127.0.0.1:%d\nAllowStreamLocalForwarding no", port);
    struct ssh_host *host = serve(c, (struct sshd_options){.lines = lines});
    expect_echo(c, ssh_hear_tcp(host, "127.0.0.1", port));
    struct ssh_heard *heard = ssh_hear_tcp(host, "127.0.0.1", 22);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    assert_true(strcasestr(ssh_error_text(&heard->end.error), "prohibited") ||
                strcasestr(ssh_error_text(&heard->end.error), "PermitOpen"));
    ssh_heard_free(heard);
    snprintf(path, sizeof path, "%s/any", ssh_site_folder(c->site));
    struct ssh_echo *unix_echo = ssh_echo_unix(c, path);
    heard = ssh_hear_unix(host, path);
    ssh_finish(c, heard, 30);
    assert_int_equal(heard->end.ending, SSH_REFUSED);
    ssh_heard_free(heard);
    ssh_echo_free(unix_echo);
    ssh_echo_free(echo);
}

static bool all_echoed(void *data)
{
    const struct many *many = data;
    for (int i = 0; i < many->count; i++)
        if (!many->heard[i]->closed && many->heard[i]->total[0] < 5)
            return false;
    return true;
}

/* One session of a bastion carries them all: tunnels do not count as sessions. */
static void sixty_four_tunnels_at_once(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){.lines = "MaxStartups 100"});
    int port;
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    struct many many = {.count = 64};
    for (int i = 0; i < many.count; i++) {
        many.heard[i] = ssh_hear_tcp(host, "127.0.0.1", port);
        ssh_channel_write(many.heard[i]->channel, "hello", 5); /* waits until it is open */
    }
    assert_true(ssh_caller_until(c, 60, all_echoed, &many));
    for (int i = 0; i < many.count; i++) {
        assert_string_equal(many.heard[i]->kept[0], "hello");
        assert_int_equal(many.heard[i]->closed, 0);
        ssh_heard_free(many.heard[i]);
    }
    ssh_echo_free(echo);
}

/* ---- giving up ---- */

static bool is_gone(void *data)
{
    return kill(*(pid_t *)data, 0) != 0;
}

static void closed_in_the_middle(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    struct ssh_heard *heard = ssh_hear(host, "echo $$; exec yes");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    pid_t pid = (pid_t)atol(heard->kept[0]);
    assert_true(pid > 1);
    ssh_channel_close(heard->channel);
    heard->channel = NULL;
    ssh_expect(c, host, "echo after", 0, "after\n");
    assert_true(ssh_caller_until(c, 10, is_gone, &pid));
    assert_int_equal(heard->closed, 0);
    ssh_heard_free(heard);
    /* from within its own output, and before it was ever open */
    heard = ssh_hear(host, "yes");
    heard->close_at_output = true;
    struct ssh_heard *early = ssh_hear(host, "yes");
    ssh_heard_free(early);
    struct watched watched = {.heard = heard, .quiet_s = 0.2};
    assert_true(ssh_caller_until(c, 10, is_quiet, &watched));
    assert_int_equal(heard->closed, 0);
    assert_null(heard->channel);
    ssh_heard_free(heard);
    ssh_expect(c, host, "echo after", 0, "after\n");
}

/* Everyone is told before ssh_pool_free returns: what runs, what waits to be opened, what is being connected.
 */
static void pool_freed_in_the_middle(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    struct sshd *other = sshd_start(c->site, "other", (struct sshd_options){0});
    sshd_pause(other);
    struct ssh_heard *heard[] = {ssh_hear(host, "yes"), ssh_hear(host, "cat"),
                                 ssh_hear(ssh_caller_host(c, "other"), "true"), NULL};
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard[0]));
    ssh_channel_write(heard[1]->channel, "x", 1);
    heard[3] = ssh_hear(host, "echo never");
    ssh_caller_hang_up(c);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(heard[i]->closed, 1);
        /* those that were never open may say so */
        assert_true(heard[i]->end.ending == SSH_LOST || (i >= 2 && heard[i]->end.ending == SSH_REFUSED));
        ssh_heard_free(heard[i]);
    }
}

static void pool_freed_at_every_moment(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){.lines = "MaxStartups 100"});
    for (int i = 0; i < 40; i++) {
        struct ssh_heard *heard = ssh_hear(ssh_caller_host(c, "server"), "echo $$; cat");
        ssh_caller_until(c, 0.004 * i, ssh_heard_output, heard);
        ssh_caller_hang_up(c);
        assert_int_equal(heard->closed, 1);
        ssh_heard_free(heard);
    }
}

static void the_same_destination_is_the_same_host(void **state)
{
    struct ssh_caller *c = *state;
    struct ssh_host *host = serve(c, (struct sshd_options){0});
    assert_ptr_equal(host, ssh_caller_host(c, "server"));
    assert_int_equal(ssh_host_state(host), CONNECTION_IDLE);
    assert_string_equal(ssh_host_destination(host), "server");
    assert_non_null(ssh_host_transport(host));
    ssh_expect(c, host, "true", 0, ""); /* an idle host connects for a channel */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(exit_statuses),
        ssh_on_both(signals_are_no_success),
        ssh_on_both(errors_are_apart),
        ssh_on_both(shells_that_talk),
        ssh_on_both(other_locales),
        ssh_on_both(words_are_quoted),
        ssh_on_both(sixty_four_megabytes),
        ssh_on_both(five_megabytes_of_input),
        ssh_on_both(paused_reader),
        ssh_on_both(sixty_four_commands_at_once),
        ssh_on_both(tunnels_to_tcp),
        ssh_on_both(tunnels_to_unix_sockets),
        ssh_on_both(refused_tunnels),
        ssh_on_both(forbidden_tunnels),
        ssh_on_both(sixty_four_tunnels_at_once),
        ssh_on_both(closed_in_the_middle),
        ssh_on_both(pool_freed_in_the_middle),
        ssh_on_both(pool_freed_at_every_moment),
        ssh_on_both(the_same_destination_is_the_same_host),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh channels", tests, NULL, NULL);
}
