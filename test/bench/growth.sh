#!/usr/bin/env bash
# make bench-growth: what refreshes do to the table tier: how wbcache.entry grows, and whether reads keep their speed,
# without and with a snapshot that another session keeps open all the time.
#
#   KEYS=10000 RATE=200 MINUTES=30   refreshes a second of so many keys, for so long
#   SCALE=15                         so many times faster: 3,000 refreshes a second for 2 minutes; autovacuum_naptime too
#   BYTES="1000 5000"                sizes of values; what is above 2 kB goes to the table's TOAST
#   SAMPLES=12                       looks at the speed and the size during each run
#
# A refresh is a call of wbcache.set(), which is written behind like any value that was fetched. The speed is that of four
# clients that read keys by chance, against that of SELECTs without a table just before and after; the ratio is compared with that
# of the looks before the first refresh. The refreshes stand still meanwhile: so many times faster they would take most of the machine,
# which at their real speed they don't. Memory holds about half of the values, so that half of the reads go to the table. "kept" are the keys that have a value at the end: of two that
# share a stripe (one pair in a million) only the one that was set last has. The servers are private to this run and end
# with it.
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

growth_options() {
  local each
  : "${KEYS:=10000}" "${RATE:=200}" "${MINUTES:=30}" "${SCALE:=15}" "${BYTES:=1000 5000}" "${SAMPLES:=12}"
  for each in "$KEYS" "$RATE" "$MINUTES" "$SCALE" "$SAMPLES" $BYTES; do
    [[ $each =~ ^[1-9][0-9]{0,6}$ ]] || wbc_fail "$each is not a whole number above zero"
  done
  ((MINUTES * 60 / SCALE >= SAMPLES * 3)) ||
    wbc_fail "$MINUTES minutes at $SCALE times the speed are too short for $SAMPLES looks of 3 s"
}

growth_psql() {
  wbc_psql "$growth_instance" growth "$@"
}

growth_start() {
  growth_instance=growth$growth_bytes
  growth_memory=$(awk "BEGIN { size = $KEYS * ($growth_bytes + 250) * 0.6 / 1024; print int(size < 4096 ? 4096 : size) }")kB
  wbc_instance_create "$growth_instance" "shared_preload_libraries = 'wbcache'" "wbcache.databases = 'growth'" \
    "wbcache.memory_size = '$growth_memory'" "shared_buffers = '256MB'" "max_connections = 30" "jit = off" \
    "autovacuum_naptime = $((60 / SCALE > 0 ? 60 / SCALE : 1))" "log_autovacuum_min_duration = 0"
  wbc_instance_add_database "$growth_instance" growth
  wbc_instance_start "$growth_instance"
  growth_psql -o /dev/null -f "$WBC_TOP/test/bench/growth.sql"
  cat >"$WBC_WORK/refresh.sql" <<'EOF'
\set id random(1, :keys)
SELECT refresh(:id, :bytes);
EOF
  cat >"$WBC_WORK/read.sql" <<'EOF'
\set id random(1, :keys)
SELECT wbcache.get('growth:' || :id);
EOF
  cat >"$WBC_WORK/nothing.sql" <<'EOF'
\set id random(1, :keys)
SELECT 'growth:' || :id;
EOF
}

# growth_pgbench SCRIPT OPTION...: its output goes to a file of its own name.
growth_pgbench() {
  local script=$1
  shift
  pgbench -n -h "$WBC_WORK/$growth_instance" -p 5432 -U postgres -M prepared -D "keys=$KEYS" -D "bytes=$growth_bytes" \
    -f "$WBC_WORK/$script.sql" "$@" growth >"$WBC_WORK/results/$script.log" 2>&1
}

growth_wait_for() {
  wbc_wait 120 growth_is "$1" || wbc_fail "waited in vain for: $1"
}

growth_is() {
  [ "$(growth_psql -c "SELECT $1")" = t ]
}

# A table of its own for each run: every key once, and everything written.
growth_fill() {
  growth_psql -o /dev/null -c "SELECT wbcache.clear()" -c "TRUNCATE wbcache.entry" -c "CALL fill($KEYS, $growth_bytes)"
  growth_wait_for "(SELECT count(*) >= $KEYS * 0.99 FROM wbcache.entry)"
  growth_psql -c "VACUUM ANALYZE wbcache.entry" -c "SELECT pg_stat_reset()" -o /dev/null
}

# growth_speed SCRIPT SECONDS: transactions a second of four clients; with one, most of the time is the waking of processes.
growth_speed() {
  growth_pgbench "$1" -c 4 -j 2 -T "$2" || wbc_fail "reading failed; see results/$1.log"
  sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$WBC_WORK/results/$1.log"
}

growth_size() {
  growth_psql -F ' ' -c "SELECT pg_table_size('wbcache.entry'), pg_indexes_size('wbcache.entry')"
}

# A session with a snapshot, which ends with growth_snapshot_end.
growth_snapshot_begin() {
  growth_psql -o /dev/null -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT 1" -c "SELECT pg_sleep(100000)" \
    >/dev/null 2>&1 &
  growth_wait_for "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100000)' AND backend_xmin IS NOT NULL)"
}

growth_snapshot_end() {
  growth_psql -o /dev/null -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100000)' AND pid <> pg_backend_pid()"
}

# growth_look NAME: one line.
growth_look() {
  printf 'bytes=%s snapshot=%s look size=%s index=%s before=%s reads=%s after=%s\n' "$growth_bytes" "$1" $(growth_size) \
    "$(growth_speed nothing 1)" "$(growth_speed read 2)" "$(growth_speed nothing 1)"
}

# growth_run NAME: a line for each look to results/growth.txt.
growth_run() {
  local every=$((MINUTES * 60 / SCALE / SAMPLES)) sample refreshes=0
  growth_fill
  [ "$1" = none ] || growth_snapshot_begin
  for ((sample = 0; sample < 3; sample++)); do
    growth_look "$1"
  done
  printf 'bytes=%s snapshot=%s start size=%s index=%s\n' "$growth_bytes" "$1" $(growth_size)
  for ((sample = 0; sample < SAMPLES; sample++)); do
    growth_pgbench refresh -c 2 -R $((RATE * SCALE)) -T "$every" || wbc_fail "the refreshes failed; see results/refresh.log"
    refreshes=$((refreshes + $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$WBC_WORK/results/refresh.log")))
    growth_wait_until_written
    growth_look "$1"
  done
  printf 'bytes=%s snapshot=%s end size=%s index=%s %s %s\n' "$growth_bytes" "$1" $(growth_size) "$(growth_counts)" \
    "refreshes=$refreshes"
  [ "$1" = none ] || growth_snapshot_end
}

# Until two looks a write interval apart find the same.
growth_wait_until_written() {
  local last='' now
  until now=$(growth_psql -c "SELECT n_tup_upd, n_tup_ins FROM pg_stat_user_tables WHERE relid = 'wbcache.entry'::regclass") &&
    [ "$now" = "$last" ]; do
    last=$now
    sleep 2
  done
}

growth_counts() {
  growth_psql -c "SELECT format('written=%s hot=%s vacuums=%s kept=%s', n_tup_upd + n_tup_ins, n_tup_hot_upd, autovacuum_count,
    (SELECT count(*) FROM wbcache.entry WHERE wbcache.entry_is_current(key, epoch, stripes, generations)))
    FROM pg_stat_user_tables WHERE relid = 'wbcache.entry'::regclass"
}

growth_head() {
  printf '\n%s keys, %s refreshes a second for %s minutes, %s times faster; %s, %s CPUs\n\n' \
    "$KEYS" "$RATE" "$MINUTES" "$SCALE" "$(postgres --version)" "$(nproc)"
  awk -v head=1 -f "$WBC_TOP/test/bench/median.awk" -f "$WBC_TOP/test/bench/growth.awk" /dev/null
}

growth_inside() {
  KEYS=$1 RATE=$2 MINUTES=$3 SCALE=$4 BYTES=$5 SAMPLES=$6
  wbc_build
  wbc_tree_create
  wbc_say "$(wc -w <<<"$BYTES") sizes, each without and with a snapshot, for $((MINUTES * 60 / SCALE)) s" >&2
  growth_head
  for growth_bytes in $BYTES; do
    growth_start
    for each in none held; do
      growth_run "$each" >"$WBC_WORK/results/growth.txt"
      awk -f "$WBC_TOP/test/bench/median.awk" -f "$WBC_TOP/test/bench/growth.awk" "$WBC_WORK/results/growth.txt"
    done
    wbc_instance_stop "$growth_instance"
  done
}

if [ -n "${WBC_INSIDE:-}" ]; then
  growth_inside "$@"
else
  growth_options
  wbc_packages_ensure build
  wbc_workspace_create growth
  wbc_workspace_enter test/bench/growth.sh "$KEYS" "$RATE" "$MINUTES" "$SCALE" "$BYTES" "$SAMPLES"
fi
