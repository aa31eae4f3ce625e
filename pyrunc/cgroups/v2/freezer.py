"""The freezer of cgroup v2."""

from __future__ import annotations

import posix
import select
import time
from typing import TYPE_CHECKING

from pyrunc.cgroups.files import failure, write_file
from pyrunc.errors import PyruncError

if TYPE_CHECKING:
    from collections.abc import Callable


def freeze(directory: str, take_back: Callable[[], None]) -> None:
    """Stop every process inside, and wait until they stand still. Raises PyruncError, after take_back()."""
    try:
        write_file(directory + "/cgroup.freeze", "1")
        _await_frozen(directory, take_back)
    except OSError as error:
        take_back()
        raise failure("freeze cgroup " + directory, error) from None


def _await_frozen(directory: str, take_back: Callable[[], None]) -> None:
    fd = posix.open(directory + "/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        poll = select.poll()
        # A change of the file is announced as urgent data.
        poll.register(fd, select.POLLPRI)
        deadline = time.monotonic() + 10
        while True:
            posix.lseek(fd, 0, 0)
            if b"frozen 1" in posix.read(fd, 4096):
                return
            if time.monotonic() > deadline:
                take_back()
                raise PyruncError("unable to freeze cgroup " + directory, hint="a process may be stuck in the kernel")
            poll.poll(100)
    finally:
        posix.close(fd)
