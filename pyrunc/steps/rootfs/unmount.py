"""Mounts that are taken away from a container that runs."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import paths
from pyrunc.steps.context import Context
from pyrunc.steps.rootfs import mount_record
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import MountRecord


class OwnDescriptors(Step):
    """Hold the way to this process's own descriptors, by the host's procfs: the container's can be anything."""

    __slots__ = ()
    name = "descriptors"
    side = CONTAINER

    def describe(self) -> str:
        return "open /proc/self/fd of the host"

    def apply(self, context: Context) -> None:
        context.self_fd = posix.open("/proc/self/fd", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)


class Unmount(Step):
    """Take a mount of ours away: the topmost at its destination, when it is one that was noted as it was made.

    A path alone tells nothing: whoever runs in the container may have renamed what leads there, and put another mount
    of ours (a read-only /proc/sys, a mask) or a link to one in its place.
    """

    __slots__ = ("destination", "records")
    name = "unmount"
    side = CONTAINER

    def __init__(self, destination: str, records: list[MountRecord], pointer: str) -> None:
        """records: those of the container's mounts (mount_record.take)."""
        Step.__init__(self, pointer)
        self.destination = destination
        asked = mount_record.plain(destination)
        self.records = [record for record in records if record["destination"] == asked]

    def describe(self) -> str:
        return "unmount " + self.destination

    def apply(self, context: Context) -> None:
        if not self.records:
            raise self._failure(
                "invalid argument: neither the config nor mounts add has made a mount there", errno.EINVAL
            )
        try:
            fd = self._topmost(context)
            # By the descriptor, which is the mount itself whatever happens to its path.
            posix.fchdir(context.self_fd)
            _linux.umount2(str(fd), _linux.MNT_DETACH)
            mount_record.note(context, fd, self.destination, "")
        except OSError as error:
            raise self._failure(reason(error), error.errno) from None
        posix.close(fd)

    def _topmost(self, context: Context) -> int:
        """The mount that is on top at the place where the latest of them was made. Raises PyruncError, OSError."""
        above, _, name = self.records[-1]["path"].rpartition("/")
        flags = posix.O_PATH | posix.O_NOFOLLOW
        parent = paths.open_in_root(context.root_fd, above, flags | posix.O_DIRECTORY, _linux.RESOLVE_NO_SYMLINKS)
        if _linux.fstatfs(parent)[0] in (_linux.PROC_SUPER_MAGIC, _linux.SYSFS_MAGIC):
            raise self._failure("what is mounted on a procfs or sysfs stays")
        fd = _linux.openat2(
            parent, name, flags | posix.O_CLOEXEC, 0, _linux.RESOLVE_BENEATH | _linux.RESOLVE_NO_SYMLINKS
        )
        posix.close(parent)
        if not any(mount_record.is_same(record, fd) for record in self.records):
            raise self._failure("what is there now is not what the config or mounts add has mounted there")
        return fd

    def _failure(self, words: str, number: int | None = None) -> PyruncError:
        return PyruncError(f"unmount {self.destination}: {words}", errno=number)
