/* Any bytes as an audit log: read and walked without a crash. Any text as what is recorded: it makes a sound
 * chain and one line that a terminal can show. Any bytes behind a right hash: judged, too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/audit_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct audit_verdict check(const char *text, size_t length)
{
    struct audit_verdict verdict;
    audit_check(text, length, NULL, &verdict);
    if (verdict.sound != (verdict.first_bad == 0))
        abort();
    talloc_free(audit_parse(NULL, text, length, 0));
    struct audit_list *last = audit_parse(NULL, text, length, 2);
    if (last->count > 2)
        abort();
    talloc_free(last);
    return verdict;
}

/* The text in fields that are masked, and in one that is not. */
static void record(const char *text)
{
    struct audit_link last = {0};
    const struct audit_entry entry = {.event = text, .target = text, .command = text, .reason = text};
    char *body = audit_body("fuzz", &entry);
    char *line = audit_line(body, &last);
    size_t length = strlen(line);
    for (size_t i = 0; i + 1 < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            abort();
    struct audit_verdict verdict = check(line, length);
    if (!verdict.sound || verdict.records != 1)
        abort();
    free(line);
    free(body);
}

/* The text as the raw body of two records, the second one torn and not sealed. */
static void chain(const char *text)
{
    struct audit_link last = {0};
    char *first = audit_line(text, &last), *second = audit_line(text, &last);
    char *both = talloc_asprintf(NULL, "%s%s", first, second);
    check(both, strlen(both));
    if (check(both, strlen(both) - 1).sound)
        abort();
    talloc_free(both);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check((const char *)data, size);
    char *text = malloc(size + 1);
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    record(text);
    chain(text);
    free(text);
    return 0;
}
