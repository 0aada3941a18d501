/* Our verdict on messages against what the real kombu and Celery do with them: thousands of changed messages,
 * of which not one may be called harmless that ends a worker, nor the other way round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/queues/celery_envelope.h"
#include "tests/harness/cmocka.h"

enum { MESSAGES = 12000 };

static int digit(char letter)
{
    return letter <= '9' ? letter - '0' : letter - 'a' + 10;
}

static void compare(int seed)
{
    char command[600], *line = NULL;
    size_t room = 0;
    ssize_t length;
    int count = 0, each[256] = {0};
    static const char folder[] = TEST_ROOT "/tests/data/queues/celery";
    snprintf(
        command, sizeof command,
        "/usr/bin/python3 %s/tests/servers/kombu_verdicts.py %d %d %s/poison.jsonl %s/queue_at_rest.jsonl",
        TEST_ROOT, seed, (int)MESSAGES, folder, folder);
    printf("seed %d\n", seed);
    FILE *verdicts = popen(command, "re");
    assert_non_null(verdicts);
    while ((length = getline(&line, &room, verdicts)) > 2) {
        size_t bytes = ((size_t)length - 3) / 2;
        char *raw = malloc(bytes + 1); /* so that nothing is read behind it */
        for (size_t i = 0; i < bytes; i++)
            raw[i] = (char)(digit(line[2 + 2 * i]) << 4 | digit(line[3 + 2 * i]));
        struct celery_envelope envelope;
        celery_envelope_scan(&envelope, raw, bytes, NULL);
        const char *ours = envelope.poison == POISON_NONE ? "-" : job_poison_name(envelope.poison);
        /* Of the names of encodings that Python knows, we know the usual ones. */
        bool encoding = envelope.why && strstr(envelope.why, "content-encoding");
        if (*ours != line[0] && !encoding)
            fail_msg("seed %d: %c with Celery, %s here (%s): %.*s", seed, line[0], ours,
                     envelope.why ? envelope.why : "", (int)bytes, raw);
        each[(unsigned char)line[0]]++;
        count++;
        free(raw);
    }
    free(line);
    assert_int_equal(pclose(verdicts), 0);
    assert_true(count > MESSAGES);
    assert_true(each['A'] > MESSAGES / 10 && each['B'] > MESSAGES / 20 && each['-'] > MESSAGES / 10 &&
                each['C'] > 0);
}

static void the_same_messages(void **state)
{
    (void)state;
    compare(1);
}

/* Another set at every run; the seed is in the failure. */
static void other_messages(void **state)
{
    (void)state;
    compare((int)(time(NULL) & 0xffffff));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_messages),
        cmocka_unit_test(other_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
