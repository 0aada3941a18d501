/* What the system's ssh says on standard error becomes an error that says what to do. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/system_internal.h"
#include "tests/unit/unit.h"

static const struct ssh_identity identities[] = {
    {.path = "/home/u/.ssh/id_a", .shown = "~/.ssh/id_a", .too_open = true},
    {.path = "/home/u/.ssh/id_b", .shown = "~/.ssh/id_b", .encrypted = true},
};
static const struct ssh_hop hops[] = {{.host = "bastion", .destination = "ops@bastion:22"}};

static const struct {
    const char *said;
    bool jumps;
    size_t identities;
    enum error_kind kind;
    enum system_trouble trouble;
    const char *words[3]; /* of the whole text */
} table[] = {
    {"No ED25519 host key is known for [web1]:2222 and you have requested strict checking.\r\n"
     "Host key verification failed.\r\n",
     false,
     0,
     ERROR_AUTH,
     TROUBLE_UNKNOWN_KEY,
     {"the server's key is not known", "ssh web1"}},
    {"No ED25519 host key is known for bastion and you have requested strict checking.\r\n"
     "Host key verification failed.\r\nkex_exchange_identification: Connection closed by remote host\r\n",
     true,
     0,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"the key of a jump is not known", "ssh ops@bastion:22"}},
    {"@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@\r\n"
     "Add correct host key in /k/h to get rid of this message.\r\n"
     "Offending ED25519 key in /k/h:17\r\n"
     "Host key for [web1]:2222 has changed and you have requested strict checking.\r\n"
     "Host key verification failed.\r\n",
     false,
     0,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"the server's key has changed", "/k/h:17", "ssh-keygen -f \"/k/h\" -R \"[web1]:2222\""}},
    {"@       WARNING: REVOKED HOST KEY DETECTED!               @\r\nHost key verification failed.\r\n",
     false,
     0,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"revoked"}},
    {"u@web1: Permission denied (publickey).\r\n",
     false,
     0,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"cannot log in as u", "(publickey)", "ssh-keygen -t ed25519"}},
    {"u@web1: Permission denied (publickey).\r\n",
     false,
     2,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"ssh-add ~/.ssh/id_b"}},
    {"@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\r\nu@web1: Permission denied "
     "(publickey).\r\n",
     false,
     2,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"chmod 600 ~/.ssh/id_a"}},
    {"u@web1: Permission denied (publickey).\r\n",
     false,
     1,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"~u/.ssh/authorized_keys"}},
    {"ssh: connect to host web1 port 22: Connection refused\r\n",
     false,
     0,
     ERROR_REFUSED,
     TROUBLE_OTHER,
     {"port 22: Connection refused", "sshd"}},
    {"ssh: connect to host bastion port 22: Connection timed out\r\n"
     "kex_exchange_identification: Connection closed by remote host\r\n",
     true,
     0,
     ERROR_TIMEOUT,
     TROUBLE_OTHER,
     {"host bastion", "via ops@bastion:22"}},
    {"ssh: Could not resolve hostname web1: Name or service not known\r\n",
     false,
     0,
     ERROR_NAME,
     TROUBLE_OTHER,
     {"Name or service not known"}},
    {"Unable to negotiate with 10.0.0.5 port 22: no matching host key type found. Their offer: ssh-rsa\r\n",
     false,
     0,
     ERROR_UNSUPPORTED,
     TROUBLE_OTHER,
     {"Their offer: ssh-rsa"}},
    {"kex_exchange_identification: read: Connection reset by peer\r\n",
     false,
     0,
     ERROR_SLOTS,
     TROUBLE_OTHER,
     {"MaxStartups"}},
    {"Received disconnect from 10.0.0.5 port 22:2: Too many authentication failures\r\n",
     false,
     0,
     ERROR_AUTH,
     TROUBLE_OTHER,
     {"IdentitiesOnly"}},
    {"Timeout, server web1 not responding.\r\n", false, 0, ERROR_TIMEOUT, TROUBLE_OTHER, {"not responding"}},
    {"", false, 0, ERROR_LOST, TROUBLE_OTHER, {"did not say why"}},
    {"noise\r\nsomething\033[2J new\r\n\r\n", false, 0, ERROR_LOST, TROUBLE_OTHER, {"something\\x1b[2J new"}},
};

static void all_are_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct ssh_settings settings = {.destination = "web1",
                                              .hostname = "web1",
                                              .user = "u",
                                              .port = 2222,
                                              .hops = hops,
                                              .hop_count = table[i].jumps,
                                              .identities = identities,
                                              .identity_count = table[i].identities};
        struct error error = {0};
        char text[1400];
        assert_int_equal(system_explain(table[i].said, &settings, "prod: web1", &error), table[i].trouble);
        error_format(&error, text, sizeof text);
        assert_int_equal(error.kind, table[i].kind);
        assert_string_equal(error.where, "prod: web1");
        for (size_t j = 0; j < 3 && table[i].words[j]; j++)
            if (!strstr(text, table[i].words[j]))
                fail_msg("there is no \"%s\" in: %s", table[i].words[j], text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
