#!/usr/bin/env bash
# make bench: what an answer of wbcache costs, beside an empty C function, an indexed table and Redis.
#
#   ROUNDS=7          rounds; each measures every case once, and begins with another case than the one before
#   SECONDS_EACH=2    seconds a case is measured for in a round (0.2 s of warming up come before)
#   CLIENTS="1 8"     numbers of connections, one after the other
#   BENCH_QUICK=1     a short run that shows that everything works; its figures mean little
#
# One program (bench_client.c) drives all cases, over a Unix socket and over TCP on loopback. Ratios are taken within a
# round, between neighbours in time, and the table shows the median of the rounds with the lowest and the highest.
# PostgreSQL and Redis are private to this run and end with it.
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/bench/servers.sh
. "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

# In the order of measuring: what is compared is close together.
CASES=(get-binary table get empty redis get-fastpath empty-fastpath get_many mget)

bench_options() {
  local each
  if [ "${BENCH_QUICK:-0}" != 0 ]; then
    : "${ROUNDS:=2}" "${SECONDS_EACH:=0.2}"
  fi
  : "${ROUNDS:=7}" "${SECONDS_EACH:=2}" "${CLIENTS:=1 8}"
  [[ $ROUNDS =~ ^[1-9][0-9]{0,3}$ ]] || wbc_fail "ROUNDS=$ROUNDS is not a whole number above zero"
  [[ $SECONDS_EACH =~ ^[0-9]+(\.[0-9]+)?$ && $SECONDS_EACH =~ [1-9] ]] ||
    wbc_fail "SECONDS_EACH=$SECONDS_EACH is not a number above zero"
  for each in $CLIENTS; do
    [[ $each =~ ^[1-9][0-9]?$ ]] || wbc_fail "CLIENTS=$CLIENTS is not a list of numbers from 1 to 99"
  done
}

# The settings of the one server that all cases but those of Redis run on.
bench_settings() {
  cat <<END
shared_preload_libraries = 'wbcache'
wbcache.databases = 'bench'
listen_addresses = '127.0.0.1'
port = $1
shared_buffers = '128MB'
max_connections = 150
fsync = off
jit = off
autovacuum = off
checkpoint_timeout = '1h'
END
}

bench_psql() {
  psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$WBC_WORK/pg-bench" -p "$bench_pg_port" -U postgres -d bench "$@"
}

bench_postgres_start() {
  local lines
  bench_pg_port=$(bench_free_port)
  mapfile -t lines < <(bench_settings "$bench_pg_port")
  wbc_instance_create pg-bench "${lines[@]}"
  wbc_instance_add_database pg-bench bench
  wbc_instance_start pg-bench
  bench_psql -v "module=$WBC_WORK/bench/bench_empty" -f "$WBC_TOP/test/bench/setup.sql"
}

# bench_target CASE TRANSPORT: where bench_client is to connect to.
bench_target() {
  case $1:$2 in
    redis:unix | mget:unix) printf 'unix:%s\n' "$WBC_WORK/redis/socket" ;;
    redis:tcp | mget:tcp) printf 'tcp:127.0.0.1:%s\n' "$bench_redis_port" ;;
    *:unix) bench_conninfo "$WBC_WORK/pg-bench" reader ;;
    *:tcp) bench_conninfo 127.0.0.1 reader ;;
  esac
}

bench_conninfo() {
  printf 'host=%s port=%s user=%s dbname=bench connect_timeout=5 sslmode=disable gssencmode=disable\n' \
    "$1" "$bench_pg_port" "$2"
}

# Keys may share a stripe, one pair in a million; setting one of the two then takes out the value of the other. A
# thousand keys are half a million pairs, so more than a third of all choices of them won't do; another is tried then.
bench_load_wbcache() {
  local log=$WBC_WORK/results/bench-load.log
  for bench_first_key in 1 1001 2001 3001 4001 5001 6001 7001; do
    if bench_client -l get "$(bench_conninfo "$WBC_WORK/pg-bench" postgres)" 2>"$log"; then
      return
    fi
  done
  cat "$log" >&2
  return 1
}

bench_load() {
  bench_load_wbcache
  bench_client -l table "$(bench_conninfo "$WBC_WORK/pg-bench" postgres)"
  bench_client -l redis "$(bench_target redis unix)"
  bench_psql -c 'VACUUM (FREEZE, ANALYZE) kv' -c "SELECT wbcache.stat_reset()" >"$WBC_WORK/results/bench-load.log"
}

bench_client() {
  "$WBC_WORK/bench/bench_client" -k "$bench_first_key" "$@"
}

# bench_round NUMBER TRANSPORT CLIENTS: measures every case once; the line of each goes to standard output.
bench_round() {
  local i which result
  for ((i = 0; i < ${#CASES[@]}; i++)); do
    which=${CASES[(i + $1) % ${#CASES[@]}]}
    result=$(bench_client -c "$3" -t "$SECONDS_EACH" "$which" "$(bench_target "$which" "$2")")
    printf 'round=%s transport=%s %s\n' "$1" "$2" "$result"
  done
}

bench_measure() {
  local round transport clients
  wbc_say "measuring, for about $(bench_minutes) minutes" >&2
  for ((round = 1; round <= ROUNDS; round++)); do
    wbc_say "round $round of $ROUNDS" >&2
    for transport in unix tcp; do
      for clients in $CLIENTS; do
        bench_round "$round" "$transport" "$clients"
      done
    done
  done
}

# A quarter of a second goes to connecting and warming up.
bench_minutes() {
  local clients
  read -ra clients <<<"$CLIENTS"
  awk "BEGIN { printf \"%.1f\", $ROUNDS * ${#CASES[@]} * 2 * ${#clients[@]} * ($SECONDS_EACH + 0.25) / 60 }"
}

# What wbcache says of the reads: with a value for every key, all are to be hits.
bench_reads() {
  bench_psql -c "SELECT format('%s hits and %s others', hits, stale + misses + collapsed + bypasses + errors)
    FROM wbcache.stat_endpoint WHERE endpoint = 'bench'"
}

bench_describe() {
  local settings
  settings=$(bench_settings - | sed '/^port\|^listen\|^wbcache/d; s/ = /=/' | paste -s -d ' ')
  cat <<END

Values of 1 KB, 1,000 keys, one request on its way a connection; get_many and mget ask for 100 keys a request.
Machine:    $(bench_machine)
PostgreSQL: $(postgres --version), $settings
            asked by a role that is one of the endpoint's readers; wbcache counted $(bench_reads)
Redis:      $(bench_redis_exec --version | cut -d ' ' -f 1-3), save "", appendonly no
Rounds:     $ROUNDS, $SECONDS_EACH s a case; load of the machine before: $bench_load_before
END
}

bench_inside() {
  ROUNDS=$1 SECONDS_EACH=$2 CLIENTS=$3
  wbc_say "building, and starting PostgreSQL and Redis" >&2
  wbc_build
  bench_build
  wbc_tree_create
  bench_postgres_start
  bench_redis_start
  bench_load
  bench_load_before=$(cut -d ' ' -f 1 /proc/loadavg)
  bench_measure >"$WBC_WORK/results/bench.txt"
  bench_describe
  awk -f "$WBC_TOP/test/bench/median.awk" -f "$WBC_TOP/test/bench/report.awk" "$WBC_WORK/results/bench.txt"
  wbc_instance_stop pg-bench
}

if [ -n "${WBC_INSIDE:-}" ]; then
  bench_inside "$@"
else
  bench_options
  wbc_packages_ensure build bench
  wbc_workspace_create bench
  wbc_workspace_enter test/bench/bench.sh "$ROUNDS" "$SECONDS_EACH" "$CLIENTS"
fi
