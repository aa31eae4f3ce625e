"""What a foreground process reads and writes, carried between its streams and ours, both ways at once.

Nothing here ever waits: an End is tried when poll(2) has told of it, and then without blocking, so that whoever polls
can attend to signals and to the process's end whatever a stream does. A Flow holds at most one piece of data, and takes
the next when that is delivered: who is slow slows down who is fast, and every byte goes once, in order. Where both ends
allow, the kernel moves the data (splice(2)), and no piece is held at all.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import select
from typing import Any, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason

POLLIN: Final = select.POLLIN
POLLOUT: Final = select.POLLOUT
# Bytes of one piece, and of one splice(2).
_PIECE: Final = 65536
_SPLICE: Final = 1 << 20
# So many before others get their turn.
_ROUNDS: Final = 16
# What goes into a pipe without waiting once poll(2) has said that something does (PIPE_BUF of pipe(7)).
_SURE: Final = 4096
# Of the kernel's linux/socket.h.
_MSG_DONTWAIT: Final = 0x40
# File types of inode(7).


class End:
    """A descriptor that one flow reads from or writes to.

    number: 0, 1, 2 for the caller's streams, or a pipe or terminal of our own, which is non-blocking. flags: O_RDONLY
    or O_WRONLY.
    """

    __slots__ = ("fd", "flags", "kind", "number", "socket", "waits")

    def __init__(self, number: int, flags: int) -> None:
        self.number = number
        self.flags = flags
        #: What is polled, read and written.
        self.fd = number
        self.socket: Any = None
        #: Whether a call may wait, so that it comes only after a poll, and with little.
        self.waits = False
        try:
            self.kind = posix.fstat(number).st_mode & _linux.S_IFMT
            # By /proc/self/fd a pipe would open the other way, too; and of the wrong way poll(2) says nothing for ever.
            if fcntl.fcntl(number, fcntl.F_GETFL) & posix.O_ACCMODE not in (flags, posix.O_RDWR):
                self.fd, self.kind = posix.open("/", posix.O_PATH | posix.O_CLOEXEC), 0  # POLLNVAL, then EBADF
        except OSError:
            self.kind = 0

    def is_spliced(self) -> bool:
        """Whether splice(2) from or to it never waits, and is worth trying."""
        if self.kind == _linux.S_IFCHR and self.flags:
            return not posix.isatty(self.number)  # the null device, for one
        return self.kind in (_linux.S_IFIFO, _linux.S_IFREG)

    def unblock(self) -> None:
        """Before the first read() or write(): see that they do not wait.

        The caller's descriptor is shared with others, whom O_NONBLOCK would surprise: so the pipe or terminal is opened
        once more. Where that may not be, poll(2) and small pieces have to do.
        """
        if self.kind == _linux.S_IFSOCK:
            import _socket

            self.socket = _socket.socket(fileno=posix.dup(self.number))
        elif self.kind in (_linux.S_IFIFO, _linux.S_IFCHR) and posix.get_blocking(self.number):
            flags = self.flags | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
            self.waits = True
            if self.kind == _linux.S_IFIFO or posix.isatty(self.number):
                try:
                    self.fd = posix.open("/proc/self/fd/" + str(self.number), flags)
                    self.waits = False
                except OSError:
                    pass

    def read(self) -> bytes:
        """What is there, b"" at the end. Raises OSError, BlockingIOError when there is nothing now."""
        if self.socket is not None:
            return self.socket.recv(_PIECE, _MSG_DONTWAIT)  # type: ignore[no-any-return]
        return posix.read(self.fd, _PIECE)

    def last_words(self) -> bytes:
        """What the reader is to get when read() has come to the end."""
        return b""

    def write(self, data: memoryview[int]) -> int:
        """Returns how many bytes were taken. Raises OSError, BlockingIOError when none can be now."""
        if self.socket is not None:
            return self.socket.send(data, _MSG_DONTWAIT)  # type: ignore[no-any-return]
        return posix.write(self.fd, data[:_SURE] if self.waits else data)

    def close(self) -> None:
        """Let go of it, so that who is at the other side notices. Our standard error stays, for what we have to say."""
        if self.socket is not None:
            self.socket.close()
        if self.fd != self.number:
            posix.close(self.fd)
        if self.number > 2:
            posix.close(self.number)
        elif self.number < 2:
            try:
                # The number stays taken, or the next file that is opened would be our standard stream.
                null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
                posix.dup2(null, self.number)
                posix.close(null)
            except OSError:
                pass


def is_ours(fd: int) -> bool:
    """Whether a terminal is not another process group's: it is ours in the foreground, or controls none of us."""
    try:
        return posix.tcgetpgrp(fd) == posix.getpgrp()
    except OSError:
        return True


class Flow:
    """One direction. tells: the ends are closed when it is over, and what one of them is told of goes to the other.

    name: of the caller's stream, for the error. A target that is gone (EPIPE) ends the flow if it tells, as SIGPIPE
    then ends the process. When anything else is wrong with it, and when nobody can be told, the piece is lost and the
    next is tried: the process goes on. The first problem is kept.

    Our standard input may be a terminal that belongs to others now, when we are in the background: the flow rests then.
    """

    __slots__ = (
        "ended",
        "full",
        "last_round",
        "name",
        "over",
        "problem",
        "rest",
        "rests",
        "source",
        "splices",
        "target",
        "tells",
    )

    def __init__(self, source: End, target: End, name: str, tells: bool) -> None:
        self.source = source
        self.target = target
        self.name = name
        self.tells = tells
        self.problem: PyruncError | None = None
        self.rest = memoryview(b"")
        #: Whether a source that has nothing now counts as one at its end.
        self.last_round = False
        #: The source has come to its end; and all of it is delivered.
        self.ended = False
        self.over = False
        #: Whether nothing is read until wake() finds that the terminal is ours: of that nobody tells.
        self.rests = False
        #: Whether it is the target that has to be ready next.
        self.full = False
        self.splices = source.is_spliced() and target.is_spliced()
        if not self.splices:
            source.unblock()
            target.unblock()

    def wants(self, events: dict[int, int]) -> None:
        """Add what it waits for: descriptor to poll(2)'s events."""
        target = self.target.fd
        if self.full:
            events[target] = events.get(target, 0) | POLLOUT
            return
        if not self.rests:
            events[self.source.fd] = events.get(self.source.fd, 0) | POLLIN
        if self.tells and self.target.number > 2:
            events.setdefault(target, 0)  # POLLERR, which is always told: the process has closed its input

    def go(self, ready: dict[int, int]) -> None:
        """Do what can be done now. ready: as poll(2) has told."""
        if (self.target if self.full else self.source).fd in ready:
            if self.splices:
                self._splice()
            else:
                self._copy()
        elif not self.full and self.tells and self.target.fd in ready:
            self._lost(BrokenPipeError(errno.EPIPE, ""))

    def _splice(self) -> None:
        moved = False
        for _ in range(_ROUNDS):
            try:
                size = posix.splice(self.source.fd, self.target.fd, _SPLICE, flags=posix.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                # The one that was waited for was ready, so it was the other; after some have gone it may be either.
                self.full = not moved and not self.full
                return
            except BrokenPipeError as error:
                self._lost(error)
                return
            except OSError:
                # One that is appended to, a disk that is full: write(2) can, or says why not.
                self.splices = self.full = False
                self.source.unblock()
                self.target.unblock()
                return
            if not size:
                self.over = True
                return
            moved = True
        self.full = False

    def _copy(self) -> None:
        if not self.full:
            self._take()
            self.full = bool(self.rest) and self.target.waits
            if self.full:
                return
        if self.rest:
            try:
                self.rest = self.rest[self.target.write(self.rest) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._lost(error)
        self.full = bool(self.rest)
        self.over = self.over or (self.ended and not self.full)

    def _take(self) -> None:
        try:
            data = self.source.read()
        except BlockingIOError:
            self.ended = self.last_round
            return
        except OSError as error:
            # What the kernel says to one in the background that holds SIGTTIN.
            if error.errno == errno.EIO and not self.source.number and not is_ours(0):
                self.rests = True
                return
            self._note("read ", error)
            data = b""
        if not data:
            self.ended = True
            data = self.source.last_words()
        self.rest = memoryview(data)

    def wake(self) -> bool:
        """Read again if the terminal is ours by now. Returns whether that is so."""
        if self.rests and is_ours(0):
            self.rests = False
            return True
        return False

    def _lost(self, error: OSError) -> None:
        if self.target.number < 3:
            # A process that does not read its input is no problem.
            self._note("write to ", error)
        self.rest = memoryview(b"")
        self.over = self.tells and error.errno == errno.EPIPE

    def _note(self, what: str, error: OSError) -> None:
        if self.problem is None:
            self.problem = PyruncError(f"{what}{self.name}: {reason(error)}", errno=error.errno)

    def close(self) -> None:
        """When it is over: nobody waits at either end any more."""
        if self.tells:
            self.source.close()
            self.target.close()
