"""README.md's picture of a birth, held against the order of the steps: plan/order.py decides, the picture tells."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.config.default import default_config
from pyrunc.plan import meetings, order
from pyrunc.plan.create_parts import CreateParts
from pyrunc.state.container import Container
from pyrunc.state.store import Store
from pyrunc.steps.host import Host
from pyrunc.steps.state_directory import StateDirectory
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Step
from tests.support import TOP
from tests.support.plans import HOST, MANAGER, MAPS, combined

#: Where the container process's column begins.
COLUMN = 60

#: What the picture says in words: the classes of the steps that are meant.
WORDS = {
    "read config.json: limits, JSON, schema, rules": "",
    "compile the plan: pure, nothing is touched": "",
    "make the state directory and exec.fifo": "StateDirectory MakeFifo",
    "open the namespaces to join": "OpenNamespaces",
    "compile the seccomp filter, or take it from the cache": "CompileFilter",
    "open what only the host can reach": "OpenProcfs Mapping OpenTree SetTimes CheckNodes",
    "make the cgroup, write its limits": "MakeClos MakeCgroup",
    "clone, on cgroup v2 into the cgroup": "MakePipes TimeNamespace Clone",
    "(waits; ends when the runtime does)": "TakePipes",
    "record its pid in state.json": "Record",
    "write id maps, oom score; move network devices in": "WriteMappings OomScore EnterClos MoveDevice",
    "(with systemd: have it make the scope)": "",
    "session keyring": "Keyring",
    "join the cgroups (v1)": "PrefaultMemory JoinCgroup ResetAffinity",
    "join namespaces by path; become root of a new user namespace": "JoinNamespaces BecomeRoot",
    "unshare the cgroup namespace; loopback up": "UnshareCgroup UnshareTime EnterTime LoopbackUp",
    "rootfs, mounts in order, devices, links": "LimitPropagation Rootfs MountStep MakeDevice DeviceLinks",
    "prestart and createRuntime hooks": "HooksStep",
    "(waits)": "",
    "createContainer hooks": "HooksStep",
    "pivot_root; nothing of the host is in reach from here on": "PivotRoot ChangeRoot",
    "make the working directory": "MakeCwd",
    "console, read-only mounts, host name, labels, sysctl": "Terminal ReadOnlyMounts Hostname LsmLabel Sysctl",
    "read-only and masked paths, scheduling, no_new_privs": "ReadOnlyPaths MaskedPaths RootPropagation Tune "
    "NoNewPrivileges EnterPids",
    "rlimits": "Rlimits",
    "cwd, bounding set, groups, gid, uid": "BecomeProgram",
    "status: created": "",
    "in one C call: descriptors closed, signals reset, capabilities,": "",
    "seccomp filter (before the capabilities without no_new_privs),": "",
    "clone into a joined pid namespace": "",
    "wait for a byte on exec.fifo": "",
    "pyrunc start: writes it": "",
    "startContainer hooks": "",
    "sees execve by the fifo's end; poststart hooks": "",
    "execve": "",
    "status: running": "",
}
MEETINGS = {
    "recorded": meetings.RECORDED,
    "mounted": meetings.MOUNTED,
    "hooks have run": meetings.HOOKS_RUN,
    "ready": meetings.READY,
    "limited": meetings.LIMITED,
}
#: What it leaves out: a second process, where one has to take the place of the first; sources that are opened for a
#: user namespace; what few configs have.
LEFT_OUT = {"SecondClone", "RecordAgain", "WriteTimeOffsets", "OpenSources", "TakeSources", "UnmountOnDelete"}
LEFT_OUT_MEETINGS = {
    meetings.RECORDED_AGAIN,
    meetings.TIME_NAMESPACE_MADE,
    meetings.TIME_OFFSETS,
    meetings.MOUNTED_SO_FAR,
    meetings.SOURCE_OPENED,
    meetings.SETTLED,
}


def drawn() -> list[tuple[str, str]]:
    """The picture from top to bottom: (side, words) of what is done, ("", label) of a meeting point."""
    text = (TOP / "README.md").read_text().partition("## How a container is born")[2].partition("The one list is")[0]
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    found: list[tuple[str, str]] = []
    for line in lines[1:]:
        left, right = line[:COLUMN].strip(" ─▶"), line[COLUMN:].strip()
        said = left.partition('"')[2].partition('"')[0]
        if said:
            found.append(("", MEETINGS[said]))
            left = left.partition("◀")[0].strip() if "◀" in left else ""
        found += [(side, words) for side, words in ((RUNTIME, left), (CONTAINER, right)) if words]
    return found


def configs() -> Iterator[Any]:
    yield default_config()
    everything: Any = json.loads((TOP / "tests/data/configs/everything.json").read_text())
    del everything["linux"]["netDevices"]
    everything["process"]["execCPUAffinity"] = {}
    yield everything
    for pid, time, mount in itertools.product(("none", "new", "joined"), (False, True), (False, True)):
        for user in ("none", "new", "joined"):
            case = {"user": user, "pid": pid, "time": time, "hooks": True, "filter": True, "mount": mount}
            config = combined(case)
            config["linux"]["sysctl"] = {"kernel.shmmax": "1"}
            config["linux"]["resources"] = {"memory": {"limit": 1 << 19}}
            config["linux"]["rootfsPropagation"] = "shared"
            config["mounts"].append(
                {"destination": "/m", "source": "/m", "options": ["bind"], "uidMappings": MAPS, "gidMappings": MAPS}
            )
            config["mounts"].append({"destination": "/n", "source": "/n", "options": ["bind", "noatime"]})
            config["process"].update(oomScoreAdj=5, scheduler={"policy": "SCHED_BATCH"})
            yield config


def steps_of(config: Any, relay: bool) -> list[Step]:
    state = StateDirectory(Container(Store("/nowhere"), "/nowhere/c", {}), b"", None)  # type: ignore[typeddict-item]
    host = Host(rootless=False, in_user_namespace=False, apparmor=True, selinux=HOST.selinux)
    config["process"].pop("selinuxLabel", None)
    config["linux"].pop("mountLabel", None)
    if relay:
        config["process"]["terminal"] = False
    return order.create(
        CreateParts(config, "/bundle", "/bundle/rootfs", host, order.PlanOptions(relay=relay), MANAGER, state)
    )


def test_every_line_of_the_picture_is_known() -> None:
    words = [words for side, words in drawn() if side]
    assert set(words) == set(WORDS)
    assert [label for side, label in drawn() if not side] == list(MEETINGS.values())


@pytest.mark.parametrize("relay", [False, True])
def test_the_steps_of_every_plan_are_done_as_the_picture_has_them(relay: bool) -> None:
    picture = drawn()
    met: set[str] = set()
    for config in configs():
        at = 0
        for step in steps_of(config, relay):
            kinds = {kind.__name__ for kind in type(step).__mro__}
            if isinstance(step, Meet):
                if step.label in LEFT_OUT_MEETINGS:
                    continue
                places = [place for place, (side, words) in enumerate(picture) if not side and words == step.label]
            elif kinds & LEFT_OUT:
                continue
            else:
                places = [
                    place
                    for place, (side, words) in enumerate(picture)
                    if side == step.side and kinds & set(WORDS[words].split())
                ]
            later = [place for place in places if place >= at]
            assert later, f"{step.describe()}: not in the picture, or before {picture[at]}"
            at = later[0]
            met |= kinds
            if "BecomeProgram" in kinds:
                break  # for the process that takes its place, where it enters a joined pid namespace
    named = {kind for words in WORDS.values() for kind in words.split()}
    # Those need what a host must have, or the other value of `relay`.
    assert named - met <= {"MakeClos", "EnterClos", "MoveDevice", "CheckNodes", "Terminal", "MakePipes", "TakePipes"}
