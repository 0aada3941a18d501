/* Is the terminal known, and how is it given back: what curses itself does not tell. */
#include "tui/terminfo.h"

#include <curses.h>
#include <stdio.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

bool terminfo_usable(const char *name, struct error *error)
{
    int status = 0;
    if (setupterm(name, STDOUT_FILENO, &status) != OK)
        return error_set(
            error, ERROR_SYSTEM, NULL, "cannot open the console",
            "Set TERM to what the terminal is, or install its description (package ncurses-term)",
            "the terminal \"%s\" is unknown here", name);
    const char *move = tigetstr("cup");
    bool places = move && move != (char *)-1;
    del_curterm(cur_term);
    return places || error_set(error, ERROR_SYSTEM, NULL, "cannot open the console",
                               "Use a terminal, or a command such as `signalbox queries --plain`",
                               "the terminal \"%s\" cannot place its cursor", name);
}

size_t terminfo_reset(char *buffer, size_t size)
{
    static const char *const capabilities[] = {"sgr0", "rmkx", "cnorm", "rmcup"};
    size_t used = (size_t)snprintf(buffer, size, "%s", "\033[?2004l\033[?1000l\033[?1006l");
    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
        const char *text = tigetstr(capabilities[i]);
        if (!text || text == (char *)-1)
            continue;
        size_t length = strlen(text);
        if (used + length >= size)
            break;
        memcpy(buffer + used, text, length);
        used += length;
    }
    return used;
}
