"""linux.readonlyPaths and linux.maskedPaths."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import mounts, paths
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.root import Rootfs


def _same_directory(one: int, other: int) -> bool:
    status, expected = posix.fstat(one), posix.fstat(other)
    return status.st_ino == expected.st_ino and status.st_dev == expected.st_dev


class ReadOnlyPaths(Step):
    """linux.readonlyPaths."""

    __slots__ = ("paths",)
    name = "readonlyPaths"
    section = "config-linux.md#readonly-paths"
    side = CONTAINER

    def __init__(self, paths_: list[str]) -> None:
        Step.__init__(self, "/linux/readonlyPaths")
        self.paths = paths_

    def describe(self) -> str:
        return f"make {len(self.paths)} paths read-only: {' '.join(self.paths)}"

    def apply(self, context: Context) -> None:
        for path in self.paths:
            try:
                target = paths.open_in_root(context.root_fd, path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                raise PyruncError(f"readonly path {path}: {reason(error)}", errno=error.errno) from None
            if _same_directory(target, context.root_fd):
                # A copy on top of the root would be seen by nobody: all look from the root itself.
                mounts.set_attributes(context.root_fd, _linux.MOUNT_ATTR_RDONLY)
            else:
                tree = mounts.clone(target, recursive=True)
                mounts.set_attributes(tree, _linux.MOUNT_ATTR_RDONLY)
                mounts.attach(tree, target)
                posix.close(tree)
            posix.close(target)


class MaskedPaths(Step):
    """linux.maskedPaths: /dev/null over files, one empty read-only tmpfs over all directories."""

    __slots__ = ("label", "paths", "rootfs")
    name = "maskedPaths"
    section = "config-linux.md#masked-paths"
    side = CONTAINER

    def __init__(self, paths_: list[str], label: str, rootfs: Rootfs) -> None:
        """rootfs: the step that has taken the host's /dev/null."""
        Step.__init__(self, "/linux/maskedPaths")
        self.rootfs = rootfs
        self.paths = paths_
        self.label = label

    def describe(self) -> str:
        return f"mask {len(self.paths)} paths: {' '.join(self.paths)}"

    def apply(self, context: Context) -> None:
        # The first of each kind is attached itself, the others are copies of it.
        sources = {False: (self.rootfs.null_fd, False), True: (-1, False)}
        for path in dict.fromkeys(self.paths):
            try:
                target = paths.open_in_root(context.root_fd, path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                raise PyruncError(f"masked path {path}: {reason(error)}", errno=error.errno) from None
            kind = paths.is_directory(target)
            source, attached = sources[kind]
            if attached:
                tree = mounts.clone(source)
                mounts.attach(tree, target)
                posix.close(tree)
            else:
                if source < 0:
                    source = self._empty()
                mounts.attach(source, target)
                sources[kind] = (source, True)
            posix.close(target)

    def _empty(self) -> int:
        label: list[tuple[str, str | None]] = [("context", self.label)] if self.label else []
        attributes = mounts.RESTRICTIONS
        try:
            return mounts.create("tmpfs", "tmpfs", [("nr_blocks", "1"), ("nr_inodes", "1"), *label], attributes)
        except OSError:
            # Some kernels need a second inode for the root of a labelled tmpfs.
            return mounts.create("tmpfs", "tmpfs", [("nr_blocks", "1"), ("nr_inodes", "2"), *label], attributes)
