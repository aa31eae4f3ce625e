"""PID 1 of the engines' sandbox: arranges the mounts, says so, then stays until its input ends, and clears up.

Started by sandbox.py under `unshare --mount --net --pid --fork`. It uses nothing but the standard library and mount(8),
ip(8). Its arguments are the work folder, the name of the top cgroup that is removed at the end, and the folders to lay
an overlay over.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
#: Seconds that the end of killed processes and their cgroups may take.
PATIENCE = 30.0


def command(*argv: str) -> bool:
    """Run one command; True when it succeeded. What it said goes to the sandbox's log."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode == 0


def needed(*argv: str) -> None:
    """Run a command that the sandbox cannot do without."""
    if not command(*argv):
        sys.exit(f"sandbox: {' '.join(argv)} failed")


def mount_sysfs(aside: Path) -> None:
    """A sysfs of the new network namespace, so that /sys/class/net shows our bridges and not the machine's; and on it
    every cgroup hierarchy.

    Those of version 1 that the machine has not mounted are mounted too, since somebody may at any time, in a mount
    namespace that we do not see: then /proc/PID/cgroup lists them for everybody, and containerd 1.6 does not find the
    cgroup of a process when one of those listed is not among its mounts.
    """
    aside.mkdir()
    needed("mount", "--rbind", str(CGROUPS), str(aside))
    needed("umount", "--lazy", "/sys")
    needed("mount", "-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys")
    if (aside / "cgroup.procs").exists():
        needed("mount", "--move", str(aside), str(CGROUPS))
        return
    needed("mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755", "tmpfs", str(CGROUPS))
    for path in sorted(aside.iterdir()):
        if path.is_symlink():  # cpu -> cpu,cpuacct on some machines
            (CGROUPS / path.name).symlink_to(path.readlink())
        elif path.is_mount():
            (CGROUPS / path.name).mkdir()
            needed("mount", "--move", str(path), str(CGROUPS / path.name))
    needed("umount", "--lazy", str(aside))
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mounted = {option for _, _, kind, options, *_ in mounts if kind == "cgroup" for option in options.split(",")}
    for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, _, _, enabled = line.split()
        if enabled == "1" and name not in mounted:
            (CGROUPS / name).mkdir()
            if not command("mount", "-t", "cgroup", "-o", name, "cgroup", str(CGROUPS / name)):
                (CGROUPS / name).rmdir()  # version 2 has it


def overlay(work: str, folder: str) -> bool:
    """Send what is written below `folder` to the work folder; False where overlayfs does not work."""
    private = os.path.join(work, "overlay", folder.strip("/").replace("/", "-"))
    upper, scratch = os.path.join(private, "upper"), os.path.join(private, "work")
    os.makedirs(upper, exist_ok=True)
    os.makedirs(scratch, exist_ok=True)
    options = f"lowerdir={folder},upperdir={upper},workdir={scratch}"
    return command("mount", "-t", "overlay", "overlay", "-o", options, folder)


def end_all() -> None:
    """Kill whatever still runs in our pid namespace and wait for its end."""
    deadline = time.monotonic() + PATIENCE
    while [name for name in os.listdir("/proc") if name.isdigit() and name != "1"] and time.monotonic() < deadline:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.02)


def remove_cgroups(top: str) -> None:
    """Remove the cgroup `top` and all below it, deepest first, in every hierarchy."""
    bases = [CGROUPS] if (CGROUPS / "cgroup.procs").exists() else [path for path in CGROUPS.iterdir() if path.is_dir()]
    deadline = time.monotonic() + PATIENCE
    while bases and time.monotonic() < deadline:
        for base in bases:
            for folder, _, _ in os.walk(base / top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    time.sleep(0.02)
        bases = [base for base in bases if (base / top).is_dir()]


def main() -> None:
    work, top, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
    # The outer procfs is still mounted here: it says who we are outside, which nsenter needs.
    outer_pid = os.readlink("/proc/self")
    needed("mount", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    mount_sysfs(Path(work, "cgroup"))
    for folder in ("/run", "/dev/shm"):
        needed("mount", "-t", "tmpfs", "-o", "nosuid,nodev,mode=755", "tmpfs", folder)
    works = [overlay(work, folder) for folder in folders if os.path.isdir(folder)]
    # As systemd leaves a machine: shared mounts, so that what a runtime lets out of a container shows here.
    needed("mount", "--make-rshared", "/")
    needed("ip", "link", "set", "lo", "up")
    # Orphans (conmon, shims) become our children: an ignored SIGCHLD has the kernel reap them at once.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write(f"{outer_pid} {'overlay' if all(works) else 'vfs'}\n")
    sys.stdout.flush()
    sys.stdin.read()
    end_all()
    remove_cgroups(top)
    # PID 1 leaves, and with it go the mounts and networks.


main()
