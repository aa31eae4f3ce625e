"""Directories of the host's, by path: made with their parents, and removed with what is in them."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def make_directories(path: str, mode: int) -> None:
    """mkdir -p of an absolute path. Raises OSError."""
    missing = []
    while True:
        try:
            posix.mkdir(path, mode)
            break
        except FileExistsError:
            break
        except FileNotFoundError:
            missing.append(path)
            path = path.rpartition("/")[0] or "/"
    for path in reversed(missing):
        try:
            posix.mkdir(path, mode)
        except FileExistsError:
            continue


def remove_tree(path: str) -> None:
    """Remove a state directory with what is in it; of a link, which may lead anywhere, the link. Raises OSError."""
    fd = _open_directory(path, None)
    if fd < 0:
        return
    try:
        # One descriptor, and a way back whose every step is compared: a container that has got hold of a part may nest
        # directories beyond any depth, and move them.
        names, identities = [posix.listdir(fd)], [_identity(fd)]
        way: list[str] = []
        while True:
            if names[-1]:
                name = names[-1].pop()
                below = _open_directory(name, fd)
                if below >= 0:
                    posix.close(fd)
                    fd = below
                    names.append(posix.listdir(fd))
                    way.append(name)
                    identities.append(_identity(fd))
            elif way:
                above = posix.open("..", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=fd)
                posix.close(fd)
                fd = above
                names.pop()
                identities.pop()
                if _identity(fd) != identities[-1]:
                    raise OSError(errno.EAGAIN, "moved while it is removed")
                _remove(posix.rmdir, way.pop(), fd)
            else:
                break
    finally:
        posix.close(fd)
    _remove(posix.rmdir, path, None)


def _identity(fd: int) -> tuple[int, int]:
    status = posix.fstat(fd)
    return status.st_dev, status.st_ino


def _open_directory(path: str, dir_fd: int | None) -> int:
    """-1 for what is none, and is removed then, a link for one, or gone. Raises OSError."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    _remove(posix.unlink, path, dir_fd)
    return -1


def _remove(how: Callable[..., None], path: str, dir_fd: int | None) -> None:
    try:
        how(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return
