/* A terminal's screen as an SVG picture, for the documentation. */
#ifndef TESTS_HARNESS_SVG_H
#define TESTS_HARNESS_SVG_H

#include <stdio.h>

#include "tests/harness/terminal.h"

/* Writes the whole picture; lines and blocks are drawn as shapes, so that they join in every font. label: for
 * screen readers. */
void svg_write(FILE *out, struct terminal *t, const char *label);

#endif
