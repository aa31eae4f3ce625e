"""Settings of the process that execve(2) inherits: scheduler, I/O priority, personality, memory policy."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import cpulist, files
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import IOPriority, Linux, MemoryPolicy, Process, Scheduler
    from pyrunc.steps.context import Context

_POLICIES: Final = ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE")
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IOPRIO_WHO_PROCESS: Final = 1
# Linux 6.9; the one mode that older headers lack (linux/mempolicy.h).
_MPOL_WEIGHTED_INTERLEAVE: Final = 6
# More than any kernel is built for (CONFIG_NODES_SHIFT).
_MOST_NODES: Final = 4096


class Tune(Step):
    """One such setting. what: its words; call: the system call, with the process that it is for, 0 for the caller."""

    __slots__ = ("call", "section", "side", "what")
    name = "tuning"

    def __init__(
        self, pointer: str, section: str, what: str, call: Callable[[int], object], side: str = CONTAINER
    ) -> None:
        Step.__init__(self, pointer)
        self.side: str = side
        self.section: str = section
        self.what = what
        self.call = call

    def describe(self) -> str:
        return "set " + self.what

    def apply(self, context: Context) -> None:
        try:
            self.call(context.pid if self.side == RUNTIME else 0)
        except OSError as error:
            hint = None
            resources = context.config.get("linux", {}).get("resources", {})
            if (
                error.errno == errno.EPERM
                and self.pointer == "/process/scheduler"
                and resources.get("cpu", {}).get("cpus")
            ):
                hint = "process scheduler can't be used together with AllowedCPUs"  # in runc's words
            raise PyruncError(f"set {self.what}: {reason(error)}", errno=error.errno, hint=hint) from None


def compile(process: Process, linux: Linux, scheduled_late: bool) -> list[Step]:
    """The settings that the config names, in runc's order. scheduled_late: all but process.scheduler."""
    steps: list[Step] = []
    if process.get("scheduler") and not scheduled_late:
        steps.append(schedule(process["scheduler"], CONTAINER))
    if process.get("ioPriority"):
        steps.append(_io_priority(process["ioPriority"]))
    if linux.get("personality"):
        domain = linux["personality"]["domain"]
        persona = _linux.PER_LINUX32 if domain == "LINUX32" else _linux.PER_LINUX
        section, what = "config-linux.md#personality", "personality " + domain
        steps.append(Tune("/linux/personality", section, what, lambda _: _linux.personality(persona)))
    if linux.get("memoryPolicy"):
        steps.append(_memory_policy(linux["memoryPolicy"]))
    return steps


def schedule(scheduler: Scheduler, side: str) -> Step:
    """process.scheduler, set by the process itself or, from outside, by the runtime (sched_setattr(2))."""
    flags = 0
    for flag in scheduler.get("flags", []):
        flags |= getattr(_linux, flag)
    policy = scheduler["policy"]
    number: int = getattr(_linux, policy, _POLICIES.index(policy[len("SCHED_") :]))

    def call(pid: int) -> None:
        _linux.sched_setattr(
            pid,
            number,
            scheduler.get("nice") or 0,
            scheduler.get("priority") or 0,
            scheduler.get("runtime") or 0,
            scheduler.get("deadline") or 0,
            scheduler.get("period") or 0,
            flags,
        )

    return Tune("/process/scheduler", "config.md#linux-process", "scheduler " + policy, call, side)


def _io_priority(priority: IOPriority) -> Step:
    value = _IO_CLASSES[priority["class"]] << 13 | (priority.get("priority") or 0)
    what = "I/O priority " + priority["class"] + " " + str(priority.get("priority") or 0)
    return Tune(
        "/process/ioPriority",
        "config.md#linux-process",
        what,
        lambda pid: _linux.ioprio_set(_IOPRIO_WHO_PROCESS, pid, value),
    )


class CheckNodes(Step):
    """See that the memory nodes exist: of several the kernel would take those that do and say nothing of the others."""

    __slots__ = ("nodes",)
    name = "memory policy"
    section = "config-linux.md#memory-policy"
    side = RUNTIME

    def __init__(self, nodes: list[int]) -> None:
        Step.__init__(self, "/linux/memoryPolicy/nodes")
        self.nodes = nodes

    def describe(self) -> str:
        return "see that the memory nodes exist: " + ",".join(str(node) for node in self.nodes)

    def apply(self, context: Context) -> None:
        try:
            there = cpulist.numbers(files.read("/sys/devices/system/node/possible", limit=65536).decode("ascii"))
        except OSError:
            return  # a kernel without NUMA, or a host without its sysfs: set_mempolicy(2) has the last word
        for node in self.nodes:
            if node not in there:
                raise ConfigError("memory policy: there is no memory node " + str(node), pointer=self.pointer)


def check_nodes(policy: MemoryPolicy) -> list[Step]:
    """What the runtime looks at before there is a container. Relative nodes are those of whatever is allowed."""
    nodes = cpulist.numbers(policy.get("nodes") or "")
    return [CheckNodes(nodes)] if nodes and "MPOL_F_RELATIVE_NODES" not in (policy.get("flags", [])) else []


def _memory_policy(policy: MemoryPolicy) -> Step:
    mode: int = getattr(_linux, policy["mode"], _MPOL_WEIGHTED_INTERLEAVE)
    for flag in policy.get("flags", []):
        mode |= getattr(_linux, flag)
    nodes = cpulist.numbers(policy.get("nodes") or "")
    mask = 0
    for node in nodes:
        mask |= 1 << node
    # set_mempolicy(2) counts one bit more than it reads.
    size = (max(nodes) // 64 + 1) * 8 if nodes else 0
    what = "memory policy " + policy["mode"] + (" " + policy["nodes"] if nodes else "")
    data = mask.to_bytes(size, "little") if nodes else None

    def call(_: int) -> None:
        if size * 8 >= _MOST_NODES:
            raise OSError(errno.EINVAL, "set_mempolicy")
        _linux.set_mempolicy(mode, data, size * 8 + 1 if nodes else 0)

    return Tune("/linux/memoryPolicy", "config-linux.md#memory-policy", what, call)
