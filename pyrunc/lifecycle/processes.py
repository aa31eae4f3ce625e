"""The processes of a container: those in its cgroup, or, where it has none or has left it, those that belong to it."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.errors import PyruncError

if TYPE_CHECKING:
    from pyrunc.state.container import Container


def processes(container: Container) -> list[int]:
    """As the runtime's pid namespace counts them, ascending; [] when it has stopped.

    Raises PyruncError when nothing tells which they are: a list that lacks some would be believed.
    """
    manager = container.manager()
    found = manager.pids()
    if container.pid in found or not container.is_alive():
        return found
    if container.fields.get("privatePids"):
        return sorted({*found, *_of_namespace(container.pid)})
    if not manager.paths:
        raise PyruncError(
            "cannot tell the container's processes from others: it has neither a cgroup nor a pid namespace of its own",
            hint="enable cgroup v2 delegation",
        )
    from pyrunc.cgroups import elsewhere

    moved = elsewhere.manager(manager, container.pid)
    inside = moved.pids()
    if container.pid not in inside or _is_root(moved.paths):
        raise PyruncError("the container's process has left its cgroup: cannot tell its processes from others")
    return sorted({*found, *inside})


def _is_root(paths: dict[str, str]) -> bool:
    """Whether a hierarchy's root is among them, in which every process of the host is that is nowhere else."""
    for directory in paths.values():
        try:
            # A cgroup of v2 has a type, one of v1 no such file: but each root is where its file system begins.
            if posix.stat(directory).st_dev != posix.stat(directory + "/..").st_dev:
                return True
        except OSError:
            continue
    return False


def _of_namespace(init: int) -> set[int]:
    """The processes of init's pid namespace, and of those below it. Raises PyruncError."""
    namespace = _namespace(init)
    if namespace is None:
        raise PyruncError(f"cannot look into the pid namespace of process {init}: permission denied")
    found = {init}
    parents: dict[int, int] = {}
    for name in posix.listdir("/proc"):
        if name.isdigit():
            pid = int(name)
            if _namespace(pid) == namespace:
                found.add(pid)
            parents[pid] = _parent(pid)
    # A namespace below it is of a child; an exec's processes have a parent outside, but are in the namespace itself.
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        grown = bool(more)
        found |= more
    return found


def _namespace(pid: int) -> int | None:
    try:
        return posix.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _parent(pid: int) -> int:
    from pyrunc.linux import files

    try:
        text = files.read(f"/proc/{pid}/stat")
        return int(text.rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
