"""The order of a container's birth: the one place where it is decided, each position with its reason.

Steps of the two processes stand in one list. Those of one process between two meeting points follow each other;
those of both run at the same time. Compiling is pure: the same config, host and options give the same list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.steps import cgroup, hooks, namespaces
from pyrunc.steps import clone as birth
from pyrunc.steps.exec_fifo import MakeFifo
from pyrunc.steps.hostname import Hostname
from pyrunc.steps.process import capabilities, labels
from pyrunc.steps.process import init as process
from pyrunc.steps.process.keyring import Keyring
from pyrunc.steps.process.rlimits import OomScore, Rlimits
from pyrunc.steps.procfs import OpenProcfs
from pyrunc.steps.rootfs import devices
from pyrunc.steps.rootfs import mount as mounts
from pyrunc.steps.rootfs.console import Terminal
from pyrunc.steps.rootfs.masks import MaskedPaths, ReadOnlyPaths
from pyrunc.steps.rootfs.root import ChangeRoot, LimitPropagation, PivotRoot, Rootfs, RootPropagation, UnmountOnDelete
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Plan, Step
from pyrunc.steps.sysctl import Sysctl
from pyrunc.steps.time_namespace import EnterTime, TimeNamespace, UnshareTime, WriteTimeOffsets
from pyrunc.steps.user_namespace import BecomeRoot, WriteMappings

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config
    from pyrunc.steps.host import Host

# The meeting points, in order.
RECORDED = "the process is recorded in state.json and its id maps are written"
TIME_OFFSETS = "time offsets are written"
RECORDED_AGAIN = "the second process is recorded"
MOUNTED_SO_FAR = "the mounts before are made"
SOURCE_OPENED = "a source that they have made is opened"
MOUNTED = "the rootfs and its mounts are made"
HOOKS_RUN = "the runtime's hooks have run"
READY = "the process is set up"
LIMITED = "resource limits are set"
SETTLED = "the process in the joined pid namespace is recorded"


class Options:
    """What the caller decides beside the config. seccomp_cache: directory, or None for no cache. relay: the process's
    streams are relayed, not passed on.
    """

    __slots__ = ("no_new_keyring", "no_pivot", "relay", "seccomp_cache")

    def __init__(
        self,
        *,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        seccomp_cache: str | None = None,
        relay: bool = False,
    ) -> None:
        self.relay = relay
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.seccomp_cache = seccomp_cache


def compile_create(
    config: Config, bundle: str, rootfs: str, host: Host, options: Options, manager: CgroupManager | None
) -> Plan:
    """The plan of create for a checked config. Raises ConfigError for what this host cannot do."""
    builder = _Builder(config, bundle, rootfs, host, options)
    steps: list[Step] = []
    steps += builder.preparation(manager)
    steps += builder.birth(manager)
    steps += builder.filesystem()
    steps += builder.meeting_for_hooks()
    steps += builder.root_and_settings()
    steps += builder.ending()
    return Plan(steps, builder.warnings)


class _Builder:
    def __init__(self, config: Config, bundle: str, rootfs: str, host: Host, options: Options) -> None:
        self.config: Any = config
        self.bundle = bundle
        self.rootfs = rootfs
        self.host = host
        self.options = options
        self.linux: Any = config.get("linux", {})
        self.process: Any = config.get("process")
        self.spaces = namespaces.Namespaces(self.linux.get("namespaces", []))
        self.hooks: Any = config.get("hooks", {})
        self.warnings: list[str] = []
        self.clos: Any = None
        self.mapper: Any = None
        # Where the container's user is not the host's root, the runtime opens what only the host's root may reach,
        # from within the new mount namespace, whose mounts are locked against that user.
        self.foreign = self.spaces.has("user")
        self.locked = self.foreign and "mount" in self.spaces.new and not host.rootless
        self.trees: list[OpenTree] = []
        # What is done with some of them before.
        self.early: list[Step] = []
        self.root_tree: OpenTree | None = None
        self.null_tree: OpenTree | None = None
        self.mount_steps = self._mount_steps()
        self.device_steps = self._device_steps()

    def _make_cgroup(self, manager: CgroupManager) -> cgroup.MakeCgroup:
        return cgroup.MakeCgroup(
            manager,
            self.linux.get("resources", {}),
            has_small_memory(self.linux),
            self._cgroup_owner(manager),
            "pid" in self.spaces.new,
        )

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
        uid: int = ((self.process or {}).get("user") or {}).get("uid") or 0
        if "user" in self.spaces.new:
            for entry in self.linux.get("uidMappings", []):
                if entry["containerID"] <= uid < entry["containerID"] + entry["size"]:
                    uid = entry["hostID"] + uid - entry["containerID"]
                    break
            else:
                return None
        return uid or None

    def preparation(self, manager: CgroupManager | None) -> list[Step]:
        """In the runtime, before there is a second process: as much as can fail for the config's sake fails here."""
        steps: list[Step] = [MakeFifo()]
        if self.spaces.joined:
            steps.append(namespaces.OpenNamespaces(self.spaces.joined))
        if self.linux.get("seccomp"):
            from pyrunc.steps.seccomp.step import CompileFilter

            steps.append(CompileFilter(self.linux["seccomp"], self.options.seccomp_cache))
        if "pid" in self.spaces.joined:
            steps += host_procfs(self.process or {}, self.linux, self.foreign, self.host)
        if self.mapper is not None:
            steps += self.mapper.steps
        if not self.locked:
            steps += self.trees
        steps += self.early
        if self.linux.get("memoryPolicy"):
            from pyrunc.steps.process import scheduling

            steps += scheduling.check_nodes(self.linux["memoryPolicy"])
        if self.linux.get("intelRdt") is not None:
            from pyrunc.steps import intel_rdt

            self.clos = intel_rdt.MakeClos(self.linux["intelRdt"])
            steps.append(self.clos)
        # The cgroup comes last of what the runtime makes: from here on delete has something to remove.
        if manager is not None and not manager.needs_process:
            steps.append(self._make_cgroup(manager))
        return steps

    def birth(self, manager: CgroupManager | None) -> list[Step]:
        """The clone, and everything that makes the new process one of the container's."""
        steps: list[Step] = []
        clone_time = None
        if "time" in self.spaces.new and not self.foreign:
            clone_time = TimeNamespace(self.linux.get("timeOffsets", {}), self.spaces.pointers["time"])
            steps.append(clone_time)
        # New namespaces below a joined user namespace must be made by a process that is in it already.
        twice = "user" in self.spaces.joined and bool(self.spaces.new)
        # The cgroup namespace is made later, by a process that is in its cgroup; the time namespace before or after.
        apart = ("cgroup", "time")
        kinds = [kind for kind in self.spaces.new if kind not in apart]
        flags = self.spaces.flags(apart)
        pipes = self.options.relay and self.process and not self.process.get("terminal")
        if pipes:
            from pyrunc.steps.process import streams

            steps.append(streams.MakePipes(self.process, self.linux))
        steps.append(birth.Clone(0 if twice else flags, [] if twice else kinds, clone_time))
        if pipes:
            steps.append(streams.TakePipes())
        # Nothing exists in the new process before state.json names it: a runtime killed here leaves nothing unknown.
        steps.append(birth.Record())
        if "user" in self.spaces.new:
            steps.append(WriteMappings(self.linux.get("uidMappings", []), self.linux.get("gidMappings", [])))
        if self.process and self.process.get("oomScoreAdj") is not None:
            steps.append(OomScore(self.process["oomScoreAdj"]))
        if self.clos is not None:
            from pyrunc.steps import intel_rdt

            steps.append(intel_rdt.EnterClos(None, self.clos))
        again = twice and "network" in self.spaces.new
        steps += [] if again else self._net_devices()
        if manager is not None and manager.needs_process:
            # systemd makes a scope only around a process.
            steps.append(self._make_cgroup(manager))
        steps += self._handing_over(RECORDED, [] if twice else self.trees)
        steps += self._enter(manager, twice, flags, kinds)
        return steps

    def _handing_over(self, label: str, trees: list[OpenTree]) -> list[Step]:
        """A meeting point of the runtime's: the sources are handed over as soon as the mount namespace is there."""
        meet = Meet(RUNTIME, label)
        if not trees or not self.locked:
            return [meet]
        from pyrunc.steps.rootfs import host_sources

        return [host_sources.OpenSources(trees), meet, host_sources.TakeSources(trees)]

    def _opened_late(self, tree: OpenTree) -> list[Step]:
        from pyrunc.steps.rootfs import host_sources

        return [
            Meet(CONTAINER, MOUNTED_SO_FAR),
            host_sources.OpenSources([tree]),
            Meet(RUNTIME, SOURCE_OPENED),
            host_sources.TakeSources([tree]),
        ]

    def _net_devices(self) -> list[Step]:
        """As soon as the network namespace is there: sysctls and hooks find the devices in it."""
        if not self.linux.get("netDevices"):
            return []
        from pyrunc.steps import network_devices

        return network_devices.compile(self.linux["netDevices"], self.host)

    def _enter(self, manager: CgroupManager | None, twice: bool, flags: int, kinds: list[str]) -> list[Step]:
        steps: list[Step] = []
        if not self.options.no_new_keyring:
            steps.append(Keyring((self.process or {}).get("selinuxLabel") or ""))
        if manager is not None:
            if has_small_memory(self.linux):
                steps.append(cgroup.Populate())
            # Before anything is allocated for the container, so that all of it is charged to it and judged by its
            # device rules; and before the cgroup namespace, whose root is where the process is.
            steps.append(cgroup.JoinCgroup())
        # In the cgroup, so that the kernel cuts it down to the cpuset.
        steps.append(cgroup.AllCpus())
        joined = [kind for kind in self.spaces.joined if kind != "pid"]
        if joined:
            maps = self.linux.get("uidMappings"), self.linux.get("gidMappings")
            steps.append(namespaces.JoinNamespaces(joined, *maps))
        if twice:
            steps += [birth.CloneAgain(flags, kinds), birth.RecordAgain()]
            if "network" in self.spaces.new:
                steps += self._net_devices()
            steps += self._handing_over(RECORDED_AGAIN, self.trees)
        if "user" in self.spaces.new:
            # The maps are written: user 0 of the namespace owns all the other new namespaces.
            steps.append(BecomeRoot())
        if "cgroup" in self.spaces.new:
            steps.append(namespaces.UnshareCgroup())
        if "time" in self.spaces.new and self.foreign:
            steps += self._time_in_user_namespace()
        if "network" in self.spaces.new:
            steps.append(namespaces.LoopbackUp())
        return steps

    def _time_in_user_namespace(self) -> list[Step]:
        """The user namespace must own it, so the process makes it; only the runtime may write the offsets."""
        steps: list[Step] = [UnshareTime()]
        if self.linux.get("timeOffsets"):
            steps += [
                Meet(CONTAINER, "the time namespace is made"),
                WriteTimeOffsets(self.linux["timeOffsets"]),
                Meet(RUNTIME, TIME_OFFSETS),
            ]
        steps.append(EnterTime())
        return steps

    def filesystem(self) -> list[Step]:
        """In the container process, in its mount namespace, with the host's tree still there."""
        steps: list[Step] = []
        propagation = self.linux.get("rootfsPropagation") or ""
        if "mount" in self.spaces.new:
            pointer = "/linux/rootfsPropagation" if propagation else ""
            # First of all mounts: what is mounted later must not appear on the host.
            word = {"shared": "rslave", "rshared": "rshared"}.get(propagation, "rslave")
            if propagation == "shared":
                word = "shared"
            steps.append(LimitPropagation(word, pointer))
        elif not self.spaces.has("mount"):
            steps.append(UnmountOnDelete())
        steps.append(Rootfs(self.rootfs, self.root_tree, propagation in ("slave", "rslave"), self.null_tree))
        steps += self.mount_steps
        # After the mounts: /dev is usually one of them.
        steps += self.device_steps
        return steps

    def meeting_for_hooks(self) -> list[Step]:
        """prestart and createRuntime see the container's namespaces and mounts, but the root not yet pivoted."""
        steps: list[Step] = []
        kinds = [kind for kind in ("prestart", "createRuntime") if self.hooks.get(kind)]
        if kinds:
            steps.append(Meet(CONTAINER, MOUNTED))
            steps += [hooks.HooksStep(kind, self.hooks[kind], RUNTIME, "created") for kind in kinds]
            steps.append(Meet(RUNTIME, HOOKS_RUN))
        if self.hooks.get("createContainer"):
            steps.append(hooks.HooksStep("createContainer", self.hooks["createContainer"], CONTAINER, "created"))
        return steps

    def root_and_settings(self) -> list[Step]:
        """The root is the container's from here on; then what is done inside it."""
        steps: list[Step] = []
        if self.spaces.has("mount"):
            steps.append(PivotRoot(self.options.no_pivot))
        else:
            steps.append(ChangeRoot())
        if self.process:
            # While the root is still writable.
            steps.append(process.MakeCwd(self.process["cwd"]))
        steps += self._settings()
        if "pid" in self.spaces.joined:
            # Entered last of all namespaces, by a clone after all else is done.
            steps.append(birth.EnterPids())
        return steps

    def _settings(self) -> list[Step]:
        steps: list[Step] = []
        if self.process and self.process.get("terminal"):
            # After pivot_root, from the container's own devpts; before the root may become read-only: /dev/console.
            size = self.process.get("consoleSize", {})
            uid = self.process.get("user", {}).get("uid") or 0
            controls = "pid" not in self.spaces.joined
            step = Terminal(size.get("height") or 0, size.get("width") or 0, uid, self._own_dev(), controls)
            steps.append(step)
        read_only = self._late_read_only()
        root_read_only = bool(self.config.get("root", {}).get("readonly"))
        if read_only or root_read_only:
            steps.append(
                mounts.ReadOnlyMounts(read_only, root_read_only, "/root/readonly" if root_read_only else "/mounts")
            )
        if self.config.get("hostname") or self.config.get("domainname"):
            steps.append(Hostname(self.config.get("hostname") or "", self.config.get("domainname") or ""))
        if self.process:
            steps += labels.labels(self.process, self.host)
        if self.linux.get("sysctl"):
            # Before readonlyPaths makes /proc/sys read-only; it goes by a procfs of our own anyway.
            steps.append(Sysctl(self.linux["sysctl"]))
        if self.linux.get("readonlyPaths"):
            steps.append(ReadOnlyPaths(self.linux["readonlyPaths"]))
        if self.linux.get("maskedPaths"):
            label = self.linux.get("mountLabel") or ""
            steps.append(MaskedPaths(self.linux["maskedPaths"], label))
        propagation = self.linux.get("rootfsPropagation") or ""
        if "mount" in self.spaces.new and propagation.endswith(("shared", "unbindable")):
            # After pivot_root(2), which refuses a shared root, and the last copy, which an unbindable mount refuses.
            # Private or slave the root is from its beginning, and volumes keep what they asked for.
            steps.append(RootPropagation(propagation))
        if self.process:
            steps += process.tune(self.process, self.linux, self._is_scheduled_late())
            if self.process.get("noNewPrivileges"):
                steps.append(process.NoNewPrivileges())
        return steps

    def _late_read_only(self) -> list[mounts.MountStep]:
        """What tmpfs is to become read-only now that it has what the set-up puts there; cgroup v1 stands in one."""
        found: dict[str, mounts.MountStep] = {}
        for step in self.mount_steps:
            if isinstance(step, mounts.MountStep):
                if not (step.options.remount and step.read_only()):
                    found.pop(step.destination, None)
                if step.fstype in mounts.READ_ONLY_LATE and step.read_only() and not step.options.remount:
                    found[step.destination] = step
        return list(found.values())

    def ending(self) -> list[Step]:
        """The last meeting, and the way into the program."""
        steps: list[Step] = [Meet(CONTAINER, READY)]
        if self.process and self.process.get("rlimits"):
            # So late because the set-up itself must not suffer from them, by the runtime because the process may lack
            # CAP_SYS_RESOURCE by now.
            steps.append(Rlimits(self.process["rlimits"]))
        steps.append(Meet(RUNTIME, LIMITED))
        start_hooks = self.hooks.get("startContainer")
        again = "pid" in self.spaces.joined
        program = process.BecomeProgram(
            self.process,
            has_fifo=True,
            hooks=hooks.StartContainerHooks(start_hooks) if start_hooks else None,
            again=again,
        )
        steps.append(program)
        if again:
            steps += settled(self.process if self._is_scheduled_late() else None)
        if program.caps is not None:
            available = -1 if self.spaces.has("user") else self.host.capabilities
            if program.caps.odd(available):
                self.warnings += capabilities.warnings(program.caps, available)
        return steps

    def _is_scheduled_late(self) -> bool:
        return "pid" in self.spaces.joined and is_scheduled_late(self.process, self.foreign, self.host)

    def _tree(
        self, path: str, recursive: bool, pointer: str, attributes: int = 0, *, always: bool = False
    ) -> OpenTree | None:
        # An ordinary user has the right to copy a mount only in the user namespace: the container process does it then.
        if not always and (not self.foreign or self.host.rootless):
            return None
        slave = (self.linux.get("rootfsPropagation") or "") not in ("shared", "rshared")
        tree = OpenTree(path, recursive, pointer, slave, attributes)
        self.trees.append(tree)
        return tree

    def _mount_steps(self) -> list[Step]:
        if self.linux.get("mountLabel"):
            labels.require_lsm("selinux", self.linux["mountLabel"], self.host, "/linux/mountLabel")
        self.root_tree = self._tree(self.rootfs, True, "/root/path")
        self.null_tree = self._tree("/dev/null", False, "/linux/maskedPaths")
        steps: list[Step] = []
        for index, mount in enumerate(self.config.get("mounts", [])):
            pointer = "/mounts/" + str(index)
            label = self.linux.get("mountLabel") or ""
            step = mounts.MountStep(mount, self.bundle, pointer, None, label, self.rootfs)
            step.locked = self.foreign or self.host.rootless or self.host.in_user_namespace
            # Mappings without the option that belongs to them mean the mount alone, as in runc.
            mapped = bool(step.options.idmap or mount.get("uidMappings"))
            if mapped and step.inside and self.locked:
                # Only the runtime may map the ids of a file system of the host; an earlier mount makes the source.
                step.tree = OpenTree(step.source, step.options.recursive, pointer)
                steps += self._opened_late(step.tree)
            elif step.options.bind and not step.inside:
                step.tree = self._tree(step.source, step.options.recursive, pointer, always=mapped)
            elif step.fstype == "sysfs" and "network" not in self.spaces.new:
                # Of the host's network namespace the kernel gives a user namespace no new one.
                step.tree = self._tree("/sys", True, pointer)
            if step.options.bind and step.tree is not None:
                step.tree.follow = not step.options.keeps_link()
                self._set_times(step)
            if mapped:
                self._map_ids(mount, step, pointer)
            steps.append(step)
        return steps

    def _set_times(self, step: mounts.MountStep) -> None:
        if step.tree in self.trees and step.options.times() != (0, 0) and not self.host.in_user_namespace:
            from pyrunc.steps.rootfs import access_times

            self.early.append(access_times.SetTimes(step.tree, step.options))

    def _map_ids(self, mount: Any, step: mounts.MountStep, pointer: str) -> None:
        from pyrunc.steps.rootfs import idmapped

        if self.mapper is None:
            self.mapper = idmapped.Mapper(self.linux, self.spaces)
        mapping = self.mapper.of(mount, step.options, pointer)
        if step.tree is not None:
            step.tree.mapping = (idmapped, mapping, step.options.idmap == "ridmap")
        else:
            step.mapping = (idmapped, mapping)

    def _own_dev(self) -> bool:
        """Whether /dev is the container's own to fill: not when the config binds one."""
        for mount in self.config.get("mounts", []):
            if mount["destination"].rstrip("/") == "/dev":
                options = mount.get("options", [])
                if "bind" in options or "rbind" in options:
                    return False
        return True

    def _device_steps(self) -> list[Step]:
        if not self._own_dev():
            return []
        steps: list[Step] = []
        wanted = self.linux.get("devices", [])
        paths = {device["path"] for device in wanted}
        for path, major, minor in devices.DEFAULTS:
            if path not in paths:
                device: Any = {"path": path, "type": "c", "major": major, "minor": minor}
                steps.append(devices.MakeDevice(device, "", self._device_tree(device, "")))
        for index, device in enumerate(wanted):
            if "/".join(part for part in device["path"].split("/") if part not in ("", ".")) == "dev/ptmx":
                # The host's would open the host's terminals: it stays the link to the container's own pts/ptmx.
                continue
            pointer = "/linux/devices/" + str(index)
            steps.append(devices.MakeDevice(device, pointer, self._device_tree(device, pointer)))
        steps.append(devices.DeviceLinks())
        return steps

    def _device_tree(self, device: Any, pointer: str) -> OpenTree | None:
        if device["type"] == "p":
            return None
        if not self.locked:
            return self._tree(device["path"], False, pointer, devices.BIND_ATTRIBUTES)
        from pyrunc.steps.rootfs import host_devices

        tree = host_devices.OpenDevice(device, pointer)
        self.trees.append(tree)
        return tree


def has_small_memory(linux: Any) -> bool:
    """Whether the memory limit is so small that the set-up itself counts."""
    limit = (linux.get("resources", {}).get("memory", {})).get("limit")
    return isinstance(limit, int) and 0 < limit < cgroup.SMALL_MEMORY


def is_scheduled_late(process: Any, foreign: bool, host: Host) -> bool:
    """Whether process.scheduler is for the runtime to set, after the clone into a joined pid namespace.

    A clone ends a real-time policy with reset-on-fork, and is refused to a deadline policy, but the new process shall
    not have CAP_SYS_NICE for that. In a user namespace that would be worth nothing anyway. foreign: the container has
    one.
    """
    return bool(process and process.get("scheduler")) and not (foreign or host.rootless)


def host_procfs(wanted: Any, linux: Any, foreign: bool, host: Host) -> list[Step]:
    """What labels and sysctls need when the container process is in a user namespace, but not yet in its pid namespace.

    wanted: the process object. foreign: the container has a user namespace.
    """
    if not (foreign or host.rootless or host.in_user_namespace):
        return []
    needed = wanted.get("apparmorProfile") or wanted.get("selinuxLabel") or linux.get("sysctl")
    return [OpenProcfs()] if needed else []


def settled(scheduled: Any) -> list[Step]:
    """What the runtime does for the process that BecomeProgram has cloned, which waits for it.

    scheduled: the process object whose scheduler is to be set now, or None.
    """
    if not scheduled:
        return [birth.RecordAgain(let_go=True)]
    from pyrunc.steps.process import scheduling

    return [birth.RecordAgain(), scheduling.schedule(scheduled["scheduler"], RUNTIME), Meet(RUNTIME, SETTLED)]
