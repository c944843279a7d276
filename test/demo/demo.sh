#!/usr/bin/env bash
# make demo: a private PostgreSQL with the extension, a test upstream, and the main job shown with measured figures.
# Both keep running afterwards, for looking around; make demo-stop ends them. FIXTURES=path takes the fixtures from a
# real schedule (nflverse CSV, openfootball JSON, or a folder of them).

# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/demo/place.sh
. "$(dirname "${BASH_SOURCE[0]}")/place.sh"
# shellcheck source=test/demo/story.sh
. "$(dirname "${BASH_SOURCE[0]}")/story.sh"

INSTANCE=db
DATABASE=demo
LATENCY_MS=300
kept=
told=

# The outer half

main() {
  local place
  [ -z "${FIXTURES:-}" ] || [ -r "$FIXTURES" ] || wbc_fail "FIXTURES: can't read $FIXTURES"
  place=$(demo_place)
  if demo_stop; then
    wbc_say "The demo that was running is stopped; this one takes its place."
  fi
  wbc_packages_ensure build demo
  wbc_on_exit give_up
  wbc_workspace_create_at "$place"
  wbc_workspace_enter test/demo/demo.sh || wbc_fail "the demo did not get through; nothing of it was left behind"
  kept=1
}

# A demo that didn't get through is not kept.
give_up() {
  [ -n "$kept" ] || demo_stop || :
}

# The inner half

main_inside() {
  wbc_on_exit show_logs
  wbc_say "Building the extension ..."
  wbc_build
  wbc_tree_create
  instance_begin
  upstream_begin --port 0
  database_begin
  story
  told=1
}

# What the server and the upstream had to say, if the story broke off by itself. The status is that of wbc_on_exit.
show_logs() {
  local file
  [ -z "$told" ] && [ "$status" -lt 128 ] || return 0
  for file in "$WBC_WORK/$INSTANCE/server.log" "$WBC_WORK/upstream.log"; do
    [ ! -s "$file" ] || { echo "--- end of $(basename "$file")" && tail -n 15 "$file"; } >&2
  done
}

instance_begin() {
  wbc_instance_create $INSTANCE "shared_preload_libraries = 'wbcache'" "wbcache.databases = '$DATABASE'"
  wbc_instance_add_database $INSTANCE $DATABASE
  wbc_instance_start $INSTANCE
  WBC_UPSTREAM_PARENT=$(head -n 1 "$WBC_WORK/$INSTANCE/data/postmaster.pid")
}

# upstream_begin ARGUMENT...: it lives as long as the server.
upstream_begin() {
  local options=(--latency "0.$LATENCY_MS" "$@")
  [ -z "${FIXTURES:-}" ] || options+=(--fixtures "$FIXTURES" --now mid-season)
  wbc_upstream_start "$WBC_WORK/upstream.log" "${options[@]}"
  printf '%s\n' "$WBC_UPSTREAM_PID" >"$WBC_WORK/upstream.pid"
}

database_begin() {
  sql -v base_url="http://127.0.0.1:$WBC_UPSTREAM_PORT/api/v3" -v header="X-Api-Key: $WBC_UPSTREAM_KEY" \
    -f "$WBC_TOP/test/demo/setup.sql" >/dev/null
}

if [ -n "${WBC_INSIDE:-}" ]; then
  main_inside
else
  main
fi
