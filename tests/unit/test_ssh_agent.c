/* The client of ssh-agent: the protocol's answers, and agents that refuse, hang up, talk nonsense or take
 * their time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/agent.h"
#include "tests/unit/unit.h"

/* ---- the parser ---- */

#define KEY "\0\0\0\x0bssh-ed25519\0\0\0\4abcd"
#define KEY_STRING "\0\0\0\x17" KEY

static void keys_are_read(void **state)
{
    (void)state;
    static const char answer[] = "\x0c\0\0\0\2" KEY_STRING "\0\0\0\4work" KEY_STRING "\0\0\0\0";
    struct agent_keys *keys = agent_parse_keys(NULL, (const unsigned char *)answer, sizeof answer - 1);
    assert_non_null(keys);
    assert_int_equal(keys->count, 2);
    assert_string_equal(keys->items[0].type, "ssh-ed25519");
    assert_string_equal(keys->items[0].comment, "work");
    assert_int_equal(keys->items[0].length, 23);
    assert_memory_equal(keys->items[0].blob, KEY, 23);
    assert_string_equal(keys->items[1].comment, "");
    talloc_free(keys);
}

static void an_agent_may_be_empty(void **state)
{
    (void)state;
    struct agent_keys *keys = agent_parse_keys(NULL, (const unsigned char *)"\x0c\0\0\0\0", 5);
    assert_non_null(keys);
    assert_int_equal(keys->count, 0);
    talloc_free(keys);
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    static const char whole[] = "\x0c\0\0\0\1" KEY_STRING "\0\0\0\4work";
    for (size_t length = 0; length < sizeof whole - 1; length++)
        assert_null(agent_parse_keys(NULL, (const unsigned char *)whole, length));
    assert_null(agent_parse_keys(NULL, (const unsigned char *)"\5", 1));
    /* More keys than there are bytes for. */
    assert_null(agent_parse_keys(NULL, (const unsigned char *)"\x0c\xff\xff\xff\xff", 5));
}

static void a_key_that_is_none_is_left_out(void **state)
{
    (void)state;
    static const char answer[] = "\x0c\0\0\0\2\0\0\0\2xy\0\0\0\0" KEY_STRING "\0\0\0\0";
    struct agent_keys *keys = agent_parse_keys(NULL, (const unsigned char *)answer, sizeof answer - 1);
    assert_non_null(keys);
    assert_int_equal(keys->count, 1);
    assert_string_equal(keys->items[0].type, "ssh-ed25519");
    talloc_free(keys);
}

static void the_inner_signature_is_found(void **state)
{
    (void)state;
    static const char answer[] = "\x0e\0\0\0\x16\0\0\0\x0bssh-ed25519\0\0\0\3sig";
    const unsigned char *signature;
    size_t length;
    assert_true(agent_parse_signature((const unsigned char *)answer, sizeof answer - 1, &signature, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(signature, "sig", 3);
    for (size_t cut = 0; cut < sizeof answer - 1; cut++)
        assert_false(agent_parse_signature((const unsigned char *)answer, cut, &signature, &length));
    assert_false(agent_parse_signature((const unsigned char *)"\5", 1, &signature, &length));
}

/* ---- over a socket ---- */

struct place {
    struct loop *loop;
    char folder[64], path[96];
    int listener, client;
    ev_io io;
    ev_timer late;
    const char *answer; /* whole, with its length; NULL: hangs up after the question */
    size_t answer_length;
    size_t piece; /* bytes at once; 0: all */
    unsigned char question[512];
    size_t question_length;
    int calls; /* of done */
    struct agent_keys *keys;
    unsigned char signature[64];
    size_t signature_length;
    struct error error;
};

static void on_question(struct ev_loop *ev, ev_io *io, int events)
{
    struct place *place = io->data;
    (void)events;
    ssize_t n = recv(place->client, place->question + place->question_length,
                     sizeof place->question - place->question_length, 0);
    if (n > 0)
        place->question_length += (size_t)n;
    size_t whole =
        place->question_length < 4 ? 4 : 4u + (size_t)(place->question[2] << 8) + (size_t)place->question[3];
    if (n > 0 && place->question_length < whole)
        return;
    ev_io_stop(ev, io);
    size_t piece = place->piece ? place->piece : place->answer_length;
    for (size_t at = 0; place->answer && at < place->answer_length; at += piece) {
        size_t left = place->answer_length - at;
        send(place->client, place->answer + at, left < piece ? left : piece, MSG_NOSIGNAL);
    }
    if (!place->answer)
        close(place->client);
}

static void on_client(struct ev_loop *ev, ev_io *io, int events)
{
    struct place *place = io->data;
    (void)events;
    place->client = accept(place->listener, NULL, NULL);
    ev_io_stop(ev, io);
    ev_io_init(io, on_question, place->client, EV_READ);
    ev_io_start(ev, io);
}

static void too_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct place *place = timer->data;
    (void)ev, (void)events;
    loop_stop(place->loop);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    place->loop = loop_new();
    snprintf(place->folder, sizeof place->folder, "/tmp/signalbox-agent-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->path, sizeof place->path, "%s/socket", place->folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", place->path);
    place->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(place->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(place->listener, 5), 0);
    place->client = -1;
    ev_io_init(&place->io, on_client, place->listener, EV_READ);
    place->io.data = place;
    ev_io_start(loop_ev(place->loop), &place->io);
    ev_timer_init(&place->late, too_late, 20, 0);
    place->late.data = place;
    ev_timer_start(loop_ev(place->loop), &place->late);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    ev_io_stop(loop_ev(place->loop), &place->io);
    ev_timer_stop(loop_ev(place->loop), &place->late);
    if (place->client >= 0 && place->answer)
        close(place->client);
    close(place->listener);
    unlink(place->path);
    rmdir(place->folder);
    talloc_free(place->keys);
    loop_free(place->loop);
    free(place);
    return 0;
}

static void listed(void *data, struct agent_keys *keys, const struct error *error)
{
    struct place *place = data;
    place->calls++;
    place->keys = keys;
    if (error)
        place->error = *error;
    loop_stop(place->loop);
}

static void made(void *data, const unsigned char *signature, size_t length, const struct error *error)
{
    struct place *place = data;
    place->calls++;
    if (signature)
        memcpy(place->signature, signature, length);
    place->signature_length = length;
    if (error)
        place->error = *error;
    loop_stop(place->loop);
}

#define LIST_ANSWER "\0\0\0\x28\x0c\0\0\0\1" KEY_STRING "\0\0\0\4work"

static void list_with(struct place *place, const char *answer, size_t length)
{
    place->answer = answer;
    place->answer_length = length;
    agent_list(place->loop, place->path, listed, place);
    assert_int_equal(place->calls, 0); /* never in the call */
    loop_run(place->loop);
    assert_int_equal(place->calls, 1);
}

static void the_agent_is_asked_for_its_keys(void **state)
{
    struct place *place = *state;
    list_with(place, LIST_ANSWER, sizeof LIST_ANSWER - 1);
    assert_non_null(place->keys);
    assert_int_equal(place->keys->count, 1);
    assert_string_equal(place->keys->items[0].comment, "work");
    assert_int_equal(place->question_length, 5);
    assert_memory_equal(place->question, "\0\0\0\1\x0b", 5);
}

static void an_answer_may_come_in_pieces(void **state)
{
    struct place *place = *state;
    place->piece = 1;
    list_with(place, LIST_ANSWER, sizeof LIST_ANSWER - 1);
    assert_non_null(place->keys);
    assert_int_equal(place->keys->count, 1);
}

static void an_agent_signs(void **state)
{
    struct place *place = *state;
    static const char answer[] = "\0\0\0\x1b\x0e\0\0\0\x16\0\0\0\x0bssh-ed25519\0\0\0\3sig";
    place->answer = answer;
    place->answer_length = sizeof answer - 1;
    agent_sign(place->loop, place->path, (const unsigned char *)"blob", 4, (const unsigned char *)"text", 4,
               AGENT_RSA_SHA2_512, made, place);
    loop_run(place->loop);
    assert_int_equal(place->calls, 1);
    assert_int_equal(place->signature_length, 3);
    assert_memory_equal(place->signature, "sig", 3);
    static const char question[] = "\0\0\0\x15\x0d\0\0\0\4blob\0\0\0\4text\0\0\0\4";
    assert_int_equal(place->question_length, sizeof question - 1);
    assert_memory_equal(place->question, question, sizeof question - 1);
}

static void an_agent_may_say_no(void **state)
{
    struct place *place = *state;
    place->answer = "\0\0\0\1\5";
    place->answer_length = 5;
    agent_sign(place->loop, place->path, (const unsigned char *)"blob", 4, (const unsigned char *)"text", 4,
               0, made, place);
    loop_run(place->loop);
    assert_int_equal(place->signature_length, 0);
    assert_int_equal(place->error.kind, ERROR_AUTH);
    assert_non_null(strstr(place->error.why, "refused"));
}

static void an_agent_may_hang_up(void **state)
{
    struct place *place = *state;
    list_with(place, NULL, 0);
    assert_null(place->keys);
    assert_int_equal(place->error.kind, ERROR_LOST);
}

static void what_is_no_agent_is_told(void **state)
{
    struct place *place = *state;
    list_with(place, "HTTP/1.1 400 Bad Request\r\n", 26);
    assert_null(place->keys);
    assert_non_null(strstr(place->error.why, "not an SSH agent"));
}

static void no_agent_is_told_later(void **state)
{
    struct place *place = *state;
    agent_list(place->loop, "/nonexistent/agent", listed, place);
    assert_int_equal(place->calls, 0);
    loop_run(place->loop);
    assert_int_equal(place->calls, 1);
    assert_null(place->keys);
    assert_int_equal(place->error.kind, ERROR_SYSTEM);
    assert_string_equal(place->error.where, "/nonexistent/agent");
}

static void a_silent_agent_is_given_up(void **state)
{
    struct place *place = *state;
    list_with(place, "", 0); /* it takes the question and says nothing */
    assert_null(place->keys);
    assert_int_equal(place->error.kind, ERROR_TIMEOUT);
}

static void a_call_can_be_cancelled(void **state)
{
    struct place *place = *state;
    place->answer = "";
    struct agent_call *first = agent_list(place->loop, place->path, listed, place);
    agent_cancel(first);
    agent_list(place->loop, "/nonexistent/agent", listed, place);
    loop_run(place->loop);
    assert_int_equal(place->calls, 1);
    assert_int_equal(place->error.kind, ERROR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read),
        cmocka_unit_test(an_agent_may_be_empty),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(a_key_that_is_none_is_left_out),
        cmocka_unit_test(the_inner_signature_is_found),
        cmocka_unit_test_setup_teardown(the_agent_is_asked_for_its_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_may_come_in_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_agent_signs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_agent_may_say_no, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_agent_may_hang_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_agent_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_agent_is_told_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_silent_agent_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_can_be_cancelled, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
