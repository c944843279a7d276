# shellcheck shell=bash
# The test upstream (test/upstream/upstream.py): an HTTP API on loopback whose behaviour a test can choose.

WBC_UPSTREAM_KEY=test-key

# wbc_upstream_start LOG ARGUMENT...: on a free port unless --port is given. Sets WBC_UPSTREAM_PID and _PORT. It ends
# with the process WBC_UPSTREAM_PARENT (this script if unset).
wbc_upstream_start() {
  local log=$1 file
  shift
  file=$(mktemp -u "$WBC_WORK/tmp/port.XXXXXX")
  setsid python3 -B "$WBC_TOP/test/upstream/upstream.py" --port 0 --port-file "$file" --api-key "$WBC_UPSTREAM_KEY" \
    --parent-pid "${WBC_UPSTREAM_PARENT:-$$}" "$@" </dev/null >>"$log" 2>&1 &
  WBC_UPSTREAM_PID=$!
  wbc_wait 20 _wbc_upstream_settled "$file" || :
  if [ ! -s "$file" ]; then
    tail -n 20 "$log" >&2
    wbc_fail "the test upstream did not start"
  fi
  WBC_UPSTREAM_PORT=$(cat "$file")
  rm -f "$file"
}

# It listens, or it has given up.
_wbc_upstream_settled() {
  [ -s "$1" ] || wbc_gone "$WBC_UPSTREAM_PID"
}

wbc_upstream_stop() {
  kill -TERM "$WBC_UPSTREAM_PID" 2>/dev/null || return 0
  wbc_wait 10 wbc_gone "$WBC_UPSTREAM_PID" || kill -KILL "$WBC_UPSTREAM_PID"
}

# wbc_upstream_control 'behave?path=*&hang=1', 'counts', 'reset', ...: prints the answer.
wbc_upstream_control() {
  curl -sS --fail --noproxy '*' --max-time 10 "http://127.0.0.1:$WBC_UPSTREAM_PORT/control/$1"
}
