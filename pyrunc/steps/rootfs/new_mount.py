"""New file systems."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.linux import mounts, paths, procfs
from pyrunc.steps.rootfs import mount_record, mountpoint
from pyrunc.steps.rootfs.mount import MountStep, is_there
from pyrunc.steps.rootfs.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import Mount
    from pyrunc.steps.context import Context
    from pyrunc.steps.namespaces import OpenNamespaces
    from pyrunc.steps.rootfs.mount_options import MountOptions

# Types whose superblock belongs to a namespace and may be shared with other mounts of it: "ro" is of this mount alone.
_SHARED_SUPERBLOCK: Final = ("proc", "sysfs", "mqueue", "tmpfs", "devpts", "cgroup", "cgroup2")

# Types whose labels are the kernel's own, or given by another way than the parameter "context" (SELinux).
_OWN_LABELS: Final = ("proc", "sysfs", "mqueue")

# What is put into these before the program starts, and later mounts' mount points: see ReadOnlyMounts. Of type cgroup
# it is the tmpfs of cgroup v1.
READ_ONLY_LATE: Final = ("tmpfs", "cgroup", "cgroup2")


class NewMount(MountStep):
    """A mount of a file system that is made for the container."""

    __slots__ = ("copy_up", "label", "late", "opened")

    def __init__(
        self,
        mount: Mount,
        options: MountOptions,
        bundle: str,
        pointer: str,
        rootfs: str,
        label: str,
        opened: OpenNamespaces | None,
    ) -> None:
        """label: of SELinux, or "". opened: what has the namespaces that are joined, if any are."""
        MountStep.__init__(self, mount, options, bundle, pointer, rootfs)
        self.label = label
        self.opened = opened
        # The mount itself, while ReadOnlyMounts has still to make it read-only.
        self.late = -1
        # Loaded now and only when needed: nothing is imported once the container process exists.
        self.copy_up: Callable[[int, int, int], None] | None = None
        if options.tmpcopyup:
            from pyrunc.steps.rootfs import tmpcopyup

            self.copy_up = tmpcopyup.copy

    def _make(self, context: Context) -> None:
        options = self.options
        # A tmpfs takes the mode of what it covers; where there was nothing it has its own default, 1777.
        inherits = self.fstype == "tmpfs" and not any(key == "mode" for key, _ in options.parameters)
        inherits = inherits and is_there(context.root_fd, self.destination)
        target, place = self.target(context)
        attributes = options.attr_set
        if self.fstype == "tmpfs":
            # What is put into it before the program starts must be writable until then: see ReadOnlyMounts.
            attributes &= ~_linux.MOUNT_ATTR_RDONLY
        parameters: list[tuple[str, str | int | None]] = [*options.parameters]
        if inherits:
            parameters.append(("mode", format(posix.fstat(target).st_mode & 0o7777, "o")))
        if self.label and self.fstype not in _OWN_LABELS:
            parameters.append(("context", self.label))
        if "iversion" in options.superblock or any(
            value is not None and len(value.encode("utf-8", "surrogateescape")) > mounts.FSCONFIG_VALUE_MAX
            for _, value in options.parameters
        ):
            self.done(self._old_api(target, parameters, attributes, context), place, context)
            return
        parameters += [(flag, None) for flag in options.superblock]
        if self.fstype not in _SHARED_SUPERBLOCK and attributes & _linux.MOUNT_ATTR_RDONLY:
            parameters.append(("ro", None))
        pids = self.opened.of("pid") if self.opened is not None else None
        if self.fstype == "proc" and pids is not None:
            # This process enters a joined pid namespace only later: see order.py.
            tree = procfs.open_of(pids, parameters, attributes)
        else:
            try:
                tree = mounts.create(self.fstype, self.source or self.fstype, parameters, attributes)
            except OSError as error:
                if self.fstype != "sysfs" or not self.locked or error.errno != errno.EPERM:
                    raise
                tree = self._host_sysfs()
        if self.copy_up is not None:
            self.copy_up(target, tree, context.self_fd)
        if self.mapping is not None:
            self.mapping.put_on(tree, False, self.destination)
        if self.label and self.fstype == "mqueue":
            from pyrunc.linux import selinux

            selinux.set_label(tree, self.label)
        self.put_later_attributes(tree)
        mounts.attach(tree, target)
        posix.close(target)
        self.done(tree, place, context)

    def _host_sysfs(self) -> int:
        """The host's, for a network namespace that does not belong to the user namespace (as crun): the kernel gives
        no new one then. All that is mounted in it gets the restrictions, too.
        """
        tree = open_source("/sys", True) if self.tree is None else self.tree.fd
        restrictions = self.options.attr_set & mounts.RESTRICTIONS
        if restrictions:
            mounts.set_attributes(tree, restrictions, recursive=True)
        return tree

    def done(self, tree: int, place: str, context: Context) -> None:
        """The mount is at its place, a path from the root: note it, and hold or let go of its descriptor."""
        mount_record.note(context, tree, self.destination, place)
        if self.fstype in READ_ONLY_LATE and self.read_only():
            self.late = tree
        else:
            posix.close(tree)

    def target(self, context: Context) -> tuple[int, str]:
        """The directory to mount on, and its path from the root, without links."""
        if self.fstype in ("proc", "sysfs"):
            # It must not be behind a link (CVE-2023-27561).
            fd = self._plain_directory(context.root_fd)
        else:
            fd = self.mountpoint(context, directory=True)
        return fd, mountpoint.check(context, fd, self.fstype == "proc", self.destination)

    def _plain_directory(self, root_fd: int) -> int:
        # Looked up once, without links: one that is put there between a check and its use would be followed else, and
        # what is masked later be masked somewhere else (CVE-2019-19921).
        flags = posix.O_PATH | posix.O_DIRECTORY
        for _ in range(2):
            try:
                return paths.open_in_root(root_fd, self.destination, flags, _linux.RESOLVE_NO_SYMLINKS)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    break
                if error.errno != errno.ENOENT:
                    raise
            posix.close(paths.make_directories(root_fd, self.destination))
        # In runc's words.
        text = f'filesystem "{self.fstype}" must be mounted on ordinary directory'
        raise PyruncError(f"{text}: {self.destination} is none")

    def _old_api(
        self, target: int, parameters: list[tuple[str, str | int | None]], attributes: int, context: Context
    ) -> int:
        """What fsconfig(2) cannot carry: mount(2), on the target as the current directory. The mount's descriptor."""
        if self.label:
            from pyrunc.linux import selinux

            parameters = selinux.quoted(parameters)
        data = ",".join(key if value is None else f"{key}={value}" for key, value in parameters)
        name = mountpoint.place(context, target).rpartition("/")[2]
        here = posix.open(".", posix.O_PATH | posix.O_CLOEXEC)
        posix.fchdir(target)
        try:
            flags = self.options.mount_flags(attributes)
            _linux.mount(self.source or self.fstype, ".", self.fstype, flags, data)
            made = posix.open("../" + name, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW)
        finally:
            posix.fchdir(here)
            posix.close(here)
        if posix.fstat(made).st_dev == posix.fstat(target).st_dev:
            raise PyruncError(f"mount {self.fstype}: {self.destination} was moved away meanwhile")
        if self.copy_up is not None:
            self.copy_up(target, made, context.self_fd)
        self.put_later_attributes(made)
        posix.close(target)
        return made
