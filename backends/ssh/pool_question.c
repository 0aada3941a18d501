/* Questions to the user: they may be answered long after whoever asked is gone. */
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/pool.h"
#include "core/text.h"

struct open_question {
    struct ssh_question question; /* what the user's side sees */
    void (*answered)(void *data, const char *answer);
    void *data;
    bool asking, done; /* answered while it is asked */
};

static void take_answer(struct ssh_question *question, const char *answer)
{
    struct open_question *open = question->data;
    if (open->answered)
        open->answered(open->data, answer);
    open->done = true;
    if (!open->asking)
        talloc_free(open);
}

/* What a server says goes to a terminal. Its lines stay lines. */
static char *safe_lines(const void *context, const char *text)
{
    char *safe = talloc_strdup(context, "");
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = talloc_strndup(NULL, text, length), *made = safe_text_new(line, line);
        text += length + (text[length] == '\n');
        safe = talloc_asprintf_append_buffer(safe, "%s%s", made, *text ? "\n" : "");
        talloc_free(line);
    }
    return safe;
}

struct ssh_question *ssh_question_ask(struct ssh_pool *pool, const char *host, const char *title,
                                      const char *text, bool echo,
                                      void (*answered)(void *data, const char *answer), void *data)
{
    struct open_question *open = talloc_zero(NULL, struct open_question);
    open->question = (struct ssh_question){.host = talloc_strdup(open, host),
                                           .title = safe_line_new(open, title),
                                           .text = safe_lines(open, text),
                                           .echo = echo,
                                           .data = open,
                                           .answered = take_answer};
    open->answered = answered;
    open->data = data;
    open->asking = true;
    pool->options.ask(pool->options.data, &open->question);
    open->asking = false;
    if (!open->done)
        return &open->question;
    talloc_free(open);
    return NULL;
}

void ssh_question_forget(struct ssh_question *question)
{
    if (question)
        ((struct open_question *)question->data)->answered = NULL;
}

void ssh_answer(struct ssh_question *question, const char *answer)
{
    question->answered(question, answer);
}
