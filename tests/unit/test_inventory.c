/* Ansible inventories: groups, ranges, variables and their precedence, every error with its place, and files
 * that stand for too much. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "tests/unit/unit.h"

static int set_up(void **state)
{
    *state = talloc_new(NULL);
    return 0;
}

static int tear_down(void **state)
{
    talloc_free(*state);
    return 0;
}

/* "name group ssh" of each host, a line each; or the errors. */
static char *read_text(void *context, const char *text)
{
    struct error_list *errors = error_list_new(context);
    size_t count;
    const struct environment_host *hosts =
        environment_parse_inventory(context, "hosts.ini", text, strlen(text), &count, errors);
    assert_true(!hosts == (errors->count > 0));
    char *result = talloc_strdup(context, "");
    for (size_t i = 0; i < count; i++)
        result = talloc_asprintf_append(result, "%s %s %s\n", hosts[i].name,
                                        hosts[i].group ? hosts[i].group : "-", hosts[i].ssh);
    return hosts ? result : error_list_text(context, errors);
}

static void test_groups_ranges_and_variables(void **state)
{
    assert_string_equal(read_text(*state,
                                  "# a comment\n"
                                  "bastion ansible_host=203.0.113.5 ansible_port=2222 ansible_user=ops\n"
                                  "\n"
                                  "[web]  ; those that users see\n"
                                  "web[08:10].example.com http_port=80 # inline\n"
                                  "[db]\r\n"
                                  "db[a:b] ansible_host=\"10.0.0.7\" ansible_connection='ssh'\r\n"
                                  "db1:2201\n"
                                  "six ansible_host=2001:db8::1 ansible_user=ops\n"
                                  "[2001:db8::2]:2200\n"
                                  "node[0:4:2]\n"),
                        "bastion - ops@203.0.113.5:2222\n"
                        "web08.example.com web web08.example.com\n"
                        "web09.example.com web web09.example.com\n"
                        "web10.example.com web web10.example.com\n"
                        "dba db 10.0.0.7\n"
                        "dbb db 10.0.0.7\n"
                        "db1 db db1:2201\n"
                        "six db ssh://ops@[2001:db8::1]\n"
                        "2001:db8::2 db ssh://[2001:db8::2]:2200\n"
                        "node0 db node0\n"
                        "node2 db node2\n"
                        "node4 db node4\n");
    assert_string_equal(read_text(*state, ""), "");
}

static void test_a_host_takes_its_first_group_and_stands_once(void **state)
{
    assert_string_equal(read_text(*state, "a\n[all]\na\nb\n[web]\nb\na\n[db]\na\nc\na ansible_port=2\n"),
                        "a web a:2\n"
                        "b web b\n"
                        "c db c\n");
}

static void test_precedence_of_group_variables(void **state)
{
    /* The host itself, then the deeper group, then the later name, then all. Sections may come in any order.
     */
    assert_string_equal(
        read_text(*state,
                  "[all:vars]\nansible_user=root\nansible_port = 22  # as everywhere\nnote='it''s {{ x'\n"
                  "[platform:children]\nweb\ndb\n"
                  "[platform:vars]\nansible_user=ops\n"
                  "[web]\nw1\nw2 ansible_user=me\n"
                  "[db]\nd1\n"
                  "[db:vars]\nansible_user=\"dba\"\n"
                  "[blue]\nw1\n"
                  "[alpha:vars]\nansible_port=1\n[alpha]\nd1\nx1\n"
                  "[zeta]\nx1\n[zeta:vars]\nansible_port=2\n"
                  "[directory]\ny1\n[directory:vars]\nansible_user=ops@corp.example\n"),
        "w1 web ops@w1:22\n"
        "w2 web me@w2:22\n"
        "d1 db dba@d1:1\n"
        "x1 alpha root@x1:2\n"
        "y1 directory ops@corp.example@y1:22\n");
}

static void test_every_error_with_its_place(void **state)
{
    assert_string_equal(
        read_text(*state, "web1 ansible_port=99999\n"
                          "  é1 ansible_user={{x}} ansible_host=a;b\n"
                          "[web\n"
                          "[db:varz]\n"
                          "[web:children]\n"
                          "missing\n"
                          "one two\n"
                          "[db]\n"
                          "db[5:1]\n"
                          "-oProxyCommand=reboot\n"
                          "db9 'open\n"
                          "db8 word\n"
                          "[db:vars]\n"
                          "ansible_user\n"),
        "hosts.ini:1:6: ansible_port: not a port. Write a number of 1 to 65535\n"
        "hosts.ini:2:6: ansible_user: a template, which only Ansible can fill in. Write the value out, or "
        "name "
        "these hosts under hosts: instead\n"
        "hosts.ini:2:25: ansible_host: not a host name or address\n"
        "hosts.ini:3:1: this section: not the name of a section. Write [GROUP], [GROUP:children] or "
        "[GROUP:vars]\n"
        "hosts.ini:4:5: this section: unknown kind of section. Write [GROUP], [GROUP:children] or "
        "[GROUP:vars]\n"
        "hosts.ini:7:1: one: more than one word in a section of children. Put each group on a line of its "
        "own\n"
        "hosts.ini:9:1: db[5:1]: a range that ends before it begins. Write the smaller end first: "
        "web[01:50]\n"
        "hosts.ini:10:1: -oProxyCommand=reboot: this name cannot be used. Write NAME, NAME:PORT or "
        "NAME[01:50]\n"
        "hosts.ini:11:5: this word: a quote is opened and not closed. Close the quote\n"
        "hosts.ini:11:5: open: behind the host's name come variables: KEY=VALUE. Write NAME "
        "ansible_host=10.0.0.5 ansible_user=ops\n"
        "hosts.ini:12:5: word: behind the host's name come variables: KEY=VALUE. Write NAME "
        "ansible_host=10.0.0.5 ansible_user=ops\n"
        "hosts.ini:14:1: this line: a section of variables holds KEY=VALUE. Write KEY=VALUE\n"
        "hosts.ini:6:1: missing: there is no such group in this inventory. Write a section [GROUP], or "
        "correct "
        "the name\n");
}

static void test_groups_that_go_in_circles(void **state)
{
    assert_string_equal(read_text(*state, "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n"),
                        "hosts.ini:1:2: a: this group is one of its own descendants. Take it out of its own "
                        "children\n");
    assert_string_equal(read_text(*state, "[a:children]\na\n[a]\nx\n"),
                        "hosts.ini:1:2: a: this group is one of its own descendants. Take it out of its own "
                        "children\n");
    assert_string_equal(read_text(*state, "[a:children]\nall\n[a]\nx\n"), "x a x\n");
}

static void test_files_of_another_form(void **state)
{
    static const char todo[] = "ansible-inventory --list shows its hosts: write them as INI";
    assert_string_equal(
        read_text(*state, "---\nall:\n  hosts:\n    web1:\n"),
        talloc_asprintf(*state, "hosts.ini:1:1: this file: YAML or JSON, not an inventory in INI form. %s\n",
                        todo));
    assert_string_equal(
        read_text(*state, "#!/usr/bin/python3\nprint(1)\n"),
        talloc_asprintf(*state, "hosts.ini:1:1: this file: a program, not an inventory in INI form. %s\n",
                        todo));
    struct error_list *errors = error_list_new(*state);
    size_t count;
    assert_null(environment_parse_inventory(*state, "hosts.ini", "web1\nw\0b2\n", 10, &count, errors));
    assert_int_equal(count, 0);
    assert_string_equal(error_list_text(*state, errors),
                        "hosts.ini:2:1: this line: control character 0x00. Name a text file\n");
}

static void test_thousands_of_hosts(void **state)
{
    struct error_list *errors = error_list_new(*state);
    char *text = talloc_strdup(*state, "[web]\nweb[0001:9000]\n[db]\n");
    for (int i = 0; i < 9000; i++)
        text = talloc_asprintf_append_buffer(text, "db%d ansible_host=10.1.%d.%d\n", i, i / 250, i % 250);
    size_t count;
    const struct environment_host *hosts =
        environment_parse_inventory(*state, "hosts.ini", text, strlen(text), &count, errors);
    assert_non_null(hosts);
    assert_int_equal(count, 18000);
    assert_string_equal(hosts[8999].name, "web9000");
    assert_string_equal(hosts[17999].ssh, "10.1.35.249");
    assert_string_equal(hosts[17999].group, "db");
}

static void test_too_much(void **state)
{
    assert_string_equal(read_text(*state, "[web]\nweb[1:99999999]\n"),
                        "hosts.ini:2:1: web20001: more than 20,000 hosts in one inventory. Split the file\n");
    assert_string_equal(
        read_text(*state, "a[0:9][0:9][0:9][0:9][0:9][0:9][0:9][0:9]\n"),
        "hosts.ini:1:1: a00020000: more than 20,000 hosts in one inventory. Split the file\n");
    char *many = talloc_strdup(*state, "");
    for (int i = 0; i < 11; i++)
        many = talloc_asprintf_append(many, "[g%d]\nweb[1:20000]\n", i);
    assert_string_equal(
        read_text(*state, many),
        "hosts.ini:22:1: web1: more than 200,000 hosts in all groups together. Split the file\n");
    many = talloc_strdup(*state, "");
    for (int i = 0; i < 2100; i++)
        many = talloc_asprintf_append(many, "[g%d]\n", i);
    assert_string_equal(read_text(*state, many),
                        "hosts.ini:1999:2: g1998: more than 2,000 groups in one inventory. Split the file\n");
    /* Each group the child of the one before: resolved one after the other, not over and over. */
    many = talloc_strdup(*state, "[g0]\nx\n[last:vars]\nansible_user=ops\n");
    for (int i = 0; i < 1900; i++)
        many = talloc_asprintf_append(many, "[%s%d:children]\ng%d\n", "g", i + 1, i);
    many = talloc_strdup_append(many, "[last:children]\ng1900\n");
    assert_string_equal(read_text(*state, many), "x g0 ops@x\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_groups_ranges_and_variables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_host_takes_its_first_group_and_stands_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_precedence_of_group_variables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_error_with_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_groups_that_go_in_circles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_of_another_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_thousands_of_hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_much, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
