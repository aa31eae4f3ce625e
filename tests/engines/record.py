"""Record the config.json that podman, docker and ctr give to a runtime: `sudo python -m tests.engines.record RUNTIME`.

Each engine runs `true` with its defaults (ctr with --seccomp, which it leaves out otherwise) in a sandbox of ours, on a
wrapper that keeps a copy of the bundle's config.json and executes RUNTIME (default: runc). What differs from run to run
is made constant: IDs, folders, namespaces' paths, pids. The files are tests/data/engine-configs/*.json.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from . import images
from .engines import Ctr, Docker, Podman
from .sandbox import Sandbox

PLACE = Path(__file__).parents[1] / "data" / "engine-configs"

_WRAPPER = """#!/bin/sh
before=
for word; do
    case $before in --bundle | -b) cp "$word/config.json" "{place}" ;; esac
    before=$word
done
exec {runtime} "$@"
"""


def record(runtime: Path) -> dict[str, Any]:
    """Run the three engines; their configs by the engine's name."""
    sandbox = Sandbox()
    try:
        place = sandbox.folder("recorded") / "config.json"
        wrapper = sandbox.work / "wrapper"
        wrapper.write_text(_WRAPPER.format(place=place, runtime=runtime))
        wrapper.chmod(0o755)
        rootfs = images.rootfs_tar()
        found = {}
        for engine in (Podman(sandbox, wrapper, rootfs), Docker(sandbox, wrapper, rootfs)):
            engine.out("run", "--rm", images.NAME, "true")
            found[engine.name] = neutral(place.read_text(), sandbox)
            engine.close()
        ctr = Ctr(sandbox, wrapper, images.oci_archive(rootfs))
        ctr.run("--seccomp", command=["true"])
        found[ctr.name] = neutral(place.read_text(), sandbox)
        ctr.close()
        return found
    finally:
        sandbox.close()


def neutral(text: str, sandbox: Sandbox) -> Any:
    """A config with what is particular to this run or machine made constant."""
    text = text.replace(str(sandbox.work), "/var/lib/engines").replace(sandbox.cgroup, "/engines")
    known: dict[str, str] = {}
    for found in re.findall(r"\b[0-9a-f]{64}\b", text):
        known.setdefault(found, f"{len(known) + 1:016x}" * 4)
    # The short forms too: hostnames are an ID's first twelve digits.
    for found, constant in known.items():
        text = text.replace(found, constant).replace(found[:12], constant[:12])
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "00000000-0000-0000-0000-000000000001", text)
    text = re.sub(r"/proc/\d+/", "/proc/1/", text)
    text = re.sub(r'"[0-9a-f]{12}"(?=\s*\])', '"000000000001"', text)  # libnetwork's controller, a hook's last argument
    text = re.sub(r"netns/[0-9a-f]{12}\b", "netns/000000000001", text)
    text = re.sub(r'"/engines/ctr/[0-9a-f]{8}"', '"/engines/ctr/00000001"', text)
    text = re.sub(r"snapshots/\d+/", "snapshots/1/", text)
    text = re.sub(r"\bt[0-9a-f]{10}\b", "t0000000001", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)", "2000-01-01T00:00:00Z", text)
    config = json.loads(text)
    # podman's order of these is another one each time, since Go's maps have none.
    config["process"]["env"].sort()
    binds = sorted(
        (mount for mount in config["mounts"] if mount["type"] == "bind"), key=lambda m: str(m["destination"])
    )
    config["mounts"] = [binds.pop(0) if mount["type"] == "bind" else mount for mount in config["mounts"]]
    return config


def main() -> None:
    named = sys.argv[1] if len(sys.argv) > 1 else shutil.which("runc")
    if named is None:
        sys.exit("record: no runc; name a runtime")
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, config in record(Path(named).resolve(strict=True)).items():
        (PLACE / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
