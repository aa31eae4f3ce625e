"""finish.c: the last steps of a container process, from closed descriptors to execve."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import seccomp

from pyrunc import _linux
from tests.support import finish

KEEP = 20  # where the harness puts finish()'s descriptors
ENOENT_RECORD = b"E" + bytes([_linux.STAGES.index("execve")]) + struct.pack("=I", errno.ENOENT)


def record(stage: str, number: int) -> bytes:
    return b"E" + bytes([_linux.STAGES.index(stage)]) + struct.pack("=I", number)


# ---- finish ----


def refuse(*names: str) -> bytes:
    """A filter that answers EPERM to these calls and allows the rest."""
    program = [(0x20, 0, 0, 0)]  # BPF_LD | BPF_W | BPF_ABS: the number
    for name in names:
        program.append((0x15, 0, 1, seccomp.resolve_syscall(seccomp.Arch(), name)))  # BPF_JMP | BPF_JEQ | BPF_K
        program.append((0x06, 0, 0, _linux.SECCOMP_RET_ERRNO | errno.EPERM))  # BPF_RET | BPF_K
    program.append((0x06, 0, 0, _linux.SECCOMP_RET_ALLOW))
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in program])


class Container:
    """A child that ends in finish(), and its creator's side of the three descriptors."""

    def __init__(
        self,
        tmp_path: Path,
        argv: list[str],
        *,
        fifo: bool = False,
        report: bool = False,
        keep: int = KEEP,
        before: Callable[[], None] | None = None,
        split: bool = False,
        program: bytes | None = None,
        flags: int = 0,
        first: bool = False,
        caps: tuple[int, int, int] | None = None,
        ambient: int = 0,
        path: str | None = None,
    ) -> None:
        self.fifo = tmp_path / "fifo"
        self.report = tmp_path / "report"
        self.out = tmp_path / "out"
        os.mkfifo(self.fifo)
        self.sync, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        prepared = finish.prepare(
            (path or argv[0]).encode(),
            [word.encode() for word in argv],
            [b"ONLY=this"],
            filter=program,
            filter_flags=flags,
            filter_first=first,
            caps=caps,
            ambient=ambient,
            keep=keep,
            fifo=fifo,
            report=report,
        )
        self.pid, self.pidfd = _linux.clone(0)
        if self.pid:
            theirs.close()
            return
        try:
            output = os.open(self.out, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(output, 1)
            pipe = os.open(self.fifo, os.O_RDWR)
            errors = os.open(self.report, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(theirs.fileno(), keep)
            os.dup2(pipe, keep + 1)  # also where finish() has no use for it
            os.dup2(errors, keep + 2)
            os.closerange(3, keep)
            os.dup2(0, keep + 7)
            if before:
                before()
            if split:
                _linux.finish_until_fifo(prepared)
                os.write(1, b"between\n")
                _linux.finish_execve(prepared)
            _linux.finish(prepared)
        finally:
            os._exit(98)

    def start(self) -> None:
        """What `start` does: one byte, then wait until nobody holds the other end."""
        fd = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, b"0")
        poll = select.poll()
        poll.register(fd, 0)
        assert poll.poll(30000) == [(fd, select.POLLERR)]
        os.close(fd)

    def message(self) -> bytes:
        """The next from the sync socket; b"" is its end."""
        return self.sync.recv(64)

    def wait(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.pidfd)
        self.sync.close()
        return status


def test_finish_executes(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/usr/bin/env"])
    assert box.message() == b""
    assert box.wait() == 0
    assert box.out.read_text() == "ONLY=this\n"


def test_finish_closes_what_is_not_asked_for(tmp_path: Path) -> None:
    """Standard descriptors and those below keep stay; all others, the three of finish() included, are gone."""

    def before() -> None:
        os.dup2(0, 3)

    box = Container(tmp_path, ["/bin/ls", "/proc/self/fd"], before=before)
    assert box.wait() == 0
    assert box.out.read_text().split() == ["0", "1", "2", "3", "4"]  # 4: the folder that ls reads


def test_finish_resets_signals(tmp_path: Path) -> None:
    def before() -> None:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMAX):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])

    box = Container(tmp_path, ["/bin/grep", "^Sig[BI]", "/proc/self/status"], before=before)
    assert box.wait() == 0
    assert {line.split()[1] for line in box.out.read_text().splitlines()} == {"0" * 16}


def test_finish_waits_at_the_fifo(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/bin/echo", "started"], fifo=True, report=True)
    assert box.message() == b""  # created
    assert os.waitpid(box.pid, os.WNOHANG) == (0, 0)
    assert box.out.read_text() == ""
    box.start()
    assert box.wait() == 0
    assert box.out.read_text() == "started\n" and box.report.read_bytes() == b""


def test_finish_in_halves(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/bin/echo", "started"], fifo=True, split=True)
    assert box.message() == b""
    box.start()
    assert box.wait() == 0
    assert box.out.read_text() == "between\nstarted\n"


def test_finish_says_that_execve_failed(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/proc/nowhere"])
    assert box.message() == ENOENT_RECORD
    assert box.wait() == 1 << 8


def test_finish_reports_after_the_fifo(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no interpreter line")
    for path, mode, number, status in (
        ("/proc/nowhere", 0, errno.ENOENT, 127),
        (str(script), 0o644, errno.EACCES, 126),
        (str(script), 0o755, errno.ENOEXEC, 126),
    ):
        script.chmod(mode)
        place = tmp_path / str(number)
        place.mkdir()
        box = Container(place, [path], fifo=True, report=True)
        assert box.message() == b""
        box.start()
        assert box.wait() == status << 8
        assert box.report.read_bytes() == record("execve", number)


def no_new_privs() -> None:
    _linux.prctl(_linux.PR_SET_NO_NEW_PRIVS, 1)


def test_finish_loads_the_filter(tmp_path: Path) -> None:
    box = Container(
        tmp_path,
        ["/bin/grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"],
        before=no_new_privs,
        program=refuse("chroot"),
    )
    assert box.message() == b""
    assert box.wait() == 0
    assert [line.split()[1] for line in box.out.read_text().splitlines()] == ["1", "2"]


@pytest.mark.parametrize("first", [False, True])
def test_a_filter_that_refuses_execve(first: bool, tmp_path: Path) -> None:
    box = Container(tmp_path, ["/bin/true"], before=no_new_privs, program=refuse("execve"), first=first)
    assert box.message() == record("execve", errno.EPERM)
    assert box.wait() == 1 << 8


def test_a_filter_that_refuses_read(tmp_path: Path) -> None:
    """The creator is told, while it still listens."""
    box = Container(tmp_path, ["/bin/true"], fifo=True, report=True, before=no_new_privs, program=refuse("read"))
    assert box.message() == record("fifo", errno.EPERM)
    assert box.wait() == 1 << 8
    assert box.report.read_bytes() == b""


def test_a_filter_that_refuses_close(tmp_path: Path) -> None:
    """The creator must not wait for an end of file that cannot come."""
    box = Container(tmp_path, ["/bin/true"], fifo=True, before=no_new_privs, program=refuse("close"))
    assert box.message() == record("fifo", errno.EPERM)
    assert box.wait() == 1 << 8


def test_a_filter_that_refuses_capset(tmp_path: Path) -> None:
    caps = _linux.capget()
    for first, message in ((True, record("capset", errno.EPERM)), (False, b"")):
        place = tmp_path / str(first)
        place.mkdir()
        box = Container(
            place, ["/bin/true"], before=no_new_privs, program=refuse("capset", "prctl"), first=first, caps=caps
        )
        assert box.message() == message
        assert box.wait() == (1 << 8 if message else 0)


def test_a_filter_that_refuses_to_exit(tmp_path: Path) -> None:
    """The process ends all the same, by exit, and where that is refused too, by a signal."""
    for names, check in (
        (("execve", "exit_group"), lambda status: status == 1 << 8),
        (("execve", "exit_group", "exit"), os.WIFSIGNALED),
    ):
        place = tmp_path / str(len(names))
        place.mkdir()
        box = Container(place, ["/bin/true"], before=no_new_privs, program=refuse(*names))
        assert box.message() == record("execve", errno.EPERM)
        assert check(box.wait())


def test_a_filter_that_is_not_one(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/bin/true"], before=no_new_privs, program=b"\xff" * 8)
    assert box.message() == record("seccomp", errno.EINVAL)
    assert box.wait() == 1 << 8


def test_the_listener_is_handed_over(tmp_path: Path) -> None:
    flags = _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
    box = Container(tmp_path, ["/bin/ls", "/proc/self/fd"], before=no_new_privs, program=refuse("chroot"), flags=flags)
    message = box.message()
    assert message[:1] == b"L" and len(message) == 5
    listener = _linux.pidfd_getfd(box.pidfd, struct.unpack("=I", message[1:])[0])
    assert os.readlink(f"/proc/self/fd/{listener}") == "anon_inode:seccomp notify"
    box.sync.send(b"0")
    assert box.message() == b""
    assert box.wait() == 0
    os.close(listener)


def test_the_listeners_taker_is_gone(tmp_path: Path) -> None:
    flags = _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
    box = Container(tmp_path, ["/bin/true"], before=no_new_privs, program=refuse("chroot"), flags=flags)
    box.message()
    box.sync.close()
    assert os.waitpid(box.pid, 0)[1] in (1 << 8, signal.SIGPIPE)
    os.close(box.pidfd)


def test_capabilities_that_cannot_be_had(tmp_path: Path) -> None:
    box = Container(tmp_path, ["/bin/true"], before=lambda: _linux.capset(0, 0, 0), caps=(1, 1, 0))
    assert box.message() == record("capset", errno.EPERM)
    assert box.wait() == 1 << 8


def test_ambient_capabilities(tmp_path: Path) -> None:
    """What is in the inheritable and permitted sets is raised, the rest is left out."""
    if os.geteuid() != 0:
        pytest.skip("no root: there is no capability to keep")
    bit = 1 << _linux.CAPS["CAP_CHOWN"]
    other = 1 << _linux.CAPS["CAP_KILL"]
    box = Container(tmp_path, ["/bin/grep", "^CapAmb", "/proc/self/status"], caps=(bit, bit, bit), ambient=bit | other)
    assert box.message() == b""
    assert box.wait() == 0
    assert int(box.out.read_text().split()[1], 16) == bit


def test_prepare_refuses_nonsense() -> None:
    def prepare(
        path: bytes = b"/x", program: bytes | None = None, keep: int = 3, argv: list[bytes] | None = None
    ) -> None:
        finish.prepare(
            path,
            argv or [b"x"],
            [],
            filter=program,
            keep=keep,
        )

    prepare()
    for how in (
        {"path": b"/x\0y"},
        {"program": b""},
        {"program": b"1234567"},
        {"program": bytes(8 << 16)},
        {"keep": 2},
        {"argv": [b"a\0"]},
    ):
        with pytest.raises(ValueError):
            prepare(**how)
    with pytest.raises(TypeError):
        prepare(argv=["text"])  # type: ignore[list-item]
    with pytest.raises(ValueError):
        _linux.finish(object())  # type: ignore[arg-type]
