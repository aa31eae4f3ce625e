"""Entries of mounts[] that change a mount which is there."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.linux import mounts, paths
from pyrunc.steps.rootfs.mount import MountStep

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class Remount(MountStep):
    """What the options name changes, and nothing else; never whether the file system itself is read-only."""

    __slots__ = ()

    def _make(self, context: Context) -> None:
        options = self.options
        target = paths.open_in_root(context.root_fd, self.destination)
        if not options.bind and (options.parameters or options.superblock or options.cleared):
            parameters: list[tuple[str, str | int | None]] = [*options.parameters]
            words = [*options.superblock, *options.cleared]
            parameters += [(word, None) for word in words if not word.endswith("iversion")]
            mounts.reconfigure(target, parameters)
        if options.attr_set or options.attr_clr:
            mounts.set_attributes(target, options.attr_set, options.attr_clr)
        self.put_later_attributes(target)
        posix.close(target)
