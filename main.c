/* signalbox: options and sub-commands. The only place that ends the program. */
#include <locale.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>

#include "panels/batch.h"
#include "panels/keys.h"
#include "panels/options.h"

int main(int argc, char *argv[])
{
    struct options options;
    struct error error;
    enum options_answer answer;
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    /* A worker may still be connecting when the program ends: OpenSSL must not be taken down under it. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
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
