"""Every step of a plan is made to fail, and the runtime killed at it: nothing may be left of the container.

Each plan is walked whole. Of steps of one kind that follow each other (devices, mounts) the first and the last stand
for all.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import TOP
from tests.support.namespaces import NAMESPACE_FILES
from tests.support.processes import reap
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace

Step = dict[str, Any]


class Faults:
    """The program step_faults.py, one process of it."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        argv = [sys.executable, "-I", str(TOP / "tests/support/step_faults.py")]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.listener = place.path / "console"
        self._ask({"command": "console", "path": str(self.listener)})

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the driver has died"
        return json.loads(line)

    def call(self, command: str, box: Bundle, options: dict[str, Any], fault: dict[str, Any] | None = None) -> Any:
        """create, run or exec. Without a fault: only say what the steps are."""
        more = {} if fault is None else {"fault": fault}
        request = {"command": command, "id": box.id, "bundle": str(box.path), "options": options, **more}
        return self._ask({**request, "root": str(self.place.root), "output": str(box.path / "runtime")})

    def cli(self, *argv: str) -> tuple[int, str]:
        """A command of the command line: status and output."""
        output = self.place.path / "cli"
        output.write_text("")
        request = {"command": "cli", "root": str(self.place.root), "argv": argv, "output": str(output)}
        return self._ask(request)["status"], output.read_text()

    def close(self) -> None:
        # Ends the driver.
        self.process.communicate()


@pytest.fixture
def faults(workplace: Workplace) -> Iterator[Faults]:
    program = Faults(workplace)
    yield program
    program.close()


# ---- what is walked ----


class Case:
    """One plan to walk: the command, the bundle, the command's options."""

    def __init__(self, command: str, box: Bundle, options: dict[str, Any] | None = None) -> None:
        self.command = command
        self.box = box
        self.options = options or {}
        box.save()


def plain(bundle: MakeBundle, faults: Faults) -> Case:
    return Case("create", bundle("sleep", "1000"))


def in_the_foreground(bundle: MakeBundle, faults: Faults) -> Case:
    return Case("run", bundle("true"))


def engine(bundle: MakeBundle, faults: Faults) -> Case:
    """What an engine asks for: hooks, a filter, devices, limits, a cgroup namespace, no_new_privs off."""
    box = bundle("sleep", "1000")
    hook = [{"path": "/bin/true"}]
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    box.config["hooks"] = dict.fromkeys(kinds, hook)
    process, linux = box.config["process"], box.config["linux"]
    process["noNewPrivileges"] = False
    process["oomScoreAdj"] = 100
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 7}
    linux["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    linux["namespaces"].append({"type": "cgroup"})
    linux["resources"] = {"memory": {"limit": 2 << 20}, "pids": {"limit": 10}, "cpu": {"shares": 100}}
    linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    linux["sysctl"] = {"kernel.shmmax": "1000000"}
    linux["rootfsPropagation"] = "rprivate"
    box.config["mounts"] += [
        {"destination": "/mnt", "source": str(box.path), "options": ["rbind", "ro"]},
        {"destination": "/var", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup"]},
    ]
    return Case("create", box)


def user_namespace(bundle: MakeBundle, faults: Faults) -> Case:
    """A terminal and a time namespace too; a device that the host lacks, a bind whose access times are set before."""
    box = bundle("sleep", "1000")
    in_user_namespace(box)
    box.config["linux"]["devices"] = [{"path": "/dev/zeros", "type": "c", "major": 1, "minor": 5}]
    box.config["mounts"].append({"destination": "/tmp", "source": str(box.path), "options": ["rbind", "noatime"]})
    box.config["process"]["terminal"] = True
    box.config["linux"]["namespaces"].append({"type": "time"})
    box.config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
    return Case("create", box, {"console_socket": str(faults.listener)})


def in_user_namespace(box: Bundle) -> None:
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def time_namespace(bundle: MakeBundle, faults: Faults) -> Case:
    box = bundle("sleep", "1000")
    box.config["linux"]["namespaces"].append({"type": "time"})
    box.config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1000}}
    return Case("create", box, {"no_pivot": True})


def joined_namespaces(bundle: MakeBundle, faults: Faults) -> Case:
    """Those of another container, its pid namespace among them."""
    pid = holder(bundle)
    box = bundle("sleep", "1000")
    join(box, pid, "pid", "network", "ipc", "uts")
    del box.config["hostname"]
    box.config["process"]["scheduler"] = {"policy": "SCHED_BATCH"}
    return Case("create", box)


def joined_user_namespace(bundle: MakeBundle, faults: Faults) -> Case:
    """New namespaces below another container's user namespace."""
    pid = holder(bundle, in_user_namespace)
    box = bundle("sleep", "1000")
    join(box, pid, "user")
    return Case("create", box)


def holder(bundle: MakeBundle, change: Callable[[Bundle], None] | None = None) -> int:
    """A container that runs, for others to join."""
    box = bundle("sleep", "1000")
    if change:
        change(box)
    box.create().ok()
    return box.pid()


def join(box: Bundle, pid: int, *kinds: str) -> None:
    spaces = [one for one in box.config["linux"]["namespaces"] if one["type"] not in kinds]
    spaces += [{"type": kind, "path": f"/proc/{pid}/ns/{NAMESPACE_FILES[kind]}"} for kind in kinds]
    box.config["linux"]["namespaces"] = spaces


def no_mount_namespace(bundle: MakeBundle, faults: Faults) -> Case:
    """Its mounts are the host's."""
    box = bundle("sleep", "1000")
    box.config["linux"]["namespaces"] = [{"type": "pid"}]
    box.config["linux"].pop("maskedPaths")
    box.config["linux"].pop("readonlyPaths")
    del box.config["hostname"]
    box.config["root"]["readonly"] = False
    box.config["mounts"] = box.config["mounts"][:3]
    return Case("create", box)


def rare_settings(bundle: MakeBundle, faults: Faults) -> Case:
    """Id-mapped mounts, a memory policy, a personality, an unbindable root, a mount by the old system call."""
    box = bundle("sleep", "1000")
    shift = [{"containerID": 0, "hostID": 1000, "size": 10}]
    mapped = {"uidMappings": shift, "gidMappings": shift}
    box.config["mounts"] += [
        {"destination": "/mnt", "source": str(box.path), "options": ["rbind", "idmap", "rro"], **mapped},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ridmap"], **mapped},
        {"destination": "/var", "type": "tmpfs", "source": "tmpfs", "options": ["iversion", "tmpcopyup"]},
    ]
    box.config["linux"].update(
        memoryPolicy={"mode": "MPOL_PREFERRED", "nodes": "0"},
        personality={"domain": "LINUX32"},
        rootfsPropagation="unbindable",
    )
    return Case("create", box)


def plain_exec(bundle: MakeBundle, faults: Faults) -> Case:
    box = bundle("sleep", "1000")
    box.run("--detach").ok()
    return Case("exec", box, {"args": ["true"]})


def rich_exec(bundle: MakeBundle, faults: Faults) -> Case:
    """In a user namespace, with a terminal, a filter, limits."""
    box = bundle("sleep", "1000")
    in_user_namespace(box)
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/podman.json").read_text())
    box.run("--detach").ok()
    process = {
        **box.config["process"],
        "args": ["sleep", "0"],
        "terminal": True,
        "oomScoreAdj": 50,
        "execCPUAffinity": {"initial": "0", "final": "0"},
        "noNewPrivileges": True,
    }
    file = box.path / "process.json"
    file.write_text(json.dumps(process))
    return Case("exec", box, {"process_file": str(file), "detach": True, "console_socket": str(faults.listener)})


Make = Callable[[MakeBundle, Faults], Case]
CASES: list[Make] = [
    plain,
    in_the_foreground,
    engine,
    user_namespace,
    time_namespace,
    joined_namespaces,
    joined_user_namespace,
    no_mount_namespace,
    rare_settings,
    plain_exec,
    rich_exec,
]

# ---- walking ----


class Walk:
    """A case's steps, one fault after the other, and what was wrong about each."""

    def __init__(self, case: Case, faults: Faults) -> None:
        self.case = case
        self.faults = faults
        self.place = faults.place
        self.steps: list[Step] = faults.call(case.command, case.box, case.options)["said"]
        assert isinstance(self.steps, list), self.steps
        #: What is there without the container (or the exec'ed process), such as the holders of joined namespaces.
        self.before = {_key(line) for line in self.place.leftovers()}
        self.wrong: list[str] = []

    def faults_to_try(self, how: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Each fault, and its name for the report."""
        last = len(self.steps) - 1
        for index, step in enumerate(self.steps):
            around = [self.steps[at]["kind"] for at in (index - 1, index + 1) if 0 <= at <= last]
            if around == [step["kind"]] * 2:
                continue
            following = self.steps[min(index + 1, last)]
            for when in step["when"]:
                if when == "after" and following["side"] == step["side"] and following["when"]:
                    continue  # the same as before the next
                name = f"{how} {when} step {index} of {last}, {step['side']}: {step['does']}"
                yield {"step": index, "when": when, "how": how}, name
        if self.case.command != "exec":
            yield {"step": last + 1, "when": "before", "how": how}, f"{how} at the end"

    def try_fault(self, fault: dict[str, Any]) -> Any:
        return self.faults.call(self.case.command, self.case.box, self.case.options, fault)

    def left(self, what: str = "") -> list[str]:
        """What the container has left behind (of that kind), once the kernel had its time."""
        try:
            wait_until(lambda: not self._new(what), "nothing is left", timeout=5)
        except AssertionError:
            return self._new(what)
        return []

    def _new(self, what: str) -> list[str]:
        return [line for line in self.place.leftovers() if line.startswith(what) and _key(line) not in self.before]

    def report(self, name: str, problem: object) -> None:
        output = self.case.box.path / "runtime"
        said = output.read_text(errors="replace")[-1000:] if output.exists() else ""
        self.wrong.append(f"{name}: {problem}" + (f" [{said}]" if said else ""))
        output.unlink(missing_ok=True)


def _key(line: str) -> str:
    """A leftover without what changes about it: a process's state."""
    return line.partition(":")[0] if line.startswith("process ") else line


def clean_up(box: Bundle, faults: Faults, keep: bool) -> str:
    """delete --force; of a container that exec was tried in, only that it is whole. Returns what was wrong."""
    if keep:
        status, output = faults.cli("state", box.id)
        return "" if status == 0 and '"running"' in output else f"state of the container: {status} {output}"
    # Whatever was left, it can be asked for and listed.
    for command in (("state", box.id), ("list",)):
        output = faults.cli(*command)[1]
        if "internal error" in output:
            return output
    status, output = faults.cli("delete", "--force", box.id)
    return f"delete --force: {status} {output}" if status or output else ""


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_step_that_fails_leaves_nothing(make: Make, bundle: MakeBundle, faults: Faults) -> None:
    """And is reported as that step."""
    case = make(bundle, faults)
    walk = Walk(case, faults)
    for fault, name in walk.faults_to_try("fail"):
        outcome = walk.try_fault(fault)
        said = outcome["said"] or {}
        if outcome["status"] not in (0, 1) or said.get("message") != "made to fail":
            walk.report(name, outcome)
        elif fault["step"] < len(walk.steps) and not said["step"]:
            walk.report(name, "the error names no step")
        if left := walk.left():
            walk.report(name, f"left: {left}")
            clean_up(case.box, faults, case.command == "exec")
    finish(case, walk)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_runtime_killed_at_a_step_leaves_what_delete_takes_away(
    make: Make, bundle: MakeBundle, faults: Faults
) -> None:
    """Its container process ends by itself, until it waits for start."""
    case = make(bundle, faults)
    walk = Walk(case, faults)
    last = len(walk.steps) - 1
    for fault, name in walk.faults_to_try("kill"):
        outcome = walk.try_fault(fault)
        step = walk.steps[min(fault["step"], last)]
        in_container = fault["when"] == "inside" or (step["side"] == "container" and fault["step"] <= last)
        if outcome["status"] != -9 or outcome["met"] != in_container:
            walk.report(name, outcome)
        if fault["step"] <= last and (processes := walk.left("process ")):
            walk.report(name, f"still there: {processes}")
        if problem := clean_up(case.box, faults, case.command == "exec"):
            walk.report(name, problem)
        if left := walk.left():
            walk.report(name, f"left after delete --force: {left}")
    finish(case, walk)


ENDS = [plain, user_namespace, joined_namespaces, joined_user_namespace, rich_exec]


@pytest.mark.parametrize("make", ENDS, ids=lambda make: make.__name__)
def test_a_container_process_that_ends_without_a_word(make: Make, bundle: MakeBundle, faults: Faults) -> None:
    """As one that is killed: an error that says so, and nothing is left."""
    case = make(bundle, faults)
    walk = Walk(case, faults)
    for fault, name in walk.faults_to_try("end"):
        step = walk.steps[min(fault["step"], len(walk.steps) - 1)]
        if fault["step"] >= len(walk.steps) or (step["side"] == "runtime" and fault["when"] != "inside"):
            continue
        if case.command == "exec" and fault["step"] == len(walk.steps) - 1:
            continue  # what ends there is taken for the program
        outcome = walk.try_fault(fault)
        if outcome["status"] != 1 or "container process ended unexpectedly" not in (outcome["said"] or {})["message"]:
            walk.report(name, outcome)
        if left := walk.left():
            walk.report(name, f"left: {left}")
            clean_up(case.box, faults, case.command == "exec")
    finish(case, walk)


def finish(case: Case, walk: Walk) -> None:
    """Report what was wrong; the plan that failed so often can still be carried out."""
    assert not walk.wrong, "\n".join(["", *walk.wrong])
    outcome = walk.faults.call(case.command, case.box, case.options, {"step": -1, "when": "", "how": ""})
    output = case.box.path / "runtime"
    assert outcome["status"] == 0, (outcome, output.read_text() if output.exists() else "")
    if case.command == "exec":
        assert not walk.left()
    for box in reversed(case.box.place.bundles):
        # A pid namespace ends when all its processes are reaped; those that orphaned are for us to reap.
        reap()
        box.delete("--force").ok()
