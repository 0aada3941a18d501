/* The parts of the Jobs panel: the systems' queues, workers, failures and schedules, the jobs of one queue,
 * and what can be done with them. */
#ifndef PANELS_JOBS_H
#define PANELS_JOBS_H

#include "backends/queues/queues.h"
#include "panels/panel.h"

extern const struct panel_ops panel_jobs;
extern const struct panel_ops panel_queue; /* the jobs of one queue, or of a search */

extern const struct view jobs_queues, jobs_list, jobs_workers, jobs_running, jobs_failures, jobs_schedule,
    jobs_aside;

/* Which jobs are read. Texts are owned by the state that holds it. */
struct jobs_target {
    struct queue_system *system; /* NULL: all systems */
    const char *queue;           /* NULL: all of its queues and places */
    unsigned states;             /* as queue_read_request; 0: all */
    enum queue_from from;
    const char *filter; /* NULL: a window from one end, without one */
    int64_t limit;      /* jobs that are kept at most */
};

/* What was read: the jobs, and how far reading has come (jobs_reading.c). */
struct jobs_reading;
struct jobs_reading *jobs_reading_new(struct app *app);
/* Begins to read something else. False with error: the filter is wrong (what was read before stays). */
bool jobs_reading_aim(struct jobs_reading *reading, const struct jobs_target *target, struct error *error);
const struct jobs_target *jobs_reading_target(const struct jobs_reading *reading);
void jobs_reading_want(struct jobs_reading *reading, bool wanted);
/* Stops what is being read; what was found stays. True when there was something to stop. */
bool jobs_reading_stop(struct jobs_reading *reading);
bool jobs_reading_busy(const struct jobs_reading *reading);
void jobs_reading_sources(struct jobs_reading *reading, struct source_list *list);
uint64_t jobs_reading_version(const struct jobs_reading *reading);
/* The jobs that were found, each with its system; borrowed until the next turn: hold `snapshot`. */
struct jobs_found {
    struct snapshot snapshot;
    struct jobs_found_item {
        struct job job;
        struct queue_system *system;
        char *flags; /* in a row: their words */
    } * items;
    size_t count;
    int64_t scanned, total, matched;
    bool complete;
};
const struct jobs_found *jobs_reading_found(const struct jobs_reading *reading);
/* "500 of 184,210 from the head", "312 match · scanned 120,000 of 184,210 (65 %)". Returns buffer. */
char *jobs_reading_text(const struct jobs_reading *reading, char *buffer, size_t size);

/* The panel's own state. */
struct jobs_state {
    struct jobs_reading *reading;  /* the jobs on the screen */
    struct queue_prepare *prepare; /* a change being prepared */
    unsigned prepare_place;        /* where the user was when it began */
    void *choice;                  /* what it is prepared from; jobs_acts.c */
    char *subject;                 /* of panel_queue; NULL: it is not open */
    bool opening;                  /* panel_queue is being laid on top */
    struct error none;
};
struct jobs_state *jobs_state(struct app *app);

/* Rows of the views, for acts. */
struct jobs_queue_row {
    struct queue_system *system;
    const struct queue *queue;
    char *tenants; /* the largest shares; NULL: not known */
    char *told;    /* its tenants and what is wrong, in one line */
    char *history; /* a small chart */
};
struct jobs_worker_row {
    struct queue_system *system;
    const struct worker *worker;
};
struct jobs_failure_row {
    struct queue_system *system;
    const struct failure *failure;
    char *history; /* a small chart */
};
struct jobs_schedule_row {
    struct queue_system *system;
    const struct schedule_entry *entry;
    const struct schedule_snapshot *snapshot;
};
struct jobs_aside_row {
    struct queue_system *system;
    const struct aside *aside;
};

/* What views of parts share: a row list filled part by part of every system, their sources, wanting them. */
void jobs_part_want(struct app *app, enum queue_part part, bool wanted);
void jobs_part_sources(struct app *app, enum queue_part part, struct source_list *list);
bool jobs_part_complete(struct app *app, enum queue_part part);
/* The same for queues, with rates: looks twice, two seconds apart. */
bool jobs_rates_known(struct app *app);
uint64_t jobs_version(struct app *app);
/* "Celery on Redis cannot ...": why systems have no such part, for the line above the table; "" when all
 * have. */
void jobs_part_note(struct app *app, enum queue_part part, char *buffer, size_t size);
/* A part's want, sources and note as a view needs them; and its complete. */
#define JOBS_PART(name, part)                                                                                \
    static void name##_want(struct app *app, bool wanted)                                                    \
    {                                                                                                        \
        jobs_part_want(app, part, wanted);                                                                   \
    }                                                                                                        \
    static void name##_sources(struct app *app, struct source_list *list)                                    \
    {                                                                                                        \
        jobs_part_sources(app, part, list);                                                                  \
    }                                                                                                        \
    static void name##_note(struct app *app, char *buffer, size_t size)                                      \
    {                                                                                                        \
        jobs_part_note(app, part, buffer, size);                                                             \
    }

#define JOBS_COMPLETE(name, part)                                                                            \
    static bool name##_complete(struct app *app)                                                             \
    {                                                                                                        \
        return jobs_part_complete(app, part);                                                                \
    }

/* Opens the jobs of a queue (NULL: of all), or those that match a filter, on top of the panel. */
void jobs_open(struct app *app, struct queue_system *system, const char *queue, unsigned states,
               enum queue_from from, const char *filter);
/* Enter on a row of jobs: all about it. */
void jobs_open_job(struct app *app, const struct table_row *row);
/* The same with the values of its arguments. */
void jobs_open_values(struct app *app, const struct table_row *row);

/* jobs_acts.c: F9 on what is selected. */
bool jobs_choose_act(struct app *app, struct error *error);
/* Gives up preparing a change. False: none is being prepared. */
bool jobs_stop_preparing(struct app *app);
/* One act on what is selected, without choosing (F8 asks the workers). */
bool jobs_do_act(struct app *app, enum queue_act act, struct error *error);

/* One line above a table, or two when it is long; what does not fit is cut. Returns the rows it took. */
int jobs_draw_line(struct screen *screen, int top, int columns, int room, enum style style, const char *text);

/* Values: NAN and negative counts are unknown, times of 0 are blank. */
struct value jobs_count(int64_t count);
struct value jobs_real(double real);
struct value jobs_time(double time);
struct value jobs_age(double time);

#endif
