#!/usr/bin/env bash
# The warmer on a real day: the NFL Sunday and the soccer Saturday with most games, on one day, played at speed against test
# upstreams with a latency of 300 ms and 2,500 requests per 15 s. A reader asks for the props of every game from 60 minutes
# before its kick-off to its end, every 30 s for every key; once with the warmer, and beside it, in a database and with an
# upstream of its own, without. All times of the game's world are divided by SCALE: TTLs, the warmer's interval, latency,
# rate window and the reader's pace. Not divided are the milliseconds of reads, and the second within which what was
# invalidated is fetched again: in the game's clock that is SCALE seconds. Real schedules are taken from WBCACHE_SHARED_DATA.
#
#   SCALE=100    how much faster than the day
#   HOURS=13     of the day, from an hour before the first kick-off
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/bench/servers.sh
. "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

# Wall-clock seconds until the day begins, an hour and a quarter before the first kick-off.
SETUP=20

# Processes that end with the day.
PLAYERS=()

warmer_psql() {
  local database=$1
  shift
  wbc_psql pg-warmer "$database" "$@"
}

# game_clock SECONDS: the time of day of the games so many wall-clock seconds after the day's begin.
game_clock() {
  python3 -c 'import sys; from datetime import datetime, timedelta
print((datetime.fromisoformat(sys.argv[1]) + timedelta(seconds=float(sys.argv[2]) * float(sys.argv[3]))).isoformat())' "$G0" "$1" "$SCALE"
}

# warmer_database NAME: with an upstream of its own.
warmer_database() {
  wbc_upstream_start "$WBC_WORK/results/upstream-$1.log" --fixtures "$WBC_WORK/day" --latency "$(awk -v s="$SCALE" 'BEGIN { print 0.3 / s }')" \
    --now "$(game_clock "$(awk -v t="$T0" -v now="$(date +%s.%N)" 'BEGIN { print now - t }')")" --speed "$SCALE"
  wbc_on_exit kill "$WBC_UPSTREAM_PID"
  warmer_psql "$1" -q -o /dev/null -v t0="$(date -u -d "@$T0" +%FT%T.%NZ)" -v g0="$G0" -v scale="$SCALE" -v port="$WBC_UPSTREAM_PORT" \
    -v key="$WBC_UPSTREAM_KEY" -f "$WBC_TOP/test/bench/warmer.sql" <"$WBC_WORK/day.tsv"
  python3 -B "$WBC_TOP/test/bench/warmer_log.py" collect "$WBC_UPSTREAM_PORT" "$WBC_WORK/$1.log" "$(awk -v e="$END" -v now="$(date +%s.%N)" 'BEGIN { print e - now + 1 }')" &
  PLAYERS+=($!)
}

# warmer_play NAME: the day, in the background.
warmer_play() {
  local until
  until=$(date -u -d "@$END" +%FT%T.%NZ)
  warmer_psql "$1" -q -c "CALL play('$until')" &
  PLAYERS+=($!)
  warmer_psql "$1" -q -c "SELECT pg_sleep(greatest(extract(epoch FROM '$(date -u -d "@$T0" +%FT%T.%NZ)'::timestamptz - now()), 0))" -o /dev/null \
    -c "CALL read_day('$until', interval '60 min' / $SCALE, interval '30 s' / $SCALE)" &
  PLAYERS+=($!)
}

warmer_report() {
  warmer_psql "$1" -c "SELECT format('  %-8s %s reads: %s%% hits, %s%% stale, %s%% waited, %s errors; ms: median %s, 99th percentile %s, most %s', '$1', n,
      round(100.0 * hits / n, 3), round(100.0 * stale / n, 3), round(100.0 * waited / n, 3), n - hits - stale - waited, round(m::numeric, 3), round(p::numeric, 3), round(x::numeric, 1))
    FROM (SELECT count(*) AS n, count(*) FILTER (WHERE status = 'hit') AS hits, count(*) FILTER (WHERE status = 'stale') AS stale,
      count(*) FILTER (WHERE status IN ('miss', 'collapsed', 'bypass')) AS waited, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS m,
      percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) AS p, max(ms) AS x FROM seen) s"
  warmer_psql "$1" -c "SELECT format('           no hits within 3 s after a change of the game: %s stale, %s waited; others: %s stale, %s waited',
      count(*) FILTER (WHERE status = 'stale' AND soon), count(*) FILTER (WHERE status <> 'stale' AND soon), count(*) FILTER (WHERE status = 'stale' AND NOT soon), count(*) FILTER (WHERE status <> 'stale' AND NOT soon))
    FROM (SELECT status, coalesce(at - changed_at < '3 s', false) AS soon FROM no_hit) n"
  warmer_psql "$1" -c "\copy (SELECT * FROM no_hit ORDER BY at) TO '$WBC_WORK/results/no-hits-$1.tsv'"
  printf '  %-8s ' ""
  python3 -B "$WBC_TOP/test/bench/warmer_log.py" report "$WBC_WORK/$1.log" "$SCALE"
}

warmer_inside() {
  local shared=${WBCACHE_SHARED_DATA:-}
  SCALE=$1 HOURS=$2
  [ -n "$shared" ] || wbc_fail "no real schedules: name their folder in WBCACHE_SHARED_DATA"
  wbc_build
  wbc_tree_create
  mkdir "$WBC_WORK/day"
  python3 -B "$WBC_TOP/test/bench/warmer_day.py" "$WBC_TOP/test/upstream" "$shared" "$WBC_WORK/day" >"$WBC_WORK/day.tsv" 2>"$WBC_WORK/day.txt"
  wbc_instance_create pg-warmer "shared_preload_libraries = 'wbcache'" "wbcache.databases = 'warm, cold'" "max_worker_processes = 20" \
    "wbcache.warmer_ahead = '$((70 * 60 * 1000 / SCALE))ms'" "shared_buffers = '256MB'" "jit = off" "log_min_messages = log"
  wbc_instance_add_database pg-warmer warm cold
  wbc_instance_start pg-warmer
  G0=$(cut -f 4 "$WBC_WORK/day.tsv" | sort | head -n 1 | xargs -I{} date -u -d '{} - 75 minutes' +%FT%T+00:00)
  T0=$(awk -v now="$(date +%s.%N)" -v s="$SETUP" 'BEGIN { printf "%.3f", now + s }')
  END=$(awk -v t="$T0" -v h="$HOURS" -v s="$SCALE" 'BEGIN { printf "%.3f", t + h * 3600 / s }')
  warmer_database warm
  warmer_database cold
  warmer_psql cold -q -o /dev/null -c "SELECT wbcache.unschedule_task('warmer')"
  cat <<DONE

Warmer. $(cat "$WBC_WORK/day.txt"), $(wc -l <"$WBC_WORK/day.tsv") games, $HOURS hours of the day at $SCALE times its speed.
Machine:    $(bench_machine)
PostgreSQL: $(postgres --version), fsync=off, jit=off
Load of the machine before: $(cut -d ' ' -f 1 /proc/loadavg)

DONE
  warmer_play warm
  warmer_play cold
  wait "${PLAYERS[@]}"
  warmer_report warm
  warmer_report cold
  warmer_psql warm -c "SELECT format('  warmer   %s runs, status %s; in all %s requests by runs, %s refreshes ahead, %s errors', runs, status, total_requests, refreshes_ahead, total_errors) FROM wbcache.stat_warmer"
  wbc_instance_stop pg-warmer
}

if [ -n "${WBC_INSIDE:-}" ]; then
  warmer_inside "$@"
else
  : "${SCALE:=100}" "${HOURS:=13}"
  [[ $SCALE =~ ^[1-9][0-9]{0,2}$ && $HOURS =~ ^[1-9][0-9]?$ ]] || wbc_fail "SCALE and HOURS are whole numbers above zero"
  wbc_packages_ensure build bench
  wbc_workspace_create bench
  wbc_workspace_enter test/bench/warmer.sh "$SCALE" "$HOURS"
  wbc_workspace_keep_results
fi
