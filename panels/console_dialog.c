/* Dialogs: a choice of several lines, and a change with its preview, reason and confirmation. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "panels/batch.h"
#include "panels/console_internal.h"

/* The deadlines of the audit log and of the statement together are shorter. */
enum { CHANGE_PATIENCE_S = 15, RECORD_PATIENCE_S = 5 };

struct dialog_layer {
    struct layer layer;
    struct dialog *dialog;
    /* What accepting does. The layer is on top no longer, and is freed afterwards. */
    void (*accepted)(struct dialog_layer *self);
    void (*left)(struct dialog_layer *self);    /* may be NULL */
    void (*dry_run)(struct dialog_layer *self); /* may be NULL */
    /* a choice */
    void (*chosen)(struct app *app, void *data, size_t choice);
    void *data;
    int first_choice;
    /* a dialog of a panel's own */
    void (*own_accepted)(struct app *app, struct dialog *dialog, void *data);
    /* a change */
    struct change *change;
    int reason_item;
};

static const char *const dialog_contexts[] = {"dialog", NULL};

static void draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    (void)columns;
    dialog_draw(((struct dialog_layer *)layer)->dialog, screen, top, top + rows);
}

static void free_layer(struct layer *layer)
{
    struct dialog_layer *self = (struct dialog_layer *)layer;
    talloc_free(self->data);
    talloc_free(self->change);
}

static const struct layer_ops dialog_ops = {.contexts = dialog_contexts, .draw = draw, .free = free_layer};

bool layer_is_dialog(const struct layer *layer)
{
    return layer->ops == &dialog_ops;
}

static struct dialog_layer *dialog_layer_new(struct console *console, const char *title)
{
    enum style style;
    const char *badge = console_badge(console, &style);
    struct dialog_layer *self = talloc_zero(NULL, struct dialog_layer);
    self->layer.ops = &dialog_ops;
    self->dialog = dialog_new(self, title, badge, style);
    if (access_state(console->app->access) == ACCESS_BREAK_GLASS)
        dialog_set_border(self->dialog, STYLE_BREAK_GLASS);
    return self;
}

/* What the border offers, with the keys of the keymap. */
static void set_keys(struct console *console, struct dialog *dialog, const char *accept, bool dry_run)
{
    static const char *const contexts[] = {"dialog"};
    static const char *const actions[] = {"dialog.leave", "dialog.accept", "dialog.dry-run",
                                          "dialog.next-field"};
    char names[4][64];
    const char *keys[4];
    for (int i = 0; i < 4; i++)
        keys[i] = keymap_key_of(console->keymap, contexts, 1, actions[i], names[i], sizeof names[i]);
    dialog_set_keys(dialog,
                    &(struct dialog_keys){
                        .leave = keys[0], .accept = keys[1], .dry_run = keys[2], .next_field = keys[3]});
    dialog_set_accept(dialog, accept);
    dialog_set_dry_run(dialog, dry_run);
}

static void dialog_result(struct console *console, struct dialog_layer *self, enum dialog_result result)
{
    switch (result) {
    case DIALOG_OPEN:
    case DIALOG_IGNORED:
        return;
    case DIALOG_DRY_RUN:
        if (self->dry_run)
            self->dry_run(self);
        return;
    case DIALOG_LEAVE:
    case DIALOG_ACCEPT:
        /* What follows may open the next layer: take this one off first. */
        console->top = self->layer.below;
        console->place++;
        if (result == DIALOG_ACCEPT)
            self->accepted(self);
        else if (self->left)
            self->left(self);
        free_layer(&self->layer);
        talloc_free(self);
        console->dirty = true;
        return;
    }
}

void dialog_layer_key(struct layer *layer, keycode key, const char *action)
{
    struct dialog_layer *self = (struct dialog_layer *)layer;
    dialog_result(layer->app->console, self, dialog_key(self->dialog, key, action));
}

void dialog_layer_paste(struct layer *layer, const char *text)
{
    dialog_paste(((struct dialog_layer *)layer)->dialog, text);
}

double dialog_layer_wait(const struct layer *layer)
{
    return dialog_wait(((const struct dialog_layer *)layer)->dialog);
}

/* ---- a choice ---- */

static void choice_accepted(struct dialog_layer *self)
{
    int item = dialog_chosen(self->dialog);
    void *data = self->data;
    self->data = NULL;
    if (item >= self->first_choice)
        self->chosen(self->layer.app, data, (size_t)(item - self->first_choice));
    talloc_free(data);
}

void console_choose(struct console *console, const char *title, const struct choice_line *lines, size_t count,
                    void (*chosen)(struct app *app, void *data, size_t choice), void *data)
{
    struct dialog_layer *self = dialog_layer_new(console, title);
    self->accepted = choice_accepted;
    self->chosen = chosen;
    self->data = data;
    for (size_t i = 0; i < count; i++) {
        int item = dialog_add_choice(self->dialog, "", lines[i].text, lines[i].disabled);
        if (i == 0)
            self->first_choice = item;
    }
    set_keys(console, self->dialog, "choose", false);
    console_push(console, &self->layer);
}

/* ---- a dialog of a panel's own ---- */

static void own_accepted(struct dialog_layer *self)
{
    self->own_accepted(self->layer.app, self->dialog, self->data);
}

struct dialog *console_dialog_new(struct console *console, const char *title, const char *accept,
                                  void (*accepted)(struct app *app, struct dialog *dialog, void *data),
                                  void *data)
{
    struct dialog_layer *self = dialog_layer_new(console, title);
    self->accepted = own_accepted;
    self->own_accepted = accepted;
    self->data = data;
    set_keys(console, self->dialog, accept, false);
    talloc_free(console->being_made);
    console->being_made = &self->layer;
    return self->dialog;
}

void console_dialog_open(struct console *console)
{
    struct layer *layer = console->being_made;
    console->being_made = NULL;
    console->message[0] = '\0'; /* what was said while it was being made */
    console_push(console, layer);
}

/* ---- a change ---- */

/* What was sent and is watched now: "ended 8121 after 0.1 s · behind 31 → 0 after 3 s". */
struct change_watch {
    struct console *console;
    struct change *change;
    bool sent; /* done was called: it may be watched, and freed */
    char *report;
};

static void watch_end(struct console *console)
{
    struct change_watch *watch = console->watch;
    console->watch = NULL;
    talloc_free(watch->change);
    talloc_free(watch);
}

void change_watch_check(struct console *console)
{
    struct change_watch *watch = console->watch;
    char effect[512] = "";
    if (!watch || !watch->sent || !watch->change->watch)
        return;
    bool over = watch->change->watch(watch->change, effect, sizeof effect);
    if (effect[0])
        console_say(console, SEVERITY_OK, "%s · %s", watch->report, effect);
    if (over)
        watch_end(console);
}

static const char *outcome_text(enum step_outcome outcome, enum style *style)
{
    *style = outcome == STEP_DONE ? STYLE_OK : outcome == STEP_SKIPPED ? STYLE_DIM : STYLE_CRITICAL;
    switch (outcome) {
    case STEP_DONE:
        return "done";
    case STEP_GONE:
        return "gone";
    case STEP_FAILED:
        return "failed";
    case STEP_UNKNOWN:
        return "outcome unknown";
    default:
        return "not sent";
    }
}

/* What each step printed and how it ended. */
static void show_output(struct console *console, const struct change *change, const char *report)
{
    struct page *page = page_new(NULL);
    char text[1400], title[320];
    page_section(page, change->title);
    page_format(page, STYLE_NORMAL, 0, "%.*s", (int)strcspn(report, "\n"), report);
    for (size_t i = 0; i < change->step_count; i++) {
        const struct change_step *step = &change->steps[i];
        enum style style;
        const char *outcome = outcome_text(step->outcome, &style);
        snprintf(title, sizeof title, "%s · %s", step->target, outcome);
        page_section(page, title);
        if (step->outcome == STEP_SKIPPED)
            continue;
        page_text(page, STYLE_DIM, 0, step->command);
        if (step->error.kind != ERROR_NONE) {
            error_format(&step->error, text, sizeof text);
            page_text(page, style, 0, text);
        }
        if (step->output)
            page_text(page, STYLE_NORMAL, 0, step->output);
    }
    console_push_page(console, "output", page);
}

static void take_back_chosen(struct app *app, void *data, size_t choice)
{
    struct change **back = data;
    struct change *change = choice == 0 ? *back : NULL;
    if (!change)
        return;
    console_change(app->console, talloc_steal(NULL, change));
}

/* After a failure: what was done can be taken back. */
static void offer_undo(struct console *console, const struct change *change)
{
    struct change *back = change->take_back ? change->take_back(change) : NULL;
    if (!back)
        return;
    struct change **data = talloc_zero(NULL, struct change *);
    *data = talloc_steal(data, back);
    const struct choice_line lines[] = {{talloc_asprintf(data, "take back what was done: %zu step%s",
                                                         back->step_count, back->step_count == 1 ? "" : "s"),
                                         NULL},
                                        {"leave it as it is", NULL}};
    console_choose(console, "It was stopped before its end", lines, 2, take_back_chosen, data);
}

static bool outcome_is_unknown(const struct change *change)
{
    for (size_t i = 0; i < change->step_count; i++)
        if (change->steps[i].outcome == STEP_UNKNOWN)
            return true;
    return false;
}

static void change_step_over(struct change *change, struct change_step *step, void *data)
{
    struct console *console = data;
    enum style style;
    size_t over = 0;
    for (size_t i = 0; i < change->step_count; i++)
        over += change->steps[i].outcome >= STEP_DONE;
    if (change->batch && step->outcome != STEP_SKIPPED)
        console_say(console, SEVERITY_NONE, "%s: %zu of %zu · %s %s · Ctrl-C sends no more", change->title,
                    over, change->step_count, step->target, outcome_text(step->outcome, &style));
}

bool change_interrupt(struct console *console)
{
    struct change_watch *watch = console->watch;
    if (!watch || watch->sent || !watch->change->batch)
        return false;
    change_stop(watch->change);
    return true;
}

static void change_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct change_watch *watch = data;
    struct console *console = watch->console;
    bool failed = error && error->kind != ERROR_NONE;
    watch->sent = true;
    console->sending--;
    watch->report = talloc_strdup(watch, report ? report : "");
    if (failed)
        console_say_error(console, error);
    else
        console_say(console, SEVERITY_OK, "%.*s", (int)strcspn(watch->report, "\n"), watch->report);
    /* Nothing is laid over a dialog that somebody types in. */
    if (change->shows_output && !layer_is_dialog(console->top))
        show_output(console, change, watch->report);
    if (failed && !layer_is_dialog(console->top))
        offer_undo(console, change);
    /* Break-glass without a log: the records are shown here or nowhere. */
    if (strchr(watch->report, '\n')) {
        struct page *page = page_new(NULL);
        page_section(page, "not on record anywhere else: keep this");
        page_text(page, STYLE_NORMAL, 0, watch->report);
        console_push_page(console, "record", page);
    }
    /* What is unknown is worth looking at all the more. */
    if (console->watch != watch || !change->watch || (failed && !outcome_is_unknown(change))) {
        if (console->watch == watch)
            console->watch = NULL;
        talloc_free(change);
        talloc_free(watch);
    }
}

static bool nothing_is_sent(void *data)
{
    return ((struct console *)data)->sending == 0;
}

void change_finish_all(struct console *console)
{
    change_interrupt(console);
    bool finished = batch_wait(console->app->loop, CHANGE_PATIENCE_S, nothing_is_sent, console);
    if (!finished && console->watch && !console->watch->sent && console->watch->change->withdrawable) {
        change_abandon(console->watch->change);
        batch_wait(console->app->loop, RECORD_PATIENCE_S, nothing_is_sent, console);
    }
    if (console->watch && console->watch->sent)
        watch_end(console);
}

static void change_accepted(struct dialog_layer *self)
{
    struct app *app = self->layer.app;
    struct console *console = app->console;
    struct change *change = self->change;
    struct error error = {0};
    const char *reason = dialog_value(self->dialog, self->reason_item);
    change->reason = reason && *reason ? talloc_strdup(change, reason) : NULL;
    if (access_state(app->access) == ACCESS_LOCKED)
        access_unlock(app->access, change->reason);
    if (!change_allowed(change, app->access, &error)) {
        console_say_error(console, &error);
        return;
    }
    self->change = NULL;
    if (console->watch) {
        /* The one before is watched no longer; one that is still being sent frees itself when it is done. */
        if (console->watch->sent)
            watch_end(console);
        console->watch = NULL;
    }
    struct change_watch *watch = talloc_zero(NULL, struct change_watch);
    watch->console = console;
    watch->change = change;
    console->watch = watch;
    console_say(console, SEVERITY_NONE, "%s: sent", change->title);
    console->sending++;
    change->step_over = change_step_over;
    change->step_over_data = console;
    change_send(change, app->loop, app->access, app->audit, change_done, watch);
}

static void change_dry_run(struct dialog_layer *self)
{
    struct console *console = self->layer.app->console;
    char *preview = change_preview(NULL, self->change);
    struct page *page = page_new(NULL);
    page_section(page, "dry run: this would be sent, and nothing was");
    page_text(page, STYLE_NORMAL, 0, preview);
    talloc_free(preview);
    console_push_page(console, "dry run", page);
}

static void add_more(struct dialog *dialog, size_t more)
{
    char text[96];
    snprintf(text, sizeof text, "… and %zu more: the dry run shows them all", more);
    if (more)
        dialog_add_text(dialog, "", STYLE_DIM, text);
}

/* The commands; one that goes to many hosts stands there once. */
static void add_commands(struct dialog *dialog, const struct change *change)
{
    const size_t room = change->batch ? 8 : change->step_count <= 2 ? 2 : 1;
    size_t shown = 0, more = 0;
    for (size_t i = 0; i < change->step_count; i++) {
        if (i && strcmp(change->steps[i].command, change->steps[i - 1].command) == 0)
            more += !change->batch;
        else if (shown == room)
            more++;
        else
            dialog_add_text(dialog, shown++ ? "" : "Sends", STYLE_NORMAL, change->steps[i].command);
    }
    add_more(dialog, more);
}

/* Many targets are told in few lines, so that what is to be typed stays on a small screen. */
static void add_targets(struct dialog *dialog, const struct change *change)
{
    const size_t subjects = change->step_count <= 3 ? change->step_count : 2;
    for (size_t i = 0; i < subjects; i++) {
        const struct change_step *step = &change->steps[i];
        dialog_add_text(dialog, i ? "" : "Target", STYLE_NORMAL,
                        step->subject ? step->subject : step->target);
    }
    add_more(dialog, change->step_count - subjects);
}

static void add_steps(struct dialog *dialog, const struct change *change)
{
    char rolling[64];
    add_commands(dialog, change);
    add_targets(dialog, change);
    if (change->batch && change->step_count > 1) {
        snprintf(rolling, sizeof rolling, "%zu at a time%s", change->batch,
                 change->stop_at_failure ? ", stopped at the first failure" : "");
        dialog_add_text(dialog, "Rolling", STYLE_NORMAL, rolling);
    }
    dialog_add_text(dialog, "Effect", STYLE_NORMAL, change->effect);
    if (change->left_out)
        dialog_add_text(dialog, "Left out", STYLE_NORMAL, change->left_out);
    dialog_add_text(dialog, "Undo", STYLE_NORMAL, change->steps[0].undo ? change->steps[0].undo : "none");
}

void console_change(struct console *console, struct change *change)
{
    struct dialog_layer *self = dialog_layer_new(console, change->title);
    struct dialog *dialog = self->dialog;
    char as[256], prompt[256];
    self->accepted = change_accepted;
    self->dry_run = change_dry_run;
    self->change = change;
    if (change->milder)
        dialog_add_text(dialog, "Mildest", STYLE_NORMAL, change->milder);
    snprintf(as, sizeof as, "%s on %s, as %s", change->verb, change->server, change->role);
    dialog_add_text(dialog, "Chosen", STYLE_NORMAL, as);
    add_steps(dialog, change);
    self->reason_item = dialog_add_field(dialog, &(struct dialog_field){.label = "Reason",
                                                                        .hint = "for the audit log",
                                                                        .required = change->wants_reason});
    snprintf(prompt, sizeof prompt, "Type %s", change->confirm_prompt);
    dialog_add_confirmation(dialog,
                            access_state(console->app->access) == ACCESS_LOCKED
                                ? "This unlocks the environment for 30 min."
                                : NULL,
                            prompt, change->confirm);
    set_keys(console, dialog, change->verb, true);
    console_push(console, &self->layer);
}

/* ---- what SSH asks ---- */

struct secret {
    struct ssh_question *question;
    int item;
};

/* Whatever way the dialog goes, the question is answered. */
static int secret_left(struct secret *secret)
{
    if (secret->question)
        ssh_answer(secret->question, NULL);
    return 0;
}

static void secret_given(struct app *app, struct dialog *dialog, void *data)
{
    struct secret *secret = data;
    struct ssh_question *question = secret->question;
    (void)app;
    secret->question = NULL;
    ssh_answer(question, dialog_value(dialog, secret->item));
}

void console_ask_secret(struct app *app, struct ssh_question *question)
{
    struct secret *secret = talloc_zero(NULL, struct secret);
    struct dialog *dialog = console_dialog_new(app->console, question->title, "go on", secret_given, secret);
    secret->question = question;
    talloc_set_destructor(secret, secret_left);
    if (question->host && question->host[0])
        dialog_add_text(dialog, "For", STYLE_NORMAL, question->host);
    if (question->text && question->text[0])
        dialog_add_text(dialog, "", STYLE_NORMAL, question->text);
    secret->item =
        dialog_add_field(dialog, &(struct dialog_field){.label = "Answer", .secret = !question->echo});
    dialog_add_text(dialog, "", STYLE_DIM, "It is kept in memory only, and nowhere recorded.");
    console_dialog_open(app->console);
}
