"""What goes before a filter of libseccomp's: calls that are newer than the profile are answered ENOSYS."""

from __future__ import annotations

import errno
import sys
from typing import Final

from pyrunc import _linux


class Newest:
    """One of the kernel's architectures in a filter, and the largest number that the profile names a call of it by.

    plain: of all calls but x32's, x32: of those, bit included; 0 when it names none. has_x32: it is x86-64, where a bit
    of the number makes an x32 call. multiplexes: S/390, where a large number arrives as 0 when the kernel lacks it.
    """

    __slots__ = ("has_x32", "multiplexes", "plain", "x32")

    def __init__(self, plain: int = 0, x32: int = 0, has_x32: bool = False, multiplexes: bool = False) -> None:
        self.plain = plain
        self.x32 = x32
        self.has_x32 = has_x32
        self.multiplexes = multiplexes


# Instructions: linux/bpf_common.h, linux/filter.h.
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_GO: Final = 0x05  # BPF_JMP | BPF_JA
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_IF_BITS: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
# What they work on: struct seccomp_data, linux/seccomp.h.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_X32_BIT: Final = 0x40000000  # __X32_SYSCALL_BIT, asm/unistd.h
# Where a jump can go besides forward: to the filter, or to the answer ENOSYS.
_FILTER: Final = -1
_ENOSYS: Final = -2


def prologue(newest: dict[int, Newest]) -> bytes:
    """What goes before a filter: calls newer than the profile are answered ENOSYS, all else is for the filter.

    Libraries try a new call and take the old one on ENOSYS; on the filter's EPERM they fail. To a program this is an
    older kernel. Nothing that the filter allows is lost, since it has no rules above its largest number.
    """
    code: list[tuple[int, int, int, int]] = [(_LOAD, _ARCHITECTURE, 0, 0)]
    for audit, limit in newest.items():
        section = _section(limit)
        if section:
            code.append((_IF_EQUAL, audit, 0, len(section)))
            code += section
    code.append((_GO, 1, 0, 0))
    code.append((_RETURN, _linux.SECCOMP_RET_ERRNO | errno.ENOSYS, 0, 0))
    ends = {_FILTER: len(code), _ENOSYS: len(code) - 1}
    packed = []
    for at, (operation, operand, true, false) in enumerate(code, 1):
        targets = [ends[target] - at if target < 0 else target for target in (true, false)]
        packed.append(operation.to_bytes(2, sys.byteorder) + bytes(targets) + operand.to_bytes(4, sys.byteorder))
    return b"".join(packed)


def _section(limit: Newest) -> list[tuple[int, int, int, int]]:
    """Decide by the number: (operation, operand, where to if true, if false), forward by so many or to an end."""
    code = [(_LOAD, _NUMBER, 0, 0)]
    plain = (_IF_GREATER, limit.plain, _ENOSYS, _FILTER)
    x32 = (_IF_GREATER, limit.x32, _ENOSYS, _FILTER)
    if not limit.plain and not limit.x32:
        return []
    if not limit.has_x32:
        if limit.multiplexes:
            # Number 0 itself is setup(2), which no program has called for decades.
            code.append((_IF_EQUAL, 0, _ENOSYS, 0))
        return [*code, plain]
    if limit.plain and limit.x32:
        return [*code, (_IF_BITS, _X32_BIT, 1, 0), plain, x32]
    if limit.plain:
        return [*code, (_IF_BITS, _X32_BIT, _FILTER, 0), plain]
    return [*code, (_IF_BITS, _X32_BIT, 0, _FILTER), x32]
