"""mounts of type cgroup: the container's view of its cgroups.

cgroup v2: one new mount of the hierarchy. Where the kernel refuses that (in a user namespace, say), a bind mount of the
host's, and with a cgroup namespace of the container's own cgroup alone.

cgroup v1: a tmpfs with a directory for every hierarchy. With a cgroup namespace of its own each is a new mount of the
hierarchy, which shows the container's cgroup as its root; without one, a bind mount of the container's cgroup alone.
"""

import errno
import posix

from pyrunc import _linux
from pyrunc.linux import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.context import Context
    from pyrunc.plan.mounts import MountStep


def mount(step: "MountStep", context: "Context") -> None:
    """Make the mount. Raises OSError, PyruncError."""
    # Without a cgroup of its own (--cgroup-manager disabled) there is nothing to show: an empty directory.
    own = context.cgroup.paths if context.cgroup is not None else {}
    target = step.target(context.root_fd)
    options = step.options
    if "" in own:
        _unified(step, context, target, own[""])
        return
    read_only = options.attr_set & _linux.MOUNT_ATTR_RDONLY
    top = mounts.create("tmpfs", "tmpfs", [("mode", "755")], options.attr_set & ~_linux.MOUNT_ATTR_RDONLY)
    mounts.attach(top, target)
    posix.close(target)
    own_namespace = _has_cgroup_namespace(context)
    for names, directory in hierarchies(own).items():
        folder = names[len("name=") :] if names.startswith("name=") else names
        posix.mkdir(folder, 0o755, dir_fd=top)
        place = posix.open(folder, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=top)
        if own_namespace:
            tree = mounts.create("cgroup", "cgroup", _parameters(names), options.attr_set)
        else:
            tree = mounts.clone(-100, directory)
            mounts.set_attributes(tree, options.attr_set, options.attr_clr)
        mounts.attach(tree, place)
        posix.close(tree)
        posix.close(place)
        if "," in names:
            for name in names.split(","):
                posix.symlink(names, name, dir_fd=top)
    if read_only:
        mounts.set_attributes(top, _linux.MOUNT_ATTR_RDONLY)
    for value, recursive in options.propagation:
        mounts.set_attributes(top, 0, 0, propagation=value, recursive=recursive)
    posix.close(top)


def _unified(step: "MountStep", context: "Context", target: int, directory: str) -> None:
    """cgroup v2."""
    options = step.options
    try:
        tree = mounts.create("cgroup2", "cgroup", [*options.parameters], options.attr_set)
    except OSError as error:
        # Rootless without a cgroup namespace the host's whole tree would show, and be writable (CVE-2023-25809).
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
        own_namespace = _has_cgroup_namespace(context)
        tree = mounts.clone(-100, directory if own_namespace else "/sys/fs/cgroup", recursive=not own_namespace)
        attributes = options.attr_set
        if not own_namespace and (context.host.rootless or context.host.in_user_namespace):
            attributes |= _linux.MOUNT_ATTR_RDONLY
        mounts.set_attributes(tree, attributes, options.attr_clr & ~_linux.MOUNT_ATTR_RDONLY)
    mounts.attach(tree, target)
    for value, recursive in options.propagation:
        mounts.set_attributes(tree, 0, 0, propagation=value, recursive=recursive)
    posix.close(tree)
    posix.close(target)


def _has_cgroup_namespace(context: "Context") -> bool:
    spaces = (context.config.get("linux") or {}).get("namespaces") or ()
    return any(entry["type"] == "cgroup" for entry in spaces)


def hierarchies(controllers: "dict[str, str]") -> "dict[str, str]":
    """Hierarchy ("cpu,cpuacct") to directory: controllers with the same directory are mounted together."""
    result: "dict[str, str]" = {}
    names: "dict[str, list[str]]" = {}
    for controller, directory in controllers.items():
        names.setdefault(directory, []).append(controller)
    for directory, together in names.items():
        result[",".join(together)] = directory
    return result


def _parameters(names: str) -> "list[tuple[str, str | int | None]]":
    if names.startswith("name="):
        return [("none", None), ("name", names[len("name=") :])]
    return [(name, None) for name in names.split(",")]
