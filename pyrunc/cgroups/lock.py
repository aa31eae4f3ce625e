"""One create at a time in a cgroup: from the look whether it is empty until the container process is inside."""

from __future__ import annotations

import fcntl
import posix
import time
from typing import Final

from pyrunc.cgroups.files import make

# Seconds to wait for another create.
_PATIENCE: Final = 1.0


def take(directory: str) -> int:
    """A descriptor of a cgroup's directory, with an exclusive flock(2).

    It is let go when every process that has the descriptor has closed it, or has ended. After a second without the
    lock: any user of the host may hold one there, and shall not stop a create by that. Raises OSError.
    """
    deadline = None
    while True:
        try:
            fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except FileNotFoundError:
            # A failed create has taken it back.
            make(directory)
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if deadline is None or posix.fstat(fd).st_ino == posix.stat(directory).st_ino:
                return fd
        except FileNotFoundError:
            pass
        except BlockingIOError:
            if deadline is None:
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                return fd
            time.sleep(0.001)
        posix.close(fd)
