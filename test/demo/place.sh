# shellcheck shell=bash
# Where the demo of a user lives, and how it ends. One at a time: /tmp/wbcache-demo-<user>.

demo_place() {
  printf '/tmp/wbcache-demo-%s\n' "$(id -un)"
}

# Stops the demo's server (the upstream ends with it) and removes its directory. Fails if there is none.
demo_stop() {
  local place pid=
  place=$(demo_place)
  [ -d "$place" ] && [ ! -L "$place" ] || return 1
  _demo_is_ours "$place" || wbc_fail "$place belongs to someone else; it was left alone"
  [ ! -e "$place/upstream.pid" ] || pid=$(cat "$place/upstream.pid")
  wbc_workspace_remove "$place"
  [ -z "$pid" ] || _demo_wait_for_upstream "$place" "$pid"
}

# /tmp is open to everyone, so the directory might have been made by someone else.
_demo_is_ours() {
  case $(stat -c %U "$1") in
    "$(wbc_user)" | "$(id -un)") return 0 ;;
  esac
  return 1
}

# It looks after its server once a second.
_demo_wait_for_upstream() {
  wbc_wait 5 wbc_gone "$2" && return
  ! tr '\0' ' ' <"/proc/$2/cmdline" | grep -qF "$1/" || kill -TERM "$2"
}
