#!/bin/sh
# tools/needs.sh VENV TOOLS RUNC GROUP...: says what `make test` will put on this machine, before it does. Prints nothing when
# all is there.
set -eu
venv=$1 tools=$2 runc=$3
shift 3
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pyrunc-tests
line() {
    [ -n "${said-}" ] || echo "to be installed for the tests, since it is missing:"
    said=1
    echo "  $*"
}
packages=$(tools/packages.sh --missing "$@" tools)
[ -z "$packages" ] || line "on the machine, by apt: $packages"
[ "$(cat "$venv/tools" 2>/dev/null)" = "$tools" ] || line "in $venv, by pip: $tools"
[ -x "$runc" ] || line "$runc, and crictl beside it, by Go"
[ -d "$cache" ] || line "in $cache, 3 GB: trees of Debian, virtual machines' images, runtime-tools"
