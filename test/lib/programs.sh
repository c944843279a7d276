# shellcheck shell=bash
# Programs of Debian packages that are unpacked and not installed: Prometheus, promtool, the PostgreSQL exporter, and
# check_postgres. To install the packages would leave services running on this machine, and enabled. They are downloaded
# once by apt-get, which checks the signatures, into a cache of the caller's; what is in PATH already is used as it is.

WBC_PROGRAMS=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/wbcache/programs

_wbc_programs() {
  cat <<'END'
prometheus                    prometheus
prometheus                    promtool
prometheus-postgres-exporter  prometheus-postgres-exporter
check-postgres                check_postgres
END
}

# Makes them available, below WBC_PROGRAMS unless they are in PATH.
wbc_programs_ensure() {
  local package program missing=
  while read -r package program; do
    command -v "$program" >/dev/null || [ -x "$WBC_PROGRAMS/usr/bin/$program" ] || missing+="$package"$'\n'
  done < <(_wbc_programs)
  [ -n "$missing" ] || return 0
  mapfile -t missing < <(printf '%s' "$missing" | sort -u)
  wbc_say "unpacking, in $WBC_PROGRAMS: ${missing[*]}"
  mkdir -p "$WBC_PROGRAMS"
  for package in "${missing[@]}"; do
    _wbc_program_unpack "$package" || wbc_fail "could not get the programs of the Debian package $package; install them somewhere in PATH"
  done
}

_wbc_program_unpack() {
  local folder status=0
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
  folder=$(mktemp -d)
  _wbc_program_download "$folder" "$1" || { _wbc_packages_update && _wbc_program_download "$folder" "$1"; } || status=1
  [ "$status" -ne 0 ] || dpkg -x "$folder"/*.deb "$WBC_PROGRAMS" || status=1
  rm -r "$folder"
  return "$status"
}

_wbc_program_download() {
  (cd "$1" && apt-get -q -q download "$2" >/dev/null 2>&1 && ls ./*.deb >/dev/null 2>&1)
}

# Copies them to where the inner half of a script can read them; it has that folder at the end of its PATH.
wbc_programs_copy() {
  local program
  mkdir "$WBC_WORK/programs"
  while read -r _ program; do
    [ ! -x "$WBC_PROGRAMS/usr/bin/$program" ] || cp "$WBC_PROGRAMS/usr/bin/$program" "$WBC_WORK/programs/"
  done < <(_wbc_programs)
  chmod -R a+rX "$WBC_WORK/programs"
}
