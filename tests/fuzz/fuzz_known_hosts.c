/* libFuzzer: any bytes as a known_hosts file, its first line as the host that is looked for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/known_hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char key[] = "\0\0\0\x0bssh-ed25519\0\0\0\1x";
    void *context = talloc_new(NULL);
    struct error error = {0};
    size_t line = 0, count = 0;
    while (line < size && data[line] != '\n')
        line++;
    char *name = talloc_strndup(context, (const char *)data, line);
    struct known_file *file = known_file_parse(context, "fuzz", (const char *)data, size);
    struct known_hosts *known = known_file_look_up(context, file, name, "ssh-ed25519,rsa-sha2-512");
    enum known_verdict verdict = known_hosts_check(known, "fuzz", key, sizeof key - 1, &error);
    if ((verdict == KNOWN_OK) != (error.kind == ERROR_NONE))
        abort();
    check_text(error.why);
    const struct error *problems = known_hosts_problems(known, &count);
    for (size_t i = 0; i < count; i++)
        check_text(problems[i].why);
    /* What we would write is what we find again. */
    char *written = known_hosts_line(context, name, size % 2, key, sizeof key - 1);
    if (written) {
        struct known_file *again = known_file_parse(context, "fuzz", written, strlen(written));
        char *lower = talloc_strdup(context, name);
        for (char *c = lower; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' && size % 2 == 0 ? (char)(*c | 0x20) : *c;
        known = known_file_look_up(context, again, lower, "");
        if (known_hosts_check(known, "fuzz", key, sizeof key - 1, NULL) != KNOWN_OK)
            abort();
    }
    talloc_free(context);
    return 0;
}
