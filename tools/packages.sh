#!/bin/sh
# tools/packages.sh [--names | --missing | --tell] GROUP...: sees to it that the Debian packages of these groups are installed.
# With --names it only says which they are, with --missing which are not installed, with --tell the same as an error.
# apt is called only when one is missing, and only by root; anybody else is told what is missing.
set -eu

# Says what the command wrote only when it fails.
quietly() {
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        status=$?
        cat "$log" >&2
        rm -f "$log"
        exit $status
    fi
}

mode=
case ${1-} in
--*)
    mode=$1
    shift ;;
esac
# The distribution's interpreter decides which libpython is meant.
python=/usr/bin/python3
if [ ! -x $python ]; then
    if [ "$mode" = --missing ]; then
        echo "python3, and what goes with its version"
        exit 0
    elif [ -n "$mode" ] || [ "$(id -u)" != 0 ]; then
        echo "no $python: apt-get install python3" >&2
        exit 1
    fi
    echo "installing by apt: python3"
    quietly apt-get update
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends python3
fi
version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

wanted=
for group in "$@"; do
    case $group in
    run) # what an installed pyrunc needs; of procps, `ps`
        wanted="$wanted libpython$version python3-seccomp python3-jsonschema python3-pyroute2 procps" ;;
    build)
        wanted="$wanted gcc libc6-dev libpython$version-dev python3-jsonschema" ;;
    demo)
        wanted="$wanted busybox-static" ;;
    tools) # the development tools' own needs; our D-Bus messages are compared with jeepney's
        wanted="$wanted python3-venv git python3-jeepney" ;;
    deb) # what makes a package
        wanted="$wanted dpkg-dev binutils" ;;
    compilers) # besides gcc and glibc, for tests/unit/native/test_compilers.py
        wanted="$wanted clang musl-dev" ;;
    watch) # what tests look with
        wanted="$wanted strace" ;;
    peers) # runtimes to compare with, and to build runc
        wanted="$wanted crun libseccomp-dev pkg-config ca-certificates" ;;
    bats) # what runc's own suite calls
        wanted="$wanted bats jq gawk iproute2 uidmap busybox-static" ;;
    engines)
        wanted="$wanted podman buildah netavark aardvark-dns conmon containerd docker.io runc skopeo umoci iproute2 iptables"
        wanted="$wanted tmux strace util-linux debootstrap criu containernetworking-plugins" ;;
    browser) # for tests/browser: what looks at plan's page
        wanted="$wanted chromium fonts-dejavu-core" ;;
    hosts) # other releases of Debian
        wanted="$wanted debootstrap util-linux debian-archive-keyring" ;;
    vm) # a machine of another kind, by emulation
        wanted="$wanted qemu-system-x86 mmdebstrap e2fsprogs lz4 zstd kmod" ;;
    arm64) # an arm64 machine, by emulation
        wanted="$wanted qemu-system-arm debootstrap debian-archive-keyring util-linux e2fsprogs kmod" ;;
    *)
        echo "$0: no group $group" >&2
        exit 2 ;;
    esac
done

if [ "$mode" = --names ]; then
    # shellcheck disable=SC2086  # a list of names
    echo $wanted
    exit 0
fi
missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -x installed || true)
    [ -n "$state" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$mode" = --missing ]; then
    # shellcheck disable=SC2086
    echo $missing
    exit 0
fi
if [ "$mode" = --tell ]; then
    echo "not installed:$missing" >&2
    exit 3
fi
if [ "$(id -u)" != 0 ]; then
    echo "not installed, since only root may:$missing" >&2
    exit 3
fi
echo "installing by apt:$missing"
quietly apt-get update
# shellcheck disable=SC2086  # a list of names
DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends $missing
