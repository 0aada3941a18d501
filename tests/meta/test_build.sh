#!/usr/bin/env bash
# What a newcomer types: make, make CC=clang, make install, the program's own answers; and what make says when
# something is missing.
# TEST_TIMEOUT=600
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/signalbox-build-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
verdict() { # STATUS NAME [FILE]: the file is shown when it failed
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2"
        [ -n "${3-}" ] && tail -n 20 "$3"
        failed=1
    fi
}

# Clang, without a warning, into a folder of its own.
if command -v clang >/dev/null; then
    nice -n 10 make -s BUILD=clang CC=clang CFLAGS=-O1 WERROR=1 build/clang/signalbox >"$work/clang" 2>&1
    verdict $? clang_builds_without_a_warning "$work/clang"
    [ "$(build/clang/signalbox --version 2>&1)" = "signalbox $(sed -n 's/^VERSION := //p' Makefile)" ]
    verdict $? what_clang_built_runs
else
    echo "left out: there is no clang here (tools/packages lint installs it)"
fi

# A library that is not there: pkg-config finds all of them but one; then a header without a library of pkg-config.
mkdir "$work/bin"
cat >"$work/bin/pkg-config" <<TEXT
#!/bin/sh
case "\$*" in *--exists*libpq*|*--exists*talloc*) exit 1 ;; esac
exec $(command -v pkg-config) "\$@"
TEXT
chmod +x "$work/bin/pkg-config"
PATH=$work/bin:$PATH make -s BUILD=missing-library build/missing-library/signalbox >"$work/missing" 2>&1
status=$?
[ "$status" -ne 0 ] && grep -q 'packages are missing: libpq-dev libtalloc-dev' "$work/missing" &&
    grep -q 'tools/packages build' "$work/missing" && ! grep -qE '\.c:[0-9]+' "$work/missing"
verdict $? a_missing_library_is_named "$work/missing"
printf '#!/bin/sh\ncase "$*" in *" -E -"*) if grep -q "ev\\.h"; then exit 1; fi ;; *) exec %s "$@" ;; esac\n' "$(command -v cc)" >"$work/bin/broken-cc"
chmod +x "$work/bin/broken-cc"
make -s BUILD=missing-header CC="$work/bin/broken-cc" build/missing-header/signalbox >"$work/missing" 2>&1
status=$?
[ "$status" -ne 0 ] && grep -q 'packages are missing: libev-dev *$' "$work/missing"
verdict $? a_missing_header_is_named "$work/missing"
make -s BUILD=missing-compiler CC=no-such-compiler build/missing-compiler/signalbox >"$work/missing" 2>&1
status=$?
[ "$status" -ne 0 ] && grep -q 'missing:.* gcc' "$work/missing"
verdict $? a_missing_compiler_is_named "$work/missing"
rm -rf build/missing-library build/missing-header build/missing-compiler

mkdir -p build && flock build/release.lock nice -n 10 make -s signalbox >"$work/make" 2>&1
verdict $? make_builds_signalbox "$work/make"
flock build/release.lock make -s install DESTDIR="$work/root" PREFIX=/usr >"$work/install" 2>&1
verdict $? make_install "$work/install"
for file in bin/signalbox share/man/man1/signalbox.1 share/doc/signalbox/example.yaml share/doc/signalbox/keys.md \
    share/doc/signalbox/keymaps/default.keymap share/doc/signalbox/keymaps/vim.keymap; do
    [ -s "$work/root/usr/$file" ]
    verdict $? "installs_$(basename "$file")" "$work/install"
done
[ -z "$(find "$work/root" -type f -perm /022)" ]
verdict $? nobody_else_can_write_what_is_installed
program=$work/root/usr/bin/signalbox
"$program" --help >"$work/help" 2>&1 && grep -q '^  queries ' "$work/help" && grep -q -- '--json' "$work/help"
verdict $? help "$work/help"
cp docs/example.yaml "$work/example.yaml" && chmod 600 "$work/example.yaml"
"$program" config check "$work/example.yaml" >"$work/check" 2>&1
verdict $? the_example_environment_is_good "$work/check"
make -s uninstall DESTDIR="$work/root" PREFIX=/usr >"$work/install" 2>&1 && [ -z "$(find "$work/root" -type f)" ]
verdict $? make_uninstall_takes_everything_back "$work/install"
exit "$failed"
