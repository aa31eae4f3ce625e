"""What a compiled filter says to a call, as the kernel runs it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.steps.seccomp.cache import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
