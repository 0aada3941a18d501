/*
 * The demo's application: a steady load of requests such as Django sends over the schools of the platform,
 * and problems planted among them that are switched on and off while it runs (a file in a directory for
 * each). It is a program of its own: nothing of the console is in it. Every session is a thread with its
 * connection.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum problem {
    MISSING_INDEX,
    N_PLUS_ONE,
    SPILL,
    MISESTIMATE,
    ONE_SCHOOL,
    DEADLOCK,
    IDLE_LOCK,
    PREPARED_LOCK,
    PROBLEM_COUNT
};

struct problem_text {
    const char *name, *initially, *help;
};
static const struct problem_text problem_texts[PROBLEM_COUNT] = {
    [MISSING_INDEX] = {"missing-index", "on", "invoices are looked up by reference, which no index covers"},
    [N_PLUS_ONE] = {"n-plus-one", "on", "a list of enrolments fetches the student of every row by itself"},
    [SPILL] = {"spill", "on", "a report sorts the attendance of the big school on disk"},
    [MISESTIMATE] = {"misestimate", "on", "columns that go together: 1 row expected, a thousand come"},
    [ONE_SCHOOL] = {"one-school", "on", "unread messages: instant everywhere, slow in al_noor alone"},
    [DEADLOCK] = {"deadlock", "on", "two workers update two rows in opposite order every 30 s"},
    [IDLE_LOCK] = {"idle-lock", "on", "a migration and requests queue behind a session idle in transaction"},
    [PREPARED_LOCK] = {"prepared-lock", "off", "requests queue behind a prepared transaction"},
};

/* Row counts follow from the number of students: see demo/platform.sql. */
struct tenant {
    char schema[64];
    long students;
};

/* Tenants come in order of size: 0 is al_noor. Each planted lock has a school to itself. */
enum { BIG_TENANT = 0, DEADLOCK_TENANT = 1, IDLE_TENANT = 2, PREPARED_TENANT = 3, MIN_TENANTS = 4 };

struct workload {
    const char *dsn;
    const char *directory; /* a file NAME in it: that problem is on */
    struct tenant *tenants;
    size_t tenant_count;
    long total_students;
    atomic_bool on[PROBLEM_COUNT];
    atomic_llong switched[PROBLEM_COUNT]; /* the file's identity: another one is another switching on */
    atomic_long connected_at; /* when a connection was last made, in seconds of the monotonic clock */
    atomic_int connections;
};

struct session {
    struct workload *workload;
    const char *application; /* "gunicorn web1" */
    PGconn *connection;      /* NULL: not connected */
    PGresult *result;        /* of the last statement; kept until the next one */
    const struct tenant *tenant;
    uint64_t random;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

/* From 0 to limit - 1 (xorshift: good enough, and every thread has its own). */
static long pick(struct session *session, long limit)
{
    session->random ^= session->random << 13;
    session->random ^= session->random >> 7;
    session->random ^= session->random << 17;
    return limit > 0 ? (long)(session->random % (uint64_t)limit) : 0;
}

static void disconnect(struct session *session)
{
    PQclear(session->result);
    session->result = NULL;
    if (session->connection != NULL) {
        PQfinish(session->connection);
        atomic_fetch_sub(&session->workload->connections, 1);
    }
    session->connection = NULL;
}

static bool try_connect(struct session *session)
{
    const char *names[] = {"dbname", "application_name", "connect_timeout", NULL};
    const char *values[] = {session->workload->dsn, session->application, "10", NULL};
    disconnect(session);
    PGconn *connection = PQconnectdbParams(names, values, 1);
    if (PQstatus(connection) != CONNECTION_OK) {
        PQfinish(connection);
        return false;
    }
    session->connection = connection;
    atomic_fetch_add(&session->workload->connections, 1);
    atomic_store(&session->workload->connected_at, (long)now());
    return true;
}

/* Waits as long as it takes: main() ends the program when the platform is gone for good. */
static void ensure_connected(struct session *session)
{
    while (session->connection == NULL || PQstatus(session->connection) != CONNECTION_OK) {
        session->tenant = NULL;
        if (!try_connect(session)) {
            pause_for(0.5);
        }
    }
}

/* Runs one statement with its values in the text, as psycopg2 does. Its rows, or -1 after an error. */
__attribute__((format(printf, 2, 3))) static int run(struct session *session, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    PQclear(session->result);
    session->result = PQexec(session->connection, text);
    ExecStatusType status = PQresultStatus(session->result);
    return status == PGRES_TUPLES_OK ? PQntuples(session->result) : status == PGRES_COMMAND_OK ? 0 : -1;
}

static long value(const struct session *session, int row)
{
    return strtol(PQgetvalue(session->result, row, 0), NULL, 10);
}

/* As django-tenants does at the start of a request: after this, no text names a schema. */
static void enter_tenant(struct session *session, const struct tenant *tenant)
{
    session->tenant = tenant;
    run(session, "SET search_path = '%s', 'public'", tenant->schema);
}

static bool is_reserved(const struct workload *workload, size_t index)
{
    return (index == IDLE_TENANT && atomic_load(&workload->on[IDLE_LOCK])) ||
           (index == PREPARED_TENANT && atomic_load(&workload->on[PREPARED_LOCK]));
}

/* Big schools are busier. One whose invoices are locked by a planted queue is left alone, so that the rest
 * goes on. */
static void enter_some_tenant(struct session *session)
{
    const struct workload *workload = session->workload;
    for (;;) {
        long point = pick(session, workload->total_students);
        size_t index = 0;
        while (index + 1 < workload->tenant_count && point >= workload->tenants[index].students) {
            point -= workload->tenants[index].students;
            index++;
        }
        if (!is_reserved(workload, index)) {
            enter_tenant(session, &workload->tenants[index]);
            return;
        }
    }
}

static long some_student(struct session *session)
{
    return 1 + pick(session, session->tenant->students);
}

static long course_count(const struct tenant *tenant)
{
    return tenant->students / 15 > 4 ? tenant->students / 15 : 4;
}

/* --- Requests that are as they should be --- */

static void show_student(struct session *session)
{
    long student = some_student(session);
    run(session,
        "SELECT \"student\".\"id\", \"student\".\"number\", \"student\".\"first_name\", "
        "\"student\".\"last_name\", "
        "\"student\".\"email\", \"student\".\"birth_date\", \"student\".\"classroom_id\", "
        "\"student\".\"status\" "
        "FROM \"student\" WHERE \"student\".\"id\" = %ld LIMIT 21",
        student);
    run(session,
        "SELECT \"enrolment\".\"id\", \"course\".\"code\", \"course\".\"title\" FROM \"enrolment\" INNER "
        "JOIN "
        "\"course\" ON (\"enrolment\".\"course_id\" = \"course\".\"id\") WHERE (\"enrolment\".\"student_id\" "
        "= %ld "
        "AND \"enrolment\".\"status\" = 'active') ORDER BY \"course\".\"code\" ASC",
        student);
    run(session,
        "SELECT \"attendance\".\"day\", \"attendance\".\"status\", \"attendance\".\"minutes_late\" FROM "
        "\"attendance\" WHERE \"attendance\".\"student_id\" = %ld ORDER BY \"attendance\".\"day\" DESC LIMIT "
        "20",
        student);
    run(session,
        "SELECT COUNT(*) AS \"__count\" FROM \"message\" WHERE (\"message\".\"read_at\" IS NULL AND "
        "\"message\".\"student_id\" = %ld)",
        student);
}

static void show_invoices(struct session *session)
{
    run(session,
        "SELECT \"invoice\".\"id\", \"invoice\".\"reference\", \"invoice\".\"amount\", "
        "\"invoice\".\"status\", "
        "\"invoice\".\"due_date\" FROM \"invoice\" WHERE \"invoice\".\"student_id\" = %ld ORDER BY "
        "\"invoice\".\"due_date\" DESC",
        some_student(session));
    if (PQntuples(session->result) < 2) {
        return;
    }
    run(session,
        "SELECT \"payment\".\"id\", \"payment\".\"invoice_id\", \"payment\".\"amount\", "
        "\"payment\".\"paid_at\" FROM "
        "\"payment\" WHERE \"payment\".\"invoice_id\" IN (%ld, %ld)",
        value(session, 0), value(session, 1));
}

static void show_course(struct session *session)
{
    run(session,
        "SELECT \"enrolment\".\"course_id\", AVG(\"grade\".\"score\") AS \"mean\", COUNT(\"grade\".\"id\") "
        "AS "
        "\"tests\" FROM \"grade\" INNER JOIN \"enrolment\" ON (\"grade\".\"enrolment_id\" = "
        "\"enrolment\".\"id\") "
        "WHERE \"enrolment\".\"course_id\" = %ld GROUP BY \"enrolment\".\"course_id\"",
        1 + pick(session, course_count(session->tenant)));
}

static void mark_attendance(struct session *session)
{
    run(session, "BEGIN");
    run(session,
        "INSERT INTO \"attendance\" (\"student_id\", \"day\", \"status\", \"minutes_late\") VALUES (%ld, "
        "CURRENT_DATE, 'present', 0) RETURNING \"attendance\".\"id\"",
        some_student(session));
    run(session, "UPDATE \"auth_user\" SET \"last_login\" = NOW() WHERE \"auth_user\".\"id\" = %ld",
        1 + pick(session, 3));
    run(session, "COMMIT");
}

static void pay_invoice(struct session *session)
{
    long invoice = 1 + pick(session, session->tenant->students * 6);
    run(session, "BEGIN");
    run(session,
        "SELECT \"invoice\".\"id\", \"invoice\".\"amount\", \"invoice\".\"status\" FROM \"invoice\" WHERE "
        "\"invoice\".\"id\" = %ld FOR UPDATE",
        invoice);
    run(session,
        "INSERT INTO \"payment\" (\"invoice_id\", \"amount\", \"method\", \"paid_at\") VALUES (%ld, "
        "'%ld.50', 'card', "
        "NOW()) RETURNING \"payment\".\"id\"",
        invoice, 100 + pick(session, 900));
    run(session, "UPDATE \"invoice\" SET \"status\" = 'paid' WHERE \"invoice\".\"id\" = %ld", invoice);
    run(session, "COMMIT");
}

static void *web_worker(void *argument)
{
    struct session *session = argument;
    for (;;) {
        ensure_connected(session);
        enter_some_tenant(session);
        run(session,
            "SELECT \"django_session\".\"session_key\", \"django_session\".\"session_data\" FROM "
            "\"django_session\" "
            "WHERE (\"django_session\".\"expire_date\" > NOW() AND \"django_session\".\"session_key\" = "
            "md5('%s%ld')) "
            "LIMIT 21",
            session->tenant->schema, 1 + pick(session, 6));
        run(session,
            "SELECT \"auth_user\".\"id\", \"auth_user\".\"username\", \"auth_user\".\"is_active\" FROM "
            "\"auth_user\" "
            "WHERE \"auth_user\".\"id\" = %ld LIMIT 21",
            1 + pick(session, 3));
        long kind = pick(session, 20);
        if (kind < 8) {
            show_student(session);
        } else if (kind < 13) {
            show_invoices(session);
        } else if (kind < 17) {
            show_course(session);
        } else if (kind < 19) {
            mark_attendance(session);
        } else {
            pay_invoice(session);
        }
        pause_for(0.02 + pick(session, 110) / 1000.0);
    }
    return NULL;
}

/* --- Statements that are planted --- */

static void look_up_reference(struct session *session)
{
    enter_some_tenant(session);
    run(session,
        "SELECT \"invoice\".\"id\", \"invoice\".\"student_id\", \"invoice\".\"amount\", "
        "\"invoice\".\"status\" FROM "
        "\"invoice\" WHERE \"invoice\".\"reference\" = 'INV-%ld' LIMIT 21",
        100000 + pick(session, 1000003));
}

static void list_enrolments(struct session *session)
{
    long students[25];
    enter_some_tenant(session);
    int count = run(
        session,
        "SELECT \"enrolment\".\"student_id\", \"enrolment\".\"id\", \"enrolment\".\"status\", "
        "\"enrolment\".\"enrolled_on\" FROM \"enrolment\" WHERE \"enrolment\".\"course_id\" = %ld ORDER BY "
        "\"enrolment\".\"id\" ASC LIMIT %ld",
        1 + pick(session, course_count(session->tenant)), 10 + pick(session, 16));
    for (int i = 0; i < count; i++) {
        students[i] = value(session, i);
    }
    for (int i = 0; i < count; i++) {
        run(session,
            "SELECT \"student\".\"id\", \"student\".\"first_name\", \"student\".\"last_name\" FROM "
            "\"student\" WHERE "
            "\"student\".\"id\" = %ld LIMIT 21",
            students[i]);
    }
}

static void report_attendance(struct session *session)
{
    enter_tenant(session, &session->workload->tenants[BIG_TENANT]);
    run(session,
        "SELECT \"ranked\".\"student_id\", \"ranked\".\"day\", \"ranked\".\"status\" FROM (SELECT "
        "\"attendance\".\"student_id\", \"attendance\".\"day\", \"attendance\".\"status\", ROW_NUMBER() OVER "
        "(ORDER BY "
        "\"attendance\".\"minutes_late\" DESC, \"attendance\".\"day\" DESC, \"attendance\".\"student_id\" "
        "ASC) AS "
        "\"place\" FROM \"attendance\") \"ranked\" WHERE \"ranked\".\"place\" <= %d",
        50);
}

static void count_overdue(struct session *session)
{
    long group = pick(session, 8);
    enter_tenant(session, &session->workload->tenants[BIG_TENANT]);
    run(session,
        "SELECT COUNT(\"invoice\".\"id\") AS \"__count\" FROM \"student\" INNER JOIN \"student\" T2 ON "
        "(\"student\".\"classroom_id\" = T2.\"classroom_id\") INNER JOIN \"invoice\" ON (T2.\"id\" = "
        "\"invoice\".\"student_id\") WHERE (\"invoice\".\"status\" = 'overdue' AND \"student\".\"city\" = "
        "'City %ld' "
        "AND \"student\".\"district\" = 'District %ld' AND \"student\".\"post_code\" = 'PC-%ld' AND "
        "\"student\".\"bus_line\" = 'B%ld' AND \"student\".\"nationality\" = 'N%ld')",
        group, group, 1000 + group, group, group);
}

static void list_unread(struct session *session)
{
    enter_some_tenant(session);
    run(session,
        "SELECT \"student\".\"id\", \"student\".\"last_name\", COUNT(\"message\".\"id\") AS \"unread\" FROM "
        "\"student\" "
        "INNER JOIN \"message\" ON (\"student\".\"id\" = \"message\".\"student_id\") WHERE "
        "\"message\".\"read_at\" IS "
        "NULL GROUP BY \"student\".\"id\" ORDER BY \"unread\" DESC LIMIT %d",
        10);
}

struct planted {
    enum problem problem;
    void (*run)(struct session *session);
    double every; /* seconds */
};

struct planted_worker {
    struct session session;
    struct planted statements[3];
};

static void *planted_worker(void *argument)
{
    struct planted_worker *worker = argument;
    double next[3] = {0};
    for (;;) {
        ensure_connected(&worker->session);
        for (size_t i = 0; i < 3; i++) {
            const struct planted *statement = &worker->statements[i];
            if (statement->run != NULL && now() >= next[i] &&
                atomic_load(&worker->session.workload->on[statement->problem])) {
                statement->run(&worker->session);
                next[i] = now() + statement->every * (0.75 + pick(&worker->session, 500) / 1000.0);
            }
        }
        pause_for(0.05);
    }
    return NULL;
}

/* Two workers take two rows crosswise; the server ends one of them after deadlock_timeout. */
static void *deadlock_worker(void *argument)
{
    static const char update[] =
        "UPDATE \"classroom\" SET \"level\" = \"level\" WHERE \"classroom\".\"id\" = %d";
    struct session *one = argument, two = *one;
    two.application = "celery worker4";
    for (double next = now() + 3;;) {
        pause_for(0.25);
        if (!atomic_load(&one->workload->on[DEADLOCK])) {
            next = now() + 1; /* soon after it is switched on */
        } else if (now() >= next) {
            ensure_connected(one);
            ensure_connected(&two);
            enter_tenant(one, &one->workload->tenants[DEADLOCK_TENANT]);
            enter_tenant(&two, one->tenant);
            run(one, "BEGIN");
            run(&two, "BEGIN");
            run(one, update, 1);
            run(&two, update, 2);
            char text[256];
            snprintf(text, sizeof text, update, 2);
            if (PQsendQuery(one->connection, text)) {
                run(&two, update, 1);
                run(&two, "ROLLBACK"); /* first, because the other may be the one that waits */
                for (PGresult *result; (result = PQgetResult(one->connection)) != NULL;) {
                    PQclear(result);
                }
            }
            run(one, "ROLLBACK");
            next = now() + 30;
        }
    }
    return NULL;
}

/* --- Lock queues: somebody holds a lock and does nothing, others wait behind --- */

enum { MAX_WAITERS = 6 };
static const char prepared_name[] = "nightly-billing-export";
#define INVOICE_COLUMNS "\"invoice\".\"id\", \"invoice\".\"amount\", \"invoice\".\"status\""

struct waiter_text {
    const char *application, *statement;
    double again; /* seconds after its end until it asks again */
};

struct queue {
    enum problem problem;
    size_t tenant;
    bool prepared;           /* held by a prepared transaction, not by an idle session */
    const char *holder[4];   /* what the holder does before it goes to sleep */
    const char *holder_name; /* its application */
    struct waiter_text waiters[MAX_WAITERS];
};

static const struct queue queues[] = {
    {.problem = IDLE_LOCK,
     .tenant = IDLE_TENANT,
     .holder_name = "celery worker5",
     /* Its last statement is not the one that took the lock, as in life. */
     .holder = {"BEGIN", "UPDATE \"invoice\" SET \"status\" = 'overdue' WHERE \"invoice\".\"id\" <= 20",
                "SELECT \"student\".\"id\", \"student\".\"email\" FROM \"student\" WHERE \"student\".\"id\" "
                "= 1 LIMIT 21"},
     .waiters = {{"manage.py migrate_schemas",
                  "ALTER TABLE \"invoice\" ALTER COLUMN \"status\" SET DEFAULT 'open'", 60},
                 {"gunicorn web6",
                  "SELECT " INVOICE_COLUMNS " FROM \"invoice\" WHERE \"invoice\".\"id\" = 7 LIMIT 21", 5},
                 {"gunicorn web7", "UPDATE \"invoice\" SET \"status\" = 'paid' WHERE \"invoice\".\"id\" = 12",
                  5},
                 {"gunicorn web8",
                  "SELECT " INVOICE_COLUMNS " FROM \"invoice\" WHERE \"invoice\".\"student_id\" = 3 ORDER BY "
                  "\"invoice\".\"due_date\" DESC",
                  5},
                 {"celery worker6",
                  "UPDATE \"invoice\" SET \"status\" = 'paid' WHERE \"invoice\".\"id\" = 13", 5}}},
    {.problem = PREPARED_LOCK,
     .tenant = PREPARED_TENANT,
     .prepared = true,
     .holder_name = "celery worker7",
     .holder = {"BEGIN", "UPDATE \"invoice\" SET \"status\" = 'overdue' WHERE \"invoice\".\"id\" <= 20",
                "PREPARE TRANSACTION 'nightly-billing-export'"},
     .waiters = {{"gunicorn web9", "UPDATE \"invoice\" SET \"status\" = 'paid' WHERE \"invoice\".\"id\" = 5",
                  5},
                 {"gunicorn web10", "UPDATE \"invoice\" SET \"status\" = 'paid' WHERE \"invoice\".\"id\" = 5",
                  5},
                 {"celery worker8",
                  "SELECT " INVOICE_COLUMNS " FROM \"invoice\" WHERE \"invoice\".\"id\" = 9 FOR UPDATE", 5}}},
};

struct queue_worker {
    struct session holder;
    double next_check; /* whether the prepared transaction is still there */
    const struct queue *queue;
    struct session waiters[MAX_WAITERS];
    bool waits[MAX_WAITERS];  /* its statement was sent and has not ended */
    double next[MAX_WAITERS]; /* when it is sent again */
};

static bool begin_holding(struct queue_worker *worker)
{
    struct session *holder = &worker->holder;
    const struct queue *queue = worker->queue;
    ensure_connected(holder);
    enter_tenant(holder, &holder->workload->tenants[queue->tenant]);
    if (queue->prepared) { /* one may be left of an earlier run; that there is none is no error here */
        run(holder, "ROLLBACK PREPARED '%s'", prepared_name);
    }
    for (size_t i = 0; i < 4 && queue->holder[i] != NULL; i++) {
        if (run(holder, "%s", queue->holder[i]) < 0) {
            disconnect(holder);
            return false;
        }
    }
    return true;
}

/* Somebody may have ended the session, or finished the prepared transaction. */
static bool still_holds(struct queue_worker *worker)
{
    struct session *holder = &worker->holder;
    if (PQstatus(holder->connection) != CONNECTION_OK) {
        return false;
    }
    if (worker->queue->prepared) {
        if (now() < worker->next_check) {
            return true;
        }
        worker->next_check = now() + 1;
        return run(holder, "SELECT 1 FROM pg_prepared_xacts WHERE gid = '%s'", prepared_name) == 1;
    }
    return PQconsumeInput(holder->connection) && PQstatus(holder->connection) == CONNECTION_OK;
}

static void end_holding(struct queue_worker *worker)
{
    if (worker->queue->prepared) {
        run(&worker->holder, "ROLLBACK PREPARED '%s'", prepared_name);
    } else {
        run(&worker->holder, "ROLLBACK");
    }
}

static void send_waiter(struct queue_worker *worker, size_t i)
{
    struct session *session = &worker->waiters[i];
    if (session->connection == NULL && !try_connect(session)) {
        worker->next[i] = now() + 1;
        return;
    }
    enter_tenant(session, &session->workload->tenants[worker->queue->tenant]);
    run(session, "SET lock_timeout = 0");
    worker->waits[i] = PQsendQuery(session->connection, worker->queue->waiters[i].statement) == 1;
    worker->next[i] = now() + worker->queue->waiters[i].again;
}

/* True when its statement has ended, in whatever way. */
static bool receive_waiter(struct queue_worker *worker, size_t i)
{
    struct session *session = &worker->waiters[i];
    if (PQconsumeInput(session->connection) && PQisBusy(session->connection)) {
        return false;
    }
    for (PGresult *result; (result = PQgetResult(session->connection)) != NULL;) {
        PQclear(result);
    }
    if (PQstatus(session->connection) != CONNECTION_OK) {
        disconnect(session);
    }
    worker->waits[i] = false;
    worker->next[i] = now() + worker->queue->waiters[i].again;
    return true;
}

/* From the first lock until everybody behind it is through. */
static void play_queue(struct queue_worker *worker)
{
    bool holds = begin_holding(worker);
    bool waiting = holds;
    double begun = now();
    for (size_t i = 0; i < MAX_WAITERS; i++) {
        worker->next[i] = begun + 0.25 * (i + 1); /* one after the other: the queue has an order */
    }
    while (holds || waiting) {
        pause_for(0.1);
        if (holds && !still_holds(worker)) {
            holds = false;
        } else if (holds && !atomic_load(&worker->holder.workload->on[worker->queue->problem])) {
            end_holding(worker);
            holds = false;
        }
        waiting = false;
        for (size_t i = 0; i < MAX_WAITERS && worker->queue->waiters[i].statement != NULL; i++) {
            if (worker->waits[i]) {
                waiting |= !receive_waiter(worker, i);
            } else if (holds && now() >= worker->next[i]) {
                send_waiter(worker, i);
            }
        }
    }
    disconnect(&worker->holder);
}

static void *queue_worker(void *argument)
{
    struct queue_worker *worker = argument;
    const struct workload *workload = worker->holder.workload;
    enum problem problem = worker->queue->problem;
    long long played = 0;
    for (size_t i = 0; i < MAX_WAITERS; i++) {
        worker->waiters[i] = worker->holder;
        worker->waiters[i].application = worker->queue->waiters[i].application;
    }
    for (double next = 0;;) {
        long long switched = atomic_load(&workload->switched[problem]);
        /* At once when it is switched on. */
        if (atomic_load(&workload->on[problem]) && (switched != played || now() >= next)) {
            played = switched;
            play_queue(worker);
            next = now() + 60; /* whoever cleared it sees it cleared for a minute */
        }
        pause_for(0.1);
    }
    return NULL;
}

/* --- The program --- */

static void read_switches(struct workload *workload)
{
    for (size_t i = 0; i < PROBLEM_COUNT; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", workload->directory, problem_texts[i].name);
        struct stat info;
        bool on = stat(path, &info) == 0;
        if (on) {
            atomic_store(&workload->switched[i], info.st_mtim.tv_sec * 1000000000LL + info.st_mtim.tv_nsec);
        }
        atomic_store(&workload->on[i], on);
    }
}

static bool read_tenants(struct workload *workload)
{
    struct session session = {.workload = workload, .application = "manage.py check"};
    if (!try_connect(&session)) {
        fprintf(stderr, "demo-workload: cannot connect as the application\n");
        return false;
    }
    int count = run(
        &session, "SELECT greatest(1, c.reltuples)::bigint, t.schema_name FROM public.tenants_client t JOIN "
                  "pg_class c ON c.oid = to_regclass(format('%%I.student', t.schema_name)) ORDER BY t.id");
    if (count < MIN_TENANTS) {
        fprintf(stderr, "demo-workload: needs at least %d schools, there are %d\n", MIN_TENANTS, count);
        disconnect(&session);
        return false;
    }
    workload->tenants = calloc(count, sizeof *workload->tenants);
    if (workload->tenants == NULL) {
        abort();
    }
    for (int i = 0; i < count; i++) {
        struct tenant *tenant = &workload->tenants[i];
        snprintf(tenant->schema, sizeof tenant->schema, "%s", PQgetvalue(session.result, i, 1));
        tenant->students = value(&session, i);
        workload->total_students += tenant->students;
    }
    workload->tenant_count = count;
    disconnect(&session);
    return true;
}

static void start_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, argument) != 0) {
        abort();
    }
    pthread_detach(thread);
}

static void *idle_worker(void *argument)
{
    struct session *session = argument;
    for (;;) {
        ensure_connected(session);
        run(session, "SELECT \"tenants_client\".\"id\", \"tenants_client\".\"schema_name\" FROM "
                     "\"tenants_client\" WHERE "
                     "\"tenants_client\".\"status\" = 'active'");
        pause_for(15);
    }
    return NULL;
}

/* Their states live as long as the program. */
static void start_workers(struct workload *workload)
{
    static struct session web[] = {
        {.application = "gunicorn web1"}, {.application = "gunicorn web2"}, {.application = "gunicorn web3"}};
    static struct session idle[] = {{.application = "celery beat"}, {.application = "gunicorn web4"}};
    static struct planted_worker planted[] = {
        {.session = {.application = "gunicorn web5"},
         .statements = {{MISSING_INDEX, look_up_reference, 0.1}, {N_PLUS_ONE, list_enrolments, 1}}},
        {.session = {.application = "celery worker1"},
         .statements = {{SPILL, report_attendance, 3}, {ONE_SCHOOL, list_unread, 0.25}}},
        {.session = {.application = "celery worker2"}, .statements = {{MISESTIMATE, count_overdue, 2}}},
    };
    static struct session deadlock = {.application = "celery worker3"};
    static struct queue_worker queued[sizeof queues / sizeof *queues];
    uint64_t seed = 0x9E3779B97F4A7C15u;
#define START(function, session_, argument)                                                                  \
    ((session_)->workload = workload, (session_)->random = seed *= 6364136223846793005u,                     \
     start_thread(function, argument))
    for (size_t i = 0; i < sizeof web / sizeof *web; i++) {
        START(web_worker, &web[i], &web[i]);
    }
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        START(idle_worker, &idle[i], &idle[i]);
    }
    for (size_t i = 0; i < sizeof planted / sizeof *planted; i++) {
        START(planted_worker, &planted[i].session, &planted[i]);
    }
    START(deadlock_worker, &deadlock, &deadlock);
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        queued[i].queue = &queues[i];
        queued[i].holder.application = queues[i].holder_name;
        START(queue_worker, &queued[i].holder, &queued[i]);
    }
#undef START
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--problems") == 0) {
        for (size_t i = 0; i < PROBLEM_COUNT; i++) {
            printf("%s\t%s\t%s\n", problem_texts[i].name, problem_texts[i].initially, problem_texts[i].help);
        }
        return 0;
    }
    if (count != 3) {
        fprintf(stderr, "usage: demo-workload DSN DIRECTORY-OF-SWITCHES\n       demo-workload --problems\n");
        return 2;
    }
    struct workload workload = {.dsn = arguments[1], .directory = arguments[2]};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* in all threads: sigtimedwait below takes them */
    if (!read_tenants(&workload)) {
        return 1;
    }
    read_switches(&workload);
    start_workers(&workload);
    const struct timespec tick = {.tv_nsec = 200 * 1000 * 1000};
    while (sigtimedwait(&signals, NULL, &tick) < 0) {
        if (access(workload.directory, F_OK) != 0) {
            break; /* the platform was removed */
        }
        if (atomic_load(&workload.connections) == 0 && now() - atomic_load(&workload.connected_at) > 60) {
            fprintf(stderr, "demo-workload: no connection to the platform for a minute, giving up\n");
            _exit(1);
        }
        read_switches(&workload);
    }
    _exit(0); /* at once: some threads wait for locks that nobody will release */
}
