/* What became of a command, in words. */
#include <string.h>

#include "backends/ssh/run.h"
#include "core/text.h"

/* Standard error tells most; some programs complain on standard output. The end of it, on one line. */
static void say(const struct ssh_result *result, char *buffer, size_t size)
{
    const char *text =
        result->errors && result->errors[strspn(result->errors, " \t\r\n")] ? result->errors : result->output;
    size_t length = text ? strlen(text) : 0;
    buffer[0] = '\0';
    while (length && strchr(" \t\r\n", text[length - 1]))
        length--;
    if (!length)
        return;
    const char *begin = text;
    if (length >= size) {
        begin = text + length - size + 1;
        const char *line = memchr(begin, '\n', size - 1);
        begin = line ? line + 1 : begin;
    }
    safe_line(buffer, size, begin);
}

static enum error_kind kind_of(const struct ssh_result *result)
{
    static const char *const denials[] = {"ermission denied",
                                          "a password is required",
                                          "not permitted",
                                          "Access denied",
                                          "nteractive authentication required",
                                          "may not run sudo",
                                          "not allowed to execute",
                                          "must be root"};
    for (size_t i = 0; i < sizeof denials / sizeof *denials; i++)
        if (result->errors && strstr(result->errors, denials[i]))
            return ERROR_DENIED;
    return result->end.status == 127 ? ERROR_MISSING : ERROR_SERVER;
}

bool ssh_result_ok(const struct ssh_result *result, const char *where, const char *what, struct error *error)
{
    const struct ssh_end *end = &result->end;
    char said[400];
    say(result, said, sizeof said);
    switch (end->ending) {
    case SSH_EXITED:
        if (end->status == 0)
            return true;
        return error_set(error, kind_of(result), where, what, NULL, "exit status %d%s%s", end->status,
                         said[0] ? ": " : "", said);
    case SSH_SIGNALLED:
        return error_set(error, ERROR_SERVER, where, what, NULL, "ended by signal %s%s%s", end->signal,
                         said[0] ? ": " : "", said);
    case SSH_LOST:
    case SSH_REFUSED:
        break;
    }
    return error_set(error, end->error.kind ? end->error.kind : ERROR_LOST, where, what, end->error.todo,
                     "%s%s%s", end->error.what, end->error.what[0] && end->error.why[0] ? ": " : "",
                     end->error.why);
}
