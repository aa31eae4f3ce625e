"""Files that the caller names for what a command makes for people. Not for the log, nor for what engines read."""

from __future__ import annotations

import errno
import fcntl
import posix

from pyrunc.errors import PyruncError, reason


def open_output(path: str) -> int:
    """A descriptor for a file of the caller's, or for standard output ("-"). Raises PyruncError.

    A symbolic link is not followed: who runs us may be root, and the folder one that others write to. Of a FIFO no
    reader is waited for.
    """
    if path == "-":
        # A copy: a run in the foreground closes standard output when the program has nothing more to say.
        return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_NOCTTY | posix.O_CLOEXEC
    try:
        fd = posix.open(path, flags | posix.O_NONBLOCK, 0o644)
        posix.set_blocking(fd, True)
        return fd
    except OSError as error:
        hint = "a symbolic link is not followed; '-' is standard output" if error.errno == errno.ELOOP else None
        raise PyruncError(f"open {path}: {reason(error)}", errno=error.errno, hint=hint) from None
