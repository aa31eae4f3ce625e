"""Terminals: their modes and sizes (termios(3), ioctl_tty(2))."""

from __future__ import annotations

import fcntl
import sys
from typing import Final

from pyrunc import _linux

# At least the kernel's struct termios (asm-generic/termbits.h): four words of flags, the line discipline, c_cc.
TERMIOS: Final = 64


def keep_newlines(fd: int) -> None:
    """Do not turn newline into carriage return and newline on a terminal's output (ONLCR). Raises OSError."""
    mode = bytearray(fcntl.ioctl(fd, _linux.TCGETS, bytes(TERMIOS)))
    flags = int.from_bytes(mode[4:8], sys.byteorder) & ~_linux.ONLCR
    mode[4:8] = flags.to_bytes(4, sys.byteorder)
    fcntl.ioctl(fd, _linux.TCSETS, bytes(mode))


def resize(master: int) -> None:
    """Give the process's terminal the size of ours, if one of our streams is a terminal."""
    for fd in (0, 1, 2):
        try:
            size = fcntl.ioctl(fd, _linux.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(master, _linux.TIOCSWINSZ, size)
        except OSError:
            continue
        return
