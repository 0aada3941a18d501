/* What `ssh -G` says, what a destination may be, and what key files are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/config.h"
#include "tests/unit/unit.h"

static int make_temporary(void **state)
{
    char name[] = "/tmp/signalbox-test-ssh-XXXXXX";
    if (!mkdtemp(name))
        return -1;
    *state = talloc_strdup(NULL, name);
    return 0;
}

static int remove_temporary(void **state)
{
    char *command = talloc_asprintf(*state, "rm -rf '%s'", (char *)*state);
    int failed = system(command);
    talloc_free(*state);
    return failed;
}

static void run(void *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void run(void *context, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *command = talloc_vasprintf(context, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

static struct ssh_settings *parse(void *context, const char *text)
{
    struct error error = {0};
    struct ssh_settings *settings = ssh_settings_parse(context, "web1", text, strlen(text), &error);
    assert_non_null(settings);
    return settings;
}

static void settings_are_read(void **state)
{
    const struct ssh_settings *settings =
        parse(*state, "host web1\r\nuser ops\nhostname 10.0.0.5\nport 2222\naddressfamily inet\n"
                      "hostkeyalias web\nproxyjump a@b:22,ssh://c@[::1]:33\nproxycommand none\n"
                      "identityfile ~/.ssh/id_a\nidentityfile /tmp/a b/key\nidentityfile ~/.ssh/id_a\n"
                      "certificatefile ~/x-cert.pub\nidentityagent none\nidentitiesonly yes\n"
                      "pubkeyauthentication unbound\nkbdinteractiveauthentication yes\n"
                      "passwordauthentication no\ngssapiauthentication yes\n"
                      "userknownhostsfile /home/u/.ssh/known hosts /home/u/two \"/tmp/c d\" ~/e\n"
                      "globalknownhostsfile none\nstricthostkeychecking ask\nhashknownhosts yes\n"
                      "connecttimeout 7\nserveraliveinterval 0\nremotecommand foo bar\n"
                      "hostkeyalgorithms ssh-ed25519,rsa-sha2-512\nfromthefuture yes\nnovalue\n");
    assert_string_equal(settings->destination, "web1");
    assert_string_equal(settings->user, "ops");
    assert_string_equal(settings->hostname, "10.0.0.5");
    assert_int_equal(settings->port, 2222);
    assert_string_equal(settings->host_key_alias, "web");
    assert_null(settings->proxy_command);
    assert_int_equal(settings->hop_count, 2);
    assert_string_equal(settings->hops[0].user, "a");
    assert_string_equal(settings->hops[0].host, "b");
    assert_int_equal(settings->hops[0].port, 22);
    assert_string_equal(settings->hops[1].destination, "ssh://c@[::1]:33");
    assert_string_equal(settings->hops[1].host, "::1");
    assert_int_equal(settings->hops[1].port, 33);
    assert_int_equal(settings->identity_count, 2);
    assert_string_equal(settings->identities[1].path, "/tmp/a b/key");
    assert_int_equal(settings->certificate_count, 1);
    assert_true(settings->agent_off);
    assert_true(settings->identities_only && settings->public_key && settings->keyboard_interactive);
    assert_false(settings->password);
    assert_true(settings->gssapi);
    assert_int_equal(settings->user_known_host_count, 4);
    assert_string_equal(settings->user_known_hosts[0], "/home/u/.ssh/known hosts");
    assert_string_equal(settings->user_known_hosts[1], "/home/u/two");
    assert_string_equal(settings->user_known_hosts[2], "/tmp/c d");
    assert_string_equal(settings->user_known_hosts[3], "~/e");
    assert_int_equal(settings->global_known_host_count, 0);
    assert_true(settings->connect_timeout_s == 7 && settings->server_alive_s == 0);
    assert_true(settings->has_remote_command && settings->hash_known_hosts);
    assert_string_equal(settings->host_key_algorithms, "ssh-ed25519,rsa-sha2-512");
}

static void no_host_is_an_error(void **state)
{
    static const char *const texts[] = {"",
                                        "hostname x\n",
                                        "port 22\n",
                                        "hostname x\nport 0\n",
                                        "hostname x\nport 70000\n",
                                        "hostname none\nport 22"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error error = {0};
        assert_null(ssh_settings_parse(*state, "x", texts[i], strlen(texts[i]), &error));
        assert_int_equal(error.kind, ERROR_CONFIG);
    }
}

static void destinations_become_arguments(void **state)
{
    static const char *const table[][2] = {
        {"web1", "-- web1"},
        {"ops@web1", "-l ops -- web1"},
        {"ops@web1:2222", "-l ops -p 2222 -- web1"},
        {"web1:22", "-p 22 -- web1"},
        {"::1", "-- ::1"},
        {"[::1]:33", "-p 33 -- ::1"},
        {"u@[fe80::1%eth0]", "-l u -- fe80::1%eth0"},
        {"ssh://web1", "-- web1"},
        {"ssh://u%40x@web1:22/", "-l u@x -p 22 -- web1"},
        {"a@b@c", "-l a@b -- c"},
        {"db_1.example-x.org", "-- db_1.example-x.org"},
        {"dom\\user@h", "-l dom\\user -- h"},
        {"", NULL},
        {"-oProxyCommand=x", NULL},
        {"u@-x", NULL},
        {"-x@h", NULL},
        {"ssh://-x", NULL},
        {"ssh://%2dx@h", NULL},
        {"a b", NULL},
        {"a\nb", NULL},
        {"h;x", NULL},
        {"$(x)", NULL},
        {"h:0", NULL},
        {"h:x", NULL},
        {"h:70000", NULL},
        {"@h", NULL},
        {"u@", NULL},
        {"[::1", NULL},
        {"[::1]x", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct error error = {0};
        const char **argv = ssh_destination_argv(*state, table[i][0], &error);
        char *line = talloc_strdup(*state, "");
        for (size_t j = 0; argv && argv[j]; j++)
            line = talloc_asprintf_append(line, "%s%s", j ? " " : "", argv[j]);
        if (table[i][1]) {
            assert_string_equal(line, table[i][1]);
        } else {
            assert_null(argv);
            assert_int_equal(error.kind, ERROR_CONFIG);
        }
    }
}

static const struct ssh_identity *find(const struct ssh_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->identity_count; i++)
        if (strcmp(strrchr(settings->identities[i].path, '/') + 1, name) == 0)
            return &settings->identities[i];
    return NULL;
}

static void key_files_are_examined(void **state)
{
    char *text = talloc_strdup(*state, "hostname h\nport 22\nuser u\n"), *folder = *state;
    static const char *const names[] = {"ed",    "locked", "rsa",    "pem",  "pkcs8", "ec",
                                        "agent", "ed",     "u-h-22", "gone", "open"};
    run(folder,
        "cd %s && ssh-keygen -q -t ed25519 -N '' -f ed && ssh-keygen -q -t ed25519 -a 1 -N secret -f locked",
        folder);
    run(folder, "cd %s && ssh-keygen -q -t rsa -b 2048 -N '' -f rsa && rm rsa.pub", folder);
    run(folder, "cd %s && ssh-keygen -q -t rsa -b 2048 -m PEM -N secret -f pem && rm pem.pub", folder);
    run(folder, "cd %s && ssh-keygen -q -t rsa -b 2048 -m PKCS8 -N secret -f pkcs8", folder);
    run(folder, "cd %s && ssh-keygen -q -t ecdsa -N '' -f ec && cp ed u-h-22 && cp ec open && chmod 644 open",
        folder);
    run(folder, "cd %s && mv ed.pub agent.pub && ssh-keygen -q -s ec -I x -n u agent.pub", folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        text = talloc_asprintf_append(text, "identityfile %s/%s\n", folder,
                                      strcmp(names[i], "u-h-22") == 0 ? "%r-%h-%p" : names[i]);
    struct ssh_settings *settings = parse(*state, text);
    ssh_settings_examine(settings);
    assert_int_equal(settings->identity_count, 9);
    const struct ssh_identity *ed = find(settings, "ed"), *locked = find(settings, "locked");
    assert_true(ed->type == SSH_KEY_ED25519 && !ed->encrypted && ed->public && !ed->public_only);
    assert_true(locked->type == SSH_KEY_ED25519 && locked->encrypted && locked->public_file);
    assert_true(find(settings, "rsa")->type == SSH_KEY_RSA && !find(settings, "rsa")->encrypted);
    assert_true(find(settings, "pem")->type == SSH_KEY_RSA && find(settings, "pem")->encrypted);
    assert_true(find(settings, "pkcs8")->type == SSH_KEY_RSA && find(settings, "pkcs8")->encrypted);
    assert_int_equal(find(settings, "ec")->type, SSH_KEY_ECDSA);
    const struct ssh_identity *agent = find(settings, "agent");
    assert_true(agent->public_only && agent->type == SSH_KEY_ED25519);
    assert_int_equal(agent->public_length, ed->public_length);
    assert_memory_equal(agent->public, ed->public, ed->public_length);
    assert_non_null(find(settings, "u-h-22"));
    assert_true(find(settings, "open")->too_open && !ed->too_open);
    assert_int_equal(settings->certificate_count, 1);
    assert_string_equal(settings->certificates[0], talloc_asprintf(*state, "%s/agent-cert.pub", folder));
}

struct answer {
    struct loop *loop;
    struct ssh_settings *settings;
    struct error error;
    int count, expected;
};

static void take(void *data, struct ssh_settings *settings, const struct error *error)
{
    struct answer *answer = data;
    answer->settings = settings;
    answer->error = error ? *error : (struct error){0};
    if (++answer->count == answer->expected)
        loop_stop(answer->loop);
}

static struct answer resolve(const char *config, const char *destination)
{
    struct answer answer = {.loop = loop_new(), .expected = 1}, cancelled = {0};
    ssh_resolving_cancel(ssh_settings_resolve(answer.loop, "test", config, destination, take, &cancelled));
    ssh_settings_resolve(answer.loop, "test: web1", config, destination, take, &answer);
    loop_run(answer.loop);
    loop_free(answer.loop);
    assert_int_equal(cancelled.count, 0);
    return answer;
}

static void ssh_is_asked(void **state)
{
    char *config = talloc_asprintf(*state, "%s/config", (char *)*state);
    run(*state,
        "printf 'Host web1\\n Hostname 10.1.2.3\\n Port 99\\nMatch host 10.1.2.3 exec true\\n User ops\\n' "
        ">%s",
        config);
    struct answer answer = resolve(config, "web1");
    assert_non_null(answer.settings);
    assert_string_equal(answer.settings->hostname, "10.1.2.3");
    assert_int_equal(answer.settings->port, 99);
    assert_string_equal(answer.settings->user, "ops");
    talloc_free(answer.settings);
    answer = resolve(config, "me@web1:100");
    assert_int_equal(answer.settings->port, 100);
    assert_string_equal(answer.settings->user, "me");
    talloc_free(answer.settings);
}

static void what_ssh_refuses_is_told(void **state)
{
    char *config = talloc_asprintf(*state, "%s/config", (char *)*state);
    run(*state, "printf 'Nonsense yes\\n' >%s", config);
    struct answer answer = resolve(config, "web1");
    assert_null(answer.settings);
    assert_int_equal(answer.error.kind, ERROR_CONFIG);
    assert_string_equal(answer.error.where, "test: web1");
    assert_non_null(strstr(answer.error.why, "line 1: Bad configuration option: nonsense"));
    answer = resolve("/nowhere", "web1");
    assert_non_null(strstr(answer.error.why, "No such file"));
    answer = resolve(NULL, "-oProxyCommand=x");
    assert_int_equal(answer.error.kind, ERROR_CONFIG);
    assert_non_null(strstr(answer.error.why, "dash"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settings_are_read, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(no_host_is_an_error, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(destinations_become_arguments, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(key_files_are_examined, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(ssh_is_asked, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(what_ssh_refuses_is_told, make_temporary, remove_temporary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
