#!/usr/bin/env bash
# What README.md and the pages behind it tell people to type exists: make targets, scripts, sub-commands, options,
# environment variables of the demo, files that they link to; their configuration is accepted, and so are their sudoers.
set -u
cd "$(dirname "$0")/../.." || exit 1
program=build/asan/signalbox
[ -x "$program" ] || program=build/release/signalbox
pages=(README.md docs/adding-a-panel.md docs/hosts.md docs/jobs.md docs/postgres.md)
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
    awk '/^```/ {fenced = !fenced; next} fenced || /^    / {sub(/^ +/, ""); print}' "${pages[@]}"
    grep -ohE '`[^`]+`' "${pages[@]}" | tr -d '`'
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

for page in "${pages[@]}"; do
    while IFS= read -r target; do
        [ -e "$(dirname "$page")/$target" ]
        verdict $? "link_${target//\//_}" "$page links to $target"
    done < <(grep -ohE '\]\([^)#]+' "$page" | cut -c 3- | grep -v '://' | sort -u)
done

# Its configurations, each as a file of its own, with the files that they name.
work=$(mktemp -d "${TMPDIR:-/tmp}/signalbox-readme-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/home/.ssh"
echo 'Host worker1 bastion' | tee "$work/home/.ssh/config" >"$work/home/.ssh/production"
printf '[web]\nweb[1:3].example.com ansible_user=ops\n' >"$work/hosts.ini"
for page in README.md docs/hosts.md docs/jobs.md docs/example.yaml; do
    case $page in
    *.yaml) cat "$page" >"$work/1.yaml" ;;
    *) awk -v to="$work/" '/^```yaml/ {file = to (++n) ".yaml"; next} /^```/ {file = ""} file {print >file}' "$page" ;;
    esac
    for file in "$work"/*.yaml; do
        grep -q '^environment:' "$file" || echo 'environment: {kind: staging}' >>"$file"
        grep -q '^hosts:' "$file" || echo 'hosts: {web1: {group: web}}' >>"$file"
        chmod 600 "$file"
        said=$(HOME=$work/home "$program" config check "$file" 2>&1)
        verdict $? "configuration_${page//\//_}_$(basename "$file" .yaml)" "$said"
        rm -f "$file"
    done
done

# Sudoers: what is in the example is accepted, also what is commented out there; and it holds what the console prints.
sed 's/^# signalbox/signalbox/' docs/sudoers.example >"$work/sudoers"
if command -v visudo >/dev/null; then
    said=$(visudo -cf docs/sudoers.example 2>&1 && visudo -cf "$work/sudoers" 2>&1)
    verdict $? sudoers_are_accepted "$said"
fi
while IFS= read -r arguments; do
    grep -qF -- "${arguments/#'%2$s'/}" docs/sudoers.example
    verdict $? "sudoers_${arguments//[^a-z]/}" "docs/sudoers.example lacks: PROGRAM ${arguments#* }"
done < <(grep -oh 'NOPASSWD: %2$s [^"\(]*' backends/hosts/parse_slow.c | cut -d ' ' -f 2- | sed 's/, /\n/g' | sed 's/ *$//' | grep '^%2$s' | grep -v '%3')
for tail in '/usr/bin/du ^-0 -xk -d 1 /[^ ]*$' '/usr/sbin/logrotate ^-f /etc/logrotate\.d/[A-Za-z0-9_-]+$'; do
    grep -qF -- "$tail" docs/sudoers.example && grep -rqF -- "${tail//\\/\\\\}" backends/hosts
    verdict $? "sudoers_$(basename "${tail%% *}")" "docs/sudoers.example and backends/hosts say different things of $tail"
done

# Users of Redis: the page has what the console prints for watching, and what the tests of acts may do.
strings() { # FILE FROM TO: the text of the C strings between two lines
    sed -n "/$2/,/$3/p" "$1" | grep -oE '"[^"]*"' | tr -d '"\n' | tr -s ' '
}
page=$(tr -s '\n ' '  ' <docs/jobs.md)
said=$(strings backends/redis/watch_commands.c '^const char \*redis_watch_acl' '^}')
[[ $said == 'ACL SETUSER'* && $page == *"$said"* ]]
verdict $? acl_of_watching "docs/jobs.md lacks: $said"
said=$(strings tests/harness/redis.h 'define REDIS_BOX_ACT_RULES' '^$')
[[ $said == *+eval* && $page == *"ACL SETUSER sb_act on >PASSWORD $said "* ]]
verdict $? acl_of_acting "docs/jobs.md lacks: $said"

# Variables of the demo stand in a script or a program.
while IFS= read -r variable; do
    grep -rqE "\b$variable\b" demo tests tools Makefile core backends panels tui
    verdict $? "variable_$variable" "README.md names $variable"
done < <(grep -ohE '\b(DEMO|BENCH|FUZZ|TEST|SIGNALBOX)_[A-Z]+\b' "${pages[@]}" | sort -u)
exit "$failed"
