/* What a DSN comes to when its server is reached through an SSH host: hosts, ports, TLS and password as libpq
 * itself sees them, and the DSN that leads to the tunnels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>

#include "backends/postgres/route_plan.h"
#include "tests/unit/unit.h"

struct fixture {
    char *folder;
    struct route_plan *plan;
};

static int set_up(void **state)
{
    static const char *const variables[] = {"PGHOST",     "PGHOSTADDR", "PGPORT",     "PGUSER",
                                            "PGPASSWORD", "PGSSLMODE",  "PGDATABASE", "PGREQUIREPEER"};
    struct fixture *f = talloc_zero(NULL, struct fixture);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_route.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    setenv("PGSERVICEFILE", talloc_asprintf(f, "%s/services", f->folder), 1);
    setenv("PGPASSFILE", talloc_asprintf(f, "%s/pgpass", f->folder), 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    talloc_free(f->plan);
    int status = system(talloc_asprintf(f, "rm -rf -- '%s'", f->folder));
    talloc_free(f);
    return status;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char *path = talloc_asprintf(f, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* "address port" or "path" of each target, then the TLS and the password. */
static char *plan(struct fixture *f, const char *dsn)
{
    static const char *const tls[] = {"no", "if needed", "always"};
    talloc_free(f->plan);
    f->plan = route_plan_new(dsn, "test: main");
    char *text = talloc_strdup(f, "");
    for (size_t i = 0; i < f->plan->count; i++)
        text = f->plan->targets[i].path ? talloc_asprintf_append(text, "%s, ", f->plan->targets[i].path)
                                        : talloc_asprintf_append(text, "%s %d, ", f->plan->targets[i].address,
                                                                 f->plan->targets[i].port);
    return talloc_asprintf_append(text, "TLS %s%s%s", tls[f->plan->tls],
                                  f->plan->password ? ", password " : "",
                                  f->plan->password ? f->plan->password : "");
}

static void test_hosts_and_tls(void **state)
{
    struct fixture *f = *state;
    static const char *const cases[][2] = {
        {"host=db1 dbname=app", "db1 5432, TLS if needed"},
        {"postgresql://sb@db1:5433/app?sslmode=require", "db1 5433, TLS always"},
        {"host=db1 sslmode=verify-full", "db1 5432, TLS always"},
        {"host=db1 sslmode=verify-ca", "db1 5432, TLS always"},
        {"host=db1 sslmode=disable", "db1 5432, TLS no"},
        {"host=db1 sslmode=allow", "db1 5432, TLS if needed"},
        {"host=db1 channel_binding=require", "db1 5432, TLS always"},
        {"host=db1 hostaddr=10.0.0.7 password=p", "10.0.0.7 5432, TLS if needed, password p"},
        {"host=db1,db2 port=5432,5433", "db1 5432, db2 5433, TLS if needed"},
        {"host=db1,db2 port=5434", "db1 5434, db2 5434, TLS if needed"},
        {"host=2001:db8::1", "2001:db8::1 5432, TLS if needed"},
        {"host=/run/pg port=5440 sslmode=require", "/run/pg/.s.PGSQL.5440, TLS no"},
        {"dbname=app", "/var/run/postgresql/.s.PGSQL.5432, TLS no"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(plan(f, cases[i][0]), cases[i][1]);
        assert_int_equal(f->plan->error.kind, ERROR_NONE);
    }
    setenv("PGSSLMODE", "verify-full", 1);
    setenv("PGHOST", "db9", 1);
    assert_string_equal(plan(f, "user=x"), "db9 5432, TLS always");
    unsetenv("PGSSLMODE");
    unsetenv("PGHOST");
}

static void test_services_and_password_files(void **state)
{
    struct fixture *f = *state;
    write_file(f, "services",
               "[prod]\nhost=db1\nport=5433\nsslmode=require\nuser=sb\ndbname=app\nhostaddr=10.0.0.9\n");
    write_file(f, "pgpass", "db1:5433:app:sb:from the file\nother:*:*:*:no\n");
    assert_string_equal(plan(f, "service=prod"), "10.0.0.9 5433, TLS always, password from the file");
    assert_string_equal(plan(f, "service=prod sslmode=disable port=5434"), "10.0.0.9 5434, TLS no");
    /* What the service says stays with it; where it leads does not. */
    struct route_local locals[] = {{.folder = NULL, .port = 40001}};
    plan(f, "service=prod");
    assert_string_equal(
        route_plan_dsn(f, f->plan, locals),
        "service='prod' host='db1' hostaddr='127.0.0.1' port='40001' password='from the file'");
    locals[0] = (struct route_local){.folder = "/tmp/t.1", .port = 5433};
    assert_string_equal(route_plan_dsn(f, f->plan, locals),
                        "service='prod' host='/tmp/t.1' hostaddr='' port='5433' password='from the file'");
}

static void test_the_rewritten_dsn(void **state)
{
    struct fixture *f = *state;
    struct route_local sockets[] = {{"/tmp/t.1", 5432}, {"/tmp/t.2", 5433}}, ports[] = {{NULL, 1}, {NULL, 2}};
    plan(f, "postgresql://sb:p%27w@db1,db2:5433/app?target_session_attrs=read-write&application_name=x");
    assert_string_equal(route_plan_dsn(f, f->plan, sockets),
                        "user='sb' dbname='app' application_name='x' target_session_attrs='read-write' "
                        "host='/tmp/t.1,/tmp/t.2' hostaddr='' port='5432,5433' password='p\\'w'");
    assert_string_equal(route_plan_dsn(f, f->plan, ports),
                        "user='sb' dbname='app' application_name='x' target_session_attrs='read-write' "
                        "host='db1,db2' hostaddr='127.0.0.1,127.0.0.1' port='1,2' password='p\\'w'");
}

static void test_what_cannot_be_routed(void **state)
{
    struct fixture *f = *state;
    plan(f, "service=none");
    assert_int_equal(f->plan->error.kind, ERROR_CONFIG);
    assert_non_null(strstr(f->plan->error.why, "service"));
    plan(f, "host=db1 sslmode=sometimes");
    assert_int_equal(f->plan->error.kind, ERROR_CONFIG);
    assert_non_null(strstr(f->plan->error.why, "sslmode"));
    plan(f, "host=db1 requirepeer=postgres");
    assert_int_equal(f->plan->error.kind, ERROR_UNSUPPORTED);
    plan(f, "host=db1 port=99999");
    assert_int_equal(f->plan->error.kind, ERROR_CONFIG);
    plan(f, "host=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g,h");
    assert_non_null(strstr(f->plan->error.why, "17 hosts"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hosts_and_tls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_services_and_password_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_rewritten_dsn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_routed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
