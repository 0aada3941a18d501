/* The environment's sections about hosts: names, wildcards over ssh_config, the inventory beside the file,
 * what is asked and done there, hosts of the command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "tests/unit/unit.h"

struct fixture {
    char *folder;
    struct error_list *errors;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_hosts.XXXXXX", temporary ? temporary : "/tmp");
    f->errors = error_list_new(f);
    *state = f;
    return mkdtemp(f->folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    int status = system(talloc_asprintf(f, "rm -rf -- '%s'", f->folder));
    talloc_free(f);
    return status;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    FILE *file = fopen(talloc_asprintf(f, "%s/%s", f->folder, name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct environment *parse(struct fixture *f, const char *text)
{
    const char *path = talloc_asprintf(f, "%s/x.yaml", f->folder);
    struct environment *environment = environment_parse(f, path, text, strlen(text), f->errors);
    if (!environment)
        print_message("%s", error_list_text(f, f->errors));
    return environment;
}

static void assert_refused(struct fixture *f, const char *text, const char *expected)
{
    struct error_list *errors = error_list_new(f);
    assert_null(environment_parse(f, "x.yaml", text, strlen(text), errors));
    assert_string_equal(error_list_text(f, errors), expected);
}

/* "name group ssh" of each host, a line each. */
static char *hosts_text(struct fixture *f, const struct environment *e)
{
    char *text = talloc_strdup(f, "");
    for (size_t i = 0; i < e->host_count; i++)
        text = talloc_asprintf_append(text, "%s %s %s\n", e->hosts[i].name,
                                      e->hosts[i].group ? e->hosts[i].group : "-", e->hosts[i].ssh);
    return text;
}

static void test_ssh_section(void **state)
{
    struct fixture *f = *state;
    struct environment *e = parse(f, "hosts: {web1: }\n");
    assert_non_null(e);
    assert_null(e->ssh.config);
    assert_string_equal(e->ssh.transport, "auto");
    assert_true(e->ssh.fast_s == 5 && e->ssh.medium_s == 20 && e->ssh.slow_s == 300);
    assert_null(e->ssh.release);
    assert_string_equal(e->ssh.nginx_status, "http://127.0.0.1/nginx_status");
    e = parse(f, "ssh: {config: ssh/config, transport: system, fast: 2s, medium: 1min, slow: 1h, release: "
                 "/srv/RELEASE, nginx_status: \"http://127.0.0.1:8080/s\"}\nhosts: {web1: }\n");
    assert_non_null(e);
    assert_string_equal(e->ssh.config, talloc_asprintf(f, "%s/ssh/config", f->folder));
    assert_string_equal(e->ssh.transport, "system");
    assert_true(e->ssh.fast_s == 2 && e->ssh.medium_s == 60 && e->ssh.slow_s == 3600);
    assert_string_equal(e->ssh.release, "/srv/RELEASE");
    assert_string_equal(e->ssh.nginx_status, "http://127.0.0.1:8080/s");
    assert_refused(
        f,
        "ssh: {transport: openssh, fast: 0s, release: RELEASE, nginx_status: x, cnfig: y}\n"
        "hosts: {w: }\n",
        "x.yaml:1:18: ssh.transport: unknown value \"openssh\". Write auto, libssh2 or system\n"
        "x.yaml:1:33: ssh.fast: \"0s\" is not a length of time. Write a number and a unit: 300ms, "
        "30min, 24h, 30d\n"
        "x.yaml:1:46: ssh.release: not an absolute path. Write it from the root: /srv/app/RELEASE\n"
        "x.yaml:1:69: ssh.nginx_status: not the URL of a web page. Write https://HOST/PATH or "
        "http://HOST/PATH\n"
        "x.yaml:1:72: ssh.cnfig: unknown key. Did you mean config?\n");
}

static void test_wildcards_stand_for_host_entries(void **state)
{
    struct fixture *f = *state;
    write_file(f, "config",
               "# ours\nHost web1 web2 !web9 web*\n  User ops\nHOST = \"web3\" worker1\nInclude more*\n"
               "Match host web7\n  User x\nHost *\n");
    write_file(f, "more_1", talloc_asprintf(f, "host db1 web1\n\nInclude %s/more_1\n", f->folder));
    struct environment *e = parse(f, "ssh: {config: config}\n"
                                     "hosts:\n  zeta: {ssh: \"ops@10.0.0.1\"}\n  \"web*\": {group: web}\n"
                                     "  web2: {group: special}\n  \"w*\": {group: other}\n");
    assert_non_null(e);
    assert_string_equal(hosts_text(f, e), "zeta - ops@10.0.0.1\n"
                                          "web1 web web1\n"
                                          "web3 web web3\n"
                                          "web2 special web2\n"
                                          "worker1 other worker1\n");
    /* A relative Include is relative to ~/.ssh, as for ssh. */
    write_file(f, "config", talloc_asprintf(f, "Include \"%s/more*\"\n", f->folder));
    e = parse(f, "ssh: {config: config}\nhosts: {\"*\": }\n");
    assert_non_null(e);
    assert_string_equal(hosts_text(f, e), "db1 - db1\nweb1 - web1\n");
    assert_refused(
        f, "hosts: {a: , \"web*\": {ssh: ops@web}}\n",
        "x.yaml:1:14: web*: a wildcard names several hosts, ssh only one. Leave ssh out: what they "
        "mean is in ssh_config\n");
    /* No such file: the wildcards stand for nobody. */
    assert_refused(f, "ssh: {config: /nonexistent}\nhosts: {\"*\": }\n",
                   "x.yaml:1:1: this file: it names no server. Add hosts: {web1: {group: web}}, or postgres: "
                   "{main: {watch: \"host=db1 "
                   "dbname=app\"}}\n");
}

static void test_the_inventory_lies_beside_the_file(void **state)
{
    struct fixture *f = *state;
    write_file(f, "hosts.ini", "[web]\nweb[1:2] ansible_user=ops\n[db]\ndb1 ansible_host=10.0.0.9\n");
    struct environment *e =
        parse(f, "hosts: {db1: , web2: {group: canary, ssh: me@web2}, last: }\ninventory: hosts.ini\n");
    assert_non_null(e);
    /* What hosts: says counts; the inventory fills in the rest, once. */
    assert_string_equal(hosts_text(f, e), "db1 db 10.0.0.9\n"
                                          "web2 canary me@web2\n"
                                          "last - last\n"
                                          "web1 web ops@web1\n");
    assert_ptr_equal(environment_find_host(e, "last"), &e->hosts[2]);
    assert_null(environment_find_host(e, "none"));
    assert_string_equal(environment_destination(e, "web2"), "me@web2");
    assert_string_equal(environment_destination(e, "ops@bastion"), "ops@bastion");
    e = parse(f, "inventory: hosts.ini\nhosts: {last: }\n");
    assert_non_null(e);
    assert_string_equal(hosts_text(f, e), "web1 web ops@web1\nweb2 web ops@web2\ndb1 db 10.0.0.9\nlast - "
                                          "last\n");
}

static void test_errors_of_the_inventory(void **state)
{
    struct fixture *f = *state;
    write_file(f, "hosts.ini", "[web\n");
    const char *path = talloc_asprintf(f, "%s/x.yaml", f->folder);
    static const char text[] = "inventory: hosts.ini\npolizy: {}\n";
    assert_null(environment_parse(f, path, text, strlen(text), f->errors));
    assert_string_equal(
        error_list_text(f, f->errors),
        talloc_asprintf(f,
                        "%s/x.yaml:2:1: polizy: unknown key. Did you mean policy?\n"
                        "%s/hosts.ini:1:1: this section: not the name of a section. Write [GROUP], "
                        "[GROUP:children] or [GROUP:vars]\n",
                        f->folder, f->folder));
    static const char todo[] =
        "Name an inventory in INI form; its folder is this file's unless it begins with /";
    assert_refused(f, "inventory: /nonexistent.ini\n",
                   talloc_asprintf(f,
                                   "x.yaml:1:12: inventory: cannot read /nonexistent.ini: No such file or "
                                   "directory. %s\n",
                                   todo));
    assert_refused(
        f, "inventory: /dev/zero\n",
        talloc_asprintf(f, "x.yaml:1:12: inventory: cannot read /dev/zero: it is not a file. %s\n", todo));
    char *fifo = talloc_asprintf(f, "%s/fifo", f->folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_refused(
        f, talloc_asprintf(f, "inventory: %s\n", fifo),
        talloc_asprintf(f, "x.yaml:1:12: inventory: cannot read %s: it is not a file. %s\n", fifo, todo));
    assert_refused(f, "inventory: [a]\n",
                   "x.yaml:1:12: inventory: the name of a file is needed. Write the path of an Ansible "
                   "inventory: hosts.ini\n");
}

static void test_urls_logs_and_runbooks(void **state)
{
    struct fixture *f = *state;
    struct environment *e = parse(
        f, "hosts: {web1: {group: web}}\n"
           "urls:\n  login: {url: \"https://{domain}/login\", from: web1, domains: [a.example, b.example]}\n"
           "  moved: {url: \"http://x\", expect: 301}\n"
           "logs:\n  access: {path: /var/log/nginx/*.log, format: nginx, group: web}\n"
           "  app: {unit: gunicorn.service}\n  box: {container: app}\n"
           "runbooks:\n  restart:\n    help: start again\n    hosts: web\n    steps:\n"
           "      - systemctl restart gunicorn\n"
           "      - {run: touch /x, undo: rm /x}\n"
           "      - |\n        if true\n        then\techo yes\n        fi\n");
    assert_non_null(e);
    assert_int_equal(e->url_count, 2);
    assert_string_equal(e->urls[0].url, "https://{domain}/login");
    assert_int_equal(e->urls[0].expect, 200);
    assert_string_equal(e->urls[0].from, "web1");
    assert_int_equal(e->urls[0].domain_count, 2);
    assert_string_equal(e->urls[0].domains[1], "b.example");
    assert_int_equal(e->urls[1].expect, 301);
    assert_int_equal(e->log_count, 3);
    assert_string_equal(e->logs[0].path, "/var/log/nginx/*.log");
    assert_string_equal(e->logs[0].format, "nginx");
    assert_string_equal(e->logs[0].group, "web");
    assert_string_equal(e->logs[1].unit, "gunicorn.service");
    assert_null(e->logs[1].format);
    assert_string_equal(e->logs[2].container, "app");
    assert_int_equal(e->runbook_count, 1);
    assert_string_equal(e->runbooks[0].name, "restart");
    assert_string_equal(e->runbooks[0].help, "start again");
    assert_int_equal(e->runbooks[0].step_count, 3);
    assert_string_equal(e->runbooks[0].steps[0].run, "systemctl restart gunicorn");
    assert_null(e->runbooks[0].steps[0].undo);
    assert_string_equal(e->runbooks[0].steps[1].undo, "rm /x");
    assert_string_equal(e->runbooks[0].steps[2].run, "if true\nthen\techo yes\nfi\n");
}

static void test_what_is_wrong_with_them(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f,
        "hosts: {w: }\n"
        "urls: {a: {url: \"ftp://x\", expect: 99}, b: {expect: 200}, c: {url: \"http://u:p@h/\"}}\n"
        "logs: {a: {}, b: {unit: x, container: y}, c: {path: x.log, format: apache}}\n",
        "x.yaml:2:17: urls.a.url: not the URL of a web page. Write https://HOST/PATH or "
        "http://HOST/PATH\n"
        "x.yaml:2:36: urls.a.expect: \"99\" is not a status of HTTP. Write a number of 100 to 599: 200\n"
        "x.yaml:2:41: urls.b: url is missing. Write url: https://HOST/PATH\n"
        "x.yaml:2:68: urls.c.url: the URL holds a user. Take it out: pages are asked for without a "
        "login\n"
        "x.yaml:3:8: logs: a does not say where the log is. Write path: /var/log/FILE, unit: UNIT or "
        "container: NAME\n"
        "x.yaml:3:15: logs: b: a log comes from one place. Write path: /var/log/FILE, unit: UNIT or "
        "container: NAME\n"
        "x.yaml:3:53: logs.c.path: not an absolute path. Write it from the root: "
        "/srv/app/RELEASE\n"
        "x.yaml:3:68: logs.c.format: unknown value \"apache\". Write nginx, gunicorn, celery, "
        "postgres or plain\n");
    static const char todo[] = "Write a list: [\"systemctl stop celery\", {run: \"...\", undo: \"...\"}]";
    assert_refused(
        f,
        "hosts: {w: }\nrunbooks:\n  a: {help: x}\n  b: {steps: []}\n"
        "  c: {steps: [{undo: x}, {run: \"a\\x1bb\"}, {rum: x}, []]}\n  d: {steps: reboot}\n",
        talloc_asprintf(f,
                        "x.yaml:3:3: runbooks.a: steps is missing. Write steps: [\"systemctl restart "
                        "celery\"]\n"
                        "x.yaml:4:14: runbooks.b.steps: there is no step. %s\n"
                        "x.yaml:5:15: runbooks.c.steps: run is missing. %s\n"
                        "x.yaml:5:32: runbooks.c.steps.run: control or invisible characters in it. Write it "
                        "out: $(printf '\\033')\n"
                        "x.yaml:5:44: runbooks.c.steps.rum: unknown key. Did you mean run?\n"
                        "x.yaml:5:53: runbooks.c.steps: a command is needed. Write a command of the shell: "
                        "\"systemctl restart celery\"\n"
                        "x.yaml:6:14: runbooks.d.steps: a list is needed, this is a text. %s\n",
                        todo, todo, todo));
    assert_refused(
        f, "hosts: {w: }\nurls: {a: {url: \"http://x/\", domains: [a.b, \"c d\"]}}\n",
        "x.yaml:2:8: urls: the URL of a has no {domain} that its domains could stand for. Write url: "
        "https://{domain}/PATH\n"
        "x.yaml:2:45: urls.a.domains: not a domain. Write a list: [tenant1.example.com, "
        "tenant2.example.com]\n");
}

static void test_doubts(void **state)
{
    struct fixture *f = *state;
    write_file(f, "config", "Host jump* *\n");
    struct environment *e =
        parse(f, "ssh: {config: config}\nhosts: {web1: {group: web}, \"q*\": }\n"
                 "postgres:\n  a: {watch: host=x, via: bastion}\n  b: {watch: host=x, via: web1}\n"
                 "  c: {watch: host=x, via: ops@bastion}\n  d: {watch: host=x, via: jump1}\n"
                 "  e: {watch: host=x, via: bastion.example.com}\n"
                 "redis: {r: {url: \"redis://x\", via: other}}\n"
                 "urls: {u: {url: \"https://{domain}/\", from: web2}}\n"
                 "logs: {l: {unit: x, group: wep}, m: {unit: x, group: web}}\n"
                 "runbooks: {k: {hosts: web1, steps: [x]}, n: {hosts: nobody, steps: [x]}}\n");
    assert_non_null(e);
    environment_doubts(e, f->errors);
    assert_string_equal(error_list_text(f, f->errors),
                        "x: postgres.a.via: bastion is not one of hosts: and no Host entry of ssh_config. "
                        "ssh will look it up "
                        "as a name of the network\n"
                        "x: redis.r.via: other is not one of hosts: and no Host entry of ssh_config. ssh "
                        "will look it up as a "
                        "name of the network\n"
                        "x: hosts.q*: matches no Host entry of ssh_config\n"
                        "x: urls.u.from: web2 is not one of hosts:\n"
                        "x: urls.u.url: {domain} stands for nothing. Add domains: [tenant1.example.com], or "
                        "tenancy: {domains: "
                        "public.tenants_domain}\n"
                        "x: logs.l.group: wep is the group of no host\n"
                        "x: runbooks.n.hosts: nobody is neither a host nor the group of one\n");
}

static struct environment *from_arguments(struct fixture *f, const char *const dsns[], size_t dsn_count,
                                          const char *const destinations[], size_t host_count,
                                          struct error_list *errors)
{
    return environment_from_arguments(
        f, &(struct environment_arguments){dsns, dsn_count, destinations, host_count, NULL, 0}, errors);
}

static void test_hosts_of_the_command_line(void **state)
{
    struct fixture *f = *state;
    static const char *const destinations[] = {
        "web1",     "ops@web1",        "ops@web1:2222",        "ops@web1:2222", "ssh://me@[2001:db8::1]:22",
        "10.0.0.5", "u@d@host.domain", "ssh://ops@db1:22/home"};
    static const char *const dsns[] = {"host=db1 dbname=app"};
    struct environment *e = from_arguments(f, NULL, 0, destinations, 8, f->errors);
    assert_non_null(e);
    assert_string_equal(hosts_text(f, e), "web1 - web1\n"
                                          "web1-2 - ops@web1\n"
                                          "web1-3 - ops@web1:2222\n"
                                          "2001:db8::1 - ssh://me@[2001:db8::1]:22\n"
                                          "10.0.0.5 - 10.0.0.5\n"
                                          "host.domain - u@d@host.domain\n"
                                          "db1 - ssh://ops@db1:22/home\n");
    assert_int_equal(e->kind, ENVIRONMENT_ADHOC);
    assert_true(e->access.locked);
    assert_string_equal(e->title, "7 hosts");
    assert_string_equal(e->ssh.transport, "auto");
    e = from_arguments(f, dsns, 1, destinations, 2, f->errors);
    assert_non_null(e);
    assert_string_equal(e->title, "1 server, 2 hosts");
    assert_int_equal(e->server_count, 1);
    e = from_arguments(f, NULL, 0, destinations, 1, f->errors);
    assert_string_equal(e->title, "web1");
    static const char *const wrong[] = {"-oProxyCommand=x", "a b", "ops@", ""};
    for (size_t i = 0; i < 4; i++) {
        struct error_list *errors = error_list_new(f);
        assert_null(from_arguments(f, NULL, 0, &wrong[i], 1, errors));
        assert_int_equal(errors->count, 1);
        assert_string_equal(errors->items[0].what, "not an SSH destination");
    }
}

static void test_thousands_of_hosts_in_the_file(void **state)
{
    struct fixture *f = *state;
    char *text = talloc_strdup(f, "hosts:\n");
    for (int i = 0; i < 9000; i++)
        text = talloc_asprintf_append_buffer(text, "  web%04d: {group: web}\n", i);
    write_file(f, "hosts.ini", "[db]\ndb[1:9000]\n");
    struct environment *e = parse(f, talloc_asprintf(f, "%sinventory: hosts.ini\n", text));
    assert_non_null(e);
    assert_int_equal(e->host_count, 18000);
    assert_string_equal(e->hosts[8999].name, "web8999");
    assert_string_equal(e->hosts[9000].name, "db1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ssh_section, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wildcards_stand_for_host_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_inventory_lies_beside_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_of_the_inventory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_urls_logs_and_runbooks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_with_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_doubts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hosts_of_the_command_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_thousands_of_hosts_in_the_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
