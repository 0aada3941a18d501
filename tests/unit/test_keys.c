/* From bytes to keys: sequences of several terminals, Esc and its deadline, late tails, pastes, clicks; and
 * the fields that take them. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "tests/unit/unit.h"
#include "tui/dialog.h"
#include "tui/field.h"
#include "tui/keys.h"
#include "tui/wrap.h"

/* What came, as text: "Up S-Tab a", "paste(...)", "click(1,2,3)". */
struct heard {
    char text[512];
};

static void hear(struct heard *heard, const char *what)
{
    size_t used = strlen(heard->text);
    snprintf(heard->text + used, sizeof heard->text - used, "%s%s", used ? " " : "", what);
}
static void hear_key(void *data, keycode key)
{
    char name[32];
    hear(data, key_format(name, sizeof name, key));
}
static void hear_paste(void *data, const char *text)
{
    char what[300];
    snprintf(what, sizeof what, "paste(%.280s)", text);
    hear(data, what);
}
static void hear_click(void *data, int row, int column, int button)
{
    char what[64];
    snprintf(what, sizeof what, "click(%d,%d,%d)", row, column, button);
    hear(data, what);
}

static struct keys keys_for(struct heard *heard)
{
    return (struct keys){
        .escape_s = 0.025, .key = hear_key, .paste = hear_paste, .click = hear_click, .data = heard};
}

static void feed(struct keys *keys, const char *bytes, double now)
{
    keys_feed(keys, bytes, strlen(bytes), now);
}

static void decodes_what_terminals_send(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *heard;
    } cases[] = {
        {"jJ 1", "j J Space 1"},
        {"\033[A\033OB\033[C\033OD", "Up Down Right Left"},
        {"\033[1;5A\033[1;2C\033[1;3D", "C-Up S-Right M-Left"},
        {"\033[H\033[F\033[1~\033[4~\033[7~\033[8~\033OH", "Home End Home End Home End Home"},
        {"\033[2~\033[3~\033[5~\033[6~\033[6;5~", "Ins Del PgUp PgDn C-PgDn"},
        {"\033OP\033[[A\033[11~\033[15~\033[20~\033[24~", "F1 F1 F1 F5 F9 F12"},
        {"\033[Z\t\r\n\177", "S-Tab Tab Enter Enter BackSpace"},
        {"\001\003\032", "C-a C-c C-z"},
        {"\033x\033\177", "M-x M-BackSpace"},
        {"é大🏫", "é 大 🏫"},
        {"\033é", "M-é"},
        {"\033[27;5;105~\033[97;5u", "C-i C-a"},
        {"\033OM\033Oj\033Op", "Enter * 0"},
        {"\033[<0;5;3M\033[<0;5;3m\033[<65;1;1M", "click(2,4,1) click(0,0,5)"},
        {"\033[I\033[O\033[?1;2c\033[38;5;1m", ""}, /* answers and reports that nobody asked for */
        {"\377\300\200a\xe5\xa4z", "a z"},          /* not UTF-8 */
        {"\033[1;5\033[Bx", "Down x"},              /* broken off */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard heard = {""};
        struct keys keys = keys_for(&heard);
        feed(&keys, cases[i].bytes, 1);
        if (strcmp(heard.text, cases[i].heard) != 0)
            fail_msg("case %zu: heard \"%s\", not \"%s\"", i, heard.text, cases[i].heard);
        assert_true(keys_wait(&keys, 1) < 0);
        keys_reset(&keys);
    }
}

static void decodes_byte_by_byte(void **state)
{
    (void)state;
    static const char bytes[] = "\033[1;5Aé\033[200~a\nb\033[201~z";
    struct heard heard = {""};
    struct keys keys = keys_for(&heard);
    for (size_t i = 0; i < sizeof bytes - 1; i++)
        keys_feed(&keys, bytes + i, 1, 1 + (double)i * 0.001);
    assert_string_equal(heard.text, "C-Up é paste(a b) z");
    keys_reset(&keys);
}

static void esc_waits_and_then_is_a_key(void **state)
{
    (void)state;
    struct heard heard = {""};
    struct keys keys = keys_for(&heard);
    feed(&keys, "\033", 1);
    assert_string_equal(heard.text, "");
    assert_true(keys_wait(&keys, 1) > 0.02 && keys_wait(&keys, 1) < 0.03);
    keys_expire(&keys, 1.01);
    assert_string_equal(heard.text, "");
    keys_expire(&keys, 1.03);
    assert_string_equal(heard.text, "Esc");
    feed(&keys, "j", 1.1);
    assert_string_equal(heard.text, "Esc j");
    feed(&keys, "\033\033", 3);
    keys_expire(&keys, 3.1);
    assert_string_equal(heard.text, "Esc j Esc Esc");
    /* the loop saw the bytes before its timer */
    feed(&keys, "\033", 5);
    feed(&keys, "k", 5.2);
    assert_string_equal(heard.text, "Esc j Esc Esc Esc k");
}

static void late_tails_are_swallowed(void **state)
{
    (void)state;
    struct heard heard = {""};
    struct keys keys = keys_for(&heard);
    feed(&keys, "\033", 1);
    keys_expire(&keys, 1.03);
    feed(&keys, "[A", 1.2);
    assert_string_equal(heard.text, "Esc");
    feed(&keys, "[", 1.3); /* only the next one could be a tail */
    assert_string_equal(heard.text, "Esc [");
    feed(&keys, "\033", 5);
    keys_expire(&keys, 5.03);
    feed(&keys, "[", 5.1);
    keys_expire(&keys, 5.2); /* typed by a finger */
    assert_string_equal(heard.text, "Esc [ Esc [");
}

static void pastes_are_text(void **state)
{
    (void)state;
    struct heard heard = {""};
    struct keys keys = keys_for(&heard);
    feed(&keys, "\033[200~DROP\r\nx\033[A\x1b[31m\t!\n\033[201~", 1);
    assert_string_equal(heard.text, "paste(DROP x\\x1b[A\\x1b[31m !)");
    heard.text[0] = '\0';
    feed(&keys, "\033[200~never ends", 2);
    keys_expire(&keys, 2.5);
    assert_string_equal(heard.text, "");
    keys_expire(&keys, 5);
    feed(&keys, "j", 5.1);
    assert_string_equal(heard.text, "paste(never ends) j");
    heard.text[0] = '\0';
    feed(&keys, "\033[200~", 6);
    for (int i = 0; i < 9000; i++)
        feed(&keys, "0123456789", 6);
    feed(&keys, "\033[201~k", 6);
    assert_string_equal(heard.text + strlen(heard.text) - 3, ") k");
    keys_reset(&keys);
}

static void backspace_is_what_the_terminal_says(void **state)
{
    (void)state;
    struct heard heard = {""};
    struct keys keys = keys_for(&heard);
    feed(&keys, "\b", 1);
    keys.backspace = '\b';
    feed(&keys, "\b\177", 1);
    assert_string_equal(heard.text, "C-h BackSpace BackSpace");
}

/* ---- fields ---- */

static void type(struct field *field, const char *keys)
{
    char word[32];
    int length;
    while (sscanf(keys, "%31s%n", word, &length) == 1) {
        keycode key;
        keys += length;
        assert_true(key_parse(word, &key));
        assert_true(field_key(field, key));
    }
}

static void fields_are_edited(void **state)
{
    (void)state;
    struct field field;
    field_set(&field, "incident 17");
    type(&field, "C-a X C-e Y Left BackSpace");
    assert_string_equal(field.text, "Xincident 1Y");
    type(&field, "C-w");
    assert_string_equal(field.text, "Xincident Y");
    type(&field, "C-u Del");
    assert_string_equal(field.text, "");
    type(&field, "BackSpace Left 大 é a Home Del End");
    assert_string_equal(field.text, "éa");
    type(&field, "Left C-k");
    assert_string_equal(field.text, "é");
    assert_false(field_key(&field, KEYCODE_F0 + 3));
    assert_false(field_key(&field, KEYCODE_TAB));
    field_set(&field, NULL);
    field_insert(&field, "one\ntwo\033[31m");
    assert_string_equal(field.text, "one two\\x1b[31m");
}

static void fields_delete_whole_graphemes(void **state)
{
    (void)state;
    struct field field;
    field_set(&field, "a👩‍🏫");
    type(&field, "BackSpace");
    assert_string_equal(field.text, "a");
    field_set(&field, NULL);
    for (int i = 0; i < FIELD_MAX * 2; i++)
        field_key(&field, 0x5927);
    assert_true(field.length < FIELD_MAX);
    assert_int_equal(field.length % 3, 0);
}

/* ---- lines ---- */

static void lines_break_at_blanks(void **state)
{
    (void)state;
    size_t next;
    assert_int_equal(wrap_line("one two three", 9, &next), 7);
    assert_int_equal(next, 8);
    assert_int_equal(wrap_line("one two", 7, &next), 7);
    assert_int_equal(next, 7);
    assert_int_equal(wrap_line("incomprehensible", 5, &next), 5);
    assert_int_equal(next, 5);
    assert_int_equal(wrap_line("大同小学", 5, &next), 6);
    assert_int_equal(wrap_line("大", 1, &next), 3); /* never stands still */
    assert_int_equal(wrap_line("", 5, &next), 0);
    assert_int_equal(next, 0);
}

/* ---- a dialog that nobody has seen ---- */

static void a_dialog_takes_nothing_before_it_is_seen(void **state)
{
    (void)state;
    struct dialog *dialog = dialog_new(NULL, "End session", "PRODUCTION", STYLE_PRODUCTION);
    int reason =
        dialog_add_field(dialog, &(struct dialog_field){.label = "Reason", .text = "kept", .required = true});
    int digits = dialog_add_confirmation(dialog, NULL, "Type the last two digits", "21");
    assert_true(dialog_wait(dialog) < 0);
    assert_int_equal(dialog_key(dialog, '2', NULL), DIALOG_OPEN);
    assert_int_equal(dialog_key(dialog, '1', NULL), DIALOG_OPEN);
    assert_int_equal(dialog_key(dialog, KEYCODE_ENTER, "dialog.accept"), DIALOG_OPEN);
    dialog_paste(dialog, "21");
    assert_string_equal(dialog_value(dialog, digits), "");
    assert_string_equal(dialog_value(dialog, reason), "kept");
    assert_int_equal(dialog_key(dialog, KEYCODE_ESC, "dialog.leave"), DIALOG_LEAVE);
    talloc_free(dialog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_terminals_send),
        cmocka_unit_test(decodes_byte_by_byte),
        cmocka_unit_test(esc_waits_and_then_is_a_key),
        cmocka_unit_test(late_tails_are_swallowed),
        cmocka_unit_test(pastes_are_text),
        cmocka_unit_test(backspace_is_what_the_terminal_says),
        cmocka_unit_test(fields_are_edited),
        cmocka_unit_test(fields_delete_whole_graphemes),
        cmocka_unit_test(lines_break_at_blanks),
        cmocka_unit_test(a_dialog_takes_nothing_before_it_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
