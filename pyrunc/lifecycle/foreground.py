"""A process in the foreground: pass it our signals, relay its terminal, wait for its end."""

import errno
import fcntl
import posix
import select
import sys

from pyrunc import _linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from pyrunc.lifecycle.notify import Notify

# Numbers of signal(7), the same on every architecture this project is for: _signal cannot be loaded so early.
_SIGWINCH: "Final" = 28
# Not passed on: what the kernel sends for this process's own sake, and what cannot be caught: KILL STOP CHLD URG PIPE
# SEGV BUS FPE ILL TTIN TTOU.
_OWN: "Final" = frozenset((9, 19, 17, 23, 13, 11, 7, 8, 4, 21, 22))
# Real-time signals from 34 on: the C library keeps 32 and 33 for itself.
_SIGNALS: "Final" = (*(number for number in range(1, 32) if number not in _OWN), *range(34, 65))
# At least the kernel's struct termios (asm/termbits.h); the second of its 32-bit words is c_oflag.
_TERMIOS: "Final" = 64
# struct signalfd_siginfo, whose first field is the number.
_SIGNAL_SIZE: "Final" = 128


def hold_signals() -> None:
    """Keep signals waiting until begin() can pass them on: the process may have begun when we have not."""
    posix.close(_linux.signalfd(*_SIGNALS))


def keep_newlines(fd: int) -> None:
    """Do not turn newline into carriage return and newline on a terminal's output (ONLCR). Raises OSError."""
    mode = bytearray(fcntl.ioctl(fd, _linux.TCGETS, bytes(_TERMIOS)))
    flags = int.from_bytes(mode[4:8], sys.byteorder) & ~_linux.ONLCR
    mode[4:8] = flags.to_bytes(4, sys.byteorder)
    fcntl.ioctl(fd, _linux.TCSETS, bytes(mode))


class Foreground:
    """Attend to one child process. master: its terminal's master, or -1; closed at the end. notify: what it says it on
    when it is ready, of which the service manager is told.
    """

    __slots__ = ("master", "notify", "pid", "pidfd", "saved", "signals")

    def __init__(self, pid: int, pidfd: int, master: int, notify: "Notify | None" = None) -> None:
        self.notify = notify
        self.pid = pid
        self.pidfd = pidfd
        self.master = master
        self.saved: "bytes | None" = None
        self.signals = -1

    def begin(self) -> None:
        """Pass on signals from now on; put our own terminal into raw mode. Raises OSError."""
        self.signals = _linux.signalfd(*_SIGNALS)
        if self.master >= 0:
            # A line ends by "\n" in what it puts out, whoever reads it; our own terminal does the rest.
            keep_newlines(self.master)
        if self.master >= 0 and posix.isatty(0):
            self.resize()
            self.saved = _linux.tty_raw(0)

    def _pass_on(self) -> None:
        """The signals that came: to the process, but for a change of our terminal's size."""
        data = _read(self.signals) or b""
        for offset in range(0, len(data), _SIGNAL_SIZE):
            number = int.from_bytes(data[offset : offset + 4], "little")
            if number == _SIGWINCH and self.master >= 0:
                self.resize()
                continue
            try:
                _linux.pidfd_send_signal(self.pidfd, number)
            except OSError:
                continue

    def resize(self) -> None:
        """Give the process's terminal the size of ours."""
        try:
            size = fcntl.ioctl(0, _linux.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.master, _linux.TIOCSWINSZ, size)
        except OSError:
            return

    def wait(self) -> int:
        """Until the process ends: its exit status, or 128 and the signal that ended it."""
        try:
            self._relay()
        finally:
            self.end()
        while True:
            pid, status = posix.waitpid(-1, 0)
            # As the subreaper we inherit what the container leaves behind.
            if pid == self.pid:
                break
        if posix.WIFSIGNALED(status):
            return 128 + posix.WTERMSIG(status)
        return posix.WEXITSTATUS(status)

    def end(self) -> None:
        """Our terminal and signals as they were."""
        if self.saved is not None:
            _linux.tty_restore(0, self.saved)
            self.saved = None
        if self.master >= 0:
            posix.close(self.master)
            self.master = -1
        if self.signals >= 0:
            posix.close(self.signals)
            self.signals = -1
            _linux.reset_signals(True)  # but for SIGPIPE, which never ends a runtime

    def _relay(self) -> None:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.register(self.signals, select.POLLIN)
        if self.master >= 0:
            posix.set_blocking(self.master, False)
            poll.register(self.master, select.POLLIN)
            poll.register(0, select.POLLIN)
        if self.notify is not None:
            poll.register(self.notify.fileno(), select.POLLIN)
        pending = b""
        while True:
            ready = poll.poll()
            fds = {fd for fd, _ in ready}
            if self.notify is not None and self.notify.fileno() in fds and self.notify.is_ready():
                # This process stays, so it is the service's main one, and need not wait for what the manager says.
                self.notify.tell(posix.getpid(), barrier=False)
                poll.unregister(self.notify.fileno())
                self.notify = None
            if self.signals in fds:
                self._pass_on()
            if self.master in fds and not self._output():
                poll.unregister(self.master)
            if 0 in fds and self.master >= 0:
                data = _read(0)
                if data == b"":
                    poll.unregister(0)
                    # End of our input: the terminal's own end-of-file character.
                    data = b"\x04"
                pending = self._input(pending + (data or b""))
            if self.pidfd in fds:
                # What it wrote last is still in the terminal.
                while self.master >= 0 and self._output():
                    pass
                return

    def _output(self) -> bool:
        """Copy what the terminal has to our standard output. False when there is nothing and will be nothing."""
        data = _read(self.master)
        if not data:
            return False
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[posix.write(1, rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(1, select.POLLOUT)
                poll.poll(1000)
        return True

    def _input(self, data: bytes) -> bytes:
        try:
            return data[posix.write(self.master, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""


def _read(fd: int) -> "bytes | None":
    """What is there to read; b"" at the end, None when there is nothing now."""
    try:
        return posix.read(fd, 32768)
    except BlockingIOError:
        return None
    except OSError as error:
        # EIO: the last process has closed the terminal.
        if error.errno == errno.EIO:
            return b""
        raise
