#!/usr/bin/env bash
# make stress: sessions that change, invalidate, set and read a few keys at once, until over a million answers were
# checked beside a transaction on the same key (see the head of stress.c). Then the same for a moment with copies of the
# extension from which a rule was taken out, which must be caught. The last line is "stress: passed" or
# "stress: failed", and so is the status.
#
#   SEED=1            makes the choices repeatable, though not what they meet
#   SESSIONS=8
#   OVERLAPS=1000000  answers beside a transaction on the same key; at least as many steps are made
#   COPIES=1          0: leave the copies out
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

# Steps that are enough to catch a copy.
STEPS_OF_COPY=40000

stress_options() {
  local name
  : "${SEED:=1}" "${SESSIONS:=8}" "${OVERLAPS:=1000000}" "${COPIES:=1}"
  for name in SEED SESSIONS OVERLAPS COPIES; do
    [[ ${!name} =~ ^[0-9]{1,9}$ ]] || wbc_fail "$name=${!name} is not a whole number"
  done
}

stress_build() {
  local log=$WBC_WORK/results/stress-build.log
  mkdir "$WBC_WORK/stress"
  make -C "$WBC_WORK/stress" -f "$WBC_TOP/test/stress/Makefile" \
    "PG_CONFIG=$(command -v "$(wbc_pg_config --bindir)/pg_config")" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    wbc_fail "the client of the stress test could not be built"
  }
}

# stress_instance NAME: with a database as setup.sql makes it.
stress_instance() {
  wbc_instance_create "$1" "shared_preload_libraries = 'wbcache'" "wbcache.databases = 'stress'" "wbcache.loaders = 4" \
    "autovacuum_naptime = '10s'"
  wbc_instance_add_database "$1" stress
  wbc_instance_start "$1"
  wbc_psql "$1" stress -o /dev/null -c 'CREATE EXTENSION wbcache' -c "CREATE SERVER api FOREIGN DATA WRAPPER wbcache_http
    OPTIONS (base_url 'http://127.0.0.1:$WBC_UPSTREAM_PORT/api/v3', breaker_failures '1000000')" \
    -c "CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (header 'X-Api-Key: $WBC_UPSTREAM_KEY')" \
    -f "$WBC_TOP/test/stress/setup.sql"
}

# stress_run NAME ARGUMENT...: the client against an instance of its own, with an upstream of its own.
stress_run() {
  local name=$1 status=0
  shift
  wbc_upstream_start "$WBC_WORK/results/upstream.log"
  stress_instance "$name"
  wbc_run "$WBC_WORK/stress/stress" -c "$SESSIONS" -s "$SEED" -e "$WBC_UPSTREAM_PORT" -k "$WBC_UPSTREAM_KEY" "$@" \
    "host=$WBC_WORK/$name port=5432 user=postgres dbname=stress" || status=$?
  wbc_instance_stop "$name"
  wbc_upstream_stop
  if grep -E 'was terminated by signal|PANIC:|TRAP:' "$WBC_WORK/$name/server.log"; then
    status=2
  fi
  return "$status"
}

# Copies of the extension: whether the client must find violations (its status is 1 then), a name, a file, and what sed
# does to it. The moment between a commit being visible and its invalidations is too short to be met by chance; the last
# two make it longer, one with and one without the announcement at pre-commit.
stress_copies() {
  cat <<'END'
1 no-generation-check   src/generation.c  /^wbc_generation_is_current/,/^}/s/return false;/continue;/
1 savepoints-survive    src/pending.c     s/^\t\t\tcut_subtransaction(.*/\t\t\tgive_to_parent(GetCurrentTransactionNestLevel());/
1 generations-read-late src/refresh.c     s/^\tparts->stamp = .*/\twbc_stamp_take(refresh->key, (WbcStamp *) \&refresh->stamp);\n&/
1 early-flights-shared  src/flight.c      /^may_join_under_way/,/^}/s/wbc_stamp_is_current(&line->key,/(true ||/
0 slow-commits          src/generation.c  s/^\treturn pg_atomic_fetch_add_u64(.*ONE_GENERATION - 1);/\tpg_usleep(500);\n&/
1 nothing-announced     src/generation.c  s/^\treturn pg_atomic_fetch_add_u64(.*ONE_GENERATION - 1);/\tpg_usleep(500);\n&/;s/ONE_GENERATION - 1);/ONE_GENERATION);/;s/\(&stripes\[stripe\]\), 1);/\1, 0);/
END
}

# stress_copy NAME FILE EDIT: builds that copy and puts its library in place of the good one.
stress_copy() {
  local copy=$WBC_WORK/copy-$1 log=$WBC_WORK/results/copy-$1.log
  cp -R "$WBC_TOP" "$copy"
  sed -i "$3" "$copy/$2"
  ! cmp -s "$WBC_TOP/$2" "$copy/$2" || wbc_fail "the edit for $1 changes nothing in $2"
  make -C "$copy" -s with_llvm=no "PG_CONFIG=$(wbc_pg_config --bindir)/pg_config" WERROR= all >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    wbc_fail "the copy $1 could not be built"
  }
  cp "$copy/wbcache.so" "$(pg_config --pkglibdir)/wbcache.so"
}

stress_run_copies() {
  local wanted name file edit status
  while read -r wanted name file edit; do
    wbc_say "== $name: violations are $([ "$wanted" -eq 1 ] && echo wanted || echo 'not wanted')"
    stress_copy "$name" "$file" "$edit"
    status=0
    stress_run "$name" -n "$STEPS_OF_COPY" 2>"$WBC_WORK/results/$name.txt" || status=$?
    head -n 2 "$WBC_WORK/results/$name.txt"
    if [ "$status" -ne "$wanted" ]; then
      wbc_say "not as wanted: $name"
      stress_failed=1
    fi
  done < <(stress_copies)
}

stress_inside() {
  stress_failed=0
  SEED=$1 SESSIONS=$2 OVERLAPS=$3
  wbc_build
  stress_build
  wbc_tree_create
  wbc_say "== stress"
  stress_run good -n "$OVERLAPS" -o "$OVERLAPS" || stress_failed=1
  [ "$4" -eq 0 ] || stress_run_copies
  [ "$stress_failed" -eq 0 ]
}

if [ -n "${WBC_INSIDE:-}" ]; then
  stress_inside "$@"
else
  stress_options
  wbc_packages_ensure build stress
  wbc_workspace_create stress
  if wbc_workspace_enter test/stress/stress.sh "$SEED" "$SESSIONS" "$OVERLAPS" "$COPIES"; then
    wbc_say "stress: passed"
  else
    wbc_workspace_keep_results
    wbc_say "stress: failed"
    exit 1
  fi
fi
