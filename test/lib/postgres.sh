# shellcheck shell=bash
# Building the extension, a private PostgreSQL tree, and instances on it. All but wbc_pg_config and wbc_postmaster_stop
# belong to the inner half of a script.
#
# PostgreSQL finds its files relative to its own programs. A copy of the installed one below WBC_WORK/pg, with the
# extension installed by DESTDIR, therefore is a complete installation that needs no root and leaves the real one alone.
# After wbc_tree_create: WBC_PG (its root), WBC_BIN (its programs, first in PATH), WBC_PGXS (pg_regress, the TAP modules).

# pg_config of the PostgreSQL to use: PG_CONFIG if given, else Debian's 15, else what PATH has.
wbc_pg_config() {
  local debian=/usr/lib/postgresql/$WBC_PG_MAJOR/bin/pg_config
  if [ -z "${PG_CONFIG:-}" ] && [ -x "$debian" ]; then
    "$debian" "$@"
  else
    "${PG_CONFIG:-pg_config}" "$@"
  fi
}

# The first number of its version.
wbc_pg_major() {
  wbc_pg_config --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
}

# Compiles the sources of this checkout and installs them below WBC_PG. The log is results/build.log; it is shown when
# the build fails. Warnings are errors unless WERROR is set to something else.
wbc_build() {
  local log=$WBC_WORK/results/build.log
  WBC_PG=$WBC_WORK/pg
  if ! _wbc_make -j"$(nproc)" all >"$log" 2>&1 || ! _wbc_make install "DESTDIR=$WBC_PG" >>"$log" 2>&1; then
    head -n 60 "$log" >&2
    return 1
  fi
}

_wbc_make() {
  make -C "$WBC_TOP" -s with_llvm=no "PG_CONFIG=$(wbc_pg_config --bindir)/pg_config" \
    "WERROR=${WERROR--Werror}" "$@"
}

# Completes WBC_PG with a copy of the installed PostgreSQL, without replacing what wbc_build put there.
wbc_tree_create() {
  local bindir pkglibdir sharedir pgxs
  bindir=$(wbc_pg_config --bindir)
  pkglibdir=$(wbc_pg_config --pkglibdir)
  sharedir=$(wbc_pg_config --sharedir)
  pgxs=$(wbc_pg_config --pgxs)
  _wbc_copy_below "$bindir"
  _wbc_copy_below "$pkglibdir"
  _wbc_copy_below "$sharedir"
  WBC_BIN=$WBC_PG$bindir
  # shellcheck disable=SC2034 # used by check.sh
  WBC_PGXS=$WBC_PG${pgxs%/src/makefiles/pgxs.mk}
  PATH=$WBC_BIN:$PATH
  [ "$(pg_config --sharedir)" = "$WBC_PG$sharedir" ] ||
    wbc_fail "the PostgreSQL in $bindir doesn't find its files when it is copied; name another with PG_CONFIG"
}

_wbc_copy_below() {
  mkdir -p "$WBC_PG$1"
  tar -C "$1" --exclude=./bitcode --exclude=./man -cf - . | tar -C "$WBC_PG$1" --skip-old-files -xf -
}

# wbc_instance_create NAME LINE...: an instance in WBC_WORK/NAME, superuser postgres, locale C, UTF-8, reachable through
# its Unix socket only; the lines are appended to postgresql.conf.
wbc_instance_create() {
  local dir=$WBC_WORK/$1
  shift
  mkdir -m 700 "$dir"
  initdb -D "$dir/data" -U postgres -A trust --locale=C --encoding=UTF8 -N >"$dir/initdb.log" 2>&1 || {
    cat "$dir/initdb.log" >&2
    return 1
  }
  {
    printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir'" "port = 5432" "fsync = off" \
      "log_line_prefix = '%m [%p] %q%a '" "max_connections = 150"
    printf '%s\n' "$@"
  } >>"$dir/data/postgresql.conf"
}

# wbc_instance_add_database NAME DATABASE...: for an instance that isn't running yet, so that the workers of these
# databases find them at the first start.
wbc_instance_add_database() {
  local data=$WBC_WORK/$1/data each
  shift
  for each in "$@"; do
    printf 'CREATE DATABASE %s;\n' "$each"
  done | postgres --single -c shared_preload_libraries= -D "$data" postgres >"$data/../create.log" 2>&1
}

# Returns when connections are accepted; shows the log and fails if that doesn't happen within a minute.
wbc_instance_start() {
  local dir=$WBC_WORK/$1
  pg_ctl -s -w -t 60 -D "$dir/data" -l "$dir/server.log" start || {
    tail -n 20 "$dir/server.log" >&2
    return 1
  }
}

wbc_instance_stop() {
  pg_ctl -s -w -t 60 -m fast -D "$WBC_WORK/$1/data" stop
}

# wbc_psql NAME DATABASE ARGUMENT...: plain rows, and a failure at the first error.
wbc_psql() {
  local dir=$WBC_WORK/$1 database=$2
  shift 2
  psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir" -p 5432 -U postgres -d "$database" "$@"
}

# Ends the server on a data directory: fast, then immediate, then at once. Root may do this for another user's server.
# A process is a server of that directory only if it works in it.
wbc_postmaster_stop() {
  local pid signal
  pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) || return 0
  for signal in INT QUIT KILL; do
    [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$1")" ] || return 0
    kill "-$signal" "$pid" 2>/dev/null || return 0
    wbc_wait 20 wbc_gone "$pid" && return 0
  done
}
