/* The hosts' last 48 hours: minutes are means, old ones are forgotten, and a file that cannot be used is
 * told. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/host_store.h"
#include "core/files.h"
#include "tests/unit/unit.h"

struct place {
    char folder[64];
    struct loop *loop;
    struct host_store *store;
    bool answered;
    size_t count;
    double first;
    float cpu[16], steal[16];
    struct error error;
    ev_timer limit;
};

static int begin(void **state)
{
    struct place *place = talloc_zero(NULL, struct place);
    strcpy(place->folder, "/tmp/signalbox-test-history-XXXXXX");
    if (!mkdtemp(place->folder))
        return -1;
    setenv("XDG_STATE_HOME", place->folder, 1);
    place->loop = loop_new();
    place->store = host_store_new(place->loop, "test");
    *state = place;
    return 0;
}

static int end(void **state)
{
    struct place *place = *state;
    char *command = talloc_asprintf(place, "rm -rf '%s'", place->folder);
    host_store_free(place->store);
    loop_free(place->loop);
    int failed = system(command);
    talloc_free(place);
    return failed;
}

static void loaded(void *data, const struct host_store_range *range, const struct error *error)
{
    struct place *place = data;
    place->answered = true;
    place->count = 0;
    if (error)
        place->error = *error;
    for (size_t i = 0; range && i < range->count && i < 16; i++, place->count++) {
        place->cpu[i] = range->values[i * SERIES_COUNT + SERIES_CPU];
        place->steal[i] = range->values[i * SERIES_COUNT + SERIES_STEAL];
    }
    if (range && range->count)
        place->first = range->times[0];
    loop_stop(place->loop);
}

static void too_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)events;
    loop_stop(((struct place *)timer->data)->loop);
}

/* The worker does one thing after the other: what was added before is written before it reads. */
static void load(struct place *place, const char *host, double from)
{
    place->answered = false;
    host_store_load(place->store, host, from, loaded, place);
    ev_timer_init(&place->limit, too_late, 20, 0);
    place->limit.data = place;
    ev_timer_start(loop_ev(place->loop), &place->limit);
    loop_run(place->loop);
    ev_timer_stop(loop_ev(place->loop), &place->limit);
    assert_true(place->answered);
}

static void add(struct place *place, const char *host, double time, float cpu)
{
    float values[SERIES_COUNT];
    for (int s = 0; s < SERIES_COUNT; s++)
        values[s] = NAN;
    values[SERIES_CPU] = cpu;
    host_store_add(place->store, host, time, values);
}

static void minutes_are_means_and_unknown_stays_unknown(void **state)
{
    struct place *place = *state;
    double begun = 1000000 * 60.0;
    add(place, "web1", begun + 1, 10);
    add(place, "web1", begun + 6, 30);
    add(place, "web2", begun + 6, 99);
    add(place, "web1", begun + 61, 50);
    add(place, "web1", begun + 121, 70); /* its minute is not over */
    load(place, "web1", begun - 60);
    assert_int_equal(place->error.kind, ERROR_NONE);
    assert_int_equal(place->count, 2);
    assert_true(place->cpu[0] == 20 && place->cpu[1] == 50);
    assert_true(isnan(place->steal[0]));
    assert_true(place->first >= begun && place->first < begun + 60);
    load(place, "web1", begun + 60);
    assert_int_equal(place->count, 1);
    load(place, "nobody", 0);
    assert_int_equal(place->count, 0);
}

static void what_is_older_than_two_days_is_forgotten(void **state)
{
    struct place *place = *state;
    double begun = 2000000 * 60.0;
    add(place, "web1", begun, 1);
    add(place, "web1", begun + 60, 2);
    add(place, "web1", begun + HOST_STORE_HOURS * 3600.0 + 120, 3);
    add(place, "web1", begun + HOST_STORE_HOURS * 3600.0 + 180, 4);
    load(place, "web1", 0);
    assert_int_equal(place->count, 1);
    assert_true(place->cpu[0] == 3);
}

static void a_file_that_is_no_database_is_told(void **state)
{
    struct place *place = *state;
    char *path = files_state_path(place, "test", "history.db");
    char *folder = files_state_path(place, "test", NULL);
    assert_true(files_make_folder(folder, NULL));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 500; i++)
        fputs("this is no database ", file);
    assert_int_equal(fclose(file), 0);
    load(place, "web1", 0);
    assert_int_equal(place->error.kind, ERROR_SYSTEM);
    assert_string_equal(place->error.where, path);
    add(place, "web1", 60, 1);
    add(place, "web1", 120, 1);
    load(place, "web1", 0);
    assert_int_equal(host_store_error(place->store)->kind, ERROR_SYSTEM);
}

static void a_history_may_go_while_it_is_read(void **state)
{
    struct place *place = *state;
    add(place, "web1", 60, 1);
    add(place, "web1", 120, 1);
    host_store_load(place->store, "web1", 0, loaded, place);
    host_store_free(place->store);
    place->store = host_store_new(place->loop, "test");
    load(place, "web1", 0);
    assert_int_equal(place->error.kind, ERROR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(minutes_are_means_and_unknown_stays_unknown, begin, end),
        cmocka_unit_test_setup_teardown(what_is_older_than_two_days_is_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_database_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_history_may_go_while_it_is_read, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
