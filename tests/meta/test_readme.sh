#!/usr/bin/env bash
# What README.md tells people to type exists: make targets, scripts, sub-commands, options, environment variables of the
# demo, files that it links to.
set -u
cd "$(dirname "$0")/../.." || exit 1
program=build/asan/signalbox
[ -x "$program" ] || program=build/release/signalbox
failed=0
verdict() { # STATUS NAME DETAIL
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        printf 'not ok %s: %s\n' "$2" "$3"
        failed=1
    fi
}

# Lines of indented or fenced blocks, and what stands in `backquotes` in the text, without comments and prompts.
commands() {
    awk '/^```/ {fenced = !fenced; next} fenced || /^    / {sub(/^ +/, ""); print}' README.md docs/adding-a-panel.md
    grep -ohE '`[^`]+`' README.md docs/adding-a-panel.md | tr -d '`'
}
mapfile -t lines < <(commands | sed -E 's/ +# .*//; s/^\$ //; s/^(sudo )//' | sort -u)
count=0
for line in "${lines[@]}"; do
    # Variables before a command: DEMO_TENANTS=500 make demo
    while [[ $line =~ ^[A-Z_]+=[^\ ]*\ (.*)$ ]]; do line=${BASH_REMATCH[1]}; done
    line=${line#id=\$(}
    read -ra words <<<"${line%%|*}"
    case ${words[0]-} in
    make)
        for word in "${words[@]:1}"; do
            [[ $word == *=* || $word == *[\`\;,.]* ]] && continue
            make -n "$word" >/dev/null 2>&1
            verdict $? "make_$word" "$line"
            count=$((count + 1))
        done
        ;;
    demo/* | tests/* | tools/*)
        [[ ${words[0]} == */ || ${words[0]} == *[*]* ]] && continue
        [ -e "${words[0]%)}" ] || [ -e "${words[0]}" ] ||
            case ${words[0]} in tests/e2e/test_applications*) true ;; *) false ;; esac
        verdict $? "${words[0]//\//_}" "$line"
        count=$((count + 1))
        ;;
    ./signalbox | signalbox)
        sub=${words[1]-}
        [[ -z $sub || $sub == -* || $sub == postgresql:* || $sub == [A-Z]* ]] && sub=
        "$program" ${sub:+"$sub"} --help >/dev/null 2>&1
        verdict $? "signalbox_${sub:-console}" "$line"
        # Its options are options of that command: --help of the program lists them all.
        for word in "${words[@]:1}"; do
            [[ $word == --[a-z]* ]] || continue
            "$program" --help 2>/dev/null | grep -qE -- "(^| )${word%%=*}( |$)"
            verdict $? "option_${word%%=*}" "$line"
        done
        count=$((count + 1))
        ;;
    esac
done
[ "$count" -ge 15 ]
verdict $? many_commands_were_looked_at "only $count"

while IFS= read -r target; do
    [ -e "$target" ]
    verdict $? "link_${target//\//_}" "README.md links to $target"
done < <(grep -ohE '\]\([^)#]+\)' README.md | tr -d '])(' | grep -v '://' | sort -u)

# Variables of the demo stand in a script or a program.
while IFS= read -r variable; do
    grep -rqE "\b$variable\b" demo tests tools Makefile core backends panels tui
    verdict $? "variable_$variable" "README.md names $variable"
done < <(grep -ohE '\b(DEMO|BENCH|FUZZ|TEST|SIGNALBOX)_[A-Z]+\b' README.md | sort -u)
exit "$failed"
