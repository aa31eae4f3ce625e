"""exec and a joined pid namespace, attacked from inside by one who has CAP_SYS_PTRACE (CVE-2016-9962, CVE-2019-5736).

The attacker sees every process of its pid namespace and can stop it at any moment. None may have the host's root,
mounts or descriptors then, nor be an executable of the host that could be overwritten.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running
from tests.support.descriptors import receiver
from tests.support.namespaces import set_namespaces
from tests.support.processes import reap
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle

from .inside import end, may, mount_numbers, records, with_python

#: An attacker that is slow, on a machine that is busy, must have had hold of so many within so many tries.
ENOUGH, TRIES = 6, 200


def attacker(box: Bundle, marker: Path) -> int:
    may(box, "CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE")
    with_python(box, "seize.py", str(marker))
    box.config["mounts"] = [m for m in box.config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
    pid = running(box)
    wait_until(lambda: "ready" in box.output(), "the attacker runs")
    return pid


def caught(box: Bundle) -> list[dict[str, Any]]:
    """The processes of the runtime's that the attacker has had hold of before they became a program.

    But for the helper with a user namespace of its own: see test_the_helper_that_opens_its_procfs.
    """
    found = [one for one in records(box.output()) if one["exe"].startswith("/memfd:")]
    assert all(one["user"].startswith("user:[") for one in found), found
    return [one for one in found if one["user"] == os.readlink("/proc/self/ns/user")]


def tries(box: Bundle) -> Iterator[None]:
    """As many as the attacker needs. The test fails when it is never fast enough, since it would show nothing."""
    for _ in range(TRIES):
        if len(caught(box)) >= ENOUGH:
            return
        yield
    assert caught(box), "the attacker was never fast enough"


def check(pid: int, marker: Path, processes: list[dict[str, Any]]) -> None:
    """Nothing of the host's in any of them but one socket, by which the runtime is told how it goes."""
    root = os.stat(f"/proc/{pid}/root/")
    mounts = mount_numbers(pid)
    for one in processes:
        assert one["root"] == [root.st_dev, root.st_ino] and not one["marker"], one
        assert one["mnt"] == os.readlink(f"/proc/{pid}/ns/mnt"), one
        assert one["cwd"].startswith("/"), one
        assert not one["own_exe_writable"], one
        others = [what for fd, what in one["fds"].items() if int(fd) > 2]
        sockets = {what["link"] for what in others if what["link"].startswith("socket:")}
        assert len(sockets) <= 1, one
        for what in others:
            assert what["link"] in sockets or what["mount"] in mounts, one


def has_nothing_more(processes: list[dict[str, Any]], program: int, extra: int = 0) -> None:
    """Who takes hold of one of them has no more of it than of the program that it becomes, all of whose capabilities
    are in its bounding set: program, a mask. extra: what it has besides until it has loaded its filter.
    """
    for one in processes:
        sets = {name: int(one[name], 16) for name in ("effective", "permitted", "inheritable", "bounding")}
        assert sets["bounding"] == program, one
        assert sets["permitted"] & ~extra in (program, 0) and not sets["effective"] & ~sets["permitted"], one
        assert not sets["inheritable"] & ~program, one


def no_change(box: Bundle) -> None:
    """Neither no_new_privs nor a filter."""


def as_engines_ask(box: Bundle) -> None:
    """The filter must be loaded while privileged: before the clone, which it allows."""
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())


def with_a_filter_that_forbids(box: Bundle, *names: str) -> None:
    rule = {"names": list(names), "action": "SCMP_ACT_KILL_PROCESS"}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


def with_a_filter_that_forbids_clones(box: Bundle) -> None:
    """With no_new_privs it is loaded after the clone."""
    box.config["process"]["noNewPrivileges"] = True
    with_a_filter_that_forbids(box, "clone", "clone3", "setsid")


def with_a_privileged_filter_that_forbids_clones(box: Bundle) -> None:
    """Loading it takes CAP_SYS_ADMIN, which the new process has therefore: docs/security.md."""
    with_a_filter_that_forbids(box, "clone", "clone3", "setsid")


def of_a_user_with_few_processes(box: Bundle) -> None:
    """The process outside would count: one more than the user may have. 30 others are there already."""
    box.config["process"]["user"] = {"uid": 1234, "gid": 1234}
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]


def of_few_processes_that_may_not_change_the_user(box: Bundle) -> None:
    of_a_user_with_few_processes(box)
    with_a_filter_that_forbids(box, "setresuid")


def real_time(box: Bundle) -> None:
    """Which takes CAP_SYS_NICE, and which a clone ends."""
    times = {"runtime": 1000000, "deadline": 5000000, "period": 10000000}
    flags = ["SCHED_FLAG_RESET_ON_FORK"]
    box.config["process"]["scheduler"] = {"policy": "SCHED_DEADLINE", **times, "flags": flags}


def with_a_terminal(box: Bundle) -> None:
    box.config["process"]["terminal"] = True


def without_a_program(box: Bundle) -> None:
    """It waits only, until it is deleted."""
    del box.config["process"]


Change = Callable[[Bundle], None]
SYS_ADMIN = 1 << 21
#: What is asked of the process, and what a process that is seized may have beside the program's capabilities.
ORDERS: list[tuple[Change, int]] = [
    (no_change, 0),
    (as_engines_ask, 0),
    (with_a_filter_that_forbids_clones, 0),
    (with_a_privileged_filter_that_forbids_clones, SYS_ADMIN),
    (of_a_user_with_few_processes, 0),
    (of_few_processes_that_may_not_change_the_user, SYS_ADMIN),
    (real_time, 0),
    (with_a_terminal, 0),
]


def named(value: object) -> str | None:
    return getattr(value, "__name__", "")


def a_container(bundle: MakeBundle, pid: int, change: Change, *capabilities: str) -> Bundle:
    """One whose process sees those of the attacker's pid namespace, and is seen."""
    box = bundle("sleep", "1000")
    may(box, *capabilities)
    set_namespaces(box, "mount", "network", "ipc", "uts", pid=pid)
    change(box)
    return box


@pytest.mark.parametrize(("change", "extra"), ORDERS, ids=named)
def test_exec_has_dropped_its_privileges(change: Change, extra: int, bundle: MakeBundle) -> None:
    """Before it can be seen from inside, where one who may trace could use what it has."""
    box = bundle()
    attacker(box, box.path / "host-only")
    other = a_container(bundle, box.pid(), change, "CAP_KILL", "CAP_NET_RAW")
    process = other.config["process"]
    # Its init process is one of root's, and no part of the experiment.
    other.config["process"] = {**process, "user": {"uid": 0, "gid": 0}, "terminal": False, "args": ["sleep", "1000"]}
    other.config["process"].pop("rlimits", None)
    other.config["process"].pop("scheduler", None)
    running(other)
    reap()
    box.path.joinpath("stdout").write_text("")
    wanted = other.path / "process.json"
    wanted.write_text(json.dumps({**process, "args": ["true"]}))
    with receiver(box.place.path / "console") as console:
        for _ in tries(box):
            if process.get("terminal"):
                other.exec("--process", wanted, "--detach", "--console-socket", console.path).ok()
                os.close(console.take()[0])
                console.taken.pop()
            else:
                other.exec("--process", wanted).ok()
            reap()
    has_nothing_more(caught(box), 1 << 5 | 1 << 13, extra)
    end(other)
    end(box)


@pytest.mark.parametrize(("change", "extra"), [*ORDERS, (without_a_program, 0)], ids=named)
def test_create_has_dropped_its_privileges(change: Change, extra: int, bundle: MakeBundle) -> None:
    """As a pod's containers that share their processes: open_by_handle_at(2) with the runtime's would read the host."""
    box = bundle()
    attacker(box, box.path / "host-only")
    other = a_container(bundle, box.pid(), change, "CAP_KILL", "CAP_NET_RAW")
    program = 0 if change is without_a_program else 1 << 5 | 1 << 13
    with receiver(box.place.path / "console") as console:
        flags = ("--console-socket", console.path) if change is with_a_terminal else ()
        for _ in tries(box):
            other.create(*flags).ok()
            if flags:
                os.close(console.take()[0])
                console.taken.pop()
            other.delete("--force").ok()
            reap()
    has_nothing_more(caught(box), program, extra)
    end(box)


def test_the_helper_that_opens_its_procfs(bundle: MakeBundle) -> None:
    """Before Linux 6.17 a process must be in a pid namespace to ask for its procfs: it can do nothing outside."""
    box = bundle()
    pid = attacker(box, box.path / "host-only")
    program = (
        "import os, sys; from pyrunc.linux import procfs\n"
        "space = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fd = procfs.open_by_helper(space, [], 0)\n"
        "print(os.readlink('1/ns/pid', dir_fd=fd))"
    )
    found: list[dict[str, Any]] = []
    for _ in range(TRIES):
        argv = [sys.executable, "-c", program, f"/proc/{pid}/ns/pid"]
        done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/pid")
        found = records(box.output())
        if len(found) >= ENOUGH:
            break
    assert found, "the attacker was never fast enough"
    own = os.readlink(f"/proc/{pid}/ns/user")
    for one in found:
        assert one["user"].startswith("user:[") and one["user"] not in (own, os.readlink("/proc/self/ns/user")), one
        assert not one["marker"] and one["root"] != [os.stat("/").st_dev, os.stat("/").st_ino], one
        assert all(what["link"].startswith(("socket:", "anon_inode:[fscontext]")) for what in one["fds"].values()), one
    end(box)


@pytest.mark.parametrize("name", ["clone", "setsid", "ioctl", "write"])
def test_a_filter_that_does_not_let_the_clone_be_last(name: str, container: MakeBundle) -> None:
    """Without no_new_privs it must be loaded after, with CAP_SYS_ADMIN (docs/security.md); exec works all the same."""
    box = container("sleep", "1000")
    rule = {"names": [name, "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.config["process"]["noNewPrivileges"] = False
    running(box)
    for user in ("0:0", "1000:1000"):
        box.exec("--user", user, "grep", "-q", "Seccomp:.2", "/proc/self/status").ok()


def test_exec(bundle: MakeBundle) -> None:
    """Its caller has left directories of the host open, and a socket."""
    box = bundle()
    marker = box.path / "host-only"
    marker.touch()
    pid = attacker(box, marker)
    leaked = [os.open(path, os.O_RDONLY) for path in ("/", "/proc", box.path)]
    try:
        for _ in tries(box):
            box.exec("true", pass_fds=tuple(leaked)).ok()
    finally:
        for fd in leaked:
            os.close(fd)
    check(pid, marker, caught(box))
    end(box)


def test_exec_with_a_terminal(bundle: MakeBundle) -> None:
    """The caller's terminal takes commands, and the engine's socket is waiting for a descriptor: neither is there."""
    box = bundle()
    marker = box.path / "host-only"
    marker.touch()
    pid = attacker(box, marker)
    host, terminal = os.openpty()
    with receiver(box.place.path / "console") as console:
        for _ in tries(box):
            call = ("exec", "--tty", "--detach", "--console-socket", console.path, box.id, "true")
            runtime = box.place.spawn(*call, stdin=terminal, stdout=terminal, stderr=terminal)
            console.take()
            assert runtime.wait(PATIENCE) == 0
            reap()
    os.close(host)
    os.close(terminal)
    processes = caught(box)
    check(pid, marker, processes)
    mounts = mount_numbers(pid)
    for one in processes:
        for what in one["fds"].values():
            assert what["link"].startswith(("pipe:", "socket:")) or what["mount"] in mounts, one
    end(box)


def test_create_in_its_pid_namespace(bundle: MakeBundle) -> None:
    """As a pod's containers that share their processes. A created one waits with exec.fifo and its error file open."""
    box = bundle()
    marker = box.path / "host-only"
    marker.touch()
    pid = attacker(box, marker)
    other = bundle("true")
    set_namespaces(other, "mount", "network", "ipc", "uts", pid=pid)
    root = os.stat(other.rootfs)
    numbers = [line.split()[2].split(":") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    devices = {os.makedev(int(major), int(minor)) for major, minor in numbers}
    for _ in tries(box):
        other.create().ok()
        other.delete("--force").ok()
        reap()
    for one in caught(box):
        assert one["root"] == [root.st_dev, root.st_ino] and not one["marker"], one
        assert one["mnt"] not in (os.readlink("/proc/self/ns/mnt"), os.readlink(f"/proc/{pid}/ns/mnt")), one
        for fd, what in one["fds"].items():
            if int(fd) > 2 and not what["link"].startswith("socket:"):
                # Mounts that are nowhere yet: the null device for masks, and new file systems, which the host has not.
                detached = what["is_null"] or what["device"] not in devices
                known = what["mount"] in one["mounts"] or detached
                assert known or Path(what["link"]).name in ("exec.fifo", "init-error"), (what, one)
    end(box)
