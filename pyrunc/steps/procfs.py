"""The procfs by which labels and sysctls are written."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.linux import procfs
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class OpenProcfs(Step):
    """The runtime's /proc for labels and sysctls, where no procfs can be made that has the process in it.

    In a user namespace only of a pid namespace of its own can one be; but a joined pid namespace is entered last.
    """

    __slots__ = ("fd",)
    name = "procfs"

    def __init__(self) -> None:
        Step.__init__(self)
        self.fd = -1

    def describe(self) -> str:
        return "open /proc for labels and sysctls"

    def apply(self, context: Context) -> None:
        self.fd = procfs.open_host()

    def undo(self, context: Context) -> None:
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def open_for_writing(opened: OpenProcfs | None, full: bool = False) -> int:
    """A descriptor for a label or a sysctl, to be closed. full: for a sysctl. Raises OSError."""
    return posix.dup(opened.fd) if opened is not None else procfs.open_private(full=full)
