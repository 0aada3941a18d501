/* Lines break at blanks, or within a word that is longer than the line. */
#include "tui/wrap.h"

#include "core/text.h"

size_t wrap_line(const char *text, int cells, size_t *next)
{
    size_t length = text_fit(text, cells > 0 ? cells : 1, NULL);
    if (!text[length]) {
        *next = length;
        return length;
    }
    if (length == 0) /* a wide character in a narrow place: something must go on */
        length = text_grapheme(text, NULL);
    size_t cut = length;
    if (text[length] != ' ') {
        while (cut > 0 && text[cut - 1] != ' ')
            cut--;
        size_t blanks = 0;
        while (blanks < cut && text[blanks] == ' ')
            blanks++;
        if (cut == 0 || blanks == cut) /* one long word */
            cut = length;
    }
    *next = cut;
    while (text[*next] == ' ')
        (*next)++;
    while (cut > 0 && text[cut - 1] == ' ')
        cut--;
    return cut;
}
