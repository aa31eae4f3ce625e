"""linux.seccomp: what a profile compiles to, and what is refused. Nothing is loaded into the kernel here."""

import sys
from pathlib import Path
from typing import Any

import pytest
import seccomp as bindings

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.steps.seccomp import compiler
from pyrunc.steps.seccomp.step import compile_filter
from tests.support.profiles import ALLOW, EPERM, ERRNO, HERE, NATIVE, NOTIFY, Judge, number, profile, rule

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
def test_refused(config: Any, pointer: str, words: str, tmp_path: Path) -> None:
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
