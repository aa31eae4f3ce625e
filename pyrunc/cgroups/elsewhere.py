"""Where a container's process is when its cgroup is gone: it may move itself, and a service manager, or who ever finds
the cgroup empty then, removes it. Rarely loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import cgroups
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.hierarchies import Hierarchies
from pyrunc.errors import PyruncError
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.cgroups.protocol import CgroupManager


def paths(saved: Mapping[str, str], pid: int) -> dict[str, str]:
    """saved, a container's cgroups, with the process's own in the place of those that are gone. Raises PyruncError."""
    host = hierarchies.detect()
    try:
        data = files.read(f"/proc/{pid}/cgroup", limit=64 << 20)
    except OSError as error:
        raise PyruncError("read the cgroups of process " + str(pid), errno=error.errno) from None
    found = dict(saved)
    for names, path in hierarchies.membership(data):
        for name in names.split(","):
            key = hierarchies.HYBRID if not name and "" not in saved else name
            if key in saved and not files.exists(saved[key]):
                found[key] = directory(host, key, path)
    return found


def directory(host: Hierarchies, controller: str, path: str) -> str:
    """The directory of a cgroup that /proc/PID/cgroup names. Raises PyruncError when none is mounted that shows it."""
    if controller == "":
        point, root = hierarchies.TOP, "/"
    else:
        point, root = (host.unified if controller == hierarchies.HYBRID else host.mounts.get(controller)) or ("", "")
    way = hierarchies.relative(path, root)
    if not point or path.startswith("/..") or (not way and path not in ("/", root)):
        raise PyruncError(f"the cgroup {path} cannot be seen from here", step="cgroup")
    return point + way


def manager(before: CgroupManager, pid: int) -> cgroups.FilesManager:
    """The manager of where the process is. Raises PyruncError."""
    return cgroups.files_manager(paths(before.paths, pid), before.rootless)
