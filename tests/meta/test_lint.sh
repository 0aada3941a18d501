#!/usr/bin/env bash
# The sources are as make lint wants them; and make lint sees what it is there to see.
# TEST_TIMEOUT=1500
set -u
cd "$(dirname "$0")/../.." || exit 1
failed=0
check() { # NAME COMMAND...
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok $name"
    else
        printf 'not ok %s\n%s\n' "$name" "$output"
        failed=1
    fi
}

for step in format rules scripts generated cppcheck gcc tidy; do check "lint_$step" tests/lint "$step"; done

# A copy of a few files, each with a mistake that a rule must name.
copy=$(mktemp -d "${TMPDIR:-/tmp}/signalbox-lint-test-XXXXXX") || exit 1
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy"/{core,tui,backends,panels,keymaps,tests/meta,demo,tools}
cp tests/lint "$copy/tests/"
cp .clang-format "$copy/"
: >"$copy/tests/meta/lint.allow"
cat >"$copy/main.c" <<'TEXT'
int main(void)
{
    return 0;
}
TEXT
cat >"$copy/backends/wrong.c" <<'TEXT'
#include <curses.h>

#include "tui/screen.h"
TEXT
cat >"$copy/tui/wrong.c" <<'TEXT'
#include "backends/feed.h"

static int counter;
static const char *key = "F9"; /* exit(1) in a comment is none */
TEXT
printf '#include "panels/panel.h"\n\nvoid leave(void)\n{\n    exit(1);\n}\n' >"$copy/core/wrong.c"
printf 'extern PGresult *result;\n' >"$copy/panels/wrong.h"
{
    printf 'int long_one(void)\n{\n'
    for ((i = 0; i < 90; i++)); do echo '    ;'; done
    printf '    return 0;\n}\n'
    for ((i = 0; i < 720; i++)); do echo '/* more */'; done
} >"$copy/panels/wrong.c"
printf 'int   badly_laid_out;\n' >"$copy/panels/layout.c"
(cd "$copy" && tests/lint rules format) >"$copy/found" 2>&1 && {
    echo "not ok a_tree_full_of_mistakes_is_refused"
    failed=1
}
expect() { # NAME PATTERN
    if grep -qE "$2" "$copy/found"; then
        echo "ok sees_$1"
    else
        echo "not ok sees_$1"
        cat "$copy/found"
        failed=1
    fi
}
expect curses_in_backends '^backends/wrong\.c:1: .*curses'
expect tui_in_backends '^backends/wrong\.c:3: .*tui/screen\.h'
expect backends_in_tui '^tui/wrong\.c:1: .*backends/feed\.h'
expect panels_in_core '^core/wrong\.c:1: .*panels/panel\.h'
expect exit_outside_main '^core/wrong\.c:5: .*only main\.c'
expect a_key_outside_keymaps '^tui/wrong\.c:4: .*keys stand in'
expect state '^tui/wrong\.c:3: .*state is passed'
expect libpq_in_panels '^panels/wrong\.h:1: .*libpq'
expect a_long_function '^panels/wrong\.c: long_one\(\) has 9[0-9] lines'
expect a_long_file '^panels/wrong\.c: 8[0-9]+ lines'
expect a_bad_layout '^panels/layout\.c:1:'
if grep -q 'exit(1) in a comment' "$copy/found" && grep -q 'tui/wrong.c:4: .*only main' "$copy/found"; then
    echo "not ok comments_are_not_code"
    failed=1
else
    echo "ok comments_are_not_code"
fi
exit "$failed"
