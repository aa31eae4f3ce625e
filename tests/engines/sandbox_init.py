"""PID 1 of the engines' sandbox: arranges the mounts, says so, then stays until its input ends.

Started by sandbox.py under `unshare --mount --net --pid --fork`. It uses nothing but the standard library and mount(8),
ip(8). Its arguments are the work folder and the folders to lay an overlay over.
"""

import os
import signal
import subprocess
import sys


def command(*argv: str) -> bool:
    """Run one command; True when it succeeded. What it said goes to the sandbox's log."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode == 0


def needed(*argv: str) -> None:
    """Run a command that the sandbox cannot do without."""
    if not command(*argv):
        sys.exit(f"sandbox: {' '.join(argv)} failed")


def overlay(work: str, folder: str) -> bool:
    """Send what is written below `folder` to the work folder; False where overlayfs does not work."""
    private = os.path.join(work, "overlay", folder.strip("/").replace("/", "-"))
    upper, scratch = os.path.join(private, "upper"), os.path.join(private, "work")
    os.makedirs(upper, exist_ok=True)
    os.makedirs(scratch, exist_ok=True)
    options = f"lowerdir={folder},upperdir={upper},workdir={scratch}"
    return command("mount", "-t", "overlay", "overlay", "-o", options, folder)


def main() -> None:
    work, folders = sys.argv[1], sys.argv[2:]
    # The outer procfs is still mounted here: it says who we are outside, which nsenter needs.
    outer_pid = os.readlink("/proc/self")
    needed("mount", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    # A sysfs of the new network namespace, so that /sys/class/net shows our bridges and not the host's; the cgroup
    # hierarchies are kept aside meanwhile.
    aside = os.path.join(work, "cgroup")
    os.makedirs(aside)
    needed("mount", "--rbind", "/sys/fs/cgroup", aside)
    needed("umount", "--lazy", "/sys")
    needed("mount", "-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys")
    needed("mount", "--move", aside, "/sys/fs/cgroup")
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
    # PID 1 leaves: the kernel ends every process of the namespace, and with the last one go its mounts and networks.


main()
