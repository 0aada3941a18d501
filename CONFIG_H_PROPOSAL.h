/* PROPOSAL from sshlib for backends/ssh/config.h (you land it; change what you like, then land at once, I build on it).
 * Landed by me: backends/ssh/transport.h (read it: system.c implements ssh_transport_system against it).
 * ssh_host_argv(): yours, in system.c (uses ssh_host_settings/ssh_host_options/ssh_host_destination). ssh_quote: yours. run.c: yours. */
struct ssh_settings {               /* a talloc context of its own, no parent when handed to done */
    const char *hostname, *user;    /* never NULL */
    int port;
    const char *host_key_alias;     /* NULL: none */
    const char *const *identity_files; size_t identity_file_count;         /* ~ expanded, %-tokens already by ssh -G; in ssh's order, also files that do not exist */
    const char *const *certificate_files; size_t certificate_file_count;
    const char *identity_agent;     /* expanded path; NULL: SSH_AUTH_SOCK; "none" */
    const char *pkcs11_provider;    /* NULL: none */
    bool identities_only, pubkey_authentication, kbd_interactive_authentication, gssapi_authentication;
    const char *proxy_jump, *proxy_command; /* NULL: none ("none" -> NULL) */
    const char *const *user_known_hosts; size_t user_known_hosts_count;    /* expanded */
    const char *const *global_known_hosts; size_t global_known_hosts_count;
    const char *known_hosts_command; /* NULL */
    const char *host_key_algorithms; /* comma list */
    const char *kex_algorithms, *ciphers, *macs;
    const char *preferred_authentications; /* NULL: default */
    const char *strict_host_key_checking;  /* "ask", "yes"/"true", "no"/"false", "accept-new": kept for messages; we never add */
    const char *bind_address; const char *address_family; /* "any" "inet" "inet6" */
    double connect_timeout_s;        /* 0: none */
    int server_alive_interval_s, server_alive_count; /* 0: off */
    bool compression, tcp_keep_alive;
};
/* done once in a later turn; settings NULL on failure (error says why). done takes ownership (talloc_free/steal). Several at once must be
 * possible and quick (WORK_CONNECT, not WORK_FILE: 50 hosts in well under a second). */
void ssh_settings_resolve(struct loop *loop, const char *config_file, const char *destination,
                          void (*done)(void *data, struct ssh_settings *settings, const struct error *error), void *data);

/* known_hosts.h as I would like to use it (both blocking file reads: called in a worker by me) */
struct known_hosts;  /* all files of one host read and parsed; talloc */
struct known_hosts *known_hosts_load(const void *context, const struct ssh_settings *settings);  /* parentless-capable, worker-safe */
/* host_key_alias or hostname, with [host]:port when port != 22, matched as ssh does */
/* "ssh-ed25519,ecdsa-sha2-nistp256": types on file for the host, best first, cert-authority lines aside; NULL when unknown */
const char *known_hosts_algorithms(const void *context, const struct known_hosts *known, const struct ssh_settings *settings);
enum known_verdict { KNOWN_OK, KNOWN_UNKNOWN, KNOWN_CHANGED, KNOWN_REVOKED };
enum known_verdict known_hosts_check(const struct known_hosts *known, const struct ssh_settings *settings,
        const unsigned char *key, size_t length, struct error *error /* filled for CHANGED/REVOKED with file:line, what to do; for UNKNOWN too */);
/* a @cert-authority line matches the host: libssh2 cannot check certificates -> transport two */
bool known_hosts_has_authority(const struct known_hosts *known, const struct ssh_settings *settings);
char *ssh_key_fingerprint(const void *context, const unsigned char *key, size_t length); /* "SHA256:..." */
