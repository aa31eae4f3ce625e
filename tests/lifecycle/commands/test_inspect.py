"""inspect: what was asked for beside what the kernel has, after somebody has changed it from outside."""

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import _linux
from tests.support.containers import running
from tests.support.namespaces import add_user_namespace
from tests.support.workplace import Bundle, MakeBundle, one_line

Found = dict[str, Any]


def inspect(box: Bundle, *flags: str) -> Found:
    got = box.call("inspect", "--json", *flags, box.id).ok()
    assert got.stderr == ""
    found: Found = json.loads(got.stdout)
    return found


def row(found: Found, section: str, name: str) -> Found:
    (one,) = [one for one in found["properties"] if (one["section"], one["name"]) == (section, name)]
    answer: Found = one
    return answer


def differing(found: Found) -> dict[str, Any]:
    """Pointer (or name, without one) to what the kernel has."""
    rows = [one for one in found["properties"] if one["differs"]]
    assert found["differences"] == len(rows)
    return {one["pointer"] or one["name"]: one["effective"] for one in rows}


def nsenter(pid: int, flag: str, *command: str) -> None:
    subprocess.run(["nsenter", f"--target={pid}", flag, *command], check=True, capture_output=True)


def in_mounts(pid: int, call: Callable[[], None]) -> None:
    """Call it in the mount namespace of a process."""
    child = os.fork()
    if child == 0:
        try:
            _linux.setns(_linux.pidfd_open(pid), _linux.CLONE_NEWNS)
            call()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def full(bundle: MakeBundle) -> Bundle:
    """A container that asks for something of each kind."""
    box = bundle("sleep", "1000")
    process, linux = box.config["process"], box.config["linux"]
    process["user"] = {"uid": 0, "gid": 0, "additionalGids": [7, 5], "umask": 0o27}
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    process["oomScoreAdj"] = 300
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    linux["resources"] |= {"memory": {"limit": (64 << 20) + 5}, "pids": {"limit": 50}, "cpu": {"cpus": "0"}}
    linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}
    linux["maskedPaths"] = ["/proc/keys", "/proc/acpi", "/nothing"]
    linux["readonlyPaths"] = ["/proc/sys", "/nothing"]
    linux["personality"] = {"domain": "LINUX32"}
    linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    return box


@pytest.mark.parametrize("status", ["created", "running", "paused"])
def test_what_nobody_has_changed_does_not_differ(status: str, full: Bundle) -> None:
    full.create().ok()
    if status != "created":
        full.start().ok()
    if status == "paused":
        full.call("pause", full.id).ok()
    found = inspect(full)
    assert (found["id"], found["status"], found["pid"]) == (full.id, status, full.pid())
    assert differing(found) == {}
    for section, name, value in (
        ("rlimits", "RLIMIT_NOFILE", "100/200"),
        ("ids", "additionalGids", [5, 7]),
        ("ids", "umask", "0027"),
        ("oom", "oom_score_adj", 300),
        ("scheduling", "policy", "SCHED_BATCH"),
        ("scheduling", "nice", 3),
        ("scheduling", "ioPriority", "IOPRIO_CLASS_BE 6"),
        ("scheduling", "cpus", "0"),
        ("scheduling", "personality", "LINUX32"),
        ("sysctl", "net.ipv4.ip_forward", "1"),
        ("seccomp", "mode", "filter"),
        ("capabilities", "no_new_privs", True),
    ):
        one = row(found, section, name)
        assert (one["requested"], one["effective"]) == (value, value), name
    assert row(found, "limits", "pids.max")["usage"] == 1
    full.delete("--force").ok()


def test_a_user_namespace_is_understood(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    add_user_namespace(box)
    box.config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    box.config["process"]["capabilities"] = {"bounding": ["CAP_CHOWN"]}
    running(box)
    found = inspect(box)
    assert differing(found) == {}
    assert row(found, "ids", "uid")["effective"] == 5
    assert row(found, "ids", "uidMappings")["effective"] == ["0 100000 65536"]


CHANGES = {
    "/linux/resources/pids/limit": "40",
    "/process/rlimits/0": "60/200",
    "/process/oomScoreAdj": 500,
    "/process/scheduler/nice": 9,
    "/linux/sysctl/net.ipv4.ip_forward": "0",
    "/hostname": "other",
    "/linux/maskedPaths/0": "a file that can be read",
}


def test_what_was_changed_from_outside_differs(full: Bundle) -> None:
    pid = running(full)
    (full.cgroup_dir("pids") / "pids.max").write_text("40")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (60, 200))
    Path(f"/proc/{pid}/oom_score_adj").write_text("500")
    os.setpriority(os.PRIO_PROCESS, pid, 9)
    nsenter(pid, "--net", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    nsenter(pid, "--uts", "hostname", "other")
    in_mounts(pid, lambda: _linux.umount2("/proc/keys", 0))
    assert differing(inspect(full)) == CHANGES
    text = full.call("inspect", full.id).ok().stdout
    for pointer in CHANGES:
        assert f"[{pointer}]" in text
    assert "\033" not in text
    assert text.endswith(f"differences: {len(CHANGES)}\n")
    full.delete("--force").ok()


def test_mounts_from_outside_differ(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    options = ["nosuid", "nodev", "size=1m"]
    for name in ("/gone", "/again", "/covered"):
        box.config["mounts"].append({"destination": name, "type": "tmpfs", "source": "tmpfs", "options": options})
    first = len(box.config["mounts"]) - 3
    pid = running(box)
    read_only, nodev = _linux.MOUNT_ATTR_RDONLY, _linux.MOUNT_ATTR_NODEV
    in_mounts(pid, lambda: _linux.umount2("/gone", 0))
    in_mounts(pid, lambda: _linux.mount_setattr(-100, "/again", 0, read_only, nodev))
    in_mounts(pid, lambda: _linux.mount("tmpfs", "/covered", "tmpfs", _linux.MS_NOEXEC, None))
    found = inspect(box)
    assert list(differing(found)) == [f"/mounts/{first + index}" for index in range(3)]
    notes = [row(found, "mounts", name)["note"] for name in ("/gone", "/again", "/covered")]
    assert notes == [
        "nothing is mounted there",
        "nodev is missing; ro is not asked for",
        "another mount is on top of it",
    ]


def test_a_process_that_was_moved_to_another_cgroup(full: Bundle) -> None:
    pid = running(full)
    there = full.cgroup_dir("pids").parent
    (there / "cgroup.procs").write_text(str(pid))
    found = inspect(full)
    assert differing(found) == {"/linux/cgroupsPath": str(there)}
    (full.cgroup_dir("pids") / "cgroup.procs").write_text(str(pid))
    full.delete("--force").ok()


def test_update_and_mounts_are_no_differences(full: Bundle) -> None:
    running(full)
    full.call("update", "--pids-limit", "33", full.id).ok()
    resources = {"memory": {"limit": 32 << 20, "swap": 0}, "pids": {"limit": 44}}
    full.call("update", "--resources", "-", full.id, stdin=json.dumps(resources).encode()).ok()
    more = [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}]
    full.call("mounts", "add", full.id, "-", stdin=json.dumps(more).encode()).ok()
    full.call("mounts", "remove", full.id, "-", stdin=b'[{"destination": "/dev/shm"}]').ok()
    found = inspect(full)
    assert differing(found) == {}
    assert row(found, "limits", "pids.max")["requested"] == "44"
    assert row(found, "limits", "memory.limit_in_bytes")["requested"] == str(32 << 20)
    assert row(found, "mounts", "/tmp")["effective"].startswith("tmpfs ro,")
    assert row(found, "mounts", "/dev/shm")["effective"] is None
    (full.cgroup_dir("pids") / "pids.max").write_text("43")
    assert differing(inspect(full)) == {"/linux/resources/pids/limit": "43"}
    full.delete("--force").ok()


def test_what_execve_makes_of_capabilities(container: MakeBundle) -> None:
    """A user who is not root keeps only ambient ones: it differs, and the reason is said."""
    box = container("sleep", "1000")
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    names = ["CAP_KILL"]
    box.config["process"]["capabilities"] = {"bounding": names, "permitted": names, "effective": names}
    running(box)
    found = inspect(box)
    assert differing(found) == {"/process/capabilities/effective": [], "/process/capabilities/permitted": []}
    assert "execve(2)" in row(found, "capabilities", "effective")["note"]


def test_system_calls_are_asked_of_the_kernel_s_filter(full: Bundle) -> None:
    running(full)
    found = inspect(full, "--syscall", "mkdir,kill", "--syscall=read")
    assert {call["source"] for call in found["syscalls"]} == {"kernel"}
    assert {call["name"]: call["verdicts"] for call in found["syscalls"]} == {
        "mkdir": [{"action": "SCMP_ACT_ERRNO", "data": 13, "error": "EACCES"}],
        "kill": [{"action": "SCMP_ACT_ERRNO", "data": 1, "error": "EPERM"}, {"action": "SCMP_ACT_ALLOW"}],
        "read": [{"action": "SCMP_ACT_ALLOW"}],
    }
    assert differing(found) == {}
    # And so it is: the container is as it was, and its filter does what was said.
    assert "Permission denied" in full.exec("mkdir", "/tmp/x").stderr
    assert full.status() == "running"
    full.delete("--force").ok()


def test_a_process_that_does_not_stop_is_asked_nothing(full: Bundle) -> None:
    """A frozen one of cgroup v1: the filter is the one that config.json makes."""
    running(full)
    full.call("pause", full.id).ok()
    found = inspect(full, "--syscall", "mkdir")
    assert found["syscalls"][0]["verdicts"][0]["error"] == "EACCES"
    full.call("resume", full.id).ok()
    assert inspect(full, "--syscall", "mkdir")["syscalls"][0]["source"] == "kernel"
    full.delete("--force").ok()


def test_check_says_by_its_status_whether_anything_differs(full: Bundle) -> None:
    running(full)
    assert full.call("inspect", "--check", full.id).returncode == 0
    (full.cgroup_dir("pids") / "pids.max").write_text("40")
    assert full.call("inspect", "--check", full.id).returncode == 2
    assert full.call("inspect", full.id).returncode == 0
    full.delete("--force").ok()


def test_a_stopped_container_has_only_what_was_requested(full: Bundle) -> None:
    full.create().ok()
    full.kill()
    full.wait_for("stopped")
    found = inspect(full, "--check")
    assert (found["status"], found["pid"], found["differences"]) == ("stopped", 0, 0)
    assert row(found, "ids", "uid") | {"requested": 0, "effective": None} == row(found, "ids", "uid")
    full.call("inspect", full.id).ok()
    full.delete().ok()


def test_what_cannot_be_asked(full: Bundle) -> None:
    one_line(full.call("inspect", "nobody"), 1, "container does not exist")
    running(full)
    one_line(full.call("inspect", "--syscall", "mkdirr", full.id), 1, "unknown system call 'mkdirr'", "hint:")
    full.delete("--force").ok()
