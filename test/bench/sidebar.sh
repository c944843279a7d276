#!/usr/bin/env bash
# make bench, third part: the sidebar of 100,000 events, 50 sports and 2,000 leagues. Hot get_sidebar() with 8 clients, the
# direct query beside it, a refresh, and how soon a change is shown.
#
#   SECONDS_EACH=5   of each measurement with clients
#   BENCH_QUICK=1    a short run that shows that everything works; its figures mean little
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/bench/servers.sh
. "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

CLIENTS=8

sidebar_options() {
  [ "${BENCH_QUICK:-0}" = 0 ] || : "${SECONDS_EACH:=1}"
  : "${SECONDS_EACH:=5}"
  [[ $SECONDS_EACH =~ ^[1-9][0-9]{0,3}$ ]] || wbc_fail "SECONDS_EACH=$SECONDS_EACH is not a whole number above zero"
}

sidebar_psql() {
  wbc_psql pg-sidebar bench "$@"
}

sidebar_start() {
  wbc_instance_create pg-sidebar "shared_preload_libraries = 'wbcache'" "wbcache.databases = 'bench'" \
    "shared_buffers = '256MB'" "jit = off" "autovacuum = off"
  wbc_instance_add_database pg-sidebar bench
  wbc_instance_start pg-sidebar
  sidebar_psql -q -o /dev/null -f "$WBC_TOP/test/bench/sidebar.sql"
}

# sidebar_line LABEL RATE P99
sidebar_line() {
  printf '  %-46s %10s a second   99th percentile %9s ms\n' "$@"
}

# sidebar_clients LABEL STATEMENT [OPTION]...: requests a second and the 99th percentile of their latency, in ms; options
# are pgbench's. Each client has a thread of its own: with fewer threads one waits while the thread reads another's answer.
# Sets RATE.
sidebar_clients() {
  local dir=$WBC_WORK/pgbench label=$1 p99
  rm -rf "$dir" && mkdir "$dir"
  printf '\\set n random(0, 49)\n%s;\n' "$2" >"$dir/script.sql"
  shift 2
  (cd "$dir" && pgbench -n -M prepared -c $CLIENTS -j $CLIENTS -T "$SECONDS_EACH" -l "$@" -f script.sql -h "$WBC_WORK/pg-sidebar" -p 5432 -U postgres bench) \
    >"$dir/out" 2>"$dir/err" || {
    head -n 20 "$dir/err" >&2
    return 1
  }
  RATE=$(awk '/^tps/ { printf "%.1f", $3 }' "$dir/out")
  p99=$(cat "$dir"/pgbench_log.* | awk '{ print $3 }' | sort -n |
    awk '{ v[NR] = $1 } END { i = int(NR * 0.99); if (i < 1) i = 1; printf "%.3f", v[i] / 1000 }')
  sidebar_line "$label" "$RATE" "$p99"
}

# sidebar_compare LABEL ARGUMENT CONDITION: the direct query; a hot get_sidebar() at 100 times its rate, and at full speed.
sidebar_compare() {
  local direct
  sidebar_psql -q -o /dev/null -c "SELECT wbcache.get_sidebar() FROM generate_series(1, 2)" \
    -c "SELECT wbcache.get_sidebar('s' || n) FROM generate_series(0, 49) n"
  sidebar_clients "direct query, $1" "SELECT json_agg(s ORDER BY priority DESC) FROM wbcache.sidebar_now s $3"
  direct=$RATE
  sidebar_clients "get_sidebar, $1, at 100 times that rate" "SELECT wbcache.get_sidebar($2)" -R "$(awk -v r="$direct" 'BEGIN { print 100 * r }')"
  sidebar_clients "get_sidebar, $1, at full speed" "SELECT wbcache.get_sidebar($2)"
  awk -v a="$RATE" -v b="$direct" 'BEGIN { printf "  %-46s %10.0f times\n", "ratio", a / b }'
}

# sidebar_redis: the whole sidebar's bytes from Redis, at full speed.
sidebar_redis() {
  bench_redis_start
  sidebar_psql -c "SELECT wbcache.get_sidebar()" | redis-cli -s "$WBC_WORK/redis/socket" -x SET sidebar >/dev/null
  redis-benchmark -s "$WBC_WORK/redis/socket" -c $CLIENTS --threads $CLIENTS -n $((SECONDS_EACH * 10000)) --csv GET sidebar >"$WBC_WORK/redis/out"
  bench_redis_stop
  awk -F '"' -v label="the same bytes from Redis, at full speed" '$2 ~ /^GET/ { print label "|" $4 "|" $14 }' "$WBC_WORK/redis/out" | {
    IFS='|' read -r label rate p99
    sidebar_line "$label" "$rate" "$p99"
  }
}

sidebar_refreshes() {
  local n
  for _ in 1 2 3 4 5 6 7; do
    sidebar_psql -q -o /dev/null -c "UPDATE event SET status = CASE status WHEN 'live' THEN 'half' ELSE 'live' END WHERE id % 1000 = 7" \
      -c "SELECT wbcache.refresh_sidebar_data()"
  done
  sidebar_psql -c "SELECT format('  %-46s %s ms, at most %s ms', 'refresh after 100 changes, median of 7',
      round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1), round(max(ms)::numeric, 1))
    FROM (SELECT extract(epoch FROM duration) * 1000 AS ms FROM wbcache.sidebar_refresh_log ORDER BY started DESC LIMIT 7) l"
  sidebar_psql -c "DO \$\$ BEGIN PERFORM set_config('bench.t', clock_timestamp()::text, false); PERFORM wbcache.refresh_sidebar_data();
      PERFORM set_config('bench.t', (extract(epoch FROM clock_timestamp() - current_setting('bench.t')::timestamptz) * 1000)::text, false); END \$\$" \
    -c "SELECT format('  %-46s %s ms', 'refresh when nothing has changed', round(current_setting('bench.t')::numeric, 2))"
}

sidebar_changes() {
  sidebar_psql -q -c "CALL changes(25)" \
    -c "SELECT format('  %-46s %s ms, at most %s ms', 'change shown, ' || CASE WHEN whole THEN 'all' ELSE 'one sport' END || ', median of 25',
          round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1), round(max(ms), 1)) FROM shown GROUP BY whole ORDER BY whole"
}

sidebar_inside() {
  SECONDS_EACH=$1
  wbc_build
  wbc_tree_create
  sidebar_start
  cat <<END

Sidebar. 100,000 events, 50 sports, 2,000 leagues; Unix sockets, $CLIENTS clients of pgbench, prepared.
Machine:    $(bench_machine)
PostgreSQL: $(postgres --version), fsync=off, autovacuum=off, jit=off
Load of the machine before: $(cut -d ' ' -f 1 /proc/loadavg)

END
  sidebar_psql -c "SELECT format('  %-46s %s bytes; one sport %s; one league %s', 'size of the value: all', length(wbcache.get_sidebar()::text),
      length(wbcache.get_sidebar('s1')::text), length(wbcache.get_sidebar('s1', 'l1')::text))"
  sidebar_compare "one sport" "'s' || :n" "WHERE sport_id = 's' || :n"
  sidebar_compare "all" "" ""
  sidebar_redis
  sidebar_refreshes
  sidebar_changes
  wbc_instance_stop pg-sidebar
}

if [ -n "${WBC_INSIDE:-}" ]; then
  sidebar_inside "$@"
else
  sidebar_options
  wbc_packages_ensure build bench
  wbc_workspace_create bench
  wbc_workspace_enter test/bench/sidebar.sh "$SECONDS_EACH"
fi
