"""Bind mounts."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.linux import mounts, paths
from pyrunc.steps.rootfs import mount_record, mountpoint
from pyrunc.steps.rootfs.mount import MountStep
from pyrunc.steps.rootfs.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import Mount
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.mount_options import MountOptions


class Bind(MountStep):
    """A copy of another mount, of the host's or of one within the root."""

    __slots__ = ("copy_link",)

    def __init__(self, mount: Mount, options: MountOptions, bundle: str, pointer: str, rootfs: str) -> None:
        MountStep.__init__(self, mount, options, bundle, pointer, rootfs)
        # Loaded now and only when needed: nothing is imported once the container process exists.
        self.copy_link: Callable[[int, str, int], None] | None = None
        if options.copy_symlink:
            from pyrunc.steps.rootfs import copy_symlink

            self.copy_link = copy_symlink.copy

    def _make(self, context: Context) -> None:
        options = self.options
        root_fd = context.root_fd
        if self.tree is not None:
            tree = self.tree.fd
        elif self.inside:
            flags = posix.O_PATH | (posix.O_NOFOLLOW if options.keeps_link() else 0)
            source = paths.open_in_root(root_fd, self.inside, flags)
            tree = mounts.clone(source, recursive=options.recursive)
            posix.close(source)
            if self.mapping is not None:
                self.mapping.put_on(tree, options.idmap == "ridmap", self.source)
        else:
            tree = open_source(self.source, options.recursive, not options.keeps_link())
        if self.copy_link is not None and paths.is_link(tree):
            self.copy_link(root_fd, self.destination, tree)
            return
        target = self.mountpoint(context, directory=paths.is_directory(tree))
        place = mountpoint.check(context, target, _linux.fstatfs(tree)[0] == _linux.PROC_SUPER_MAGIC, self.destination)
        set_, clear = options.bind_attributes(_linux.fstatfs(tree)[1] if self.locked else None)
        if set_ or clear:
            mounts.set_attributes(tree, set_, clear)
        self.put_later_attributes(tree)
        mounts.attach(tree, target)
        mount_record.note(context, tree, self.destination, place)
        posix.close(target)
        posix.close(tree)
