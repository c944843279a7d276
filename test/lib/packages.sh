# shellcheck shell=bash
# Installs the Debian packages a script needs, and nothing when what they bring is there already.
#
# A package is missing when its probe fails, so that another package, or a PostgreSQL named by PG_CONFIG, may bring the
# same thing. Nothing is ever removed or upgraded.

# A missing server package would create and start a cluster "main" when it is installed. While ours runs, this file
# tells it not to; it is taken away again afterwards.
_wbc_guard=/etc/postgresql-common/createcluster.d/wbcache-install.conf
_wbc_guard_is_set=

# wbc_packages_ensure SET...: each of build, check, demo, bench, stress.
wbc_packages_ensure() {
  local missing
  mapfile -t missing < <(_wbc_packages_missing "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  _wbc_packages_install "${missing[@]}"
  mapfile -t missing < <(_wbc_packages_missing "$@")
  [ "${#missing[@]}" -eq 0 ] || wbc_fail "installed, but still not usable: ${missing[*]}"
}

# Prints the packages of the sets whose probe fails, one a line, each once.
_wbc_packages_missing() {
  local set package probe
  for set in "$@"; do
    while read -r package probe; do
      [ -n "$package" ] || continue
      eval "$probe" >/dev/null 2>&1 || printf '%s\n' "$package"
    done < <("_wbc_packages_of_$set")
  done | awk '!seen[$0]++'
}

_wbc_packages_of_build() {
  cat <<'END'
gcc                      command -v cc || command -v gcc
libc6-dev                test -e /usr/include/stdio.h
make                     command -v make
postgresql-15            test "$(wbc_pg_major)" -ge 15 && test -x "$(wbc_pg_config --bindir)/initdb"
postgresql-client-15     test -x "$(wbc_pg_config --bindir)/psql"
postgresql-server-dev-15 test -e "$(wbc_pg_config --pgxs)" && test -e "$(wbc_pg_config --includedir-server)/postgres.h"
libcurl4-openssl-dev     curl-config --version
curl                     command -v curl
python3                  python3 -c "import http.server, json, urllib.request"
ca-certificates          test -e /etc/ssl/certs/ca-certificates.crt
END
}

_wbc_packages_of_demo() {
  :
}

_wbc_packages_of_check() {
  cat <<'END'
perl                     perl -MTest::More -MTAP::Harness -MTime::HiRes -e 1
libipc-run-perl          perl -MIPC::Run -e 1
postgresql-15-cron       test "$(wbc_pg_major)" -ne 15 || test -e "$(wbc_pg_config --sharedir)/extension/pg_cron.control"
libpq-dev                test -e "$(wbc_pg_config --includedir)/libpq-fe.h"
END
}

_wbc_packages_of_stress() {
  cat <<'END'
libpq-dev                test -e "$(wbc_pg_config --includedir)/libpq-fe.h"
END
}

# redis-tools holds the server program as well (bench.sh knows how to call it); the package redis-server would start a service.
_wbc_packages_of_bench() {
  cat <<'END'
redis-tools              command -v redis-check-rdb
libhiredis-dev           test -e /usr/include/hiredis/hiredis.h
libpq-dev                test -e "$(wbc_pg_config --includedir)/libpq-fe.h"
END
}

# Sets _wbc_become to what root's commands begin with, and _wbc_apt to apt-get as root; fails where that can't be had.
_wbc_apt_prepare() {
  _wbc_become=()
  if [ "$(id -u)" -ne 0 ]; then
    _wbc_sudo_works || return 1
    _wbc_become=(sudo)
  fi
  # sudo drops the environment, and with it the settings of a proxy.
  _wbc_apt=("${_wbc_become[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "http_proxy=${http_proxy:-}"
    "https_proxy=${https_proxy:-}" "no_proxy=${no_proxy:-}" apt-get -q -y -o DPkg::Lock::Timeout=300)
}

# A repository that can't be reached matters only if the installation fails for it.
_wbc_packages_update() {
  _wbc_apt_prepare || return 1
  "${_wbc_apt[@]}" update >/dev/null 2>&1 || wbc_say "  apt-get update had errors; going on"
}

_wbc_packages_install() {
  local names="$*"
  command -v apt-get >/dev/null || wbc_fail "these Debian packages, or what they bring, are missing: $names"
  _wbc_apt_prepare || wbc_fail "packages are missing; as root, run \"make deps\" or: apt-get install $names"
  wbc_say "installing: $names"
  _wbc_log=$(mktemp)
  wbc_on_exit "rm -f '$_wbc_log'"
  case " $names " in
    *" postgresql-$WBC_PG_MAJOR "*) _wbc_guard_set "${_wbc_become[@]}" ;;
  esac
  _wbc_packages_update
  "${_wbc_apt[@]}" install --no-install-recommends --no-upgrade --no-remove "$@" 2>&1 | _wbc_progress || {
    tail -n 20 "$_wbc_log" >&2
    wbc_fail "apt-get could not install: $names"
  }
  _wbc_guard_drop
}

# sudo may ask for a password where someone can answer.
_wbc_sudo_works() {
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null && return 0
  [ -t 0 ] && sudo -v
}

# Copies standard input to the log and shows a line of it every few seconds.
_wbc_progress() {
  local line next=$((SECONDS + 5))
  trap '' INT
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$_wbc_log"
    if [ "$SECONDS" -ge "$next" ]; then
      printf '  %.100s\n' "$line"
      next=$((SECONDS + 5))
    fi
  done
}

# _wbc_guard_set COMMAND...: what to become root with, if anything.
_wbc_guard_set() {
  _wbc_guard_become=("$@")
  _wbc_guard_made=
  _wbc_guard_is_set=1
  wbc_on_exit _wbc_guard_drop
  _wbc_guard_made=$("$@" sh -s "$_wbc_guard" <<'END'
file=$1 folder=${1%/*}
for each in "${folder%/*}" "$folder"; do
  [ -d "$each" ] || { mkdir "$each" && echo "$each"; }
done
echo "create_main_cluster = off" >"$file"
END
  )
}

# Removes the file, and the folders made for it unless something else is in them by now.
_wbc_guard_drop() {
  [ -n "$_wbc_guard_is_set" ] || return 0
  "${_wbc_guard_become[@]}" rm -f "$_wbc_guard"
  local folder
  while read -r folder; do
    [ -z "$folder" ] || "${_wbc_guard_become[@]}" rmdir --ignore-fail-on-non-empty "$folder"
  done < <(printf '%s\n' "$_wbc_guard_made" | tac)
  _wbc_guard_is_set=
}
