# shellcheck shell=bash
# What the scripts of the benchmark share: building its programs, and a Redis server. Sourced after common.sh.

bench_free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

bench_build() {
  local log=$WBC_WORK/results/bench-build.log
  mkdir "$WBC_WORK/bench"
  make -C "$WBC_WORK/bench" -f "$WBC_TOP/test/bench/Makefile" with_llvm=no \
    "PG_CONFIG=$(command -v "$(wbc_pg_config --bindir)/pg_config")" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    wbc_fail "the benchmark's programs could not be built"
  }
}

# Becomes the Redis server, so only for a subshell. The program is in Debian's redis-tools; redis-server is another name
# for it, by which it knows what to be.
bench_redis_exec() {
  exec -a redis-server redis-check-rdb "$@"
}

# Sets bench_redis_port; its socket is WBC_WORK/redis/socket.
bench_redis_start() {
  local dir=$WBC_WORK/redis
  mkdir -m 700 "$dir"
  bench_redis_port=$(bench_free_port)
  cat >"$dir/redis.conf" <<END
bind 127.0.0.1
port $bench_redis_port
unixsocket $dir/socket
unixsocketperm 700
dir $dir
save ""
appendonly no
daemonize no
loglevel warning
END
  bench_redis_exec "$dir/redis.conf" </dev/null >"$dir/log" 2>&1 &
  bench_redis_pid=$!
  wbc_on_exit bench_redis_stop
  wbc_wait 20 test -S "$dir/socket" || {
    tail -n 20 "$dir/log" >&2
    wbc_fail "the Redis server did not start"
  }
}

bench_redis_stop() {
  kill -TERM "$bench_redis_pid" 2>/dev/null || return 0
  wbc_wait 10 wbc_gone "$bench_redis_pid" || kill -KILL "$bench_redis_pid" 2>/dev/null
}

# The machine, for the head of a report.
bench_machine() {
  printf '%s CPUs, %s, Linux %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)"
}
