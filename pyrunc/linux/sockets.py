"""Sockets of unix(7) by their paths, however long these are."""

from __future__ import annotations

import errno
import posix
from typing import Any, Final

# sun_path of unix(7), less the NUL.
_LONGEST: Final = 107
_TYPE: Final = 0o170000
_SOCKET: Final = 0o140000


def connect(sock: Any, path: str | bytes) -> None:
    """connect(2). An address has room for 107 bytes: a longer path is opened, and reached through procfs.

    Raises OSError, ECONNREFUSED where something else than a socket is.
    """
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    if len(raw) <= _LONGEST or raw[:1] == b"\0":
        sock.connect(raw)
        return
    fd = posix.open(raw, posix.O_PATH | posix.O_CLOEXEC)
    try:
        if posix.fstat(fd).st_mode & _TYPE != _SOCKET:
            raise OSError(errno.ECONNREFUSED, "connect")
        sock.connect("/proc/self/fd/" + str(fd))
    finally:
        posix.close(fd)
