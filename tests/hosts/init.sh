#!/bin/sh
# init.sh MOUNTPOINT TREE CACHE: the first process of a host. Started in new mount and pid namespaces, nothing spreads from it.
# Its root becomes an overlay: below it the tree, which stays as it is, above it a tmpfs. What comes by apt, pip and Go is kept in
# CACHE. It says "ready" and lives until its input ends; then the kernel takes back all of it.
set -eu
place=$1 tree=$2 cache=$3
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=755 pyrunc-host "$place"
cd "$place"
mkdir upper work root debs debs.work
mount -t overlay -o "lowerdir=$tree,upperdir=upper,workdir=work" pyrunc-host root
cd root
mkdir -p proc sys dev run tmp var/cache/apt/archives root/.cache/pip root/.cache/pyrunc-tests root/go old
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755,nosuid tmpfs run
mount -t tmpfs -o mode=755,nosuid tmpfs dev
while read -r name major minor; do
    mknod -m 666 "dev/$name" c "$major" "$minor"
done <<'END'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir dev/pts dev/shm dev/mqueue run/lock
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir -p "$cache/apt/partial" "$cache/pip" "$cache/tests" "$cache/go"
# Another host of the release may be there at the same time, and apt locks the folder.
mount -t overlay -o "lowerdir=$cache/apt,upperdir=$place/debs,workdir=$place/debs.work" pyrunc-debs var/cache/apt/archives
mkdir var/cache/apt/kept
mount --bind "$cache/apt" var/cache/apt/kept
mount --bind "$cache/pip" root/.cache/pip
mount --bind "$cache/tests" root/.cache/pyrunc-tests
mount --bind "$cache/go" root/go
# The mirror may be a snapshot that is older than it likes to be.
echo 'Acquire::Check-Valid-Until "false";' >etc/apt/apt.conf.d/90mirror
# The network is the machine's.
cp /etc/resolv.conf etc/resolv.conf
cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
pivot_root . old
umount -l /old
rmdir /old
echo ready
cat >/dev/null
cd /var/cache/apt/archives
for package in *.deb; do
    if [ ! -e "../kept/$package" ]; then
        fresh=$(mktemp ../kept/.fresh.XXXXXX)
        cp "$package" "$fresh" && mv "$fresh" "../kept/$package"
    fi
done
