"""Plans of configs, and where in them a step stands."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.cgroups.v1.manager import Manager
from pyrunc.config.default import default_config
from pyrunc.plan import order
from pyrunc.plan.create_parts import CreateParts
from pyrunc.steps import hooks
from pyrunc.steps.host import Host
from pyrunc.steps.rootfs.mount import MountStep
from pyrunc.steps.step import Meet, Plan, Step

HOST = Host(rootless=False, in_user_namespace=False, apparmor=False, selinux=False)
MANAGER = Manager({"memory": "/sys/fs/cgroup/memory/x", "pids": "/sys/fs/cgroup/pids/x"})
FILTER = {"defaultAction": "SCMP_ACT_ALLOW"}
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
HOOK = [{"path": "/bin/true"}]
Config = dict[str, Any]
Is = type[Step] | Callable[[Step], bool]


def plan_of(config: Any, host: Host = HOST, **options: Any) -> Plan:
    """The plan of a create, with these order.PlanOptions."""
    parts = CreateParts(config, "/bundle", "/bundle/rootfs", host, order.PlanOptions(**options), MANAGER)
    return order.compile_create(parts)


def spaces(config: Config, *new: str, **joined: str) -> Config:
    """The config with these namespaces, new ones and those joined by path."""
    config["linux"]["namespaces"] = [{"type": kind} for kind in new] + [
        {"type": kind, "path": path} for kind, path in joined.items()
    ]
    if "user" in new:
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS
    return config


def place(plan: Plan, what: Is) -> int:
    """The position of the one step that is meant."""
    found = [
        index
        for index, step in enumerate(plan.steps)
        if (isinstance(step, what) if isinstance(what, type) else what(step))
    ]
    assert len(found) == 1, (what, [step.describe() for step in plan.steps])
    return found[0]


def in_order(plan: Plan, *what: Is) -> None:
    """These steps are there, once each, and in this order."""
    places = [place(plan, one) for one in what]
    assert places == sorted(places), [plan.steps[index].describe() for index in places]


def meeting(label: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, Meet) and step.label == label


def mounted(destination: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, MountStep) and step.destination == destination


def hooks_of(kind: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, hooks.HooksStep) and step.kind == kind


def absent(plan: Plan, *kinds: type[Step]) -> bool:
    return not any(isinstance(step, kinds) for step in plan.steps)


def combined(case: dict[str, Any]) -> Config:
    """A config of a case: user and pid "none", "new" or "joined"; mount, time, hooks and filter there or not."""
    config = default_config()
    new = ["ipc", "uts", "network", "cgroup"]
    joined = {}
    for kind in ("user", "pid"):
        if case[kind] == "new":
            new.append(kind)
        elif case[kind] == "joined":
            joined[kind] = f"/proc/1/ns/{kind}"
    if case["mount"]:
        new.append("mount")
    if case["time"]:
        new.append("time")
        config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1}}
    if case["hooks"]:
        config["hooks"] = dict.fromkeys(("prestart", "createRuntime", "createContainer", "startContainer"), HOOK)
    if case["filter"]:
        config["linux"]["seccomp"] = FILTER
    return spaces(config, *new, **joined)
