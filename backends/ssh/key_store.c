/* The private keys of a pool, each opened once. */
#include "backends/ssh/key_store.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/pool.h"
#include "backends/ssh/secret_text.h"

enum { LOCKED_BYTES = 256 * 1024, TRIES = 3 };

enum entry_state {
    ENTRY_NEW,
    ENTRY_BUSY,   /* a worker reads or decrypts it */
    ENTRY_ASKED,  /* the user has the question */
    ENTRY_OPEN,   /* there */
    ENTRY_FAILED, /* `why`; tried again when somebody needs it */
    ENTRY_LEFT,   /* the user did not want to give the passphrase */
};

struct key_wait {
    struct key_wait *next;
    struct entry *entry;
    void (*done)(void *data, const struct private_key *key, const char *why);
    void *data;
};

struct entry {
    struct key_store *store;
    char *path, *shown, *host;
    enum entry_state state;
    struct private_key *key;
    const char *why;
    int tries;
    struct ssh_question *question;
    struct job *job;
    struct key_wait *waits;
    ev_timer told; /* answers that are there at once */
    UT_hash_handle hh;
};

struct key_store {
    struct ssh_pool *pool;
    struct entry *entries;
};

/* What a worker has in hand. */
struct job {
    struct entry *entry; /* NULL: nobody waits any more */
    char *path;
    char *passphrase; /* in locked memory, or NULL */
    struct private_key *key;
    enum private_problem problem;
};

static void start_job(struct entry *entry, const char *passphrase);

/* ---- answers ---- */

static void tell(struct entry *entry, const char *why)
{
    struct key_wait *waits = entry->waits;
    const struct private_key *key = entry->key;
    entry->waits = NULL;
    while (waits) {
        struct key_wait *wait = waits;
        waits = wait->next;
        if (wait->done)
            wait->done(wait->data, key, why);
        free(wait);
    }
}

static void on_told(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct entry *entry = timer->data;
    struct ssh_pool *pool = entry->store->pool;
    (void)ev, (void)events;
    pool_enter(pool);
    tell(entry, entry->why);
    pool_leave(pool);
}

static void settle(struct entry *entry, enum entry_state state, const char *why)
{
    entry->state = state;
    entry->why = why;
    struct ev_loop *ev = loop_ev(entry->store->pool->loop);
    ev_timer_set(&entry->told, 0, 0);
    ev_timer_start(ev, &entry->told);
}

/* ---- the passphrase ---- */

static void take_passphrase(void *data, const char *answer)
{
    struct entry *entry = data;
    entry->question = NULL;
    if (!answer || !*answer)
        settle(entry, ENTRY_LEFT, "its passphrase was not given");
    else
        start_job(entry, answer);
}

static void ask(struct entry *entry, bool again)
{
    struct ssh_pool *pool = entry->store->pool;
    if (!pool->options.ask) {
        settle(entry, ENTRY_FAILED, "it needs a passphrase, and nobody is there to be asked");
        return;
    }
    if (entry->tries++ >= TRIES) {
        settle(entry, ENTRY_LEFT, "the passphrase was wrong");
        return;
    }
    char *title = talloc_asprintf(entry, "Passphrase of %s", entry->shown);
    entry->state = ENTRY_ASKED;
    entry->question =
        ssh_question_ask(pool, entry->host, title, again ? "That was not the passphrase. Try again." : "",
                         false, take_passphrase, entry);
    talloc_free(title);
}

/* ---- the worker ---- */

static void open_key(void *data)
{
    struct job *job = data;
    job->key = private_key_load(job->path, job->passphrase, &job->problem);
}

static void drop_job(void *data)
{
    struct job *job = data;
    secret_wipe(job->passphrase);
    private_key_free(job->key);
    free(job->path);
    free(job);
}

static void key_read(void *data)
{
    struct job *job = data;
    struct entry *entry = job->entry;
    if (!entry) {
        drop_job(job);
        return;
    }
    struct ssh_pool *pool = entry->store->pool;
    pool_enter(pool);
    entry->job = NULL;
    entry->key = job->key;
    job->key = NULL;
    enum private_problem problem = job->problem;
    drop_job(job);
    if (entry->key)
        settle(entry, ENTRY_OPEN, NULL);
    else if (problem == PRIVATE_ENCRYPTED || problem == PRIVATE_WRONG)
        ask(entry, problem == PRIVATE_WRONG);
    else
        settle(entry, ENTRY_FAILED,
               problem == PRIVATE_UNREADABLE ? "it cannot be read"
                                             : "it is no key that libssh2 can use (ed25519, ecdsa)");
    pool_leave(pool);
}

static void start_job(struct entry *entry, const char *passphrase)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        abort();
    job->entry = entry;
    job->path = strdup(entry->path);
    job->passphrase = passphrase ? secret_keep(passphrase) : NULL;
    entry->job = job;
    entry->state = ENTRY_BUSY;
    loop_work_or_drop(entry->store->pool->loop, WORK_LOCAL, open_key, key_read, drop_job, job);
}

/* ---- what others call ---- */

#ifdef __SANITIZE_ADDRESS__
void __lsan_register_root_region(const void *begin, size_t size);

/* OpenSSL keeps pointers in there (of its random generators), where the leak checker does not look by itself.
 * It passes over what is not mapped. */
static void show_leak_checker(void)
{
    char *inside = OPENSSL_secure_malloc(1);
    if (inside)
        __lsan_register_root_region(inside - LOCKED_BYTES, 2 * LOCKED_BYTES);
    OPENSSL_secure_free(inside);
}
#else
static void show_leak_checker(void)
{
}
#endif

struct key_store *key_store_new(struct ssh_pool *pool)
{
    struct key_store *store = talloc_zero(NULL, struct key_store);
    store->pool = pool;
    /* Without it keys lie in ordinary memory. */
    if (!CRYPTO_secure_malloc_initialized() && CRYPTO_secure_malloc_init(LOCKED_BYTES, 32))
        show_leak_checker();
    return store;
}

void key_store_free(struct key_store *store)
{
    struct entry *entry, *following;
    HASH_ITER(hh, store->entries, entry, following)
    {
        HASH_DEL(store->entries, entry);
        ev_timer_stop(loop_ev(store->pool->loop), &entry->told);
        ssh_question_forget(entry->question);
        if (entry->job)
            entry->job->entry = NULL;
        while (entry->waits) {
            struct key_wait *wait = entry->waits;
            entry->waits = wait->next;
            free(wait);
        }
        private_key_free(entry->key);
    }
    talloc_free(store);
}

void key_store_ask_again(struct key_store *store)
{
    for (struct entry *entry = store->entries; entry; entry = entry->hh.next)
        if (entry->state == ENTRY_LEFT)
            entry->state = ENTRY_NEW;
}

static struct entry *find_entry(struct key_store *store, const struct ssh_identity *identity)
{
    struct entry *entry;
    HASH_FIND_STR(store->entries, identity->path, entry);
    return entry;
}

const struct private_key *key_store_find(struct key_store *store, const struct ssh_identity *identity)
{
    struct entry *entry = find_entry(store, identity);
    if (!entry || entry->state != ENTRY_OPEN)
        return NULL;
    size_t length;
    const unsigned char *blob = private_key_blob(entry->key, &length);
    if (!identity->public ||
        (length == identity->public_length && memcmp(blob, identity->public, length) == 0))
        return entry->key;
    return NULL; /* the file holds another key by now */
}

static struct entry *make_entry(struct key_store *store, const struct ssh_identity *identity,
                                const char *host)
{
    struct entry *entry = talloc_zero(store, struct entry);
    entry->store = store;
    entry->path = talloc_strdup(entry, identity->path);
    entry->shown = talloc_strdup(entry, identity->shown);
    entry->host = talloc_strdup(entry, host);
    ev_init(&entry->told, on_told);
    entry->told.data = entry;
    HASH_ADD_KEYPTR(hh, store->entries, entry->path, strlen(entry->path), entry);
    return entry;
}

struct key_wait *key_store_open(struct key_store *store, const struct ssh_identity *identity,
                                const char *host,
                                void (*done)(void *data, const struct private_key *key, const char *why),
                                void *data)
{
    struct entry *entry = find_entry(store, identity);
    if (!entry)
        entry = make_entry(store, identity, host);
    struct key_wait *wait = calloc(1, sizeof *wait);
    if (!wait)
        abort();
    *wait = (struct key_wait){.next = entry->waits, .entry = entry, .done = done, .data = data};
    entry->waits = wait;
    switch (entry->state) {
    case ENTRY_OPEN:
        if (key_store_find(store, identity)) {
            settle(entry, ENTRY_OPEN, NULL);
            break;
        }
        private_key_free(entry->key); /* replaced on disk */
        entry->key = NULL;
        /* fall through */
    case ENTRY_NEW:
    case ENTRY_FAILED:
        entry->tries = 0;
        start_job(entry, NULL);
        break;
    case ENTRY_LEFT:
        settle(entry, ENTRY_LEFT, entry->why);
        break;
    case ENTRY_BUSY:
    case ENTRY_ASKED:
        break;
    }
    return wait;
}

void key_wait_cancel(struct key_wait *wait)
{
    if (!wait)
        return;
    struct key_wait **at = &wait->entry->waits;
    while (*at && *at != wait)
        at = &(*at)->next;
    if (*at) {
        *at = wait->next;
        free(wait);
    } else {
        wait->done = NULL; /* being told at this moment */
    }
}
