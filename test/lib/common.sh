# shellcheck shell=bash
# What every script of the project starts with: messages, cleaning up, running a command that can be ended.
#
# A script (check, demo, bench) has two halves. The outer half runs as whoever called it: it installs packages, makes a
# work directory and copies the sources there (packages.sh, workspace.sh). The inner half is the same script again,
# started from that copy with WBC_INSIDE=1, never as root and with a clean environment: it builds, starts servers and
# measures (postgres.sh, upstream.sh). Nothing outside the work directory is written, and it is removed at the end.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
#   if [ -z "${WBC_INSIDE:-}" ]; then
#     wbc_packages_ensure build
#     wbc_workspace_create check
#     wbc_workspace_enter test/check.sh "$@"      # its status is the inner half's
#   else
#     wbc_build; wbc_tree_create; wbc_instance_create one ...; wbc_instance_start one
#   fi
#
# Functions are named wbc_<file>_<verb>, variables WBC_*; what starts with an underscore is used inside test/lib only.

set -euo pipefail

WBC_TOP=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # used by the files below
WBC_PG_MAJOR=15

_wbc_exit_commands=()
_wbc_job=

wbc_say() {
  printf '%s\n' "$*"
}

# Ends the script with one line that says what is wrong and what to do.
wbc_fail() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
  exit 1
}

# Runs COMMAND at exit, however the script ends; the last one registered runs first. It finds the exit status in
# $status: above 128 after a signal.
wbc_on_exit() {
  _wbc_exit_commands+=("$*")
}

_wbc_exit() {
  local status=$? i
  set +e
  trap '' INT TERM HUP
  trap - EXIT
  _wbc_job_end
  for ((i = ${#_wbc_exit_commands[@]} - 1; i >= 0; i--)); do
    eval "${_wbc_exit_commands[i]}"
  done
  exit "$status"
}

trap _wbc_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs a command (not a function) in a process group of its own and returns its status. If this script is interrupted,
# the whole group is ended first.
wbc_run() {
  local status=0
  setsid env --default-signal=INT,QUIT "$@" </dev/null &
  _wbc_job=$!
  wait "$_wbc_job" || status=$?
  _wbc_job=
  return "$status"
}

_wbc_job_end() {
  [ -n "$_wbc_job" ] || return 0
  kill -TERM -- "-$_wbc_job" 2>/dev/null || kill -TERM "$_wbc_job" 2>/dev/null
  wbc_wait 60 wbc_gone "$_wbc_job" || kill -KILL -- "-$_wbc_job" 2>/dev/null
  wait "$_wbc_job" 2>/dev/null
  _wbc_job=
}

# wbc_wait SECONDS COMMAND...: asks again until the command succeeds; fails when the time is over.
wbc_wait() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

# Is there a process PID (of whoever) that is not merely waiting to be collected?
wbc_alive() {
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
  [ -n "$state" ] && [ "$state" != Z ]
}

wbc_gone() {
  ! wbc_alive "$1"
}

# shellcheck source=test/lib/packages.sh
. "$WBC_TOP/test/lib/packages.sh"
# shellcheck source=test/lib/programs.sh
. "$WBC_TOP/test/lib/programs.sh"
# shellcheck source=test/lib/workspace.sh
. "$WBC_TOP/test/lib/workspace.sh"
# shellcheck source=test/lib/postgres.sh
. "$WBC_TOP/test/lib/postgres.sh"
# shellcheck source=test/lib/upstream.sh
. "$WBC_TOP/test/lib/upstream.sh"
