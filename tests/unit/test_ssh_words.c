/* Words for the remote shell, and results in words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/run.h"
#include "tests/unit/unit.h"

static void words_survive_a_shell(void **state)
{
    static const char *const words[] = {"plain", "a b",   "",    "it's", "''",  "$HOME", "`id`", "a\nb",
                                        "~",     "~root", "A=b", "-n",   "*",   "\\",    "!",    "#x",
                                        "a;b",   "ä",     "\"",  "a=b",  "[a]", "{a,b}"};
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char *quoted = ssh_quote(NULL, words[i]), read[64] = "";
        char *command = talloc_asprintf(quoted, "printf '%%s' %s", quoted);
        FILE *shell = popen(command, "r");
        read[fread(read, 1, sizeof read - 1, shell)] = '\0';
        assert_int_equal(pclose(shell), 0);
        assert_string_equal(read, words[i]);
        talloc_free(quoted);
    }
    char *plain = ssh_quote(NULL, "/usr/bin/systemctl");
    assert_string_equal(plain, "/usr/bin/systemctl");
    talloc_free(plain);
}

static char *say(struct ssh_result result, enum error_kind *kind)
{
    static char text[1024];
    struct error error = {0};
    text[0] = '\0';
    if (ssh_result_ok(&result, "prod: web1", "systemctl", &error))
        return NULL;
    *kind = error.kind;
    error_format(&error, text, sizeof text);
    return text;
}

static void results_are_told(void **state)
{
    enum error_kind kind;
    struct ssh_result result = {.end = {.ending = SSH_EXITED}, .output = "fine\n", .errors = "a warning\n"};
    (void)state;
    assert_null(say(result, &kind));
    result.end.status = 5;
    result.errors = "Failed to restart.\nUnit x.service not found.\n";
    assert_string_equal(say(result, &kind), "prod: web1: systemctl: exit status 5: Failed to "
                                            "restart. Unit x.service not found.");
    assert_int_equal(kind, ERROR_SERVER);
    result.errors = " \n";
    assert_string_equal(say(result, &kind), "prod: web1: systemctl: exit status 5: fine");
    result.errors = "sudo: a password is required\n";
    assert_non_null(say(result, &kind));
    assert_int_equal(kind, ERROR_DENIED);
    result.output = "";
    result.errors = "";
    assert_string_equal(say(result, &kind), "prod: web1: systemctl: exit status 5");
    result.end = (struct ssh_end){.ending = SSH_SIGNALLED, .signal = "KILL"};
    assert_string_equal(say(result, &kind), "prod: web1: systemctl: ended by signal KILL");
    result.end = (struct ssh_end){.ending = SSH_LOST};
    error_set(&result.end.error, ERROR_TIMEOUT, "prod: web1", "the command was given up", "Look.",
              "too long");
    assert_string_equal(say(result, &kind),
                        "prod: web1: systemctl: the command was given up: too long. Look.");
    assert_int_equal(kind, ERROR_TIMEOUT);
    result.end = (struct ssh_end){.ending = SSH_REFUSED};
    assert_non_null(say(result, &kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_survive_a_shell),
        cmocka_unit_test(results_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
