/* What is sent to a host to start the collector there. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/collector.h"
#include "backends/hosts/lines.h"

/* From the build: tools/embed. */
extern const char collector_sh[];

char *collector_script(const void *context)
{
    struct span rest = span_of(collector_sh), line;
    char *script = talloc_size(context, rest.length + 1), *end = script;
    if (!script)
        abort();
    while (span_line(&rest, &line)) {
        while (line.length && line.at[0] == ' ') {
            line.at++;
            line.length--;
        }
        if (!line.length || line.at[0] == '#')
            continue;
        memcpy(end, line.at, line.length);
        end += line.length;
        *end++ = '\n';
    }
    *end = '\0';
    return script;
}

/* Exactly what is sent is read, so that nothing of the requests behind it is swallowed; nothing is asked
 * before the script has said that it is ready. The last word is what the process is called in lists there. */
char *collector_command(const void *context, size_t bytes)
{
    char *command =
        talloc_asprintf(context, "exec sh -c 'eval \"$(head -c %zu)\"' signalbox-collector", bytes);
    if (!command)
        abort();
    return command;
}

char *collector_variables(const void *context, const char *mark, const struct environment_ssh *settings)
{
    char *release = ssh_quote(NULL, settings->release ? settings->release : "");
    char *nginx = ssh_quote(NULL, settings->nginx_status ? settings->nginx_status : "");
    char *variables = talloc_asprintf(context, "M=%s RELEASE=%s NGINX=%s\n", mark, release, nginx);
    if (!variables)
        abort();
    talloc_free(release);
    talloc_free(nginx);
    return variables;
}
