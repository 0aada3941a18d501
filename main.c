/* signalbox: options and sub-commands. The only place that ends the program. */
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "panels/batch.h"
#include "panels/keys.h"
#include "panels/options.h"

static int run(int argc, char *argv[])
{
    struct options options;
    struct error error;
    enum options_answer answer;
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0); /* passphrases and rows are in memory: no core file, no look by others */
    const struct command *command = options_parse(&options, argc, argv, &answer, &error);
    if (!command) {
        batch_print_error(&error);
        return 2;
    }
    switch (answer) {
    case OPTIONS_HELP:
        options_print_help(command, stdout);
        return 0;
    case OPTIONS_VERSION:
        puts("signalbox " SIGNALBOX_VERSION);
        return 0;
    case OPTIONS_MANUAL:
        keys_print_manual(stdout);
        return 0;
    case OPTIONS_KEYS:
        keys_print_reference(stdout);
        return 0;
    case OPTIONS_RUN:
        break;
    }
    return command->run(&options);
}

#ifdef __SANITIZE_ADDRESS__
void __lsan_do_leak_check(void);
#endif

/* A worker may still be connecting: the libraries that it is in (OpenSSL, Kerberos) must not be taken down
 * under it, as exit() does. */
int main(int argc, char *argv[])
{
    /* One arena and early giving back: workers come and go, and what a handshake needed is not needed again.
     */
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 64 << 10);
    int status = run(argc, argv);
    fflush(NULL);
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_leak_check();
#endif
    _exit(status);
}
