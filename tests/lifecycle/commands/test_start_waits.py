"""start waits for execve(2): without a lock, by what nobody but the process itself can hold, and not for ever.

A startContainer hook that hangs, an agent that does not answer, a neighbour that holds exec.fifo: none of them keeps
anybody from ending the container.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.containers import running
from tests.support.processes import children_of, has_ended
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

SLEEP = [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]


def start_of(box: Bundle) -> subprocess.Popen[bytes]:
    """A start that is under way: it has let the process go, and waits for its program."""
    fifo = box.place.root / box.id / "exec.fifo"
    start = box.place.spawn("start", box.id, stderr=subprocess.PIPE)
    wait_until(lambda: not fifo.exists(), "the process is let go")
    return start


def end_of(start: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, errors = start.communicate(timeout=20)
    return start.returncode, errors.decode()


@contextmanager
def ended(pid: int, how: str) -> Iterator[None]:
    """The process ends: it stays "a zombie", or is "reaped" at once, as an engine does it."""
    if how == "a zombie":
        yield
        return
    thread = threading.Thread(target=os.waitpid, args=(pid, 0))
    thread.start()
    yield
    thread.join(20)


HOWS = pytest.mark.parametrize("how", ["a zombie", "reaped"])


def has_not_begun(box: Bundle, start: subprocess.Popen[bytes], seen: Path) -> None:
    """A start that is under way says so, and no poststart hook gets the number of a process that is none."""
    status, errors = end_of(start)
    assert status == 1 and "the container's process ended before its program" in errors
    assert not seen.exists()
    box.wait_for("stopped")
    box.delete().ok()


def poststart(box: Bundle) -> Path:
    """Have a poststart hook that leaves this file."""
    seen = box.path / "poststart"
    box.config["hooks"] = {"poststart": [{"path": "/bin/touch", "args": ["touch", str(seen)]}]}
    return seen


def in_its_hook(box: Bundle) -> tuple[int, subprocess.Popen[bytes]]:
    """The process, which sleeps in its startContainer hook, and the start that waits for it."""
    box.config["hooks"]["startContainer"] = SLEEP
    box.create().ok()
    pid = box.pid()
    start = start_of(box)
    wait_until(lambda: children_of(pid) == ["sleep"], "the hook runs")
    return pid, start


# ---- what hangs, and what can be done meanwhile ----


def test_a_start_container_hook_that_hangs(bundle: MakeBundle) -> None:
    """The container can be asked for, limited and ended, as with runc."""
    box = bundle("sleep", "1000")
    seen = poststart(box)
    _, start = in_its_hook(box)
    assert box.status() == "running"
    box.call("update", "--pids-limit", "33", box.id).ok()
    box.call("pause", box.id).ok()
    box.call("resume", box.id).ok()
    one_line(box.start(), 1, "cannot start an already running container")
    assert box.call("delete", "--force", box.id, timeout=5).ok().stderr == ""
    status, errors = end_of(start)
    assert status == 1 and "the container's process ended before its program" in errors and "level=error" in errors
    assert not seen.exists() and not (box.place.root / box.id).exists()


def test_a_poststart_hook_that_hangs(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    pid_file = box.path / "hook"
    box.config["hooks"] = {
        "poststart": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ >{pid_file}; exec sleep 1000"]}]
    }
    box.create().ok()
    start = start_of(box)
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "the hook runs")
    assert box.status() == "running"
    box.call("update", "--pids-limit", "33", box.id).ok()
    assert box.call("delete", "--force", box.id, timeout=5).ok().stderr == ""
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    status, errors = end_of(start)
    # It failed, and there is no container any more that could be taken away for that.
    assert status == 1 and "/hooks/poststart/0" in errors


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_of_create_that_hangs(kind: str, bundle: MakeBundle) -> None:
    """delete --force ends the process, and create notices."""
    box = bundle("sleep", "1000")
    told = box.path / "told"
    box.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ >{told}; exec sleep 1000"]}]}
    create = box.place.spawn("create", "--bundle", box.save(), box.id, stderr=subprocess.PIPE)
    wait_until(lambda: told.exists() and told.read_text() != "", "the hook runs")
    assert box.call("delete", "--force", box.id, timeout=8).ok().stderr == ""
    assert end_of(create)[0] == 1
    # The hook is in the create's own namespaces but for createContainer, whose process is gone with the container's.
    if kind != "createContainer":
        assert has_ended(int(told.read_text()))


# ---- by what start knows that the program runs ----


def test_exec_fifo_in_a_neighbour_s_hands(container: MakeBundle) -> None:
    """One with CAP_SYS_PTRACE in a shared pid namespace can take the process's descriptors."""
    box = container("sleep", "1000")
    seen = poststart(box)
    box.create().ok()
    fd = os.open(box.place.root / box.id / "exec.fifo", os.O_RDWR | os.O_NONBLOCK)
    box.call("start", box.id, timeout=10).ok()
    assert seen.exists() and box.status() == "running"
    os.close(fd)


def test_what_a_neighbour_says_in_the_process_s_place(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.create().ok()
    pid = box.pid()
    fd = os.open(box.place.root / box.id / "exec.fifo", os.O_RDWR | os.O_NONBLOCK)
    os.kill(pid, signal.SIGSTOP)
    start = start_of(box)
    os.write(fd, b"X/hooks/startContainer\0a lie")
    os.kill(pid, signal.SIGCONT)
    assert end_of(start) == (0, "")
    os.close(fd)
    assert box.status() == "running"


def test_a_neighbour_that_has_filled_exec_fifo(container: MakeBundle) -> None:
    """It has let the process go by that: there is nothing to start any more, and no hang."""
    box = container("sleep", "1000")
    box.create().ok()
    pid = box.pid()
    os.kill(pid, signal.SIGSTOP)
    fd = os.open(box.place.root / box.id / "exec.fifo", os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(fd, bytes(4096))
    assert "internal" not in one_line(box.call("start", box.id, timeout=10), 1, "exec.fifo")
    os.kill(pid, signal.SIGCONT)
    os.close(fd)


@HOWS
def test_a_process_that_is_killed_when_it_is_to_start(how: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    seen = poststart(box)
    box.create().ok()
    pid = box.pid()
    os.kill(pid, signal.SIGSTOP)
    start = start_of(box)
    with ended(pid, how):
        os.kill(pid, signal.SIGKILL)
    has_not_begun(box, start, seen)


@HOWS
def test_a_process_that_is_killed_in_its_hooks(how: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    seen = poststart(box)
    pid, start = in_its_hook(box)
    with ended(pid, how):
        box.kill("KILL").ok()
    has_not_begun(box, start, seen)


@HOWS
def test_a_filter_that_kills_execve(how: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    seen = poststart(box)
    rules = [{"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"}]
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    box.create().ok()
    with ended(box.pid(), how):
        start = box.place.spawn("start", box.id, stderr=subprocess.PIPE)
    has_not_begun(box, start, seen)


@HOWS
def test_a_program_that_is_over_at_once(how: str, bundle: MakeBundle) -> None:
    """It has run, whatever is left to see of it."""
    for _ in range(10):
        box = bundle("sh", "-c", "exit 3")
        seen = poststart(box)
        box.create().ok()
        with ended(box.pid(), how):
            box.start().ok()
        assert seen.exists()
        box.delete("--force").ok()


KILLED_BEFORE_THE_BYTE = """
import os, select, signal, sys
from pyrunc.cli import main
from pyrunc.lifecycle import start

def let_go(container, fifo):
    pidfd = container.open_pidfd()
    os.kill(container.pid, signal.SIGKILL)
    select.select([pidfd], [], [])
    before(container, fifo)

before, start._let_go = start._let_go, let_go
sys.exit(main.main(sys.argv))
"""


def test_its_process_ends_before_it_is_let_go(bundle: MakeBundle) -> None:
    """When it has been seen to wait, and exec.fifo is open."""
    box = bundle("sleep", "1000")
    box.create().ok()
    argv = ["/usr/bin/python3", "-c", KILLED_BEFORE_THE_BYTE, "--root", str(box.place.root), "start", box.id]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)
    one_line(done, 1, "cannot start a container that has stopped")
    box.wait_for("stopped")
    box.delete().ok()


# ---- locks ----


@contextmanager
def locked(box: Bundle) -> Iterator[None]:
    """An operation on the container that does not end: us."""
    fd = os.open(box.place.root / box.id, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


# Takes a lock, and leaves it to a child.
LEAVES_A_LOCK = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
os.set_inheritable(fd, True)
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
os.dup2(0, 1)
os.dup2(0, 2)
os.execv("/bin/sleep", ["sleep", "1000"])
"""


def test_every_wait_for_a_lock_has_a_limit_and_names_the_holder(container: MakeBundle, tmp_path: Path) -> None:
    box, other = container("sleep", "1000"), container("sleep", "1000")
    running(box)
    running(other)
    mounts = tmp_path / "mounts.json"
    mounts.write_text("[]")
    commands = (
        ("update", "--pids-limit", "33", box.id),
        ("pause", box.id),
        ("resume", box.id),
        ("start", box.id),
        ("delete", box.id),
        ("mounts", "add", box.id, str(mounts)),
        ("pause", other.id),
    )
    argv = ["/usr/bin/python3", "-c", LEAVES_A_LOCK, str(box.place.root / other.id)]
    heir = int(subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)
    with locked(box):
        waiting = [box.place.spawn(*command, stderr=subprocess.PIPE) for command in commands]
        for command, process in zip(commands, waiting, strict=True):
            status, errors = end_of(process)
            who = f"process {os.getpid()} (" if box.id in command else f"process {heir} (sleep 1000)"
            assert status == 1, command
            assert f"container {command[-1] if command[0] != 'mounts' else box.id} is busy: {who}" in errors, errors
    os.kill(heir, signal.SIGKILL)


def test_delete_force_kills_before_it_waits(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    pid = running(box)
    with locked(box):
        delete = box.place.spawn("delete", "--force", box.id, stderr=subprocess.PIPE)
        wait_until(lambda: has_ended(pid), "its process ends")
        assert delete.poll() is None
    assert end_of(delete) == (0, "")
    assert not (box.place.root / box.id).exists()


def test_a_second_start_tells_the_manager_nothing(bundle: MakeBundle, tmp_path: Path) -> None:
    """It would once have taken the container's notify socket away from the first."""
    box = bundle("sleep", "1000")
    env = {"NOTIFY_SOCKET": str(tmp_path / "manager")}
    box.create(env=env).ok()
    start = box.place.spawn("start", box.id, env={**os.environ, **env}, stderr=subprocess.PIPE)
    box.wait_for("running")
    socket = box.place.root / box.id / "notify/notify.sock"
    before = socket.stat().st_ino
    one_line(box.call("start", box.id, env=env), 1, "cannot start an already running container")
    assert socket.stat().st_ino == before
    assert json.loads(box.call("state", box.id).ok().stdout)["status"] == "running"
    box.delete("--force").ok()
    end_of(start)
