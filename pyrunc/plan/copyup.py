"""tmpcopyup: a new tmpfs starts with what the image has at its mount point."""

import errno
import posix

from pyrunc.linux import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_CHUNK: "Final" = 1 << 20


def copy(source_fd: int, target_fd: int) -> None:
    """Copy the contents of one directory (O_PATH descriptors both) into another: names, modes, owners, links, times.

    Everything by descriptor and name, nothing followed: the source is the image's. Raises OSError.
    """
    if not paths.is_directory(source_fd):
        return
    source = posix.open(".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=source_fd)
    target = posix.open(".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=target_fd)
    try:
        # The mount's own mode and owner come from its options.
        for name in posix.listdir(source):
            _entry(name, source, target)
    finally:
        posix.close(source)
        posix.close(target)


def _entry(name: str, source: int, target: int) -> None:
    status = posix.stat(name, dir_fd=source, follow_symlinks=False)
    kind = status.st_mode & 0o170000
    if kind == 0o040000:
        posix.mkdir(name, 0o700, dir_fd=target)
        inner = posix.open(name, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=source)
        outer = posix.open(name, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=target)
        try:
            for child in posix.listdir(inner):
                _entry(child, inner, outer)
            _extended(inner, outer)
            _attributes(status, outer)
        finally:
            posix.close(inner)
            posix.close(outer)
    elif kind == 0o120000:
        posix.symlink(posix.readlink(name, dir_fd=source), name, dir_fd=target)
        posix.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind == 0o100000:
        _file(name, source, target, status)
    else:
        try:
            posix.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        except PermissionError:
            return  # a device in a user namespace: the image's could not be used there either
        posix.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _file(name: str, source: int, target: int, status: "posix.stat_result") -> None:
    inner = posix.open(name, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC, dir_fd=source)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    outer = posix.open(name, flags, 0o600, dir_fd=target)
    try:
        while data := posix.read(inner, _CHUNK):
            rest = memoryview(data)
            while rest:
                rest = rest[posix.write(outer, rest) :]
        _extended(inner, outer)
        _attributes(status, outer)
    finally:
        posix.close(inner)
        posix.close(outer)


def _extended(source: int, target: int) -> None:
    """Extended attributes, as far as the tmpfs takes them (security.capability, ACLs)."""
    for name in _names(source):
        try:
            posix.setxattr(target, name, posix.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
                raise


def _names(source: int) -> "list[str]":
    try:
        return posix.listxattr(source)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


def _attributes(status: "posix.stat_result", target: int) -> None:
    posix.fchown(target, status.st_uid, status.st_gid)
    # After the owner, whose change takes set-user-ID bits away.
    posix.fchmod(target, status.st_mode & 0o7777)
    posix.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
