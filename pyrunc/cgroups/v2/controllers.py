"""The controllers of cgroup v2, passed down to a container's cgroup (admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EROFS

from pyrunc.cgroups.files import read_file, write_file
from pyrunc.errors import PyruncError


def enable(directory: str) -> None:
    """Pass all controllers on to the children. What another runtime enables meanwhile is enabled all the same.

    Raises OSError.
    """
    available = read_file(directory + "/cgroup.controllers").split()
    enabled = read_file(directory + "/cgroup.subtree_control").split()
    missing = [name for name in available if name not in enabled]
    if not missing:
        return
    path = directory + "/cgroup.subtree_control"
    try:
        write_file(path, " ".join("+" + name for name in missing))
        return
    except OSError:
        pass
    # One cannot be: the others one by one. A cgroup with processes of its own (EBUSY) takes none, or only threaded
    # ones; what then is missing is told by whoever needs it.
    for name in missing:
        try:
            write_file(path, "+" + name)
        except OSError as error:
            if error.errno not in (EBUSY, EOPNOTSUPP, EINVAL, EACCES, EPERM, EROFS, ENOENT):
                raise


def refuse_threaded(directory: str) -> None:
    """Raises PyruncError for a cgroup below a threaded one, OSError."""
    if read_file(directory + "/cgroup.type") == "domain invalid":
        raise PyruncError(
            f"cgroup {directory} is below a threaded cgroup and cannot take a container",
            step="cgroup",
            pointer="/linux/cgroupsPath",
        )
