"""NOTIFY_SOCKET: what a container says of itself to the service manager (sd_notify(3)), and what it may not say.

The manager is this test. What the container says is said by a child of the test in the container's mount namespace, as
an ordinary user, since no program of the rootfs can send a datagram.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import bind_socket
from tests.support.mounts import mounts_of
from tests.support.namespaces import MAPPED, add_user_namespace
from tests.support.processes import environment_of
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle

PLACE = "/run/notify/notify.sock"


class Manager:
    """The socket of a service manager."""

    def __init__(self, path: str) -> None:
        self.env = {"NOTIFY_SOCKET": path}
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if path.startswith("@"):
            self.sock.bind("\0" + path[1:])
        else:
            bind_socket(self.sock, Path(path))
        self.sock.settimeout(PATIENCE)

    def hear(self) -> str:
        """The next message. A barrier is let through at once."""
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 4)
        for fd in fds:
            os.close(fd)
        return data.decode()

    def heard_nothing(self) -> bool:
        self.sock.settimeout(0)
        try:
            self.sock.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["file", "long", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    places = {"file": str(tmp_path / "manager"), "abstract": f"@pyrunc-test-{os.getpid()}"}
    made = Manager(places.get(request.param, str(tmp_path / ("n" * 105))))
    yield made
    made.sock.close()


def say(pid: int, *datagrams: bytes, uid: int = 1000) -> None:
    """Send datagrams from within a container's mount namespace."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) == 0:
                os.setresuid(uid, uid, uid)
                sock.connect(PLACE)
                for datagram in datagrams:
                    # With a descriptor, which must not reach the manager.
                    socket.send_fds(sock, [datagram], [2])
                status = 0
        finally:
            os._exit(status)
    os.close(namespace)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def waiting(box: Bundle, *argv: str, manager: Manager) -> subprocess.Popen[bytes]:
    """A call of the runtime that waits for the container to be ready; it has started it already."""
    call = box.place.spawn(*argv, env={**os.environ, **manager.env}, stdout=subprocess.DEVNULL)
    wait_until(lambda: box.call("state", box.id).returncode == 0 and box.status() == "running", "running")
    assert call.poll() is None
    return call


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_start_waits_until_the_container_is_ready(container: MakeBundle, manager: Manager, user: bool) -> None:
    box = container("sleep", "100")
    if user:
        add_user_namespace(box)
        subprocess.run(["chown", "-R", f"{MAPPED}:{MAPPED}", box.rootfs], check=True)
    box.create(env=manager.env).ok()
    pid = box.pid()
    assert f"NOTIFY_SOCKET={PLACE}" not in environment_of(pid)
    start = waiting(box, "start", box.id, manager=manager)
    wait_until(lambda: f"NOTIFY_SOCKET={PLACE}" in environment_of(pid), "its program runs")
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounts_of(pid)["/run/notify"].options
    # Nothing but READY=1 is passed on, and that alone.
    say(pid, b"STATUS=busy", b"READY=0", b"MAINPID=1", b"FDSTORE=1", b"XREADY=1", b"BARRIER=1", b"\xff", b"READY=12")
    say(pid, b"STOPPING=1\nREADY=1\nMAINPID=1\n")
    assert [manager.hear() for _ in range(3)] == ["READY=1\n", f"MAINPID={pid}\n", "BARRIER=1"]
    assert start.wait(PATIENCE) == 0
    assert manager.heard_nothing()


def test_start_does_not_wait_for_one_that_ends(bundle: MakeBundle, manager: Manager) -> None:
    box = bundle("true")
    box.create(env=manager.env).ok()
    box.call("start", box.id, env=manager.env).ok()
    box.wait_for("stopped")
    assert manager.heard_nothing()
    box.delete().ok()


def test_a_manager_that_goes_away(container: MakeBundle, manager: Manager) -> None:
    box = container("sleep", "100")
    box.create(env=manager.env).ok()
    start = waiting(box, "start", box.id, manager=manager)
    manager.sock.close()
    say(box.pid(), b"READY=1")
    assert start.wait(PATIENCE) == 0


def test_a_manager_that_reads_nothing(bundle: MakeBundle, tmp_path: Path) -> None:
    """The container runs, and start comes back, with a warning."""
    manager = Manager(str(tmp_path / "manager"))
    box = bundle("sleep", "100")
    box.create(env=manager.env).ok()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, pytest.raises(BlockingIOError):
        other.setblocking(False)
        while True:
            other.sendto(b"x", str(tmp_path / "manager"))
    call = box.place.spawn("start", box.id, env={**os.environ, **manager.env}, stderr=subprocess.PIPE)
    wait_until(lambda: box.status() == "running", "running")
    say(box.pid(), b"READY=1")
    errors = call.communicate(timeout=PATIENCE)[1].decode()
    assert call.returncode == 0 and "who listens there has taken nothing for 10 s" in errors
    box.delete("--force").ok()
    manager.sock.close()


def test_run_detached(container: MakeBundle, manager: Manager) -> None:
    box = container("sleep", "100")
    run = waiting(box, "run", "--detach", "--bundle", str(box.save()), box.id, manager=manager)
    say(box.pid(), b"READY=1\n")
    assert [manager.hear() for _ in range(3)] == ["READY=1\n", f"MAINPID={box.pid()}\n", "BARRIER=1"]
    assert run.wait(PATIENCE) == 0


def test_run_in_the_foreground(bundle: MakeBundle, manager: Manager) -> None:
    """The runtime stays, so it is the service's main process; signals pass before and after."""
    box = bundle("sh", "-c", "trap 'exit 5' TERM; trap : HUP; while :; do sleep 0.05; done")
    run = waiting(box, "run", "--bundle", str(box.save()), box.id, manager=manager)
    run.send_signal(1)
    say(box.pid(), b"STATUS=x", b"READY=1")
    assert [manager.hear() for _ in range(2)] == ["READY=1\n", f"MAINPID={run.pid}\n"]
    run.terminate()
    assert run.wait(PATIENCE) == 5
    assert manager.heard_nothing()


def test_without_it_there_is_no_socket(bundle: MakeBundle, manager: Manager) -> None:
    box = bundle("sh", "-c", "env; ls /run/notify")
    box.create().ok()
    assert not (box.place.root / box.id / "notify").exists()
    # Created without, started with: nothing to wait for.
    box.call("start", box.id, env=manager.env).ok()
    box.wait_for("stopped")
    assert "NOTIFY_SOCKET" not in box.output()
    assert "No such file" in box.errors()
    box.delete().ok()


# --- socket activation (sd_listen_fds(3))


def activated(box: Bundle, count: str, own: bool = True, more: str = "") -> str:
    """What `run` prints for a container that is called with LISTEN_FDS=count, for itself or for another process."""
    box.save()
    call = (
        f'exec 3</etc/hostname 4</etc/passwd 5</dev/null; export LISTEN_FDS="{count}" LISTEN_PID={"$$" if own else 1}; '
    )
    call += f'exec "$@" run {more} --bundle {box.path} {box.id}'
    argv = ["sh", "-c", call, "sh", str(box.place.runtime), "--root", str(box.place.root)]
    got = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert got.returncode == 0, got.stderr
    return got.stdout


SHOW = (
    "sh",
    "-c",
    "echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | wc -l; readlink /proc/self/fd/3; readlink /proc/self/fd/4; :",
)


def test_listen_fds(bundle: MakeBundle) -> None:
    box = bundle(*SHOW)
    # ls itself opens one more.
    assert activated(box, "2").split() == ["2", "1", "6", "/etc/hostname", "/etc/passwd"]
    # Those that are preserved come after them.
    assert activated(box, "1", more="--preserve-fds 1").split() == ["1", "1", "6", "/etc/hostname", "/etc/passwd"]
    # Meant for another process, or no number: they are nobody's here.
    for count, own in (("2", False), ("0", True), ("", True), ("-1", True), ("two", True)):
        text = activated(box, count, own).split("\n")
        assert text == ["", "4", ""]
