"""The sources of bind mounts, opened as detached copies."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import mounts
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.idmapped import Joined, Mapping


class OpenTree(Step):
    """Open a source that the container's user namespace may not reach, before the container process is made."""

    __slots__ = ("attributes", "fd", "follow", "mapping", "maps_below", "path", "recursive", "slave")
    name = "source"
    section = "config.md#mounts"

    def __init__(self, path: str, recursive: bool, pointer: str, slave: bool = True, attributes: int = 0) -> None:
        Step.__init__(self, pointer)
        self.attributes = attributes
        # Whether a symbolic link at the path is followed.
        self.follow = True
        self.path = path
        self.recursive = recursive
        self.slave = slave
        self.mapping: Mapping | Joined | None = None
        # Whether the mapping is for the mounts below too.
        self.maps_below = False
        self.fd = -1

    def describe(self) -> str:
        words = "open a copy of the mount at " + self.path
        return words + (" for the user namespace" if self.mapping is None else " and map its ids")

    def place(self, error: PyruncError) -> str:
        return self.pointer + "/source" if self.pointer.startswith("/mounts/") else self.pointer

    def apply(self, context: Context) -> None:
        self.fd = open_source(self.path, self.recursive, self.follow)
        if self.slave:
            # The copy is still of its original's peer group: what the container mounts there would show on the host.
            mounts.set_attributes(self.fd, 0, 0, propagation=_linux.MS_SLAVE, recursive=True)
        if self.attributes:
            mounts.set_attributes(self.fd, self.attributes)
        if self.mapping is not None:
            self.mapping.put_on(self.fd, self.maps_below, self.path)

    def undo(self, context: Context) -> None:
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def open_source(path: str, recursive: bool, follow: bool = True) -> int:
    """A detached copy of the mount at a path of the host. Raises PyruncError naming the path."""
    try:
        return mounts.clone(_linux.AT_FDCWD, path, recursive=recursive, follow=follow)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise PyruncError(f"mount source {path} does not exist", errno=error.errno) from None
        raise PyruncError(f"bind mount of {path}: {reason(error)}", errno=error.errno) from None
