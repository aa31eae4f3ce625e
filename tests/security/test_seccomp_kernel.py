"""Compiled profiles in the kernel: read back and compared with what runc loads, and judged by making the calls.

The profiles in tests/data/profiles are linux.seccomp of the config.json that podman 4.3 and docker 20.10 gave their
runtime on x86-64, with their default capabilities and with all.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import shutil
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import seccomp as bindings

from pyrunc import _linux
from pyrunc.steps.seccomp import cache
from pyrunc.steps.seccomp.step import compile_filter
from tests.support import TOP, bpf, finish
from tests.support.processes import become_subreaper
from tests.support.rootfs import BUSYBOX
from tests.support.workplace import Workplace

PROFILES = TOP / "tests/data/profiles"
DEFAULTS = ("podman", "podman-all-caps", "docker", "docker-all-caps")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="no root: filters are loaded without no_new_privs"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="not x86-64: profiles and numbers are x86-64's"),
]

X86, X32 = int(bindings.Arch.X86), int(bindings.Arch.X32)
# Each way to make a call: the kernel's architecture, libseccomp's, and the bit in the number.
ABIS = {
    "x86_64": (bpf.X86_64, int(bindings.Arch.X86_64), 0),
    "i386": (bpf.I386, X86, 0),
    "x32": (bpf.X86_64, X32, bpf.X32_BIT),
}


def default_profile(name: str) -> Any:
    found: dict[str, Any] = json.loads((PROFILES / f"{name}.json").read_text())
    return found


def number(name: str, abi: str = "x86_64") -> int:
    found: int = bindings.resolve_syscall(ABIS[abi][1], name)
    assert found >= 0
    return found


def load(program: bytes, flags: int) -> int:
    """seccomp(2), SECCOMP_SET_MODE_FILTER; with NEW_LISTENER the listener. Raises OSError."""
    filter_ = (ctypes.c_char * len(program)).from_buffer_copy(program)
    fprog = struct.pack("HxxxxxxP", len(program) // cache.INSTRUCTION, ctypes.addressof(filter_))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number("seccomp")), ctypes.c_long(1), ctypes.c_long(flags), fprog)
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(result)


# Programs of processes, from the kernel

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
# linux/ptrace.h
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_SECCOMP_GET_FILTER = 17, 0x4206, 0x4207, 0x420C


def _ptrace(request: int, pid: int, address: int | None, data: Any) -> int:
    result: int = libc.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def filter_of(pid: int) -> list[bpf.Instruction]:
    """The filter that a process loaded last (ptrace(2), PTRACE_SECCOMP_GET_FILTER)."""
    _ptrace(PTRACE_SEIZE, pid, None, None)
    try:
        _ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, 0x40000000)  # __WALL
        length = _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, None)
        buffer = ctypes.create_string_buffer(length * 8)
        assert _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, buffer) == length
    finally:
        _ptrace(PTRACE_DETACH, pid, None, None)
    return bpf.decode(buffer.raw)


def in_child(work: Callable[[int], None]) -> tuple[int, bytes]:
    """Run work(descriptor) in a forked child; the child's wait status and what it wrote to the descriptor.

    work runs under filters: it makes calls of its own and little else. _exit is the child's last.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            work(writer)
            os._exit(0)
        finally:
            os._exit(99)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    return os.waitpid(pid, 0)[1], data


@contextmanager
def process_under(found: cache.Filter) -> Iterator[int]:
    """A process that has loaded the filter and sleeps."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            load(found.program, found.flags)
            os.write(writer, b".")
            while True:
                select.select([], [], [])
        finally:
            os._exit(99)
    try:
        os.close(writer)
        assert os.read(reader, 1) == b"."
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# The same verdicts as runc's


@pytest.fixture(scope="module")
def runc() -> Iterator[Workplace]:
    for candidate in (os.environ.get("RUNC"), os.path.expanduser("~/go/bin/runc"), shutil.which("runc")):
        if candidate and os.access(candidate, os.X_OK):
            break
    else:
        pytest.skip("no runc to compare with")
    if not BUSYBOX.exists():
        pytest.skip("no busybox-static")
    become_subreaper()
    place = Workplace(Path(candidate))
    yield place
    left = place.check()
    place.close()
    assert not left


def filter_of_runc(place: Workplace, profile: Any) -> list[bpf.Instruction]:
    box = place.bundle("sleep", "1000")
    box.config["linux"]["seccomp"] = profile
    box.config["process"]["noNewPrivileges"] = False
    box.run("--detach").ok()
    try:
        return filter_of(box.pid())
    finally:
        box.delete("--force").ok()


def interesting_calls(profile: Any) -> Iterator[tuple[int, int, list[int]]]:
    """Every number of the three ABIS and some beyond; for calls with conditions also the values around theirs."""
    conditions: dict[str, list[dict[str, Any]]] = {}
    for rule in profile.get("syscalls", ()):
        for name in rule["names"]:
            conditions.setdefault(name, []).extend(rule.get("args") or ())
    for arch, token, bit in ABIS.values():
        special: dict[int, list[dict[str, Any]]] = {}
        for name, some in conditions.items():
            nr = bindings.resolve_syscall(token, name)
            if some and nr >= 0:
                special.setdefault(nr, []).extend(some)
        for nr in range(700):
            yield arch, nr | bit, [0] * 6
            yield arch, nr | bit, [2**64 - 1] * 6
            for condition in special.get(nr | bit, ()):
                for value in around(condition):
                    args = [0] * 6
                    args[condition["index"]] = value
                    yield arch, nr | bit, args
                    args = [2**64 - 1] * 6
                    args[condition["index"]] = value
                    yield arch, nr | bit, args
        # i386's multiplexers
        for nr in (102, 117):
            for first in range(25):
                yield arch, nr | bit, [first, 0, 0, 0, 0, 0]
        for nr in (701, 1023, 2**16, 2**29, 2**30 - 1, 2**31 - 1, 2**31, 2**31 + 5, 2**32 - 2, 2**32 - 1):
            yield arch, nr | bit, [0] * 6
    for nr in (0, 1, 1000):
        yield 0xC00000B7, nr, [0] * 6  # aarch64's: a wrong architecture


def around(condition: dict[str, Any]) -> set[int]:
    values = set()
    for value in (condition["value"], condition.get("valueTwo", 0)):
        values |= {value, value + 1, value - 1, value | 1 << 32, value ^ 0xFFFFFFFF, 0}
        values |= {value ^ 1 << bit for bit in range(0, 64, 3)}
    return {value % 2**64 for value in values}


def compare(ours: list[bpf.Instruction], theirs: list[bpf.Instruction], profile: Any) -> set[str]:
    """Fail at the first calls that the two judge differently; all verdicts that were met."""
    different, met = [], set()
    for arch, nr, args in interesting_calls(profile):
        mine, his = (bpf.verdict(code, arch, nr, args) for code in (ours, theirs))
        met.add(bpf.show(mine))
        if mine != his:
            different.append(f"{arch:#x} {nr:#x} {[hex(arg) for arg in args]}: {bpf.show(mine)}, runc {bpf.show(his)}")
    assert not different[:10]
    return met


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_profiles_as_runc(name: str, runc: Workplace) -> None:
    profile = default_profile(name)
    with process_under(compile_filter(profile)) as pid:
        ours = filter_of(pid)
    met = compare(ours, filter_of_runc(runc, profile), profile)
    assert {"allow", "errno 1", "errno 38"} <= met


def _rule(names: str, action: str = "SCMP_ACT_ALLOW", *args: tuple[int, str, int, int], **more: int) -> dict[str, Any]:
    made: dict[str, Any] = {"names": names.split(), "action": action, **more}
    if args:
        made["args"] = [
            {"index": index, "op": "SCMP_CMP_" + op, "value": value, "valueTwo": two} for index, op, value, two in args
        ]
    return made


def _variants() -> dict[str, Any]:
    """Profiles under which runc and sleep(1) can live, and which ask for what the default profiles do not."""
    everyday = default_profile("docker")
    three = everyday["architectures"]
    rules = everyday["syscalls"]

    def like(default: str, *more: dict[str, Any], **top: Any) -> dict[str, Any]:
        return {"defaultAction": default, "architectures": three, "syscalls": [*rules, *more], **top}

    def open_(*more: dict[str, Any], **top: Any) -> dict[str, Any]:
        return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": three, "syscalls": list(more), **top}

    operators = [
        _rule("acct", "SCMP_ACT_ERRNO", (0, "NE", 5, 0), errnoRet=40),
        _rule("swapon", "SCMP_ACT_ERRNO", (1, "LT", 1 << 33, 0), errnoRet=41),
        _rule("swapoff", "SCMP_ACT_ERRNO", (2, "LE", 1 << 33, 0), errnoRet=42),
        _rule("syslog", "SCMP_ACT_ERRNO", (3, "GE", 1 << 33, 0), errnoRet=43),
        _rule("vhangup", "SCMP_ACT_ERRNO", (4, "GT", 1 << 33, 0), errnoRet=44),
        _rule("quotactl", "SCMP_ACT_ERRNO", (5, "MASKED_EQ", 0xFF00FF0000FF, 0x110022000033), errnoRet=45),
        _rule("reboot", "SCMP_ACT_ERRNO", (0, "EQ", 7, 0), (1, "GT", 8, 0), (2, "LE", 2**64 - 1, 0), errnoRet=46),
        _rule("pivot_root", "SCMP_ACT_ERRNO", (0, "EQ", 7, 0), (0, "EQ", 9, 0), (1, "EQ", 3, 0), errnoRet=47),
    ]
    return {
        "allow": open_(),
        "deny some": open_(_rule("acct reboot clone3 futex_waitv", "SCMP_ACT_ERRNO", errnoRet=2)),
        "operators": open_(*operators),
        "operators in a tree": open_(*operators, *[_rule(name, "SCMP_ACT_TRAP") for name in _rare()]),
        "kill": like("SCMP_ACT_KILL"),
        "kill process": like("SCMP_ACT_KILL_PROCESS", _rule("acct", "SCMP_ACT_KILL_THREAD")),
        "trap": like("SCMP_ACT_TRAP", _rule("acct", "SCMP_ACT_LOG")),
        "trace": like("SCMP_ACT_TRACE", _rule("acct", "SCMP_ACT_TRACE", errnoRet=300), defaultErrnoRet=200),
        "log": like("SCMP_ACT_LOG", _rule("acct", "SCMP_ACT_ERRNO")),
        "errno of the default": like("SCMP_ACT_ERRNO", _rule("acct", "SCMP_ACT_ERRNO", errnoRet=3), defaultErrnoRet=22),
        "one architecture": like("SCMP_ACT_ERRNO") | {"architectures": ["SCMP_ARCH_X86_64"]},
        "no architecture": {key: value for key, value in like("SCMP_ACT_ERRNO").items() if key != "architectures"},
        "another architecture": like("SCMP_ACT_ERRNO") | {"architectures": ["SCMP_ARCH_X86"]},
        "x32 too": like("SCMP_ACT_ERRNO") | {"architectures": ["SCMP_ARCH_X32"]},
        "arm too": like("SCMP_ACT_ERRNO") | {"architectures": [*three, "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64"]},
        "unknown names": like("SCMP_ACT_ERRNO", _rule("nonesuch acct other", "SCMP_ACT_ALLOW")),
        "of i386 alone": like("SCMP_ACT_ERRNO", _rule("socketcall ipc stime vm86", "SCMP_ACT_ERRNO", errnoRet=9)),
    }


def _rare() -> list[str]:
    names = "add_key bpf delete_module finit_module init_module iopl ioperm kcmp kexec_file_load kexec_load keyctl "
    names += "lookup_dcookie mbind migrate_pages move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree "
    names += "perf_event_open process_vm_readv process_vm_writev request_key setdomainname sethostname settimeofday "
    names += "uselib userfaultfd ustat sysfs get_kernel_syms query_module create_module _sysctl"
    return names.split()


VARIANTS = _variants()


@pytest.mark.parametrize("name", VARIANTS)
def test_other_profiles_as_runc(name: str, runc: Workplace) -> None:
    profile = VARIANTS[name]
    compare(bpf.decode(compile_filter(profile).program), filter_of_runc(runc, profile), profile)


# What the kernel makes of it


def make_call(abi: str, name_or_number: str | int, *args: int) -> str:
    """Make a call and say what came of it: "errno N" or "ok"."""
    if abi == "i386":
        result = _i386(name_or_number, *args)
        return f"errno {-result}" if -4096 < result < 0 else "ok"
    nr = name_or_number if isinstance(name_or_number, int) else number(name_or_number, abi)
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(arg) for arg in args])
    return f"errno {ctypes.get_errno()}" if result == -1 else "ok"


def _i386(name_or_number: str | int, *args: int) -> int:
    nr = name_or_number if isinstance(name_or_number, int) else number(name_or_number, "i386")
    result: int = _gate(nr, *(*args, 0, 0)[:2])
    return result


# push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret
_code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
_code.write(bytes.fromhex("53 89f8 89f3 89d1 cd80 5b c3"))
_gate = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)(
    ctypes.addressof(ctypes.c_char.from_buffer(_code))
)

# Harmless whatever the verdict: those that are allowed fail for their arguments, or only ask.
CALLS: list[tuple[str, str | int, tuple[int, ...], dict[str, str]]] = [
    # ABI, call, arguments, what it answers under podman's and docker's profile with the usual capabilities
    ("x86_64", "getpid", (), {"podman": "ok", "docker": "ok"}),
    ("x86_64", "personality", (0xFFFFFFFF,), {"podman": "ok", "docker": "ok"}),
    ("x86_64", "personality", (0x1234,), {"podman": "errno 38", "docker": "errno 1"}),
    ("x86_64", "kexec_load", (0, 2**20, 0, 0), {"podman": "errno 1", "docker": "errno 1"}),
    ("x86_64", "bpf", (2**31 - 1, 0, 0), {"podman": "errno 1", "docker": "errno 1"}),
    ("x86_64", "open_by_handle_at", (-1, 0, 0), {"podman": "errno 1", "docker": "errno 1"}),
    ("x86_64", "clone", (0x10000000,), {"docker": "errno 1"}),  # CLONE_NEWUSER
    ("x86_64", "clone3", (0, 0), {"docker": "errno 38"}),
    ("x86_64", "unshare", (0x10000000,), {"docker": "errno 1"}),
    ("x86_64", "mount", (0, 0, 0, 0, 0), {"docker": "errno 1"}),
    ("x86_64", "futex_waitv", (0, 2**20, 0, 0, 0), {"docker": "errno 22"}),  # allowed; the arguments are wrong
    ("x86_64", 500, (), {"podman": "errno 38", "docker": "errno 38"}),
    ("x86_64", 2**31 + 5, (), {"podman": "errno 38", "docker": "errno 38"}),
    ("i386", "getpid", (), {"podman": "ok", "docker": "ok"}),
    ("i386", "kexec_load", (), {"podman": "errno 1", "docker": "errno 1"}),
    ("i386", "init_module", (), {"podman": "errno 1", "docker": "errno 1"}),
    ("i386", 500, (), {"podman": "errno 38", "docker": "errno 38"}),
    ("x32", "kexec_load", (), {"podman": "errno 1", "docker": "errno 1"}),
    ("x32", "bpf", (), {"podman": "errno 1", "docker": "errno 1"}),
    ("x32", 600 | bpf.X32_BIT, (), {"podman": "errno 38", "docker": "errno 38"}),
]


@pytest.mark.parametrize("profile", ["podman", "docker"])
def test_the_kernel_answers_as_the_profile_says(profile: str) -> None:
    found = compile_filter(default_profile(profile))
    code = bpf.decode(found.program)
    calls = [(abi, call, args, answers[profile]) for abi, call, args, answers in CALLS if profile in answers]
    assert len(calls) >= 10

    def work(out: int) -> None:
        load(found.program, found.flags)
        for abi, call, args, _ in calls:
            os.write(out, make_call(abi, call, *args).encode() + b"\n")

    status, data = in_child(work)
    assert status == 0
    answers = data.decode().splitlines()
    assert answers == [expected for *_, expected in calls]
    for (abi, call, args, _), answer in zip(calls, answers, strict=True):
        nr = call if isinstance(call, int) else number(call, abi)
        judged = bpf.show(bpf.verdict(code, ABIS[abi][0], nr, [arg % 2**64 for arg in args]))
        assert judged in ("allow", answer), (abi, call)


def _one(action: str, **more: Any) -> cache.Filter:
    """getppid with an action, everything else allowed."""
    top: Any = {"listenerPath": "/run/agent"} if action == "SCMP_ACT_NOTIFY" else {}
    rule: Any = {"names": ["getppid"], "action": action, **more}
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **top}
    return compile_filter(profile)


@pytest.mark.parametrize(
    ("action", "more", "answer"),
    [
        ("SCMP_ACT_ALLOW", {}, "ok"),
        ("SCMP_ACT_LOG", {}, "ok"),
        ("SCMP_ACT_ERRNO", {}, "errno 1"),
        ("SCMP_ACT_ERRNO", {"errnoRet": 4094}, "errno 4094"),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, "ok"),
        ("SCMP_ACT_TRACE", {}, "errno 38"),  # there is no tracer
        ("SCMP_ACT_KILL", {}, signal.SIGSYS),
        ("SCMP_ACT_KILL_THREAD", {}, signal.SIGSYS),
        ("SCMP_ACT_KILL_PROCESS", {}, signal.SIGSYS),
        ("SCMP_ACT_TRAP", {}, signal.SIGSYS),
    ],
)
def test_actions(action: str, more: dict[str, Any], answer: str | int) -> None:
    found = _one(action, **more)

    def work(out: int) -> None:
        load(found.program, found.flags)
        os.write(out, make_call("x86_64", "getppid").encode())

    status, data = in_child(work)
    if isinstance(answer, str):
        assert (status, data.decode()) == (0, answer)
    else:
        assert (os.WTERMSIG(status), data) == (answer, b"")


def test_a_condition_sees_all_64_bits() -> None:
    args = [{"index": 1, "op": "SCMP_CMP_EQ", "value": 1 << 32 | 5}]
    found = _one("SCMP_ACT_ERRNO", errnoRet=77, args=args)

    def work(out: int) -> None:
        load(found.program, found.flags)
        for value in (5, 1 << 32 | 5, 1 << 32 | 4):
            os.write(out, make_call("x86_64", "getppid", 0, value).encode() + b"\n")

    assert in_child(work) == (0, b"ok\nerrno 77\nok\n")


@pytest.mark.parametrize(
    "names",
    [None, [], ["TSYNC"], ["LOG"], ["SPEC_ALLOW"], ["TSYNC", "LOG", "SPEC_ALLOW"], ["WAIT_KILLABLE_RECV"]],
)
@pytest.mark.parametrize("notify", [False, True])
def test_the_kernel_takes_the_flags(names: list[str] | None, notify: bool) -> None:
    profile: Any = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_NOTIFY" if notify else "SCMP_ACT_ERRNO"}],
        "listenerPath": "/run/agent",
    }
    if names is not None:
        profile["flags"] = ["SECCOMP_FILTER_FLAG_" + name for name in names]
    found = compile_filter(profile)

    def work(out: int) -> None:
        listener = load(found.program, found.flags)
        kind = os.readlink(f"/proc/self/fd/{listener}") if notify else str(listener)
        os.write(out, kind.encode())

    assert in_child(work) == (0, b"anon_inode:seccomp notify" if notify else b"0")


# linux/seccomp.h: ioctl requests with the sizes of struct seccomp_notif and _resp; "the kernel goes on with the call".
NOTIF_RECV, NOTIF_SEND, FLAG_CONTINUE = 0xC0502100, 0xC0182101, 1


def serve(listener: int, *, error: int = 0, flags: int = 0) -> tuple[int, int, list[int]]:
    """Answer one notification; the call it was about: number, architecture, arguments."""
    notification = bytearray(80)
    fcntl.ioctl(listener, NOTIF_RECV, notification)
    cookie, _, _, nr, arch, _, *args = struct.unpack("QIIiIQ6Q", notification)
    fcntl.ioctl(listener, NOTIF_SEND, bytearray(struct.pack("QqiI", cookie, 0, -error, flags)))
    return nr, arch, args


def test_notifications_arrive() -> None:
    """The listener serves a child of the process that loaded the filter: it answers with an errno of its own."""
    found = _one("SCMP_ACT_NOTIFY", args=[{"index": 2, "op": "SCMP_CMP_GT", "value": 10}])

    def work(out: int) -> None:
        listener = load(found.program, found.flags)
        if os.fork() == 0:
            answers = [make_call("x86_64", "getppid", 0, 0, value) for value in (10, 11)]
            os.write(out, " ".join(answers).encode())
            os._exit(0)
        nr, arch, args = serve(listener, error=errno.EXDEV)
        assert (nr, arch, args[2]) == (number("getppid"), bpf.X86_64, 11)
        os.wait()

    assert in_child(work) == (0, f"ok errno {errno.EXDEV}".encode())


@pytest.mark.parametrize("first", [True, False], ids=["before capabilities", "after"])
def test_what_the_runtime_calls_after_the_listener_is_known_can_be_notified(first: bool) -> None:
    """finish() says where the listener is; from then on an agent decides, over the runtime's own calls as well."""
    names = ["read", "close", "execve"]
    rules = [{"names": names, "action": "SCMP_ACT_NOTIFY"}]
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": "/run/agent"}
    found = compile_filter(profile)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(theirs.fileno(), 3, inheritable=False)
            caps = _linux.capget()
            ready = finish.prepare(
                b"/bin/busybox",
                [b"true"],
                [],
                filter=found.program,
                filter_flags=found.flags,
                filter_first=first,
                caps=caps,
            )
            _linux.finish(ready)
        finally:
            os._exit(99)
    try:
        theirs.close()
        message = ours.recv(16)
        assert message[:1] == b"L"
        (number_there,) = struct.unpack("I", message[1:])
        pidfd = os.pidfd_open(pid)
        listener = _linux.pidfd_getfd(pidfd, number_there)
        ours.send(b".")
        served = []
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while poll.poll(30_000)[0][1] & select.POLLIN:
            served.append(serve(listener, flags=FLAG_CONTINUE)[0])
        assert os.waitpid(pid, 0)[1] == 0
        pid = 0
        assert served[:3] == [number(name) for name in names]
        os.close(pidfd)
        os.close(listener)
    finally:
        ours.close()
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_the_flags_that_are_supported_are_those_the_kernel_takes() -> None:
    from pyrunc.steps.seccomp import compiler

    def works(name: str) -> bool:
        flag = getattr(_linux, name)
        if name.endswith("WAIT_KILLABLE_RECV"):
            flag |= _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
        program = _one("SCMP_ACT_LOG").program

        def work(out: int) -> None:
            try:
                load(program, flag)
                os.write(out, b"yes")
            except OSError:
                os.write(out, b"no")

        return in_child(work) == (0, b"yes")

    assert [name for name in compiler.FLAGS if works(name)] == compiler.flags_supported()
