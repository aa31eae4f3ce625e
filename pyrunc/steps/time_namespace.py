"""The time namespace and its offsets."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import TimeOffset
    from pyrunc.steps.context import Context


class TimeNamespace(Step):
    """A new time namespace with its offsets, which the clone then enters (time_namespaces(7))."""

    __slots__ = ("offsets", "own")
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"

    def __init__(self, offsets: dict[str, TimeOffset], pointer: str) -> None:
        Step.__init__(self, pointer)
        self.offsets = offsets
        self.own = -1

    def describe(self) -> str:
        return "make a time namespace" + offset_words(self.offsets)

    def apply(self, context: Context) -> None:
        self.own = posix.open("/proc/self/ns/time", posix.O_RDONLY | posix.O_CLOEXEC)
        _linux.unshare(_linux.CLONE_NEWTIME)
        write_offsets("/proc/self/timens_offsets", self.offsets)

    def leave(self) -> None:
        """After the clone: later children of the runtime are born in its own time namespace again."""
        if self.own >= 0:
            _linux.setns(self.own, _linux.CLONE_NEWTIME)
            posix.close(self.own)
            self.own = -1

    def undo(self, context: Context) -> None:
        self.leave()


def offset_words(offsets: dict[str, TimeOffset]) -> str:
    words = [
        clock + " " + str(offset.get("secs") or 0) + " s " + str(offset.get("nanosecs") or 0) + " ns"
        for clock, offset in offsets.items()
    ]
    return " with offsets " + ", ".join(words) if words else ""


def write_offsets(path: str, offsets: dict[str, TimeOffset]) -> None:
    """Write linux.timeOffsets to a timens_offsets file. Raises PyruncError."""
    if not offsets:
        return
    lines = "".join(
        clock + " " + str(offset.get("secs") or 0) + " " + str(offset.get("nanosecs") or 0) + "\n"
        for clock, offset in offsets.items()
    )
    try:
        files.write(path, lines.encode("ascii"))
    except OSError as error:
        raise PyruncError(
            "write time offsets: " + reason(error), pointer="/linux/timeOffsets", errno=error.errno
        ) from None


class UnshareTime(Step):
    """A new time namespace below a new user namespace, which must own it: the container process makes it itself."""

    __slots__ = ()
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = CONTAINER

    def describe(self) -> str:
        return "make a time namespace"

    def apply(self, context: Context) -> None:
        _linux.unshare(_linux.CLONE_NEWTIME)


class WriteTimeOffsets(Step):
    """The offsets of the time namespace that the container process has made."""

    __slots__ = ("offsets",)
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = RUNTIME

    def __init__(self, offsets: dict[str, TimeOffset]) -> None:
        Step.__init__(self, "/linux/timeOffsets")
        self.offsets = offsets

    def describe(self) -> str:
        return "write time offsets" + offset_words(self.offsets)

    def apply(self, context: Context) -> None:
        write_offsets(f"/proc/{context.pid}/timens_offsets", self.offsets)


class EnterTime(Step):
    """Enter the time namespace made for the children: no process may be in it while offsets are written."""

    __slots__ = ()
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = CONTAINER

    def describe(self) -> str:
        return "enter the time namespace"

    def apply(self, context: Context) -> None:
        fd = posix.open("/proc/self/ns/time_for_children", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _linux.setns(fd, _linux.CLONE_NEWTIME)
        finally:
            posix.close(fd)
