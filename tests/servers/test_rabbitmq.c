/* RabbitMQ through SSH: a stand-in that answers as RabbitMQ 3.10.8 did once, with everything that can be
 * wrong; and a real one, whose figures must be right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/keeper.h"
#include "tests/harness/partner.h"
#include "tests/harness/ssh_caller.h"

#define DATA TEST_ROOT "/tests/data/queues/rabbitmq/"

struct stage {
    struct ssh_caller *caller;
    char folder[64]; /* first in the PATH of the host */
    struct environment_host host;
    struct environment_jobs jobs;
    struct environment environment;
    struct fleet *fleet;
    struct queues *queues;
    struct queue_system *system;
};

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *command = talloc_vasprintf(NULL, format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        fail_msg("%s", command);
    talloc_free(command);
}

static void write_file(const struct stage *s, const char *name, const char *text)
{
    char path[120];
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void stage_open(struct stage *s, void **state, bool named)
{
    char bashrc[120];
    memset(s, 0, sizeof *s);
    s->caller = *state;
    strcpy(s->folder, "/tmp/rabbit.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(bashrc, sizeof bashrc, "echo a banner\nexport PATH=%s:$PATH\n", s->folder);
    sshd_start(s->caller->site, "mq1", (struct sshd_options){.bashrc = bashrc});
    s->host = (struct environment_host){.name = "mq1", .ssh = "mq1"};
    s->jobs = (struct environment_jobs){.name = "mq", .system = "rabbitmq", .host = "mq1", .database = -1};
    s->environment = (struct environment){.name = "test",
                                          .hosts = &s->host,
                                          .host_count = 1,
                                          .jobs = &s->jobs,
                                          .jobs_count = named,
                                          .ssh = {.fast_s = 0.4, .medium_s = 1, .slow_s = 60}};
    ssh_caller_host(s->caller, "mq1");
    s->fleet = fleet_new(s->caller->loop, &s->environment, s->caller->pool, NULL, NULL);
    s->queues = queues_new(s->caller->loop,
                           &(struct queues_options){.environment = &s->environment, .fleet = s->fleet});
}

static void stage_close(struct stage *s)
{
    queues_stop(s->queues);
    fleet_free(s->fleet);
    queues_free(s->queues);
    shell("rm -rf %s", s->folder);
}

static bool is_found(void *data)
{
    struct stage *s = data;
    s->system = queues_count(s->queues) ? queues_system(s->queues, 0) : NULL;
    return s->system && !queue_system_feed(s->system, PART_QUEUES)->in_flight;
}

static bool is_idle(void *data)
{
    struct stage *s = data;
    return !queue_system_feed(s->system, PART_QUEUES)->in_flight &&
           !queue_system_feed(s->system, PART_WORKERS)->in_flight;
}

static const struct error *ask(struct stage *s, enum queue_part part)
{
    queues_want(s->queues, part, true);
    assert_true(loop_until(s->caller->loop, 60, is_idle, s));
    feed_refresh(queue_system_feed(s->system, part));
    assert_true(loop_until(s->caller->loop, 60, is_idle, s));
    queues_want(s->queues, part, false);
    return &queue_system_feed(s->system, part)->error;
}

static const struct queue *queue_of(struct stage *s, const char *name)
{
    const struct error *error = ask(s, PART_QUEUES);
    if (error->kind)
        fail_msg("%s: %s", error->what, error->why);
    const struct queues_snapshot *snapshot = queue_system_queues(s->system);
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, name) == 0)
            return &snapshot->queues[i];
    fail_msg("there is no queue %s", name);
    return NULL;
}

static void stand_in(void **state)
{
    struct stage s;
    stage_open(&s, state, true);
    shell("ln -s " DATA "stand_in %s/rabbitmqctl && ln -s " DATA "stand_in %s/rabbitmq-diagnostics", s.folder,
          s.folder);
    queues_want(s.queues, PART_QUEUES, true);
    assert_true(loop_until(s.caller->loop, 30, is_found, &s));
    assert_string_equal(s.system->name, "mq");
    const struct queue *celery = queue_of(&s, "celery");
    assert_int_equal(celery->ready, 5);
    assert_int_equal(celery->unacked, 0);
    assert_int_equal(celery->consumers, 0);
    assert_int_equal(celery->bytes, 390);
    assert_int_equal(celery->paused, -1);
    assert_int_equal(celery->head_age_source, HEAD_AGE_NONE);
    assert_int_equal(celery->level, QUEUE_WARNING);
    assert_true(isnan(celery->drain_s) || celery->drain_s == 0);
    assert_null(queue_system_queues(s.system)->note);

    write_file(&s, "vhosts", "/\nschool a'$(touch x)\n");
    write_file(&s, "alarms",
               "{\"alarms\":[{\"node\":\"rabbit@mq1\",\"resource\":\"memory\"}],\"result\":\"ok\"}");
    write_file(&s, "queues",
               "[\n{\"name\":\"celery\",\"messages_ready\":9,\"messages_unacknowledged\":2,"
               "\"consumers\":1,\"state\":\"running\",\"head_message_timestamp\":1700000000}\n"
               ",{\"name\":\"down\",\"state\":\"stopped\"}]\n");
    celery = queue_of(&s, "school a'$(touch x)/celery");
    assert_int_equal(celery->ready, 9);
    assert_int_equal(celery->unacked, 2);
    assert_int_equal(celery->head_age_source, HEAD_AGE_HEADER);
    assert_true(celery->head_age_s > 1e7);
    assert_int_equal(queue_of(&s, "down")->level, QUEUE_CRITICAL);
    assert_int_equal(queue_of(&s, "down")->ready, -1);
    assert_string_equal(queue_system_queues(s.system)->note, "alarm: memory: publishers are held back");

    write_file(&s, "consumers",
               "[{\"queue_name\":\"celery\",\"consumer_tag\":\"None1\",\"prefetch_count\":8,"
               "\"active\":true},{\"queue_name\":\"celery\",\"consumer_tag\":\"None2\","
               "\"prefetch_count\":0,\"active\":false}]");
    assert_int_equal(ask(&s, PART_WORKERS)->kind, ERROR_NONE);
    const struct workers_snapshot *workers = queue_system_workers(s.system);
    assert_int_equal(workers->count, 4); /* of two virtual hosts */
    assert_string_equal(workers->workers[0].id, "None1");
    assert_string_equal(workers->workers[0].queues, "celery");
    assert_int_equal(workers->workers[0].slots, 8);
    assert_int_equal(workers->workers[1].state, WORKER_QUIET);

    write_file(&s, "queues", "not JSON");
    const struct error *error = ask(&s, PART_QUEUES);
    assert_int_equal(error->kind, ERROR_UNSUPPORTED);
    assert_int_equal(queue_system_queues(s.system)->count, 4); /* the last answer stays */
    write_file(&s, "fail", "Only root or rabbitmq can run rabbitmqctl\n");
    error = ask(&s, PART_QUEUES);
    assert_int_equal(error->kind, ERROR_DENIED);
    assert_non_null(strstr(error->todo, "sudoers"));
    write_file(&s, "fail", "Error: unable to perform an operation on node 'rabbit@mq1'\n");
    error = ask(&s, PART_QUEUES);
    assert_non_null(strstr(error->why, "unable to perform"));
    assert_non_null(queue_system_act_absent(s.system, ACT_PURGE));
    assert_non_null(queue_system_part_absent(s.system, PART_FAILURES));
    stage_close(&s);
}

static bool has_searched(void *data)
{
    return queues_searched(((struct stage *)data)->queues);
}

/* A host that nothing says of that it has RabbitMQ is not asked. */
static void nobody_named_it(void **state)
{
    struct stage s;
    char path[100];
    stage_open(&s, state, false);
    shell("ln -s " DATA "stand_in %s/rabbitmqctl", s.folder);
    queues_want(s.queues, PART_QUEUES, true);
    assert_true(loop_until(s.caller->loop, 30, has_searched, &s));
    assert_int_equal(queues_count(s.queues), 0);
    snprintf(path, sizeof path, "%s/calls", s.folder);
    assert_int_not_equal(access(path, F_OK), 0);
    stage_close(&s);
}

static bool server_answers(void *data)
{
    char command[160];
    snprintf(command, sizeof command, "%s/rabbitmqctl -q await_startup --timeout 2 >/dev/null 2>&1",
             ((struct stage *)data)->folder);
    return system(command) == 0;
}

static void the_real_one(void **state)
{
    struct stage s;
    char port[16], path[400], log[120];
    if (access("/usr/lib/rabbitmq/bin/rabbitmq-server", X_OK) != 0)
        skip();
    stage_open(&s, state, true);
    struct keeper *keeper = keeper_start(s.folder);
    snprintf(port, sizeof port, "%d", 20000 + getpid() % 3000 * 4);
    snprintf(log, sizeof log, "%s/output", s.folder);
    keeper_run(keeper, (const char *[]){DATA "server", s.folder, port, NULL}, log);
    assert_true(loop_until(s.caller->loop, 120, server_answers, &s));
    snprintf(path, sizeof path, TEST_ROOT "/tests/data/queues/rabbit.py");
    struct partner *rabbit = partner_start((const char *[]){"/usr/bin/python3", path, port, NULL}, NULL);
    free(partner_ask(rabbit, "{\"op\":\"send\",\"queue\":\"mail\",\"count\":7}"));
    free(partner_ask(rabbit, "{\"op\":\"send\",\"queue\":\"تقارير\",\"count\":3}"));
    free(partner_ask(rabbit, "{\"op\":\"hold\",\"queue\":\"mail\",\"count\":2}"));
    queues_want(s.queues, PART_QUEUES, true);
    assert_true(loop_until(s.caller->loop, 60, is_found, &s));
    const struct queue *mail = queue_of(&s, "mail");
    assert_int_equal(mail->ready, 5);
    assert_int_equal(mail->unacked, 2);
    assert_int_equal(mail->consumers, 1);
    assert_int_equal(mail->level, QUEUE_FINE);
    assert_int_equal(queue_of(&s, "تقارير")->ready, 3);
    assert_int_equal(queue_of(&s, "تقارير")->level, QUEUE_WARNING);
    assert_int_equal(ask(&s, PART_WORKERS)->kind, ERROR_NONE);
    const struct workers_snapshot *workers = queue_system_workers(s.system);
    assert_int_equal(workers->count, 1);
    assert_string_equal(workers->workers->queues, "mail");
    assert_int_equal(workers->workers->slots, 2);
    partner_end(rabbit);
    queues_stop(s.queues);
    fleet_free(s.fleet);
    queues_free(s.queues);
    keeper_free(keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on(stand_in, libssh2),
        ssh_on(nobody_named_it, libssh2),
        ssh_on(the_real_one, libssh2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
