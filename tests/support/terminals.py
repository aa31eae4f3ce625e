"""Terminals, from their master's side."""

import fcntl
import os
import struct
import termios


def size_of(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def read_all(fd: int, until: bytes = b"") -> bytes:
    """What comes from a terminal's master until its end, or until these bytes have come."""
    data = b""
    while not until or until not in data:
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            break
        if not chunk:
            break
        data += chunk
    return data
