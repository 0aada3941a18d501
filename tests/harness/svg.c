/* Cells to shapes: backgrounds, box drawing and blocks as rectangles, the rest as runs of text of a fixed
 * length. */
#include "tests/harness/svg.h"

#include <stdint.h>
#include <string.h>

/* One cell in pixels, and the space around the screen. */
static const double svg_wide = 8.4, svg_high = 18, svg_base = 13.2, svg_margin = 12;

static const int svg_background = 0x14171c, svg_foreground = 0xcdd3dc;

/* The 16 colours that a theme chooses, on a dark ground. */
static const int svg_palette[16] = {0x2a2f38, 0xe5646e, 0x7fbf7a, 0xd9b25f, 0x6ba4e8, 0xb98ae0,
                                    0x5fb8bd, 0xc5cbd4, 0x6b7380, 0xff858d, 0x9ddb98, 0xf2cf82,
                                    0x8dbdff, 0xd0a8f2, 0x84d6da, 0xf1f4f8};

static int svg_colour(int colour, int standard)
{
    if (colour == TERMINAL_DEFAULT)
        return standard;
    if (colour & TERMINAL_RGB)
        return colour & 0xffffff;
    if (colour < 16)
        return svg_palette[colour];
    if (colour >= 232)
        return (8 + (colour - 232) * 10) * 0x10101;
    static const int level[6] = {0, 95, 135, 175, 215, 255};
    int cube = colour - 16;
    return level[cube / 36] << 16 | level[cube / 6 % 6] << 8 | level[cube % 6];
}

struct svg_look {
    int foreground, background;
    bool bold, italic, underline;
};

static struct svg_look svg_look(const struct terminal_attr *attr)
{
    int foreground = svg_colour(attr->foreground, svg_foreground);
    int background = svg_colour(attr->background, svg_background);
    return (struct svg_look){.foreground = attr->reverse ? background : foreground,
                             .background = attr->reverse ? foreground : background,
                             .bold = attr->bold,
                             .italic = attr->italic,
                             .underline = attr->underline};
}

static bool svg_same(const struct svg_look *a, const struct svg_look *b)
{
    return a->foreground == b->foreground && a->background == b->background && a->bold == b->bold &&
           a->italic == b->italic && a->underline == b->underline;
}

static uint32_t svg_character(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0xe0 || s[0] >= 0xf0)
        return s[0] < 0x80 ? s[0] : 0;
    return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
}

static void svg_rectangle(FILE *out, double x, double y, double width, double height, int colour,
                          double opacity)
{
    fprintf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#%06x\"", x, y, width,
            height, (unsigned)colour);
    if (opacity < 1)
        fprintf(out, " fill-opacity=\"%.2f\"", opacity);
    fputs("/>\n", out);
}

/* The arms of light and rounded box drawing: left 1, right 2, up 4, down 8. 0: not one of them. */
static int svg_arms(uint32_t c)
{
    static const struct {
        uint16_t character;
        uint8_t arms;
    } table[] = {{0x2500, 3},  {0x2502, 12}, {0x250c, 10}, {0x2510, 9}, {0x2514, 6},  {0x2518, 5},
                 {0x251c, 14}, {0x2524, 13}, {0x252c, 11}, {0x2534, 7}, {0x253c, 15}, {0x256d, 10},
                 {0x256e, 9},  {0x256f, 5},  {0x2570, 6},  {0x2501, 3}, {0x2503, 12}, {0x2574, 1},
                 {0x2575, 4},  {0x2576, 2},  {0x2577, 8}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].character == c)
            return table[i].arms;
    }
    return 0;
}

static bool svg_draw_arms(FILE *out, int arms, double x, double y, int colour)
{
    const double thick = 1.1, middle_x = x + svg_wide / 2, middle_y = y + svg_high / 2;
    if (!arms)
        return false;
    if (arms & 3) {
        double from = arms & 1 ? x : middle_x - thick / 2,
               to = arms & 2 ? x + svg_wide : middle_x + thick / 2;
        svg_rectangle(out, from, middle_y - thick / 2, to - from, thick, colour, 1);
    }
    if (arms & 12) {
        double from = arms & 4 ? y : middle_y - thick / 2,
               to = arms & 8 ? y + svg_high : middle_y + thick / 2;
        svg_rectangle(out, middle_x - thick / 2, from, thick, to - from, colour, 1);
    }
    return true;
}

/* Blocks: eighths from below and from the left, halves, shades. */
static bool svg_draw_block(FILE *out, uint32_t c, double x, double y, int colour)
{
    if (c == 0x2580)
        svg_rectangle(out, x, y, svg_wide, svg_high / 2, colour, 1);
    else if (c >= 0x2581 && c <= 0x2588)
        svg_rectangle(out, x, y + svg_high * (0x2588 - c) / 8, svg_wide, svg_high * (c - 0x2580) / 8, colour,
                      1);
    else if (c >= 0x2589 && c <= 0x258f)
        svg_rectangle(out, x, y, svg_wide * (0x2590 - c) / 8, svg_high, colour, 1);
    else if (c == 0x2590)
        svg_rectangle(out, x + svg_wide / 2, y, svg_wide / 2, svg_high, colour, 1);
    else if (c >= 0x2591 && c <= 0x2593)
        svg_rectangle(out, x, y, svg_wide, svg_high, colour, (c - 0x2590) * 0.25);
    else
        return false;
    return true;
}

static bool svg_draw_shape(FILE *out, const struct terminal_attr *attr, double x, double y, int colour)
{
    uint32_t c = svg_character(attr->text);
    return svg_draw_arms(out, svg_arms(c), x, y, colour) || svg_draw_block(out, c, x, y, colour);
}

static void svg_escape(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, out);
    }
}

static void svg_text(FILE *out, double x, double y, int cells, const struct svg_look *look, const char *text)
{
    fprintf(out, "<text x=\"%.2f\" y=\"%.2f\" textLength=\"%.2f\" lengthAdjust=\"spacingAndGlyphs\"", x,
            y + svg_base, cells * svg_wide);
    if (look->foreground != svg_foreground)
        fprintf(out, " fill=\"#%06x\"", (unsigned)look->foreground);
    fputs(look->bold ? " font-weight=\"bold\"" : "", out);
    fputs(look->italic ? " font-style=\"italic\"" : "", out);
    fputs(look->underline ? " text-decoration=\"underline\"" : "", out);
    fputc('>', out);
    svg_escape(out, text);
    fputs("</text>\n", out);
}

static void svg_row_backgrounds(FILE *out, struct terminal *t, int row, int columns)
{
    for (int from = 0, to; from < columns; from = to) {
        struct terminal_attr first = terminal_attr(t, row, from);
        int colour = svg_look(&first).background;
        for (to = from + 1; to < columns; to++) {
            struct terminal_attr attr = terminal_attr(t, row, to);
            if (attr.width && svg_look(&attr).background != colour)
                break;
        }
        if (colour != svg_background)
            svg_rectangle(out, svg_margin + from * svg_wide, svg_margin + row * svg_high,
                          (to - from) * svg_wide, svg_high, colour, 1);
    }
}

/* Plain ASCII of one look goes into one run, which ends at two blanks; any other glyph is placed by itself,
 * since its font may have another width. */
static void svg_row_text(FILE *out, struct terminal *t, int row, int columns)
{
    const double y = svg_margin + row * svg_high;
    for (int column = 0; column < columns;) {
        struct terminal_attr attr = terminal_attr(t, row, column);
        struct svg_look look = svg_look(&attr);
        double x = svg_margin + column * svg_wide;
        if (attr.width == 0 || (strcmp(attr.text, " ") == 0 && !look.underline) ||
            svg_draw_shape(out, &attr, x, y, look.foreground)) {
            column++;
            continue;
        }
        if (attr.text[1] != '\0') {
            svg_text(out, x, y, attr.width, &look, attr.text);
            column += attr.width;
            continue;
        }
        char run[1024];
        int length = 0, start = column;
        for (; column < columns && length < (int)sizeof run - 1; column++) {
            attr = terminal_attr(t, row, column);
            struct svg_look next = svg_look(&attr);
            if (attr.width != 1 || attr.text[1] != '\0' || !svg_same(&look, &next))
                break;
            if (length && attr.text[0] == ' ' && run[length - 1] == ' ')
                break;
            run[length++] = attr.text[0];
        }
        while (length > 1 && run[length - 1] == ' ')
            length--;
        run[length] = '\0';
        svg_text(out, x, y, length, &look, run);
        if (column == start)
            column++;
    }
}

void svg_write(FILE *out, struct terminal *t, const char *label)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    double width = columns * svg_wide + 2 * svg_margin, height = rows * svg_high + 2 * svg_margin;
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
        "role=\"img\" aria-label=\"",
        width, height, width, height);
    for (; *label; label++) {
        if (*label != '"')
            svg_escape(out, (char[]){*label, '\0'});
    }
    fprintf(out,
            "\">\n<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"#%06x\"/>\n"
            "<g xml:space=\"preserve\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', "
            "monospace\" font-size=\"14\" fill=\"#%06x\">\n",
            (unsigned)svg_background, (unsigned)svg_foreground);
    for (int row = 0; row < rows; row++) {
        svg_row_backgrounds(out, t, row, columns);
        svg_row_text(out, t, row, columns);
    }
    fputs("</g>\n</svg>\n", out);
}
