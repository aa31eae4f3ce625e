#!/bin/sh
# bundles/rootfs.sh FOLDER: makes a root file system of one static busybox and its names, unless it is there.
set -eu
busybox=/bin/busybox
if [ ! -x "$1/bin/sh" ]; then
    [ -x $busybox ] || { echo "no $busybox: apt-get install busybox-static" >&2; exit 1; }
    mkdir -p "$1/bin" "$1/dev" "$1/proc" "$1/sys" "$1/tmp"
    cp $busybox "$1/bin/busybox"
    for name in $($busybox --list); do
        [ "$name" = busybox ] || ln -sf busybox "$1/bin/$name"
    done
fi
