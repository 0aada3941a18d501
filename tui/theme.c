/* The one table of looks, for every number of colours, and the glyphs that stand in for others. */
#include "tui/theme.h"

#include <curses.h>

enum { DEFAULT = -1 };

struct colours {
    short foreground, background;
    attr_t attributes;
};

struct recipe {
    struct colours many; /* 256: readable on dark and on light */
    struct colours few;  /* 16 and 8 */
    attr_t mono;         /* no colour at all */
    short selected_many; /* foreground on the selected row's background */
    short selected_few;
    attr_t selected_bold;
};

/* The background of the selected row, dark enough for white and for every severity. */
enum { SELECTED_MANY = 24, SELECTED_FEW = COLOR_BLUE, WHITE_MANY = 255, GREY_MANY = 252 };

static const struct recipe recipes[STYLE_COUNT] = {
    [STYLE_NORMAL] = {{DEFAULT, DEFAULT, 0}, {DEFAULT, DEFAULT, 0}, 0, WHITE_MANY, COLOR_WHITE, 0},
    [STYLE_DIM] = {{244, DEFAULT, 0}, {DEFAULT, DEFAULT, A_DIM}, A_DIM, GREY_MANY, COLOR_WHITE, 0},
    [STYLE_TITLE] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_HEADER] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_TAB] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_BREADCRUMB] = {{DEFAULT, DEFAULT, 0}, {DEFAULT, DEFAULT, 0}, 0, WHITE_MANY, COLOR_WHITE, 0},
    [STYLE_TABLE_HEADER] = {{244, DEFAULT, 0}, {DEFAULT, DEFAULT, A_DIM}, A_DIM, GREY_MANY, COLOR_WHITE, 0},
    [STYLE_SORTED] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_SELECTED] = {{WHITE_MANY, SELECTED_MANY, 0},
                        {COLOR_WHITE, SELECTED_FEW, A_BOLD},
                        A_REVERSE,
                        WHITE_MANY,
                        COLOR_WHITE,
                        0},
    [STYLE_MARKED] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_OK] = {{71, DEFAULT, 0}, {COLOR_GREEN, DEFAULT, 0}, 0, 120, COLOR_GREEN, A_BOLD},
    [STYLE_WARNING] = {{172, DEFAULT, 0}, {COLOR_YELLOW, DEFAULT, 0}, A_BOLD, 221, COLOR_YELLOW, A_BOLD},
    [STYLE_CRITICAL] = {{196, DEFAULT, A_BOLD}, {COLOR_RED, DEFAULT, A_BOLD}, A_BOLD, 217, COLOR_RED, A_BOLD},
    [STYLE_KEY] =
        {{DEFAULT, DEFAULT, A_BOLD}, {DEFAULT, DEFAULT, A_BOLD}, A_BOLD, WHITE_MANY, COLOR_WHITE, A_BOLD},
    [STYLE_LABEL] = {{244, DEFAULT, 0}, {DEFAULT, DEFAULT, 0}, 0, GREY_MANY, COLOR_WHITE, 0},
    [STYLE_BORDER] = {{244, DEFAULT, 0}, {DEFAULT, DEFAULT, A_DIM}, 0, 110, COLOR_WHITE, 0},
    [STYLE_BAR] = {{67, DEFAULT, 0}, {COLOR_CYAN, DEFAULT, 0}, 0, 117, COLOR_CYAN, A_BOLD},
    [STYLE_MATCH] = {{16, 179, 0}, {COLOR_BLACK, COLOR_YELLOW, 0}, A_UNDERLINE, 221, COLOR_YELLOW, A_BOLD},
    [STYLE_FIELD] = {{DEFAULT, DEFAULT, A_UNDERLINE},
                     {DEFAULT, DEFAULT, A_UNDERLINE},
                     A_UNDERLINE,
                     WHITE_MANY,
                     COLOR_WHITE,
                     A_UNDERLINE},
    [STYLE_PRODUCTION] = {{WHITE_MANY, 160, A_BOLD},
                          {COLOR_WHITE, COLOR_RED, A_BOLD},
                          A_REVERSE | A_BOLD,
                          WHITE_MANY,
                          COLOR_WHITE,
                          A_BOLD},
    [STYLE_STAGING] = {{16, 178, 0}, {COLOR_BLACK, COLOR_YELLOW, 0}, A_REVERSE, WHITE_MANY, COLOR_WHITE, 0},
    [STYLE_DEVELOPMENT] = {{16, 71, 0}, {COLOR_BLACK, COLOR_GREEN, 0}, A_REVERSE, WHITE_MANY, COLOR_WHITE, 0},
    [STYLE_BREAK_GLASS] = {{WHITE_MANY, 127, A_BOLD},
                           {COLOR_WHITE, COLOR_MAGENTA, A_BOLD},
                           A_REVERSE | A_BOLD,
                           WHITE_MANY,
                           COLOR_WHITE,
                           A_BOLD},
    [STYLE_CHART_RUNNING] = {{71, DEFAULT, 0}, {COLOR_GREEN, DEFAULT, 0}, 0, 120, COLOR_GREEN, 0},
    [STYLE_CHART_IO] = {{67, DEFAULT, 0}, {COLOR_CYAN, DEFAULT, 0}, 0, 117, COLOR_CYAN, 0},
    [STYLE_CHART_LOCK] = {{167, DEFAULT, 0}, {COLOR_RED, DEFAULT, 0}, 0, 217, COLOR_RED, 0},
    [STYLE_CHART_OTHER] = {{179, DEFAULT, 0}, {COLOR_YELLOW, DEFAULT, 0}, 0, 221, COLOR_YELLOW, 0},
};

enum style theme_severity(enum severity severity, enum style otherwise)
{
    switch (severity) {
    case SEVERITY_DIM:
        return STYLE_DIM;
    case SEVERITY_OK:
        return STYLE_OK;
    case SEVERITY_WARNING:
        return STYLE_WARNING;
    case SEVERITY_CRITICAL:
        return STYLE_CRITICAL;
    case SEVERITY_NONE:
        break;
    }
    return otherwise;
}

static struct theme_look make_look(struct colours colours, short *next_pair, bool defaults)
{
    struct theme_look look = {.attributes = (uint32_t)colours.attributes, .pair = 0};
    if (colours.foreground == DEFAULT && colours.background == DEFAULT)
        return look;
    if (!defaults) { /* a terminal without default colours: white on black is what it has */
        colours.foreground = colours.foreground == DEFAULT ? COLOR_WHITE : colours.foreground;
        colours.background = colours.background == DEFAULT ? COLOR_BLACK : colours.background;
    }
    if (*next_pair < COLOR_PAIRS && init_pair(*next_pair, colours.foreground, colours.background) == OK)
        look.pair = (*next_pair)++;
    return look;
}

/* Red on blue cannot be read: critical in the selected row of a terminal with few colours is white on red. */
static struct colours selected_few(enum style style, const struct recipe *recipe)
{
    if (style == STYLE_CRITICAL || style == STYLE_CHART_LOCK)
        return (struct colours){COLOR_WHITE, COLOR_RED, A_BOLD};
    return (struct colours){recipe->selected_few, SELECTED_FEW, recipe->selected_bold};
}

void theme_init(struct theme *theme, enum theme_glyphs glyphs, bool mono)
{
    short next_pair = 1;
    bool defaults = false;
    theme->glyphs = glyphs;
    theme->colours = 0;
    if (!mono && has_colors() && start_color() == OK && COLORS >= 8) {
        theme->colours = COLORS >= 256 ? 256 : COLORS >= 16 ? 16 : 8;
        defaults = use_default_colors() == OK;
    }
    for (int i = 0; i < STYLE_COUNT; i++) {
        const struct recipe *r = &recipes[i];
        struct theme_look plain = {.attributes = (uint32_t)r->mono},
                          selected = {.attributes = (uint32_t)(r->mono | A_REVERSE)};
        if (theme->colours == 256) {
            plain = make_look(r->many, &next_pair, defaults);
            selected = make_look((struct colours){r->selected_many, SELECTED_MANY, r->selected_bold},
                                 &next_pair, defaults);
        } else if (theme->colours) {
            struct colours few = r->few;
            if (theme->colours == 16 && i == STYLE_DIM) /* "bright black" is grey there */
                few = (struct colours){8, DEFAULT, 0};
            plain = make_look(few, &next_pair, defaults);
            selected = make_look(selected_few((enum style)i, r), &next_pair, defaults);
        }
        theme->looks[0][i] = plain;
        theme->looks[1][i] = selected;
    }
}

struct theme_look theme_look(const struct theme *theme, unsigned style)
{
    unsigned base = style & (STYLE_IN_SELECTED - 1);
    return theme->looks[style & STYLE_IN_SELECTED ? 1 : 0][base < STYLE_COUNT ? base : STYLE_NORMAL];
}

struct stand_in {
    uint32_t character;
    char ascii;
    uint32_t cp437; /* 0: it is in the console's font */
};

static const struct stand_in stand_ins[] = {
    {0x00a0, ' ', 0},      {0x00b1, '+', 0},      {0x00b7, '.', 0},      {0x00d7, 'x', 'x'},
    {0x2010, '-', '-'},    {0x2011, '-', '-'},    {0x2013, '-', '-'},    {0x2014, '-', '-'},
    {0x2018, '\'', '\''},  {0x2019, '\'', '\''},  {0x201c, '"', '"'},    {0x201d, '"', '"'},
    {0x2022, '*', 0},      {0x2026, '~', '~'},    {0x203a, '>', '>'},    {0x2190, '<', 0},
    {0x2191, '^', 0},      {0x2192, '>', 0},      {0x2193, 'v', 0},      {0x21bb, '@', '@'},
    {0x2212, '-', '-'},    {0x2248, '~', 0},      {0x2260, '#', '#'},    {0x2264, '<', 0},
    {0x2265, '>', 0},      {0x2500, '-', 0},      {0x2502, '|', 0},      {0x250c, '+', 0},
    {0x2510, '+', 0},      {0x2514, '`', 0},      {0x2518, '+', 0},      {0x251c, '|', 0},
    {0x2524, '|', 0},      {0x252c, '+', 0},      {0x2534, '+', 0},      {0x253c, '+', 0},
    {0x2550, '=', 0},      {0x2551, '|', 0},      {0x2581, '_', '_'},    {0x2582, '_', '_'},
    {0x2583, '.', 0x2584}, {0x2584, 'o', 0},      {0x2585, 'o', 0x2584}, {0x2586, 'O', 0x2588},
    {0x2587, '#', 0x2588}, {0x2588, '#', 0},      {0x2589, '#', 0x2588}, {0x258a, '#', 0x2588},
    {0x258b, '=', 0x258c}, {0x258c, '[', 0},      {0x258d, '-', 0x258c}, {0x258e, '-', 0x2502},
    {0x258f, '.', 0x2502}, {0x2590, ']', 0},      {0x2591, '.', 0},      {0x2592, ':', 0},
    {0x2593, '%', 0},      {0x25b8, '>', 0x25ba}, {0x25c2, '<', 0x25c4}, {0x25b2, '^', 0},
    {0x25bc, 'v', 0},      {0x25cb, 'o', 0},      {0x25cf, '*', 0x2022}, {0x2713, 'v', 0x221a},
    {0x2717, 'x', 'x'},
};

uint32_t theme_glyph(enum theme_glyphs glyphs, uint32_t character)
{
    if (glyphs == GLYPHS_FULL || character < 0x80)
        return character;
    for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++) {
        if (stand_ins[i].character != character)
            continue;
        if (glyphs == GLYPHS_ASCII)
            return (unsigned char)stand_ins[i].ascii;
        return stand_ins[i].cp437 ? stand_ins[i].cp437 : character;
    }
    return glyphs == GLYPHS_ASCII ? '?' : character;
}
