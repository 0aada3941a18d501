/* Errors of a Postgres server from SQLSTATEs and from what libpq says. */
#include <string.h>

#include "backends/postgres/connection_error.h"
#include "tests/unit/unit.h"

#define PLACE "connection to server at \"db1\" (10.0.0.1), port 5432 failed: "

static void test_texts_of_libpq(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool tls_disabled;
        enum error_kind kind;
        const char *why;
    } cases[] = {
        {PLACE "Connection refused\n\tIs the server running?\n", false, ERROR_REFUSED, "Connection refused"},
        {"could not translate host name \"db9\" to address: Name or service not known\n", false, ERROR_NAME,
         "could not translate host name \"db9\" to address: Name or service not known"},
        {PLACE
         "FATAL:  28P01: password authentication failed for user \"x\"\nLOCATION:  auth_failed, auth.c:334\n",
         false, ERROR_AUTH, "password authentication failed for user \"x\""},
        /* another language */
        {PLACE "FATAL:  28P01: Passwort-Authentifizierung fehlgeschlagen\n", false, ERROR_AUTH,
         "Passwort-Authentifizierung fehlgeschlagen"},
        {PLACE "ФАТАЛЬНО:  53300: нет места\n", false, ERROR_SLOTS, "нет места"},
        {PLACE "FATAL:  53300: sorry, too many clients already\n", false, ERROR_SLOTS,
         "sorry, too many clients already"},
        {PLACE "FATAL:  57P03: the database system is starting up\n", false, ERROR_REFUSED,
         "the database system is starting up"},
        {PLACE "FATAL:  28000: no pg_hba.conf entry for host \"10.0.0.9\", no encryption\n", true, ERROR_TLS,
         "no pg_hba.conf entry for host \"10.0.0.9\", no encryption"},
        {PLACE "FATAL:  28000: no pg_hba.conf entry for host \"10.0.0.9\", no encryption\n", false,
         ERROR_REFUSED, "no pg_hba.conf entry for host \"10.0.0.9\", no encryption"},
        {PLACE "FATAL:  28000: role \"x\" does not exist\n", false, ERROR_AUTH, "role \"x\" does not exist"},
        /* first with TLS, then without: the wrong password is the reason */
        {PLACE "FATAL:  28P01: password authentication failed\n" PLACE
               "FATAL:  28000: no pg_hba.conf entry for host, no encryption\n",
         false, ERROR_AUTH, "password authentication failed"},
        {PLACE "server does not support SSL, but SSL was required\n", false, ERROR_TLS,
         "server does not support SSL, but SSL was required"},
        {PLACE "fe_sendauth: no password supplied\n", false, ERROR_AUTH, "fe_sendauth: no password supplied"},
        {"invalid connection option \"nonsense\"\n", false, ERROR_CONFIG,
         "invalid connection option \"nonsense\""},
        {PLACE "server closed the connection unexpectedly\n\tThis probably means\n", false, ERROR_LOST,
         "server closed the connection unexpectedly"},
        {"", false, ERROR_REFUSED, "no reason was given"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        assert_false(
            pg_error_from_connect(&error, "test", "cannot connect", cases[i].text, cases[i].tls_disabled));
        if (error.kind != cases[i].kind || strcmp(error.why, cases[i].why) != 0)
            fail_msg("%s: %s, %s", cases[i].text, error_kind_name(error.kind), error.why);
        assert_string_equal(error.where, "test");
    }
}

static void test_states(void **state)
{
    (void)state;
    struct error error;
    pg_error_from_state(&error, "test", NULL, "57014", "canceling statement due to user request", NULL, NULL);
    assert_int_equal(error.kind, ERROR_CANCELLED);
    pg_error_from_state(&error, "test", NULL, "57014", "canceling statement due to statement timeout", NULL,
                        NULL);
    assert_int_equal(error.kind, ERROR_TIMEOUT);
    pg_error_from_state(&error, "test", NULL, "42501", "permission denied for view x", "because", "GRANT it");
    assert_int_equal(error.kind, ERROR_DENIED);
    assert_string_equal(error.why, "permission denied for view x (because)");
    assert_string_equal(error.todo, "GRANT it");
    pg_error_from_state(&error, "test", NULL, "42601", "syntax error", NULL, NULL);
    assert_int_equal(error.kind, ERROR_SERVER);
    pg_error_from_state(&error, "test", NULL, NULL, NULL, NULL, NULL);
    assert_int_equal(error.kind, ERROR_SERVER);
    assert_true(*error.why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts_of_libpq), cmocka_unit_test(test_states)};
    return cmocka_run_group_tests_name("connection errors", tests, NULL, NULL);
}
