"""The errors pyrunc reports: each is one line, and says which step failed on what.

Imported by every command, so it imports next to nothing.
"""

from __future__ import annotations

import posix
from typing import Final

EXIT_FAILURE: Final = 1
EXIT_EXEC_FAILURE: Final = 255


class PyruncError(Exception):
    """A failure that the user is told about in one line.

    message: what failed and on what, one line, no trailing full stop.
    step: name of the plan's step that failed, such as "mount", or None.
    pointer: JSON pointer (RFC 6901) of the config property that asked for it, or None.
    errno: the kernel's error number, or None.
    hint: what the user can do about it, or None.
    file: the name of the file that pointer points into.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        pointer: str | None = None,
        errno: int | None = None,
        hint: str | None = None,
        file: str = "config.json",
    ) -> None:
        Exception.__init__(self, message)
        self.file = file
        self.message = message
        self.step = step
        self.pointer = pointer
        self.errno = errno
        self.hint = hint

    def line(self) -> str:
        """The error as the one line that goes to stderr and into "msg" of the JSON log."""
        text = self.message
        if self.pointer:
            text += " (" + self.file + " " + self.pointer + ")"
        if self.hint:
            text += ": hint: " + self.hint
        if text.isprintable():
            return text
        # What an image or a config names must not speak to the terminal.
        return "".join(
            [
                letter if letter.isprintable() else " " if letter == "\n" else "\\u" + format(ord(letter), "04x")
                for letter in text
            ]
        )


class ConfigError(PyruncError):
    """config.json (or process.json, or resources.json) is not acceptable."""


class UsageError(PyruncError):
    """The command line is wrong: nothing was done."""


class StateError(PyruncError):
    """The operation does not fit the container's state, or there is no such container."""


def reason(error: OSError) -> str:
    """What the kernel said, in lower case as the engines that match our messages expect it."""
    # Some errors are not the kernel's: a socket's path that is too long for the system call.
    return posix.strerror(error.errno).lower() if error.errno else str(error)
