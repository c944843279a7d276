#!/usr/bin/env bash
# make demo-stop: ends the demo of this user and removes everything it made.

# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=test/demo/place.sh
. "$(dirname "${BASH_SOURCE[0]}")/place.sh"

if demo_stop; then
  wbc_say "The demo is stopped and $(demo_place) is removed."
else
  wbc_say "No demo is running."
fi
