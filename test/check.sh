#!/usr/bin/env bash
# make check: builds the extension and runs all its tests on private instances. Nothing installed is changed, but for
# Debian packages that are missing. The last line is "N passed, N failed"; the status is 0 only if some test ran and
# none failed.
#
#   check.sh [regress | isolation | tap | upstream]...    only these parts (default: all)
#
#   regress    test/sql/*.sql against expected/*.out, one after the other in one database. The extension is loaded,
#              \getenv port WBC_UPSTREAM_PORT names a running test upstream (key in WBC_UPSTREAM_KEY), and
#              test/lib/database.sql says what else there is.
#   isolation  test/specs/*.spec against expected/*.out, the same in a database of its own
#   tap        test/t/*.pl
#   upstream   test/upstream/test_upstream.py
#
# What counts as one test: an SQL file, an isolation spec, a test point of a TAP file, a unit test in Python, the build,
# and that the instance of the SQL and isolation tests neither crashed nor refused to stop. One failure each: a name in
# TESTS that is a test of none of the parts, a file in PROVE_TESTS that isn't there, a part that has no tests or whose
# program fails though none of its tests does.
#
# Prometheus, promtool and the PostgreSQL exporter are unpacked in the caller's cache (lib/programs.sh), for tap.
#
# Environment: TESTS="name ..." for regress and isolation; PROVE_TESTS="test/t/NNN_name.pl ...", PROVE_FLAGS=-v,
# PROVE_JOBS=N and WBC_TEST_TIMEOUT=seconds for tap. On failure logs and differences are in tmp_check/.
# Inside, WBCACHE_SHARED_DATA names the folder of real schedules, where there is one; TAP files find in WBC_PG_CONFIG a
# pg_config with which programs can be built.

# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

PARTS=(regress isolation tap upstream)
INSTANCE=regress
DATABASES=(wbcache_regress wbcache_isolation)

# The outer half

main() {
  local part counts passed failed broken=0
  for part in "$@"; do
    case " ${PARTS[*]} " in
      *" $part "*) ;;
      *) wbc_fail "no part \"$part\"; there are: ${PARTS[*]}" ;;
    esac
  done
  [ "$#" -gt 0 ] || set -- "${PARTS[@]}"
  wbc_packages_ensure build check
  wbc_workspace_create check
  case " $* " in
    *" tap "*) wbc_programs_ensure; wbc_programs_copy ;;
  esac
  wbc_workspace_enter test/check.sh "$@" || broken=1
  counts=$(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$WBC_WORK/counts" 2>/dev/null) || counts="0 0"
  passed=${counts% *} failed=${counts#* }
  # It broke off somewhere without counting that.
  [ "$broken" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
  finish
}

finish() {
  if [ "$failed" -eq 0 ]; then
    rm -rf "$WBC_TOP/tmp_check" 2>/dev/null || :
  else
    wbc_workspace_keep_results
  fi
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# The inner half

main_inside() {
  local part
  WBC_RESULTS=$WBC_WORK/results
  wbc_say "== build"
  if ! wbc_build; then
    count 0 1
    return 1
  fi
  count 1 0
  wbc_tree_create
  check_names "$@"
  for part in "$@"; do
    "run_$part"
  done
  instance_end
}

# count PASSED FAILED: added up by the outer half.
count() {
  printf '%d %d\n' "$1" "$2" >>"$WBC_WORK/counts"
}

# fail_one MESSAGE
fail_one() {
  wbc_say "== $*"
  count 0 1
}

# check_names PART...: what TESTS and PROVE_TESTS ask for must be there. A name in TESTS may be of any of these parts.
check_names() {
  local part word words known=() folders=()
  for part in "$@"; do
    case $part in
      regress) folders+=(test/sql) known+=(test/sql/*.sql) ;;
      isolation) folders+=(test/specs) known+=(test/specs/*.spec) ;;
      tap) check_tap_files ;;
    esac
  done
  [ "${#folders[@]}" -gt 0 ] || return 0
  known=("${known[@]##*/}")
  mapfile -td ' ' words < <(printf '%s' "${TESTS:-}")
  for word in "${words[@]}"; do
    [ -n "$word" ] || continue
    case " ${known[*]%.*} " in
      *" $word "*) ;;
      *) fail_one "no test \"$word\" in ${folders[*]}" ;;
    esac
  done
}

check_tap_files() {
  local file
  # shellcheck disable=SC2086
  for file in ${PROVE_TESTS:-}; do
    [ -e "$file" ] || fail_one "no file \"$file\""
  done
}

# names FOLDER SUFFIX: the tests of a folder, or those of TESTS that are in it.
names() {
  local file name
  for file in "test/$1"/*."$2"; do
    [ -e "$file" ] || continue
    name=$(basename "$file" ".$2")
    case " ${TESTS:-$name} " in
      *" $name "*) printf '%s\n' "$name" ;;
    esac
  done
}

run_regress() {
  run_driver regress sql sql "$WBC_PGXS/src/test/regress/pg_regress" "${DATABASES[0]}"
}

run_isolation() {
  run_driver isolation specs spec "$WBC_PGXS/src/test/isolation/pg_isolation_regress" "${DATABASES[1]}"
}

# run_driver PART FOLDER SUFFIX PROGRAM DATABASE: all tests of a part through pg_regress or its sister.
run_driver() {
  local out=$WBC_RESULTS/$1 tests options passed failed status=0
  mapfile -t tests < <(names "$2" "$3")
  if [ "${#tests[@]}" -eq 0 ]; then
    no_tests "$1" "${TESTS:-}"
    return
  fi
  wbc_say "== $1"
  if ! instance_begin; then
    count 0 "${#tests[@]}"
    return
  fi
  mkdir -p "$out"
  # 15 looks for expected/ in the output directory, 16 and later where --expecteddir says.
  cp -R expected "$out/"
  options=("--inputdir=test" "--outputdir=$out" "--bindir=$WBC_BIN" "--host=$WBC_WORK/$INSTANCE" --port=5432
    --user=postgres --use-existing "--dbname=$5")
  ! "$4" --help | grep -q expecteddir || options+=("--expecteddir=$out")
  wbc_run env PGISOLATIONTIMEOUT=60 timeout --foreground -k 10 "${WBC_TEST_TIMEOUT:-600}" "$4" "${options[@]}" "${tests[@]}" ||
    status=$?
  passed=${#tests[@]}
  [ "$status" -eq 0 ] || passed=$(driver_passed "$out")
  failed=$((${#tests[@]} - passed))
  rm -r "$out/expected"
  [ ! -s "$out/regression.diffs" ] || head -n 400 "$out/regression.diffs"
  count "$passed" "$failed"
  check_status "$1" "$status" "$failed"
}

# no_tests PART ASKED_FOR: that is as it should be only where others were asked for.
no_tests() {
  if [ -n "${2// /}" ]; then
    wbc_say "== $1: no tests"
  else
    fail_one "$1: no tests"
  fi
}

# check_status PART STATUS FAILED: of the program that has run the tests.
check_status() {
  [ "$2" -eq 0 ] || [ "$3" -gt 0 ] || fail_one "$1: no test has failed, but the status is $2"
}

# The protocol is kept only after a failure. It says "test name ... ok 12 ms" in 15, "ok 1 - name 12 ms" later.
driver_passed() {
  [ -e "$1/regression.out" ] || echo 0
  grep -cE '^(test +[^ ]+ +\.\.\. ok|ok [0-9]+ )' "$1/regression.out" 2>/dev/null || :
}

# The instance that the SQL and isolation tests share, started by whichever comes first, and its upstream. Who sets
# synchronous_commit to on holds its commit open: there is no such standby.
instance_begin() {
  [ ! -d "$WBC_WORK/$INSTANCE" ] || return 0
  wbc_instance_create $INSTANCE "shared_preload_libraries = 'wbcache'" \
    "wbcache.databases = '${DATABASES[0]}, ${DATABASES[1]}'" "max_prepared_transactions = 2" "max_worker_processes = 16" \
    "synchronous_standby_names = 'nobody'" "synchronous_commit = local" &&
    wbc_instance_add_database $INSTANCE "${DATABASES[@]}" &&
    wbc_instance_start $INSTANCE || return 1
  wbc_upstream_start "$WBC_WORK/$INSTANCE/upstream.log"
  export WBC_UPSTREAM_PORT WBC_UPSTREAM_KEY
  database_begin "${DATABASES[0]}" && database_begin "${DATABASES[1]}"
}

database_begin() {
  wbc_psql $INSTANCE "$1" -o /dev/null -v port="$WBC_UPSTREAM_PORT" -v key="$WBC_UPSTREAM_KEY" \
    -c "CREATE EXTENSION wbcache" -f test/lib/database.sql
}

instance_end() {
  local log=$WBC_WORK/$INSTANCE/server.log failed=0
  [ -d "$WBC_WORK/$INSTANCE" ] || return 0
  wbc_instance_stop $INSTANCE || failed=1
  [ -z "${WBC_UPSTREAM_PID:-}" ] || wbc_upstream_stop
  if grep -E 'was terminated by signal|PANIC:|TRAP:' "$log"; then
    failed=1
  fi
  [ "$failed" -eq 0 ] || wbc_say "the instance of the SQL and isolation tests crashed or did not stop"
  count $((1 - failed)) "$failed"
  cp "$WBC_WORK/$INSTANCE"/*.log "$WBC_RESULTS/"
}

run_tap() {
  local files dir=$WBC_RESULTS/tap file
  mapfile -t files < <(tap_files)
  if [ "${#files[@]}" -eq 0 ]; then
    no_tests tap "${PROVE_TESTS:-}"
    return
  fi
  wbc_say "== tap"
  mkdir -p "$dir"
  file=$WBC_WORK/tap.counts
  wbc_run env "TESTDIR=$dir" "TESTDATADIR=$dir/tmp_check" "TESTLOGDIR=$dir/tmp_check/log" PGPORT=65432 \
    "PATH=$PATH:$WBC_WORK/programs" \
    "PG_REGRESS=$WBC_PGXS/src/test/regress/pg_regress" "WBC_PG_CONFIG=$(wbc_pg_config --bindir)/pg_config" \
    perl -I "$WBC_PGXS/src/test/perl" -I "$WBC_TOP/test/t" "$WBC_TOP/test/lib/tap.pl" \
    "$file" "$dir/tmp_check/log" "${files[@]}" || :
  if [ -s "$file" ]; then
    # shellcheck disable=SC2046
    count $(cat "$file")
  else
    count 0 "${#files[@]}"
  fi
}

tap_files() {
  local file
  # shellcheck disable=SC2086
  for file in ${PROVE_TESTS:-test/t/*.pl}; do
    [ ! -e "$file" ] || printf '%s\n' "$file"
  done
}

# unittest ends with "Ran N tests in ...", and then "OK" or "FAILED (failures=1, errors=2)".
run_upstream() {
  local log=$WBC_RESULTS/upstream_test.log ran bad status=0
  wbc_say "== upstream"
  wbc_run timeout --foreground -k 10 "${WBC_TEST_TIMEOUT:-600}" python3 -B test/upstream/test_upstream.py \
    >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || cat "$log"
  tail -n 3 "$log" | grep -E '^(Ran|OK|FAILED)' || :
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} .*/\1/p' "$log")
  bad=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | tr ',' '\n' |
    awk -F= '$1 ~ /^ *(failures|errors|unexpected successes)$/ { n += $2 } END { print n + 0 }')
  if [ "${ran:-0}" -eq 0 ]; then
    fail_one "upstream: no test has run"
    return
  fi
  count $((ran > bad ? ran - bad : 0)) "$bad"
  check_status upstream "$status" "$bad"
}

if [ -n "${WBC_INSIDE:-}" ]; then
  main_inside "$@"
else
  main "$@"
fi
