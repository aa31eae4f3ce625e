"""Programs that are none, but for their header."""

from __future__ import annotations

import struct

GLIBC = "/lib64/ld-linux-x86-64.so.2"


def elf(interpreter: str, machine: int = 62, kind: int = 2, order: str = "<") -> bytes:
    """A program of one page whose loader is of that name."""
    name = interpreter.encode() + b"\0"
    head = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1, 0]) + bytes(8)
    head += struct.pack(order + "HHIQQQIHHHHHH", kind, machine, 1, 0x400000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = 64 + 2 * 56 + len(name)
    load = struct.pack(order + "IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 4096)
    named = struct.pack(order + "IIQQQQQQ", 3, 4, 64 + 2 * 56, 0, 0, len(name), len(name), 1)
    return head + load + named + name
