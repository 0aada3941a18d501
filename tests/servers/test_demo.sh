#!/usr/bin/env bash
# The demo platform, really run: two at once, their facts, every planted problem on and off, and nothing left behind.
# Prints "ok" or "not ok" lines. Waits for conditions, never for a time.
# TEST_TIMEOUT=600
set -uo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d /tmp/sbdemo.XXXXXX)
chmod 711 "$place"
export DEMO_DIR=$place/one
passed=0 failed=0

clean_up()
{
    local name
    for name in one two three four; do DEMO_DIR=$place/$name demo/down >/dev/null 2>&1; done
    rm -rf "$place"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

check()  # name, command...: passes when the command succeeds
{
    local name=$1
    shift
    if "$@" >"$place/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "not ok $name"
        sed 's/^/  # /' "$place/output" | tail -n 8
    fi
}

fails()
{
    ! "$@"
}

query()  # role, statement
{
    PGUSER=$1 psql -X -At -v ON_ERROR_STOP=1 -c "$2" 2>&1
}

is()  # role, statement, expected
{
    local got
    got=$(query "$1" "$2")
    [[ $got == "$3" ]] || { printf 'got %s instead of %s\n' "$got" "$3"; return 1; }
}

becomes()  # the same, within 15 s
{
    local end=$((SECONDS + 15))
    until is "$@" >/dev/null; do
        if ((SECONDS >= end)); then is "$@"; return; fi
        sleep 0.1
    done
}

calls()
{
    query sb_watch "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements(true) WHERE query LIKE '$1'"
}

# True once no more calls are counted between two looks that are many times its interval apart.
ceases()
{
    local end=$((SECONDS + 15)) before after
    before=$(calls "$1")
    while ((SECONDS < end)); do
        sleep 1.2
        after=$(calls "$1")
        if [[ $after == "$before" ]]; then return 0; fi
        before=$after
    done
    echo "still called: $after"
    return 1
}

# Clients of a server that was ended need a moment to notice.
no_process()
{
    local end=$((SECONDS + 10))
    while pgrep -af -- "$place/"; do
        if ((SECONDS >= end)); then return 1; fi
        sleep 0.1
    done
}

on()  # host command...: there, with what demo/up wrote and nothing else
{
    timeout 20 ssh -F "$DEMO_DIR/ssh/config" -o BatchMode=yes "$@" 2>&1 </dev/null
}

waits_ms()  # school: how long the application lets it wait
{
    local begun=$EPOCHREALTIME
    exec 4<>"/dev/tcp/127.0.0.1/$(<"$DEMO_DIR/hosts/http")"
    printf 'GET /api/students HTTP/1.0\r\nHost: %s.school.example\r\n\r\n' "$1" >&4
    grep -q '"students": \[{' <&4 || echo "no students" >&2
    exec 4>&-
    echo $(((${EPOCHREALTIME/./} - ${begun/./}) / 1000))
}

# Whether the certificate that nginx shows lasts so many days.
lasts()  # days
{
    openssl s_client -connect "127.0.0.1:$(<"$DEMO_DIR/hosts/https")" </dev/null 2>/dev/null |
        openssl x509 -noout -checkend $(($1 * 86400))
}

eventually()  # command...: succeeds within 10 s
{
    local end=$((SECONDS + 10))
    until "$@"; do
        if ((SECONDS >= end)); then return 1; fi
        sleep 0.1
    done
}

broker()  # words of redis-cli, as the application
{
    redis-cli -u "$(<"$DEMO_DIR/hosts/worker1/srv/app/broker")" "$@" 2>/dev/null
}

broker_as()  # user, words of redis-cli
{
    local host port user password
    IFS=: read -r host port user password < <(grep ":$1:" "$DEMO_DIR/config/signalbox/redispass")
    shift
    redis-cli -u "redis://$user:$password@$host:$port" "$@" 2>/dev/null
}

beats()  # worker: its heart beats
{
    grep -qm 1 "\"$1\"" < <(timeout 6 redis-cli -u "$(<"$DEMO_DIR/hosts/worker1/srv/app/broker")" psubscribe '/0.celeryev/*' 2>/dev/null)
}

# How many of the processes of a Celery program are in this state (S, T); any: all.
celery_count()  # word of its command, state
{
    local path count=0
    while IFS= read -r path; do
        if grep -qsF "$DEMO_DIR/" "${path%/*}/environ" && [[ $2 == any || $(grep -s ^State: "${path%/*}/status") == *"$2 ("* ]]; then
            count=$((count + 1))
        fi
    done < <(grep -lsxzF -- "$1" /proc/[0-9]*/cmdline)
    echo "$count"
}

for_ever()  # results that never expire
{
    broker -n 1 --scan --pattern 'celery-task-meta-*' | head -n 4000 | sed 's/^/TTL /' | broker -n 1 | grep -cx -- -1
}

holds()
{
    eval "$1"
}

console=$PWD/build/asan/signalbox

# What the console says of jobs, with what demo/up wrote and nothing else: through the bastion, as sb_watch.
jobs()  # filter of jq, words...
{
    local filter=$1
    shift
    XDG_CONFIG_HOME=$DEMO_DIR/config XDG_STATE_HOME=$DEMO_DIR/state "$console" jobs -e demo --json "$@" | jq -e "$filter"
}

act()  # words: as sb_act
{
    XDG_CONFIG_HOME=$DEMO_DIR/config XDG_STATE_HOME=$DEMO_DIR/state "$console" jobs "$@" -e demo --yes --reason test
}

# --- up ---
DEMO_DIR=$place/two DEMO_TENANTS=4 DEMO_ROWS=20000 DEMO_KIND=production DEMO_HOSTS=plain demo/up >"$place/two.log" 2>&1 &
second=$!
check "comes up" env DEMO_TENANTS=8 demo/up
check "a second one comes up at the same time" wait "$second"
check "a second start in the same place is refused" fails demo/up
check "status says that it is up" demo/status
if [[ ! -f $DEMO_DIR/env ]]; then
    echo "$passed passed, $failed failed"
    exit 1
fi
. "$DEMO_DIR/env"

# --- the platform ---
rows="SELECT sum(c.reltuples) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN tenants_client t ON t.schema_name = n.nspname WHERE c.relkind = 'r'"
check "8 schools, each with its schema" is sb_read "SELECT count(*), count(to_regclass(format('%I.student', schema_name)))
    FROM tenants_client" '8|8'
check "each has a primary domain" is sb_read "SELECT count(*) FROM tenants_domain WHERE is_primary" 8
check "each has its migrations" is sb_read "SELECT count(to_regclass(format('%I.django_migrations', schema_name)))
    FROM tenants_client" 8
school=$(query sb_read "SELECT schema_name FROM tenants_client WHERE id = 7")
check "one deploy left a school out" is sb_read "SELECT (SELECT count(*) FROM $school.django_migrations) -
    (SELECT count(*) FROM al_noor.django_migrations)" -1
check "a million rows" is sb_read "SELECT ($rows) >= 1000000" t
check "a third of them in al_noor" is sb_read "SELECT ($rows AND n.nspname = 'al_noor') / ($rows) BETWEEN 0.33 AND 0.40" t
check "names in Arabic, Chinese and with emoji" is sb_read "SELECT bool_or(name ~ '[ء-ي]') AND bool_or(name ~ '[一-龥]')
    AND bool_or(name ~ '[🌱-🦉]') FROM tenants_client" t
check "nothing of the loading is left" is sb_read "SELECT count(*) FROM pg_namespace WHERE nspname = 'seed'" 0

# --- the logins ---
check "sb_watch sees what others run" is sb_watch "SELECT count(*) > 5 FROM pg_stat_activity
    WHERE usename = 'app_user' AND query LIKE '%SELECT%'" t
check "sb_watch reads no rows of a school" fails query sb_watch "SELECT 1 FROM al_noor.student LIMIT 1"
check "sb_read tries an index with hypopg" is sb_read "SELECT count(*)
    FROM hypopg_create_index('CREATE INDEX ON al_noor.invoice (reference)')" 1
check "sb_read changes nothing" fails query sb_read "UPDATE al_noor.student SET status = 'left' WHERE id = 1"
check "sb_act ends no session of a superuser" fails query sb_act "SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity WHERE backend_type = 'logical replication launcher'"
for role in app_user sb_watch sb_read sb_act; do
    check "$role cannot reset the statistics" fails query "$role" "SELECT pg_stat_statements_reset()"
    check "$role needs its password" fails env PGPASSFILE=/dev/null PGUSER=$role psql -w -X -c 'SELECT 1'
done
file=$DEMO_DIR/config/signalbox/demo.yaml
check "the environment file is private" holds '[[ $(stat -c %a "$file") == 600 ]]'
check "the environment file holds no password" fails grep -qFf <(cut -d : -f 5 "$PGPASSFILE") "$file"
check "the first demo is staging and open" grep -q 'kind: staging' "$file"
check "the second is production and locked" grep -q 'locked: true' "$place/two/config/signalbox/demo.yaml"
check "no password among the statements" is sb_watch "SELECT count(*) FROM pg_stat_statements(true)
    WHERE query ILIKE '%password ''%'" 0

# --- the hosts ---
plain=$(<"$DEMO_DIR/hosts/plain")
srv=$([[ -z $plain ]] || echo /proc/self/cwd)/srv
for host in web1 web2 db1 worker1 bastion; do
    check "$host answers to ssh" on "$host" true
    if [[ -z $plain ]]; then
        check "$host: a name, a first process and a user of its own" holds \
            '[[ $(on $host "hostname; cat /proc/1/comm; id -un" | xargs) == "$host init ops" ]]'
    fi
done
check "nobody else may log in" fails on -l nobody web1 true
check "keys lie in the demo's folder only" holds '[[ $(ssh -F "$DEMO_DIR/ssh/config" -G web1 |
    grep -E "^(identityfile|userknownhostsfile) " | grep -vc " $DEMO_DIR/ssh/") == 0 ]]'
check "the hosts of the plain demo answer, too" holds 'DEMO_DIR=$place/two on db1 test -r /proc/self/cwd/sshd_config'
if [[ -z $plain ]]; then
    check "PostgreSQL runs on db1" holds '[[ -n $(on db1 ps -C postgres -o pid=) ]]'
    check "and on no other host" holds '[[ -z $(on web1 ps -C postgres -o pid=) ]]'
    if ((EUID == 0)) && command -v sudo >/dev/null; then
        check "who is root on a host changes nothing of this machine" holds \
            '[[ $(on web1 "sudo -n touch /etc/demo.was.here") == *Read-only* ]]'
        check "db1 permits nothing" fails on db1 sudo -n true
    fi
    check "PostgreSQL's log can be read there" holds 'on db1 grep -c LOG: /var/log/postgresql/postgresql.log'
fi
check "a school gets its students" holds '(($(waits_ms oak-park-academy) >= 0))'
check "requests are on record with school and times" eventually on web1 \
    grep -qE "riverside-college.school.example [0-9.]+ [0-9.]+\$" "$(sed -n 's/.*access: {path: \([^,]*\),.*/\1/p' "$file")"
gunicorn=$(on web2 cat "$([[ -z $plain ]] || echo /proc/self/cwd)/run/gunicorn/gunicorn.pid")
check "a service that was killed comes back" holds 'on web2 "$([[ -n $plain || $EUID != 0 ]] || echo sudo -n) kill -9 $gunicorn" &&
    eventually holds "[[ \$(on web2 cat $([[ -z $plain ]] || echo /proc/self/cwd)/run/gunicorn/gunicorn.pid) != $gunicorn ]]"'
check "jobs are done on worker1" eventually on worker1 \
    grep -q "school.jobs.send_mail.*succeeded in" "$(sed -n 's/.*celery: {path: \([^,]*\),.*/\1/p' "$file")"

# --- jobs ---
pass=$DEMO_DIR/config/signalbox/redispass
check "the password file of Redis is private" holds '[[ $(stat -c %a "$pass") == 600 ]]'
check "the environment file holds none of them" fails grep -qFf <(cut -d : -f 4 "$pass") "$file"
check "nobody gets into Redis without one" holds '[[ $(redis-cli -p "$(<"$DEMO_DIR/hosts/worker1/redis_port")" llen mail 2>&1) == NOAUTH* ]]'
check "sb_watch reads queues" holds '[[ $(broker_as sb_watch llen archive) == 4000 ]]'
for words in "lpush mail x" "keys x" "publish /0.celery.pidbox x" "eval 'return 1' 0" "config set maxmemory 1" "flushall"; do
    check "sb_watch may not: $words" holds '[[ $(eval "broker_as sb_watch $words") == *NOPERM* ]]'
done
check "sb_watch has the rights that the console asks for" holds '[[ "user sb_watch on >PASSWORD $(sed -n "/^user sb_watch /s/.*#[0-9a-f]* //p" \
    "$DEMO_DIR/hosts/worker1/redis.users")" == "user$(sed -n "/^const char .redis_watch_acl/,/^}/p" backends/redis/watch_commands.c |
    sed -n "s/^[^\"]*\"\([^\"]*\)\".*/\1/p" | tr -d "\n" | sed "s/^ACL SETUSER//")" ]]'
check "sb_act moves jobs" holds '[[ $(broker_as sb_act lmove no-such other RIGHT LEFT; broker_as sb_act eval "return 1" 0) == *1 ]]'
check "sb_act empties no server" holds '[[ $(broker_as sb_act flushall) == *NOPERM* ]]'
for worker in default@worker1 reports@worker1; do check "$worker lives" eventually beats "$worker"; done
check "reports run" eventually on worker1 \
    grep -q "school.jobs.report_card.*succeeded in" "$(sed -n 's/.*reports: {path: \([^,]*\),.*/\1/p' "$file")"
check "beat has its entries in PostgreSQL, for sb_watch" is sb_watch "SELECT count(*) FROM django_celery_beat_periodictask
    WHERE task LIKE 'school.jobs.%' AND enabled" 5
check "sb_act may switch them" is sb_act "SELECT has_table_privilege('django_celery_beat_periodictask', 'UPDATE')" t
check "beat sends" eventually on worker1 grep -q "Sending due task" "$(sed -n 's/.*beat: {path: \([^,]*\),.*/\1/p' "$file")"

# --- problems of jobs ---
check "flood: one school fills the queue" holds '(($(broker llen reports) > 10000)) && [[ $(broker lrange reports -300 -1 |
    grep -c "\"_schema_name\": \"al_noor\"") -ge 299 ]]'
check "flood: others wait behind it" holds 'broker lrange reports 0 99 | grep -c "\"_schema_name\": \"oak_park_academy\""'
if [[ -x $console ]]; then
    check "flood: the console sees it, and whose it is" jobs '.rows[] | select(.queue == "reports" and .ready > 10000)'
    check "poison: the console sees it before it fires" jobs '.rows[] | select(.queue == "archive" and .poison > 0)'
    check "the console sees both workers" jobs '[.rows[].worker] | contains(["default@worker1", "reports@worker1"])' --view workers
    check "the console sees what beat sends" jobs '.rows[] | select(.task == "school.jobs.backup_all")' --view schedule
    check "results-no-expiry: the console counts them" jobs '.sources[] | select(.feed == "failures" and .state == "live")' --view failures
    check "poison: parked by sb_act" act park --queue archive --filter poison:A
    check "poison: none of it is left in the queue" holds '! broker lrange archive 0 -1 | grep "^not json at all"'
    check "poison: and put back" act unpark --queue archive
    check "poison: it is there again" holds 'broker lrange archive 0 -1 | grep -c "^not json at all"'
    check "flood: taken aside by sb_act" act tenant-aside --queue reports --tenant al_noor
    check "flood: the others' jobs run" eventually holds '(($(broker llen reports) < 20))'
    check "flood: and put back" act tenant-back --queue reports --tenant al_noor
    check "the workers answer to sb_act" holds '[[ $(act ask 2>&1) == *"2 of 2 answered"* ]]'
fi
check "flood: switched off" demo/problem flood off
check "flood: the others' jobs are still there" holds '(($(broker llen reports) < 500))'
check "poison: what no worker can read is in the queue" holds 'broker lrange archive 0 -1 | grep -c "^not json at all"'
check "poison: switched off" demo/problem poison off
check "poison: gone" holds '[[ $(broker exists archive) == 0 ]]'
check "results-no-expiry: kept for ever" holds '(($(for_ever) >= 2900))'
check "results-no-expiry: switched off" demo/problem results-no-expiry off
check "results-no-expiry: gone" holds '[[ $(for_ever) == 0 ]]'
check "retry-storm: switched on" demo/problem retry-storm on
check "retry-storm: mails are tried again" eventually on worker1 \
    grep -q "Retry in .*mail1:25 refuses" "$(sed -n 's/.*celery: {path: \([^,]*\),.*/\1/p' "$file")"
check "retry-storm: switched off" demo/problem retry-storm off
check "stuck-worker: switched on" demo/problem stuck-worker on
check "stuck-worker: hangs in a job" eventually holds '(($(celery_count reports@worker1 T) >= 1))'
check "stuck-worker: its heart beats" beats reports@worker1
check "stuck-worker: switched off" demo/problem stuck-worker off
check "stuck-worker: goes on" eventually holds '(($(celery_count reports@worker1 T) == 0))'
check "worker-killed: switched on" demo/problem worker-killed on
check "worker-killed: gone" eventually holds '(($(celery_count reports@worker1 any) == 0))'
check "worker-killed: what it held stays" holds 'broker hvals unacked | grep -cE "\"(reports|pdf|nightly)\"\]$"'
if [[ -x $console ]]; then
    check "worker-killed: the console misses it" jobs '.rows[] | select(.worker == "reports@worker1" and (.state == "silent" or .state == "ghost"))' \
        --view workers
fi
check "worker-killed: switched off" demo/problem worker-killed off
check "worker-killed: works again" eventually holds '(($(celery_count reports@worker1 any) >= 3))'
check "beat-stopped: switched on" demo/problem beat-stopped on
check "beat-stopped: gone" eventually holds '(($(celery_count beat any) == 0))'
check "beat-stopped: switched off" demo/problem beat-stopped off
check "beat-stopped: runs again" eventually holds '(($(celery_count beat any) >= 1))'

status=$(sed -n 's/^  nginx_status: //p' "$file")
check "nginx tells its status" holds '[[ $(on web2 "/usr/bin/python3 -c \"import urllib.request as u
print(u.urlopen(\\\"$status\\\").read().decode())\"") == *accepts* ]]'

# --- problems of hosts ---
check "certificate: ends in 5 days" holds 'lasts 5 && ! lasts 6'
check "certificate: switched off" demo/problem certificate off
check "certificate: lasts" eventually lasts 60
check "certificate: by the authority of the demo" holds 'openssl verify -CAfile "$DEMO_DIR/hosts/authority.crt" "$DEMO_DIR/hosts/web1/nginx/ssl/school.crt"'
check "slow-school: one waits" holds '(($(waits_ms al-noor) >= 450 && $(waits_ms oak-park-academy) < 300))'
check "slow-school: switched off" demo/problem slow-school off
check "slow-school: does not wait" holds '(($(waits_ms al-noor) < 300))'
if [[ -z $plain ]]; then
    full="on db1 df --output=pcent /var/lib/postgresql"
    check "disk-full: df shows it" holds '(($($full | tr -dc 0-9) >= 93))'
    check "disk-full: switched off" demo/problem disk-full off
    check "disk-full: df shows that, too" holds '(($($full | tr -dc 0-9) < 10))'
    check "disk-full: on again" demo/problem disk-full on
    check "disk-full: full again" holds '(($($full | tr -dc 0-9) >= 93))'
    check "disk-full: and off" demo/problem disk-full off
    check "oom-kill: switched on" demo/problem oom-kill on
    check "oom-kill: the kernel of worker1 tells it" holds 'on worker1 dmesg | grep -q "Out of memory: Killed process"'
    check "oom-kill: and counts it" eventually holds \
        '(($(on worker1 grep "^oom_kill " /proc/vmstat | tr -dc 0-9) == $(on web1 grep "^oom_kill " /proc/vmstat | tr -dc 0-9) + 1))'
    check "oom-kill: switched off" demo/problem oom-kill off
    check "oom-kill: gone" fails holds 'on worker1 dmesg | grep -q "Killed process"'
fi
releases='$(on web1 cat $srv/app/RELEASE) $(on web2 cat $srv/app/RELEASE) $(on worker1 cat $srv/app/RELEASE)'
check "release: the same everywhere" holds "[[ \"$releases\" == 'r481 r481 r481' ]]"
check "release: switched on" demo/problem release on
check "release: one differs" holds "[[ \"$releases\" == 'r482 r481 r481' ]]"
check "release: switched off" demo/problem release off
check "release: the same again" holds "[[ \"$releases\" == 'r481 r481 r481' ]]"
check "runaway: switched on" demo/problem runaway on
check "runaway: runs niced" eventually on worker1 'ps -eo ni,args | grep -q "^ *19 .*[i]mport_grades"'
check "runaway: switched off" demo/problem runaway off
check "runaway: gone" eventually fails pgrep -f "import_grades al_noor $DEMO_DIR"
check "host-hangs: switched on" demo/problem host-hangs on
check "host-hangs: takes the connection, says nothing" holds \
    '! timeout 2 ssh -F "$DEMO_DIR/ssh/config" -o BatchMode=yes worker1 true </dev/null; [[ $(on web1 echo still) == still ]]'
check "host-hangs: status knows that it is meant" demo/status
check "host-hangs: switched off" demo/problem host-hangs off
check "host-hangs: answers" on worker1 true
check "host-key: switched on" demo/problem host-key on
check "host-key: ssh refuses" holds '[[ $(on web2 true) == *"IDENTIFICATION HAS CHANGED"* ]]'
check "host-key: switched off" demo/problem host-key off
check "host-key: ssh accepts" on web2 true
check "failed-unit: says why not" holds '[[ $(demo/problem failed-unit on 2>&1) == *systemd* ]]'

# --- the planted problems, on ---
statement="FROM pg_stat_statements(true) WHERE query LIKE"
check "missing-index: scans of whole tables" becomes sb_watch "SELECT (SELECT sum(calls) $statement
    '%WHERE \"invoice\".\"reference\" =%') > 10 AND (SELECT sum(seq_scan) > 10 FROM pg_stat_user_tables
    WHERE relname = 'invoice')" t
check "n-plus-one: as many children as rows of the parents" becomes sb_watch "SELECT sum(calls) FILTER (WHERE query LIKE
    'SELECT \"student\".\"id\", \"student\".\"first_name\", \"student\".\"last_name\" FROM%') BETWEEN 10 AND
    sum(rows) FILTER (WHERE query LIKE 'SELECT \"enrolment\".\"student_id\"%') FROM pg_stat_statements(true)" t
check "spill: temporary blocks" becomes sb_watch "SELECT sum(temp_blks_written) > 100 $statement '%ROW_NUMBER()%'" t
check "misestimate: a statement of its own" becomes sb_watch "SELECT sum(calls) > 0 $statement '%\"bus_line\"%'" t
expected=$(query sb_read "EXPLAIN (ANALYZE, TIMING OFF) SELECT 1 FROM al_noor.student WHERE city = 'City 3' AND
    district = 'District 3' AND post_code = 'PC-1003' AND bus_line = 'B3' AND nationality = 'N3'" | head -n 1)
check "misestimate: 1 row expected, many come" holds \
    '[[ $expected =~ rows=1\ .*rows=([0-9]+) ]] && ((BASH_REMATCH[1] > 500))'
check "one-school: slow for one, quick for the rest" becomes sb_watch "SELECT max(mean_exec_time) > 5 *
    percentile_disc(0.5) WITHIN GROUP (ORDER BY mean_exec_time) $statement '%AS \"unread\"%'" t
check "deadlock: happens" becomes sb_watch "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = 'platform'" t
waiting="SELECT count(*) FROM pg_stat_activity WHERE datname = 'platform' AND wait_event_type = 'Lock'
    AND application_name NOT IN ('celery worker3', 'celery worker4')"
holder="application_name = 'celery worker5' AND h.state = 'idle in transaction'"
check "idle-lock: a migration and four requests wait" becomes sb_watch "$waiting" 5
check "idle-lock: behind a session that is idle in transaction" is sb_watch "SELECT count(*) FROM pg_stat_activity AS m
    JOIN pg_stat_activity AS h ON h.pid = ANY (pg_blocking_pids(m.pid)) WHERE m.query LIKE 'ALTER TABLE%' AND h.$holder" 1

# --- and off again ---
check "idle-lock: ended by sb_act" is sb_act "SELECT pg_terminate_backend(pid) FROM pg_stat_activity AS h WHERE h.$holder" t
check "idle-lock: the queue drains" becomes sb_watch "$waiting" 0
check "idle-lock: switched off" demo/problem idle-lock off
check "idle-lock: switched on" demo/problem idle-lock on
check "idle-lock: is there again" becomes sb_watch "$waiting" 5
check "idle-lock: switched off while it lasts" demo/problem idle-lock off
check "idle-lock: gone" becomes sb_watch "$waiting" 0
check "prepared-lock: off at first" is sb_watch "SELECT count(*) FROM pg_prepared_xacts" 0
check "prepared-lock: switched on" demo/problem prepared-lock on
check "prepared-lock: three requests wait" becomes sb_watch "$waiting" 3
check "prepared-lock: behind a prepared transaction" is sb_watch "SELECT count(*) FROM pg_prepared_xacts" 1
check "prepared-lock: switched off" demo/problem prepared-lock off
check "prepared-lock: rolled back" becomes sb_watch "SELECT count(*) FROM pg_prepared_xacts" 0
check "prepared-lock: nobody waits" becomes sb_watch "$waiting" 0
for name in missing-index n-plus-one spill misestimate one-school deadlock; do
    check "$name: switched off" demo/problem "$name" off
done
check "missing-index: ceases" ceases '%WHERE "invoice"."reference" =%'
check "n-plus-one: ceases" ceases '%"enrolment"."student_id", "enrolment"."id"%'
check "one-school: ceases" ceases '%AS "unread"%'
check "the list tells what is off" holds '! demo/problem | grep "^[a-z-]\+ \+on "'
check "an unknown problem is refused" fails demo/problem gremlins on

# --- down ---
workload=$(cat "$DEMO_DIR/workload.pid")
check "the second runs on while the first goes" holds 'demo/down && DEMO_DIR=$place/two demo/status'
check "its workload is gone" holds '! grep -qs . "/proc/$workload/cmdline"'
DEMO_DIR=$place/two check "the second goes" demo/down
check "down again is no error" demo/down
DEMO_DIR=$place/three DEMO_TENANTS=4 DEMO_ROWS=20000 setsid demo/up >/dev/null 2>&1 &
third=$!
until [[ -d $place/three/pg/data || ! -d /proc/$third ]]; do sleep 0.02; done
kill -KILL "$third"
wait "$third" 2>/dev/null
DEMO_DIR=$place/three check "one whose start was killed goes" demo/down
DEMO_DIR=$place/four setsid demo/up >/dev/null 2>&1 &
fourth=$!
until [[ -s $place/four/hosts/web2/sshd_config || ! -d /proc/$fourth ]]; do sleep 0.01; done
kill -KILL "$fourth"
wait "$fourth" 2>/dev/null
DEMO_DIR=$place/four check "one that was killed while its hosts started goes" demo/down
check "no file is left" holds '[[ ! -e $place/one && ! -e $place/two && ! -e $place/three && ! -e $place/four ]]'
check "no process is left" no_process
check "no mount is left" fails grep -qF "$place/" /proc/self/mounts
echo "$passed passed, $failed failed"
((failed == 0))
