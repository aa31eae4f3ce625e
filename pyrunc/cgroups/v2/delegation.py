"""Cgroups of cgroup v2 in the hands of others than root (admin-guide/cgroup-v2.rst, "Delegation")."""

from __future__ import annotations

import posix

from pyrunc.cgroups.files import failure, read_file


def give(directory: str, uid: int, rootless: bool) -> None:
    """Let a user make cgroups below and move processes there: the directory and the kernel's list of files.

    config-linux.md, "Cgroup ownership". Raises PyruncError.
    """
    try:
        names = read_file("/sys/kernel/cgroup/delegate").split()
    except OSError:
        names = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"]
    try:
        posix.chown(directory, uid, -1)
        for name in names:
            try:
                posix.chown(f"{directory}/{name}", uid, -1)
            except FileNotFoundError:
                continue
    except OSError as error:
        # An ordinary user gives nothing away; what it made is its own already.
        if not rootless:
            raise failure(f"give cgroup {directory} to uid {uid}", error, "/linux/cgroupsPath") from None


def is_reachable(mount: str, directory: str) -> bool:
    """Whether this process may move itself to a cgroup: it must be allowed to write to what is above both, too.

    mount: where the hierarchy is. "Delegation Containment" of the same document.
    """
    try:
        own = read_file("/proc/self/cgroup").partition("0::")[2].partition("\n")[0]
    except OSError:
        return False
    above = mount
    for mine, other in zip(own.split("/")[1:], directory[len(mount) + 1 :].split("/"), strict=False):
        if mine != other or not mine:
            break
        above += "/" + mine
    return posix.access(above + "/cgroup.procs", posix.W_OK, effective_ids=True)


def way_below(mount: str, directory: str, pid: int) -> str:
    """Where a process is below a cgroup: "/some/where", or "" when it is not.

    A cgroup that passes controllers on to its children has no processes itself ("No Internal Process Constraint"): a
    service manager in a container puts itself, and all others, below.
    """
    try:
        below = read_file(f"/proc/{pid}/cgroup").partition("0::")[2].partition("\n")[0]
    except OSError:
        return ""
    place = mount + below
    if not place.startswith(directory + "/") or "/../" in place + "/":
        return ""
    return place[len(directory) :]
