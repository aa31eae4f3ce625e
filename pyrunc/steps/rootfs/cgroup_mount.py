"""mounts of type cgroup: the container's view of its cgroups.

cgroup v2: one new mount of the hierarchy. Where the kernel refuses that (in a user namespace, say), a bind mount of the
host's, and with a cgroup namespace of the container's own cgroup alone.

cgroup v1: a tmpfs with a directory for every hierarchy. With a cgroup namespace of its own each is a new mount of the
hierarchy, which shows the container's cgroup as its root; without one, a bind mount of the container's cgroup alone.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.cgroups.hierarchies import HYBRID, detect, own_paths
from pyrunc.linux import mounts
from pyrunc.steps.rootfs.new_mount import NewMount

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class CgroupMount(NewMount):
    """A mount of type cgroup or cgroup2."""

    __slots__ = ()

    def _make(self, context: Context) -> None:
        own = _own(context)
        target, place = self.target(context)
        options = self.options
        if "" in own:
            self.done(_unified(self, context, target, own[""]), place, context)
            return
        # Writable until the end, also where it is to be read-only: a later mount may need a new mount point in it.
        top = mounts.create("tmpfs", "tmpfs", [("mode", "755")], options.attr_set & ~_linux.MOUNT_ATTR_RDONLY)
        mounts.attach(top, target)
        posix.close(target)
        for names, directory in hierarchies(own).items():
            folder = names[len("name=") :] if names.startswith("name=") else names
            posix.mkdir(folder, 0o755, dir_fd=top)
            inner = posix.open(folder, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=top)
            tree = _hierarchy(self, context, names, directory)
            mounts.attach(tree, inner)
            posix.close(tree)
            posix.close(inner)
            if "," in names:
                for name in names.split(","):
                    posix.symlink(names, name, dir_fd=top)
        for value, recursive in options.propagation:
            mounts.set_attributes(top, 0, 0, propagation=value, recursive=recursive)
        self.done(top, place, context)


def _own(context: Context) -> dict[str, str]:
    """Controller to the cgroup to show: the container's, or where there is none that of this process.

    It has none without the right to make one, for some controllers or all, and with --cgroup-manager disabled.
    """
    # By mounts add the container's /proc would be asked, which can be anything.
    if context.cgroup is not None and (not context.host.rootless_cgroups or context.self_fd >= 0):
        return context.cgroup.paths
    found = own_paths(detect())
    return found if context.cgroup is None else {**found, **context.cgroup.paths}


def _hierarchy(step: NewMount, context: Context, names: str, directory: str) -> int:
    """A detached mount of one hierarchy of cgroup v1."""
    options = step.options
    if _has_cgroup_namespace(context):
        return mounts.create("cgroup", "cgroup", _parameters(names), options.attr_set)
    tree = mounts.clone(_linux.AT_FDCWD, directory)
    set_, clear = options.bind_attributes(_linux.fstatfs(tree)[1] if step.locked else None)
    if set_ or clear:
        mounts.set_attributes(tree, set_, clear)
    return tree


def _unified(step: NewMount, context: Context, target: int, directory: str) -> int:
    """cgroup v2: the mount, made."""
    options = step.options
    try:
        tree = mounts.create("cgroup2", "cgroup", [*options.parameters], options.attr_set)
    except OSError as error:
        # Rootless without a cgroup namespace the host's whole tree would show, and be writable (CVE-2023-25809).
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
        own_namespace = _has_cgroup_namespace(context)
        tree = mounts.clone(
            _linux.AT_FDCWD, directory if own_namespace else "/sys/fs/cgroup", recursive=not own_namespace
        )
        attributes = options.attr_set
        if not own_namespace and (context.host.rootless or context.host.in_user_namespace):
            attributes |= _linux.MOUNT_ATTR_RDONLY
        mounts.set_attributes(tree, attributes, options.attr_clr & ~_linux.MOUNT_ATTR_RDONLY)
    mounts.attach(tree, target)
    for value, recursive in options.propagation:
        mounts.set_attributes(tree, 0, 0, propagation=value, recursive=recursive)
    posix.close(target)
    return tree


def _has_cgroup_namespace(context: Context) -> bool:
    spaces = context.config.get("linux", {}).get("namespaces", [])
    return any(entry["type"] == "cgroup" for entry in spaces)


def hierarchies(controllers: dict[str, str]) -> dict[str, str]:
    """Hierarchy ("cpu,cpuacct") to directory: controllers with the same directory are mounted together."""
    result: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for controller, directory in controllers.items():
        # A hybrid host's cgroup2 is a service manager's book, without controllers: nothing that a container looks for.
        if controller != HYBRID:
            names.setdefault(directory, []).append(controller)
    for directory, together in names.items():
        result[",".join(together)] = directory
    return result


def _parameters(names: str) -> list[tuple[str, str | int | None]]:
    if names.startswith("name="):
        return [("none", None), ("name", names[len("name=") :])]
    return [(name, None) for name in names.split(",")]
