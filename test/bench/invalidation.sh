#!/usr/bin/env bash
# make bench, second part: what invalidation costs. All keys of a game, beside Redis with a SET of keys a game; and UPDATE
# of 100,000 rows of odds, with and without the triggers of wbcache.watch_odds().
#
#   ROUNDS=7        rounds of each measurement
#   BENCH_QUICK=1   a short run that shows that everything works; its figures mean little
#
# The table shows the median of the rounds with the lowest and the highest. A ratio is taken within a round, between two
# tables that were made anew just before; which comes first alternates.
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/bench/servers.sh
. "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

# How an UPDATE is named, what it sets, and how many times the plain one it may take.
UPDATES=("prices move|price = price * 1.2|1.5" "price set to what it was|price = price|1.3"
  "another column|line = line + 1|1.05")

invalidation_options() {
  if [ "${BENCH_QUICK:-0}" != 0 ]; then
    : "${ROUNDS:=2}" "${MOST_KEYS:=100000}"
  fi
  : "${ROUNDS:=7}" "${MOST_KEYS:=1000000}"
  [[ $ROUNDS =~ ^[1-9][0-9]{0,3}$ ]] || wbc_fail "ROUNDS=$ROUNDS is not a whole number above zero"
}

invalidation_postgres_start() {
  wbc_instance_create pg-bench "shared_preload_libraries = 'wbcache'" "wbcache.databases = ''" \
    "wbcache.memory_size = '2GB'" "wbcache.max_flights = 65536" "shared_buffers = '256MB'" "jit = off" "autovacuum = off" "checkpoint_timeout = '1h'" \
    "max_wal_size = '8GB'"
  wbc_instance_add_database pg-bench bench
  wbc_instance_start pg-bench
  wbc_psql pg-bench bench -o /dev/null -f "$WBC_TOP/test/bench/updates.sql" \
    -c "SELECT wbcache.create_endpoint('tagged', 'tagged:{game}:{id}', soft_ttl => '1 h',
      tags => ARRAY['game:{game}'])"
}

# Redis has no part in what only shows that wbcache doesn't care for the number. What is quickly measured is measured more
# often.
invalidation_tags() {
  local keys rounds socket
  for keys in 10 1000 100000 "$MOST_KEYS"; do
    socket=$WBC_WORK/redis/socket
    [ "$keys" -le 100000 ] || socket=none
    rounds=$ROUNDS
    [ "$keys" -gt 1000 ] || rounds=$((ROUNDS * 10))
    "$WBC_WORK/bench/bench_tag" "$keys" "$rounds" "host=$WBC_WORK/pg-bench user=postgres dbname=bench" "$socket"
  done
}

# invalidation_update WATCHED SET: the time in milliseconds of one UPDATE of a new table.
invalidation_update() {
  local watch=()
  [ "$1" = plain ] || watch=(-c "SELECT wbcache.watch_odds('odds', 'game_id', 'price')")
  wbc_psql pg-bench bench -o /dev/null -c "SET client_min_messages = warning" -c "SELECT fill_odds(100)" \
    -c "VACUUM ANALYZE odds" -c CHECKPOINT "${watch[@]}"
  wbc_psql pg-bench bench -c "SELECT timed('UPDATE odds SET $2')"
}

invalidation_updates() {
  local round each name what limit which order
  for ((round = 1; round <= ROUNDS; round++)); do
    order="plain watched"
    [ $((round % 2)) -eq 1 ] || order="watched plain"
    for each in "${UPDATES[@]}"; do
      IFS='|' read -r name what limit <<<"$each"
      for which in $order; do
        printf '%s|%s|%s|%s|%s\n' "$name" "$limit" "$round" "$which" "$(invalidation_update "$which" "$what")"
      done
    done
  done
}

invalidation_describe() {
  cat <<END

Invalidation. Values of 100 bytes, Unix sockets, one client.
Machine:    $(bench_machine)
PostgreSQL: $(postgres --version), fsync=off, autovacuum=off, jit=off
Redis:      $(bench_redis_exec --version | cut -d ' ' -f 1-3), save "", appendonly no
Rounds:     $ROUNDS; load of the machine before: $invalidation_load_before
END
}

invalidation_inside() {
  ROUNDS=$1 MOST_KEYS=$2
  wbc_build
  bench_build
  wbc_tree_create
  invalidation_postgres_start
  bench_redis_start
  invalidation_load_before=$(cut -d ' ' -f 1 /proc/loadavg)
  invalidation_tags >"$WBC_WORK/results/tags.txt"
  invalidation_updates >"$WBC_WORK/results/updates.txt"
  invalidation_describe
  awk -f "$WBC_TOP/test/bench/median.awk" -f "$WBC_TOP/test/bench/invalidation.awk" "$WBC_WORK/results/tags.txt"
  awk -F '|' -f "$WBC_TOP/test/bench/median.awk" -f "$WBC_TOP/test/bench/updates.awk" "$WBC_WORK/results/updates.txt"
  wbc_instance_stop pg-bench
}

if [ -n "${WBC_INSIDE:-}" ]; then
  invalidation_inside "$@"
else
  invalidation_options
  wbc_packages_ensure build bench
  wbc_workspace_create bench
  wbc_workspace_enter test/bench/invalidation.sh "$ROUNDS" "$MOST_KEYS"
fi
