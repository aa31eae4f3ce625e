#!/bin/sh
# tools/demo.sh PYRUNC FOLDER: makes a bundle of busybox in FOLDER, from what `pyrunc spec` writes, and runs `ps` in it. The
# state of the container is kept in there too, so that nothing outside is changed.
set -eu
pyrunc=$1
bundle=$2
if [ "$(id -u)" != 0 ]; then
    echo "demo: no container is shown: not root (sudo make demo; rootless: README.md)" >&2
    exit 1
fi
[ ! -e "$bundle/state/pyrunc-demo" ] || "$pyrunc" --root "$bundle/state" delete --force pyrunc-demo
rm -rf "$bundle"
mkdir -p "$bundle"
bundles/rootfs.sh "$bundle/rootfs"
"$pyrunc" spec --bundle "$bundle"
/usr/bin/python3 - "$bundle/config.json" <<'END'
import json, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = ["ps"]
config["linux"]["cgroupsPath"] = "/pyrunc-demo"
with open(sys.argv[1], "w") as file:
    json.dump(config, file, indent=4)
END
echo "$pyrunc --root $bundle/state run --bundle $bundle pyrunc-demo, whose process is \`ps\`:"
"$pyrunc" --root "$bundle/state" run --bundle "$bundle" pyrunc-demo
