"""Reading and writing small files by descriptor.

Values for /proc, /sys and cgroup files go out by one open, one write, one close, each checked: Python's own file
objects lose the errno of a failed write when they are closed.
"""

from __future__ import annotations

import posix

from pyrunc import _linux


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
    folder = head + "/" if head or path.startswith("/") else ""
    replace_by(f"{folder}.{name}.{posix.getpid()}", path, value, mode)


def replace_by(temporary: str, name: str, value: bytes, mode: int, dir_fd: int | None = None) -> None:
    """As replace(), with the temporary file's name, which must be nobody's. Raises OSError."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW
    fd = posix.open(temporary, flags, mode, dir_fd=dir_fd)
    try:
        try:
            view = memoryview(value)
            while view:
                view = view[posix.write(fd, view) :]
        finally:
            posix.close(fd)
        posix.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        posix.unlink(temporary, dir_fd=dir_fd)
        raise


def exists(path: str, *, dir_fd: int | None = None) -> bool:
    """Whether path names something, a symbolic link that leads nowhere included."""
    try:
        posix.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def is_ours_alone(status: posix.stat_result, kind: int) -> bool:
    """Whether it is of that kind (S_IF*), the caller's, and nobody else may read or write it."""
    return status.st_mode & (_linux.S_IFMT | 0o077) == kind and status.st_uid == posix.geteuid()
