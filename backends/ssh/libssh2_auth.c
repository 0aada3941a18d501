/* Who we are: which ways the server allows, in which order they are gone, and what is said when none works.
 */
#include "backends/ssh/libssh2_auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/secret_text.h"

#define AUTH_S 20.0
#define USER_S 125.0 /* servers wait two minutes for a login */
enum { TRIES = 3 };

/* ---- waiting ---- */

void auth_wait(struct lib_auth *auth)
{
    auth->waiting = true;
    wire_listen(auth->session, false);
    session_set_deadline(auth->session, USER_S);
}

void auth_go_on(struct lib_auth *auth)
{
    auth->waiting = false;
    wire_listen(auth->session, true);
    session_set_deadline(auth->session, AUTH_S);
    session_wake(auth->session);
}

void auth_late(struct lib_session *session)
{
    bool asked = session->auth && session->auth->waiting;
    session_fail_with(
        session, ERROR_TIMEOUT, "cannot log in", asked ? NULL : "The host may hang or be overloaded.",
        asked ? "the question was not answered in time" : "the server does not answer during authentication");
}

/* ---- words ---- */

/* Appends to a list with commas. */
void auth_note(struct lib_auth *auth, char **list, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = talloc_vasprintf(auth, format, arguments);
    va_end(arguments);
    if (!*list) {
        *list = text;
        return;
    }
    *list = talloc_asprintf_append(*list, ", %s", text);
    talloc_free(text);
}

static bool in_list(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

bool auth_allows(const struct lib_auth *auth, const char *method)
{
    const struct ssh_settings *s = ssh_host_settings(auth->session->host);
    if (!in_list(auth->methods, method) || (s->preferred && !in_list(s->preferred, method)))
        return false;
    if (strcmp(method, "publickey") == 0)
        return s->public_key;
    if (strcmp(method, "keyboard-interactive") == 0)
        return s->keyboard_interactive;
    return strcmp(method, "password") != 0 || s->password;
}

static void describe(const struct lib_auth *auth, char *why, size_t size)
{
    if (auth->left)
        snprintf(why, size, "the question was not answered; the server allows %s", auth->methods);
    else
        snprintf(why, size, "%s%s%s%s%s; it allows %s",
                 auth->offered ? "the server takes none of the keys offered: " : "no key could be offered",
                 auth->offered ? auth->offered : "", auth->skipped ? " (not offered: " : "",
                 auth->skipped ? auth->skipped : "", auth->skipped ? ")" : "", auth->methods);
}

static void fail(struct lib_auth *auth)
{
    struct lib_session *session = auth->session;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    struct ssh_failure failure = {.other = auth->left ? NULL : auth->other};
    char why[sizeof failure.error.why], what[128], todo[256];
    if (!failure.other && !auth->left && s->gssapi && in_list(auth->methods, "gssapi-with-mic"))
        failure.other = "GSSAPI: libssh2 cannot do it";
    describe(auth, why, sizeof why);
    snprintf(what, sizeof what, "cannot log in as %s", s->user);
    if (auth->offered)
        snprintf(todo, sizeof todo, "Put the public key into ~%s/.ssh/authorized_keys there.", s->user);
    else
        snprintf(todo, sizeof todo,
                 "ssh-add a key, or make one with `ssh-keygen -t ed25519` and put its public half into "
                 "~%s/.ssh/authorized_keys there.",
                 s->user);
    error_set(&failure.error, auth->left ? ERROR_CANCELLED : ERROR_AUTH, ssh_host_label(session->host), what,
              todo, "%s", why);
    session_fail(session, &failure);
}

/* ---- stages ---- */

/* 0: the list is there. */
static int ask_methods(struct lib_auth *auth)
{
    struct lib_session *session = auth->session;
    const char *user = ssh_host_settings(session->host)->user;
    const char *list = libssh2_userauth_list(session->ssh, user, (unsigned)strlen(user));
    if (!list && libssh2_userauth_authenticated(session->ssh)) {
        session_authenticated(session);
        return LIBSSH2_ERROR_EAGAIN;
    }
    if (!list)
        return libssh2_session_last_errno(session->ssh);
    if (auth->stage == AUTH_LIST_AGAIN && strcmp(list, auth->methods) == 0)
        auth->was_signed = false; /* nothing was achieved with that key */
    talloc_free(auth->methods);
    auth->methods = talloc_strdup(auth, list);
    return 0;
}

static void keys_listed(void *data, struct agent_keys *keys, const struct error *error)
{
    struct lib_auth *auth = data;
    auth->call = NULL;
    if (keys)
        auth->keys = talloc_steal(auth, keys);
    else
        auth_note(auth, &auth->skipped, "%s: %s", error->what, error->why);
    offers_make(auth);
    auth->stage = AUTH_OFFER;
    auth_go_on(auth);
}

static void begin_keys(struct lib_auth *auth)
{
    const struct ssh_settings *s = ssh_host_settings(auth->session->host);
    if (!auth_allows(auth, "publickey")) {
        auth->stage = AUTH_KEYBOARD;
    } else if (s->agent) {
        auth->stage = AUTH_AGENT;
        auth->call = agent_list(ssh_host_loop(auth->session->host), s->agent, keys_listed, auth);
        auth_wait(auth);
    } else {
        offers_make(auth);
        auth->stage = AUTH_OFFER;
    }
}

/* The key that was tried is not enough: the next one, or what the server wants besides. */
static void next_offer(struct lib_auth *auth, int code)
{
    struct offer *offer = &auth->offers[auth->at];
    if (auth->was_signed) {
        auth->stage = AUTH_LIST_AGAIN;
        return;
    }
    if (auth->sign_why)
        auth_note(auth, &auth->skipped, "%s: %s", offer->name, auth->sign_why);
    else if (code)
        auth_note(auth, &auth->offered, "%s", offer->name);
    auth->sign_why = NULL;
    auth->at++;
}

static void step_offer(struct lib_auth *auth)
{
    if (auth->at >= auth->offer_count) {
        auth->stage = AUTH_KEYBOARD;
        return;
    }
    struct lib_session *session = auth->session;
    int code = offer_try(auth);
    if (code == LIBSSH2_ERROR_EAGAIN)
        return;
    if (code == 0)
        session_authenticated(session);
    else if ((code == LIBSSH2_ERROR_AUTHENTICATION_FAILED || code == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) &&
             !session->wire.ended && !session->wire.broken && !session->farewell)
        next_offer(auth, code);
    else
        session_fail_code(session, "cannot log in", code);
}

static void step_list_again(struct lib_auth *auth)
{
    auth->at++;
    if (auth->was_signed) { /* that key was one of two steps */
        auth->was_signed = false;
        auth->stage = auth_allows(auth, "publickey") ? AUTH_OFFER : AUTH_KEYBOARD;
        return;
    }
    auth_note(auth, &auth->offered, "%s", auth->offers[auth->at - 1].name);
    auth->stage = AUTH_OFFER;
}

/* Keyboard-interactive or a password; the next stage when it is refused. */
static void step_asking(struct lib_auth *auth, const char *method, int (*try)(struct lib_auth *auth),
                        enum auth_stage next)
{
    struct lib_session *session = auth->session;
    if (!auth_allows(auth, method) || auth->left) {
        auth->stage = next;
        return;
    }
    if (!session->host->pool->options.ask || session->main) {
        auth_note(auth, &auth->skipped, "%s: nobody is there to be asked", method);
        auth->stage = next;
        return;
    }
    int code = try(auth);
    if (code == LIBSSH2_ERROR_EAGAIN)
        return;
    if (code == 0)
        session_authenticated(session);
    else if (!auth->left && code == LIBSSH2_ERROR_AUTHENTICATION_FAILED && ++auth->tries < TRIES)
        session_wake(session); /* mistyped: asked again */
    else if (auth->left || code == LIBSSH2_ERROR_AUTHENTICATION_FAILED) {
        if (!auth->left)
            auth_note(auth, &auth->offered, "the answers to %s", method);
        auth->tries = 0;
        auth->stage = next;
    } else
        session_fail_code(session, "cannot log in", code);
}

static void one_stage(struct lib_auth *auth)
{
    int code;
    switch (auth->stage) {
    case AUTH_LIST:
    case AUTH_LIST_AGAIN:
        code = ask_methods(auth);
        if (code == LIBSSH2_ERROR_EAGAIN)
            break;
        if (code)
            session_fail_code(auth->session, "cannot log in", code);
        else if (auth->stage == AUTH_LIST)
            begin_keys(auth);
        else
            step_list_again(auth);
        break;
    case AUTH_AGENT:
        break;
    case AUTH_OFFER:
        step_offer(auth);
        break;
    case AUTH_KEYBOARD:
        step_asking(auth, "keyboard-interactive", keyboard_try, AUTH_PASSWORD);
        break;
    case AUTH_PASSWORD:
        step_asking(auth, "password", password_try, AUTH_FAILED);
        break;
    case AUTH_FAILED:
        fail(auth);
        break;
    }
}

void auth_step(struct lib_session *session)
{
    struct lib_auth *auth = session->auth;
    enum auth_stage stage;
    size_t at;
    do { /* until one of them waits */
        stage = auth->stage;
        at = auth->at;
        if (!auth->waiting)
            one_stage(auth);
    } while (!session->closed && session->phase == LIB_AUTH && !auth->waiting &&
             (auth->stage != stage || auth->at != at));
}

void auth_start(struct lib_session *session)
{
    struct lib_auth *auth = talloc_zero(NULL, struct lib_auth);
    auth->session = session;
    auth->self = auth;
    session->auth = auth;
    session->phase = LIB_AUTH;
    session_set_deadline(session, AUTH_S);
}

void auth_cancel(struct lib_session *session)
{
    struct lib_auth *auth = session->auth;
    if (!auth)
        return;
    agent_cancel(auth->call);
    key_wait_cancel(auth->wait);
    ssh_question_forget(auth->question);
    keyboard_cancel(auth);
    free(auth->signature);
    secret_wipe(auth->password);
    session->auth = NULL;
    talloc_free(auth);
}
