"""Safe path resolution below a rootfs.

A path inside a container's rootfs is written by whoever made the image. It is resolved by the kernel, relative to a
descriptor of the rootfs, with openat2(2) RESOLVE_IN_ROOT, so that no symbolic link and no race leads out of it
(CVE-2021-30465, CVE-2024-45310). What is missing is created one component at a time with *at() calls.
"""

from __future__ import annotations

import errno
import posix

from pyrunc import _linux

# openat2(2) answers EAGAIN when any rename or mount on the machine happened during the walk.
_RETRIES = 128
# As many as the kernel follows in one path (MAXSYMLINKS of its linux/namei.h).
_LINKS = 40
# Names in one walk, those of links among them: twice what one path can have. Links that lead to links of many names
# would have it take for ever otherwise.
_NAMES = 4096
# Directories of a walk that are held open; those further up are found again by "..", and compared.
_OPEN = 64


def open_in_root(root_fd: int, path: str, flags: int = posix.O_PATH, resolve: int = 0) -> int:
    """A descriptor of path as seen by a process whose root is root_fd. Raises OSError."""
    for _ in range(_RETRIES):
        try:
            return _linux.openat2(
                root_fd,
                path.lstrip("/") or ".",
                flags | posix.O_CLOEXEC,
                0,
                _linux.RESOLVE_IN_ROOT | _linux.RESOLVE_NO_MAGICLINKS | resolve,
            )
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "openat2", path)


def components(path: str) -> list[str]:
    """The names of a path, without "." and empty ones, ".." resolved as if no link were in the way."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            if names:
                names.pop()
        elif name not in ("", "."):
            names.append(name)
    return names


def is_directory(fd: int) -> bool:
    """Whether fd is a directory (S_IFDIR)."""
    return posix.fstat(fd).st_mode & _linux.S_IFMT == _linux.S_IFDIR


def is_link(fd: int) -> bool:
    """Whether fd is a symbolic link itself (S_IFLNK)."""
    return posix.fstat(fd).st_mode & _linux.S_IFMT == _linux.S_IFLNK


def make_directories(root_fd: int, path: str, mode: int = 0o755) -> int:
    """A descriptor (O_PATH) of the directory at path below root_fd; what is missing of it is created.

    A link on the way is followed inside the root, and what a dangling one names is created there, as runc does.
    Raises OSError (ENOTDIR when something else stands there).
    """
    try:
        return _as_directory(open_in_root(root_fd, path), path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    return _walk(root_fd, path, mode, False)[0]


def _walk(root_fd: int, path: str, mode: int, leave_last: bool) -> tuple[int, str]:
    """A descriptor of the directory at path, each part of it created that is missing, and "".

    leave_last: of the directory above, and the last name, which then names nothing, or no link. A path that names the
    root itself leaves "".
    One name at a time from an open directory, without following: whoever exchanges one meanwhile makes it fail.
    Raises OSError: ELOOP for more than 40 links, ENAMETOOLONG for more than 4,096 names in all.
    """
    walk = Walk(root_fd)
    waiting = _reversed(path)
    links = names = 0
    try:
        while waiting:
            name = waiting.pop()
            names += 1
            if names > _NAMES:
                raise OSError(errno.ENAMETOOLONG, "File name too long", path)
            if name == "..":
                walk.up()
                continue
            try:
                target = posix.readlink(name, dir_fd=walk.fd)
            except FileNotFoundError:
                if leave_last and not waiting:
                    return walk.take(), name
                try:
                    posix.mkdir(name, mode, dir_fd=walk.fd)
                except FileExistsError:
                    pass  # another container has made it meanwhile; what it is, into() looks at
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                if leave_last and not waiting:
                    return walk.take(), name
            else:
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, "Too many levels of symbolic links", path)
                waiting += _reversed(target)
                if target.startswith("/"):
                    walk.top()
                continue
            walk.into(name)
        return walk.take(), ""
    finally:
        walk.close()


def _reversed(path: str) -> list[str]:
    """The names of a path, the last one first, without "." and empty ones."""
    return [name for name in path.split("/")[::-1] if name not in ("", ".")]


class Walk:
    """A way down from a root: each directory on it stays open, so that ".." is the one that was come from.

    Not the directory's own "..", which leads somewhere else if somebody has moved it. Of a long way only the last
    directories are held; of those before, which they were is remembered, and compared with where ".." leads.
    """

    __slots__ = ("_way",)

    def __init__(self, root_fd: int) -> None:
        """Raises OSError. root_fd stays the caller's."""
        # A descriptor, or (device, inode) of a directory that is not held any more.
        self._way: list[int | tuple[int, int]] = [
            _linux.openat2(root_fd, ".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, 0, 0)
        ]

    @property
    def fd(self) -> int:
        """The directory where we are."""
        here = self._way[-1]
        assert isinstance(here, int)
        return here

    def into(self, name: str) -> None:
        """To the directory of that name, no link. Raises OSError."""
        flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        resolve = _linux.RESOLVE_BENEATH | _linux.RESOLVE_NO_SYMLINKS
        self._way.append(_linux.openat2(self.fd, name, flags, 0, resolve))
        oldest = len(self._way) - _OPEN
        if oldest > 0:
            fd = self._way[oldest]
            if isinstance(fd, int):
                self._way[oldest] = _identity(fd)
                posix.close(fd)

    def up(self) -> None:
        """To the directory that was come from; at the root, nowhere. Raises OSError (ESTALE when it was moved away)."""
        if len(self._way) == 1:
            return
        before = self._way[-2]
        if not isinstance(before, int):
            above = posix.open("..", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=self.fd)
            if _identity(above) != before:
                posix.close(above)
                raise OSError(errno.ESTALE, "a directory was moved meanwhile")
            self._way[-2] = above
        posix.close(self.fd)
        self._way.pop()

    def top(self) -> None:
        """To the root."""
        for fd in self._way[1:]:
            if isinstance(fd, int):
                posix.close(fd)
        del self._way[1:]

    def take(self) -> int:
        """The directory where we are, from now on the caller's."""
        return posix.dup(self.fd)

    def close(self) -> None:
        self.top()
        posix.close(self.fd)


def _identity(fd: int) -> tuple[int, int]:
    status = posix.fstat(fd)
    return status.st_dev, status.st_ino


def _as_directory(fd: int, path: str) -> int:
    if is_directory(fd):
        return fd
    posix.close(fd)
    raise OSError(errno.ENOTDIR, "Not a directory", path)


def make_file(root_fd: int, path: str, mode: int = 0o644) -> int:
    """A descriptor (O_PATH) of what stands at path below root_fd; an empty file is created if nothing does."""
    for _ in range(_RETRIES):
        try:
            return open_in_root(root_fd, path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        try:
            return _new_file(root_fd, path, mode)
        except FileExistsError:
            continue  # another container has made it meanwhile
    raise OSError(errno.EAGAIN, "made and removed again and again", path)


def _new_file(root_fd: int, path: str, mode: int) -> int:
    parent, name = _walk(root_fd, path, 0o755, True)
    try:
        if not name:
            raise OSError(errno.EISDIR, "Is a directory", path)
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        posix.close(posix.open(name, flags, mode, dir_fd=parent))
        return posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent)
    finally:
        posix.close(parent)


def open_parent(root_fd: int, path: str) -> tuple[int, str]:
    """The directory above the last component of path, created if missing, and that component. Raises OSError."""
    names = components(path)
    if not names:
        raise OSError(errno.EISDIR, "Is a directory", path)
    return make_directories(root_fd, "/".join(names[:-1])), names[-1]


def is_null(fd: int) -> bool:
    """Whether fd is the null device, character device 1:3, and not something that stands under its name."""
    status = posix.fstat(fd)
    return status.st_mode & _linux.S_IFMT == _linux.S_IFCHR and status.st_rdev == posix.makedev(1, 3)
