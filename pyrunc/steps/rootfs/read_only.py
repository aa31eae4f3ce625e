"""Read-only mounts of which something must be written first."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.linux import mounts
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.new_mount import NewMount


class ReadOnlyMounts(Step):
    """Read-only tmpfs mounts and the read-only root, once all that is to be in them is there."""

    __slots__ = ("mounts", "root")
    name = "readonly"
    section = "config.md#root"
    side = CONTAINER

    def __init__(self, made: list[NewMount], root: bool, pointer: str) -> None:
        Step.__init__(self, pointer)
        self.mounts = made
        self.root = root

    def describe(self) -> str:
        return "make read-only: " + ", ".join([step.destination for step in self.mounts] + ["/"] * self.root)

    def apply(self, context: Context) -> None:
        for step in self.mounts:
            if step.late < 0:
                continue
            # By the descriptor: the path may lead somewhere else by now (CVE-2026-115521).
            mounts.set_attributes(step.late, _linux.MOUNT_ATTR_RDONLY)
            posix.close(step.late)
        if self.root:
            # Only this flag changes: nosuid and its like, locked or not, stay as they are.
            mounts.set_attributes(context.root_fd, _linux.MOUNT_ATTR_RDONLY)
