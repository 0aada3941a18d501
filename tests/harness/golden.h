/* Screens kept as files. SIGNALBOX_UPDATE_GOLDEN=1 rewrites them; look at the change before it is committed.
 */
#ifndef TESTS_HARNESS_GOLDEN_H
#define TESTS_HARNESS_GOLDEN_H

/* Compares the text with tests/screen/golden/NAME.txt. A difference (or a missing file) fails the cmocka
 * test, prints the lines that differ and writes what was found to build/golden-failed/NAME.txt. */
#define golden_check(name, text) golden_check_at(__FILE__, __LINE__, (name), (text))
void golden_check_at(const char *file, int line, const char *name, const char *text);

#endif
