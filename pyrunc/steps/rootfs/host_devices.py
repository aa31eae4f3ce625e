"""Devices for a user namespace, whose root can make none: the host's, or where it has none one that the runtime makes.

Loaded only for a container whose sources the runtime opens in its mount namespace (host_sources.py).
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.linux import files, mounts
from pyrunc.steps.rootfs.devices import BIND_ATTRIBUTES, kind_and_number, mode_of
from pyrunc.steps.rootfs.source import OpenTree

if TYPE_CHECKING:
    from pyrunc.config.types import Device
    from pyrunc.steps.context import Context


class OpenDevice(OpenTree):
    """Open the host's node of a device, or make one with the owner and mode that the config has for it."""

    __slots__ = ("device",)
    section = "config-linux.md#devices"

    def __init__(self, device: Device, pointer: str) -> None:
        OpenTree.__init__(self, device["path"], False, pointer, attributes=BIND_ATTRIBUTES)
        self.device = device

    def apply(self, context: Context) -> None:
        try:
            OpenTree.apply(self, context)
        except PyruncError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            try:
                self._make(context)
            except PermissionError:
                # Not the first user namespace's root: nobody is asked for one that can make it.
                raise error from None

    def _make(self, context: Context) -> None:
        """In the container's mount namespace, where nobody sees it: on a tmpfs of its own, of the first user namespace,
        since in another one's a device cannot be opened.
        """
        device = self.device
        owner = (
            self._on_host(context, "uid", device.get("uid") or 0),
            self._on_host(context, "gid", device.get("gid") or 0),
        )
        kind, number = kind_and_number(device)
        tmpfs = mounts.create("tmpfs", "tmpfs", [("nr_inodes", "2"), ("mode", "700")], 0)
        # A mount that is nowhere cannot be copied before Linux 6.15.
        place = posix.open(context.rootfs, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        mounts.attach(tmpfs, place)
        posix.close(place)
        try:
            posix.mknod("device", kind | 0o600, number, dir_fd=tmpfs)
            posix.chown("device", *owner, dir_fd=tmpfs)
            posix.chmod("device", mode_of(device), dir_fd=tmpfs)
            self.fd = mounts.clone(tmpfs, "device")
            mounts.set_attributes(self.fd, BIND_ATTRIBUTES)
        finally:
            posix.fchdir(tmpfs)
            _linux.umount2(".", _linux.MNT_DETACH)
            posix.close(tmpfs)

    def _on_host(self, context: Context, kind: str, number: int) -> int:
        """The host's number of one of the container's users or groups (user_namespaces(7))."""
        lines = files.read(f"/proc/{context.pid}/{kind}_map", limit=1 << 20).decode("ascii")
        for line in lines.splitlines():
            inside, outside, count = map(int, line.split())
            if inside <= number < inside + count:
                return outside + number - inside
        words = f"device {self.device['path']}: {kind} {number} is not mapped in the user namespace"
        raise PyruncError(words, pointer=self.pointer or None)
