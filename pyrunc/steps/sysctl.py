"""linux.sysctl."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.config import rules
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import procfs
from pyrunc.steps.procfs import open_for_writing
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.procfs import OpenProcfs


class Sysctl(Step):
    """linux.sysctl, through a procfs of our own."""

    __slots__ = ("procfs", "values")
    name = "sysctl"
    section = "config-linux.md#sysctl"
    side = CONTAINER

    def __init__(self, values: dict[str, str], opened: OpenProcfs | None) -> None:
        """opened: the runtime's procfs, None for one of the process's own."""
        Step.__init__(self, "/linux/sysctl")
        self.procfs = opened
        self.values = values

    def describe(self) -> str:
        return "set sysctl " + ", ".join(f"{key}={value}" for key, value in self.values.items())

    def apply(self, context: Context) -> None:
        proc = open_for_writing(self.procfs, full=True)
        try:
            for key, value in self.values.items():
                path = "sys/" + rules.sysctl_path(key)
                try:
                    procfs.write(proc, path, value.encode("utf-8", "surrogateescape"))
                except OSError as error:
                    raise PyruncError(
                        f"set sysctl {key} to {value}: {reason(error)}",
                        pointer="/linux/sysctl/" + key.replace("~", "~0").replace("/", "~1"),
                        errno=error.errno,
                    ) from None
        finally:
            posix.close(proc)
