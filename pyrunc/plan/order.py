"""The order of a container's birth, of an exec, of a change of mounts and of a restore, decided here alone.

Steps of the two processes stand in one list. Those of one process between two meeting points follow each other; those
of both run at the same time. A line is a part, which knows whether the config asks for it (create_parts.py,
exec_parts.py, restore_parts.py); why it stands where it does is said above it. Nobody puts a step into a plan
afterwards. Compiling is pure: the same config, host and options give the same list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.plan import meetings
from pyrunc.steps import cgroup, clone
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Plan, Step

if TYPE_CHECKING:
    from pyrunc.plan.create_parts import CreateParts
    from pyrunc.plan.exec_parts import ExecParts
    from pyrunc.plan.restore_parts import RestoreParts
    from pyrunc.steps.join_container import OpenContainer


def create(c: CreateParts) -> list[Step]:
    """A container's birth."""
    return [
        # ---- the runtime, before there is a second process: as much as can fail for the config's sake fails here
        # First of all: state.json is written before anything that it lists is made.
        *c.state_directory(),
        c.fifo,
        *c.open_namespaces(),
        *c.seccomp(),
        *c.host_procfs(),
        *c.sources(),
        *c.memory_nodes(),
        *c.make_clos(),
        # Last of what the runtime makes: from here on delete has something to remove.
        *c.make_cgroup(),
        # ---- two processes: the clone, and what the runtime does for the new one
        *c.clone(),
        # Nothing exists in the new process before state.json names it: a runtime killed here leaves nothing unknown.
        clone.Record(),
        *c.write_mappings(),
        *c.oom_score(),
        *c.enter_clos(),
        *c.net_devices(),
        # systemd makes a scope only around a process.
        *c.make_cgroup(around_process=True),
        *c.recorded(),
        # ---- the container process: into all that is the container's
        *c.keyring(),
        # Before anything is allocated for the container, so that all of it is charged to it and judged by its device
        # rules; and before the cgroup namespace, whose root is where the process is.
        *c.join_cgroup(),
        # In the cgroup, so that the kernel cuts it down to the cpuset.
        cgroup.ResetAffinity(),
        *c.join_namespaces(),
        *c.second_clone(),
        # The maps are written: user 0 of the namespace owns all the other new namespaces.
        *c.become_root(),
        *c.cgroup_namespace(),
        *c.time_namespace(),
        *c.loopback(),
        # ---- in its mount namespace, with the host's tree still there
        # First of all mounts: what is mounted later must not appear on the host.
        *c.host_propagation(),
        c.root,
        *c.files.mounts,
        # After the mounts: /dev is usually one of them.
        *c.files.devices,
        *c.runtime_hooks(),
        *c.create_container_hooks(),
        # ---- the root is the container's from here on
        *c.change_root(),
        # While the root is still writable.
        *c.make_cwd(),
        # From the container's own devpts; before the root may become read-only: /dev/console.
        *c.terminal(bind=c.files.has_own_dev()),
        *c.read_only(),
        *c.hostname(),
        *c.labels(),
        # Before readonlyPaths makes /proc/sys read-only; it goes by a procfs of our own anyway.
        *c.sysctl(),
        *c.masks(),
        # After pivot_root(2), which refuses a shared root, and the last copy, which an unbindable mount refuses.
        # Private or slave the root is from its beginning, and volumes keep what they asked for.
        *c.root_propagation(),
        *c.tune(),
        *c.no_new_privileges(),
        # Last of all namespaces, by a clone after all else is done.
        *c.enter_pids(),
        Meet(CONTAINER, meetings.READY),
        # ---- the last meeting, and the way into the program
        # So late because the set-up itself must not suffer from them, by the runtime because the process may lack
        # CAP_SYS_RESOURCE by now.
        *c.rlimits(),
        Meet(RUNTIME, meetings.LIMITED),
        c.program,
        *c.settled(),
    ]


def exec_(c: ExecParts) -> list[Step]:
    """Another process in a container: the same, but for what the container has already."""
    return [
        # ---- the runtime alone
        c.opened_container,
        *c.host_procfs(),
        *c.seccomp(),
        c.cgroup,
        # ---- two processes
        *c.make_pipes(),
        clone.Clone(0, [], None, c.cgroup),
        *c.take_pipes(),
        *c.attach_to_scope(),
        *c.oom_score(),
        *c.enter_clos(),
        Meet(RUNTIME, meetings.RECORDED),
        # ---- the new process: the cgroup while the host's tree is there, then all namespaces, the pid namespace last
        *c.initial_affinity(),
        *c.populate(),
        cgroup.JoinCgroup(c.cgroup),
        *c.final_affinity(),
        *c.join_namespaces(),
        *c.keyring(),
        *c.change_root(),
        *c.terminal(bind=False),
        *c.labels(),
        *c.tune(),
        *c.no_new_privileges(),
        *c.enter_pids(),
        Meet(CONTAINER, meetings.READY),
        # ---- the way into the program
        *c.adopt_terminal(),
        *c.rlimits(),
        Meet(RUNTIME, meetings.LIMITED),
        c.program,
        *c.settled(),
    ]


def mounts(opened: OpenContainer, sources: list[Step], changes: list[Step], read_only: list[Step]) -> list[Step]:
    """A change of mounts in a container that runs, by a helper process in its user and mount namespaces."""
    from pyrunc.steps import namespaces
    from pyrunc.steps.join_container import OpenRoot
    from pyrunc.steps.rootfs.unmount import OwnDescriptors

    return [
        opened,
        # By the runtime, since the container cannot see the host's.
        *sources,
        clone.Clone(0, [], None, None),
        Meet(RUNTIME, meetings.RECORDED),
        # While the host's procfs is there.
        OwnDescriptors(),
        # The pid namespace is opened, not entered: its processes could see the helper.
        namespaces.JoinNamespaces(opened),
        OpenRoot(),
        *changes,
        *read_only,
        Meet(CONTAINER, meetings.MOUNTED),
    ]


def restore(c: RestoreParts) -> list[Step]:
    """What create does in the runtime, as far as CRIU does not do it: it makes the processes, and what they are in."""
    return [
        *c.created.state_directory(),
        *c.created.open_namespaces(),
        *c.mapped_sources(),
        *c.pipes,
        *c.make_cgroup(),
        c.criu,
        # systemd makes a scope only around a process.
        *c.make_cgroup(around_process=True),
        c.restored,
    ]


class PlanOptions:
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


def compile_create(parts: CreateParts) -> Plan:
    """The plan of create."""
    return Plan(create(parts), parts.warnings(parts.program, "/process/capabilities"))
