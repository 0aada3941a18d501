/* What a server asks is made safe before anybody sees it, and is answered once, now or later. */
#include <stdio.h>
#include <talloc.h>

#include "backends/ssh/pool.h"
#include "tests/unit/unit.h"

struct asked {
    struct ssh_question *question;
    char title[128], text[128], answer[32];
    bool at_once;
    int answers;
};

static void ask(void *data, struct ssh_question *question)
{
    struct asked *asked = data;
    asked->question = question;
    snprintf(asked->title, sizeof asked->title, "%s", question->title);
    snprintf(asked->text, sizeof asked->text, "%s", question->text);
    if (asked->at_once)
        ssh_answer(question, "now");
}

static void take(void *data, const char *answer)
{
    struct asked *asked = data;
    asked->answers++;
    snprintf(asked->answer, sizeof asked->answer, "%s", answer ? answer : "(left)");
}

static struct ssh_question *put(struct asked *asked)
{
    struct ssh_pool pool = {.options = {.ask = ask, .data = asked}};
    return ssh_question_ask(&pool, "web1", "ops@web1: Pass\x1b[2Jword\r\n",
                            "Do not press\x1b]0;evil\x07 keys\n\ngo\xe2\x80\xaeod", false, take, asked);
}

static void a_server_cannot_write_to_the_terminal(void **state)
{
    struct asked asked = {.at_once = true};
    (void)state;
    assert_null(put(&asked));
    assert_string_equal(asked.title, "ops@web1: Pass\\x1b[2Jword");
    assert_string_equal(asked.text, "Do not press\\x1b]0;evil\\x07 keys\n\ngo\\u202eod");
    assert_string_equal(asked.answer, "now");
    assert_int_equal(asked.answers, 1);
}

static void an_answer_may_come_too_late(void **state)
{
    struct asked asked = {0};
    (void)state;
    struct ssh_question *question = put(&asked);
    assert_ptr_equal(question, asked.question);
    ssh_answer(question, NULL);
    assert_string_equal(asked.answer, "(left)");
    question = put(&asked);
    ssh_question_forget(question);
    ssh_answer(question, "late");
    assert_int_equal(asked.answers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_cannot_write_to_the_terminal),
        cmocka_unit_test(an_answer_may_come_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
