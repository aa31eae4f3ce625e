"""Run a seccomp program as the kernel does, and know it in the kernel's own numbers.

Only what seccomp(2) accepts and libseccomp writes; anything else is an error, so nothing is judged by a guess.
"""

import struct
from collections.abc import Sequence

#: AUDIT_ARCH_* (linux/audit.h) of the three ways to make a call on x86-64.
X86_64 = 0xC000003E
I386 = 0x40000003
#: In the number of an x32 call (__X32_SYSCALL_BIT).
X32_BIT = 0x40000000

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000

Instruction = tuple[int, int, int, int]


def decode(program: bytes) -> list[Instruction]:
    """struct sock_filter[] as (code, jt, jf, k)."""
    return list(struct.iter_unpack("=HBBI", program))


def verdict(program: Sequence[Instruction], arch: int, number: int, args: Sequence[int] = ()) -> int:
    """What the filter returns for a call: action and data (SECCOMP_RET_*)."""
    six = [*args, *[0] * (6 - len(args))]
    data = struct.unpack("=16I", struct.pack("=IIQ6Q", number, arch, 0, *six))
    accumulator = 0
    at = 0
    while True:
        code, true, false, k = program[at]
        at += 1
        if code == 0x20:  # LD W ABS
            accumulator = data[k // 4]
        elif code == 0x15:  # JEQ
            at += true if accumulator == k else false
        elif code == 0x25:  # JGT
            at += true if accumulator > k else false
        elif code == 0x35:  # JGE
            at += true if accumulator >= k else false
        elif code == 0x45:  # JSET
            at += true if accumulator & k else false
        elif code == 0x05:  # JA
            at += k
        elif code == 0x54:  # ALU AND
            accumulator &= k
        elif code == 0x06:  # RET
            return k
        else:
            raise AssertionError(f"instruction {at - 1}: {code:#x}")


def show(value: int) -> str:
    """A verdict in words."""
    names = {ALLOW: "allow", LOG: "log", TRACE: "trace", NOTIFY: "notify", ERRNO: "errno", TRAP: "trap"}
    names |= {KILL_THREAD: "kill thread", KILL_PROCESS: "kill process"}
    data = value & 0xFFFF
    return names[value & 0xFFFF0000] + (f" {data}" if data else "")
