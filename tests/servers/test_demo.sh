#!/usr/bin/env bash
# The demo platform, really run: two at once, their facts, every planted problem on and off, and nothing left behind.
# Prints "ok" or "not ok" lines. Waits for conditions, never for a time.
set -uo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d /tmp/sbdemo.XXXXXX)
chmod 711 "$place"
export DEMO_DIR=$place/one
passed=0 failed=0

clean_up()
{
    local name
    for name in one two three; do DEMO_DIR=$place/$name demo/down >/dev/null 2>&1; done
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

holds()
{
    eval "$1"
}

# --- up ---
DEMO_DIR=$place/two DEMO_TENANTS=4 DEMO_ROWS=20000 DEMO_KIND=production demo/up >"$place/two.log" 2>&1 &
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
check "the list tells what is off" holds '! demo/problem | grep -q "^[a-z-]* *on "'
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
check "no file is left" holds '[[ ! -e $place/one && ! -e $place/two && ! -e $place/three ]]'
check "no process is left" no_process
echo "$passed passed, $failed failed"
((failed == 0))
