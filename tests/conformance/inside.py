"""One program of the suite in its own mount and pid namespaces: arranges them, then becomes the program.

Started by suite.py under `unshare --mount --pid --fork`. Arguments: v1 or v2, the work folder, and the program.

The suite reads /sys/fs/cgroup/<controller>, for every controller there is; a machine mounts fewer, and cgroup v2
beside them, by which crun takes another path. So for v1 all are mounted anew, each alone, as cgroup v1; for v2 they
stay as they are. What the runtimes keep in /run is each program's own.
"""

import os
import subprocess
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def mount(fstype: str, where: Path, options: str) -> bool:
    """Mount a new file system; False where the kernel refuses."""
    where.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-n", "-t", fstype, "-o", options, fstype, str(where)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def mount_v1() -> None:
    controllers = [line.split("\t")[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    mount("tmpfs", CGROUPS, "mode=755")
    for name in controllers:
        if not mount("cgroup", CGROUPS / name, name):
            (CGROUPS / name).rmdir()
    mount("cgroup", CGROUPS / "systemd", "none,name=systemd")


def main() -> None:
    cgroups, work, program = sys.argv[1:]
    mount("proc", Path("/proc"), "nosuid,nodev,noexec")
    for name in ("pyrunc", "runc", "crun"):
        mount("tmpfs", Path("/run", name), "mode=711")
    if cgroups == "v1":
        mount_v1()
    os.chdir(work)
    os.execv(program, [program])


main()
