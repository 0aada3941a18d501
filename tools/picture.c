/* Runs a program in the terminal of the tests, types and waits as told, and writes its screen as SVG or text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/svg.h"
#include "tests/harness/terminal.h"

static const char usage[] =
    "usage: picture [--size COLUMNSxROWS] [--env NAME=VALUE]... [STEP]... -- PROGRAM [ARGUMENT]...\n"
    "steps, in their order:\n"
    "  --key KEY      type a key: j, Enter, Esc, F9, C-c, \"text:hello\" ...\n"
    "  --wait TEXT    until the screen shows the text (--timeout SECONDS before it; 10)\n"
    "  --gone TEXT    until it does not\n"
    "  --quiet S      until the program has drawn nothing for S seconds\n"
    "  --pause S      for S seconds, whatever it draws\n"
    "  --output FILE  write the screen: SVG when FILE ends with .svg, text otherwise; - is text to stdout\n";

enum { PICTURE_ENVIRONMENT = 64 };

struct picture {
    int rows, columns;
    const char *env[PICTURE_ENVIRONMENT + 1];
    int env_count;
    double timeout;
    struct terminal *terminal;
};

static bool picture_output(struct picture *p, const char *path, const char *label)
{
    if (strcmp(path, "-") == 0) {
        fputs(terminal_text(p->terminal), stdout);
        return true;
    }
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return false;
    }
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".svg") == 0)
        svg_write(out, p->terminal, label);
    else
        fputs(terminal_text(p->terminal), out);
    if (fclose(out) != 0) {
        perror(path);
        return false;
    }
    return true;
}

/* An option that is no step; read before the program starts. */
static bool picture_option(struct picture *p, const char *name, const char *value)
{
    if (strcmp(name, "--size") == 0)
        return sscanf(value, "%dx%d", &p->columns, &p->rows) == 2 && p->columns > 0 && p->rows > 0;
    if (strcmp(name, "--env") != 0)
        return true;
    if (p->env_count == PICTURE_ENVIRONMENT || !strchr(value, '='))
        return false;
    p->env[p->env_count++] = value;
    return true;
}

static bool picture_step(struct picture *p, const char *name, const char *value, const char *label)
{
    struct terminal *t = p->terminal;
    if (strcmp(name, "--size") == 0 || strcmp(name, "--env") == 0)
        return true;
    if (strcmp(name, "--timeout") == 0) {
        p->timeout = atof(value);
        return true;
    }
    if (strcmp(name, "--key") == 0)
        return terminal_send(t, value);
    if (strcmp(name, "--wait") == 0)
        return terminal_await_text(t, p->timeout, value);
    if (strcmp(name, "--gone") == 0)
        return terminal_await_gone(t, p->timeout, value);
    if (strcmp(name, "--quiet") == 0)
        return terminal_await_quiet(t, atof(value), p->timeout);
    if (strcmp(name, "--pause") == 0) {
        terminal_await_quiet(t, 1e6, atof(value)); /* takes in what is drawn meanwhile */
        return true;
    }
    if (strcmp(name, "--output") == 0)
        return picture_output(p, value, label);
    fputs(usage, stderr);
    return false;
}

int main(int argc, char **argv)
{
    struct picture p = {.rows = 32, .columns = 104, .timeout = 10};
    int program = 1;
    while (program < argc && strcmp(argv[program], "--") != 0) {
        if (program + 1 >= argc || !picture_option(&p, argv[program], argv[program + 1])) {
            fputs(usage, stderr);
            return 2;
        }
        program += 2;
    }
    if (program + 1 >= argc) {
        fputs(usage, stderr);
        return 2;
    }
    p.terminal = terminal_start((const char *const *)&argv[program + 1], p.env, p.rows, p.columns, NULL);
    int status = 0;
    for (int i = 1; i < program && status == 0; i += 2) {
        if (!picture_step(&p, argv[i], argv[i + 1], argv[program + 1])) {
            char *screen = terminal_picture(p.terminal);
            fprintf(stderr, "picture: %s \"%s\" failed\n%s", argv[i], argv[i + 1], screen);
            free(screen);
            status = 1;
        }
    }
    terminal_hangup(p.terminal);
    terminal_await_exit(p.terminal, 5);
    terminal_free(p.terminal);
    return status;
}
