#!/usr/bin/env bash
# docs/adding-a-panel.md is true: its code, put where it says, builds, passes its own test and the rules of the house.
# TEST_TIMEOUT=600
set -u
cd "$(dirname "$0")/../.." || exit 1
copy=$(mktemp -d "${TMPDIR:-/tmp}/signalbox-panel-XXXXXX") || exit 1
chmod 755 "$copy"
trap 'rm -rf "$copy"' EXIT
page=$PWD/docs/adding-a-panel.md

# What was built already is taken along; only what knows where the sources lie is built anew.
tar -cf - --exclude='./build/*' --exclude=./.git --exclude=./build . | tar -xf - -C "$copy" || exit 1
if [ -d build/asan ]; then
    mkdir -p "$copy/build/asan"
    tar -cf - -C build/asan --exclude=./tests --exclude=./unit --exclude=./e2e --exclude=./servers --exclude=./screen \
        --exclude=./signalbox . | tar -xf - -C "$copy/build/asan"
    rm -f "$copy/build/asan/libharness.a"
fi
cd "$copy" || exit 1

# ```c FILE begins a file; ```diff holds hunks whose lines, without the added ones, must stand in the file as they are.
apply() { # FILE OLD NEW
    local content
    content=$(<"$1") || return 1
    [[ $content == *"$2"* ]] || { printf 'not in %s any more:\n%s\n' "$1" "$2" && return 1; }
    printf '%s\n' "${content/"$2"/"$3"}" >"$1"
}
files=() mode='' target='' old='' new='' status=0
finish_hunk() {
    if [ -n "$old" ]; then apply "$target" "${old%$'\n'}" "${new%$'\n'}" || status=1; fi
    old='' new=''
}
while IFS= read -r line; do
    case $mode:$line in
    :'```c '*)
        mode='file' target=${line#'```c '}
        : >"$target"
        files+=("$target")
        ;;
    :'```diff') mode='diff' ;;
    file:'```') mode='' ;;
    file:*) printf '%s\n' "$line" >>"$target" ;;
    diff:'```')
        finish_hunk
        mode=''
        ;;
    diff:'--- '*) ;;
    diff:'+++ b/'*) target=${line#'+++ b/'} ;;
    diff:@@*) finish_hunk ;;
    diff:+*) new+=${line#+}$'\n' ;;
    diff:' '*) old+=${line# }$'\n' new+=${line# }$'\n' ;;
    diff:*) old+=$'\n' new+=$'\n' ;;
    esac
done <"$page"
if [ "$status" -eq 0 ] && [ "${#files[@]}" -eq 2 ]; then
    echo "ok the_page_fits_the_sources"
else
    echo "not ok the_page_fits_the_sources"
    exit 1
fi

check() { # NAME COMMAND...
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok $name"
    else
        printf 'not ok %s\n%s\n' "$name" "$(head -n 60 <<<"$output")"
        status=1
    fi
}
check the_panel_builds_without_a_warning make -s -j2 BUILD=asan WERROR=1 build/asan/signalbox build/asan/e2e/test_applications
check its_test_passes build/asan/e2e/test_applications
check it_is_in_the_help bash -c 'build/asan/signalbox --help | grep "^  applications "'
check it_is_in_the_manual bash -c 'build/asan/signalbox --manual | grep applications'
check the_house_is_content tests/lint rules format
exit "$status"
