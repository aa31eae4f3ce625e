"""The descriptor-based mount API (fsopen(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2))."""

from __future__ import annotations

import errno
import posix
from typing import Final

from pyrunc import _linux

# The kernel's limit for the value of a parameter of fsconfig(2): strndup_user(value, 256).
FSCONFIG_VALUE_MAX: Final = 255

_EMPTY_PATHS = _linux.MOVE_MOUNT_F_EMPTY_PATH | _linux.MOVE_MOUNT_T_EMPTY_PATH

#: Attributes of a mount that take rights away from whoever uses it.
RESTRICTIONS: Final = (
    _linux.MOUNT_ATTR_RDONLY | _linux.MOUNT_ATTR_NOSUID | _linux.MOUNT_ATTR_NODEV | _linux.MOUNT_ATTR_NOEXEC
)


class FilesystemError(OSError):
    """An OSError whose strerror carries the reason that the kernel gave on the fsopen(2) descriptor."""


def attach(mount_fd: int, target_fd: int) -> None:
    """Put a detached mount on the place that target_fd names. Raises OSError."""
    _linux.move_mount(mount_fd, "", target_fd, "", _EMPTY_PATHS)


def clone(source_fd: int, path: str = "", *, recursive: bool = False, follow: bool = True) -> int:
    """A detached copy of the mount (or of the tree of mounts) at path; follow: of what a link there leads to.

    Raises OSError.
    """
    flags = _linux.OPEN_TREE_CLONE | _linux.OPEN_TREE_CLOEXEC
    if not path:
        flags |= _linux.AT_EMPTY_PATH
    if recursive:
        flags |= _linux.AT_RECURSIVE
    if not follow:
        flags |= _linux.AT_SYMLINK_NOFOLLOW
    return _linux.open_tree(source_fd, path, flags)


def set_attributes(
    mount_fd: int,
    attr_set: int,
    attr_clr: int = 0,
    *,
    propagation: int = 0,
    recursive: bool = False,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2) on the mount that mount_fd is the root of. Raises OSError."""
    flags = _linux.AT_EMPTY_PATH | (_linux.AT_RECURSIVE if recursive else 0)
    _linux.mount_setattr(mount_fd, "", flags, attr_set, attr_clr, propagation, userns_fd)


def create(fstype: str, source: str | None, parameters: list[tuple[str, str | int | None]], attributes: int) -> int:
    """A new, detached mount of a file system.

    parameters: fsconfig(2) parameters, value None for a flag, a number for a descriptor. attributes: MOUNT_ATTR_*.
    Raises FilesystemError with the kernel's own reason where it gives one.
    """
    fs_fd = _linux.fsopen(fstype, _linux.FSOPEN_CLOEXEC)
    try:
        return finish(fs_fd, source, parameters, attributes)
    finally:
        posix.close(fs_fd)


def finish(fs_fd: int, source: str | None, parameters: list[tuple[str, str | int | None]], attributes: int) -> int:
    """create() with a descriptor of fsopen(2), which stays open."""
    try:
        if source:
            _linux.fsconfig(fs_fd, _linux.FSCONFIG_SET_STRING, "source", source, 0)
        _configure(fs_fd, parameters)
        _linux.fsconfig(fs_fd, _linux.FSCONFIG_CMD_CREATE, None, None, 0)
        return _linux.fsmount(fs_fd, _linux.FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise _failure(fs_fd, error) from None


def reconfigure(mount_fd: int, parameters: list[tuple[str, str | int | None]]) -> None:
    """Change the file system of the mount that mount_fd is the root of; what is not named stays. Raises OSError."""
    fs_fd = _linux.fspick(mount_fd, "", _linux.FSPICK_CLOEXEC | _linux.FSPICK_EMPTY_PATH)
    try:
        try:
            _configure(fs_fd, parameters)
            _linux.fsconfig(fs_fd, _linux.FSCONFIG_CMD_RECONFIGURE, None, None, 0)
        except OSError as error:
            raise _failure(fs_fd, error) from None
    finally:
        posix.close(fs_fd)


def _configure(fs_fd: int, parameters: list[tuple[str, str | int | None]]) -> None:
    for key, value in parameters:
        if value is None:
            _linux.fsconfig(fs_fd, _linux.FSCONFIG_SET_FLAG, key, None, 0)
        elif isinstance(value, int):
            _linux.fsconfig(fs_fd, _linux.FSCONFIG_SET_FD, key, None, value)
        else:
            _linux.fsconfig(fs_fd, _linux.FSCONFIG_SET_STRING, key, value, 0)


def _failure(fs_fd: int, error: OSError) -> FilesystemError:
    why = posix.strerror(error.errno or 0).lower()
    said = _reason(fs_fd)
    return FilesystemError(error.errno, why + (": " + said if said else ""))


def _reason(fs_fd: int) -> str:
    """The messages of the kernel on an fsopen(2) descriptor ("e overlay: missing lowerdir"), joined."""
    messages = []
    try:
        while True:
            line = posix.read(fs_fd, 1024).decode("utf-8", "replace").strip()
            messages.append(line[2:] if line[1:2] == " " else line)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EINVAL, errno.EMSGSIZE):
            raise
    return "; ".join(messages)


#: Attributes of a mount that take rights away from whoever uses it.
