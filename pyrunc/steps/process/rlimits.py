"""process.rlimits and process.oomScoreAdj, which the runtime sets for the process."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files
from pyrunc.steps.step import RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Rlimit
    from pyrunc.steps.context import Context


class OomScore(Step):
    """process.oomScoreAdj, written by the runtime: a non-dumpable process does not own its file."""

    __slots__ = ("value",)
    name = "oom_score_adj"
    section = "config.md#linux-process"
    side = RUNTIME

    def __init__(self, value: int) -> None:
        Step.__init__(self, "/process/oomScoreAdj")
        self.value = value

    def describe(self) -> str:
        return "set oom_score_adj to " + str(self.value)

    def apply(self, context: Context) -> None:
        path = f"/proc/{context.pid}/oom_score_adj"
        try:
            files.write(path, str(self.value).encode("ascii"))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM) and context.host.rootless:
                return  # Rootless, lowering is refused; runc goes on as well.
            raise PyruncError(
                f"set oom_score_adj to {self.value}: {reason(error)}",
                errno=error.errno,
                hint="lowering it needs CAP_SYS_RESOURCE",
            ) from None


class Rlimits(Step):
    """process.rlimits, set from the runtime: inside a user namespace the process lacks CAP_SYS_RESOURCE."""

    __slots__ = ("limits", "on_self")
    name = "rlimits"
    section = "config.md#posix-process"
    side = RUNTIME

    def __init__(self, limits: list[Rlimit]) -> None:
        Step.__init__(self, "/process/rlimits")
        self.limits = limits

    def describe(self) -> str:
        return "set " + ", ".join(f"{limit['type']} {limit['soft']}/{limit['hard']}" for limit in self.limits)

    def apply(self, context: Context) -> None:
        for index, limit in enumerate(self.limits):
            try:
                _linux.prlimit(context.pid, _linux.RLIMITS[limit["type"]], (limit["soft"], limit["hard"]))
            except OSError as error:
                raise PyruncError(
                    f"set rlimit {limit['type']}: {reason(error)}",
                    pointer="/process/rlimits/" + str(index),
                    errno=error.errno,
                    hint="raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == errno.EPERM else None,
                ) from None
