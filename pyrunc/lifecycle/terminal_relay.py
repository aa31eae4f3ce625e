"""The terminal of a foreground process, and the caller's own that it is shown on. Loaded only where there is one."""

from __future__ import annotations

import fcntl
import posix
import sys
from typing import Final

from pyrunc import _linux
from pyrunc.lifecycle.pump import End, Flow
from pyrunc.linux.tty import TERMIOS, keep_newlines, resize

_C_CC: Final = 17


class _Input(End):
    """Our standard input, as what is typed on a terminal."""

    __slots__ = ("last", "master")

    def __init__(self, master: int) -> None:
        End.__init__(self, 0, posix.O_RDONLY)
        self.master = master
        self.last = b"\n"

    def read(self) -> bytes:
        data = End.read(self)
        self.last = data[-1:] or self.last
        return data

    def last_words(self) -> bytes:
        """The terminal's own end-of-file character: twice after a line that is not whole, which the first one sends."""
        try:
            mode = fcntl.ioctl(self.master, _linux.TCGETS, bytes(TERMIOS))
        except OSError:
            return b""
        character = mode[_C_CC + _linux.VEOF :][:1]
        whole = self.last == b"\n" or not int.from_bytes(mode[12:16], sys.byteorder) & _linux.ICANON
        return character if whole else character * 2


class Console:
    """The process's terminal, by its master. Our own is raw while we are in its foreground."""

    __slots__ = ("input", "keyboard", "master", "output", "saved", "slave")

    def __init__(self, master: int) -> None:
        self.master = master
        self.slave = -1
        #: How our terminal was.
        self.saved: bytes | None = None
        self.keyboard = posix.isatty(0)
        posix.set_blocking(master, False)
        self.input = Flow(_Input(master), End(master, posix.O_WRONLY), "standard input", False)
        self.output = Flow(End(master, posix.O_RDONLY), End(1, posix.O_WRONLY), "standard output", False)

    def begin(self) -> None:
        """Raises OSError."""
        # A line ends by "\n" in what it puts out, whoever reads it; our own terminal does the rest.
        keep_newlines(self.master)
        resize(self.master)
        # While we hold it, the process may close its terminal and open it again: the master has no end before that.
        flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC
        self.slave = fcntl.ioctl(self.master, _linux.TIOCGPTPEER, flags)
        self.input.rests = self.keyboard
        self.wake()

    def wake(self) -> None:
        """Take the keyboard if it is ours by now."""
        if self.input.wake() and self.saved is None:
            try:
                self.saved = _linux.tty_raw(0)
            except OSError:
                pass  # it has been hung up, as reading will tell

    def restore(self) -> None:
        """Our terminal as it was."""
        if self.saved is not None:
            try:
                _linux.tty_restore(0, self.saved)
            except OSError:
                pass  # it is gone
            self.saved = None

    def close(self) -> None:
        """Hang up."""
        self.restore()
        if self.slave >= 0:
            posix.close(self.slave)
            self.slave = -1
        if self.master >= 0:
            posix.close(self.master)
            self.master = -1
