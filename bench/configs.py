"""The two bundles that are timed: what `spec` writes, and what an engine asks for."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.workplace import make_rootfs

#: Written by podman for its default container, with its seccomp profile of hundreds of system calls.
ENGINE_CONFIG = Path(__file__).with_name("engine-config.json")

#: Debian's crun takes no newer one.
OCI_VERSION = "1.0.2"

#: What the container does: end at once, or stay until it is killed.
ENDS = ["/bin/true"]
STAYS = ["/bin/sleep", "1000"]


def make(kind: str, args: list[str], where: Path, runtime: Path) -> Path:
    """A bundle at `where`. kind: plain (what `runtime` writes as `spec`) or engine (what podman wrote).

    Both go as they are, less what ties them to the place where they were written.
    """
    where.mkdir(parents=True)
    make_rootfs(where / "rootfs")
    if kind == "plain":
        subprocess.run([runtime, "spec", "--bundle", where], check=True)
        config = json.loads((where / "config.json").read_text())
    else:
        config = _engine(where)
    config["ociVersion"] = OCI_VERSION
    config["root"]["path"] = "rootfs"
    config["process"]["terminal"] = False
    config["process"]["args"] = args
    (where / "config.json").write_text(json.dumps(config))
    return where


def _engine(where: Path) -> Any:
    config = json.loads(ENGINE_CONFIG.read_text())
    # Raising them takes CAP_SYS_RESOURCE, which root of a container that runs this may not have.
    config["process"].pop("rlimits", None)
    for number, mount in enumerate(config["mounts"]):
        if mount["type"] == "bind":
            # Files and a folder of the engine's storage: as many of ours.
            source = where / f"source-{number}"
            inside = where / "rootfs" / mount["destination"].lstrip("/")
            if mount["destination"] == "/dev/shm":
                source.mkdir()
            else:
                source.touch()
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
            mount["source"] = str(source)
    return config


def with_cgroup(bundle: Path, cgroup: str) -> None:
    """Give the bundle that cgroupsPath."""
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["cgroupsPath"] = cgroup
    (bundle / "config.json").write_text(json.dumps(config))
