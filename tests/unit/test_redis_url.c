/* Redis URLs as people write them, and where passwords come from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>

#include "backends/redis/url.h"
#include "tests/unit/unit.h"

/* "place, place /N user:password tls" or "! why". */
static char *read_url(void *context, const char *text)
{
    struct redis_url url;
    struct error error = {0};
    if (!redis_url_parse(context, text, &url, &error)) {
        assert_int_equal(error.kind, ERROR_USAGE);
        return talloc_asprintf(context, "! %s", error.why);
    }
    return talloc_asprintf(context, "%s %s:%s%s", redis_url_place(context, &url), url.user ? url.user : "",
                           url.password ? url.password : "", url.tls ? " tls" : "");
}

static void test_urls(void **state)
{
    static const char *const cases[][2] = {
        {"redis://h", "h:6379/0 :"},
        {"redis://", "localhost:6379/0 :"},
        {"redis:///3", "localhost:6379/3 :"},
        {"redis://sb_watch@redis1:6380/2", "redis1:6380/2 sb_watch:"},
        {"redis://:secret@redis1", "redis1:6379/0 :secret"},
        {"redis://u:p%40%2f%3A@h/0", "h:6379/0 u:p@/:"},
        {"redis://u:a/b@h/1", "h:6379/1 u:a/b"},
        {"rediss://h:6390/1", "h:6390/1 : tls"},
        {"redis://s1:26379,s2:26380,s3/4", "s1:26379,s2:26380,s3:6379/4 :"},
        {"redis://[::1]:7000/0", "[::1]:7000/0 :"},
        {"redis://[fe80::1]", "[fe80::1]:6379/0 :"},
        {"redis://h?db=5", "h:6379/5 :"},
        {"REDIS://h", "h:6379/0 :"},
        {"unix:///run/redis.sock?db=2", "/run/redis.sock/2 :"},
        {"unix://u:p@/run/a%20b.sock", "/run/a b.sock/0 u:p"},
        {"redis+socket:///run/r.sock?virtual_host=3", "/run/r.sock/3 :"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(read_url(*state, cases[i][0]), cases[i][1]);
}

static void test_what_is_no_url(void **state)
{
    static const char *const wrong[] = {
        "",
        "h",
        "http://h",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:12x",
        "redis://h:",
        "redis://::1",
        "redis://[::1",
        "redis://[::1]6379",
        "redis://a,,b",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/99999999999999",
        "redis://h?socket_timeout=3",
        "redis://u:%4@h",
        "redis://u:%zz@h",
        "redis://u:%00@h",
        "redis://u:p#x@h",
        "redis://a b",
        "redis://h\n",
        "unix://run/redis.sock",
        "unix:///",
        "redis://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (read_url(*state, wrong[i])[0] != '!')
            fail_msg("taken: %s", wrong[i]);
}

/* Whatever is wrong with it, a password is not quoted. */
static void test_errors_hold_no_password(void **state)
{
    struct redis_url url;
    struct error error = {0};
    char text[1024];
    assert_false(redis_url_parse(*state, "redis://u:hunter2@h:x", &url, &error));
    error_format(&error, text, sizeof text);
    assert_null(strstr(text, "hunter2"));
    assert_true(redis_url_parse(*state, "redis://u:hunter2@h:1", &url, &error));
    assert_string_equal(redis_url_place(*state, &url), "h:1/0");
}

static void test_named_ports(void **state)
{
    struct redis_url url;
    struct error error;
    assert_true(redis_url_parse(*state, "redis://a,b:6379", &url, &error));
    assert_false(url.places[0].port_named);
    assert_true(url.places[1].port_named);
}

/* ---- the password file ---- */

struct files {
    char *folder;
};

static int set_up(void **state)
{
    struct files *f = talloc_zero(NULL, struct files);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_redis_url.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    setenv("XDG_CONFIG_HOME", f->folder, 1);
    unsetenv("REDISCLI_AUTH");
    *state = f;
    return mkdir(talloc_asprintf(f, "%s/signalbox", f->folder), 0700);
}

static int tear_down(void **state)
{
    struct files *f = *state;
    int status = system(talloc_asprintf(f, "rm -rf -- '%s'", f->folder));
    talloc_free(f);
    return status;
}

static void write_passwords(struct files *f, const char *text, mode_t mode)
{
    char *path = talloc_asprintf(f, "%s/signalbox/redispass", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static const char *password_for(struct files *f, const char *text)
{
    struct redis_url url;
    struct error error = {0};
    assert_true(redis_url_parse(f, text, &url, &error));
    const char *password = redis_password(f, &url, &url.places[url.place_count - 1], &error);
    assert_int_equal(error.kind, ERROR_NONE);
    return password ? password : "(none)";
}

static void test_passwords(void **state)
{
    struct files *f = *state;
    assert_string_equal(password_for(f, "redis://h"), "(none)");
    write_passwords(f,
                    "# HOST:PORT:USER:PASSWORD\n"
                    "redis1:6379:sb_watch:one\n"
                    "redis1:6379:default:two\r\n"
                    "::1:x:y:z\n"
                    "/run/r\\:s.sock:*:*:with\\:colon\\\\\n"
                    "\n"
                    "short:line\n"
                    "*:6400:*:all hosts",
                    0600);
    assert_string_equal(password_for(f, "redis://sb_watch@redis1"), "one");
    assert_string_equal(password_for(f, "redis://redis1"), "two");
    assert_string_equal(password_for(f, "redis://redis2,redis1"), "two");
    assert_string_equal(password_for(f, "redis://other@redis1"), "(none)");
    assert_string_equal(password_for(f, "unix:///run/r:s.sock"), "with:colon\\");
    assert_string_equal(password_for(f, "redis://a@b:6400"), "all hosts");
    assert_string_equal(password_for(f, "redis://:own@redis1"), "own");
    assert_string_equal(password_for(f, "redis://short"), "(none)");
    setenv("REDISCLI_AUTH", "fallback", 1);
    assert_string_equal(password_for(f, "redis://short"), "fallback");
    assert_string_equal(password_for(f, "redis://redis1"), "two");
}

static void test_readable_file_is_refused(void **state)
{
    struct files *f = *state;
    struct redis_url url;
    struct error error = {0};
    write_passwords(f, "*:*:*:secret\n", 0640);
    assert_true(redis_url_parse(f, "redis://h", &url, &error));
    assert_null(redis_password(f, &url, &url.places[0], &error));
    assert_int_equal(error.kind, ERROR_CONFIG);
    assert_non_null(strstr(error.todo, "chmod 600"));
}

static int context_new(void **state)
{
    *state = talloc_new(NULL);
    return 0;
}

static int context_free(void **state)
{
    return talloc_free(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_urls, context_new, context_free),
        cmocka_unit_test_setup_teardown(test_what_is_no_url, context_new, context_free),
        cmocka_unit_test_setup_teardown(test_errors_hold_no_password, context_new, context_free),
        cmocka_unit_test_setup_teardown(test_named_ports, context_new, context_free),
        cmocka_unit_test_setup_teardown(test_passwords, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_readable_file_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("redis_url", tests, NULL, NULL);
}
