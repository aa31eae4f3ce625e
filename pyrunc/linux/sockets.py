"""Sockets of unix(7) by their paths, however long these are, and however long who listens there takes."""

from __future__ import annotations

import _socket
import errno
import posix
import sys
from typing import Any, Final

from pyrunc import _linux, errors

# sun_path of unix(7), less the NUL.
_LONGEST: Final = 107
# Seconds that who listens may take to accept us, and then to make room for what is sent.
_PATIENCE: Final = 10


def connect(sock: Any, path: str | bytes) -> None:
    """connect(2). An address has room for 107 bytes: a longer path is opened, and reached through procfs.

    sock: a blocking socket. From now on connect and send wait so long and no longer, and then raise BlockingIOError:
    reason() has words for that. Raises OSError, ECONNREFUSED where something else than a socket is.
    """
    long = (sys.maxsize.bit_length() + 1) // 8
    sock.setsockopt(
        _socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _PATIENCE.to_bytes(long, sys.byteorder) + bytes(long)
    )  # a struct timeval
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    if len(raw) <= _LONGEST or raw[:1] == b"\0":
        sock.connect(raw)
        return
    fd = posix.open(raw, posix.O_PATH | posix.O_CLOEXEC)
    try:
        if posix.fstat(fd).st_mode & _linux.S_IFMT != _linux.S_IFSOCK:
            raise OSError(errno.ECONNREFUSED, "connect")
        sock.connect("/proc/self/fd/" + str(fd))
    finally:
        posix.close(fd)


def reason(error: OSError) -> str:
    """Why connect() or a send after it failed, in words."""
    if error.errno == errno.EAGAIN:
        return f"who listens there has taken nothing for {_PATIENCE} s"
    return errors.reason(error)
