/* Locked, unlocked for a while, open; never locked in the middle of a change; known to other processes. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/access.h"
#include "core/clock.h"
#include "core/files.h"
#include "tests/unit/unit.h"

struct fixture {
    struct loop *loop;
    struct audit *audit;
    struct access *access;
    char *folder;
    struct environment environment;
    int changed;
    enum access_state told;
};

static void on_changed(void *data, enum access_state state)
{
    struct fixture *f = data;
    f->changed++;
    f->told = state;
}

static void restart(struct fixture *f)
{
    access_free(f->access);
    f->access = access_new(f->loop, &f->environment, f->audit, on_changed, f);
}

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->folder = talloc_strdup(f, "/tmp/test_access.XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    setenv("XDG_STATE_HOME", f->folder, 1);
    unsetenv("SIGNALBOX_TEST_UNLOCK_SECONDS");
    f->environment = (struct environment){.name = "test", .access.locked = true};
    f->loop = loop_new();
    f->audit = audit_new(f->loop, "test", NULL);
    restart(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    access_free(f->access);
    audit_free(f->audit);
    loop_free(f->loop);
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f);
    return status;
}

/* Turns the loop until the access says so; at most 10 s. */
static bool wait_for(struct fixture *f, enum access_state state)
{
    double until = clock_monotonic() + 10;
    while (access_state(f->access) != state && clock_monotonic() < until)
        ev_run(loop_ev(f->loop), EVRUN_ONCE);
    return access_state(f->access) == state;
}

/* The events on record, separated by blanks. */
static char *events(struct fixture *f)
{
    struct error error;
    audit_free(f->audit);
    f->audit = audit_new(f->loop, "test", NULL);
    restart(f);
    struct audit_list *list = audit_read(f, "test", NULL, 0, &error);
    assert_non_null(list);
    char *text = talloc_strdup(f, "");
    for (size_t i = 0; i < list->count; i++)
        text = talloc_asprintf_append(text, "%s%s", i ? " " : "", list->records[i].event);
    return text;
}

static void test_lock_and_unlock(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_true(access_left(f->access) <= 0);
    access_unlock(f->access, "incident 17");
    assert_int_equal(f->told, ACCESS_UNLOCKED);
    assert_true(access_left(f->access) > 1790 && access_left(f->access) <= 1800);
    access_lock(f->access, "done");
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_int_equal(f->told, ACCESS_LOCKED);
    int told = f->changed;
    access_lock(f->access, NULL); /* again: nothing happens */
    assert_int_equal(f->changed, told);
    assert_string_equal(events(f), "unlock lock");
}

static void test_open(void **state)
{
    struct fixture *f = *state;
    f->environment.access.locked = false;
    restart(f);
    assert_int_equal(access_state(f->access), ACCESS_OPEN);
    assert_true(isinf(access_left(f->access)));
    access_unlock(f->access, NULL);
    access_lock(f->access, NULL);
    assert_int_equal(access_state(f->access), ACCESS_OPEN);
}

static void test_ends_at_idle(void **state)
{
    struct fixture *f = *state;
    setenv("SIGNALBOX_TEST_UNLOCK_SECONDS", "0.2", 1);
    access_unlock(f->access, NULL);
    assert_int_equal(access_state(f->access), ACCESS_UNLOCKED);
    assert_true(wait_for(f, ACCESS_LOCKED));
    assert_int_equal(f->told, ACCESS_LOCKED);
    assert_true(access_marker_left("test") <= 0);
    assert_string_equal(events(f), "unlock lock");
}

static void on_after(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    *(bool *)timer->data = true;
}

static void test_not_within_a_change(void **state)
{
    struct fixture *f = *state;
    bool passed = false;
    ev_timer after;
    setenv("SIGNALBOX_TEST_UNLOCK_SECONDS", "0.1", 1);
    access_unlock(f->access, NULL);
    access_change_begins(f->access);
    access_change_begins(f->access);
    ev_timer_init(&after, on_after, 0.3, 0);
    after.data = &passed;
    ev_timer_start(loop_ev(f->loop), &after);
    while (!passed)
        ev_run(loop_ev(f->loop), EVRUN_ONCE);
    assert_int_equal(access_state(f->access), ACCESS_UNLOCKED);
    access_change_ends(f->access);
    access_lock(f->access, "hang-up"); /* waits, too */
    assert_int_equal(access_state(f->access), ACCESS_UNLOCKED);
    access_change_ends(f->access);
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    access_unlock(f->access, NULL);
    access_change_begins(f->access);
    access_change_ends(f->access);
    assert_true(access_left(f->access) > 0.05); /* the time starts again */
    assert_true(wait_for(f, ACCESS_LOCKED));
}

/* A journal of the test's own: a datagram socket in its folder. */
static int open_journal(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *path = files_state_path(f, "test", "journal");
    assert_true(strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    unlink(path);
    assert_true(files_make_folder(files_state_path(f, "test", NULL), NULL));
    int journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(journal >= 0);
    assert_int_equal(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
    setenv("SIGNALBOX_JOURNAL_SOCKET", path, 1);
    return journal;
}

static void test_break_glass(void **state)
{
    struct fixture *f = *state;
    int journal = open_journal(f);
    char message[1024] = "";
    struct error error;
    assert_false(access_break_glass(f->access, NULL, &error));
    assert_false(access_break_glass(f->access, "  ", &error));
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_true(access_break_glass(f->access, "the house burns", &error));
    assert_int_equal(access_state(f->access), ACCESS_BREAK_GLASS);
    /* Others are told at once. */
    assert_true(recv(journal, message, sizeof message - 1, 0) > 0);
    assert_non_null(strstr(message, "PRIORITY=1\n"));
    assert_non_null(strstr(message, "break-glass in test: the house burns"));
    close(journal);
    unsetenv("SIGNALBOX_JOURNAL_SOCKET");
    assert_true(access_marker_left("test") <= 0); /* for this console alone */
    access_lock(f->access, NULL);
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_string_equal(events(f), "break-glass lock");
}

static void write_marker(struct fixture *f, const char *text, mode_t mode)
{
    char *path = files_state_path(f, "test", "unlocked");
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(file, mode), 0);
    close(file);
}

static void test_marker(void **state)
{
    struct fixture *f = *state;
    struct stat found;
    access_unlock(f->access, NULL);
    assert_int_equal(stat(files_state_path(f, "test", "unlocked"), &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    double left = access_marker_left("test");
    assert_true(left > 1790 && left <= 1801);
    restart(f); /* another process of the same user */
    assert_int_equal(access_state(f->access), ACCESS_UNLOCKED);
    access_lock(f->access, NULL);
    restart(f);
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_true(access_marker_remove("test", NULL)); /* none is none */
}

static void test_locked_by_another_process(void **state)
{
    struct fixture *f = *state;
    access_unlock(f->access, NULL);
    access_change_begins(f->access);
    assert_true(access_marker_remove("test", NULL));
    while (access_left(f->access) > 0) /* seen, but never done within a change */
        ev_run(loop_ev(f->loop), EVRUN_ONCE);
    assert_int_equal(access_state(f->access), ACCESS_UNLOCKED);
    access_change_ends(f->access);
    assert_int_equal(access_state(f->access), ACCESS_LOCKED);
    assert_string_equal(events(f), "unlock lock");
}

static void test_wrong_markers(void **state)
{
    struct fixture *f = *state;
    char good[64];
    snprintf(good, sizeof good, "%.3f x\n", clock_wall() + 60);
    assert_true(files_make_folder(files_state_path(f, "test", NULL), NULL));
    write_marker(f, good, 0600);
    assert_true(access_marker_left("test") > 0);
    write_marker(f, good, 0620);
    assert_true(access_marker_left("test") <= 0);
    static const char *const wrong[] = {"", "1", "nan", "inf", "99999999999", "x", "-5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_marker(f, wrong[i], 0600);
        assert_true(access_marker_left("test") <= 0);
    }
    char *path = files_state_path(f, "test", "unlocked"), *real = talloc_asprintf(f, "%s/real", f->folder);
    write_marker(f, good, 0600);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    assert_true(access_marker_left("test") <= 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_lock_and_unlock),           TEST(test_open),          TEST(test_ends_at_idle),
        TEST(test_not_within_a_change),       TEST(test_break_glass),   TEST(test_marker),
        TEST(test_locked_by_another_process), TEST(test_wrong_markers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
