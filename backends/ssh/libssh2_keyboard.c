/*
 * What the user must type: keyboard-interactive and passwords. libssh2 wants the answers to its prompts at
 * once, so that the call runs on a thread that stands still, with the call half done, until they are there.
 * That thread and the loop's never run at the same time: each waits while the other works.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/libssh2_auth.h"
#include "backends/ssh/secret_text.h"

enum keyboard_state { KEYBOARD_CALLED, KEYBOARD_PROMPTS, KEYBOARD_ANSWERED };

struct keyboard {
    struct lib_auth *auth;
    pthread_t thread;
    sem_t go, back;
    enum keyboard_state state;
    int code; /* of the call */
    bool cancelled, finished;
    char *text; /* name and instruction */
    char **prompts, **answers;
    bool *echo;
    int count, at;
};

/* ---- on the thread ---- */

static void free_prompts(struct keyboard *k)
{
    for (int i = 0; i < k->count; i++) {
        free(k->prompts[i]);
        secret_wipe(k->answers[i]);
    }
    free(k->prompts);
    free(k->answers);
    free(k->echo);
    free(k->text);
    k->prompts = k->answers = NULL;
    k->echo = NULL;
    k->text = NULL;
    k->count = 0;
}

static void respond(const char *name, int name_length, const char *instruction, int instruction_length,
                    int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts,
                    LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses, void **abstract)
{
    struct lib_session *session = *abstract;
    struct keyboard *k = session->auth->keyboard;
    if (count <= 0 || k->cancelled)
        return;
    if (asprintf(&k->text, "%.*s%s%.*s", name_length, name, name_length && instruction_length ? "\n" : "",
                 instruction_length, instruction) < 0)
        abort();
    k->prompts = calloc((size_t)count, sizeof *k->prompts);
    k->answers = calloc((size_t)count, sizeof *k->answers);
    k->echo = calloc((size_t)count, sizeof *k->echo);
    if (!k->prompts || !k->answers || !k->echo)
        abort();
    k->count = count;
    k->at = 0;
    for (int i = 0; i < count; i++) {
        /* libssh2 ends its texts with nothing. */
        k->prompts[i] = calloc(1, (size_t)prompts[i].length + 1);
        if (!k->prompts[i])
            abort();
        memcpy(k->prompts[i], prompts[i].text, prompts[i].length);
        k->echo[i] = prompts[i].echo;
    }
    k->state = KEYBOARD_PROMPTS;
    sem_post(&k->back);
    while (sem_wait(&k->go) != 0)
        ;
    for (int i = 0; i < count; i++) {
        const char *answer = k->answers[i] ? k->answers[i] : "";
        responses[i].length = (unsigned)strlen(answer);
        responses[i].text = session_alloc(k->auth->session, responses[i].length + 1);
        memcpy(responses[i].text, answer, responses[i].length + 1);
    }
    free_prompts(k);
}

static void *run(void *data)
{
    struct keyboard *k = data;
    struct lib_session *session = k->auth->session;
    const char *user = ssh_host_settings(session->host)->user;
    do {
        while (sem_wait(&k->go) != 0)
            ;
        if (!k->cancelled)
            k->code =
                libssh2_userauth_keyboard_interactive_ex(session->ssh, user, (unsigned)strlen(user), respond);
        k->state = KEYBOARD_CALLED;
        k->finished = k->cancelled || k->code != LIBSSH2_ERROR_EAGAIN;
        sem_post(&k->back);
    } while (!k->finished);
    return NULL;
}

/* ---- on the loop ---- */

static void ask_next(struct keyboard *k);

static void take_answer(void *data, const char *answer)
{
    struct keyboard *k = data;
    k->auth->question = NULL;
    if (!answer) {
        k->auth->left = true;
        k->state = KEYBOARD_ANSWERED;
    } else {
        k->answers[k->at++] = secret_keep(answer);
        if (k->at < k->count) {
            ask_next(k);
            return;
        }
        k->state = KEYBOARD_ANSWERED;
    }
    auth_go_on(k->auth);
}

static void ask_next(struct keyboard *k)
{
    struct lib_auth *auth = k->auth;
    struct ssh_host *host = auth->session->host;
    const char *prompt = k->prompts[k->at];
    char *title = talloc_asprintf(auth, "%s@%s: %.*s", ssh_host_settings(host)->user, ssh_host_name(host),
                                  (int)strcspn(prompt, "\n"), prompt);
    auth_wait(auth);
    struct ssh_question *question =
        ssh_question_ask(host->pool, ssh_host_name(host), title, k->text, k->echo[k->at], take_answer, k);
    if (question) /* else the answer, and maybe the next question, came in that call */
        auth->question = question;
    talloc_free(title);
}

static struct keyboard *start(struct lib_auth *auth)
{
    struct keyboard *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    k->auth = auth;
    auth->keyboard = k;
    sem_init(&k->go, 0, 0);
    sem_init(&k->back, 0, 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (pthread_create(&k->thread, NULL, run, k) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return k;
}

int keyboard_try(struct lib_auth *auth)
{
    struct keyboard *k = auth->keyboard ? auth->keyboard : start(auth);
    if (auth->left) /* without an answer to the server: it would count as a wrong one */
        return LIBSSH2_ERROR_AUTHENTICATION_FAILED;
    sem_post(&k->go);
    while (sem_wait(&k->back) != 0)
        ;
    if (k->state == KEYBOARD_PROMPTS) {
        ask_next(k);
        return LIBSSH2_ERROR_EAGAIN;
    }
    int code = k->code;
    if (k->finished)
        keyboard_cancel(auth);
    return code;
}

void keyboard_cancel(struct lib_auth *auth)
{
    struct keyboard *k = auth->keyboard;
    if (!k)
        return;
    if (!k->finished) {
        k->cancelled = true;
        auth->session->wire.ended = true; /* the half-done call ends without a word to the server */
        auth->session->wire.dry = false;
        sem_post(&k->go);
    }
    pthread_join(k->thread, NULL);
    auth->keyboard = NULL;
    free_prompts(k);
    sem_destroy(&k->go);
    sem_destroy(&k->back);
    free(k);
}

/* ---- passwords ---- */

static void take_password(void *data, const char *answer)
{
    struct lib_auth *auth = data;
    auth->question = NULL;
    if (answer)
        auth->password = secret_keep(answer);
    else
        auth->left = true;
    auth_go_on(auth);
}

int password_try(struct lib_auth *auth)
{
    struct lib_session *session = auth->session;
    struct ssh_host *host = session->host;
    const char *user = ssh_host_settings(host)->user;
    if (!auth->password) {
        char *title = talloc_asprintf(auth, "Password of %s@%s", user, ssh_host_name(host));
        auth_wait(auth);
        auth->question =
            ssh_question_ask(host->pool, ssh_host_name(host), title, "", false, take_password, auth);
        talloc_free(title);
        return LIBSSH2_ERROR_EAGAIN;
    }
    int code = libssh2_userauth_password_ex(session->ssh, user, (unsigned)strlen(user), auth->password,
                                            (unsigned)strlen(auth->password), NULL);
    if (code == LIBSSH2_ERROR_EAGAIN)
        return code;
    secret_wipe(auth->password);
    auth->password = NULL;
    return code;
}
