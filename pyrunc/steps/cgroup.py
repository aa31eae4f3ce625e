"""The container's cgroup: made and limited by the runtime, entered by the container process itself.

On cgroup v1 a process that writes "0" to a `tasks` file moves itself without waiting for RCU; a runtime that writes
the number of another process to cgroup.procs waits for most of a container's birth (docs/design.md has the figures).
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.linux import files
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Resources
    from pyrunc.steps.context import Context

# Below this many bytes a copy of our own pages, made when the child writes to them, is too much for the cgroup.
SMALL_MEMORY: Final = 4 << 20


class HeldCgroup(Step):
    """What holds the cgroup open for the container process.

    fds: to join it by. directory_fd: on cgroup v2, where the process can be born in it; else -1.
    """

    __slots__ = ("directory_fd", "fds")

    def __init__(self, pointer: str = "") -> None:
        Step.__init__(self, pointer)
        self.fds: list[int] = []
        self.directory_fd = -1

    def close(self) -> None:
        if self.directory_fd >= 0:
            posix.close(self.directory_fd)
            self.directory_fd = -1
        for fd in self.fds:
            posix.close(fd)
        self.fds = []


class MakeCgroup(HeldCgroup):
    """Make the cgroup in every hierarchy and write linux.resources."""

    __slots__ = ("manager", "owner", "private_pids", "resources", "small")
    name = "cgroup"
    section = "config-linux.md#control-groups"

    def __init__(
        self,
        manager: CgroupManager,
        resources: Resources,
        small: bool = False,
        owner: int | None = None,
        private_pids: bool = True,
    ) -> None:
        """small: the memory limit is, and the process must not be charged for what it does before it joins.

        owner: the host's uid that is to own the cgroup, since the container may make others below it.
        private_pids: whether the container has a pid namespace of its own, whose end takes all processes with it.
        """
        HeldCgroup.__init__(self, "/linux/resources")
        self.private_pids = private_pids
        self.owner = owner
        self.small = small
        self.manager = manager
        self.resources = resources

    def describe(self) -> str:
        places = sorted(set(self.manager.paths.values()))
        owner = "" if self.owner is None else ", owned by uid " + str(self.owner)
        return f"make the cgroup {' '.join(places)}{_resource_words(self.resources)}{owner}"

    def apply(self, context: Context) -> None:
        context.cgroup = self.manager
        if self.manager.needs_process:
            self.manager.start(context.pid, self.resources)
            # By what the scope is ours, whoever has its name later.
            context.record("systemd", self.manager.unit())
        self.manager.create()
        context.warnings += self.manager.set(self.resources)
        if self.owner is not None:
            self.manager.give_to(self.owner)
        if self.manager.needs_process:
            if "" not in self.manager.paths:
                # systemd has moved it in its own hierarchies only.
                self.manager.add(context.pid)
            # The process is inside.
            self.manager.release()
            return
        self.fds = self.manager.join_fds()
        if not self.small:
            self.directory_fd = self.manager.clone_fd()
        if not self.private_pids and not self.manager.paths:
            # runc's last words, by which scripts know it.
            context.warnings.append(
                "the container has neither a cgroup nor a pid namespace of its own: not all its processes can be found "
                "and killed. Such configuration is strongly discouraged"
            )

    def undo(self, context: Context) -> None:
        self.manager.release()
        self.close()
        try:
            self.manager.delete()
        except PyruncError as error:
            context.warnings.append("delete cgroup: " + str(error))


def _resource_words(resources: Resources) -> str:
    return " and limit " + ", ".join(sorted(resources)) if resources else ""


def made(step: MakeCgroup | None, *, around_process: bool) -> list[Step]:
    """The step where it belongs: around a process that is there, as a service manager needs one, or before."""
    return [step] if step is not None and step.manager.needs_process == around_process else []


class JoinCgroup(Step):
    """Enter the cgroup, by descriptors that the runtime opened."""

    __slots__ = ("held",)
    name = "cgroup"
    section = "config-linux.md#control-groups"
    side = CONTAINER

    def __init__(self, held: HeldCgroup) -> None:
        Step.__init__(self, "/linux/cgroupsPath")
        self.held = held

    def describe(self) -> str:
        return "enter the cgroup"

    def apply(self, context: Context) -> None:
        if context.cgroup is not None:
            context.cgroup.join(self.held.fds)
            context.cgroup.release()


class ResetAffinity(Step):
    """Run on every CPU that the cpuset has, whatever the caller's own process is bound to (as in runc).

    Of all CPUs that the machine may ever have, so that those added to the cpuset later count too.
    """

    __slots__ = ()
    name = "CPU affinity"
    side = CONTAINER

    def describe(self) -> str:
        return "run on all CPUs that the cgroup allows"

    def apply(self, context: Context) -> None:
        try:
            # A list such as "0-3": its last number is the highest there can be (sysfs, cputopology).
            possible = files.read("/sys/devices/system/cpu/possible", limit=4096)
            number = int(possible.replace(b"-", b",").rpartition(b",")[2]) + 1
        except (OSError, ValueError):
            number = 1024
        posix.sched_setaffinity(0, range(number))


class PrefaultMemory(Step):
    """Make our pages our own before the cgroup counts them.

    Pages that the container process inherits stay charged to the caller's cgroup; a page it writes to is copied, and
    the copy is charged to its own. With a limit of a few hundred KiB these copies alone would end it.
    """

    __slots__ = ()
    name = "memory"
    side = CONTAINER

    def __init__(self) -> None:
        Step.__init__(self, "/linux/resources/memory/limit")

    def describe(self) -> str:
        return "populate own memory before the small limit counts it"

    def apply(self, context: Context) -> None:
        for line in files.read("/proc/self/maps", limit=1 << 20).split(b"\n"):
            fields = line.split(b" ", 5)
            # Private and writable; not the kernel's own.
            if (
                len(fields) < 5
                or fields[1][1:2] != b"w"
                or fields[1][3:4] != b"p"
                or fields[-1].strip().startswith(b"[v")
            ):
                continue
            start, _, end = fields[0].partition(b"-")
            try:
                _linux.madvise(int(start, 16), int(end, 16) - int(start, 16), _linux.MADV_POPULATE_WRITE)
            except OSError:
                continue
