"""The standard streams of a foreground process without a terminal: pipes, of which the runtime keeps the other ends.

Never the caller's own: whoever stays behind in the container would read what is typed next, put words into the
terminal's input (TIOCSTI of ioctl_tty(2)), and own a file that had to be given to the container's user.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Linux, Process
    from pyrunc.steps.context import Context


class Streams:
    """Three pipes. theirs: standard input, output and error of the process; ours: the other ends, non-blocking.

    Output and error that go to one place share a pipe, ours[2] is -1 then: what is written to them stays in its order.
    """

    __slots__ = ("ours", "theirs")

    def __init__(self) -> None:
        self.ours: list[int] = []
        self.theirs: list[int] = []

    def open(self, owner: int) -> None:
        """owner: their uid, as the host counts. Raises OSError."""
        for number in range(3):
            if number == 2 and _is_same():
                self.theirs.append(posix.dup(self.theirs[1]))
                self.ours.append(-1)
                return
            ends = posix.pipe2(posix.O_CLOEXEC)
            self.theirs.append(ends[number > 0])
            self.ours.append(ends[number == 0])
            posix.set_blocking(self.ours[number], False)
            if owner:
                try:
                    # So that /dev/stdout can be opened, which a new user namespace may not do for itself.
                    posix.fchown(self.theirs[number], owner, -1)
                except PermissionError:
                    pass

    def take(self) -> list[int]:
        """Our ends, whose owner is the caller now; theirs are closed here, or there would be no end of file."""
        ours, self.ours = self.ours, []
        self.close()
        return ours

    def leave(self, number: int) -> None:
        """Do without one of them."""
        if number == 1 and self.ours[2] < 0:
            self.ours[1], self.ours[2] = -1, self.ours[1]
        for ends in (self.ours, self.theirs):
            if ends[number] >= 0:
                posix.close(ends[number])
            ends[number] = -1

    def close(self) -> None:
        for fd in self.ours + self.theirs:
            if fd >= 0:
                posix.close(fd)
        self.ours = []
        self.theirs = []


def _is_same() -> bool:
    """Whether our standard output and error are one pipe, terminal, socket or file."""
    try:
        one, other = posix.fstat(1), posix.fstat(2)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


class MakePipes(Step):
    """Before the clone, in the runtime."""

    __slots__ = ("owner",)
    name = "streams"
    section = "config.md#process"

    def __init__(self, process: Process, linux: Linux) -> None:
        Step.__init__(self)
        uid = process.get("user", {}).get("uid") or 0
        self.owner = 0
        for entry in linux.get("uidMappings", []):
            if entry["containerID"] <= uid < entry["containerID"] + entry["size"]:
                self.owner = entry["hostID"] + uid - entry["containerID"]

    def describe(self) -> str:
        return "make pipes, to relay standard input, output and error"

    def apply(self, context: Context) -> None:
        context.streams = Streams()
        context.streams.open(self.owner)

    def undo(self, context: Context) -> None:
        if context.streams is not None:
            context.streams.close()


class TakePipes(Step):
    """First thing in the new process: nothing of the caller's is in reach of those that it will be among."""

    __slots__ = ()
    name = "streams"
    section = "config.md#process"
    side = CONTAINER

    def describe(self) -> str:
        return "have the pipes as standard input, output and error"

    def apply(self, context: Context) -> None:
        assert context.streams is not None
        for number, fd in enumerate(context.streams.theirs):
            posix.dup2(fd, number, inheritable=True)
        context.streams.close()
