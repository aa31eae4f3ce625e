"""What a compiled filter says to a call, as the kernel runs it."""

from __future__ import annotations

import posix
import sys
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.steps.seccomp.cache import ALLOWS_CLONE, ALLOWS_SENDMSG, ALLOWS_SETRESUID, INSTRUCTION
from pyrunc.steps.seccomp.libseccomp import own_architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType


def allows(program: bytes, arch: int, number: int, first: int, second: int) -> bool:
    """Whether the verdict on a call with two arguments, as the kernel runs the program, is to allow it.

    False too for what libseccomp and prologue() do not write.
    """
    data = [number, arch, 0, 0, first, 0, second, 0, *[0] * 8]  # struct seccomp_data (linux/seccomp.h), little endian
    accumulator = at = 0
    while True:
        code = int.from_bytes(program[at : at + 2], sys.byteorder)
        true, false = program[at + 2], program[at + 3]
        k = int.from_bytes(program[at + 4 : at + 8], sys.byteorder)
        at += INSTRUCTION
        if code in _JUMPS:
            at += INSTRUCTION * (true if _JUMPS[code](accumulator, k) else false)
        elif code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            accumulator = data[k // 4]
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif code == 0x05:  # BPF_JMP | BPF_JA
            at += INSTRUCTION * k
        else:
            return code == 0x06 and k in (_linux.SECCOMP_RET_ALLOW, _linux.SECCOMP_RET_LOG)  # BPF_RET | BPF_K


# BPF_JMP | BPF_K with BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET (linux/bpf_common.h).
_JUMPS: Final[Mapping[int, Callable[[int, int], object]]] = {
    0x15: lambda accumulator, k: accumulator == k,
    0x25: lambda accumulator, k: accumulator > k,
    0x35: lambda accumulator, k: accumulator >= k,
    0x45: lambda accumulator, k: accumulator & k,
}


# Not root, and otherwise like any other.
_SOME_USER: Final = 1000


def allowed(seccomp: ModuleType, program: bytes) -> int:
    """ALLOWS_*: whether second_clone() of native/finish.c, and what else comes after the load, may be."""
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}.get(posix.uname().machine)  # AUDIT_ARCH_*, linux/audit.h
    if arch is None:
        return 0
    calls = {
        ALLOWS_CLONE: (
            ("capset", 0, 0),
            ("clone", _linux.CLONE_PARENT, 0),
            ("setsid", 0, 0),
            ("ioctl", 0, _linux.TIOCSCTTY),
            ("write", 3, 0),
            ("read", 3, 0),
        ),
        ALLOWS_SETRESUID: (("setresuid", _SOME_USER, _SOME_USER),),
        ALLOWS_SENDMSG: (("sendmsg", 3, 0),),
    }
    flags, own = 0, own_architecture(seccomp)
    for flag, some in calls.items():
        numbers = [(seccomp.resolve_syscall(own, name), first, second) for name, first, second in some]
        if all(allows(program, arch, *call) for call in numbers):
            flags |= flag
    return flags
