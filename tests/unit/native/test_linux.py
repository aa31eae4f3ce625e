"""pyrunc._linux: what its calls do to this process and its children; none of it needs root."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc import _linux
from pyrunc.linux.tty import keep_newlines
from tests.support import TOP


def in_child(body: Callable[[], int], flags: int = 0) -> int:
    """Run body in a child of _linux.clone; gives its wait status."""
    pid, pidfd = _linux.clone(flags)
    if pid == 0:
        status = 99
        try:
            status = body()
        finally:
            os._exit(status)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1]


# ---- errors and arguments ----


def test_failure_names_the_call() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        _linux.open_tree(_linux.AT_FDCWD, "/proc/nowhere/at/all", _linux.OPEN_TREE_CLOEXEC)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "open_tree")


@pytest.mark.parametrize("path", ["a\0b", b"a\0b"])
def test_nul_in_a_path(path: str | bytes) -> None:
    with pytest.raises(ValueError):
        _linux.openat2(_linux.AT_FDCWD, path, os.O_RDONLY)


def test_what_an_optional_path_gave_is_taken_back() -> None:
    """None for a path, and a later argument that is wrong: an error, where a NULL was dereferenced."""
    text = """
from pyrunc import _linux
for call in (
    lambda: _linux.mount(None, "/proc/nowhere", None, 0, 5),
    lambda: _linux.mount("a", "/proc/nowhere", "b", 0, "c\\0"),
    lambda: _linux.mount("a", "/proc/nowhere", None, -1, None),
    lambda: _linux.fsconfig(-1, 0, None, None, "x"),
    lambda: _linux.fsconfig(-1, 0, "key", None, "x"),
):
    try:
        call()
    except (TypeError, ValueError, OverflowError):
        pass
    else:
        raise SystemExit("accepted")
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


#: Calls with one number that its argument cannot hold, all of which would fail in the kernel if they came to it.
TOO_WIDE: list[tuple[str, tuple[object, ...]]] = [
    *[("open_tree", (-1, "/proc/nowhere", flags)) for flags in (2**32, -1, 2**64)],
    *[("fsopen", ("nothing", flags)) for flags in (2**32, -1)],
    *[("umount2", ("/proc/nowhere", flags)) for flags in (2**32, -1)],
    *[("move_mount", (-1, "/proc/nowhere", -1, "/proc/nowhere", flags)) for flags in (2**32, -1)],
    *[("fsconfig", (-1, command, None, None)) for command in (2**32, -1)],
    *[("mount_setattr", (-1, "/proc/nowhere", 0, number, 0)) for number in (2**64, -1)],
    *[("mount", (None, "/proc/nowhere", None, flags, None)) for flags in (2**64, -1)],
    *[("openat2", (-1, "/proc/nowhere", flags)) for flags in (2**64, -1)],
    *[("close_range", (first, 2**32 - 1, 1 << 31)) for first in (2**32, -1)],
    *[("fsmount", (-1, flags, 0)) for flags in (2**32, -1)],
    *[("pidfd_open", (pid, 1 << 31)) for pid in (2**32 + 1, -(2**31) - 1)],
    *[("pidfd_getfd", (-1, fd)) for fd in (2**32, -(2**31) - 1)],
    *[("pidfd_send_signal", (-1, number)) for number in (2**32, 2**64)],
    *[("setns", (2**32 - 1, 0)), ("setns", (-1, 2**31))],
    *[("unshare", (flags,)) for flags in (2**64, -(2**63) - 1)],
    *[("prctl", (option,)) for option in (2**32 + 3, 2**64)],
    *[("keyctl", (999, serial)) for serial in (2**64, -(2**63) - 1)],
    *[("madvise", (start, 0, -1)) for start in (2**64,)],
    *[("personality", (number,)) for number in (2**33 - 1, -1)],
    *[("ioprio_set", (99, 0, value)) for value in (2**32, -(2**31) - 1)],
    *[("clone", (flags,)) for flags in (2**64, -1)],
    *[("capset", (1 << 64, 0, 0)), ("capset", (-1, 0, 0))],
    *[("prlimit", (0, 999, limits)) for limits in ((2**64, 0), (0, -1))],
    *[("sched_setattr", (0, policy, 0, 0, 0, 0, 0, 0)) for policy in (2**32, -1)],
    *[("set_mempolicy", (-1, None, most)) for most in (2**64, -1)],
    *[("signalfd", (number,)) for number in (2**32 + 2, 2**64)],
]


@pytest.mark.parametrize(("name", "arguments"), TOO_WIDE, ids=str)
def test_a_number_that_does_not_fit_is_refused(name: str, arguments: tuple[object, ...]) -> None:
    """Where its low bits were taken, 2**32 + 1 named process 1."""
    with pytest.raises(OverflowError):
        getattr(_linux, name)(*arguments)


def test_no_number_is_masked() -> None:
    """PyArg's own formats for unsigned numbers take the low bits of what does not fit: none is used in our C."""
    formats = []
    for path in sorted((TOP / "native").glob("*.c")):
        formats += re.findall(r'(?:PARSE|PARSE_KW|PyArg_Parse\w+)\((?:[^"()]*, )?"([^":]*)', path.read_text())
    assert len(formats) > 20
    assert not [one for one in formats if set(one) & set("bBhHIkK")]


def test_the_wrong_types_are_refused() -> None:
    for call in (
        lambda: _linux.prlimit(0, 0, [1, 2]),  # type: ignore[arg-type]
        lambda: _linux.prctl("1"),  # type: ignore[arg-type]
        lambda: _linux.fsopen("nothing", 1.0),  # type: ignore[arg-type]
        lambda: _linux.signalfd("2"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()


def test_stub_file_is_complete() -> None:
    """Everything in the module is in _linux.pyi, and the other way around."""
    import ast

    tree = ast.parse(Path(_linux.__file__).with_name("_linux.pyi").read_text())
    said = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    said |= {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    said.discard("_Path")
    assert said == {name for name in dir(_linux) if not name.startswith("__")}


def test_constants_agree_with_pythons() -> None:
    import resource
    import termios

    assert _linux.RLIMITS["RLIMIT_NOFILE"] == resource.RLIMIT_NOFILE
    assert _linux.TIOCSCTTY == termios.TIOCSCTTY
    assert _linux.O_PATH == os.O_PATH
    assert _linux.F_GET_SEALS == fcntl.F_GET_SEALS
    assert _linux.RLIM_INFINITY == 2**64 - 1
    assert _linux.CAPS["CAP_CHOWN"] == 0 and sorted(_linux.CAPS.values()) == list(range(len(_linux.CAPS)))


# ---- paths ----


def test_openat2_stays_beneath(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").write_text("secret")
    (tmp_path / "in/link").symlink_to("../out")
    top = os.open(tmp_path / "in", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            _linux.openat2(top, "link", os.O_RDONLY | os.O_CLOEXEC, resolve=_linux.RESOLVE_BENEATH)
        assert caught.value.errno == errno.EXDEV
        with pytest.raises(FileNotFoundError):  # ".." of the root is the root
            _linux.openat2(top, "link", os.O_RDONLY | os.O_CLOEXEC, resolve=_linux.RESOLVE_IN_ROOT)
        fd = _linux.openat2(top, b"new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode=0o600)
        os.close(fd)
        assert (tmp_path / "in/new").stat().st_mode & 0o777 == 0o600
    finally:
        os.close(top)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.close(_linux.openat2(_linux.AT_FDCWD, os.fsdecode(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode=0o600))
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe"]


def test_fstatfs_knows_procfs() -> None:
    fd = os.open("/proc", os.O_RDONLY)
    assert _linux.fstatfs(fd)[0] == _linux.PROC_SUPER_MAGIC
    os.close(fd)


# ---- processes ----


def test_clone_goes_on_in_python() -> None:
    assert in_child(lambda: len([str(i) for i in range(42)])) == 42 << 8


def test_clone_gives_a_pidfd_that_is_closed_on_exec() -> None:
    pid, pidfd = _linux.clone(0)
    if pid == 0:
        signal.pause()
        os._exit(1)
    assert not os.get_inheritable(pidfd)
    _linux.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [])[0] == [pidfd]
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.close(pidfd)


def test_libc_knows_the_childs_thread() -> None:
    """raise(3) sends to the thread number that libc keeps: the child's, not ours."""

    def body() -> int:
        signal.raise_signal(signal.SIGKILL)
        return 0

    assert in_child(body) == signal.SIGKILL


def test_clone_parent() -> None:
    """A child made with CLONE_PARENT is its creator's sibling."""
    reader, writer = os.pipe()

    def body() -> int:
        pid, _ = _linux.clone(_linux.CLONE_PARENT)
        if pid == 0:
            os._exit(7)
        os.write(writer, struct.pack("i", pid))
        return 0

    assert in_child(body) == 0
    (pid,) = struct.unpack("i", os.read(reader, 4))
    assert os.waitpid(pid, 0) == (pid, 7 << 8)
    os.close(reader)
    os.close(writer)


def test_new_namespaces() -> None:
    """In a user namespace of its own a process may name its own host, and ours keeps its name."""
    before = os.uname().nodename

    def body() -> int:
        try:
            _linux.sethostname("inside")
            _linux.setdomainname("domain")
        except PermissionError:
            return 77
        return 0 if os.uname().nodename == "inside" and os.getpid() == 1 else 1

    status = in_child(body, _linux.CLONE_NEWUSER | _linux.CLONE_NEWUTS | _linux.CLONE_NEWPID)
    if os.waitstatus_to_exitcode(status) == 77:
        pytest.skip("sethostname(2) is forbidden here, by an engine's filter")
    assert status == 0
    assert os.uname().nodename == before


def test_mounts_by_descriptor() -> None:
    """A tmpfs made by fsopen, fsconfig and fsmount, with a copy of a host's tree moved into it."""
    uid, gid = os.getuid(), os.getgid()

    def body() -> int:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        fs = _linux.fsopen("tmpfs", _linux.FSOPEN_CLOEXEC)
        _linux.fsconfig(fs, _linux.FSCONFIG_SET_STRING, "size", "64k")
        _linux.fsconfig(fs, _linux.FSCONFIG_CMD_CREATE, None, None)
        top = _linux.fsmount(fs, _linux.FSMOUNT_CLOEXEC, _linux.MOUNT_ATTR_NODEV)
        assert _linux.fstatfs(top)[0] == _linux.TMPFS_MAGIC
        os.mkdir("etc", dir_fd=top)
        copy = _linux.open_tree(
            _linux.AT_FDCWD, "/etc", _linux.OPEN_TREE_CLONE | _linux.OPEN_TREE_CLOEXEC | _linux.AT_RECURSIVE
        )
        _linux.mount_setattr(copy, "", _linux.AT_EMPTY_PATH, 0, 0, propagation=_linux.MS_PRIVATE)
        _linux.mount_setattr(copy, "", _linux.AT_EMPTY_PATH, _linux.MOUNT_ATTR_RDONLY, 0)
        _linux.move_mount(top, "", _linux.AT_FDCWD, "/tmp", _linux.MOVE_MOUNT_F_EMPTY_PATH)
        _linux.move_mount(copy, "", top, "etc", _linux.MOVE_MOUNT_F_EMPTY_PATH)
        try:
            os.mkdir("/tmp/etc/x")
        except OSError as e:
            assert e.errno == errno.EROFS
        os.chdir("/tmp")
        _linux.mount(None, "/tmp", None, _linux.MS_PRIVATE | _linux.MS_REC, None)
        _linux.pivot_root(".", ".")
        _linux.umount2(".", _linux.MNT_DETACH)
        return 0 if os.listdir("/") == ["etc"] else 1

    assert in_child(body, _linux.CLONE_NEWUSER | _linux.CLONE_NEWNS) == 0


def test_capabilities_are_64_bits() -> None:
    def body() -> int:
        _, permitted, inheritable = _linux.capget()
        _linux.capset(0, permitted, inheritable)
        return 0 if _linux.capget() == (0, permitted, inheritable) else 1

    assert in_child(body, _linux.CLONE_NEWUSER) == 0


def test_prlimit() -> None:
    soft, hard = _linux.prlimit(0, _linux.RLIMITS["RLIMIT_CORE"], None)

    def body() -> int:
        before = _linux.prlimit(0, _linux.RLIMITS["RLIMIT_CORE"], (0, hard))
        now = _linux.prlimit(0, _linux.RLIMITS["RLIMIT_CORE"], None)
        return 0 if (before, now) == ((soft, hard), (0, hard)) else 1

    assert in_child(body) == 0


def test_prctl() -> None:
    def body() -> int:
        dumpable = _linux.prctl(_linux.PR_GET_DUMPABLE)
        _linux.prctl(_linux.PR_SET_DUMPABLE, 0)
        after = _linux.prctl(_linux.PR_GET_DUMPABLE)
        return 0 if (dumpable, after) == (1, 0) else 1

    assert in_child(body) == 0
    with pytest.raises(OSError):
        _linux.prctl(-1)
    with pytest.raises(TypeError):
        _linux.prctl()  # type: ignore[call-arg]


def test_pidfd_getfd() -> None:
    left, right = socket.socketpair()
    pid, pidfd = _linux.clone(0)
    if pid == 0:
        left.recv(1)
        os._exit(0)
    fd = _linux.pidfd_getfd(pidfd, left.fileno())
    assert os.path.samestat(os.fstat(fd), os.fstat(left.fileno()))
    assert not os.get_inheritable(fd)
    right.send(b"x")
    os.waitpid(pid, 0)
    for number in (fd, pidfd):
        os.close(number)
    left.close()
    right.close()


def test_session_keyring() -> None:
    def body() -> int:
        try:
            serial = _linux.keyctl_join_session_keyring("pyrunc-test")
        except OSError as e:
            return 0 if e.errno in (errno.ENOSYS, errno.EPERM, errno.EDQUOT) else 1
        _linux.keyctl(_linux.KEYCTL_SETPERM, serial, 0x3F3F0000)
        kind, _, _, permissions, name = _linux.keyctl_describe(serial).split(";")
        return 0 if (kind, int(permissions, 16), name) == ("keyring", 0x3F3F0000, "pyrunc-test") else 1

    assert in_child(body) == 0


def test_scheduling() -> None:
    def body() -> int:
        _linux.sched_setattr(0, _linux.SCHED_BATCH, 5, 0, 0, 0, 0, 0)
        _linux.ioprio_set(_linux.IOPRIO_WHO_PROCESS, 0, _linux.IOPRIO_CLASS_IDLE << _linux.IOPRIO_CLASS_SHIFT)
        good = os.sched_getscheduler(0) == os.SCHED_BATCH and os.getpriority(os.PRIO_PROCESS, 0) >= 5
        return 0 if good else 1

    assert in_child(body) == 0


def test_signalfd() -> None:
    def body() -> int:
        fd = _linux.signalfd(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        (number,) = struct.unpack_from("I", os.read(fd, 128))
        _linux.reset_signals()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return 0 if number == signal.SIGUSR1 and not blocked and not os.get_inheritable(fd) else 1

    assert in_child(body) == 0


def test_terminal() -> None:
    import termios

    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    keep_newlines(slave)
    assert not termios.tcgetattr(slave)[1] & termios.ONLCR
    mode = _linux.tty_raw(slave)
    assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
    _linux.tty_restore(slave, mode)
    assert termios.tcgetattr(slave)[3] == before[3]
    with pytest.raises(ValueError):
        _linux.tty_restore(slave, b"short")
    os.close(master)
    os.close(slave)


def test_not_sealed_here() -> None:
    assert _linux.sealed() is False


def test_no_memory_is_lost() -> None:
    """Every path through the argument parsing gives back what it took."""
    import gc

    def calls() -> None:
        for call in (
            lambda: _linux.open_tree(-1, "/proc/nowhere", 0),
            lambda: _linux.move_mount(-1, "/proc/nowhere", -1, "b\0", 0),
            lambda: _linux.mount("a", "/proc/nowhere", "b", 0, "c\0"),
            lambda: _linux.fsconfig(-1, _linux.FSCONFIG_SET_BINARY, "key", "text"),
            lambda: _linux.fsconfig(-1, _linux.FSCONFIG_SET_STRING, "key", "a\0"),
            lambda: _linux.bpf(0, bytes(300)),
        ):
            with pytest.raises((OSError, ValueError, TypeError)):
                call()

    calls()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(100):
        calls()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100


def test_mount_id() -> None:
    """The same for all of a mount, another for another mount; unique from Linux 6.8 on."""
    fds = [os.open(path, os.O_PATH) for path in ("/proc", "/proc/self/status", "/", "/usr")]
    ids = [_linux.mount_id(fd) for fd in fds]
    for fd in fds:
        os.close(fd)
    assert ids[0] == ids[1] != ids[2]
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    assert {unique for _, unique in ids} == {release >= (6, 8)}


def test_how_a_process_is_scheduled() -> None:
    def body() -> int:
        _linux.sched_setattr(0, _linux.SCHED_BATCH, 7, 0, 0, 0, 0, _linux.SCHED_FLAG_RESET_ON_FORK)
        policy, nice, priority, *_, flags = _linux.sched_getattr(0)
        wanted = (_linux.SCHED_BATCH, 7, 0, _linux.SCHED_FLAG_RESET_ON_FORK)
        value = _linux.IOPRIO_CLASS_IDLE << _linux.IOPRIO_CLASS_SHIFT
        _linux.ioprio_set(_linux.IOPRIO_WHO_PROCESS, 0, value)
        same = _linux.ioprio_get(_linux.IOPRIO_WHO_PROCESS, 0) >> _linux.IOPRIO_CLASS_SHIFT == _linux.IOPRIO_CLASS_IDLE
        return int((policy, nice, priority, flags) != wanted or not same)

    assert in_child(body) == 0


def test_tracing_a_child() -> None:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()
    _linux.ptrace(_linux.PTRACE_SEIZE, child)
    _linux.ptrace(_linux.PTRACE_INTERRUPT, child)
    assert os.WIFSTOPPED(os.waitpid(child, 0)[1])
    _linux.ptrace(_linux.PTRACE_DETACH, child)
    # Let go with another signal than the one it has stopped by, as data; a buffer is for an answer.
    _linux.ptrace(_linux.PTRACE_SEIZE, child)
    os.kill(child, signal.SIGUSR1)
    assert os.WSTOPSIG(os.waitpid(child, 0)[1]) == signal.SIGUSR1
    _linux.ptrace(_linux.PTRACE_DETACH, child, 0, signal.SIGKILL)
    assert os.waitpid(child, 0) == (child, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        _linux.ptrace(_linux.PTRACE_SECCOMP_GET_FILTER, child, 0, 0, bytearray(8))
