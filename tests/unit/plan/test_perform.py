"""A container process that somebody has taken hold of says what it likes: no more than an error comes of it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrunc import _linux
from pyrunc.config.default import default_config
from pyrunc.errors import PyruncError
from pyrunc.plan import perform, waiting
from pyrunc.steps.context import Context
from pyrunc.steps.exec_fifo import MakeFifo
from pyrunc.steps.process.last_steps import BecomeProgram
from pyrunc.steps.seccomp.cache import Filter
from pyrunc.steps.seccomp.step import CompileFilter
from pyrunc.steps.step import CONTAINER, Meet, Plan
from tests.support.plans import HOST

UNEXPECTED = "unexpected message from the container process"
#: Longer than it takes, where nothing is awaited.
PATIENCE = 20


class Peer:
    """The two ends: what the runtime has, and a child process with the other, which does only what it is told."""

    def __init__(self) -> None:
        config: Any = default_config()
        config["process"]["terminal"] = True
        self.context = Context("c", "/bundle", config, HOST, "/nowhere")
        self.filter = CompileFilter({"defaultAction": "SCMP_ACT_ALLOW"}, None)
        self.program = BecomeProgram(config["process"], fifo=MakeFifo(), seccomp=self.filter)
        self.plan = Plan([Meet(CONTAINER, "ready"), self.program], [])
        self.context.sync, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.context.sync.settimeout(PATIENCE)
        self.children: list[int] = []
        self.context.pid = self.child()
        self.context.pidfd = os.pidfd_open(self.context.pid)

    def child(self) -> int:
        pid = os.fork()
        if not pid:
            signal.pause()
        self.children.append(pid)
        return pid

    def says(self, *messages: bytes, fds: list[int] | None = None) -> None:
        for message in messages:
            socket.send_fds(self.socket, [message], fds or [])

    def with_a_listener(self) -> None:
        flags = _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
        self.filter.filter = Filter(b"", flags, "/nobody/listens", "", False)

    def close(self) -> None:
        self.socket.close()
        if self.context.sync is not None:
            self.context.sync.close()
        for pid in self.children:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except ProcessLookupError:
                pass
        os.close(self.context.pidfd)


@pytest.fixture
def peer() -> Iterator[Peer]:
    before = len(os.listdir("/proc/self/fd"))
    made = Peer()
    yield made
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before


def fails(peer: Peer, wait: Callable[[Plan, Context], Any], words: str = UNEXPECTED) -> PyruncError:
    with pytest.raises(PyruncError) as caught:
        wait(peer.plan, peer.context)
    assert words in caught.value.message and "\n" not in caught.value.message
    return caught.value


WAITS = [waiting.await_meeting, waiting.take_over, waiting.await_waiting]


def number(value: int) -> bytes:
    return struct.pack("=I", value)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(
    "message",
    [
        b"X",
        b"X" + struct.pack("=HI", 2, 1) + b"beyond the plan",
        b"X" + struct.pack("=HI", 0xFFFF, 1),
        b"X" + struct.pack("=HI", 0, 0xFFFFFFFF),
        b"E",
        b"E" + bytes([len(_linux.STAGES)]) + number(1),
        b"E" + bytes([0]) + number(0xFFFFFFFF),
        b"E" + bytes([0]) + number(1) + b"more",
        b"L" + number(3),
        b"L",
        b"G",
        b"\0",
        b"PI",
        b"P" + number(0) + b"I",
        b"P" + number(0xFFFFFFFF) + b"I",
        b"P" + number(1) + b"I",
        b"P" + number(1) + b"?",
        b"x" * 100000,
    ],
)
def test_nonsense(peer: Peer, wait: Callable[[Plan, Context], Any], message: bytes) -> None:
    peer.says(message)
    fails(peer, wait)


def test_a_message_that_belongs_elsewhere(peer: Peer) -> None:
    peer.says(b"M")
    fails(peer, waiting.take_over)
    peer.says(b"M")
    fails(peer, waiting.await_waiting)
    peer.says(b"F")
    fails(peer, waiting.await_waiting)
    peer.says(b"P" + number(peer.child()) + b"I")
    fails(peer, waiting.await_waiting)


@pytest.mark.parametrize("wait", WAITS)
def test_descriptors_that_nobody_asked_for(peer: Peer, wait: Callable[[Plan, Context], Any]) -> None:
    """None of them stays open."""
    for message in (b"X" + struct.pack("=HI", 0, 1), b"P" + number(1) + b"I", b"F", b"L" + number(3)):
        peer.says(message, fds=[0])
        fails(peer, wait)
    for count in (2, 3, 50):
        peer.says(b"M", fds=[0] * count)
        fails(peer, wait)


def test_a_terminal_once_and_only_where_there_is_one(peer: Peer) -> None:
    master, slave = os.openpty()
    peer.says(b"M", fds=[master])
    waiting.await_meeting(peer.plan, peer.context)
    assert peer.context.console_fd >= 0
    peer.says(b"M", fds=[master])
    fails(peer, waiting.await_meeting)
    os.close(peer.context.console_fd)
    peer.context.console_fd = -1
    peer.plan.steps[1].process["terminal"] = False  # type: ignore[attr-defined]
    peer.says(b"M", fds=[master])
    fails(peer, waiting.await_meeting)
    assert peer.context.console_fd == -1
    os.close(master)
    os.close(slave)


def test_a_failure_is_one_line(peer: Peer) -> None:
    peer.says(b"X" + struct.pack("=HI", 1, 13) + "a\nb\x1b[2Jc\x9bd ü\udcff".encode("utf-8", "surrogateescape"))
    error = fails(peer, waiting.await_waiting, "a b [2Jc d ü\udcff")
    assert (error.errno, error.step) == (13, "process")


def test_the_number_of_another_process(peer: Peer) -> None:
    """Neither one of the host's, nor the first itself, nor a child of the runtime's from before."""
    older = peer.child()
    time.sleep(0.03)  # more than a clock tick, which start times are counted in
    peer.context.pid = peer.child()
    os.close(peer.context.pidfd)
    peer.context.pidfd = os.pidfd_open(peer.context.pid)
    for pid in (1, os.getpid(), os.getppid(), peer.context.pid, older):
        peer.says(b"P" + number(pid) + b"I")
        fails(peer, waiting.take_over)
    # Cloned outside, without having asked for that.
    new = peer.child()
    peer.says(b"P" + number(new) + b"O")
    fails(peer, waiting.take_over)
    peer.says(b"P" + number(new) + b"I")
    os.kill(peer.context.pid, signal.SIGKILL)
    waiting.take_over(peer.plan, peer.context)
    assert peer.context.pid == new


def test_a_listener_that_is_none(peer: Peer) -> None:
    """What the agent is sent, which may be privileged, is a seccomp listener, and one only."""
    peer.with_a_listener()
    for wait in (waiting.await_waiting, waiting.take_over):
        for message in (b"L" + number(0), b"L" + number(1000), b"L" + number(0x80000000), b"L" + number(0xFFFFFFFF)):
            peer.context.has_listener = False
            peer.says(message)
            fails(peer, wait)
        peer.context.has_listener = True
        peer.says(b"L" + number(0))
        fails(peer, wait)


def test_a_process_that_ended_while_the_runtime_worked(peer: Peer) -> None:
    """A step of the runtime's fails because the process was killed: that is the error, and nothing more is awaited."""
    step = PyruncError("a step of the runtime's")
    signal.alarm(PATIENCE)
    try:
        assert perform._cause(peer.plan, peer.context, step) is step
        os.kill(peer.context.pid, signal.SIGKILL)
        os.waitid(os.P_PID, peer.context.pid, os.WEXITED | os.WNOWAIT)
        peer.socket.close()
        assert "was killed by signal 9" in perform._cause(peer.plan, peer.context, step).message
    finally:
        signal.alarm(0)
    # Both are reaped, and closed.
    peer.children.clear()
    peer.context.pidfd = os.open("/", os.O_PATH)


def test_a_stolen_end_of_the_socket_holds_nobody_up(peer: Peer) -> None:
    """Somebody has copied the process's end out of it: when the process ends there is no end of file."""
    os.kill(peer.context.pid, signal.SIGKILL)
    waiting.await_waiting(peer.plan, peer.context)
    assert peer.context.sync is None


def test_a_stolen_end_holds_nobody_up_who_expects_a_word(peer: Peer) -> None:
    """Likewise where a second process is to take the first one's place, or the listener is to come."""
    os.kill(peer.context.pid, signal.SIGKILL)
    fails(peer, waiting.take_over, "was killed by signal 9")
    # Reaped, and closed.
    peer.children.clear()
    peer.context.pidfd = os.open("/", os.O_PATH)
