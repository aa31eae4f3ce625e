"""The errors pyrunc reports: each is one line, and says which step failed on what.

Imported by every command, so it imports next to nothing. Which step it was, and where in config.json its words stand,
is added where a plan is carried out (plan/failures.py).
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

EXIT_FAILURE: Final = 1
EXIT_EXEC_FAILURE: Final = 255


class PyruncError(Exception):
    """A failure that the user is told about in one line.

    message: what failed and on what, one line, no trailing full stop.
    step: name of the plan's step that failed, such as "mount", or None.
    pointer: JSON pointer (RFC 6901) of the config property that asked for it, or None.
    errno: the kernel's error number, or None.
    hint: what the user can do about it, or None: pyrunc.catalogue has one for each message, and gives it when the
    error is told; to a program that has imported the library, when it asks.
    file: the name of the file that pointer points into.
    container: the ID of the container that it is about, "" where there is none; who tells the error sets it.
    """

    container = ""
    # pyrunc.library sets it: what gives an error its remedy. None: who tells the error does.
    advise: ClassVar[Callable[[PyruncError], None] | None] = None

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
        self._hint = hint

    @property
    def hint(self) -> str | None:
        """What the user can do about it."""
        if self._hint is None and PyruncError.advise is not None:
            self._hint = ""  # asked once
            PyruncError.advise(self)
        return self._hint or None

    @hint.setter
    def hint(self, text: str | None) -> None:
        self._hint = text

    def place(self) -> str:
        """What it is about, in parentheses: the container, unless the message names it, and the place in a file."""
        where = f"{self.file} {self.pointer}" if self.pointer else ""
        if self.container and not names(self.message, self.container):
            where = "container " + self.container + (", " if where else "") + where
        return f" ({where})" if where else ""

    def line(self) -> str:
        """The error as the one line that goes to stderr and into "msg" of the JSON log."""
        text = self.message + self.place()
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


def names(text: str, word: str) -> bool:
    """Whether a word stands in a text by itself, not as a part of a path."""
    for mark in "\"'`,:()":
        text = text.replace(mark, " ")
    return word in text.split()


def at(text: str, pointer: str) -> str:
    """A warning about a place in config.json."""
    return f"{text} (config.json {pointer})" if pointer else text


def reason(error: OSError) -> str:
    """What the kernel said, in lower case as the engines that match our messages expect it."""
    # Some errors are not the kernel's: a socket's path that is too long for the system call.
    return posix.strerror(error.errno).lower() if error.errno else str(error)
