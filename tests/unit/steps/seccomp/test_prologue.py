"""Calls newer than the profile do not exist: the instructions before a filter."""

import sys

import pytest
import seccomp as bindings

from pyrunc.steps.seccomp import prologue
from pyrunc.steps.seccomp.prologue import Newest
from tests.support import bpf
from tests.support.profiles import ENOSYS, ERRNO, HERE, Judge, number, profile, rule

on_x86_64 = pytest.mark.skipif(HERE != bpf.X86_64, reason="numbers of x86-64")


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
