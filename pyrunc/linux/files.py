"""Reading and writing small files by descriptor.

Values for /proc, /sys and cgroup files go out by one open, one write, one close, each checked: Python's own file
objects lose the errno of a failed write when they are closed.
"""

from __future__ import annotations

import posix


def read(path: str, *, dir_fd: int | None = None, limit: int = 1 << 20) -> bytes:
    """The whole of a small file, at most limit bytes of it. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY, dir_fd=dir_fd)
    try:
        return read_fd(fd, limit)
    finally:
        posix.close(fd)


def read_fd(fd: int, limit: int) -> bytes:
    """What can be read from fd up to its end, at most limit bytes; of a pipe, until it is closed. Raises OSError."""
    data = posix.read(fd, min(limit, 65536))
    if len(data) < 4096:
        # Most files end here: two calls, and no list.
        rest = posix.read(fd, min(limit - len(data), 65536)) if data else b""
        if not rest:
            return data
        data += rest
    chunks = [data]
    size = len(data)
    while size < limit:
        chunk = posix.read(fd, min(limit - size, 1 << 20))
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def write(path: str, value: bytes, *, dir_fd: int | None = None, flags: int = 0) -> None:
    """Write value to an existing file in one write(2). Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOCTTY | flags, dir_fd=dir_fd)
    try:
        posix.write(fd, value)
    finally:
        posix.close(fd)


def replace(path: str, value: bytes, mode: int = 0o600) -> None:
    """Write a file atomically: a temporary name beside it, then rename(2). Raises OSError."""
    head, _, name = path.rpartition("/")
    temporary = (head + "/" if head or path.startswith("/") else "") + "." + name + "." + str(posix.getpid())
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(value)
            while view:
                view = view[posix.write(fd, view) :]
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError:
        posix.unlink(temporary)
        raise


def exists(path: str, *, dir_fd: int | None = None) -> bool:
    """Whether path names something, a symbolic link that leads nowhere included."""
    try:
        posix.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
