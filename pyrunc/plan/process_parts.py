"""The parts that processes of create and of exec have in common: lists of steps, empty when nothing is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.plan import meetings
from pyrunc.steps import cgroup, clone
from pyrunc.steps.process import labels, last_steps
from pyrunc.steps.process.rlimits import OomScore, Rlimits
from pyrunc.steps.procfs import OpenProcfs
from pyrunc.steps.rootfs.console import Terminal
from pyrunc.steps.step import RUNTIME, Meet, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Linux, Process
    from pyrunc.steps.host import Host
    from pyrunc.steps.namespaces import OpenNamespaces
    from pyrunc.steps.process.last_steps import BecomeProgram
    from pyrunc.steps.seccomp.step import CompileFilter


class ProcessParts:
    """process: the process object, for none what waits in its place. linux: that of the container's config.

    has_userns: whether the container has a user namespace. opened: what has the namespaces that are joined, if any are;
    joins_pids: whether a pid namespace is among them. is_relayed: whether its streams are relayed, not passed on.
    """

    def __init__(
        self,
        process: Process | None,
        linux: Linux,
        host: Host,
        *,
        has_userns: bool,
        opened: OpenNamespaces | None,
        is_relayed: bool,
        cache: str | None,
        sysctl: dict[str, str] | None = None,
    ) -> None:
        """cache: the folder of compiled seccomp filters. sysctl: those that are to be set."""
        self.has_process = bool(process)
        self.process = process or last_steps.NOBODY
        self.linux = linux
        self.host = host
        self.has_userns = has_userns
        self.opened = opened
        self.joins_pids = opened is not None and "pid" in opened.joined
        self.has_pipes = is_relayed and self.has_process and not self.process.get("terminal")
        self.has_small_memory = _has_small_memory(linux)
        # A clone ends a real-time policy with reset-on-fork, and is refused to a deadline policy, but the new process
        # shall not have CAP_SYS_NICE for that: so the runtime sets process.scheduler after the clone into a joined pid
        # namespace. In a user namespace that would be worth nothing anyway.
        scheduled = bool(self.process.get("scheduler"))
        self.is_scheduled_late = self.joins_pids and scheduled and not (has_userns or host.rootless)

        self.filter = self._filter(cache)
        self.procfs = self._procfs(sysctl)

    def _filter(self, cache: str | None) -> CompileFilter | None:
        if not self.linux.get("seccomp"):
            return None
        from pyrunc.steps.seccomp.step import CompileFilter

        return CompileFilter(self.linux["seccomp"], cache)

    def _procfs(self, sysctl: dict[str, str] | None) -> OpenProcfs | None:
        if not (self.joins_pids and (self.has_userns or self.host.rootless or self.host.in_user_namespace)):
            return None
        needed = self.process.get("apparmorProfile") or self.process.get("selinuxLabel") or sysctl
        return OpenProcfs() if needed else None

    def seccomp(self) -> list[Step]:
        return [] if self.filter is None else [self.filter]

    def host_procfs(self) -> list[Step]:
        """What labels and sysctls need while the process is in a user namespace, but not yet in its pid namespace."""
        return [] if self.procfs is None else [self.procfs]

    def make_pipes(self) -> list[Step]:
        if not self.has_pipes:
            return []
        from pyrunc.steps.process import streams

        return [streams.MakePipes(self.process, self.linux)]

    def take_pipes(self) -> list[Step]:
        if not self.has_pipes:
            return []
        from pyrunc.steps.process import streams

        return [streams.TakePipes()]

    def oom_score(self) -> list[Step]:
        return [] if self.process.get("oomScoreAdj") is None else [OomScore(self.process["oomScoreAdj"])]

    def populate(self) -> list[Step]:
        return [cgroup.PrefaultMemory()] if self.has_small_memory else []

    def terminal(self, *, bind: bool) -> list[Step]:
        """bind: with /dev/console."""
        if not self.process.get("terminal"):
            return []
        size = self.process.get("consoleSize", {})
        uid = self.process.get("user", {}).get("uid") or 0
        return [Terminal(size.get("height") or 0, size.get("width") or 0, uid, bind, not self.joins_pids)]

    def labels(self) -> list[Step]:
        return labels.labels(self.process, self.host, self.procfs)

    def tune(self) -> list[Step]:
        return last_steps.tune(self.process, self.linux, self.is_scheduled_late) if self.has_process else []

    def no_new_privileges(self) -> list[Step]:
        return [last_steps.NoNewPrivileges()] if self.process.get("noNewPrivileges") else []

    def enter_pids(self) -> list[Step]:
        return [clone.EnterPids(self.opened)] if self.opened is not None and self.joins_pids else []

    def rlimits(self) -> list[Step]:
        return [Rlimits(self.process["rlimits"])] if self.process.get("rlimits") else []

    def settled(self) -> list[Step]:
        """What the runtime does for the process that BecomeProgram has cloned, which waits for it."""
        if not self.joins_pids:
            return []
        if not self.is_scheduled_late:
            return [clone.RecordAgain(let_go=True)]
        from pyrunc.steps.process import scheduling

        late = scheduling.schedule(self.process["scheduler"], RUNTIME)
        return [clone.RecordAgain(), late, Meet(RUNTIME, meetings.SETTLED)]

    def warnings(self, program: BecomeProgram, pointer: str) -> list[str]:
        """What of the capabilities cannot be given: a --cap without CAP_, for one.

        pointer: where they are in config.json, "" for elsewhere.
        """
        from pyrunc.steps.process import capabilities

        available = -1 if self.has_userns else self.host.capabilities
        if program.caps is None or not program.caps.has_ungrantable(available):
            return []
        return capabilities.warnings(program.caps, available, pointer)


def _has_small_memory(linux: Linux) -> bool:
    """Whether the memory limit is so small that the set-up itself counts."""
    limit = linux.get("resources", {}).get("memory", {}).get("limit")
    return isinstance(limit, int) and 0 < limit < cgroup.SMALL_MEMORY
