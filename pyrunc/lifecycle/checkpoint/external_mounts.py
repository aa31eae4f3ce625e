"""The mounts of a container that CRIU cannot make from its images: binds of the host's files, masks, bound devices.

At checkpoint CRIU is told a name for each, at restore what of the host belongs to a name. A name is the destination in
the config, escaped, so that none can pass for another's or end early (CVE-2026-119101; crun's CVE-2026-115520); never
what a link of the rootfs makes of it. (Not its place in the list: engines write the same mounts in another order when
they make a config again.) Where the mounts go is in the checkpoint's images, which may come from anybody: they are
judged before CRIU sees them, and what CRIU made is judged before any process of the container runs.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc.errors import PyruncError, reason
from pyrunc.linux import paths
from pyrunc.linux.mountinfo import Entry, entries, number_of
from pyrunc.linux.paths import is_null
from pyrunc.steps.rootfs import devices
from pyrunc.steps.rootfs.cgroup_mount import hierarchies

if TYPE_CHECKING:
    from pyrunc.config.types import Config


NULL: Final = "pyrunc:null"
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/")


def name_of(kind: str, path: str, below: str = "") -> str:
    """Of a mount or device. below: the way from a recursive bind to a mount in it."""
    name = "pyrunc:" + kind + ":" + _escaped("/" + "/".join(paths.components(path)))
    return f"{name}:{_escaped(below)}" if below else name


def _escaped(path: str) -> str:
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else "%" + format(byte, "02x")
        for byte in path.encode("utf-8", "surrogateescape")
    )


# --- at checkpoint


def external_at_dump(pid: int, config: Config, cgroups: dict[str, str]) -> list[str]:
    """What CRIU is to hear about the mounts of a container's process: "mnt[MOUNT POINT]:NAME" of each.

    Mount points are the kernel's word, whatever links the config's destinations went through. cgroups: the container's,
    as state.json has them. Raises PyruncError.
    """
    try:
        table = entries(pid)
        root = posix.open(f"/proc/{pid}/root", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise PyruncError("read the container's mounts: " + reason(error), errno=error.errno) from None
    try:
        found = _names_at_dump(table, root, config)
        for path in cgroup_binds(config, cgroups):
            entry = _mounted_at(table, root, path)
            if entry is not None:
                found.setdefault(entry.point, name_of("cgroup", path))
    finally:
        posix.close(root)
    for point in found:
        if "]:" in point:
            # CRIU looks for the first "]:" and would take what follows for the name.
            raise PyruncError(f"mounts on {point} cannot be checkpointed: CRIU has no way to write ']:'")
    return [f"mnt[{point}]:{name}" for point, name in found.items()]


def _names_at_dump(table: list[Entry], root: int, config: Config) -> dict[str, str]:
    """Mount point to name."""
    linux = config.get("linux", {})
    found: dict[str, str] = {}
    tops: dict[str, tuple[str, Entry]] = {}
    for mount in config.get("mounts", []):
        options = mount.get("options", [])
        if not ("bind" in options or "rbind" in options or mount.get("type") == "bind"):
            continue
        entry = _mounted_at(table, root, mount["destination"])
        if entry is not None:
            found[entry.point] = name_of("mount", mount["destination"])
            tops[entry.number] = (mount["destination"], entry)
    for entry in table:
        # What came with a recursive bind. Parents stand before their children.
        above = tops.get(entry.parent)
        if above is not None and entry.number not in tops and entry.point not in found:
            tops[entry.number] = above
            found[entry.point] = name_of("mount", above[0], entry.point[len(above[1].point) :].strip("/"))
    for path in linux.get("maskedPaths", []):
        entry = _mounted_at(table, root, path, null=True)
        if entry is not None:
            found.setdefault(entry.point, NULL)
    for path in device_paths(config):
        entry = _mounted_at(table, root, path)
        if entry is not None:
            found.setdefault(entry.point, name_of("device", path))
    return found


def cgroup_binds(config: Config, cgroups: dict[str, str]) -> dict[str, str]:
    """On cgroup v1 without a cgroup namespace: where the container's cgroups are bound, and their directories."""
    spaces = [entry["type"] for entry in config.get("linux", {}).get("namespaces", [])]
    if "" in cgroups or "cgroup" in spaces:
        return {}
    return {
        mount["destination"].rstrip("/") + "/" + names.removeprefix("name="): directory
        for mount in config.get("mounts", [])
        if mount.get("type") == "cgroup"
        for names, directory in hierarchies(cgroups).items()
    }


def device_paths(config: Config) -> list[str]:
    wanted = config.get("linux", {}).get("devices", [])
    return [path for path, _, _ in devices.DEFAULTS] + [device["path"] for device in wanted]


def _mounted_at(table: list[Entry], root: int, path: str, *, null: bool = False) -> Entry | None:
    """The mount whose root stands at a path of the container; None when nothing is mounted right there.

    null: only a bind of the null device counts.
    """
    try:
        fd = paths.open_in_root(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise PyruncError(f"resolve {path}: {reason(error)}", errno=error.errno) from None
    try:
        if null and not is_null(fd):
            return None
        number = number_of(fd)
        # Of a mount in another mount namespace the kernel says the path from that namespace's root.
        here = posix.readlink("/proc/self/fd/" + str(fd))
    finally:
        posix.close(fd)
    for entry in table:
        if entry.number == number:
            return entry if entry.point == here else None
    return None


# --- at restore
