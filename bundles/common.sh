# Read by each bundle's `run`. PYRUNC and PYRUNC_ROOT in the environment name another runtime and state root.

cd "$(dirname "$0")"
name=$(basename "$PWD")
id=pyrunc-bundle-$name
[ "$(id -u)" = 0 ] || { echo "not root: this bundle's container is made by root" >&2; exit 1; }
../rootfs.sh rootfs

pyrunc() {
    "${PYRUNC:-pyrunc}" ${PYRUNC_ROOT:+--root "$PYRUNC_ROOT"} "$@"
}

# Where the container's files of a controller are. v1 has a hierarchy a controller, v2 one for all.
cgroup_folder() {
    path=$(sed -n 's/.*"cgroupsPath": *"\([^"]*\)".*/\1/p' config.json)
    if [ -d "/sys/fs/cgroup/$1$path" ]; then
        echo "/sys/fs/cgroup/$1$path"
    else
        echo "/sys/fs/cgroup$path"
    fi
}

# The value that a key has in a file of lines `key value`.
counter() {
    sed -n "s/^$2 //p" "$1"
}

wait_until_stopped() {
    tries=0
    until pyrunc state "$id" | grep -q '"status": *"stopped"'; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "$id does not stop" >&2; exit 1; }
        sleep 0.05
    done
}
