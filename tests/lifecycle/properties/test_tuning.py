"""scheduler, ioPriority, personality, memoryPolicy and CPU affinity, as the kernel tells of the process."""

import ctypes
import json
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import set_namespaces
from tests.support.processes import reap, status_of
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

_libc = ctypes.CDLL(None, use_errno=True)
_SCHED_GETATTR, _IOPRIO_GET = {"x86_64": (315, 252), "aarch64": (275, 31)}[platform.machine()]
_IOPRIO_WHO_PROCESS = 1

OTHER, FIFO, RR, BATCH, _ISO, IDLE, DEADLINE = range(7)


class SchedAttr(ctypes.Structure):
    """struct sched_attr of sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def scheduler(pid: int) -> SchedAttr:
    found = SchedAttr()
    if _libc.syscall(_SCHED_GETATTR, pid, ctypes.byref(found), ctypes.sizeof(found), 0):
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return found


def io_priority(pid: int) -> tuple[int, int]:
    """Class and priority."""
    value = _libc.syscall(_IOPRIO_GET, _IOPRIO_WHO_PROCESS, pid)
    return value >> 13, value & 0x1FFF


def memory_policies(pid: int) -> set[str]:
    """The policies of a process's memory, in the kernel's words (numa(7))."""
    return {line.split(" ")[1] for line in Path(f"/proc/{pid}/numa_maps").read_text().splitlines()}


def started(box: Bundle) -> int:
    """Create and start; the number of the process, which has executed its program."""
    box.config["process"]["args"] = ["sleep", "1000"]
    box.create().ok()
    box.start().ok()
    return box.pid()


def executed(box: Bundle, **more: Any) -> int:
    """exec --process with an object that has `more`: the number of the process."""
    pid, error = in_process_file(box, **more)
    assert not error
    return pid


def end(*pids: int) -> None:
    """End what exec has started; it is ours to wait for, and the container's first process waits for that."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def in_process_file(box: Bundle, **more: Any) -> tuple[int, str]:
    """The number and the error, one of them."""
    process = {**box.config["process"], "args": ["sleep", "1000"], **more}
    (box.path / "process.json").write_text(json.dumps(process))
    pid_file = box.path / "pid"
    done = box.exec("--detach", "--pid-file", pid_file, "--process", box.path / "process.json")
    return (int(pid_file.read_text()), "") if done.returncode == 0 else (0, done.stderr)


# ---- scheduler ----


@pytest.mark.parametrize(
    ("config", "policy", "values"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, OTHER, {"nice": 7}),
        ({"policy": "SCHED_OTHER", "nice": -20}, OTHER, {"nice": -20}),
        ({"policy": "SCHED_BATCH", "nice": 19}, BATCH, {"nice": 19}),
        ({"policy": "SCHED_IDLE"}, IDLE, {}),
        ({"policy": "SCHED_FIFO", "priority": 17}, FIFO, {"priority": 17}),
        ({"policy": "SCHED_RR", "priority": 1}, RR, {"priority": 1}),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, OTHER, {"flags": 1}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 5000000, "period": 10000000}
            | {"flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RESET_ON_FORK"]},
            DEADLINE,
            {"runtime": 1000000, "deadline": 5000000, "period": 10000000, "flags": 7},
        ),
    ],
)
def test_scheduler(container: MakeBundle, config: dict[str, Any], policy: int, values: dict[str, int]) -> None:
    box = container()
    box.config["process"]["scheduler"] = config
    if policy in (FIFO, RR):
        allow_realtime(box)
    pid = started(box)
    found = scheduler(pid)
    assert found.policy == policy
    for name, value in values.items():
        assert getattr(found, name) == value, name


def allow_realtime(box: Bundle) -> None:
    """On cgroup v1 a group has no realtime share of its own, and neither has its parent, the session's."""
    root = box.cgroup_dir("cpu").parent
    if (root.parent / "cpu.rt_runtime_us").exists():
        root.mkdir(exist_ok=True)
        (root / "cpu.rt_runtime_us").write_text("5000")
        box.config["linux"]["resources"]["cpu"] = {"realtimeRuntime": 4000, "realtimePeriod": 1000000}


def test_scheduler_of_an_exec(container: MakeBundle) -> None:
    """Its own, or where it has none the container's (as in runc)."""
    box = container()
    box.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    box.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    started(box)
    lowest = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    pid = executed(box, scheduler={"policy": "SCHED_OTHER", "nice": 9}, ioPriority=lowest)
    assert (scheduler(pid).policy, scheduler(pid).nice, io_priority(pid)) == (OTHER, 9, (3, 0))
    end(pid)
    del box.config["process"]["scheduler"], box.config["process"]["ioPriority"]
    pid = executed(box)
    assert (scheduler(pid).policy, scheduler(pid).nice, io_priority(pid)) == (BATCH, 3, (2, 6))
    end(pid)


def test_a_policy_that_a_clone_would_end(container: MakeBundle) -> None:
    """In a joined pid namespace, and exec's is one, the process is cloned last; only then it gets its policy."""
    box = container()
    started(box)
    times = {"runtime": 1000000, "deadline": 5000000, "period": 10000000}
    wanted = {"policy": "SCHED_DEADLINE", **times, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    pid = executed(box, scheduler=wanted)
    assert (scheduler(pid).policy, scheduler(pid).runtime) == (DEADLINE, 1000000)
    end(pid)
    other = container()
    set_namespaces(other, "mount", "ipc", "uts", pid=box.pid())
    other.config["process"]["scheduler"] = wanted
    assert scheduler(started(other)).policy == DEADLINE
    other.delete("--force").ok()
    other.config["process"]["scheduler"] = {**wanted, "runtime": 9000000}
    one_line(other.create(), 1, "set scheduler SCHED_DEADLINE: invalid argument")
    assert "invalid argument" in in_process_file(box, scheduler={**wanted, "runtime": 9000000})[1]
    reap()  # the other's process: the pid namespace ends with the last that is in it


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"policy": "SCHED_ISO"}, "set scheduler SCHED_ISO: invalid argument"),
        ({"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 5, "period": 1}, "invalid argument"),
        ({"policy": "SCHED_OTHER", "priority": 3}, "priority can only be specified for SchedFIFO or SchedRR"),
        ({"policy": "SCHED_FIFO"}, "priority of SCHED_FIFO is from 1 to 99, not 0"),
        ({"policy": "SCHED_OTHER", "runtime": 3}, "can only be specified for SchedDeadline"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "20"),
        ({"policy": "SCHED_SOMETHING"}, "SCHED_SOMETHING"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}, "SCHED_FLAG_NONE"),
    ],
)
def test_scheduler_refused(bundle: MakeBundle, config: dict[str, Any], words: str) -> None:
    box = bundle()
    box.config["process"]["scheduler"] = config
    refused(box, words, "/process/scheduler")


def refused(box: Bundle, words: str, pointer: str) -> None:
    done = box.create()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert pointer in done.stderr


# ---- ioPriority ----


@pytest.mark.parametrize(("name", "number"), [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)])
@pytest.mark.parametrize("priority", [0, 5, 7])
def test_io_priority(container: MakeBundle, name: str, number: int, priority: int) -> None:
    box = container()
    box.config["process"]["ioPriority"] = {"class": name, "priority": priority}
    assert io_priority(started(box)) == (number, priority)


@pytest.mark.parametrize("config", [{"class": "IOPRIO_CLASS_BE", "priority": 8}, {"class": "X", "priority": 1}])
def test_io_priority_refused(bundle: MakeBundle, config: dict[str, Any]) -> None:
    box = bundle()
    box.config["process"]["ioPriority"] = config
    refused(box, "ioPriority", "/process/ioPriority")


# ---- personality ----


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(container: MakeBundle, domain: str, number: int) -> None:
    box = container()
    box.config["linux"]["personality"] = {"domain": domain}
    pid = started(box)
    assert int(Path(f"/proc/{pid}/personality").read_text(), 16) & 0xFF == number
    machine = box.exec("uname", "-m").ok().stdout.strip()
    assert (machine == platform.machine()) == (domain == "LINUX")


def test_personality_refused(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["linux"]["personality"] = {"domain": "SVR4"}
    refused(box, "SVR4", "/linux/personality/domain")
    box.config["linux"]["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    refused(box, "no personality flags", "/linux/personality/flags")


# ---- memoryPolicy ----

needs_numa = pytest.mark.skipif(not Path("/proc/self/numa_maps").exists(), reason="no NUMA in this kernel")


#: linux.memoryPolicy, and the kernel's words for it.
MEMORY_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({"mode": "MPOL_DEFAULT"}, "default"),
    ({"mode": "MPOL_LOCAL"}, "local"),
    ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
    ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
    ({"mode": "MPOL_PREFERRED"}, "local"),  # of no node: the one that it runs on
    ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0-0,0"}, "prefer (many):0"),
    ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, "weighted interleave:0"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "bind=relative:0"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "bind=balancing:0"),
    # Relative to what is allowed, and that is one node here.
    ({"mode": "MPOL_BIND", "nodes": "3", "flags": ["MPOL_F_RELATIVE_NODES"]}, "bind=relative:0"),
]


@needs_numa
@pytest.mark.parametrize(("config", "words"), MEMORY_POLICIES)
def test_memory_policy(container: MakeBundle, config: dict[str, Any], words: str) -> None:
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    if "WEIGHTED" in config["mode"] and release < (6, 9):
        pytest.skip("weighted interleaving is of Linux 6.9")
    box = container()
    box.config["linux"]["memoryPolicy"] = config
    pid = started(box)
    lines = Path(f"/proc/{pid}/numa_maps").read_text().splitlines()
    # The kernel's own mappings (vdso) may be told apart.
    assert any(line.split(" ", 1)[1].startswith(words + " ") or line.endswith(" " + words) for line in lines), lines
    # exec's processes too.
    other = executed(box)
    assert words.split(" ")[0] in memory_policies(other)
    end(other)


@needs_numa
@pytest.mark.parametrize("nodes", ["5", "0,5", "1000", "5000", "99999", "0-70"])
def test_a_memory_node_that_does_not_exist(bundle: MakeBundle, nodes: str) -> None:
    box = bundle()
    box.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": nodes}
    refused(box, "there is no memory node", "/linux/memoryPolicy/nodes")


def test_no_memory_policy_is_left_out(runtime: Path) -> None:
    """All that `pyrunc features` lists is tried above, and nothing else."""
    printed = subprocess.run([runtime, "features"], capture_output=True, check=True).stdout
    policy = json.loads(printed)["linux"]["memoryPolicy"]
    assert set(policy["modes"]) == {config["mode"] for config, _ in MEMORY_POLICIES}
    assert set(policy["flags"]) == {flag for config, _ in MEMORY_POLICIES for flag in config.get("flags", ())}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"mode": "MPOL_BIND"}, "requires at least one node"),
        ({"mode": "MPOL_BIND", "nodes": ""}, "requires at least one node"),
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "requires 0 nodes"),
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "requires 0 nodes"),
        ({"mode": "MPOL_BIND", "nodes": "zero"}, "zero"),
        ({"mode": "MPOL_BIND", "nodes": "1-0"}, "invalid range"),
        ({"mode": "MPOL_NONE"}, "MPOL_NONE"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}, "MPOL_F_X"),
        # The kernel's own word: both kinds of numbering at once, and numbers too high even as relative ones.
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}, "invalid arg"),
        ({"mode": "MPOL_BIND", "nodes": "99999", "flags": ["MPOL_F_RELATIVE_NODES"]}, "invalid argument"),
    ],
)
def test_memory_policy_refused(bundle: MakeBundle, config: dict[str, Any], words: str) -> None:
    box = bundle()
    box.config["linux"]["memoryPolicy"] = config
    refused(box, words, "/linux/memoryPolicy")


# ---- affinity ----

two_cpus = pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="the tests want CPUs 0 and 1")

#: All that these tests may run on, and so the container.
EVERY = status_of(os.getpid())["Cpus_allowed_list"]


@two_cpus
def test_the_caller_s_affinity_is_not_the_container_s(container: MakeBundle, workplace: Workplace) -> None:
    box = container("sleep", "1000")
    box.save()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        box.create().ok()
        box.start().ok()
        pid = executed(box)
    finally:
        os.sched_setaffinity(0, before)
    assert status_of(box.pid())["Cpus_allowed_list"] == EVERY
    assert status_of(pid)["Cpus_allowed_list"] == EVERY
    end(pid)


@two_cpus
def test_the_cpuset_still_counts(container: MakeBundle) -> None:
    box = container()
    box.config["linux"]["resources"]["cpu"] = {"cpus": "1"}
    pid = started(box)
    assert status_of(pid)["Cpus_allowed_list"] == "1"
    box.call("update", "--cpuset-cpus", "0-1", box.id).ok()
    assert status_of(pid)["Cpus_allowed_list"] == "0-1"


@two_cpus
@pytest.mark.parametrize(
    ("affinity", "cpus"),
    [
        ({"initial": "0"}, "0"),
        ({"final": "1"}, "1"),
        ({"initial": "0", "final": "1"}, "1"),
        ({"initial": "1", "final": "0-1"}, "0-1"),
        ({}, EVERY),
        # Of those that are there.
        ({"final": "1,9999"}, "1"),
    ],
)
def test_affinity_of_an_exec(container: MakeBundle, affinity: dict[str, str], cpus: str) -> None:
    box = container()
    box.config["process"]["execCPUAffinity"] = affinity
    # Not of the container's first process.
    assert status_of(started(box))["Cpus_allowed_list"] == EVERY
    # From the container's config, for an exec without one and by the command line; and its own.
    shown = box.exec("grep", "Cpus_allowed_list", "/proc/self/status").ok().stdout
    assert shown.split()[1] == cpus
    del box.config["process"]["execCPUAffinity"]
    mine, other = executed(box), executed(box, execCPUAffinity={"final": "1"})
    assert status_of(mine)["Cpus_allowed_list"] == cpus
    assert status_of(other)["Cpus_allowed_list"] == "1"
    end(mine, other)


@two_cpus
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_initial_is_before_the_cgroup_and_final_after(container: MakeBundle, workplace: Workplace) -> None:
    box = container()
    box.config["process"]["execCPUAffinity"] = {"initial": "0", "final": "1"}
    started(box)
    trace = box.path / "trace"
    argv = ["strace", "-f", "-qq", "-y", "-e", "trace=sched_setaffinity,write", "-o", str(trace)]
    argv += [str(workplace.runtime), "--root", str(workplace.root), "exec", box.id, "true"]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    text = trace.read_text()
    joins = [text.index("/tasks>"), text.rindex("/tasks>")]
    assert text.index("[0]") < joins[0] and joins[1] < text.index("[1]")


@two_cpus
def test_affinity_refused(container: MakeBundle) -> None:
    box = container()
    started(box)
    for affinity, words in (
        ({"initial": "x"}, "execCPUAffinity/initial"),
        ({"final": "3-1"}, "bad CPUAffinity.Final: invalid range"),
        ({"final": "9999"}, "set CPU affinity 9999: invalid argument"),
        ({"initial": "9999"}, "set CPU affinity 9999: invalid argument"),
    ):
        _, error = in_process_file(box, execCPUAffinity=affinity)
        assert error.count("\n") == 1
        assert words in error
