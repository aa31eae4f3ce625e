"""The small files of the cgroup file systems, and errors about them."""

from __future__ import annotations

import posix
from errno import EACCES, EPERM, EROFS

from pyrunc.errors import PyruncError

WRITE = posix.O_WRONLY | posix.O_CLOEXEC
# What an ordinary user gets instead of a cgroup.
REFUSED = (EACCES, EPERM, EROFS)


def failure(what: str, error: OSError, pointer: str | None = None) -> PyruncError:
    """The error as one of ours that says what was tried on what."""
    return PyruncError(
        what + ": " + posix.strerror(error.errno or 0), step="cgroup", pointer=pointer, errno=error.errno
    )


def read_file(path: str) -> str:
    """A small file's text without the last newline. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 65536).decode("utf-8", "surrogateescape").rstrip("\n")
    finally:
        posix.close(fd)


def write_file(path: str, value: str) -> None:
    """value by one write(2). Raises OSError."""
    fd = posix.open(path, WRITE)
    try:
        posix.write(fd, value.encode("utf-8", "surrogateescape"))
    finally:
        posix.close(fd)


def make(directory: str) -> bool:
    """mkdir -p; whether directory itself is new. Raises OSError."""
    for attempt in range(3):
        try:
            posix.mkdir(directory, 0o755)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Thrice, for somebody may remove an empty parent meanwhile.
            parent = directory.rpartition("/")[0]
            if attempt == 2 or not parent:
                raise
            make(parent)
    return False


def rmdir(directory: str) -> bool:
    """Remove an empty cgroup; whether it is gone."""
    try:
        posix.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
