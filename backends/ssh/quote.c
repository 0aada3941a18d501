/* Words for the remote shell. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/ssh.h"

char *ssh_quote(const void *context, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_";
    /* A leading tilde, an assignment in front of a command: only what can never mean more stays bare. */
    if (*word && word[strspn(word, plain)] == '\0' && !strchr(word, '='))
        return talloc_strdup(context, word);
    size_t quotes = 0;
    for (const char *c = word; *c; c++)
        quotes += *c == '\'';
    char *quoted = talloc_array(context, char, strlen(word) + 3 * quotes + 3);
    if (!quoted)
        abort();
    char *to = quoted;
    *to++ = '\'';
    for (const char *c = word; *c; c++)
        if (*c == '\'') {
            memcpy(to, "'\\''", 4);
            to += 4;
        } else {
            *to++ = *c;
        }
    *to++ = '\'';
    *to = '\0';
    return quoted;
}
