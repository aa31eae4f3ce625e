"""The parts of an exec: each a list of steps, empty when nothing is asked. Order: order.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.plan.process_parts import ProcessParts
from pyrunc.steps import cgroup, namespaces
from pyrunc.steps.join_container import AdoptTerminal, Affinity, AttachToScope, OpenCgroup, OpenContainer, OpenRoot
from pyrunc.steps.process import last_steps
from pyrunc.steps.process.keyring import Keyring
from pyrunc.steps.rootfs.root import ChangeRoot
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.config.types import Linux, Process
    from pyrunc.state.container import Container
    from pyrunc.steps.host import Host


class ExecParts(ProcessParts):
    """joined: the namespaces of the init process, by type: (path, pointer). program: the last step."""

    def __init__(
        self,
        container: Container,
        linux: Linux,
        process: Process,
        host: Host,
        joined: dict[str, tuple[str, str]],
        pidfd: int,
        cgroup_paths: dict[str, str],
        *,
        detach: bool,
    ) -> None:
        """pidfd: of the init process, -1 for a plan that is not carried out. cgroup_paths: as of OpenCgroup."""
        self.opened_container = OpenContainer(joined, container.pid, pidfd)
        ProcessParts.__init__(
            self,
            process,
            linux,
            host,
            has_userns="user" in joined,
            opened=self.opened_container,
            is_relayed=not detach,
            cache=container.store.root + "/@seccomp",
        )
        self.container = container
        self.joined = joined
        self.detach = detach
        self.affinity = process.get("execCPUAffinity", {})
        self.cgroup = OpenCgroup(container, cgroup_paths, self.has_small_memory)
        self.program = last_steps.BecomeProgram(process, fifo=None, seccomp=self.filter, again=self.joins_pids)

    def attach_to_scope(self) -> list[Step]:
        unit = self.container.fields.get("systemd")
        return [AttachToScope(self.cgroup)] if unit and unit["user"] else []

    def enter_clos(self) -> list[Step]:
        if not self.container.fields.get("intelRdt"):
            return []
        from pyrunc.steps import intel_rdt

        return [intel_rdt.EnterClos(self.container.fields["intelRdt"])]

    def initial_affinity(self) -> list[Step]:
        return self._affinity(self.affinity.get("initial"), "initial")

    def final_affinity(self) -> list[Step]:
        """As asked for, or that of the cpuset."""
        if not self.affinity.get("final") and not self.affinity.get("initial"):
            return [cgroup.ResetAffinity()]
        return self._affinity(self.affinity.get("final"), "final")

    def _affinity(self, wanted: str | None, which: str) -> list[Step]:
        return [Affinity(wanted, "/process/execCPUAffinity/" + which)] if wanted else []

    def join_namespaces(self) -> list[Step]:
        join = namespaces.JoinNamespaces(self.opened_container)
        return [join] if join.kinds else []

    def keyring(self) -> list[Step]:
        """The container's, by its name; the caller's own keys are none of its business."""
        own = self.container.fields.get("ownKeyring", True)
        return [Keyring(self.process.get("selinuxLabel") or "", self.procfs)] if own else []

    def change_root(self) -> list[Step]:
        return [OpenRoot() if "mount" in self.joined else ChangeRoot()]

    def adopt_terminal(self) -> list[Step]:
        return [AdoptTerminal()] if self.process.get("terminal") and not self.detach else []
