/* What an end-to-end test plays on: a cluster with the three logins, a HOME with environment files, the
 * console in a terminal, sub-commands with their output, and sessions that block each other. What cannot be
 * done fails the test. */
#ifndef TESTS_HARNESS_STAGE_H
#define TESTS_HARNESS_STAGE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "tests/harness/check.h"
#include "tests/harness/cluster.h"

enum { STAGE_SESSIONS = 16 };

struct stage {
    struct cluster *cluster;  /* NULL: none */
    char *home;               /* holds .config/signalbox and .local/state/signalbox */
    char *watch, *read, *act; /* DSNs; the passwords stand in a file (passfile=) */
    char *app;
    PGconn *sessions[STAGE_SESSIONS]; /* opened by stage_session, closed by stage_calm */
    int session_count;
};

/* A cluster with sb_watch, sb_read, sb_act, app_user, the extension and the table invoice (1,000 rows).
 * options: as cluster_start. Free with stage_free. */
struct stage *stage_new(const char *const options[]);
/* The same without a cluster and its logins: only the HOME. */
struct stage *stage_new_bare(void);
void stage_free(struct stage *s);
/* Ends what a test has left: its sessions, prepared transactions; the state and the files in HOME. */
void stage_calm(struct stage *s);

/* Fixtures of cmocka for the tests that need no more: a stage_new(NULL) for the group, calm before each. */
int stage_begin_group(void **state);
int stage_end_group(void **state);
int stage_calm_setup(void **state);

/* Writes an environment file, keymap or other file below .config/signalbox (parents are made). */
void stage_config(struct stage *s, const char *name, const char *text);
/* An environment NAME of this kind with the server "main"; locked as said. */
void stage_environment(struct stage *s, const char *name, const char *kind, bool locked);

/* The console, in the stage's HOME. env and term as terminal_start; 32 rows, 104 columns. */
#define stage_open(s, ...) stage_open_with((s), 32, 104, NULL, NULL, (const char *const[]){__VA_ARGS__, NULL})
struct terminal *stage_open_with(struct stage *s, int rows, int columns, const char *term,
                                 const char *const env[], const char *const arguments[]);

/* Waits for a dialog and until it takes keys: it takes none that may have been typed before it was seen. */
void stage_dialog(struct terminal *t, const char *text);
/* Waits for a dialog with choices and takes the one with this text. */
void stage_choose(struct terminal *t, const char *choice);

/* A sub-command run to its end. Free with stage_run_free. */
struct stage_run {
    int status; /* 124: it did not end within 40 s */
    char *out, *err;
    size_t out_length;
};
#define stage_command(s, ...) stage_command_with((s), NULL, (const char *const[]){__VA_ARGS__, NULL})
struct stage_run stage_command_with(struct stage *s, const char *const env[], const char *const arguments[]);
void stage_run_free(struct stage_run *run);

/* A session of app_user. Borrowed: stage_calm closes it. */
PGconn *stage_session(struct stage *s, const char *application);
/* Runs SQL in it to its end; an error fails the test. */
void stage_do(PGconn *session, const char *sql);
/* Starts SQL in it and does not wait. */
void stage_begin(PGconn *session, const char *sql);
/* A root that is idle in a transaction and holds row 1 of invoice, and sessions that wait for it, each with
 * "waiter N" as its application. Returns when all wait. The root is first. */
PGconn *stage_block(struct stage *s, int waiters);
/* The identity PID@START of a session. Free it. */
char *stage_identity(struct stage *s, PGconn *session);
bool stage_alive(struct stage *s, const char *identity);
/* Waits until the session is gone; fails the test after the time. */
void stage_await_gone(struct stage *s, const char *identity, double seconds);

/* Polls until holds(data); false after the time. */
bool stage_until(double seconds, bool (*holds)(void *data), void *data);

#endif
