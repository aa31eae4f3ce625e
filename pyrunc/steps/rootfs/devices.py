"""Device nodes, and the links of /dev."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import mounts, paths
from pyrunc.steps.rootfs.source import OpenTree, open_source
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Device
    from pyrunc.steps.context import Context

# config-linux.md, "Default Devices": path, major, minor.
DEFAULTS: Final = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

# Of a device of the host's that is bound because the container's cannot be made.
BIND_ATTRIBUTES: Final = _linux.MOUNT_ATTR_NOSUID | _linux.MOUNT_ATTR_NOEXEC

_KINDS: Final = {"c": _linux.S_IFCHR, "u": _linux.S_IFCHR, "b": _linux.S_IFBLK, "p": _linux.S_IFIFO}

_LINKS: Final = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)


def kind_and_number(device: Device) -> tuple[int, int]:
    """The S_IF* of a device, and its st_rdev."""
    return _KINDS[device["type"]], 0 if device["type"] == "p" else posix.makedev(device["major"], device["minor"])


def mode_of(device: Device) -> int:
    """Its permissions: 0666 unless the config says something else."""
    mode = device.get("fileMode")
    return (0o666 if mode is None else mode) & 0o7777


def is_device(status: posix.stat_result, device: Device) -> bool:
    """Whether a file is that device, or FIFO."""
    kind, number = kind_and_number(device)
    return status.st_mode & _linux.S_IFMT == kind and (device["type"] == "p" or status.st_rdev == number)


class MakeDevice(Step):
    """One device node: made by mknod(2), or the host's bound where the kernel does not let us make one."""

    __slots__ = ("device", "tree")
    name = "device"
    section = "config-linux.md#devices"
    side = CONTAINER

    def __init__(self, device: Device, pointer: str, tree: OpenTree | None) -> None:
        Step.__init__(self, pointer)
        self.device = device
        self.tree = tree

    def describe(self) -> str:
        device = self.device
        number = "" if device["type"] == "p" else f" {device['major']}:{device['minor']}"
        return f"make device {device['path']} ({device['type']}{number})"

    def place(self, error: PyruncError) -> str:
        # What cannot be made at all may be a matter of its numbers; the way to it is one of the path.
        return self.pointer + ("" if error.errno in (errno.EPERM, errno.EINVAL) else "/path") if self.pointer else ""

    def apply(self, context: Context) -> None:
        try:
            self._make(context)
        except OSError as error:
            raise PyruncError(f"device {self.device['path']}: {reason(error)}", errno=error.errno) from None

    def _make(self, context: Context) -> None:
        device = self.device
        parent, name = paths.open_parent(context.root_fd, device["path"])
        try:
            if self._is_there(parent, name):
                return
            if self.tree is not None:
                self._bind(parent, name, self.tree.fd)
                return
            kind, number = kind_and_number(device)
            try:
                posix.mknod(name, kind | mode_of(device), number, dir_fd=parent)
            except PermissionError:
                tree = open_source(device["path"], False)
                mounts.set_attributes(tree, BIND_ATTRIBUTES)
                self._bind(parent, name, tree)
                posix.close(tree)
                return
            owner = (device.get("uid") or 0, device.get("gid") or 0)
            if owner != (0, 0):
                self._own(parent, name, owner)
        finally:
            posix.close(parent)

    def _own(self, parent: int, name: str, owner: tuple[int, int]) -> None:
        """By a descriptor of what was made: its name may be something else by now, on a volume that is shared."""
        made = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent)
        try:
            if not is_device(posix.fstat(made), self.device):
                raise PyruncError(f"device {self.device['path']}: something else was put there meanwhile")
            posix.chown("/proc/self/fd/" + str(made), *owner)
        finally:
            posix.close(made)

    def _is_there(self, parent: int, name: str) -> bool:
        """Whether the device stands there already. Raises PyruncError when something else does."""
        try:
            status = posix.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not is_device(status, self.device):
            raise PyruncError(f"device {self.device['path']}: something else exists there")
        return True

    def _bind(self, parent: int, name: str, tree: int) -> None:
        if not is_device(posix.fstat(tree), self.device):
            raise PyruncError(f"device {self.device['path']}: on the host something else stands there")
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        posix.close(posix.open(name, flags, 0o644, dir_fd=parent))
        target = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent)
        mounts.attach(tree, target)
        posix.close(target)


class DeviceLinks(Step):
    """The symbolic links of /dev (runtime-linux.md, "Dev symbolic links", and pts/ptmx)."""

    __slots__ = ()
    name = "links"
    section = "runtime-linux.md#dev-symbolic-links"
    side = CONTAINER

    def describe(self) -> str:
        return "link /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr, /dev/ptmx"

    def apply(self, context: Context) -> None:
        dev = paths.make_directories(context.root_fd, "/dev")
        try:
            for target, link in _LINKS:
                self._link(context.root_fd, target, link, dev)
            try:
                posix.unlink("ptmx", dir_fd=dev)
            except FileNotFoundError:
                pass
            posix.symlink("pts/ptmx", "ptmx", dir_fd=dev)
        finally:
            posix.close(dev)

    def _link(self, root_fd: int, target: str, link: str, dev: int) -> None:
        if target == "/proc/kcore":
            try:
                posix.close(paths.open_in_root(root_fd, target))
            except OSError:
                return
        try:
            posix.symlink(target, link[len("/dev/") :], dir_fd=dev)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
