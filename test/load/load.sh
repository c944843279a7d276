#!/usr/bin/env bash
# make loadtest: clients that read odds and props of games by chance, popular ones most (Zipf), while live games change and
# an upstream with real latency and a rate limit goes down in the middle and comes back. Prints a table of what the cache
# did in each phase, and writes a chart over time (SVG).
#
#   DURATION=150             seconds in all: a tenth cold, then warm; from 45 to 65 % the upstream is down
#   CLIENTS=64 RATE=2000     connections, and the reads a second that they start together
#   GAMES=500 LIVE=40        games, two keys each; the most popular ones are live
#   CHANGES=10               changes of live games a second: prices, and one in twenty a status
#   LATENCY=0.15 JITTER=0.15 of the upstream: seconds for an answer, and up to so many more
#   RATE_LIMIT=1500/15s      what the upstream allows
#   ON_INVALIDATE=expire     odds of before a change are served as stale until the new ones are there; remove: never again, which
#                            means errors while the upstream is down
#   CHART=loadtest.svg       where the chart goes
#   LOADTEST_QUICK=1         a short run that shows that everything works; its figures mean little
#
# The status is 0 if the hit ratio of the whole run, failure included, is above 95 %. Sampled each second: the statistics
# views and the upstream's own count of its requests (sample.py); durations are those that pgbench has logged of each read
# (report.py). The servers are private to this run and end with it.
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

load_options() {
  local each
  if [ "${LOADTEST_QUICK:-0}" != 0 ]; then
    : "${DURATION:=30}" "${GAMES:=100}" "${LIVE:=10}" "${RATE:=1000}" "${CHANGES:=5}"
  fi
  : "${DURATION:=150}" "${CLIENTS:=64}" "${RATE:=2000}" "${GAMES:=500}" "${LIVE:=40}" "${CHANGES:=10}"
  : "${LATENCY:=0.15}" "${JITTER:=0.15}" "${RATE_LIMIT:=1500/15s}" "${ON_INVALIDATE:=expire}" "${CHART:=loadtest.svg}"
  for each in DURATION CLIENTS RATE GAMES LIVE CHANGES; do
    [[ ${!each} =~ ^[1-9][0-9]{0,5}$ ]] || wbc_fail "$each=${!each} is not a whole number above zero"
  done
  for each in LATENCY JITTER; do
    [[ ${!each} =~ ^[0-9]{1,2}(\.[0-9]{1,3})?$ ]] || wbc_fail "$each=${!each} is not a number of seconds"
  done
  [[ $RATE_LIMIT =~ ^[1-9][0-9]{0,6}/[1-9][0-9]{0,3}s$ ]] || wbc_fail "RATE_LIMIT=$RATE_LIMIT is not of the form 1500/15s"
  [[ $ON_INVALIDATE =~ ^(remove|expire)$ ]] || wbc_fail "ON_INVALIDATE=$ON_INVALIDATE is neither remove nor expire"
  [ "$DURATION" -ge 20 ] || wbc_fail "DURATION=$DURATION is too short; 20 s is the least"
  [ "$CLIENTS" -le 140 ] || wbc_fail "CLIENTS=$CLIENTS is more than the server allows; 140 is the most"
  [ "$LIVE" -le "$GAMES" ] || wbc_fail "LIVE=$LIVE is more than GAMES=$GAMES"
  _load_variables=(DURATION CLIENTS RATE GAMES LIVE CHANGES LATENCY JITTER RATE_LIMIT ON_INVALIDATE)
}

load_psql() {
  wbc_psql pg-load load "$@"
}

# load_upstream ARGUMENT...
load_upstream() {
  wbc_upstream_start "$WBC_WORK/results/upstream.log" --latency "$LATENCY" --jitter "$JITTER" "$@"
}

# How long values are fresh goes by the length of the run, so that each phase sees many refreshes.
load_servers_start() {
  wbc_instance_create pg-load "shared_preload_libraries = 'wbcache'" "wbcache.databases = 'load'" \
    "wbcache.invalidation_alert_rate = 0" "shared_buffers = '128MB'" "jit = off"
  wbc_instance_add_database pg-load load
  wbc_instance_start pg-load
  load_upstream
  load_psql -o /dev/null -v "port=$WBC_UPSTREAM_PORT" -v "key=$WBC_UPSTREAM_KEY" -v "rate_limit=$RATE_LIMIT" \
    -v "games=$GAMES" -v "live=$LIVE" -v "ttl=$((DURATION / 10))" -v "on_invalidate=$ON_INVALIDATE" -f "$WBC_TOP/test/load/setup.sql"
  load_psql -o /dev/null -c "SELECT wbcache.stat_reset()"
}

# load_pgbench SCRIPT OPTION...: in the background; its process is added to _load_pids. It logs each transaction.
load_pgbench() {
  local script=$1
  shift
  pgbench -n -M prepared -T "$DURATION" -D "games=$GAMES" -D "live_games=$LIVE" -f "$WBC_TOP/test/load/$script.sql" \
    -h "$WBC_WORK/pg-load" -p 5432 -U postgres "$@" load >"$WBC_WORK/results/$script.log" 2>&1 &
  _load_pids+=($!)
}

load_sampler_start() {
  python3 -B "$WBC_TOP/test/load/sample.py" "$WBC_WORK/pg-load" load \
    "http://127.0.0.1:$WBC_UPSTREAM_PORT/control/counts?path=none" >"$WBC_WORK/results/samples.txt" \
    2>"$WBC_WORK/results/sampler.log" &
  _load_sampler=$!
  _load_pids+=("$_load_sampler")
  wbc_wait 20 test -s "$WBC_WORK/results/samples.txt" || wbc_fail "no sample of the statistics; see sampler.log"
}

load_end() {
  kill "${_load_pids[@]}" 2>/dev/null
}

# load_event NAME [VALUE]...: a line for report.py.
load_event() {
  local name=$1
  shift
  printf '%s %s %s\n' "$name" "$(date +%s.%N)" "$*" >>"$WBC_WORK/results/events.txt"
}

# load_until PERCENT: of the run, since it began.
load_until() {
  wbc_wait "$DURATION" _load_is_over "$1" || :
}

_load_is_over() {
  [ $(($(date +%s%3N) - _load_began)) -ge $((DURATION * $1 * 10)) ]
}

# What the upstream has counted ends with it.
load_upstream_down() {
  load_event down "$(wbc_upstream_control 'counts?path=none' | sed -n 's/.*"total": *\([0-9]*\).*/\1/p')"
  wbc_upstream_stop
}

load_run() {
  local reads
  _load_pids=()
  wbc_on_exit load_end
  load_sampler_start
  _load_began=$(date +%s%3N)
  load_event began
  load_pgbench change -c 1 -R "$CHANGES"
  load_pgbench read -c "$CLIENTS" -j 2 -R "$RATE" -l --log-prefix="$WBC_WORK/results/read"
  reads=$!
  load_until 45
  load_upstream_down
  load_until 65
  load_upstream --port "$WBC_UPSTREAM_PORT"
  load_event up
  wait "$reads" || wbc_fail "the reads failed: $(grep -m 1 error "$WBC_WORK/results/read.log")"
  load_event ended
  kill "$_load_sampler"
  load_psql -F ' ' -c "SELECT sqlstate, count(*), min(message) FROM load.error GROUP BY 1 ORDER BY 2 DESC" >"$WBC_WORK/results/errors.txt"
  load_psql -F ' ' -c "SELECT operation, sum(count), max(p50_ms), max(p99_ms) FROM wbcache.stat_latency WHERE endpoint = 'odds' AND count > 0
    GROUP BY operation" >"$WBC_WORK/results/latency.txt"
}

load_describe() {
  cat <<END

Load test. $RATE reads a second of $((GAMES * 2)) keys and the sidebar by $CLIENTS clients, Zipf 1.1; $CHANGES changes a second of $LIVE live games.
Upstream:   $LATENCY s for an answer, up to $JITTER s more by chance; $RATE_LIMIT allowed
Values:     odds are fresh for $((DURATION / 10)) s, props for $((DURATION / 5)) s; on_invalidate: $ON_INVALIDATE for odds, expire for props
Machine:    $(nproc) CPUs,$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo | head -n 1); load before: $_load_before
PostgreSQL: $(postgres --version), fsync=off, jit=off

END
}

load_inside() {
  local each
  for each in "$@"; do
    declare -g "$each"
  done
  wbc_build
  wbc_tree_create
  load_servers_start
  _load_before=$(cut -d ' ' -f 1 /proc/loadavg)
  wbc_say "running for $DURATION s ..." >&2
  load_run
  wbc_instance_stop pg-load
  wbc_upstream_stop
  load_describe
  python3 -B "$WBC_TOP/test/load/report.py" "$WBC_WORK/results" "$RATE_LIMIT" "$WBC_WORK/results/loadtest.svg"
}

load_outside() {
  local each status=0 arguments=()
  load_options
  for each in "${_load_variables[@]}"; do
    arguments+=("$each=${!each}")
  done
  wbc_packages_ensure build
  wbc_workspace_create load
  wbc_workspace_enter test/load/load.sh "${arguments[@]}" || status=$?
  [ -s "$WBC_WORK/results/loadtest.svg" ] || exit "$status"
  cp "$WBC_WORK/results/loadtest.svg" "$CHART"
  wbc_say "chart: $(readlink -f "$CHART")"
  exit "$status"
}

if [ -n "${WBC_INSIDE:-}" ]; then
  load_inside "$@"
else
  load_outside
fi
