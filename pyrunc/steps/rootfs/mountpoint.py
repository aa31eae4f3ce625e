"""Mount points: where in the root one is, and where nothing may be mounted."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.config.rules import PROC_FILES
from pyrunc.errors import PyruncError
from pyrunc.linux import paths

if TYPE_CHECKING:
    from pyrunc.steps.context import Context

_PROC_FILES: Final = frozenset("/proc/" + name for name in PROC_FILES)


def place(context: Context, fd: int) -> str:
    """The path of a descriptor as the container sees it: from its root, and without links.

    Raises PyruncError for what is outside of the root, OSError.
    """
    root, found = _name(context, context.root_fd), _name(context, fd)
    if found == root:
        return "/"
    prefix = "" if root == "/" else root
    if not found.startswith(prefix + "/"):
        raise PyruncError(f'mountpoint "{found}" is outside of rootfs "{root}"')
    return found[len(prefix) :]


def _name(context: Context, fd: int) -> str:
    # By a procfs of the host's. A process that has entered a container's mount namespace holds what it needs of it.
    if context.self_fd < 0:
        return posix.readlink("/proc/self/fd/" + str(fd))
    return posix.readlink(str(fd), dir_fd=context.self_fd)


def check(context: Context, target: int, is_proc: bool, destination: str) -> str:
    """Not on the root; on /proc only a procfs; and nothing within but LXCFS's files: whatever way leads there.

    is_proc: what is to be mounted is a procfs. Both the name that was asked for and the place that it leads to are
    looked at (CVE-2019-16884). Returns the place. Raises PyruncError.
    """
    where = place(context, target)
    if where == "/":
        # It would lie over a root that is reached by its descriptor: nobody would ever see it.
        raise PyruncError(f'mountpoint "{destination}" is on the top of rootfs')
    asked = "/" + "/".join(paths.components(destination))
    if "/proc" in (where, asked) and not is_proc:
        raise PyruncError(f'"{destination}" cannot be mounted because it is not of type proc')
    if where.startswith("/proc/") and where not in _PROC_FILES:
        raise PyruncError(f'"{destination}" cannot be mounted because it is inside /proc')
    if where != "/proc" and where not in _PROC_FILES and _linux.fstatfs(target)[0] == _linux.PROC_SUPER_MAGIC:
        raise PyruncError(f"mount on {destination} would cover a part of proc")
    return where
