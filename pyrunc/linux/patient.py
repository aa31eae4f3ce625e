"""Reading what a caller names and what is no plain file: a pipe of the shell's, a FIFO, a terminal, a device."""

from __future__ import annotations

import posix
import select
from typing import Final

from pyrunc.errors import PyruncError

# Seconds in which something must come.
_PATIENCE: Final = 10


def read(fd: int, limit: int, path: str) -> bytes:
    """What comes from a descriptor that does not block, up to its end, at most limit bytes.

    Raises PyruncError when nothing comes for ten seconds, OSError.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = b""
    while len(data) < limit:
        # A FIFO that nobody has opened to write to yet is at no end.
        if not poll.poll(_PATIENCE * 1000):
            raise PyruncError(f"nothing has come from {path} for {_PATIENCE} seconds")
        try:
            chunk = posix.read(fd, min(limit - len(data), 1 << 20))
        except BlockingIOError:
            continue
        if not chunk:
            break
        data += chunk
    return data
