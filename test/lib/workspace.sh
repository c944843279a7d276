# shellcheck shell=bash
# The work directory of a run (WBC_WORK), and the way from the outer half of a script into its inner half.
#
#   checkout/     a copy of the sources; the inner half runs and builds here, so a checkout may be read-only, or
#                 unreadable to the user the servers run as
#   shared/data/  a copy of the real schedules, as seen from checkout/, where there are any
#   pg/           a private copy of the installed PostgreSQL with the extension in it (postgres.sh)
#   <instance>/   data/, server log and socket of one instance
#   results/      what is worth keeping when a test fails
#   tmp/, home/   TMPDIR and HOME of everything in the inner half
#
# The user: whoever called, but postgres when that is root, because PostgreSQL refuses to run as root.

# Variables of the caller that reach the inner half; everything else is left behind, above all PG*, LC_* and proxies.
_wbc_passed=(TERM PG_CONFIG WERROR TESTS PROVE_TESTS PROVE_FLAGS PROVE_JOBS PG_TEST_TIMEOUT_DEFAULT WBC_TEST_TIMEOUT)

# Makes WBC_WORK below a temporary directory and copies the sources. It is removed at exit, its servers stopped.
wbc_workspace_create() {
  local base
  base=$(_wbc_temporary_directory)
  WBC_WORK=$(mktemp -d "$base/wbcache-$1.XXXXXX")
  wbc_on_exit "wbc_workspace_remove '$WBC_WORK'"
  _wbc_workspace_fill
}

# The same at a fixed place, which stays after the script; the place must not exist.
wbc_workspace_create_at() {
  WBC_WORK=$1
  mkdir -m 700 "$WBC_WORK" || wbc_fail "could not make $WBC_WORK"
  _wbc_workspace_fill
}

_wbc_workspace_fill() {
  local shared=${WBCACHE_SHARED_DATA:-$WBC_TOP/../shared/data}
  mkdir "$WBC_WORK"/{checkout,checkout/src,tmp,home,results}
  cp "$WBC_TOP"/{Makefile,*.control,README.md,RUNBOOK.md} "$WBC_WORK/checkout"
  cp "$WBC_TOP"/src/*.[ch] "$WBC_WORK/checkout/src"
  cp -R "$WBC_TOP"/{sql,monitoring,test} "$WBC_WORK/checkout"
  [ ! -d "$WBC_TOP/expected" ] || cp -R "$WBC_TOP/expected" "$WBC_WORK/checkout"
  [ ! -d "$shared" ] || { mkdir "$WBC_WORK/shared" && cp -R "$shared" "$WBC_WORK/shared/data"; }
  if [ -n "${FIXTURES:-}" ]; then
    mkdir "$WBC_WORK/fixtures"
    cp -R "$FIXTURES" "$WBC_WORK/fixtures/"
  fi
  chmod -R u+w "$WBC_WORK"
  [ "$(id -u)" -ne 0 ] || chown -R "$(wbc_user):" "$WBC_WORK"
}

# wbc_workspace_enter SCRIPT ARGUMENT...: runs the script's inner half and returns its status.
wbc_workspace_enter() {
  local user become=() variables name
  user=$(wbc_user)
  if [ "$(id -u)" -eq 0 ]; then
    become=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --init-groups)
  fi
  variables=("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8 "USER=$user" "LOGNAME=$user"
    "HOME=$WBC_WORK/home" "TMPDIR=$WBC_WORK/tmp" WBC_INSIDE=1 "WBC_WORK=$WBC_WORK")
  for name in "${_wbc_passed[@]}"; do
    [ -z "${!name+set}" ] || variables+=("$name=${!name}")
  done
  [ ! -d "$WBC_WORK/shared" ] || variables+=("WBCACHE_SHARED_DATA=$WBC_WORK/shared/data")
  [ -z "${FIXTURES:-}" ] || variables+=("FIXTURES=$WBC_WORK/fixtures/$(basename "$FIXTURES")")
  wbc_run env -C "$WBC_WORK/checkout" "${become[@]}" env -i "${variables[@]}" bash "$@"
}

# Copies results/ into tmp_check/ of the checkout, or to a place of its own where the checkout can't be written.
wbc_workspace_keep_results() {
  local target=$WBC_TOP/tmp_check
  if [ -w "$WBC_TOP" ]; then
    rm -rf "$target"
    mkdir "$target"
  else
    target=$(mktemp -d "/tmp/wbcache-results.XXXXXX")
  fi
  # Data directories of failed TAP tests are large and stay behind.
  tar -C "$WBC_WORK/results" --exclude='*_data' -cf - . | tar -C "$target" --no-same-owner -xf -
  [ "$(id -u)" -ne 0 ] || chown -R --reference="$WBC_TOP" "$target"
  wbc_say "logs and differences: $target"
}

# wbc_workspace_remove DIRECTORY: stops every server that runs on a data directory below it, and removes all of it.
wbc_workspace_remove() {
  local file
  while IFS= read -r file; do
    wbc_postmaster_stop "$(dirname "$file")"
  done < <(find "$1" -name postmaster.pid 2>/dev/null)
  rm -rf "$1"
}

# Prints the name of the user of the inner half.
wbc_user() {
  if [ "$(id -u)" -ne 0 ]; then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

# Prints a directory for temporary files from which programs can be run by the user of the inner half, and whose name
# leaves room for a socket below it (107 bytes in all).
_wbc_temporary_directory() {
  local each
  for each in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    if [ "${#each}" -le 30 ] && _wbc_can_run_in "$each"; then
      printf '%s\n' "$each"
      return
    fi
  done
  wbc_fail "no temporary directory allows running programs in it (tried ${TMPDIR:-/tmp}, /tmp, /var/tmp)"
}

_wbc_can_run_in() {
  local probe status=0
  probe=$(mktemp "$1/wbcache-probe.XXXXXX" 2>/dev/null) || return 1
  printf '#!/bin/sh\n' >"$probe"
  chmod 755 "$probe"
  if [ "$(id -u)" -eq 0 ]; then
    setpriv "--reuid=$(wbc_user)" --clear-groups "$probe" 2>/dev/null || status=1
  else
    "$probe" 2>/dev/null || status=1
  fi
  rm -f "$probe"
  return "$status"
}
