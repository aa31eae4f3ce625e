"""linux.seccomp: what a profile compiles to, what is refused, and the cache. Nothing is loaded into the kernel here."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import seccomp as bindings

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.steps.seccomp import cache as seccomp_cache
from pyrunc.steps.seccomp import compiler, digest, prologue, store
from pyrunc.steps.seccomp.prologue import Newest
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
from tests.support import TOP, bpf

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
NOTIFY = "SCMP_ACT_NOTIFY"
EPERM, ENOSYS = 1, 38
NATIVE = int(bindings.Arch())
HERE = NATIVE & 0xFFFFFFFF

on_x86_64 = pytest.mark.skipif(HERE != bpf.X86_64, reason="numbers of x86-64")


def number(name: str, arch: int = NATIVE) -> int:
    found: int = bindings.resolve_syscall(arch, name)
    assert found != -1
    return found


def rule(*names: str, action: str = ALLOW, errno: int | None = None, args: list[Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"names": list(names), "action": action}
    if errno is not None:
        made["errnoRet"] = errno
    if args is not None:
        made["args"] = [dict(zip(("index", "op", "value", "valueTwo"), arg, strict=False)) for arg in args]
    return made


def profile(*rules: dict[str, Any], default: str = ERRNO, **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


class Judge:
    """A compiled profile, and its verdict on calls by name."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.filter = compile_filter(config)
        self.code = bpf.decode(self.filter.program)

    def __call__(self, name: str, *args: int) -> str:
        return self.at(HERE, number(name), *args)

    def at(self, arch: int, nr: int, *args: int) -> str:
        return bpf.show(bpf.verdict(self.code, arch, nr & 0xFFFFFFFF, args))


# Actions, operators, rules


@pytest.mark.parametrize(
    ("name", "errno", "shown"),
    [
        ("SCMP_ACT_ALLOW", None, "allow"),
        ("SCMP_ACT_LOG", None, "log"),
        ("SCMP_ACT_TRACE", None, "trace 1"),
        ("SCMP_ACT_TRACE", 0, "trace"),
        ("SCMP_ACT_TRACE", 65535, "trace 65535"),
        ("SCMP_ACT_ERRNO", None, "errno 1"),
        ("SCMP_ACT_ERRNO", 0, "errno"),
        ("SCMP_ACT_ERRNO", 4094, "errno 4094"),
        ("SCMP_ACT_TRAP", None, "trap"),
        ("SCMP_ACT_KILL", None, "kill thread"),
        ("SCMP_ACT_KILL_THREAD", None, "kill thread"),
        ("SCMP_ACT_KILL_PROCESS", None, "kill process"),
        ("SCMP_ACT_NOTIFY", None, "notify"),
    ],
)
def test_actions(name: str, errno: int | None, shown: str) -> None:
    config = profile(rule("getppid", action=name, errno=errno), rule("getpid", action=ERRNO, errno=7), default=ALLOW)
    if name == "SCMP_ACT_NOTIFY":
        config["listenerPath"] = "/run/agent.sock"
    judge = Judge(config)
    assert judge("getppid") == shown
    assert judge("getpid") == "errno 7"
    assert judge("getuid") == "allow"
    if name != "SCMP_ACT_NOTIFY":
        more = {"defaultErrnoRet": errno} if errno is not None else {}
        judge = Judge(profile(rule("getpid", action=ERRNO, errno=7), rule("clone3"), default=name, **more))
        assert judge("getppid") == shown
        assert judge("getpid") == "errno 7"


def test_every_action_of_the_specification_is_tried() -> None:
    tried = {parameter[0] for parameter in test_actions.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert tried == set(compiler.ACTIONS)


EDGES = sorted({(base + off) % 2**64 for base in (0, 2**31, 2**32, 2**40 + 5, 2**63, 2**64) for off in (-1, 0, 1)})
HOLDS = {
    "SCMP_CMP_NE": lambda got, a, b: got != a,
    "SCMP_CMP_LT": lambda got, a, b: got < a,
    "SCMP_CMP_LE": lambda got, a, b: got <= a,
    "SCMP_CMP_EQ": lambda got, a, b: got == a,
    "SCMP_CMP_GE": lambda got, a, b: got >= a,
    "SCMP_CMP_GT": lambda got, a, b: got > a,
    "SCMP_CMP_MASKED_EQ": lambda got, a, b: got & a == b & a,
}


@pytest.mark.parametrize("operator", compiler.OPERATORS)
@pytest.mark.parametrize("index", [0, 5])
def test_operators(operator: str, index: int) -> None:
    for first in EDGES[::2]:
        second = first & 0xFFFF0000FFFF
        judge = Judge(profile(rule("getppid", args=[(index, operator, first, second)]), rule("uname")))
        for got in EDGES:
            args = [0] * index + [got]
            expected = "allow" if HOLDS[operator](got, first, second) else "errno 1"
            assert judge("getppid", *args) == expected, (hex(first), hex(got))


def test_all_conditions_of_a_rule_must_hold() -> None:
    judge = Judge(profile(rule("getppid", args=[(0, "SCMP_CMP_EQ", 1), (2, "SCMP_CMP_GT", 5)]), rule("uname")))
    assert judge("getppid", 1, 0, 6) == "allow"
    assert judge("getppid", 1, 0, 5) == "errno 1"
    assert judge("getppid", 0, 0, 6) == "errno 1"


def test_two_conditions_on_one_argument_are_a_rule_each() -> None:
    args = [(0, "SCMP_CMP_EQ", 1), (0, "SCMP_CMP_EQ", 2), (1, "SCMP_CMP_EQ", 9)]
    judge = Judge(profile(rule("getppid", args=args), rule("uname")))
    assert [judge("getppid", first) for first in (0, 1, 2)] == ["errno 1", "allow", "allow"]
    assert judge("getppid", 0, 9) == "allow"


def test_what_is_not_known_or_says_nothing_is_skipped() -> None:
    rules = [rule("no_such_call", "getpid", "getpid\0x", "gétpid"), rule("getppid", action=ERRNO, errno=EPERM)]
    judge = Judge(profile(*rules, rule("uname")))
    assert judge("getpid") == "allow"
    assert judge("getppid") == "errno 1"
    # A NUL must not make another call of a name.
    judge = Judge(profile(rule("getpid\0x"), rule("uname")))
    assert judge("getpid") == "errno 1"


def test_many_rules_mean_the_same_as_few() -> None:
    names = "read write openat close fstat mmap mprotect munmap brk ioctl pread64 pwrite64 readv writev dup nanosleep "
    names += "getpid socket connect sendto recvfrom bind listen shutdown socketpair exit kill uname fcntl flock fsync "
    names += "getcwd chdir fchdir fchmod fchown umask getrusage sysinfo times ptrace getuid syslog getgid setuid "
    names += "setgid geteuid getegid"
    judge = Judge(profile(rule(*names.split())))
    assert len(names.split()) > 32
    for name in names.split():
        assert judge(name) == "allow", name
    for name in ("setpgid", "getpgid", "setsid", "acct", "mount"):
        assert judge(name) == "errno 1", name


def test_no_rules_at_all() -> None:
    assert Judge({"defaultAction": ALLOW})("mount") == "allow"
    assert Judge({"defaultAction": ERRNO, "defaultErrnoRet": 5, "syscalls": []})("mount") == "errno 5"
    # More than 32, all of which repeat the default: libseccomp 2.5.4 fails at a tree without rules.
    assert Judge(profile(*[rule("getpid") for _ in range(40)], default=ALLOW))("mount") == "allow"


# Calls newer than the profile


@pytest.mark.parametrize(
    ("default", "newer"),
    [
        ("SCMP_ACT_ERRNO", "errno 38"),
        ("SCMP_ACT_KILL", "errno 38"),
        ("SCMP_ACT_KILL_PROCESS", "errno 38"),
        ("SCMP_ACT_TRAP", "errno 38"),
        ("SCMP_ACT_ALLOW", "allow"),
        ("SCMP_ACT_LOG", "log"),
        ("SCMP_ACT_TRACE", "trace 1"),
    ],
)
def test_a_call_newer_than_the_profile_does_not_exist(default: str, newer: str) -> None:
    judge = Judge(profile(rule("getpid", "clone3", action=ERRNO, errno=9), default=default))
    newest = number("clone3")
    older = bpf.show(bpf.verdict(judge.code, HERE, number("getppid")))
    assert judge.at(HERE, newest) == "errno 9"
    assert judge.at(HERE, newest - 1) == older != "errno 38"
    assert judge.at(HERE, newest + 1) == newer
    assert judge.at(HERE, 5000) == newer


@on_x86_64
def test_newest_is_by_architecture() -> None:
    x86, x32 = int(bindings.Arch.X86), int(bindings.Arch.X32)
    names = rule("getpid", "futex_time64", "rt_sigaction")  # futex_time64 is i386's alone
    rules = profile(names, architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    judge = Judge(rules)
    assert judge.at(bpf.X86_64, number("getpid")) == "allow"
    assert judge.at(bpf.X86_64, number("getpid") + 1) == "errno 38"
    assert judge.at(bpf.I386, number("futex_time64", x86)) == "allow"
    assert judge.at(bpf.I386, number("futex_time64", x86) - 1) == "errno 1"
    assert judge.at(bpf.I386, number("futex_time64", x86) + 1) == "errno 38"
    newest = number("rt_sigaction", x32)
    assert newest & bpf.X32_BIT
    assert judge.at(bpf.X86_64, newest) == "allow"
    assert judge.at(bpf.X86_64, newest - 1) == "errno 1"
    assert judge.at(bpf.X86_64, newest + 1) == "errno 38"
    # Without x32 in the profile its calls are of a wrong architecture, whatever their number.
    judge = Judge(profile(names, architectures=["SCMP_ARCH_X86_64"]))
    for nr in (newest, newest + 1, 2**32 - 2):
        assert judge.at(bpf.X86_64, nr) == "kill thread"
    assert judge.at(bpf.I386, 20) == "kill thread"
    assert judge.at(bpf.I386, 5000) == "kill thread"
    # The machine's own architecture is there, whether the profile names it or not.
    judge = Judge(profile(names, architectures=["SCMP_ARCH_X86"]))
    assert judge.at(bpf.X86_64, number("getpid")) == "allow"
    assert judge.at(bpf.X86_64, 5000) == "errno 38"
    assert judge.at(bpf.I386, 5000) == "errno 38"


def test_prologue_of_all_shapes() -> None:
    newest = {
        1: Newest(plain=10),
        2: Newest(plain=300, multiplexes=True),
        3: Newest(plain=20, x32=bpf.X32_BIT | 30, has_x32=True),
        4: Newest(plain=20, has_x32=True),
        5: Newest(x32=bpf.X32_BIT | 30, has_x32=True),
        6: Newest(has_x32=True),
        7: Newest(),
    }
    # Twenty more, so that the jumps are long; then a filter that allows.
    newest |= {arch: Newest(plain=arch) for arch in range(100, 120)}
    program = prologue.prologue(newest) + bytes([6, 0, 0, 0]) + bpf.ALLOW.to_bytes(4, sys.byteorder)
    code = bpf.decode(program)
    bit = bpf.X32_BIT
    expected: dict[int, dict[int, bool]] = {
        1: {0: True, 10: True, 11: False, bit | 5: False, 2**32 - 1: False},
        2: {0: False, 1: True, 300: True, 301: False},
        3: {0: True, 20: True, 21: False, bit | 30: True, bit | 31: False, 2**31: False, 2**32 - 1: False},
        4: {20: True, 21: False, bit | 30: True, 2**32 - 1: True, 2**31: False},
        5: {20: True, 21: True, bit | 30: True, bit | 31: False, 2**31: True},
        6: {0: True, 5000: True, bit: True},
        7: {0: True, 5000: True},
        8: {0: True, 5000: True},
        100: {100: True, 101: False},
        119: {119: True, 120: False},
    }
    for arch, numbers in expected.items():
        for nr, passes in numbers.items():
            found = bpf.show(bpf.verdict(code, arch, nr))
            assert found == ("allow" if passes else f"errno {ENOSYS}"), (arch, hex(nr))


# Architectures and flags


@pytest.mark.parametrize("name", compiler.ARCHITECTURES)
def test_architectures(name: str) -> None:
    """Each compiles, or is an error that names it and where it stands."""
    config = profile(rule("getpid", "getppid"), architectures=["SCMP_ARCH_" + _native_name(), name])
    try:
        judge = Judge(config)
    except ConfigError as error:
        assert error.pointer == "/linux/seccomp/architectures/1"
        assert name in error.message and "libseccomp" in error.message
        assert name != "SCMP_ARCH_" + _native_name()
        return
    token = int(getattr(bindings.Arch, name.removeprefix("SCMP_ARCH_")))
    audit = HERE if name == "SCMP_ARCH_X32" else token & 0xFFFFFFFF
    newest = max(number("getpid", token), number("getppid", token))
    assert judge.at(audit, number("getpid", token)) == "allow"
    assert judge.at(audit, newest + 1) == "errno 38"


def _native_name() -> str:
    return next(name for name in dir(bindings.Arch) if name != "NATIVE" and getattr(bindings.Arch, name) == NATIVE)


def test_the_same_architecture_twice_is_once() -> None:
    name = "SCMP_ARCH_" + _native_name()
    assert Judge(profile(rule("getpid"), architectures=[name, name]))("getpid") == "allow"


def test_architectures_of_the_library() -> None:
    known = compiler.architectures_supported()
    assert "SCMP_ARCH_" + _native_name() in known
    assert set(known) <= set(compiler.ARCHITECTURES)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["SPEC_ALLOW"]),
        ([], []),
        (["LOG"], ["LOG"]),
        (["TSYNC"], []),
        (["SPEC_ALLOW", "LOG", "TSYNC"], ["SPEC_ALLOW", "LOG"]),
        (["WAIT_KILLABLE_RECV"], []),  # of no meaning, and refused by the kernel, where nothing is notified
    ],
)
def test_flags(names: list[str] | None, expected: list[str]) -> None:
    config = profile(rule("getpid"))
    if names is not None:
        config["flags"] = ["SECCOMP_FILTER_FLAG_" + name for name in names]
    assert compile_filter(config).flags == _bits(expected)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ["NEW_LISTENER"]),
        (["TSYNC"], ["NEW_LISTENER"]),
        (["WAIT_KILLABLE_RECV", "LOG"], ["NEW_LISTENER", "WAIT_KILLABLE_RECV", "LOG"]),
    ],
)
def test_flags_with_a_listener(names: list[str], expected: list[str]) -> None:
    config = profile(rule("mkdir", action=NOTIFY), default=ALLOW, listenerPath="/run/a", listenerMetadata="m")
    config["flags"] = ["SECCOMP_FILTER_FLAG_" + name for name in names]
    found = compile_filter(config)
    assert (found.flags, found.listener_path, found.metadata) == (_bits(expected), "/run/a", "m")


def _bits(names: list[str]) -> int:
    return sum(getattr(_linux, "SECCOMP_FILTER_FLAG_" + name) for name in names)


def test_a_listener_that_nothing_needs_is_not_there() -> None:
    found = compile_filter(profile(rule("getpid"), listenerPath="/run/a", listenerMetadata="m"))
    assert not found.flags & _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
    assert found.listener_path is None


def test_what_features_reports_the_kernel_has() -> None:
    available = compiler.actions_available()
    assert {kernel for _, kernel in compiler.ACTIONS.values()} == set(available) or not available
    assert set(compiler.flags_supported()) <= set(compiler.FLAGS)
    assert "SECCOMP_FILTER_FLAG_SPEC_ALLOW" in compiler.flags_supported()


# What is refused

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/defaultAction", "action None"),
    ({"defaultAction": "SCMP_ACT_NONE"}, "/defaultAction", "SCMP_ACT_NONE"),
    ({"defaultAction": NOTIFY}, "/defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"),
    (profile(default=ALLOW, defaultErrnoRet=1), "/defaultErrnoRet", "SCMP_ACT_ALLOW"),
    (profile(default=ERRNO, defaultErrnoRet=4095), "/defaultErrnoRet", "4095"),
    (profile(rule("getpid", action="allow")), "/syscalls/0/action", "allow"),
    (profile(rule("uname"), rule("getpid", action="SCMP_ACT_KILL", errno=0)), "/syscalls/1/errnoRet", "SCMP_ACT_KILL"),
    (profile(rule("getpid", action=NOTIFY, errno=1)), "/syscalls/0/errnoRet", "SCMP_ACT_NOTIFY"),
    (profile(rule("getpid", action=ERRNO, errno=-1)), "/syscalls/0/errnoRet", "-1"),
    (profile(rule("getpid", action="SCMP_ACT_TRACE", errno=65536)), "/syscalls/0/errnoRet", "65536"),
    (profile({"names": ["getpid"], "action": ERRNO, "errnoRet": True}), "/syscalls/0/errnoRet", "True"),
    (profile(rule(action=ALLOW)), "/syscalls/0/names", "names no syscall"),
    (profile({"action": ALLOW}), "/syscalls/0/names", "names no syscall"),
    (profile(rule("getpid", "")), "/syscalls/0/names/1", "name of a syscall"),
    (profile(rule("getpid", "write", action=NOTIFY), default=ALLOW), "/syscalls/0/names/1", "for the write syscall"),
    (profile(rule("getpid", args=[(0, "SCMP_CMP_XX", 1)])), "/syscalls/0/args/0/op", "SCMP_CMP_XX"),
    (profile(rule("getpid", args=[(0, "SCMP_CMP_EQ", 1), (6, "SCMP_CMP_EQ", 1)])), "/syscalls/0/args/1/index", "6"),
    (profile(rule("getpid", args=[(-1, "SCMP_CMP_EQ", 1)])), "/syscalls/0/args/0/index", "-1"),
    (profile(rule("getpid", args=[(0, "SCMP_CMP_EQ", 2**64)])), "/syscalls/0/args/0/value", "18446744073709551616"),
    (profile(rule("getpid", args=[(0, "SCMP_CMP_EQ")])), "/syscalls/0/args/0/value", "None"),
    (profile(rule("getpid", args=[(0, "SCMP_CMP_MASKED_EQ", 1, -1)])), "/syscalls/0/args/0/valueTwo", "-1"),
    (profile(architectures=["SCMP_ARCH_PDP11"]), "/architectures/0", "SCMP_ARCH_PDP11"),
    (profile(flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"]), "/flags/1", "NEW_LISTENER"),
    (profile(listenerMetadata="x"), "/listenerMetadata", "listenerPath is not"),
    (profile(rule("mkdir", action=NOTIFY), default=ALLOW), "/listenerPath", "listenerPath is not set"),
]


@pytest.mark.parametrize(("config", "pointer", "words"), REFUSED)
def test_refused(config: dict[str, Any], pointer: str, words: str, tmp_path: Path) -> None:
    for _ in range(2):  # not out of the cache either
        with pytest.raises(ConfigError) as caught:
            compile_filter(config, str(tmp_path / "@seccomp"))
        assert caught.value.pointer == "/linux/seccomp" + pointer
        assert words in caught.value.message
        assert "\n" not in caught.value.line()


def test_two_actions_for_the_same_call_and_arguments() -> None:
    same = [(0, "SCMP_CMP_EQ", 1)]
    rules = [rule("getpid", args=same), rule("getpid", action=ERRNO, errno=5, args=same)]
    with pytest.raises(ConfigError, match="getpid: File exists") as caught:
        compile_filter(profile(*rules))
    assert caught.value.pointer == "/linux/seccomp/syscalls/1"


def test_too_many_instructions() -> None:
    many = [rule("getpid", args=[(at % 6, "SCMP_CMP_EQ", value)]) for at, value in enumerate(range(5000))]
    with pytest.raises(ConfigError, match="at most 4096") as caught:
        compile_filter(profile(*many))
    assert caught.value.pointer == "/linux/seccomp/syscalls"


def test_without_the_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seccomp", None)
    with pytest.raises(PyruncError) as caught:
        compile_filter(profile(rule("getpid")))
    assert "python3-seccomp" in (caught.value.hint or "")


# The cache

COMMON = profile(rule("getpid", "read"))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "@seccomp"
    yield where
    left = [name for name in os.listdir(where) if name.startswith(".")] if where.is_dir() else []
    assert not left


def compile_in(cache: Path, config: dict[str, Any] = COMMON) -> seccomp_cache.Filter:
    return compile_filter(config, str(cache))


def only_entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_the_second_time_it_is_there(cache: Path) -> None:
    first = compile_in(cache)
    assert not first.cached
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_entry(cache).stat().st_mode) == 0o600
    second = compile_in(cache)
    assert second.cached
    assert (second.program, second.flags) == (first.program, first.flags)
    assert first.program == compile_filter(COMMON).program


def test_a_hit_loads_nothing(cache: Path) -> None:
    compile_in(cache)
    script = f"""
import sys
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
before = set(sys.modules)
assert compile_filter({COMMON!r}, {str(cache)!r}).cached
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=TOP, capture_output=True, text=True, check=True)
    # The launcher's build has written its digest down; a Python program asks the files.
    assert done.stdout.split() == ["pyrunc.steps.seccomp.digest"]


def test_the_key_is_what_the_program_depends_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify = profile(rule("mkdir", action=NOTIFY), default=ALLOW, listenerPath="/run/a", listenerMetadata="1")
    compile_in(cache, notify)
    found = compile_in(cache, notify | {"listenerPath": "/run/b", "listenerMetadata": "2", "comment": "x"})
    assert found.cached
    assert (found.listener_path, found.metadata) == ("/run/b", "2")
    changes: list[dict[str, Any]] = [{name: []} for name in ("flags", "architectures", "syscalls")]
    changes.append({"defaultAction": "SCMP_ACT_LOG"})
    for change in changes:
        assert not compile_in(cache, notify | change).cached
    assert not compile_in(cache, notify | {"defaultAction": ERRNO, "defaultErrnoRet": 2}).cached
    monkeypatch.setattr(seccomp_cache, "_compiler", lambda: "another")
    assert not compile_in(cache, notify).cached


def test_the_key_holds_the_compiler_s_code(tmp_path: Path) -> None:
    """What changes the compiler changes the name of its entries: nobody has to raise a number."""
    tree = TOP / "pyrunc/steps/seccomp"
    before = digest.of(str(tree))
    assert seccomp_cache._compiler() == before
    for name in digest.FILES:
        for file in digest.FILES:
            shutil.copy(tree / file, tmp_path)
        assert digest.of(str(tmp_path)) == before
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("0", "1", 1))
        assert digest.of(str(tmp_path)) != before


def test_entries_that_are_not_whole_are_made_anew(cache: Path) -> None:
    program = compile_in(cache).program
    entry = only_entry(cache)
    good = entry.read_bytes()
    damaged = [b"", good[:-1], good + b"\0", good[:30], b"x" * len(good), good[8:], bytes(40000)]
    damaged += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 7)]
    for data in damaged:
        entry.write_bytes(data)
        found = compile_in(cache)
        assert not found.cached
        assert found.program == program
        assert entry.read_bytes() == good


def test_an_entry_under_another_name_does_not_count(cache: Path) -> None:
    lax = profile(default=ALLOW)
    compile_in(cache, lax)
    loose = only_entry(cache)
    name = seccomp_cache.key(COMMON)
    assert name is not None
    loose.rename(cache / name)
    assert not compile_in(cache).cached
    assert Judge(COMMON)("mount") == "errno 38"


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o622])
def test_entries_that_others_can_touch_are_made_anew(cache: Path, mode: int) -> None:
    compile_in(cache)
    only_entry(cache).chmod(mode)
    assert not compile_in(cache).cached
    assert stat.S_IMODE(only_entry(cache).stat().st_mode) == 0o600
    assert compile_in(cache).cached


def test_other_peoples_entries_are_made_anew(cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("no root: files of others are made by root here")
    compile_in(cache)
    os.chown(only_entry(cache), 65534, 65534)
    assert not compile_in(cache).cached
    assert only_entry(cache).stat().st_uid == 0
    assert compile_in(cache).cached


def test_what_is_no_file_is_not_opened_through(cache: Path, tmp_path: Path) -> None:
    compile_in(cache)
    entry = only_entry(cache)
    elsewhere = tmp_path / "elsewhere"
    entry.rename(elsewhere)
    entry.symlink_to(elsewhere)
    kept = elsewhere.read_bytes()
    assert not compile_in(cache).cached
    assert not entry.is_symlink()
    assert elsewhere.read_bytes() == kept
    entry.unlink()
    os.mkfifo(entry, 0o600)
    assert not compile_in(cache).cached  # and does not wait for a writer
    assert entry.is_file()
    entry.unlink()
    entry.mkdir(0o700)
    for _ in range(2):
        assert not compile_in(cache).cached
    entry.rmdir()


def test_a_folder_that_is_not_ours_alone_is_not_used(cache: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(0o700)
    cache.symlink_to(real)
    assert not compile_in(cache).cached
    assert not compile_in(cache).cached
    assert list(real.iterdir()) == []
    cache.unlink()
    for mode in (0o755, 0o777, 0o770):
        cache.mkdir()
        cache.chmod(mode)
        assert not compile_in(cache).cached
        assert list(cache.iterdir()) == []
        cache.rmdir()
    cache.write_text("a file")
    assert not compile_in(cache).cached
    assert cache.read_text() == "a file"
    cache.unlink()
    if os.geteuid() == 0:
        cache.mkdir(0o700)
        os.chown(cache, 65534, 65534)
        assert not compile_in(cache).cached
        assert list(cache.iterdir()) == []


def test_no_cache_where_there_is_no_root(tmp_path: Path) -> None:
    assert not compile_in(tmp_path / "missing/@seccomp").cached
    assert list(tmp_path.iterdir()) == []


def test_as_an_ordinary_user(tmp_path: Path, public_tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("no root: every other test of the cache is this one")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    root = tmp_path / "root"
    root.mkdir()
    os.chown(root, 65534, 65534)
    script = f"""
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
print([compile_filter({COMMON!r}, {str(root / "@seccomp")!r}).cached for _ in range(2)])
"""
    argv = ["/usr/bin/python3", "-B", "-c", script]
    done = subprocess.run(argv, cwd=public_tree, capture_output=True, text=True, user=65534, group=65534)
    assert done.stdout.strip() == "[False, True]", done.stderr
    # root does not take a filter from a user's folder
    assert not compile_in(root / "@seccomp").cached


def test_at_most_64_entries_and_the_unused_go_first(cache: Path) -> None:
    configs = [profile(rule("getpid"), defaultErrnoRet=errno) for errno in range(70)]
    long_ago = 1_000_000_000
    first = seccomp_cache.key(configs[0])
    for at, config in enumerate(configs):
        assert not compile_in(cache, config).cached
        assert compile_in(cache, configs[0]).cached
        name = seccomp_cache.key(config)
        assert name is not None and first is not None
        os.utime(cache / name, (long_ago + at, long_ago + at))
    assert len(list(cache.iterdir())) == 64 == store.MAX_ENTRIES
    there = {entry.name for entry in cache.iterdir()}
    assert first in there
    assert {seccomp_cache.key(config) for config in configs[-60:]} <= there


def test_leftovers_of_the_dead_go(cache: Path) -> None:
    compile_in(cache)
    old, new = cache / ".dead", cache / ".busy"
    for file in (old, new):
        file.write_text("")
    os.utime(old, (1, 1))
    compile_in(cache, profile(default=ALLOW))
    assert not old.exists()
    assert new.exists()
    new.unlink()


def test_many_at_once(cache: Path) -> None:
    script = f"""
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
for errno in range(40):
    compile_filter({{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}}, {str(cache)!r})
"""
    running = [subprocess.Popen([sys.executable, "-c", script], cwd=TOP) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    for errno in range(40):
        config = {"defaultAction": ERRNO, "defaultErrnoRet": errno}
        found = compile_in(cache, config)
        assert found.cached
        assert found.program == compile_filter(config).program


@pytest.mark.parametrize("program", [b"", b"12345678", b"12345678123"])
def test_what_a_child_says_is_a_program_or_nothing(program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program no filter would be loaded."""
    launcher: Any = ModuleType("_launcher")
    launcher.IMAGE, launcher.JOB, launcher.STAGE2 = True, "job", "/bin/true"
    monkeypatch.setitem(sys.modules, "_launcher", launcher)
    monkeypatch.setattr("pyrunc.steps.seccomp.step.posix.pread", lambda *_: program)
    assert _by_stage_two({"defaultAction": "SCMP_ACT_ALLOW"}) is None
