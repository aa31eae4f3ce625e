"""The container's root: the bind of the rootfs, pivot_root(2) or chroot(2), and how its mounts propagate."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.linux import mountinfo, mounts
from pyrunc.linux.paths import is_null
from pyrunc.steps.rootfs import mount_options
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class LimitPropagation(Step):
    """Keep what is mounted in the container from appearing on the host."""

    __slots__ = ("word",)
    name = "propagation"
    section = "config-linux.md#rootfs-mount-propagation"
    side = CONTAINER

    def __init__(self, word: str, pointer: str) -> None:
        Step.__init__(self, pointer)
        self.word = word

    def describe(self) -> str:
        return "make the mounts of the new mount namespace " + self.word

    def apply(self, context: Context) -> None:
        value, recursive = mount_options.PROPAGATION[self.word]
        flags = _linux.AT_RECURSIVE if recursive else 0
        _linux.mount_setattr(_linux.AT_FDCWD, "/", flags, 0, 0, value, 0)


class Rootfs(Step):
    """Make the rootfs a mount of its own, on its own path."""

    __slots__ = ("null", "null_fd", "path", "slave", "source")
    name = "rootfs"
    section = "config.md#root"
    side = CONTAINER

    def __init__(self, path: str, source: OpenTree | None, slave: bool = False, null: OpenTree | None = None) -> None:
        """slave: what the host mounts below the rootfs later appears in the container.

        source, null: copies of the rootfs and of /dev/null that the runtime has opened, None to open them here.
        """
        Step.__init__(self, "/root/path")
        self.path = path
        self.source = source
        self.slave = slave
        self.null = null
        # For masks.
        self.null_fd = -1

    def describe(self) -> str:
        return f"bind the rootfs {self.path} to itself"

    def apply(self, context: Context) -> None:
        # The host's, for masks, taken while the host's tree is there: the container's is the image's (CVE-2025-31133).
        self.null_fd = _open_null() if self.null is None else self.null.fd
        if not is_null(self.null_fd):
            raise PyruncError("/dev/null of the host is not the null device (character device 1:3)")
        if self.source is not None:
            tree = self.source.fd
            try:
                target = posix.open(self.path, posix.O_PATH | posix.O_CLOEXEC | posix.O_DIRECTORY)
            except PermissionError:
                # The namespace's root cannot walk there: any directory will do, the new root will be the only one.
                target = posix.open("/", posix.O_PATH | posix.O_CLOEXEC | posix.O_DIRECTORY)
            _make_parent_slave(target)
        else:
            target = posix.open(self.path, posix.O_PATH | posix.O_CLOEXEC | posix.O_DIRECTORY)
            _make_parent_slave(target)
            tree = mounts.clone(_linux.AT_FDCWD, self.path, recursive=True)
        # It has the propagation of its original, and pivot_root(2) refuses a shared root too.
        mounts.set_attributes(tree, 0, 0, propagation=_linux.MS_SLAVE if self.slave else _linux.MS_PRIVATE)
        mounts.attach(tree, target)
        posix.close(target)
        context.root_fd = tree


def _make_parent_slave(fd: int) -> None:
    """The host must not see the bind, and pivot_root(2) refuses a root whose parent mount is shared.

    Slave, not private as in runc: binds made from the same mount still show what the host mounts there later.
    """
    current = posix.dup(fd)
    try:
        while True:
            try:
                mounts.set_attributes(current, 0, 0, propagation=_linux.MS_SLAVE)
                return
            except OSError as error:
                # EINVAL: not the root of a mount; its mount's root is further up.
                if error.errno != errno.EINVAL:
                    raise
            above = posix.open("..", posix.O_PATH | posix.O_CLOEXEC, dir_fd=current)
            same = posix.fstat(above).st_ino == posix.fstat(current).st_ino
            posix.close(current)
            current = above
            if same:
                return
    finally:
        posix.close(current)


def _open_null() -> int:
    """A detached copy of the host's /dev/null. Raises OSError."""
    fd = posix.open("/dev/null", posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    try:
        return mounts.clone(fd)
    finally:
        posix.close(fd)


class PivotRoot(Step):
    """Make the rootfs the root, and let go of the host's tree."""

    __slots__ = ("no_pivot",)
    name = "pivot_root"
    section = "config.md#root"
    side = CONTAINER

    def __init__(self, no_pivot: bool) -> None:
        Step.__init__(self, "/root/path")
        self.no_pivot = no_pivot

    def describe(self) -> str:
        if self.no_pivot:
            return "move the rootfs to / and chroot into it"
        return "pivot_root to the rootfs and unmount the host's tree"

    def apply(self, context: Context) -> None:
        if self.no_pivot:
            self._move(context.root_fd)
        else:
            old = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            posix.fchdir(context.root_fd)
            _linux.pivot_root(".", ".")
            posix.fchdir(old)
            posix.close(old)
            # Without this the unmounting below would spread to the host.
            _linux.mount_setattr(_linux.AT_FDCWD, ".", _linux.AT_RECURSIVE, 0, 0, _linux.MS_SLAVE, 0)
            _linux.umount2(".", _linux.MNT_DETACH)
        posix.chdir("/")
        posix.close(context.root_fd)
        context.root_fd = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)

    def _move(self, root_fd: int) -> None:
        # On a root that cannot be pivoted (ramfs) the host's tree stays below: /proc and /sys go first, or a
        # container could mount them anew without their masks (runc does the same).
        for line in mountinfo.points():
            if line.startswith(("/proc/", "/sys/")) or line in ("/proc", "/sys"):
                try:
                    _linux.mount_setattr(_linux.AT_FDCWD, line, _linux.AT_RECURSIVE, 0, 0, _linux.MS_SLAVE, 0)
                    _linux.umount2(line, _linux.MNT_DETACH)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EPERM, errno.ENOENT):
                        raise
        posix.fchdir(root_fd)
        host = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        mounts.attach(root_fd, host)
        posix.close(host)
        posix.chroot(".")


class ChangeRoot(Step):
    """Without a mount namespace there is nothing to pivot: chroot(2)."""

    __slots__ = ()
    name = "chroot"
    section = "config.md#root"
    side = CONTAINER

    def __init__(self) -> None:
        Step.__init__(self, "/root/path")

    def describe(self) -> str:
        return "chroot to the rootfs"

    def apply(self, context: Context) -> None:
        posix.fchdir(context.root_fd)
        posix.chroot(".")
        posix.chdir("/")


class RootPropagation(Step):
    """linux.rootfsPropagation of the new root."""

    __slots__ = ("word",)
    name = "propagation"
    section = "config-linux.md#rootfs-mount-propagation"
    side = CONTAINER

    def __init__(self, word: str) -> None:
        Step.__init__(self, "/linux/rootfsPropagation")
        self.word = word

    def describe(self) -> str:
        return "make the root " + self.word

    def apply(self, context: Context) -> None:
        value, recursive = mount_options.PROPAGATION[self.word]
        mounts.set_attributes(context.root_fd, 0, 0, propagation=value, recursive=recursive)


class UnmountOnDelete(Step):
    """Without a mount namespace of its own the container's mounts are the host's: delete takes them away again."""

    __slots__ = ()
    name = "unmount"
    side = RUNTIME

    def describe(self) -> str:
        return "remember that the mounts are made in the host's own mount namespace"

    def apply(self, context: Context) -> None:
        return

    def undo(self, context: Context) -> None:
        unmount_below(context.rootfs)


def unmount_below(rootfs: str) -> None:
    """Unmount the rootfs and what is mounted below it in the caller's own mount namespace, the latest first."""
    for point in mountinfo.points():
        if point == rootfs or point.startswith(rootfs + "/"):
            above, _, name = point.rpartition("/")
            try:
                # The way there goes through what the container may change: no link may lead it to a mount of the host.
                flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
                fd = _linux.openat2(_linux.AT_FDCWD, above or "/", flags, 0, _linux.RESOLVE_NO_SYMLINKS)
                posix.fchdir(fd)
                posix.close(fd)
                _linux.umount2(name, _linux.MNT_DETACH | _linux.UMOUNT_NOFOLLOW)
            except OSError:
                continue
