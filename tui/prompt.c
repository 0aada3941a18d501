/*
 * readline without its terminal: keys are handed to it as bytes, what it wants to show is taken from its line
 * buffer, and everything that it would write goes to /dev/null.
 */
#include "tui/prompt.h"

#include <readline/history.h>
#include <readline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/width.h"

enum { CANDIDATES_MAX = 200, CANDIDATE_ROWS = 8, QUEUE_MAX = 64, HISTORY_MAX = 500, KINDS_MAX = 8 };

struct history_kind {
    char *kind;
    char **lines; /* with their texts below them */
    size_t count;
};

struct candidate {
    char *text, *help;
};

struct prompt {
    char *application;
    FILE *nowhere;
    bool open;
    struct prompt_options options;
    char *label, *kind;
    char *note; /* at the right, or NULL */
    enum severity note_severity;
    char *before;                 /* the line as `changed` heard it last */
    struct candidate *candidates; /* shown above the line; with their texts below them */
    size_t candidate_count;
    size_t next_candidate; /* for readline's generator */
    char queue[QUEUE_MAX];
    size_t queue_at, queue_length;
    struct history_kind kinds[KINDS_MAX];
    size_t kind_count;
};

/* readline's callbacks carry no data, and its own state is global as well. */
static struct prompt *the_prompt;

static void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* ---- histories ---- */

static struct history_kind *history_of(struct prompt *prompt, const char *kind)
{
    for (size_t i = 0; i < prompt->kind_count; i++)
        if (strcmp(prompt->kinds[i].kind, kind) == 0)
            return &prompt->kinds[i];
    if (prompt->kind_count == KINDS_MAX)
        return &prompt->kinds[0];
    struct history_kind *fresh = &prompt->kinds[prompt->kind_count++];
    fresh->kind = checked(talloc_strdup(prompt, kind));
    return fresh;
}

static void prompt_history_add(struct prompt *prompt, const char *kind, const char *line)
{
    struct history_kind *history = history_of(prompt, kind);
    if (!*line || (history->count && strcmp(history->lines[history->count - 1], line) == 0))
        return;
    if (history->count == HISTORY_MAX) {
        talloc_free(history->lines[0]);
        memmove(history->lines, history->lines + 1, (HISTORY_MAX - 1) * sizeof *history->lines);
        history->count--;
    }
    history->lines = checked(talloc_realloc(prompt, history->lines, char *, history->count + 1));
    history->lines[history->count++] = checked(talloc_strdup(prompt, line));
}

/* ---- what readline calls ---- */

static int next_byte(FILE *stream)
{
    (void)stream;
    return the_prompt && the_prompt->queue_at < the_prompt->queue_length
               ? (unsigned char)the_prompt->queue[the_prompt->queue_at++]
               : EOF;
}

static int bytes_available(void)
{
    return the_prompt && the_prompt->queue_at < the_prompt->queue_length;
}

static void draw_nothing(void)
{
}

static char *next_candidate(const char *text, int state)
{
    struct prompt *prompt = the_prompt;
    (void)text;
    if (state == 0)
        prompt->next_candidate = 0;
    if (prompt->next_candidate >= prompt->candidate_count)
        return NULL;
    return checked(strdup(prompt->candidates[prompt->next_candidate++].text));
}

static void take_candidates(struct prompt *prompt, int start, int end)
{
    struct prompt_candidate found[CANDIDATES_MAX];
    size_t count = prompt->options.complete(prompt->options.data, rl_line_buffer, (size_t)start, (size_t)end,
                                            found, CANDIDATES_MAX);
    talloc_free(prompt->candidates);
    prompt->candidates = checked(talloc_array(prompt, struct candidate, count + 1));
    prompt->candidate_count = count;
    for (size_t i = 0; i < count; i++) {
        prompt->candidates[i].text = checked(talloc_strdup(prompt->candidates, found[i].text));
        prompt->candidates[i].help =
            checked(talloc_strdup(prompt->candidates, found[i].help ? found[i].help : ""));
    }
}

static char **complete(const char *text, int start, int end)
{
    struct prompt *prompt = the_prompt;
    rl_attempted_completion_over = 1; /* names of files are never meant */
    if (!prompt || !prompt->options.complete)
        return NULL;
    take_candidates(prompt, start, end);
    return rl_completion_matches(text, next_candidate);
}

static void show_matches(char **matches, int count, int longest)
{
    (void)matches; /* they are the candidates, which are drawn above the line */
    (void)count;
    (void)longest;
}

static void forget_candidates(struct prompt *prompt)
{
    talloc_free(prompt->candidates);
    prompt->candidates = NULL;
    prompt->candidate_count = 0;
}

static void shut(struct prompt *prompt)
{
    if (!prompt->open)
        return;
    prompt->open = false;
    prompt->queue_at = prompt->queue_length = 0;
    rl_callback_handler_remove();
    forget_candidates(prompt);
}

/* `line` is readline's malloc'd line, or NULL: end of file (C-d on an empty line). */
static void line_done(char *line)
{
    struct prompt *prompt = the_prompt;
    shut(prompt);
    if (line)
        prompt_history_add(prompt, prompt->kind, line);
    if (prompt->options.done)
        prompt->options.done(prompt->options.data, line);
    free(line);
}

/* ---- opening ---- */

static void initialize(struct prompt *prompt)
{
    static bool done; /* inputrc is read once, as readline does */
    rl_instream = stdin;
    rl_outstream = prompt->nowhere;
    if (done)
        return;
    done = true;
    rl_readline_name = checked(strdup(prompt->application));
    rl_change_environment = 0; /* or it exports LINES and COLUMNS, and curses never resizes again */
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_prep_term_function = NULL;
    rl_deprep_term_function = NULL;
    rl_getc_function = next_byte;
    rl_input_available_hook = bytes_available;
    rl_redisplay_function = draw_nothing;
    rl_completion_display_matches_hook = show_matches;
    rl_attempted_completion_function = complete;
    rl_completion_query_items = 0;
    rl_basic_word_break_characters = " \t\n";
    rl_completer_quote_characters = "";
    rl_initialize();
    /* After inputrc: these would write to the terminal, or wait. */
    rl_variable_bind("bell-style", "none");
    rl_variable_bind("blink-matching-paren", "off");
    rl_variable_bind("enable-bracketed-paste", "off");
    rl_variable_bind("show-mode-in-prompt", "off");
    rl_variable_bind("horizontal-scroll-mode", "on");
    rl_bind_keyseq_if_unbound("\033[3~", rl_delete);
    rl_bind_keyseq_if_unbound("\033[1;5C", rl_forward_word);
    rl_bind_keyseq_if_unbound("\033[1;5D", rl_backward_word);
}

static int prompt_destructor(struct prompt *prompt)
{
    shut(prompt);
    if (the_prompt == prompt)
        the_prompt = NULL;
    rl_outstream = stderr;
    if (prompt->nowhere)
        fclose(prompt->nowhere);
    return 0;
}

struct prompt *prompt_new(const void *context, const char *application)
{
    struct prompt *prompt = checked(talloc_zero(context, struct prompt));
    prompt->application = checked(talloc_strdup(prompt, application));
    prompt->before = checked(talloc_strdup(prompt, ""));
    prompt->nowhere = fopen("/dev/null", "w");
    talloc_set_destructor(prompt, prompt_destructor);
    return prompt;
}

void prompt_open(struct prompt *prompt, const struct prompt_options *options)
{
    shut(prompt);
    the_prompt = prompt;
    initialize(prompt);
    talloc_free(prompt->label);
    talloc_free(prompt->kind);
    prompt_set_note(prompt, SEVERITY_NONE, NULL);
    prompt->options = *options;
    prompt->label = checked(talloc_strdup(prompt, options->label));
    prompt->kind = checked(talloc_strdup(prompt, options->kind ? options->kind : "line"));
    const struct history_kind *history = history_of(prompt, prompt->kind);
    clear_history();
    for (size_t i = 0; i < history->count; i++)
        add_history(history->lines[i]);
    using_history();
    rl_callback_handler_install("", line_done);
    prompt->open = true;
    if (options->initial)
        rl_insert_text(options->initial);
    talloc_free(prompt->before);
    prompt->before = checked(talloc_strdup(prompt, rl_line_buffer));
}

void prompt_set_note(struct prompt *prompt, enum severity severity, const char *text)
{
    talloc_free(prompt->note);
    prompt->note = text && *text ? safe_line_new(prompt, text) : NULL;
    prompt->note_severity = severity;
}

bool prompt_is_open(const struct prompt *prompt)
{
    return prompt && prompt->open;
}

static void prompt_close(struct prompt *prompt)
{
    if (!prompt->open)
        return;
    shut(prompt);
    if (prompt->options.done)
        prompt->options.done(prompt->options.data, NULL);
}

/* ---- keys ---- */

/* The bytes that a terminal sends for a key; 0 when there are none. */
static size_t key_bytes(keycode key, char out[QUEUE_MAX])
{
    static const struct {
        keycode key;
        const char *bytes;
    } named[] = {
        {KEYCODE_ENTER, "\r"},
        {KEYCODE_ESC, "\033"},
        {KEYCODE_TAB, "\t"},
        {KEYCODE_TAB | KEYCODE_SHIFT, "\033[Z"},
        {KEYCODE_BACKSPACE, "\177"},
        {KEYCODE_UP, "\033[A"},
        {KEYCODE_DOWN, "\033[B"},
        {KEYCODE_RIGHT, "\033[C"},
        {KEYCODE_LEFT, "\033[D"},
        {KEYCODE_HOME, "\033[H"},
        {KEYCODE_END, "\033[F"},
        {KEYCODE_INSERT, "\033[2~"},
        {KEYCODE_DELETE, "\033[3~"},
        {KEYCODE_PAGE_UP, "\033[5~"},
        {KEYCODE_PAGE_DOWN, "\033[6~"},
        {KEYCODE_RIGHT | KEYCODE_CTRL, "\033[1;5C"},
        {KEYCODE_LEFT | KEYCODE_CTRL, "\033[1;5D"},
    };
    size_t length = 0;
    if (key & KEYCODE_META)
        out[length++] = '\033';
    key &= ~KEYCODE_META;
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (named[i].key == key) {
            strcpy(out + length, named[i].bytes);
            return length + strlen(named[i].bytes);
        }
    }
    if (key & KEYCODE_CTRL)
        out[length++] = (char)(key & 0x1f);
    else if (key >= ' ' && key < KEYCODE_BASE)
        length += utf8_encode(out + length, (uint32_t)key);
    else
        return 0;
    return length;
}

static void tell_changed(struct prompt *prompt)
{
    if (!prompt->open || strcmp(prompt->before, rl_line_buffer) == 0)
        return;
    talloc_free(prompt->before);
    prompt->before = checked(talloc_strdup(prompt, rl_line_buffer));
    if (prompt->options.changed)
        prompt->options.changed(prompt->options.data, prompt->before);
}

static bool in_vi_insert_mode(void)
{
    return rl_editing_mode == 0 && rl_get_keymap() == vi_insertion_keymap;
}

void prompt_key(struct prompt *prompt, keycode key)
{
    if (!prompt->open)
        return;
    bool searching = RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH);
    if (key == ('c' | KEYCODE_CTRL) || (key == KEYCODE_ESC && !in_vi_insert_mode() && !searching)) {
        prompt_close(prompt);
        return;
    }
    if (key != KEYCODE_TAB)
        forget_candidates(prompt);
    prompt->queue_at = 0;
    prompt->queue_length = key_bytes(key, prompt->queue);
    while (prompt->open && prompt->queue_at < prompt->queue_length)
        rl_callback_read_char();
    tell_changed(prompt);
}

void prompt_paste(struct prompt *prompt, const char *text)
{
    if (!prompt->open)
        return;
    char *safe = safe_text_new(NULL, text);
    forget_candidates(prompt);
    rl_insert_text(safe);
    talloc_free(safe);
    tell_changed(prompt);
}

/* ---- drawing ---- */

/* Candidates are worth a list when there is something to choose. */
static int candidate_rows(const struct prompt *prompt, int columns, int *cells, int *across)
{
    int widest = 0;
    bool help = false;
    if (prompt->candidate_count < 2)
        return 0;
    for (size_t i = 0; i < prompt->candidate_count; i++) {
        int width = text_width(prompt->candidates[i].text);
        widest = width > widest ? width : widest;
        help = help || *prompt->candidates[i].help;
    }
    *cells = widest + 2;
    *across = help ? 1 : (columns - 2) / *cells;
    if (*across < 1)
        *across = 1;
    int rows = ((int)prompt->candidate_count + *across - 1) / *across;
    return rows < CANDIDATE_ROWS ? rows : CANDIDATE_ROWS;
}

int prompt_rows(const struct prompt *prompt, int columns)
{
    int cells = 0, across = 0;
    return prompt_is_open(prompt) ? 1 + candidate_rows(prompt, columns, &cells, &across) : 0;
}

static void draw_candidates(const struct prompt *prompt, struct screen *screen, int bottom)
{
    int cells = 0, across = 0, columns = screen_columns(screen);
    int rows = candidate_rows(prompt, columns, &cells, &across);
    for (int i = 0; i < rows * across && i < (int)prompt->candidate_count; i++) {
        int row = bottom - rows + 1 + i / across, column = 2 + i % across * cells;
        bool cut = i == rows * across - 1 && (int)prompt->candidate_count > rows * across;
        if (i % across == 0)
            screen_fill(screen, row, 0, columns, STYLE_NORMAL);
        if (cut) {
            screen_format(screen, row, column, columns - column, STYLE_DIM, "… %d more",
                          (int)prompt->candidate_count - i);
            return;
        }
        screen_put(screen, row, column, cells, STYLE_KEY, prompt->candidates[i].text);
        if (across == 1)
            screen_put(screen, row, column + cells, columns - column - cells, STYLE_LABEL,
                       prompt->candidates[i].help);
    }
}

void prompt_draw(struct prompt *prompt, struct screen *screen, int row)
{
    if (!prompt->open)
        return;
    int columns = screen_columns(screen);
    draw_candidates(prompt, screen, row - 1);
    screen_fill(screen, row, 0, columns, STYLE_NORMAL);
    /* A search in the history has a prompt of its own. */
    bool message = rl_display_prompt && rl_display_prompt != rl_prompt && *rl_display_prompt;
    int used =
        screen_put(screen, row, 0, columns / 2, STYLE_KEY, message ? rl_display_prompt : prompt->label);
    int point = rl_point < 0 ? 0 : rl_point;
    char *before = checked(talloc_strndup(NULL, rl_line_buffer, (size_t)point));
    char *safe_before = safe_text_new(before, before), *safe = safe_text_new(before, rl_line_buffer);
    int cursor = text_width(safe_before), room = columns - used - 1;
    int note = prompt->note ? text_width(prompt->note) : 0;
    if (note > room / 2)
        note = room / 2;
    if (note) {
        screen_put(screen, row, columns - 1 - note, note, theme_severity(prompt->note_severity, STYLE_DIM),
                   prompt->note);
        room -= note + 2;
    }
    size_t from = 0;
    while (cursor > room && safe[from]) { /* a long line moves to the left, so that the cursor is seen */
        int cells;
        from += text_grapheme(safe + from, &cells);
        cursor -= cells;
    }
    screen_put(screen, row, used, room + 1, STYLE_NORMAL, safe + from);
    screen_cursor(screen, row, used + cursor);
    talloc_free(before);
}
