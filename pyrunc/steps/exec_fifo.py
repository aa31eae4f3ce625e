"""The file of the state directory that the container process holds while it waits for start."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc.state.container import FIFO
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context

# What the process writes into it when it begins and when it has done with its startContainer hooks.
HOOKS_BEGIN: Final = b"("
HOOKS_END: Final = b")"


class MakeFifo(Step):
    """exec.fifo: the container process blocks reading it, and `start` writes one byte.

    It is there exactly as long as the container is `created`. The process holds both ends, so that it does not see
    an end of file; execve(2) closes them, and wakes `start`. What goes wrong after create has returned is written into
    it too: `start` reads it when the process has gone.
    """

    __slots__ = ("error_fd", "fd")
    name = "exec.fifo"
    section = "runtime.md#lifecycle"

    def __init__(self) -> None:
        Step.__init__(self)
        self.fd = -1
        self.error_fd = -1

    def describe(self) -> str:
        return "make exec.fifo, on which the process waits for start"

    def apply(self, context: Context) -> None:
        path = f"{context.state_dir}/{FIFO}"
        posix.mkfifo(path, 0o600)
        self.fd = posix.open(path, posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW)
        self.error_fd = posix.dup(self.fd)

    def undo(self, context: Context) -> None:
        self.close()
        try:
            posix.unlink(f"{context.state_dir}/{FIFO}")
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Close the runtime's descriptors of it, which the container process has inherited."""
        for fd in (self.fd, self.error_fd):
            if fd >= 0:
                posix.close(fd)
        self.fd = self.error_fd = -1
