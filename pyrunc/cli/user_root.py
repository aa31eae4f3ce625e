"""The directory of an ordinary user's containers, below $XDG_RUNTIME_DIR: root's need not be made to be looked at."""

import posix

from pyrunc.errors import PyruncError, reason
from pyrunc.linux.directories import make_directories


def make(root: str) -> str:
    """Make it where it is missing, for its user alone. Returns root. Raises PyruncError."""
    try:
        make_directories(root, 0o700)
        _make_private(root)
    except OSError as error:
        raise PyruncError(
            f"state directory {root}: {reason(error)}",
            errno=error.errno,
            hint="the path in $XDG_RUNTIME_DIR must be writable by the user",
        ) from None
    return root


def _make_private(root: str) -> None:
    """Mode 1700 for a directory of ours, and for no other that a link leads to. Raises OSError, PyruncError."""
    fd = posix.open(root, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    try:
        status = posix.fstat(fd)
        if status.st_uid != posix.geteuid():
            raise PyruncError(
                f"state directory {root} belongs to another user", hint="$XDG_RUNTIME_DIR must be the user's own"
            )
        if status.st_mode & 0o7777 != 0o1700:
            # Sticky, or the XDG base directory specification lets a cleaner remove what lies unused.
            posix.chmod(fd, 0o1700)
    finally:
        posix.close(fd)
