/* The environment file: what it says, every rule with its exact message, files that mean harm, and whom the
 * console trusts. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/environment.h"
#include "backends/yaml.h"
#include "tests/unit/unit.h"

struct fixture {
    struct error_list *errors;
    char *folder; /* XDG_CONFIG_HOME */
    char *files;  /* the folder of environment files in it */
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->errors = error_list_new(f);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_environment.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    f->files = talloc_asprintf(f, "%s/signalbox", f->folder);
    setenv("XDG_CONFIG_HOME", f->folder, 1);
    *state = f;
    return mkdir(f->files, 0700);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f);
    return status;
}

static struct environment *parse(struct fixture *f, const char *text)
{
    struct environment *environment = environment_parse(f, "x.yaml", text, strlen(text), f->errors);
    if (!environment)
        print_message("%s", error_list_text(f, f->errors));
    return environment;
}

/* The text is refused with exactly these lines. */
static void assert_refused_bytes(struct fixture *f, const char *text, size_t length, const char *expected)
{
    struct error_list *errors = error_list_new(f);
    assert_null(environment_parse(f, "x.yaml", text, length, errors));
    assert_string_equal(error_list_text(f, errors), expected);
    talloc_free(errors);
}

static void assert_refused(struct fixture *f, const char *text, const char *expected)
{
    assert_refused_bytes(f, text, strlen(text), expected);
}

static char *write_file(struct fixture *f, const char *name, const char *text, mode_t mode)
{
    char *path = talloc_asprintf(f, "%s/%s", f->files, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void clear_variables(void)
{
    static const char *const names[] = {"PGHOST",     "PGHOSTADDR", "PGSERVICE",
                                        "PGDATABASE", "PGPORT",     "PGUSER"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

static const char smallest[] = "postgres: {main: {watch: \"host=db1\"}}\n";

static void test_the_example_of_the_design(void **state)
{
    struct fixture *f = *state;
    struct environment *e = parse(
        f, "environment: {kind: production, title: Al-Noor production}\n"
           "postgres:\n"
           "  main:    {watch: \"service=prod\", read: \"service=prod user=sb_read\", act: \"service=prod "
           "user=sb_act\", databases: [app], via: bastion}\n"
           "  replica: {watch: \"host=db2 dbname=app user=sb_watch\"}\n"
           "redis:   {broker: {url: \"redis://redis1:6379/0\", via: bastion}}\n"
           "hosts:   {web1: {group: web}, db1: {group: db, ssh: \"ops@db1\"}}\n"
           "tenancy: {model: schema, registry: public.tenants_client, domains: public.tenants_domain}\n"
           "policy:  {rpo: 24h, rto: 30min, retention: 30d, api_latency: 300ms}\n"
           "access:  {locked: true, confirm: reach}\n");
    assert_non_null(e);
    assert_string_equal(e->name, "x");
    assert_string_equal(e->title, "Al-Noor production");
    assert_int_equal(e->kind, ENVIRONMENT_PRODUCTION);
    assert_true(e->access.locked);
    assert_false(e->access.second_person);
    assert_int_equal(e->server_count, 2);
    assert_string_equal(e->servers[0].name, "main");
    assert_string_equal(e->servers[0].watch, "service=prod");
    assert_string_equal(e->servers[0].read, "service=prod user=sb_read");
    assert_string_equal(e->servers[0].act, "service=prod user=sb_act");
    assert_int_equal(e->servers[0].database_count, 1);
    assert_string_equal(e->servers[0].databases[0], "app");
    assert_string_equal(e->servers[0].via, "bastion");
    assert_null(e->servers[1].act);
    assert_null(e->servers[1].via);
    assert_ptr_equal(environment_find_server(e, "replica"), &e->servers[1]);
    assert_null(environment_find_server(e, "none"));
    assert_string_equal(e->redis[0].url, "redis://redis1:6379/0");
    assert_int_equal(e->host_count, 2);
    assert_string_equal(e->hosts[0].ssh, "web1");
    assert_string_equal(e->hosts[1].ssh, "ops@db1");
    assert_string_equal(e->hosts[1].group, "db");
    assert_int_equal(e->tenancy.model, TENANCY_SCHEMA);
    assert_string_equal(e->tenancy.domains, "public.tenants_domain");
    assert_true(e->policy.rto == 1800 && e->policy.api_latency == 0.3);
}

static void test_defaults(void **state)
{
    struct fixture *f = *state;
    struct environment *e = parse(f, smallest);
    assert_non_null(e);
    assert_int_equal(e->kind, ENVIRONMENT_PRODUCTION);
    assert_true(e->access.locked);
    assert_string_equal(e->title, "x");
    assert_int_equal(e->tenancy.model, TENANCY_NONE);
    assert_true(e->policy.rpo == 86400 && e->policy.rto == 1800 && e->policy.retention == 30 * 86400);
    assert_true(e->policy.api_latency == 0.3 && e->policy.backup == 86400);
    assert_true(e->policy.full_backup == 7 * 86400 && e->policy.restore_test == 31 * 86400);
}

static void test_what_is_locked(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        bool locked;
    } cases[] = {
        {"environment: {kind: production}\n", true},
        {"environment: {kind: staging}\n", false},
        {"environment: {kind: development}\n", false},
        {"environment: {kind: development}\naccess: {locked: true}\n", true},
        {"access: {locked: false}\nenvironment: {kind: production}\n", false},
        /* The order of the sections does not matter. */
        {"access: {second_person: true}\nenvironment: {kind: staging}\n", false},
        {"access: {second_person: true}\nenvironment: {kind: production}\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct environment *e = parse(f, talloc_asprintf(f, "%s%s", smallest, cases[i].text));
        assert_non_null(e);
        assert_int_equal(e->access.locked, cases[i].locked);
    }
}

static void test_unknown_keys(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "postgers: {main: {watch: \"host=db1\"}}\n",
                   "x.yaml:1:1: postgers: unknown key. Did you mean postgres?\n");
    assert_refused(f, "postgres:\n  main:\n    watch: host=db1\n    raed: host=db1\n",
                   "x.yaml:4:5: postgres.main.raed: unknown key. Did you mean read?\n");
    assert_refused(
        f, "postgres: {main: {watch: host=db1, xyzzy: 1}}\n",
        "x.yaml:1:36: postgres.main.xyzzy: unknown key. Known here: watch, read, act, databases and "
        "via\n");
    /* Columns count characters, not bytes. */
    assert_refused(f, "postgres: {\"大同小学\": {watch: host=db1, raed: x}}\n",
                   "x.yaml:1:38: postgres.大同小学.raed: unknown key. Did you mean read?\n");
}

static void test_wrong_types(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f, "- a\n- b\n",
        "x.yaml:1:1: this file: a mapping (key: value) is needed, this is a list. Write key: value "
        "pairs below it or {key: value}\n");
    assert_refused(
        f, "postgres: \"host=db1\"\n",
        "x.yaml:1:11: postgres: a mapping (key: value) is needed, this is a text. Write key: value "
        "pairs below it or {key: value}\n");
    assert_refused(f, "postgres: {main: [a]}\n",
                   "x.yaml:1:18: postgres.main: a mapping (key: value) is needed, this is a list. Write key: "
                   "value pairs below it or {key: value}\n");
    assert_refused(
        f, "postgres: {main: {watch: {host: db1}}}\n",
        "x.yaml:1:26: postgres.main.watch: one value is needed, this is a mapping (key: value). Write "
        "one value, or leave the key out\n");
    assert_refused(
        f, "postgres:\n  main:\n    watch:\n    act: host=db1\n",
        "x.yaml:3:5: postgres.main.watch: one value is needed, this is nothing. Write one value, or "
        "leave the key out\n");
    assert_refused(
        f, "postgres: {main: {watch: host=db1, databases: app}}\n",
        "x.yaml:1:47: postgres.main.databases: a list is needed, this is a text. Write a list: [app, "
        "other]\n");
    assert_refused(
        f, "postgres: {main: {watch: host=db1, databases: [app, {}, app]}}\n",
        "x.yaml:1:53: postgres.main.databases: not the name of a database. Write the names of "
        "databases: [app, other]\n"
        "x.yaml:1:57: postgres.main.databases: database \"app\" is given twice. Keep one of the two\n");
    assert_refused(f, "postgres: {main: {watch: host=db1}}\naccess: {locked: yes}\n",
                   "x.yaml:2:18: access.locked: \"yes\" is neither true nor false. Write true or false\n");
    assert_refused(f, "postgres: {main: {watch: host=db1}}\naccess: {locked: \"true\"}\n",
                   "x.yaml:2:18: access.locked: \"true\" is neither true nor false. Write true or false\n");
}

static void test_words(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f, "environment: {kind: prodution}\npostgres: {main: {watch: host=db1}}\n",
        "x.yaml:1:21: environment.kind: unknown value \"prodution\". Did you mean production? It is one "
        "of development, staging or production\n");
    /* Nobody makes a file that says it is no file. */
    assert_refused(f, "environment: {kind: adhoc}\npostgres: {main: {watch: host=db1}}\n",
                   "x.yaml:1:21: environment.kind: unknown value \"adhoc\". Write development, staging or "
                   "production\n");
    assert_refused(
        f, "tenancy: {model: mixed}\npostgres: {main: {watch: host=db1}}\n",
        "x.yaml:1:18: tenancy.model: unknown value \"mixed\". Write none, schema, rls, database or "
        "citus\n");
    assert_refused(f, "access: {confirm: never}\npostgres: {main: {watch: host=db1}}\n",
                   "x.yaml:1:19: access.confirm: unknown value \"never\". Write reach\n");
}

static void test_durations(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {"24", "-1h", "0s", "soon", "1 fortnight", "999999999999d"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(
            f, talloc_asprintf(f, "policy: {rpo: %s}\npostgres: {main: {watch: host=db1}}\n", wrong[i]),
            talloc_asprintf(f,
                            "x.yaml:1:15: policy.rpo: \"%s\" is not a length of time. Write a number "
                            "and a unit: 300ms, 30min, 24h, 30d\n",
                            wrong[i]));
}

static void test_duplicate_keys(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "postgres: {main: {watch: host=db1}}\n\npostgres: {other: {watch: host=db2}}\n",
                   "x.yaml:3:1: postgres: this key is given twice, first in line 1. Keep one of the two\n");
    assert_refused(f, "postgres:\n  main: {watch: host=db1}\n  main: {watch: host=db2}\n",
                   "x.yaml:3:3: main: this key is given twice, first in line 2. Keep one of the two\n");
    assert_refused(f, "postgres:\n  main: {watch: host=db1, watch: host=db2}\n",
                   "x.yaml:2:27: watch: this key is given twice, first in line 2. Keep one of the two\n");
}

static void test_dsns(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f, "postgres: {main: {watch: prod}}\n",
        "x.yaml:1:26: postgres.main.watch: missing \"=\" after \"prod\" in connection info string. Write "
        "\"host=db1 dbname=app user=sb_watch\", \"service=NAME\" or postgresql://user@db1/app\n");
    assert_refused(f, "postgres: {main: {watch: \"hosst=db1\"}}\n",
                   "x.yaml:1:26: postgres.main.watch: invalid connection option \"hosst\". Write \"host=db1 "
                   "dbname=app user=sb_watch\", \"service=NAME\" or postgresql://user@db1/app\n");
    assert_refused(f, "postgres: {main: {watch: \"\"}}\n",
                   "x.yaml:1:26: postgres.main.watch: the DSN is empty. Write \"host=db1 dbname=app "
                   "user=sb_watch\", or leave the key out\n");
    assert_refused(f, "postgres: {main: {act: \"host=db1\"}}\n",
                   "x.yaml:1:12: postgres.main: watch is missing. Write watch: \"host=db1 dbname=app "
                   "user=sb_watch\", a role with pg_monitor\n");
    assert_refused(f, "postgres: {main: }\n",
                   "x.yaml:1:12: postgres.main: watch is missing. Write watch: \"host=db1 dbname=app "
                   "user=sb_watch\", a role with pg_monitor\n");
    assert_non_null(
        parse(f, "postgres: {main: {watch: \"postgresql://sb_watch@db1:5433/app?sslmode=require\"}}\n"));
}

static void test_passwords(void **state)
{
    struct fixture *f = *state;
    static const char *const dsns[] = {
        "host=db1 password=s3cret",
        "postgresql://app:s3cret@db1/app",
        "postgresql://db1/app?password=s3cret",
        "host=db1 PASSWORD=s3cret",
        "postgres://app:s3cret@db1,db2:1/app",
        "host=db1 sslpassword=s3cret",
        "postgresql://app:s3cret@db1/app?nonsense=1",
        "host=db1 password='s3cret",
        "password = s3cret host",
    };
    for (size_t i = 0; i < sizeof dsns / sizeof *dsns; i++) {
        struct error_list *errors = error_list_new(f);
        char *text = talloc_asprintf(f, "postgres:\n  main:\n    watch: \"%s\"\n", dsns[i]);
        assert_null(environment_parse(f, "x.yaml", text, strlen(text), errors));
        char *told = error_list_text(f, errors);
        assert_int_equal(errors->count, 1);
        assert_null(strstr(told, "s3cret"));
        assert_ptr_equal(strstr(told, "x.yaml:3:12: postgres.main.watch: "), told);
        assert_non_null(
            strstr(told, "password. Take it out and use ~/.pgpass, a service file or passfile=FILE\n"));
    }
    assert_refused(
        f, "postgres: {main: {watch: host=db1 password=x}}\n",
        "x.yaml:1:26: postgres.main.watch: the DSN holds a password. Take it out and use ~/.pgpass, a "
        "service file or passfile=FILE\n");
    assert_refused(f, "redis: {cache: {url: \"redis://app:s3cret@redis1/0\"}}\n",
                   "x.yaml:1:22: redis.cache.url: the URL holds a password. Take it out and use "
                   "~/.config/signalbox/redispass or REDISCLI_AUTH\n");
    assert_non_null(parse(f, "postgres: {main: {watch: \"host=db1 passfile=/etc/pgpass\"}}\n"));
}

static void test_redis_hosts_and_tenancy(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "redis: {cache: {url: \"http://redis1\"}}\n",
                   "x.yaml:1:22: redis.cache.url: it begins with redis://, rediss:// or unix://. Write "
                   "redis://USER@HOST:PORT/NUMBER, rediss://... or unix:///PATH?db=N\n");
    assert_refused(f, "redis: {cache: {url: \"redis://redis1:70000/0\"}}\n",
                   "x.yaml:1:22: redis.cache.url: the port is not a number from 1 to 65535. Write "
                   "redis://USER@HOST:PORT/NUMBER, rediss://... or unix:///PATH?db=N\n");
    assert_refused(f, "redis: {cache: {via: bastion}}\n",
                   "x.yaml:1:9: redis.cache: url is missing. Write url: redis://HOST:PORT/NUMBER\n");
    assert_refused(
        f, "hosts: {web1: {ssh: \"-oProxyCommand=reboot\"}}\n",
        "x.yaml:1:21: hosts.web1.ssh: not an SSH destination. Write HOST or USER@HOST, as for ssh\n");
    assert_refused(
        f, "hosts: {\"a b\": {}}\n",
        "x.yaml:1:9: hosts.a b: this name cannot be used. Use at most 63 bytes without spaces, slashes, "
        "quotes and a leading \"-\"\n");
    assert_refused(
        f, "hosts: {web1: }\ntenancy: {registry: tenants}\n",
        "x.yaml:2:21: tenancy.registry: not the name of a table. Write it with its schema, without "
        "quotes: public.tenants_client\n");
    struct environment *e = parse(
        f,
        "redis: {a: {url: \"unix:///run/redis.sock\"}, b: {url: \"rediss://[::1]:6380/1\"}}\nhosts: {w: }\n");
    assert_non_null(e);
    assert_int_equal(e->redis_count, 2);
    assert_string_equal(e->hosts[0].ssh, "w");
}

static void test_all_errors_at_once(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f,
        "access: {locked: maybe}\n"
        "environment: {kind: prod, titel: x}\n"
        "postgres:\n"
        "  main: {watch: prod, act: \"host=db1 password=x\"}\n"
        "policy: {rpo: 1}\n"
        "polizy: {}\n",
        "x.yaml:1:18: access.locked: \"maybe\" is neither true nor false. Write true or false\n"
        "x.yaml:2:21: environment.kind: unknown value \"prod\". Write development, staging or "
        "production\n"
        "x.yaml:2:27: environment.titel: unknown key. Did you mean title?\n"
        "x.yaml:4:17: postgres.main.watch: missing \"=\" after \"prod\" in connection info string. Write "
        "\"host=db1 dbname=app user=sb_watch\", \"service=NAME\" or postgresql://user@db1/app\n"
        "x.yaml:4:28: postgres.main.act: the DSN holds a password. Take it out and use ~/.pgpass, a "
        "service file or passfile=FILE\n"
        "x.yaml:5:15: policy.rpo: \"1\" is not a length of time. Write a number and a unit: 300ms, "
        "30min, 24h, 30d\n"
        "x.yaml:6:1: polizy: unknown key. Did you mean policy?\n");
}

static void test_broken_yaml(void **state)
{
    struct fixture *f = *state;
    static const char todo[] = "Check colons, indentation, quotes and brackets here and in the line before";
    assert_refused(
        f, "postgres:\n  main: watch: x\n",
        talloc_asprintf(f,
                        "x.yaml:2:9: postgres.main: a mapping (key: value) is needed, this is a text. Write "
                        "key: value pairs below it or {key: value}\n"
                        "x.yaml:2:14: not YAML: invalid nested block mapping on the same line. %s\n",
                        todo));
    assert_refused(
        f, "postgres:\n\tmain: {watch: host=db1}\n",
        talloc_asprintf(f, "x.yaml:2:1: not YAML: tab character may not be used as indentation. %s\n", todo));
    /* What stands before the mistake is checked all the same; what could stand behind it is not missed. */
    assert_refused(f, "polizy: {}\npostgres:\n  main: {act: \"host=db1\n",
                   talloc_asprintf(f,
                                   "x.yaml:1:1: polizy: unknown key. Did you mean policy?\n"
                                   "x.yaml:3:16: not YAML: double-quoted scalar without closing quote. %s\n",
                                   todo));
}

static void test_empty_files(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n", "\xef\xbb\xbf", "~\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_refused(
            f, texts[i],
            "x.yaml:1:1: this file: it is empty. Write at least postgres: {main: {watch: \"host=db1 "
            "dbname=app\"}}\n");
    assert_refused(f, "environment: {kind: staging}\n",
                   "x.yaml:1:1: this file: it names no server. Add hosts: {web1: {group: web}}, or postgres: "
                   "{main: {watch: \"host=db1 "
                   "dbname=app\"}}\n");
}

static void test_windows_files(void **state)
{
    struct fixture *f = *state;
    struct environment *e = parse(f, "\xef\xbb\xbf"
                                     "postgres:\r\n  main: {watch: \"host=db1\"}\r\n");
    assert_non_null(e);
    assert_string_equal(e->servers[0].watch, "host=db1");
    assert_refused(f, "\xef\xbb\xbfpostgers: 1\r\n",
                   "x.yaml:1:1: postgers: unknown key. Did you mean postgres?\n");
}

static void test_aliases_and_tags(void **state)
{
    struct fixture *f = *state;
    /* A billion laughs: it must be refused, and at once. */
    assert_refused(f, "a: &a [x, x]\nb: [*a, *a]\n",
                   "x.yaml:1:1: a: unknown key. Known here: environment, postgres, redis, ssh, hosts, "
                   "inventory, jobs, urls, logs, "
                   "runbooks, tenancy, policy and access\n"
                   "x.yaml:1:5: anchor: anchors, aliases and tags are not read here. Write the value out\n"
                   "x.yaml:2:1: b: unknown key. Known here: environment, postgres, redis, ssh, hosts, "
                   "inventory, jobs, urls, logs, "
                   "runbooks, tenancy, policy and access\n"
                   "x.yaml:2:5: alias: anchors, aliases and tags are not read here. Write the value out\n"
                   "x.yaml:2:9: alias: anchors, aliases and tags are not read here. Write the value out\n");
    assert_refused(f, "postgres: {main: {watch: !!str host=db1}}\n",
                   "x.yaml:1:26: tag: anchors, aliases and tags are not read here. Write the value out\n");
    char *bomb = talloc_strdup(f, "l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 30; i++)
        bomb = talloc_asprintf_append(bomb, "l%d: &l%d [*l%d,*l%d,*l%d,*l%d,*l%d,*l%d,*l%d,*l%d,*l%d]\n", i,
                                      i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    assert_null(environment_parse(f, "x.yaml", bomb, strlen(bomb), f->errors));
    assert_int_equal(f->errors->count, ERROR_LIST_MAX);
    assert_true(f->errors->dropped > 0);
}

static void test_odd_keys(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "postgres: {main: {watch: host=db1}}\n? [a, b]\n: 1\n",
                   "x.yaml:2:3: this key: a key cannot be a list or a mapping. Write a plain word\n");
    assert_refused(f, "postgres: {main: {watch: host=db1}}\n: 1\n",
                   "x.yaml:2:3: this key: the key is empty. Write a word in front of the colon\n");
    assert_refused(
        f, "postgres: {main: {watch: host=db1}}\n---\npostgres: {}\n",
        "x.yaml:2:1: second document: one file describes one environment. Put it into a file of its "
        "own\n");
}

static void test_bytes_that_are_no_text(void **state)
{
    struct fixture *f = *state;
    assert_refused_bytes(f, "postgres: \0 {main: {}}\n", 23,
                         "x.yaml:1:11: this line: control character 0x00. Remove it\n");
    assert_refused(f, "a: 1\nb: \x1b[2J\n", "x.yaml:2:4: this line: control character 0x1b. Remove it\n");
    assert_refused(
        f, "a: é\xff\nb: \xc0\xaf\n",
        "x.yaml:1:5: this line: byte 0xff is not UTF-8. Save the file as UTF-8 without this byte\n"
        "x.yaml:2:4: this line: byte 0xc0 is not UTF-8. Save the file as UTF-8 without this byte\n");
    assert_refused_bytes(f, "\xff\xfe\x61\x00", 4,
                         "x.yaml:1:1: this line: byte 0xff is not UTF-8. Save the file as UTF-8 without this "
                         "byte\n");
    /* Escapes and invisible characters cannot bring in what the bytes may not hold. */
    assert_refused(
        f, "environment: {title: \"a\\x1b[2J\"}\npostgres: {main: {watch: host=db1}}\n",
        "x.yaml:1:22: environment.title: control or invisible characters in it. Write it on one line, "
        "without invisible characters\n");
    assert_refused(f, "environment: {title: \"a\\0b\"}\npostgres: {main: {watch: host=db1}}\n",
                   "x.yaml:1:22: this text: control character 0x00. Remove it\n");
    assert_refused(
        f,
        "environment: {title: \"a\xe2\x80\xae"
        "b\"}\npostgres: {main: {watch: host=db1}}\n",
        "x.yaml:1:22: environment.title: control or invisible characters in it. Write it on one line, "
        "without invisible characters\n");
    assert_refused(
        f, "postgres:\n  main:\n    watch: |\n      host=db1\n      password=x\n",
        "x.yaml:3:5: postgres.main.watch: control or invisible characters in it. Write it on one line, "
        "without invisible characters\n");
}

static void test_too_much(void **state)
{
    struct fixture *f = *state;
    char *deep = talloc_strdup(f, "");
    for (int i = 0; i < 5000; i++)
        deep = talloc_strdup_append_buffer(deep, "[");
    assert_refused(f, talloc_asprintf(f, "hosts: %s", deep),
                   "x.yaml:1:8: hosts: a mapping (key: value) is needed, this is a list. Write key: value "
                   "pairs below it or {key: value}\n"
                   "x.yaml:1:23: this value: nested more than 16 deep. Write it flatter\n");
    char *huge = talloc_size(f, YAML_SIZE_MAX + 1);
    memset(huge, '#', YAML_SIZE_MAX + 1);
    assert_refused_bytes(f, huge, YAML_SIZE_MAX + 1, "x.yaml:1:1: this file: larger than 512 kB. Split it\n");
    char *many = talloc_strdup(f, "hosts:\n");
    for (int i = 0; i < 11000; i++)
        many = talloc_asprintf_append_buffer(many, "  h%d: {}\n", i);
    assert_refused(f, many, "x.yaml:10002:11: this entry: more than 10,000 entries in one place. Split it\n");
    char *list = talloc_strdup(f, "");
    for (int i = 0; i < 33; i++) {
        list = talloc_asprintf_append_buffer(list, "k%d: [", i);
        for (int j = 0; j < 1900; j++)
            list = talloc_strdup_append_buffer(list, "x,");
        list = talloc_strdup_append_buffer(list, "x]\n");
    }
    assert_null(environment_parse(f, "x.yaml", list, strlen(list), f->errors));
    const struct error *last = &f->errors->items[f->errors->count - 1];
    assert_string_equal(last->why, "more than 60,000 values in one file");
    /* One word of half a megabyte is only a word. */
    memset(huge, 'x', YAML_SIZE_MAX);
    struct error_list *errors = error_list_new(f);
    assert_null(environment_parse(f, "x.yaml", huge, YAML_SIZE_MAX, errors));
    assert_int_equal(errors->count, 1);
}

static void test_search(void **state)
{
    struct fixture *f = *state;
    char *path = write_file(f, "staging.yaml", smallest, 0600);
    struct environment *e = environment_load(f, "staging", f->errors);
    assert_non_null(e);
    assert_string_equal(e->name, "staging");
    assert_string_equal(e->path, path);
    assert_non_null(environment_load(f, path, f->errors));
    assert_int_equal(f->errors->count, 0);
    assert_null(environment_load(f, "stagin", f->errors));
    assert_string_equal(error_list_text(f, f->errors),
                        talloc_asprintf(f,
                                        "stagin: no such environment: neither %s/stagin.yaml nor "
                                        "/etc/signalbox/stagin.yaml exists. Did you mean staging?\n",
                                        f->files));
    struct error_list *errors = error_list_new(f);
    assert_null(environment_load(f, "../staging", errors));
    assert_null(environment_load(f, "", errors));
    assert_null(environment_load(f, "..", errors));
    assert_null(environment_load(f, "staging.yaml", errors));
    assert_null(environment_load(f, "/nonexistent/x.yaml", errors));
    assert_null(environment_load(f, f->files, errors));
    assert_int_equal(errors->count, 6);
    assert_string_equal(errors->items[3].todo, "A file is named with its folder: ./staging.yaml");
    assert_string_equal(errors->items[4].why, "No such file or directory");
    assert_string_equal(errors->items[5].why, "it is not a file");
}

static void test_choice(void **state)
{
    struct fixture *f = *state;
    size_t system_wide;
    environment_names(f, &system_wide);
    if (system_wide)
        skip(); /* this machine has files of its own in /etc/signalbox */
    clear_variables();
    assert_null(environment_choose(f, f->errors));
    assert_int_equal(f->errors->count, 0);
    write_file(f, "staging.yaml", smallest, 0600);
    /* libpq's variables are more deliberate than a file that happens to be there. */
    setenv("PGHOST", "db1", 1);
    assert_null(environment_choose(f, f->errors));
    assert_int_equal(f->errors->count, 0);
    clear_variables();
    write_file(f, "notes.txt", "", 0600);
    write_file(f, ".hidden.yaml", "", 0600);
    assert_string_equal(environment_choose(f, f->errors), "staging");
    write_file(f, "production.yaml", smallest, 0600);
    assert_null(environment_choose(f, f->errors));
    assert_string_equal(
        error_list_text(f, f->errors),
        "which environment?: there are 2: production, staging. Name one with -e NAME, or call one "
        "default.yaml\n");
    write_file(f, "default.yaml", smallest, 0600);
    assert_string_equal(environment_choose(f, f->errors), "default");
    assert_int_equal(f->errors->count, 1);
}

static void assert_load_refused(struct fixture *f, const char *path, const char *expected)
{
    struct error_list *errors = error_list_new(f);
    assert_null(environment_load(f, path, errors));
    assert_string_equal(error_list_text(f, errors), expected);
    talloc_free(errors);
}

static void test_who_can_write_it(void **state)
{
    struct fixture *f = *state;
    static const struct {
        mode_t mode;
        bool good;
    } modes[] = {{0600, true},  {0640, true},  {0644, true}, {0400, true},
                 {0660, false}, {0602, false}, {0666, false}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char *path = write_file(f, "x.yaml", smallest, modes[i].mode);
        if (modes[i].good)
            assert_non_null(environment_load(f, path, f->errors));
        else
            assert_load_refused(
                f, path,
                talloc_asprintf(f,
                                "%s: refused: others than its owner can write it (mode %04o). chmod "
                                "go-w '%s'\n",
                                path, modes[i].mode, path));
        unlink(path);
    }
    /* That others can write it does not keep the other errors from being told. */
    char *path = write_file(f, "x.yaml", "postgers: 1\n", 0666);
    assert_load_refused(
        f, path,
        talloc_asprintf(f,
                        "%s: refused: others than its owner can write it (mode 0666). chmod go-w "
                        "'%s'\n%s:1:1: postgers: unknown key. Did you mean postgres?\n",
                        path, path, path));
}

static void test_who_can_replace_it(void **state)
{
    struct fixture *f = *state;
    char *path = write_file(f, "x.yaml", smallest, 0600);
    char *told =
        talloc_asprintf(f, "%s: refused: everybody can write its folder %s (mode 0777). chmod o-w '%s'\n",
                        path, f->files, f->files);
    assert_int_equal(chmod(f->files, 0777), 0);
    assert_load_refused(f, path, told);
    /* As /tmp is: nobody can replace the files of others there. */
    assert_int_equal(chmod(f->files, 01777), 0);
    assert_non_null(environment_load(f, path, f->errors));
    /* A link from a good folder into a bad one. */
    char *other = talloc_asprintf(f, "%s/other", f->folder),
         *link_path = talloc_asprintf(f, "%s/l.yaml", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(symlink(path, link_path), 0);
    assert_non_null(environment_load(f, link_path, f->errors));
    assert_int_equal(chmod(f->files, 0777), 0);
    told = talloc_asprintf(f, "%s: refused: everybody can write its folder %s (mode 0777). chmod o-w '%s'\n",
                           link_path, f->files, f->files);
    assert_load_refused(f, link_path, told);
}

static void test_whose_it_is(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip(); /* only root can give files away */
    char *path = write_file(f, "x.yaml", smallest, 0600);
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_load_refused(f, path,
                        talloc_asprintf(f,
                                        "%s: refused: it belongs to another user (uid 12345). chown 0 '%s'\n",
                                        path, path));
}

static void test_fifo_does_not_hang(void **state)
{
    struct fixture *f = *state;
    char *path = talloc_asprintf(f, "%s/x.yaml", f->files);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_load_refused(f, path,
                        talloc_asprintf(f, "%s: cannot read it: it is not a file. Name a YAML file\n", path));
}

static void test_long_paths_keep_the_line(void **state)
{
    struct fixture *f = *state;
    char *path = talloc_strdup(f, "/");
    for (int i = 0; i < 50; i++)
        path = talloc_strdup_append(path, "folder/");
    path = talloc_strdup_append(path, "x.yaml");
    assert_null(environment_parse(f, path, "postgers: 1\n", 12, f->errors));
    const char *where = f->errors->items[0].where;
    assert_memory_equal(where, "...", 3);
    assert_string_equal(where + strlen(where) - strlen("folder/x.yaml:1:1"), "folder/x.yaml:1:1");
}

static void test_dsns_of_the_command_line(void **state)
{
    struct fixture *f = *state;
    clear_variables();
    static const char *const dsns[] = {
        "postgresql://sb@db1/app",       "host=db1 dbname=app port=5433",
        "host=db1 dbname=app port=5433", "service=prod",
        "host=/run/pg dbname=app",       "hostaddr=10.0.0.1 user=me",
    };
    static const char *const names[] = {"db1/app", "db1:5433/app", "db1:5433/app-2",
                                        "prod",    "local/app",    "10.0.0.1/me"};
    struct environment *e = environment_from_dsn(f, dsns, 6, f->errors);
    assert_non_null(e);
    assert_int_equal(e->server_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(e->servers[i].name, names[i]);
        assert_string_equal(e->servers[i].watch, dsns[i]);
        assert_string_equal(e->servers[i].read, dsns[i]);
        assert_string_equal(e->servers[i].act, dsns[i]);
    }
    assert_int_equal(e->kind, ENVIRONMENT_ADHOC);
    assert_string_equal(environment_kind_name(e->kind), "adhoc");
    assert_true(e->access.locked);
    assert_true(environment_is_production(e));
    assert_null(e->path);
    assert_string_equal(e->name, "adhoc");
    assert_string_equal(e->title, "6 servers");
    e = environment_from_dsn(f, dsns, 1, f->errors);
    assert_string_equal(e->title, "db1/app");
    assert_int_equal(f->errors->count, 0);
}

static void test_wrong_dsns_of_the_command_line(void **state)
{
    struct fixture *f = *state;
    static const char *const dsns[] = {"prod", "postgresql://app:s3cret@db1/app?nonsense=1", "host=db1"};
    assert_null(environment_from_dsn(f, dsns, 3, f->errors));
    assert_int_equal(f->errors->count, 2);
    assert_string_equal(f->errors->items[0].why, "missing \"=\" after \"prod\" in connection info string");
    assert_null(strstr(error_list_text(f, f->errors), "s3cret"));
    assert_null(environment_from_dsn(f, NULL, 0, f->errors));
    assert_int_equal(f->errors->count, 3);
}

static void test_pg_variables(void **state)
{
    struct fixture *f = *state;
    clear_variables();
    assert_false(environment_pg_variables_set());
    setenv("PGHOST", "", 1);
    assert_false(environment_pg_variables_set());
    setenv("PGUSER", "sb", 1);
    assert_true(environment_pg_variables_set());
    struct environment *e = environment_from_pg_variables(f, f->errors);
    assert_string_equal(e->servers[0].name, "local/sb");
    assert_string_equal(e->servers[0].watch, "");
    setenv("PGHOST", "db7", 1);
    setenv("PGDATABASE", "app", 1);
    e = environment_from_pg_variables(f, f->errors);
    assert_int_equal(e->server_count, 1);
    assert_string_equal(e->servers[0].name, "db7/app");
    assert_true(e->access.locked);
    clear_variables();
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_the_example_of_the_design),
        TEST(test_defaults),
        TEST(test_what_is_locked),
        TEST(test_unknown_keys),
        TEST(test_wrong_types),
        TEST(test_words),
        TEST(test_durations),
        TEST(test_duplicate_keys),
        TEST(test_dsns),
        TEST(test_passwords),
        TEST(test_redis_hosts_and_tenancy),
        TEST(test_all_errors_at_once),
        TEST(test_broken_yaml),
        TEST(test_empty_files),
        TEST(test_windows_files),
        TEST(test_aliases_and_tags),
        TEST(test_odd_keys),
        TEST(test_bytes_that_are_no_text),
        TEST(test_too_much),
        TEST(test_search),
        TEST(test_choice),
        TEST(test_who_can_write_it),
        TEST(test_who_can_replace_it),
        TEST(test_whose_it_is),
        TEST(test_fifo_does_not_hang),
        TEST(test_long_paths_keep_the_line),
        TEST(test_dsns_of_the_command_line),
        TEST(test_wrong_dsns_of_the_command_line),
        TEST(test_pg_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
