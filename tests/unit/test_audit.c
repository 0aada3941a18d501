/* The audit log: the chain, every way to alter it, two writers, and places that cannot be written. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#include "backends/audit_internal.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

/* Stands for a disk that hangs: the audit thread's flush waits here until it is let go. */
static atomic_bool disk_hangs;
static atomic_int flushes;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): glibc says fildes */
int fdatasync(int file)
{
    while (atomic_load(&disk_hangs))
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    int status = fsync(file);
    atomic_fetch_add(&flushes, 1);
    return status;
}

struct fixture {
    struct loop *loop;
    char *folder, *log, *journal;
    int journal_fd; /* the journal's socket, when there is one */
    /* the last answers */
    int answers, wanted;
    enum audit_place place;
    char *record;
    struct error error;
    int ticks;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->folder = talloc_strdup(f, "/tmp/test_audit.XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    f->log = talloc_asprintf(f, "%s/audit.jsonl", f->folder);
    f->journal = talloc_asprintf(f, "%s/journal", f->folder);
    f->journal_fd = -1;
    setenv("SIGNALBOX_JOURNAL_SOCKET", f->journal, 1);
    f->loop = loop_new();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->journal_fd >= 0)
        close(f->journal_fd);
    loop_free(f->loop);
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f);
    return status;
}

static void answered(void *data, enum audit_place place, const char *record, const struct error *error)
{
    struct fixture *f = data;
    f->answers++;
    f->place = place;
    f->record = talloc_strdup(f, record);
    f->error = error ? *error : (struct error){0};
    if (f->answers == f->wanted)
        loop_stop(f->loop);
}

static void on_guard(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    *(bool *)timer->data = true;
    ev_break(ev, EVBREAK_ALL);
}

/* Turns the loop until `count` more answers are there; fails after 10 s. */
static void wait_answers(struct fixture *f, int count)
{
    bool late = false;
    ev_timer guard;
    ev_timer_init(&guard, on_guard, 10, 0);
    guard.data = &late;
    ev_now_update(loop_ev(f->loop));
    ev_timer_start(loop_ev(f->loop), &guard);
    f->wanted = count;
    if (f->answers < count)
        loop_run(f->loop);
    ev_timer_stop(loop_ev(f->loop), &guard);
    assert_false(late);
    assert_int_equal(f->answers, count);
}

static void write_records(struct fixture *f, struct audit *audit, int count)
{
    f->answers = 0;
    for (int i = 0; i < count; i++) {
        char target[32];
        snprintf(target, sizeof target, "%d@2026", i);
        audit_write(audit, &(struct audit_entry){.event = "before", .change = "c1", .target = target},
                    answered, f);
    }
    wait_answers(f, count);
}

/* A log with `count` records, the file's bytes. */
static char *make_log(struct fixture *f, int count, size_t *length)
{
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    write_records(f, audit, count);
    assert_int_equal(f->place, AUDIT_FILE);
    audit_free(audit);
    FILE *file = fopen(f->log, "rb");
    assert_non_null(file);
    char *text = talloc_zero_size(f, 1 << 20);
    *length = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    return text;
}

static struct audit_verdict check(const char *text, size_t length, const char *head)
{
    struct audit_verdict verdict;
    audit_check(text, length, head, &verdict);
    return verdict;
}

static void put_file(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void test_chain(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *text = make_log(f, 5, &length);
    struct audit_verdict verdict = check(text, length, NULL);
    assert_true(verdict.sound);
    assert_int_equal(verdict.records, 5);
    assert_int_equal(verdict.unfinished, 5);
    assert_int_equal(strlen(verdict.head), 64);
    struct stat found;
    assert_int_equal(stat(f->log, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    /* Another console goes on where this one ended. */
    text = make_log(f, 3, &length);
    assert_true(check(text, length, verdict.head).sound);
    assert_int_equal(check(text, length, NULL).records, 8);
    struct error error;
    struct audit_list *list = audit_read(f, "test", f->folder, 2, &error);
    assert_non_null(list);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->records[1].sequence, 8);
    assert_string_equal(list->records[1].target, "2@2026");
    assert_true(list->records[1].time > 1.6e9);
    assert_null(list->records[1].outcome);
}

/* Longer than what is read at first. */
static void test_last_records_of_a_long_log(void **state)
{
    struct fixture *f = *state;
    enum { RECORDS = 3000, BYTES = 1000 };
    char *text = talloc_size(f, RECORDS * (BYTES + 64));
    size_t length = 0;
    for (int i = 1; i <= RECORDS; i++)
        length += (size_t)sprintf(text + length, "{\"sequence\": %d, \"detail\": \"%0*d\"}\n", i, BYTES, i);
    put_file(f->log, text, length);
    static const size_t limits[] = {1, 5, 2000, RECORDS, RECORDS + 1, 0};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct error error;
        size_t expected = limits[i] && limits[i] < RECORDS ? limits[i] : RECORDS;
        struct audit_list *list = audit_read(f, "test", f->folder, limits[i], &error);
        assert_int_equal(list->count, expected);
        assert_int_equal(list->records[0].sequence, RECORDS - expected + 1);
        assert_int_equal(list->records[expected - 1].sequence, RECORDS);
    }
}

static void test_missing_is_empty(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct audit_verdict verdict;
    assert_int_equal(audit_read(f, "test", f->folder, 0, &error)->count, 0);
    assert_true(audit_verify("test", f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    assert_true(audit_verify("test", f->folder, "00", &verdict, &error));
    assert_false(verdict.sound);
}

static void test_every_changed_byte(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *text = make_log(f, 4, &length);
    assert_true(check(text, length, NULL).sound);
    for (size_t i = 0; i < length; i++) {
        static const unsigned char flips[] = {1, 0x20, 0x80};
        for (size_t j = 0; j < sizeof flips; j++) {
            text[i] ^= (char)flips[j];
            struct audit_verdict verdict = check(text, length, NULL);
            if (verdict.sound || verdict.first_bad == 0)
                fail_msg("byte %zu changed by %02x was not noticed", i, flips[j]);
            text[i] ^= (char)flips[j];
        }
    }
}

static void test_moved_lines(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *text = make_log(f, 4, &length);
    char *lines[5] = {text};
    for (int i = 1; i < 5; i++)
        lines[i] = strchr(lines[i - 1], '\n') + 1;
    char head[65];
    snprintf(head, sizeof head, "%s", check(text, length, NULL).head);
    char *changed = talloc_asprintf(f, "%.*s%s", (int)(lines[1] - text), text, lines[2]);
    struct audit_verdict verdict = check(changed, strlen(changed), NULL);
    assert_false(verdict.sound);
    assert_int_equal(verdict.first_bad, 2);
    changed = talloc_asprintf(f, "%.*s%.*s%.*s%s", (int)(lines[1] - text), text, (int)(lines[3] - lines[2]),
                              lines[2], (int)(lines[2] - lines[1]), lines[1], lines[3]);
    assert_int_equal(strlen(changed), length);
    assert_int_equal(check(changed, length, NULL).first_bad, 2);
    changed = talloc_asprintf(f, "%s%s", text, lines[3]); /* the last line twice */
    assert_int_equal(check(changed, strlen(changed), NULL).first_bad, 5);
    assert_int_equal(check(lines[1], strlen(lines[1]), NULL).first_bad, 1); /* the first one removed */
    /* A cut end shows against the head alone. */
    size_t cut = (size_t)(lines[3] - text);
    assert_true(check(text, cut, NULL).sound);
    verdict = check(text, cut, head);
    assert_false(verdict.sound);
    assert_int_equal(verdict.first_bad, 4);
    assert_true(check(text, length, head).sound);
}

static void test_torn_line(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *text = make_log(f, 3, &length);
    put_file(f->log, text, length - 40);
    assert_false(check(text, length - 40, NULL).sound);
    text = make_log(f, 2, &length);
    struct audit_verdict verdict = check(text, length, NULL);
    assert_true(verdict.sound);
    assert_int_equal(verdict.torn, 1);
    assert_int_equal(verdict.records, 5); /* two whole, the seal, two more */
    assert_non_null(strstr(text, "\"event\":\"torn\""));
    /* From then on its bytes are covered too. */
    char *torn = strchr(strchr(text, '\n') + 1, '\n') + 10;
    *torn ^= 1;
    verdict = check(text, length, NULL);
    assert_false(verdict.sound);
    assert_int_equal(verdict.first_bad, 3);
}

/* An altered last line is not taken for a crash, and recording goes on. */
static void test_altered_end_is_not_sealed(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *text = make_log(f, 3, &length);
    text[length - 200] ^= 1;
    put_file(f->log, text, length);
    text = make_log(f, 2, &length);
    assert_non_null(strstr(text, "\"event\":\"damaged\""));
    struct audit_verdict verdict = check(text, length, NULL);
    assert_false(verdict.sound);
    assert_int_equal(verdict.first_bad, 3);
}

static void write_in_child(struct fixture *f, int count)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child)
        return;
    f->loop = loop_new();
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    for (int i = 0; i < count; i++)
        write_records(f, audit, 1);
    bool good = f->place == AUDIT_FILE;
    audit_free(audit);
    _exit(good ? 0 : 1);
}

static void test_two_processes(void **state)
{
    struct fixture *f = *state;
    struct audit_verdict verdict;
    struct error error;
    int status;
    write_in_child(f, 200);
    write_in_child(f, 200);
    for (int i = 0; i < 2; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_true(audit_verify("test", f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    assert_int_equal(verdict.records, 400);
    assert_int_equal(verdict.torn, 0);
}

static void open_journal(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->journal);
    f->journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->journal_fd, (struct sockaddr *)&address, sizeof address), 0);
}

/* The folder is a file: root may write everywhere else. */
static void test_unwritable(void **state)
{
    struct fixture *f = *state;
    char *folder = talloc_asprintf(f, "%s/file/test", f->folder);
    put_file(talloc_asprintf(f, "%s/file", f->folder), "", 0);
    struct audit *audit = audit_new(f->loop, "test", folder);
    open_journal(f);
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_JOURNAL);
    assert_int_equal(f->error.kind, ERROR_SYSTEM);
    char datagram[4096] = "";
    assert_true(recv(f->journal_fd, datagram, sizeof datagram - 1, 0) > 0);
    assert_non_null(strstr(datagram, "SYSLOG_IDENTIFIER=signalbox\n"));
    assert_non_null(strstr(datagram, "\nMESSAGE={\"time\":"));
    assert_non_null(strstr(datagram, "0@2026"));
    unlink(f->journal);
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_NOWHERE);
    assert_non_null(strstr(f->record, "\"target\":\"0@2026\""));
    assert_non_null(strstr(f->error.why, "nor to the journal"));
    audit_free(audit);
}

/* A file that may not grow stands for a full disk; no half record stays. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    size_t length;
    struct rlimit before, limit;
    make_log(f, 3, &length);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = length + 100;
    setrlimit(RLIMIT_FSIZE, &limit);
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    write_records(f, audit, 1);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(f->place, AUDIT_NOWHERE);
    struct stat found;
    assert_int_equal(stat(f->log, &found), 0);
    assert_int_equal(found.st_size, length);
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_FILE);
    audit_free(audit);
    char *text = make_log(f, 1, &length);
    assert_true(check(text, length, NULL).sound);
    assert_int_equal(check(text, length, NULL).torn, 0);
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    ((struct fixture *)timer->data)->ticks++;
}

static void test_foreign_lock(void **state)
{
    struct fixture *f = *state;
    size_t length;
    make_log(f, 1, &length);
    int file = open(f->log, O_RDONLY);
    assert_int_equal(flock(file, LOCK_EX), 0);
    ev_timer tick;
    ev_timer_init(&tick, on_tick, 0.02, 0.02);
    tick.data = f;
    ev_timer_start(loop_ev(f->loop), &tick);
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    double start = clock_monotonic();
    write_records(f, audit, 2);
    assert_true(clock_monotonic() - start < 2.6);
    assert_int_equal(f->place, AUDIT_NOWHERE);
    assert_int_equal(f->error.kind, ERROR_TIMEOUT);
    assert_true(f->ticks > 20);
    ev_timer_stop(loop_ev(f->loop), &tick);
    close(file);
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_FILE);
    audit_free(audit);
}

static void test_hanging_disk(void **state)
{
    struct fixture *f = *state;
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    ev_timer tick;
    ev_timer_init(&tick, on_tick, 0.02, 0.02);
    tick.data = f;
    ev_timer_start(loop_ev(f->loop), &tick);
    atomic_store(&disk_hangs, true);
    double start = clock_monotonic();
    write_records(f, audit, 2);
    assert_true(clock_monotonic() - start < 2.6);
    assert_int_equal(f->place, AUDIT_NOWHERE);
    assert_int_equal(f->error.kind, ERROR_TIMEOUT);
    assert_non_null(strstr(f->record, "1@2026"));
    assert_true(f->ticks > 20);
    atomic_store(&disk_hangs, false);
    /* The late success is not told again: one answer for one more record. */
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_FILE);
    ev_timer_stop(loop_ev(f->loop), &tick);
    audit_free(audit);
    assert_int_equal(f->answers, 1);
    struct audit_verdict verdict;
    struct error error;
    assert_true(audit_verify("test", f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    assert_int_equal(verdict.records, 3);
}

/* Leaving does not wait for ever; the thread that was left behind ends and frees what it holds. */
static void test_leave_hanging_disk(void **state)
{
    struct fixture *f = *state;
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    atomic_store(&disk_hangs, true);
    int before = atomic_load(&flushes);
    audit_write(audit, &(struct audit_entry){.event = "after"}, answered, f);
    double start = clock_monotonic();
    audit_free(audit);
    double took = clock_monotonic() - start;
    assert_true(took > 1.9 && took < 3);
    atomic_store(&disk_hangs, false);
    while (atomic_load(&flushes) == before && clock_monotonic() - start < 12)
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    assert_int_equal(atomic_load(&flushes), before + 1);
    assert_int_equal(f->answers, 0);
}

/* A folder that is a pipe nobody feeds: open does not hang, and it is refused. */
static void test_not_a_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(f->log, 0600), 0);
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    write_records(f, audit, 1);
    assert_int_equal(f->place, AUDIT_NOWHERE);
    audit_free(audit);
}

static const char hostile[] =
    "a\"\\\n\t\x1b]0;x\a\x7f \xe2\x80\xae\xe2\x80\x8b \xf3\xa0\x81\x81 \xd8\xb9\xd8\xb1 \xe5\xa4\xa7";

static void test_hostile_text(void **state)
{
    struct fixture *f = *state;
    const struct audit_entry entry = {hostile, hostile, hostile, hostile, hostile, hostile,
                                      hostile, hostile, hostile, hostile, hostile};
    struct audit *audit = audit_new(f->loop, hostile, f->folder);
    audit_write(audit, &entry, answered, f);
    wait_answers(f, 1);
    audit_write(audit, &(struct audit_entry){.event = "x\xff\xc3(y"}, answered, f);
    wait_answers(f, 2);
    assert_int_equal(f->place, AUDIT_FILE);
    audit_free(audit);
    struct error error;
    struct audit_verdict verdict;
    assert_true(audit_verify(hostile, f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    struct audit_list *list = audit_read(f, hostile, f->folder, 0, &error);
    assert_int_equal(list->count, 2);
    const struct audit_record *record = &list->records[0];
    const char *texts[] = {record->environment, record->event,  record->change,  record->server,
                           record->hazard,      record->verb,   record->target,  record->command,
                           record->role,        record->reason, record->outcome, record->detail};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_string_equal(texts[i], hostile);
    assert_string_equal(list->records[1].event, "x\\xff\\xc3(y");
    /* The file itself may be shown on a terminal. */
    FILE *file = fopen(f->log, "rb");
    char bytes[8192];
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i < length; i++)
        assert_true((unsigned char)bytes[i] >= 0x20 ? bytes[i] != 0x7f : bytes[i] == '\n');
    assert_null(memmem(bytes, length, "\xe2\x80", 2));
    assert_null(memmem(bytes, length, "\xf3\xa0", 2));
    assert_non_null(memmem(bytes, length, "\xd8\xb9\xd8\xb1", 4));
}

static void test_secrets(void **state)
{
    struct fixture *f = *state;
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    static const char statement[] = "ALTER ROLE app PASSWORD 'hunter2'";
    static const char address[] =
        "see postgresql://app:hunter2@db1/app?x=1&password=hunter2 password=hunter2 http://a@b";
    audit_write(audit,
                &(struct audit_entry){
                    .target = statement, .command = statement, .reason = statement, .detail = statement},
                answered, f);
    audit_write(
        audit,
        &(struct audit_entry){.target = address, .command = address, .reason = address, .detail = address},
        answered, f);
    wait_answers(f, 2);
    audit_free(audit);
    char *text = make_log(f, 1, &(size_t){0});
    assert_null(strstr(text, "hunter2"));
    assert_non_null(strstr(text, "ALTER ROLE app PASSWORD '***'"));
    assert_non_null(strstr(text, "postgresql://app:***@db1/app?x=1&password=*** password=*** http://a@b"));
}

/* Nothing is called, nothing leaks, what was queued is in the file. */
static void test_free_while_writing(void **state)
{
    struct fixture *f = *state;
    struct audit *audit = audit_new(f->loop, "test", f->folder);
    for (int i = 0; i < 50; i++)
        audit_write(audit, &(struct audit_entry){.event = "after"}, answered, f);
    audit_free(audit);
    assert_int_equal(f->answers, 0);
    struct audit_verdict verdict;
    struct error error;
    assert_true(audit_verify("test", f->folder, NULL, &verdict, &error));
    assert_true(verdict.sound);
    assert_int_equal(verdict.records, 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_chain),
        TEST(test_last_records_of_a_long_log),
        TEST(test_missing_is_empty),
        TEST(test_every_changed_byte),
        TEST(test_moved_lines),
        TEST(test_torn_line),
        TEST(test_altered_end_is_not_sealed),
        TEST(test_two_processes),
        TEST(test_unwritable),
        TEST(test_full_disk),
        TEST(test_foreign_lock),
        TEST(test_hanging_disk),
        TEST(test_leave_hanging_disk),
        TEST(test_not_a_file),
        TEST(test_hostile_text),
        TEST(test_secrets),
        TEST(test_free_while_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
