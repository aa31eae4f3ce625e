"""An entry of mounts[]: what all of them have in common.

Everything happens on descriptors: a mount is made detached, its destination is resolved inside the root, and the one
is put on the other with move_mount(2). No path of the container is ever resolved as a string by the runtime.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import mounts, paths
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Mount
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.idmapped import Joined, Mapping
    from pyrunc.steps.rootfs.mount_options import MountOptions
    from pyrunc.steps.rootfs.source import OpenTree


class MountStep(Step):
    """One entry of mounts[]: a NewMount, Bind, Remount or CgroupMount (entry.py).

    destination: from the root. source: of a bind a path of the host; inside: that path from the root, where it is below
    the rootfs, so that an earlier mount may be what makes it. given: the options as they stand in the config.
    """

    __slots__ = ("destination", "fstype", "given", "inside", "locked", "mapping", "options", "source", "tree")
    name = "mount"
    section = "config.md#mounts"
    side = CONTAINER

    def __init__(self, mount: Mount, options: MountOptions, bundle: str, pointer: str, rootfs: str) -> None:
        """rootfs: its path on the host, or ""; a destination below it is meant to be inside, as in runc."""
        Step.__init__(self, pointer)
        self.given = mount.get("options", [])
        self.options = options
        destination = mount["destination"]
        if rootfs and (destination + "/").startswith(rootfs + "/"):
            destination = destination[len(rootfs) :]
        self.destination = "/" + destination.lstrip("/")
        self.fstype = "bind" if options.bind else mount.get("type") or "none"
        source = mount.get("source") or ""
        if options.bind and not source.startswith("/"):
            source = f"{bundle}/{source}"
        self.source = source
        self.inside = source[len(rootfs) :] if options.bind and rootfs and source.startswith(rootfs + "/") else ""
        # What the runtime has opened of the source, None to open it here.
        self.tree: OpenTree | None = None
        # Of a new file system and of a source inside: the mapping of its ids. That of another source is its tree's.
        self.mapping: Mapping | Joined | None = None
        # Whether the mount will belong to a user namespace that may not clear the attributes of its source.
        self.locked = False

    def describe(self) -> str:
        words = "mount " + (self.source if self.options.bind else self.fstype) + " on " + self.destination
        if self.options.attr_set & _linux.MOUNT_ATTR_RDONLY:
            words += ", read-only"
        return words

    def apply(self, context: Context) -> None:
        try:
            self._make(context)
        except OSError as error:
            why = error.strerror if isinstance(error, mounts.FilesystemError) else reason(error)
            words = "mount " + self.what() + " to " + self.destination + ": " + (why or "")
            raise self.failure(words, error.errno) from None

    def place(self, error: PyruncError) -> str:
        from pyrunc.steps.rootfs import mount_places

        return self.pointer + mount_places.of(error.message, error.errno, self.given)

    def what(self) -> str:
        return self.source if self.options.bind else self.fstype

    def failure(self, words: str, number: int | None) -> PyruncError:
        # The beginning is runc's, by which scripts know a mount that fails.
        start = "unable to start container process: error during container init: error mounting"
        return PyruncError(f'{start} "{self.what()}" to rootfs at "{self.destination}": {words}', errno=number)

    def _make(self, context: Context) -> None:
        """Raises OSError, PyruncError."""
        raise NotImplementedError

    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool(self.options.attr_set & _linux.MOUNT_ATTR_RDONLY)

    def mountpoint(self, context: Context, *, directory: bool) -> int:
        """What is to be mounted on, made if it is missing; directory: and so must the mount point be."""
        try:
            if self.options.target_link:
                fd = paths.open_in_root(context.root_fd, self.destination, posix.O_PATH | posix.O_NOFOLLOW)
            else:
                fd = (paths.make_directories if directory else paths.make_file)(context.root_fd, self.destination)
        except OSError as error:
            if error.errno == errno.ENOTDIR and is_there(context.root_fd, self.destination):
                raise self.failure(self._unlike(directory), error.errno) from None
            words = f'make mountpoint "{self.destination}": {reason(error)}'
            raise self.failure(words, error.errno) from None
        if directory != paths.is_directory(fd):
            raise self.failure(self._unlike(directory), errno.ENOTDIR)
        return fd

    def _unlike(self, directory: bool) -> str:
        """What the kernel means by ENOTDIR, for which move_mount(2) has EINVAL."""
        words = f"mount {self.what()} to {self.destination}: not a directory"
        if directory:
            return f"{words}: {self.what()} is one, {self.destination} is none"
        return f"{words}: {self.destination} is one, {self.what()} is none"

    def put_later_attributes(self, tree: int) -> None:
        """The r* options and the propagation, which a detached mount is given once it is made."""
        options = self.options
        if options.rec_set or options.rec_clr:
            mounts.set_attributes(tree, options.rec_set, options.rec_clr, recursive=True)
        for value, recursive in options.propagation:
            mounts.set_attributes(tree, 0, 0, propagation=value, recursive=recursive)


def is_there(root_fd: int, path: str) -> bool:
    try:
        posix.close(paths.open_in_root(root_fd, path))
    except OSError:
        return False
    return True
