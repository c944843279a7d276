#!/usr/bin/env bash
# make deps: the Debian packages that build, check and demo need.
# shellcheck source=test/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
wbc_packages_ensure build demo check
wbc_programs_ensure
wbc_say "everything that build, check and demo need is installed"
