"""How access times are kept, for a bind mount in a user namespace: set by the runtime, before it is entered.

Inside, the kernel has locked what the source has (mount_namespaces(7)). Loaded only for a mount that asks for it.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.linux import mountinfo, mounts
from pyrunc.steps.rootfs.mount_options import times_of
from pyrunc.steps.rootfs.source import OpenTree, open_source
from pyrunc.steps.step import RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.mount_options import MountOptions

# ST_RDONLY, ST_NOSUID, ST_NODEV, ST_NOEXEC of statfs(2): what would not be locked in a copy from the host's mount
# namespace, so that the container's root could take it away.
_TO_BE_LOCKED: Final = 1 | 2 | 4 | 8


class SetTimes(Step):
    """Open a source in the host's mount namespace, where nothing is locked, and set how its copy keeps access times.

    Only where nothing need be locked: neither a restriction of the mount, nor, of a copy with all below, what other
    mounts cover. Else it is opened later, as without the option, and the kernel refuses a change.
    """

    __slots__ = ("times", "tree")
    name = "source"
    section = "config.md#linux-mount-options"
    side = RUNTIME

    def __init__(self, tree: OpenTree, options: MountOptions) -> None:
        Step.__init__(self, tree.pointer)
        self.tree = tree
        self.times = options.times()

    def describe(self) -> str:
        return "set how access times are kept in the copy of " + self.tree.path

    def apply(self, context: Context) -> None:
        if self.tree.fd < 0:
            if not self._is_free():
                return
            self.tree.apply(context)
        mounts.set_attributes(self.tree.fd, *self.times)

    def _is_free(self) -> bool:
        fd = open_source(self.tree.path, False, self.tree.follow)
        flags = _linux.fstatfs(fd)[1]
        posix.close(fd)
        if flags & _TO_BE_LOCKED or times_of(flags) == self.times[0]:
            return False
        if not self.tree.recursive:
            return True
        place = posix.open(self.tree.path, posix.O_PATH | posix.O_CLOEXEC)
        above = posix.readlink("/proc/self/fd/" + str(place)).rstrip("/") + "/"
        posix.close(place)
        return not any(point.startswith(above) for point in mountinfo.points())

    def undo(self, context: Context) -> None:
        self.tree.undo(context)
