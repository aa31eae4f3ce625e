"""exec and a joined pid namespace, attacked from inside by one who has CAP_SYS_PTRACE (CVE-2016-9962, CVE-2019-5736).

The attacker sees every process of its pid namespace and can stop it at any moment. None may have the host's root,
mounts or descriptors then, nor be an executable of the host that could be overwritten.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import TOP, MakeBundle
from ..lifecycle.support import receiver, running, set_namespaces, status_of
from ..workplace import PATIENCE, Bundle, reap, wait_until
from .inside import end, may, mount_numbers, records, with_python

#: An attacker that is slow, on a machine that is busy, must have had hold of so many within so many tries.
ENOUGH, TRIES = 6, 200


def attacker(box: Bundle, marker: Path, change: Callable[[Bundle], None] = lambda box: None) -> int:
    may(box, "CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE")
    change(box)
    with_python(box, "seize.py", str(marker))
    box.config["mounts"] = [m for m in box.config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
    pid = running(box)
    wait_until(lambda: "ready" in box.output(), "the attacker runs")
    return pid


def caught(box: Bundle) -> list[dict[str, Any]]:
    """The processes of the runtime's that the attacker has had hold of before they became a program."""
    return [one for one in records(box.output()) if one["exe"].startswith("/memfd:")]


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


def has_nothing_more(processes: list[dict[str, Any]], capabilities: str, uid: int = 0) -> None:
    """Who takes hold of one of them has no more of it than of the program that it becomes."""
    for one in processes:
        assert (one["permitted"], one["bounding"]) == (capabilities, capabilities), one
        assert one["uid"] == str(uid), one


def no_change(box: Bundle) -> None:
    """Neither no_new_privs nor a filter."""


def as_engines_ask(box: Bundle) -> None:
    """The filter must be loaded while privileged: before the clone, which it allows."""
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/security/profiles/docker.json").read_text())


def with_a_filter_that_forbids_clones(box: Bundle) -> None:
    """With no_new_privs it is loaded after the clone."""
    box.config["process"]["noNewPrivileges"] = True
    rule = {"names": ["clone", "clone3", "setsid"], "action": "SCMP_ACT_KILL_PROCESS"}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@pytest.mark.parametrize(
    "change", [no_change, as_engines_ask, with_a_filter_that_forbids_clones], ids=lambda change: change.__name__
)
def test_exec_has_dropped_its_privileges(change: Callable[[Bundle], None], bundle: MakeBundle) -> None:
    """Before it can be seen from inside, where one who may trace could use what it has."""
    box = bundle()
    marker = box.path / "host-only"
    pid = attacker(box, marker, change)
    for _ in tries(box):
        box.exec("true").ok()
    has_nothing_more(caught(box), status_of(pid)["CapPrm"])
    for _ in range(10):
        box.exec("--user", "1000:1000", "true").ok()
    for one in caught(box):
        assert one["permitted"] in (status_of(pid)["CapPrm"], "0" * 16), one
    end(box)


@pytest.mark.parametrize("name", ["clone", "setsid", "ioctl", "write"])
def test_a_filter_that_does_not_let_the_clone_be_last(name: str, bundle: MakeBundle) -> None:
    """Without no_new_privs it must be loaded before. The window stays (docs/security.md); exec works all the same."""
    box = bundle("sleep", "1000")
    rule = {"names": [name, "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.config["process"]["noNewPrivileges"] = False
    running(box)
    for user in ("0:0", "1000:1000"):
        box.exec("--user", user, "grep", "-q", "Seccomp:.2", "/proc/self/status").ok()
    box.delete("--force").ok()


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
