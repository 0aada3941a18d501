/* Real Celery for a test: workers and a beat of the application in tests/data/queues/celery_app on a broker
 * of the test's, jobs sent to them, what they ran, and what `celery inspect` says. All of it is in a folder
 * of its own and goes away when the test ends in any way (keeper.h). What cannot be done fails the cmocka
 * test.
 *
 *     struct celery_site *site = celery_site_new("redis://127.0.0.1:PORT/0", NULL, NULL);
 *     struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 2});
 *     char *id = celery_send(site, "quick", "[1]", "al_noor", 1, NULL);
 *     assert_true(celery_await_ended(site, 10, id, 1));
 *     celery_site_free(site);
 *
 * Tasks: quick(...), slow(seconds), fail(text), retry(countdown: three times), kill_child(), big(text),
 * echo(...).
 */
#ifndef TESTS_HARNESS_CELERY_H
#define TESTS_HARNESS_CELERY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct celery_site;
struct celery_process;

/* URLs as Celery takes them (redis+socket:///path?virtual_host=0 for a socket). results NULL: the broker's.
 * settings: JSON of Celery's settings for all that is started later, or NULL:
 * {"task_acks_late": true, "broker_transport_options": {"visibility_timeout": 5}}. Start it before threads
 * run. */
struct celery_site *celery_site_new(const char *broker, const char *results, const char *settings);
void celery_site_free(struct celery_site *site); /* NULL is fine */
const char *celery_site_folder(const struct celery_site *site);

/* ---- workers and beat ---- */

struct celery_options {
    const char *queues; /* by commas; NULL: "celery" */
    const char *pool;   /* "prefork", "solo", "threads"; NULL: prefork */
    int concurrency;    /* 0: 1 */
    const char
        *words; /* further ones of `celery worker`, by blanks: "-E --prefetch-multiplier=4"; NULL: none */
    const char *settings; /* JSON, as of celery_site_new, for this one only; NULL: none */
    bool dead_letters;    /* what failed is pushed to dlq:QUEUE, ready to be pushed back */
};
/* Starts the worker NAME@test and returns when it takes jobs and hears the pidbox. Of a name that was used
 * before: another process. Borrowed: lives as long as the site. */
struct celery_process *celery_worker(struct celery_site *site, const char *name,
                                     struct celery_options options);
/* Starts beat; settings: JSON with its beat_schedule ({"beat_schedule": {"each": {"task": "app.quick",
 * "schedule": 1.0}}}). `words` as of celery_options: "-S django ..."; NULL: none. */
struct celery_process *celery_beat(struct celery_site *site, const char *settings, const char *words);

const char *celery_name(const struct celery_process *p); /* "one@test"; "beat" */
pid_t celery_pid(const struct celery_process *p);
/* The processes that it has started: of a prefork pool. */
size_t celery_children(const struct celery_process *p, pid_t children[], size_t limit);
bool celery_alive(const struct celery_process *p);
/* What it has logged (INFO), to free. */
char *celery_log(const struct celery_process *p);
/* Waits until its log holds the text; false after the time. */
bool celery_await_log(const struct celery_process *p, double seconds, const char *text);

/* SIGTERM (a warm shutdown of a worker), then waits until it is gone: at most 20 s. */
void celery_stop(struct celery_process *p);
/* SIGKILL to it and its children, at once. */
void celery_kill(struct celery_process *p);
/* SIGSTOP to it and its children; and on. */
void celery_freeze(struct celery_process *p);
void celery_thaw(struct celery_process *p);
/* Waits until it has ended by itself; false after the time. */
bool celery_await_end(struct celery_process *p, double seconds);

/* ---- jobs ---- */

/* Sends `count` jobs of a task (its name without "app."), with the tenant in the header _schema_name (NULL:
 * none). arguments: a JSON array; NULL: none. options: JSON of further words of a job, as send.py in the
 * application's folder says; NULL: none: "\"sent_at\": true, \"options\": {\"countdown\": 60, \"queue\":
 * \"mail\"}". Returns the ids, a line each; to free. */
char *celery_send(struct celery_site *site, const char *task, const char *arguments, const char *tenant,
                  int count, const char *options);
/* Sends what a JSON array describes, as send.py says; ids as above. */
char *celery_send_all(struct celery_site *site, const char *jobs);

/* How often a job was begun, or ran to its end; id NULL: all jobs. An id ends at its line's end. */
int celery_begun(const struct celery_site *site, const char *id);
int celery_ended(const struct celery_site *site, const char *id);
bool celery_await_begun(const struct celery_site *site, double seconds, const char *id, int times);
bool celery_await_ended(const struct celery_site *site, double seconds, const char *id, int times);

/* `celery inspect METHOD --json --timeout 3 WORDS...`: its output, an object by workers; to free. words: NULL
 * at the end; NULL: none. status, unless it is NULL: its exit status (69: nobody answered). */
char *celery_inspect(struct celery_site *site, const char *method, const char *const words[], int *status);
/* The same for `celery control`. */
char *celery_control(struct celery_site *site, const char *method, const char *const words[], int *status);

#endif
