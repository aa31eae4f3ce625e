"""tmpcopyup: a new tmpfs starts with what the image has at its mount point."""

from __future__ import annotations

import errno
import posix
from typing import Final

from pyrunc import _linux
from pyrunc.linux import paths

_CHUNK: Final = 1 << 20
_DIRECTORY: Final = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


def copy(source_fd: int, target_fd: int, self_fd: int = -1) -> None:
    """Copy the contents of one directory (O_PATH descriptors both) into another: names, modes, owners, links, times.

    Everything by descriptor and name, nothing followed: the source is the image's, and others may change it meanwhile.
    self_fd: of the caller's /proc/self/fd, where that is not at its place. Raises OSError.
    """
    if not paths.is_directory(source_fd):
        return
    copying = _Copy(source_fd, target_fd, self_fd)
    try:
        copying.everything()
    finally:
        copying.close()


class _Copy:
    """A walk through both trees at once, of any depth, with a bounded number of descriptors."""

    __slots__ = ("_own", "_self", "_source", "_target")

    def __init__(self, source_fd: int, target_fd: int, self_fd: int) -> None:
        self._source = paths.Walk(source_fd)
        self._target = paths.Walk(target_fd)
        self._own = self_fd < 0
        self._self = posix.open("/proc/self/fd", posix.O_PATH | posix.O_CLOEXEC) if self._own else self_fd

    def close(self) -> None:
        self._source.close()
        self._target.close()
        if self._own:
            posix.close(self._self)

    def everything(self) -> None:
        # Of each directory on the way: what is left of it to copy, and what it is to look like in the end. The first
        # is the mount's own, whose mode and owner come from its options.
        waiting = [self._names()]
        looks: list[posix.stat_result] = []
        while True:
            if waiting[-1]:
                found = self._entry(waiting[-1].pop())
                if found is not None:
                    waiting.append(self._names())
                    looks.append(found)
                continue
            waiting.pop()
            if not waiting:
                return
            self._leave(looks.pop())

    def _names(self) -> list[str]:
        fd = posix.open(".", _DIRECTORY, dir_fd=self._source.fd)
        try:
            return posix.listdir(fd)
        finally:
            posix.close(fd)

    def _leave(self, status: posix.stat_result) -> None:
        """A directory gets its looks when all is in it; then up."""
        source = posix.open(".", _DIRECTORY, dir_fd=self._source.fd)
        target = posix.open(".", _DIRECTORY, dir_fd=self._target.fd)
        try:
            _extended(source, target)
            _attributes(status, target)
        finally:
            posix.close(source)
            posix.close(target)
        self._source.up()
        self._target.up()

    def _entry(self, name: str) -> posix.stat_result | None:
        """Copy one entry. Of a directory what it looks like: it has been made, and entered, and is empty yet."""
        # What is looked at is what is opened: held by this descriptor, which does nothing to a device or a FIFO.
        fd = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=self._source.fd)
        try:
            status = posix.fstat(fd)
            target = self._target.fd
            kind = status.st_mode & _linux.S_IFMT
            if kind == _linux.S_IFDIR:
                posix.mkdir(name, 0o700, dir_fd=target)
                self._source.into(name)
                self._target.into(name)
                return posix.fstat(self._source.fd)
            if kind == _linux.S_IFREG:
                self._file(fd, name, status)
                return None
            if kind == _linux.S_IFLNK:
                posix.symlink(posix.readlink("", dir_fd=fd), name, dir_fd=target)
            else:
                try:
                    posix.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
                except PermissionError:
                    return None  # a device in a user namespace: the image's could not be used there either
            self._own_by(name, status)
        finally:
            posix.close(fd)
        return None

    def _own_by(self, name: str, status: posix.stat_result) -> None:
        """Give what was just made its owner, by a descriptor: the name may be something else by now."""
        made = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=self._target.fd)
        try:
            if posix.fstat(made).st_mode & _linux.S_IFMT != status.st_mode & _linux.S_IFMT:
                raise OSError(errno.ESTALE, "replaced meanwhile")
            posix.chown(str(made), status.st_uid, status.st_gid, dir_fd=self._self)
        finally:
            posix.close(made)

    def _file(self, fd: int, name: str, status: posix.stat_result) -> None:
        source = posix.open(str(fd), posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=self._self)
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        target = posix.open(name, flags, 0o600, dir_fd=self._target.fd)
        try:
            while data := posix.read(source, _CHUNK):
                rest = memoryview(data)
                while rest:
                    rest = rest[posix.write(target, rest) :]
            _extended(source, target)
            _attributes(status, target)
        finally:
            posix.close(source)
            posix.close(target)


def _extended(source: int, target: int) -> None:
    """Extended attributes, as far as the tmpfs takes them (security.capability, ACLs)."""
    for name in _names(source):
        try:
            posix.setxattr(target, name, posix.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
                raise


def _names(source: int) -> list[str]:
    try:
        return posix.listxattr(source)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


def _attributes(status: posix.stat_result, target: int) -> None:
    posix.fchown(target, status.st_uid, status.st_gid)
    # After the owner, whose change takes set-user-ID bits away.
    posix.fchmod(target, status.st_mode & 0o7777)
    posix.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
