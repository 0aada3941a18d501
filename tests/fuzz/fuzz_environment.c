/* libFuzzer: any bytes as an environment file, and as a DSN of the command line. It must end soon, leak
 * nothing, and tell at least one error whenever it returns nothing; no error may carry a control character.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A name that the sanitizers look for.
 * NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 loses a kilobyte on some broken quoted keys (found by this program): once at a start, it
 * does not matter. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static void check(const struct environment *environment, const struct error_list *errors)
{
    if (!environment != (errors->count > 0))
        abort();
    char *text = error_list_text(errors, errors);
    for (const char *c = text; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7f)
            abort();
    for (size_t i = 0; environment && i < environment->server_count; i++)
        if (!environment->servers[i].name || !environment->servers[i].watch)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error_list *errors = error_list_new(NULL);
    check(environment_parse(errors, "fuzz.yaml", (const char *)data, size, errors), errors);
    talloc_free(errors);
    if (size < 1024) {
        errors = error_list_new(NULL);
        const char *dsn = talloc_strndup(errors, (const char *)data, size);
        check(environment_from_dsn(errors, &dsn, 1, errors), errors);
        talloc_free(errors);
    }
    return 0;
}
