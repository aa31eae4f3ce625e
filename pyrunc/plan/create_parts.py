"""The parts of a container's birth: each a list of steps, empty when the config asks for nothing. Order: order.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.plan import meetings
from pyrunc.plan.process_parts import ProcessParts
from pyrunc.plan.rootfs_parts import RootfsParts
from pyrunc.steps import cgroup, clone, hooks, namespaces
from pyrunc.steps.exec_fifo import MakeFifo
from pyrunc.steps.hostname import Hostname
from pyrunc.steps.process import last_steps
from pyrunc.steps.process.keyring import Keyring
from pyrunc.steps.rootfs.masks import MaskedPaths, ReadOnlyPaths
from pyrunc.steps.rootfs.read_only import ReadOnlyMounts
from pyrunc.steps.rootfs.root import ChangeRoot, LimitPropagation, PivotRoot, Rootfs, RootPropagation, UnmountOnDelete
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Step
from pyrunc.steps.sysctl import Sysctl
from pyrunc.steps.time_namespace import EnterTime, TimeNamespace, UnshareTime, WriteTimeOffsets
from pyrunc.steps.user_namespace import BecomeRoot, WriteMappings

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config
    from pyrunc.plan.order import PlanOptions
    from pyrunc.steps.host import Host
    from pyrunc.steps.intel_rdt import MakeClos
    from pyrunc.steps.rootfs.source import OpenTree
    from pyrunc.steps.state_directory import StateDirectory

# New namespaces that the clone does not make: the cgroup namespace is made later, by a process that is in its cgroup;
# the time namespace before or after.
_APART = ("cgroup", "time")


class CreateParts(ProcessParts):
    """clones_twice: new namespaces below a joined user namespace must be made by a process that is in it already."""

    def __init__(
        self,
        config: Config,
        bundle: str,
        rootfs: str,
        host: Host,
        options: PlanOptions,
        manager: CgroupManager | None,
        state: StateDirectory | None = None,
    ) -> None:
        """config: a checked one. state: what makes the state directory, None for a plan that is only looked at.

        Raises ConfigError for what this host cannot do.
        """
        self.config = config
        linux = config.get("linux", {})
        process = config.get("process")
        self.spaces = namespaces.Namespaces(linux.get("namespaces", []))
        ProcessParts.__init__(
            self,
            process,
            linux,
            host,
            has_userns=self.spaces.has("user"),
            opened=namespaces.OpenNamespaces(self.spaces.joined) if self.spaces.joined else None,
            is_relayed=options.relay,
            cache=options.seccomp_cache,
            sysctl=linux.get("sysctl"),
        )
        self.options = options
        self.manager = manager
        self.state = state
        self.propagation = linux.get("rootfsPropagation") or ""
        self.hooks = config.get("hooks", {})
        self.fifo = MakeFifo()
        self.files = RootfsParts(config, bundle, rootfs, host, self.spaces, self.opened)
        self.root = self._root()
        self.cgroup = self._cgroup()
        self.clones_twice = "user" in self.spaces.joined and bool(self.spaces.new)
        self.clos: MakeClos | None = None
        start = self.hooks.get("startContainer")
        self.program = last_steps.BecomeProgram(
            process,
            fifo=self.fifo,
            seccomp=self.filter,
            hooks=hooks.StartContainerHooks(start) if start else None,
            again=self.joins_pids,
        )

    def _root(self) -> Rootfs:
        files = self.files
        return Rootfs(files.rootfs, files.root_tree, self.propagation in ("slave", "rslave"), files.null_tree)

    def _cgroup(self) -> cgroup.MakeCgroup | None:
        if self.manager is None:
            return None
        return cgroup.MakeCgroup(
            self.manager,
            self.linux.get("resources", {}),
            self.has_small_memory,
            self._cgroup_owner(self.manager),
            "pid" in self.spaces.new,
        )

    # ---- the runtime alone

    def state_directory(self) -> list[Step]:
        return [] if self.state is None else [self.state]

    def open_namespaces(self) -> list[Step]:
        return [] if self.opened is None else [self.opened]

    def sources(self) -> list[Step]:
        """Those that are opened in the host's mount namespace, and what is done with them."""
        mappings = self.files.mapper.steps if self.files.mapper is not None else []
        return [*mappings, *([] if self.files.locked else self.files.trees), *self.files.early]

    def memory_nodes(self) -> list[Step]:
        if not self.linux.get("memoryPolicy"):
            return []
        from pyrunc.steps.process import scheduling

        return scheduling.check_nodes(self.linux["memoryPolicy"])

    def make_clos(self) -> list[Step]:
        if self.linux.get("intelRdt") is None:
            return []
        from pyrunc.steps import intel_rdt

        self.clos = intel_rdt.MakeClos(self.linux["intelRdt"])
        return [self.clos]

    def make_cgroup(self, *, around_process: bool = False) -> list[Step]:
        return cgroup.made(self.cgroup, around_process=around_process)

    def _cgroup_owner(self, manager: CgroupManager) -> int | None:
        """The host's uid of the container's user, who owns the cgroup where it can be written to in the container.

        config-linux.md, "Cgroup ownership". None: root, or nobody.
        """
        if "" not in manager.paths or "cgroup" not in self.spaces.new:
            return None
        for mount in self.config.get("mounts", []):
            if mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options", [])):
                break
        else:
            return None
        uid = self.process.get("user", {}).get("uid") or 0
        if "user" in self.spaces.new:
            for entry in self.linux.get("uidMappings", []):
                if entry["containerID"] <= uid < entry["containerID"] + entry["size"]:
                    uid = entry["hostID"] + uid - entry["containerID"]
                    break
            else:
                return None
        return uid or None

    # ---- the clone, and what the runtime does for the new process

    def clone(self) -> list[Step]:
        kinds = [kind for kind in self.spaces.new if kind not in _APART]
        time = None
        if "time" in self.spaces.new and not self.has_userns:
            time = TimeNamespace(self.linux.get("timeOffsets", {}), self.spaces.pointers["time"])
        twice = self.clones_twice
        # What a service manager makes is made only later.
        early = self.cgroup if self.make_cgroup() else None
        first = clone.Clone(0 if twice else self.spaces.flags(_APART), [] if twice else kinds, time, early)
        return [*([] if time is None else [time]), *self.make_pipes(), first, *self.take_pipes()]

    def write_mappings(self) -> list[Step]:
        if "user" not in self.spaces.new:
            return []
        return [WriteMappings(self.linux.get("uidMappings", []), self.linux.get("gidMappings", []))]

    def enter_clos(self) -> list[Step]:
        if self.clos is None:
            return []
        from pyrunc.steps import intel_rdt

        return [intel_rdt.EnterClos(None, self.clos)]

    def net_devices(self, *, of_second: bool = False) -> list[Step]:
        """As soon as the network namespace is there: sysctls and hooks find the devices in it.

        of_second: by the second clone.
        """
        if not self.linux.get("netDevices") or of_second != (self.clones_twice and "network" in self.spaces.new):
            return []
        from pyrunc.steps import network_devices

        return network_devices.compile(self.linux["netDevices"], self.host, self.opened)

    def recorded(self) -> list[Step]:
        return self._handing_over(meetings.RECORDED, [] if self.clones_twice else self.files.trees)

    def _handing_over(self, label: str, trees: list[OpenTree]) -> list[Step]:
        """A meeting point of the runtime's: the sources are handed over as soon as the mount namespace is there."""
        meet = Meet(RUNTIME, label)
        if not trees or not self.files.locked:
            return [meet]
        from pyrunc.steps.rootfs import host_sources

        return [host_sources.OpenSources(trees), meet, host_sources.TakeSources(trees)]

    # ---- the container process: into all that is the container's

    def keyring(self) -> list[Step]:
        return [] if self.options.no_new_keyring else [Keyring(self.process.get("selinuxLabel") or "", self.procfs)]

    def join_cgroup(self) -> list[Step]:
        return [] if self.cgroup is None else [*self.populate(), cgroup.JoinCgroup(self.cgroup)]

    def join_namespaces(self) -> list[Step]:
        if self.opened is None:
            return []
        maps = self.linux.get("uidMappings"), self.linux.get("gidMappings")
        join = namespaces.JoinNamespaces(self.opened, *maps)
        return [join] if join.kinds else []

    def second_clone(self) -> list[Step]:
        if not self.clones_twice:
            return []
        kinds = [kind for kind in self.spaces.new if kind not in _APART]
        return [
            clone.SecondClone(self.spaces.flags(_APART), kinds),
            clone.RecordAgain(),
            *self.net_devices(of_second=True),
            *self._handing_over(meetings.RECORDED_AGAIN, self.files.trees),
        ]

    def become_root(self) -> list[Step]:
        return [BecomeRoot()] if "user" in self.spaces.new else []

    def cgroup_namespace(self) -> list[Step]:
        return [namespaces.UnshareCgroup()] if "cgroup" in self.spaces.new else []

    def time_namespace(self) -> list[Step]:
        """With a user namespace: that must own it, so the process makes it; only the runtime may write the offsets."""
        if not ("time" in self.spaces.new and self.has_userns):
            return []
        if not self.linux.get("timeOffsets"):
            return [UnshareTime(), EnterTime()]
        return [
            UnshareTime(),
            Meet(CONTAINER, meetings.TIME_NAMESPACE_MADE),
            WriteTimeOffsets(self.linux["timeOffsets"]),
            Meet(RUNTIME, meetings.TIME_OFFSETS),
            EnterTime(),
        ]

    def loopback(self) -> list[Step]:
        return [namespaces.LoopbackUp()] if "network" in self.spaces.new else []

    # ---- its file system

    def host_propagation(self) -> list[Step]:
        if "mount" in self.spaces.new:
            word = self.propagation if self.propagation in ("shared", "rshared") else "rslave"
            return [LimitPropagation(word, "/linux/rootfsPropagation" if self.propagation else "")]
        return [] if self.spaces.has("mount") else [UnmountOnDelete()]

    def runtime_hooks(self) -> list[Step]:
        """prestart and createRuntime see the container's namespaces and mounts, but the root not yet pivoted."""
        wanted = [("prestart", self.hooks.get("prestart")), ("createRuntime", self.hooks.get("createRuntime"))]
        steps = [hooks.HooksStep(kind, given, RUNTIME, "created") for kind, given in wanted if given]
        if not steps:
            return []
        return [
            Meet(CONTAINER, meetings.MOUNTED),
            *steps,
            Meet(RUNTIME, meetings.HOOKS_RUN),
        ]

    def create_container_hooks(self) -> list[Step]:
        wanted = self.hooks.get("createContainer")
        return [hooks.HooksStep("createContainer", wanted, CONTAINER, "created")] if wanted else []

    def change_root(self) -> list[Step]:
        return [PivotRoot(self.options.no_pivot) if self.spaces.has("mount") else ChangeRoot()]

    def make_cwd(self) -> list[Step]:
        return [last_steps.MakeCwd(self.process["cwd"])] if self.has_process else []

    # ---- inside it

    def read_only(self) -> list[Step]:
        late = self.files.late_read_only()
        root = bool(self.config.get("root", {}).get("readonly"))
        return [ReadOnlyMounts(late, root, "/root/readonly" if root else "/mounts")] if late or root else []

    def hostname(self) -> list[Step]:
        host, domain = self.config.get("hostname") or "", self.config.get("domainname") or ""
        return [Hostname(host, domain)] if host or domain else []

    def sysctl(self) -> list[Step]:
        return [Sysctl(self.linux["sysctl"], self.procfs)] if self.linux.get("sysctl") else []

    def masks(self) -> list[Step]:
        steps: list[Step] = []
        if self.linux.get("readonlyPaths"):
            steps.append(ReadOnlyPaths(self.linux["readonlyPaths"]))
        if self.linux.get("maskedPaths"):
            steps.append(MaskedPaths(self.linux["maskedPaths"], self.linux.get("mountLabel") or "", self.root))
        return steps

    def root_propagation(self) -> list[Step]:
        wanted = "mount" in self.spaces.new and self.propagation.endswith(("shared", "unbindable"))
        return [RootPropagation(self.propagation)] if wanted else []
