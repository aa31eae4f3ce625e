"""What the process inherits: its standard streams, what the caller passes on, and nothing else."""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.exec_fifo import MakeFifo

# With fewer than these, what fails for a number of a descriptor fails for that.
_FEW_DESCRIPTORS: Final = 32


def cannot(what: str, error: OSError) -> PyruncError:
    """What could not be done; with the limit that was in the way, if that was it."""
    number, hint = error.errno, None
    allowed: int = _linux.prlimit(0, _linux.RLIMITS["RLIMIT_NOFILE"], None)[0]
    if number == errno.EMFILE or (number in (errno.EINVAL, errno.EBADF) and allowed < _FEW_DESCRIPTORS):
        # dup2(2) says EBADF, fcntl(2) EINVAL for a number beyond the limit.
        number, hint = errno.EMFILE, f"RLIMIT_NOFILE allows {allowed}: the runtime needs a few more"
    return PyruncError(what + ": " + posix.strerror(number or 0).lower(), errno=number, hint=hint)


def keep_only(context: Context, fifo: MakeFifo | None) -> None:
    """Put our descriptors where finish() expects them: sync, fifo, error file, from the first that is ours.

    All others of ours are closed first: the process may be allowed few. Raises OSError.
    """
    keep = 3 + context.preserve_fds
    wanted = [context.talk().fileno()]
    if fifo is not None:
        wanted += [fifo.fd, fifo.error_fd]
    wanted.append(context.root_fd)
    _close_others(keep, wanted)
    place = keep
    while wanted:
        fd = wanted.pop(0)
        if fd != place:
            if place in wanted:
                # Another of them stands there; it has its turn later.
                wanted[wanted.index(place)] = fcntl.fcntl(place, fcntl.F_DUPFD_CLOEXEC, place + 1)
            posix.dup2(fd, place, inheritable=False)
            posix.close(fd)
        if place == keep:
            # Its old number may be another file's from now on.
            context.talk().detach()
            context.sync = _socket.socket(fileno=keep)
        context.root_fd = place  # the last
        place += 1
    for number in range(3, keep):
        posix.set_inheritable(number, True)


def _close_others(first: int, wanted: list[int]) -> None:
    """Close all descriptors from the first on but the wanted ones. Raises OSError."""
    for fd in sorted(wanted):
        if fd > first:
            _linux.close_range(first, fd - 1, 0)
        first = max(first, fd + 1)
    _linux.close_range(first, 0xFFFFFFFF, 0)
