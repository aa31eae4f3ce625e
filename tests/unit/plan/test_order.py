"""The order of a container's birth, decided without root and without one system call."""

import copy
import itertools
import os
import signal
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc import _linux
from pyrunc.config.default import default_config
from pyrunc.config.types import StateFile
from pyrunc.errors import ConfigError
from pyrunc.lifecycle.exec import compile_exec
from pyrunc.lifecycle.options import ExecOptions
from pyrunc.plan import meetings
from pyrunc.state.container import Container
from pyrunc.state.store import Store
from pyrunc.steps import cgroup, hooks, namespaces
from pyrunc.steps import clone as birth
from pyrunc.steps.hostname import Hostname
from pyrunc.steps.process import last_steps, scheduling
from pyrunc.steps.process.keyring import Keyring
from pyrunc.steps.process.rlimits import OomScore, Rlimits
from pyrunc.steps.rootfs import devices, host_sources
from pyrunc.steps.rootfs.console import Terminal
from pyrunc.steps.rootfs.masks import MaskedPaths, ReadOnlyPaths
from pyrunc.steps.rootfs.mount import MountStep
from pyrunc.steps.rootfs.read_only import ReadOnlyMounts
from pyrunc.steps.rootfs.root import ChangeRoot, LimitPropagation, PivotRoot, Rootfs, UnmountOnDelete
from pyrunc.steps.seccomp.step import CompileFilter
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Plan, Step
from pyrunc.steps.sysctl import Sysctl
from pyrunc.steps.time_namespace import EnterTime, TimeNamespace, UnshareTime, WriteTimeOffsets
from pyrunc.steps.user_namespace import BecomeRoot, WriteMappings
from tests.support.plans import (
    FILTER,
    HOOK,
    MANAGER,
    Config,
    Is,
    absent,
    combined,
    hooks_of,
    in_order,
    meeting,
    mounted,
    place,
    plan_of,
    spaces,
)

# ---- the whole ----


def test_a_plain_container_from_its_first_step_to_its_last() -> None:
    config = default_config()
    del config["linux"]["resources"], config["mounts"][1:]
    assert [
        (step.side, step.label if isinstance(step, Meet) else type(step).__name__) for step in plan_of(config).steps
    ] == [
        (RUNTIME, "MakeFifo"),
        (RUNTIME, "MakeCgroup"),
        (RUNTIME, "Clone"),
        (RUNTIME, "Record"),
        (RUNTIME, meetings.RECORDED),
        (CONTAINER, "Keyring"),
        (CONTAINER, "JoinCgroup"),
        (CONTAINER, "ResetAffinity"),
        (CONTAINER, "LoopbackUp"),
        (CONTAINER, "LimitPropagation"),
        (CONTAINER, "Rootfs"),
        (CONTAINER, "NewMount"),
        *[(CONTAINER, "MakeDevice")] * 6,
        (CONTAINER, "DeviceLinks"),
        (CONTAINER, "PivotRoot"),
        (CONTAINER, "MakeCwd"),
        (CONTAINER, "Terminal"),
        (CONTAINER, "ReadOnlyMounts"),
        (CONTAINER, "Hostname"),
        (CONTAINER, "ReadOnlyPaths"),
        (CONTAINER, "MaskedPaths"),
        (CONTAINER, "NoNewPrivileges"),
        (CONTAINER, meetings.READY),
        (RUNTIME, "Rlimits"),
        (RUNTIME, meetings.LIMITED),
        (CONTAINER, "BecomeProgram"),
    ]


def test_mounts_keep_the_order_of_the_config_and_precede_devices() -> None:
    config = default_config()
    plan = plan_of(config)
    in_order(plan, Rootfs, *[mounted(mount["destination"]) for mount in config["mounts"]], devices.DeviceLinks)
    first_device = min(index for index, step in enumerate(plan.steps) if isinstance(step, devices.MakeDevice))
    assert place(plan, mounted(config["mounts"][-1]["destination"])) < first_device


def test_the_root_is_written_to_before_it_is_read_only() -> None:
    config = default_config()
    config["linux"]["sysctl"] = {"kernel.shmmax": "1"}
    plan = plan_of(config)
    in_order(
        plan,
        PivotRoot,
        last_steps.MakeCwd,
        Terminal,
        ReadOnlyMounts,
        Sysctl,
        ReadOnlyPaths,
    )
    in_order(plan, Sysctl, MaskedPaths, meeting(meetings.READY))


def test_limits_of_the_process_come_after_its_set_up() -> None:
    in_order(
        plan_of(default_config()), meeting(meetings.READY), Rlimits, meeting(meetings.LIMITED), last_steps.BecomeProgram
    )


# ---- no_new_privs and seccomp ----


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_the_filter_before_or_after_the_capabilities(no_new_privs: bool) -> None:
    """Without no_new_privs the kernel wants CAP_SYS_ADMIN for the load; with it, the filter is the last of all."""
    config = default_config()
    config["process"]["noNewPrivileges"] = no_new_privs
    config["linux"]["seccomp"] = FILTER
    plan = plan_of(config)
    # A profile that cannot be compiled is found before there is anything to take back.
    in_order(plan, CompileFilter, cgroup.MakeCgroup, birth.Clone)
    last = plan.steps[-1]
    assert isinstance(last, last_steps.BecomeProgram)
    assert last.no_new_privs is no_new_privs
    words = last.describe()
    assert (words.index("seccomp") > words.index("drop capabilities")) is no_new_privs
    if no_new_privs:
        in_order(plan, MaskedPaths, last_steps.NoNewPrivileges, meeting(meetings.READY))
    else:
        assert absent(plan, last_steps.NoNewPrivileges)


# ---- namespaces ----


def test_new_namespaces_are_flags_of_the_one_clone() -> None:
    plan = plan_of(spaces(default_config(), "pid", "network", "ipc", "uts", "mount"))
    clone = plan.steps[place(plan, birth.Clone)]
    assert isinstance(clone, birth.Clone)
    assert clone.flags == (
        _linux.CLONE_NEWPID | _linux.CLONE_NEWNET | _linux.CLONE_NEWIPC | _linux.CLONE_NEWUTS | _linux.CLONE_NEWNS
    )
    assert absent(plan, birth.SecondClone, namespaces.JoinNamespaces, BecomeRoot)


def test_nothing_is_done_by_a_process_that_is_not_recorded() -> None:
    plan = plan_of(spaces(default_config(), "user", "pid", "mount"))
    in_order(plan, birth.Clone, birth.Record, meeting(meetings.RECORDED))
    first = next(index for index, step in enumerate(plan.steps) if step.side == CONTAINER)
    assert first > place(plan, meeting(meetings.RECORDED))


def test_a_user_namespace() -> None:
    config = spaces(default_config(), "user", "pid", "network", "mount", "cgroup")
    config["process"]["oomScoreAdj"] = -500
    config["mounts"].append({"destination": "/mnt", "source": "/srv", "options": ["bind"]})
    plan = plan_of(config)
    # Both need privilege over the process that its user namespace does not give; the maps come before anybody is root.
    in_order(plan, birth.Record, WriteMappings, OomScore, meeting(meetings.RECORDED), BecomeRoot)
    # The cgroup's files belong to the host's root.
    in_order(plan, cgroup.JoinCgroup, BecomeRoot, namespaces.UnshareCgroup, namespaces.LoopbackUp, Rootfs)
    # What the namespace's root may not reach is opened by the runtime, from within the new mount namespace.
    in_order(plan, birth.Clone, host_sources.OpenSources, meeting(meetings.RECORDED), host_sources.TakeSources, Rootfs)
    opens = plan.steps[place(plan, host_sources.OpenSources)]
    assert isinstance(opens, host_sources.OpenSources)
    opened = opens.trees
    assert {"/bundle/rootfs", "/srv", "/dev/null", "/dev/tty"} <= {tree.path for tree in opened}
    bind = plan.steps[place(plan, mounted("/mnt"))]
    assert isinstance(bind, MountStep) and bind.tree in opened
    clone = plan.steps[place(plan, birth.Clone)]
    assert isinstance(clone, birth.Clone) and clone.flags & _linux.CLONE_NEWUSER


def test_joined_namespaces() -> None:
    config = spaces(default_config(), "mount", network="/proc/1/ns/net", ipc="/proc/1/ns/ipc", uts="/proc/1/ns/uts")
    plan = plan_of(config)
    in_order(plan, namespaces.OpenNamespaces, birth.Clone, cgroup.JoinCgroup, namespaces.JoinNamespaces, Rootfs)
    joined = plan.steps[place(plan, namespaces.JoinNamespaces)]
    assert isinstance(joined, namespaces.JoinNamespaces) and joined.kinds == ["network", "ipc", "uts"]
    # Somebody else's network namespace is left as it is.
    assert absent(plan, namespaces.LoopbackUp, birth.SecondClone)


def test_a_joined_pid_namespace_is_entered_last_of_all() -> None:
    """Before, its processes could take hold of one that has still the host's root and mounts, or a privilege."""
    config = spaces(default_config(), "mount", "ipc", "uts", pid="/proc/1/ns/pid", network="/proc/1/ns/net")
    config["process"]["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
    plan = plan_of(config)
    joined = plan.steps[place(plan, namespaces.JoinNamespaces)]
    assert isinstance(joined, namespaces.JoinNamespaces) and joined.kinds == ["network"]
    in_order(
        plan,
        namespaces.JoinNamespaces,
        PivotRoot,
        Hostname,
        last_steps.NoNewPrivileges,
        birth.EnterPids,
        meeting(meetings.READY),
        meeting(meetings.LIMITED),
        last_steps.BecomeProgram,
        birth.RecordAgain,
        scheduling.Tune,
        meeting(meetings.SETTLED),
    )
    clone, program = plan.steps[place(plan, birth.Clone)], plan.steps[place(plan, last_steps.BecomeProgram)]
    assert isinstance(clone, birth.Clone) and not clone.flags & _linux.CLONE_NEWPID
    assert isinstance(program, last_steps.BecomeProgram) and program.again
    assert absent(plan, birth.SecondClone)
    # In a user namespace it is the process's own to set.
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 5, "size": 9}]
    in_order(plan_of(config), scheduling.Tune, birth.EnterPids, last_steps.BecomeProgram, birth.RecordAgain)


def test_new_namespaces_below_a_joined_user_namespace() -> None:
    """They are made by a second clone, in the user namespace that shall own them."""
    config = spaces(default_config(), "mount", "pid", "network", "cgroup", user="/proc/1/ns/user")
    plan = plan_of(config)
    in_order(
        plan,
        birth.Clone,
        cgroup.JoinCgroup,
        namespaces.JoinNamespaces,
        birth.SecondClone,
        birth.RecordAgain,
        meeting(meetings.RECORDED_AGAIN),
        namespaces.UnshareCgroup,
        namespaces.LoopbackUp,
        Rootfs,
    )
    clone, again = plan.steps[place(plan, birth.Clone)], plan.steps[place(plan, birth.SecondClone)]
    assert isinstance(clone, birth.Clone) and clone.flags == 0
    assert isinstance(again, birth.SecondClone)
    assert again.flags == _linux.CLONE_NEWNS | _linux.CLONE_NEWPID | _linux.CLONE_NEWNET
    assert absent(plan, WriteMappings, BecomeRoot)


def test_a_cgroup_namespace_has_the_containers_cgroup_as_its_root() -> None:
    plan = plan_of(spaces(default_config(), "mount", "pid", "cgroup"))
    in_order(
        plan, cgroup.MakeCgroup, birth.Clone, cgroup.JoinCgroup, namespaces.UnshareCgroup, mounted("/sys/fs/cgroup")
    )
    clone = plan.steps[place(plan, birth.Clone)]
    assert isinstance(clone, birth.Clone) and not clone.flags & _linux.CLONE_NEWCGROUP


def test_a_time_namespace_of_the_hosts() -> None:
    """The runtime makes it and is born back: offsets can be written only while no process is in it."""
    config = spaces(default_config(), "mount", "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
    plan = plan_of(config)
    assert place(plan, TimeNamespace) + 1 == place(plan, birth.Clone)
    clone = plan.steps[place(plan, birth.Clone)]
    assert isinstance(clone, birth.Clone)
    assert clone.time is plan.steps[place(plan, TimeNamespace)] and not clone.flags & _linux.CLONE_NEWTIME
    assert absent(plan, UnshareTime, WriteTimeOffsets, EnterTime)


@pytest.mark.parametrize("offsets", [True, False])
def test_a_time_namespace_below_a_user_namespace(offsets: bool) -> None:
    config = spaces(default_config(), "user", "mount", "time")
    if offsets:
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
    plan = plan_of(config)
    steps: list[Is] = [BecomeRoot, UnshareTime]
    if offsets:
        steps += [meeting("the time namespace is made"), WriteTimeOffsets, meeting(meetings.TIME_OFFSETS)]
    in_order(plan, *steps, EnterTime, Rootfs)
    assert absent(plan, TimeNamespace)


def test_without_a_mount_namespace() -> None:
    plan = plan_of(spaces(default_config(), "pid"))
    # Before the first mount it is known that they are the host's.
    in_order(plan, UnmountOnDelete, Rootfs, ChangeRoot)
    assert absent(plan, PivotRoot, LimitPropagation)


# ---- memory, hooks, options ----


@pytest.mark.parametrize(
    ("limit", "populated"), [(512 << 10, True), ((4 << 20) - 1, True), (4 << 20, False), (-1, False)]
)
def test_a_small_memory_limit(limit: int, populated: bool) -> None:
    """The process makes its pages its own before the limit counts them."""
    config = default_config()
    config["linux"]["resources"] = {"memory": {"limit": limit}}
    plan = plan_of(config)
    if populated:
        in_order(plan, birth.Clone, cgroup.PrefaultMemory, cgroup.JoinCgroup)
    else:
        assert absent(plan, cgroup.PrefaultMemory)


def test_hooks_of_the_set_up() -> None:
    config = default_config()
    config["hooks"] = dict.fromkeys(("prestart", "createRuntime", "createContainer", "startContainer"), HOOK)
    plan = plan_of(config)
    in_order(
        plan,
        devices.DeviceLinks,
        meeting(meetings.MOUNTED),
        hooks_of("prestart"),
        hooks_of("createRuntime"),
        meeting(meetings.HOOKS_RUN),
        hooks_of("createContainer"),
        PivotRoot,
    )
    sides = {step.kind: step.side for step in plan.steps if isinstance(step, hooks.HooksStep)}
    assert sides == {"prestart": RUNTIME, "createRuntime": RUNTIME, "createContainer": CONTAINER}
    last = plan.steps[-1]
    assert isinstance(last, last_steps.BecomeProgram) and last.hooks and last.hooks.hooks == HOOK


def test_no_new_keyring_and_no_pivot() -> None:
    plan = plan_of(default_config(), no_new_keyring=True, no_pivot=True)
    assert absent(plan, Keyring)
    pivot = plan.steps[place(plan, PivotRoot)]
    assert isinstance(pivot, PivotRoot) and pivot.no_pivot


def test_what_the_host_lacks_is_an_error_with_a_pointer() -> None:
    config = default_config()
    config["process"]["apparmorProfile"] = "some-profile"
    with pytest.raises(ConfigError) as caught:
        plan_of(config)
    assert caught.value.pointer == "/process/apparmorProfile"


# ---- every combination ----

_USER: dict[str, str | None] = {"none": None, "new": "", "joined": "/proc/1/ns/user"}
_COMBINATIONS = [
    {"user": user, "pid": pid, "time": time, "hooks": with_hooks, "filter": with_filter, "mount": mount}
    for user, pid, time, with_hooks, with_filter, mount in itertools.product(
        _USER, ("none", "new", "joined"), (False, True), (False, True), (False, True), (False, True)
    )
]


@pytest.mark.parametrize(
    "case", _COMBINATIONS, ids=lambda case: "-".join(f"{key}={value}" for key, value in case.items())
)
def test_the_two_processes_of_any_plan_meet(case: dict[str, Any]) -> None:
    check(plan_of(combined(case)))


def check(plan: Plan) -> None:
    """What holds for any plan: nothing in the container process before the clone and the first meeting; who replaces
    the container process is recorded before it goes on; the last step, and no other, becomes the program. A clone may
    be a part of that. What a step opens is opened before another needs it.
    """
    steps = list(plan.steps)
    opened: list[Step] = []
    for step in steps:
        for opener in given_to(step):
            assert any(opener is one for one in opened), f"{step.describe()}: before {opener.describe()}"
        opened += [step, *(step.trees if isinstance(step, host_sources.OpenSources) else ())]
    become = place(plan, last_steps.BecomeProgram)
    after = steps[become + 1 :]
    program = steps[become]
    assert isinstance(program, last_steps.BecomeProgram) and program.again == bool(after)
    if after:
        # The process that it has cloned waits until it is recorded.
        assert isinstance(after[0], birth.RecordAgain) and all(step.side == RUNTIME for step in after)
        assert after[0].let_go or isinstance(after[-1], Meet)
    steps = steps[: become + 1]
    clone = place(plan, birth.Clone)
    assert all(step.side == RUNTIME and not isinstance(step, Meet) for step in steps[:clone])
    first_meeting = next(index for index, step in enumerate(steps) if isinstance(step, Meet))
    assert steps[first_meeting].side == RUNTIME and clone < first_meeting
    assert all(step.side == RUNTIME for step in steps[: first_meeting + 1])
    for index, step in enumerate(steps):
        if isinstance(step, birth.SecondClone):
            assert isinstance(steps[index + 1], birth.RecordAgain)
            following = next(one for one in steps[index + 1 :] if isinstance(one, Meet) or one.side != RUNTIME)
            assert isinstance(following, Meet) and following.side == RUNTIME
        # Whatever the runtime does after the first meeting, it does while the container process waits for it, or the
        # two would race.
        acts = step.side == RUNTIME and not isinstance(step, (Meet, birth.RecordAgain, UnmountOnDelete))
        if acts and index > first_meeting:
            before = [one for one in steps[:index] if isinstance(one, (Meet, birth.SecondClone))]
            assert before[-1].side == CONTAINER, step.describe()
    assert isinstance(steps[-1], last_steps.BecomeProgram)
    assert sum(isinstance(step, last_steps.BecomeProgram) for step in steps) == 1
    assert isinstance(steps[-2], Meet) and steps[-2].side == RUNTIME


def given_to(step: Step) -> list[Step]:
    """The steps that a step is given, for what they open."""
    if isinstance(step, host_sources.OpenSources):
        return []
    names = [name for kind in type(step).__mro__ for name in getattr(kind, "__slots__", ())]
    values = [getattr(step, name, None) for name in names]
    found = [value for value in values if isinstance(value, Step)]
    return found + [one for value in values if isinstance(value, list) for one in value if isinstance(one, Step)]


# ---- exec ----


FEW_PROCESSES = [{"type": "RLIMIT_NPROC", "soft": 3, "hard": 3}]


def terminal_of(plan: Plan) -> Terminal:
    found = plan.steps[place(plan, Terminal)]
    assert isinstance(found, Terminal)
    return found


def exec_plan(config: Any, wanted: Any = None) -> Plan:
    fields: StateFile = {
        "format": 1, "ociVersion": "1.3.0", "id": "c", "phase": "created", "pid": 0, "start": 0, "bundle": "/bundle",
        "rootfs": "/bundle/rootfs", "created": "", "annotations": {}, "cgroup": dict(MANAGER.paths), "hooks": {},
        "ownMounts": True, "privatePids": True, "hasProcess": True,
    }  # fmt: skip
    container = Container(Store("/nowhere"), "/nowhere/c", fields)
    return compile_exec(container, config, wanted or config["process"], ExecOptions())[1]


def test_exec_enters_the_pid_namespace_last_and_with_the_containers_root() -> None:
    config = spaces(default_config(), "pid", "network", "mount", "cgroup")
    config["linux"]["seccomp"] = FILTER
    plan = exec_plan(config)
    before: list[Is] = [
        namespaces.OpenNamespaces,
        CompileFilter,
        birth.Clone,
        meeting(meetings.RECORDED),
        cgroup.JoinCgroup,
        namespaces.JoinNamespaces,
        Keyring,
    ]
    after: list[Is] = [
        Terminal,
        last_steps.NoNewPrivileges,
        birth.EnterPids,
        meeting(meetings.READY),
        Rlimits,
        meeting(meetings.LIMITED),
        last_steps.BecomeProgram,
    ]
    in_order(plan, *before, *after, birth.RecordAgain)
    assert absent(plan, birth.SecondClone) and not terminal_of(plan).controls
    # Whatever is asked for, that clone is the last thing; only the runtime does anything more.
    late = exec_plan(config, {**config["process"], "scheduler": {"policy": "SCHED_BATCH"}})
    in_order(late, *before, *after, birth.RecordAgain, scheduling.Tune, meeting(meetings.SETTLED))
    few = exec_plan(config, {**config["process"], "user": {"uid": 5}, "rlimits": FEW_PROCESSES})
    with_user = copy.deepcopy(config)
    with_user["linux"]["namespaces"].append({"type": "user"})
    for other in (late, few, exec_plan(with_user)):
        in_order(other, *before, *after, birth.RecordAgain)
        assert absent(other, birth.SecondClone)
        check(other)
    joined = plan.steps[place(plan, namespaces.JoinNamespaces)]
    assert isinstance(joined, namespaces.JoinNamespaces) and joined.kinds == ["network", "mount", "cgroup"]
    assert absent(plan, birth.Record, Rootfs)
    check(plan)


def test_exec_moves_between_cpus_around_the_cgroup() -> None:
    config = spaces(default_config(), "pid", "mount")
    wanted = {**config["process"], "execCPUAffinity": {"initial": "0", "final": "0-1"}, "oomScoreAdj": 5}
    plan = exec_plan(config, wanted)
    affinity = [index for index, step in enumerate(plan.steps) if step.name == "execCPUAffinity"]
    assert len(affinity) == 2 and affinity[0] < place(plan, cgroup.JoinCgroup) < affinity[1]
    in_order(plan, OomScore, meeting(meetings.RECORDED))
    check(plan)


# ---- purity ----


def _every_config() -> list[Config]:
    return [default_config(), *[combined(case) for case in _COMBINATIONS]]


def test_the_same_config_gives_the_same_plan_and_stays_as_it_is() -> None:
    for config in _every_config():
        before = copy.deepcopy(config)
        first, second = plan_of(config), plan_of(config)
        assert first.as_json() == second.as_json()
        assert first.warnings == second.warnings
        assert config == before


def test_compiling_makes_no_system_call() -> None:
    """In a process that the kernel kills for any system call but those of memory, and of saying that it is done."""
    bindings = pytest.importorskip("seccomp")
    configs = _every_config()
    for config in configs:
        plan_of(config)  # imports what it needs
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            only = bindings.SyscallFilter(bindings.KILL_PROCESS)
            for name in ("brk", "mmap", "munmap", "mremap", "madvise", "futex", "exit_group"):
                only.add_rule(bindings.ALLOW, name)
            only.add_rule(bindings.ALLOW, "write", bindings.Arg(0, bindings.EQ, writer))
            only.load()
            for config in configs:
                plan_of(config)
            os.write(writer, b"done")
        finally:
            os._exit(1)
    os.close(writer)
    said = os.read(reader, 16)
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFSIGNALED(status), signal.Signals(os.WTERMSIG(status))
    assert said == b"done"
