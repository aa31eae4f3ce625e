"""A container's lock."""

from __future__ import annotations

import errno
import fcntl
import posix
import time
from typing import Final

from pyrunc.errors import PyruncError, StateError, reason

# Seconds to wait for another operation on a container.
PATIENCE: Final = 10.0


def stands_at(fd: int, path: str) -> bool:
    """Whether that directory stands at the path."""
    try:
        found = posix.stat(path)
    except OSError:
        return False
    mine = posix.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def wait_for(fd: int, deadline: float) -> bool:
    """Take an exclusive flock(2) on what fd is open on. False when somebody has it at the deadline. Raises OSError."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(0.005)


class Busy(PyruncError):
    """Another operation on the container has its lock, and keeps it."""


class Lock:
    """One operation at a time on a container: an exclusive flock(2) on its state directory.

    It goes with the process that holds it, however that ends. Nothing is waited for while it is held that the container
    or a hook can prolong, and nobody waits for it without a limit. timeout: seconds to wait.
    """

    __slots__ = ("fd",)

    def __init__(self, directory: str, timeout: float = PATIENCE) -> None:
        """Raises StateError when the directory is not there or goes while we wait, Busy after timeout."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    raise StateError("container does not exist", errno=error.errno) from None
                raise PyruncError(f"open {directory}: {reason(error)}", errno=error.errno) from None
            self._take(directory, deadline)
            # Deleted, and perhaps made anew, while we waited?
            if stands_at(self.fd, directory):
                return
            posix.close(self.fd)

    def _take(self, directory: str, deadline: float) -> None:
        try:
            if wait_for(self.fd, deadline):
                return
        except OSError as error:
            posix.close(self.fd)
            raise PyruncError(f"lock {directory}: {reason(error)}", errno=error.errno) from None
        from pyrunc.state import lock_holder

        name = directory.rpartition("/")[2]
        busy = Busy(f"container {name} is busy: {lock_holder.of(self.fd)} has its lock")
        self.release()
        raise busy

    def release(self) -> None:
        """Let go of it; once is enough."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1
