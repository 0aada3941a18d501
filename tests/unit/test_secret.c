/* Secrets in statements and DSNs are masked, in broken and cut ones too; the rest stays as it is. */
#include <string.h>
#include <talloc.h>

#include "core/secret.h"
#include "tests/unit/unit.h"

static const struct {
    const char *sql, *masked; /* NULL: unchanged */
} statements[] = {
    {"select 1", NULL},
    {"ALTER ROLE a PASSWORD 'x' VALID UNTIL '2030'", "ALTER ROLE a PASSWORD '***' VALID UNTIL '2030'"},
    {"create user b encrypted password E'a\\'b' nologin", "create user b encrypted password '***' nologin"},
    {"CREATE GROUP g PASSWORD 'it''s'; SELECT 'x'", "CREATE GROUP g PASSWORD '***'; SELECT 'x'"},
    {"ALTER USER a WITH PASSWORD 'cut", "ALTER USER a WITH PASSWORD '***'"},
    {"ALTER USER a PASSWORD U&'x\\0061'", "ALTER USER a PASSWORD '***'"},
    {"alter role a password 'a' 'b'", "alter role a password '***' '***'"},
    {"alter role x password hunter2;select 1", "alter role x password '***';select 1"},
    {"alter role x password \"hunter2\" login", "alter role x password '***' login"},
    {"alter role a password null", NULL},
    {"ALTER ROLE a PASSWORD $1", NULL},
    {"alter role x /* c */ password -- hm\n $a$geheim$a$", "alter role x /* c */ password -- hm\n '***'"},
    {"CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'bob', password 'p''q')",
     "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'bob', password '***')"},
    {"ALTER SERVER s OPTIONS (SET password 'p', host 'h')",
     "ALTER SERVER s OPTIONS (SET password '***', host 'h')"},
    {"CREATE SUBSCRIPTION s CONNECTION 'host=a password=geheim dbname=c' PUBLICATION p",
     "CREATE SUBSCRIPTION s CONNECTION 'host=a password=*** dbname=c' PUBLICATION p"},
    {"ALTER SUBSCRIPTION s CONNECTION 'host=a password = geheim",
     "ALTER SUBSCRIPTION s CONNECTION 'host=a password = ***"},
    {"select dblink('host=a password=''my pass'' user=b','select 1')",
     "select dblink('host=a password=''***'' user=b','select 1')"},
    {"select dblink('postgresql://app:geheim@db/x?sslmode=require')",
     "select dblink('postgresql://app:***@db/x?sslmode=require')"},
    {"select dblink('postgresql://app:geh", "select dblink('postgresql://app:***"},
    {"select dblink($$host=a password=abc user=c$$)", "select dblink($$host=a password=*** user=c$$)"},
    {"DO $$ begin execute 'alter role x password ''abc'''; end $$",
     "DO $$ begin execute 'alter role x password ''***'''; end $$"},
    {"select format('alter role %I password %L','bob','geheim')",
     "select format('alter role %I password %L','***','***')"},
    {"execute 'alter role x password ' || quote_literal('abc')",
     "execute 'alter role x password ' || quote_literal('***')"},
    {"insert into x values ('{\"password\": \"abc\", \"user\": \"b\"}')",
     "insert into x values ('{\"password\": \"***\", \"user\": \"b\"}')"},
    {"select * from users where password_hash = 'abc' and name='x'",
     "select * from users where password_hash = '***' and name='x'"},
    {"select set_config('app.password', 'abc', false), 'ok'",
     "select set_config('app.password', '***', false), 'ok'"},
    {"-- password=abc\nselect 1", "-- password=***\nselect 1"},
    {"select password from users where name = 'x'", NULL},
    {"set password_encryption = 'md5'", NULL},
    {"select 'https://host:8080/a@b', 'x'", NULL},
    {"select 'the password is wrong', 'x'", NULL},
};

static void statements_are_masked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        const char *expected = statements[i].masked ? statements[i].masked : statements[i].sql;
        char *once = secret_mask_statement(NULL, statements[i].sql);
        assert_string_equal(once, expected);
        char *twice = secret_mask_statement(NULL, once);
        assert_string_equal(twice, expected);
        talloc_free(once);
        talloc_free(twice);
    }
}

/* The server cuts statements anywhere: no prefix may show more of the secret than itself had. */
static void every_prefix_is_masked(void **state)
{
    static const char *const texts[] = {"ALTER ROLE a PASSWORD 'geheimnis'",
                                        "ALTER ROLE a PASSWORD $x$geheimnis$x$",
                                        "CREATE SUBSCRIPTION s CONNECTION 'host=a password=geheimnis'",
                                        "select dblink('postgresql://a:geheimnis@b/c')",
                                        "do $$ begin execute 'alter role a password ''geheimnis'''; end $$"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t length = strlen(texts[i]); length > 0; length--) {
            char *cut = talloc_strndup(NULL, texts[i], length);
            char *masked = secret_mask_statement(cut, cut);
            assert_null(strstr(masked, "ge"));
            talloc_free(cut);
        }
}

static void dsns_are_masked(void **state)
{
    static const struct {
        const char *dsn, *masked;
    } cases[] = {
        {"postgresql://app:geheim@db1/app", "postgresql://app:***@db1/app"},
        {"postgresql://app:a@b@db1/app", "postgresql://app:***@db1/app"},
        {"postgresql://app@db1:5432/app", "postgresql://app@db1:5432/app"},
        {"postgresql://db1:5432/app?user=x&password=geheim&sslmode=require",
         "postgresql://db1:5432/app?user=x&password=***&sslmode=require"},
        {"redis://:geheim@redis1:6379/0", "redis://:***@redis1:6379/0"},
        {"host=db1 password=geheim dbname=app", "host=db1 password=*** dbname=app"},
        {"host=db1 password='a\\'b c' dbname=app", "host=db1 password='***' dbname=app"},
        {"host=db1 sslpassword = geheim", "host=db1 sslpassword = ***"},
        {"service=prod", "service=prod"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *masked = secret_mask_dsn(NULL, cases[i].dsn);
        assert_string_equal(masked, cases[i].masked);
        talloc_free(masked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_are_masked),
        cmocka_unit_test(every_prefix_is_masked),
        cmocka_unit_test(dsns_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
