/* Dialogs: a choice of several lines, and a change with its preview, reason and confirmation. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "panels/batch.h"
#include "panels/console_internal.h"

/* The deadlines of the audit log and of the statement together are shorter. */
enum { CHANGE_PATIENCE_S = 15 };

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

static void change_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct change_watch *watch = data;
    struct console *console = watch->console;
    watch->sent = true;
    console->sending--;
    watch->report = talloc_strdup(watch, report ? report : "");
    if (error && error->kind != ERROR_NONE)
        console_say_error(console, error);
    else
        console_say(console, SEVERITY_OK, "%.*s", (int)strcspn(watch->report, "\n"), watch->report);
    /* Break-glass without a log: the records are shown here or nowhere. */
    if (strchr(watch->report, '\n')) {
        struct page *page = page_new(NULL);
        page_section(page, "not on record anywhere else: keep this");
        page_text(page, STYLE_NORMAL, 0, watch->report);
        console_push_page(console, "record", page);
    }
    if (console->watch != watch || !change->watch || (error && error->kind != ERROR_NONE)) {
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
    batch_wait(console->app->loop, CHANGE_PATIENCE_S, nothing_is_sent, console);
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

/* Many targets are told in few lines, so that what is to be typed stays on a small screen. */
static void add_steps(struct dialog *dialog, const struct change *change)
{
    const size_t sent = change->step_count <= 2 ? change->step_count : 1;
    const size_t subjects = change->step_count <= 3 ? change->step_count : 2;
    for (size_t i = 0; i < sent; i++)
        dialog_add_text(dialog, i ? "" : "Sends", STYLE_NORMAL, change->steps[i].command);
    add_more(dialog, change->step_count - sent);
    for (size_t i = 0; i < subjects; i++)
        dialog_add_text(dialog, i ? "" : "Target", STYLE_NORMAL, change->steps[i].subject);
    add_more(dialog, change->step_count - subjects);
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
    self->reason_item =
        dialog_add_field(dialog, &(struct dialog_field){.label = "Reason", .hint = "for the audit log"});
    snprintf(prompt, sizeof prompt, "Type %s", change->confirm_prompt);
    dialog_add_confirmation(dialog,
                            access_state(console->app->access) == ACCESS_LOCKED
                                ? "This unlocks the environment for 30 min."
                                : NULL,
                            prompt, change->confirm);
    set_keys(console, dialog, change->verb, true);
    console_push(console, &self->layer);
}
