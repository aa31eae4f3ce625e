"""What kind of file stands where a program should: execve(2)'s two, ELF and #!, or something else. elf(5).

What is read is bounded: the beginning of the file, its program headers, the name of its loader.
"""

from __future__ import annotations

import posix
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyrunc.steps.process.inside import Place

# So much of a file the kernel looks at (BINPRM_BUF_SIZE of its linux/binfmts.h).
_BEGINNING: Final = 256
# Bytes of program headers that the kernel takes, and of a loader's name.
_HEADERS: Final = 65536
_NAME: Final = 4096
_PT_INTERP: Final = 3
# e_machine, and what uname(2) calls it.
_MACHINES: Final = {
    2: "SPARC",
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "ppc64",
    22: "s390x",
    40: "arm (32-bit)",
    43: "SPARC64",
    62: "x86_64",
    183: "aarch64 (arm64)",
    243: "riscv",
    247: "BPF",
    258: "loongarch",
}
_OWN: Final = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "ppc64le": 21, "s390x": 22, "loongarch64": 258}
_TYPES: Final = {1: "an object file, not linked yet", 4: "a core dump"}
_OTHERS: Final = (
    (b"MZ", "a program for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS, or a Java class"),
    (b"\x00asm", "a WebAssembly module"),
    (b"PK\x03\x04", "a zip or jar archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"!<arch>\n", "an archive of object files"),
)


class Kind:
    """interpreter: the path of what the kernel starts in its place or with it, "" for none. problem: what is wrong."""

    __slots__ = ("interpreter", "its_interpreter", "problem")

    def __init__(self, problem: str = "", interpreter: str = "", its_interpreter: str = "") -> None:
        self.problem = problem
        self.interpreter = interpreter
        self.its_interpreter = its_interpreter


def look(place: Place) -> Kind:
    """Raises OSError, inside.Unknown."""
    data = place.read(_BEGINNING)
    if not data:
        return Kind("the file is empty")
    if data[:4] == b"\x7fELF":
        return _elf(place, data)
    if data[:2] == b"#!":
        return _script(data)
    for magic, words in _OTHERS:
        if data.startswith(magic):
            return Kind("the file is " + words)
    if data.startswith(b"\xef\xbb\xbf#!"):
        return Kind("its #! line comes after a byte order mark (EF BB BF): take that away")
    if b"\0" in data:
        return Kind("the file is neither a program (ELF) nor a script that begins with #!")
    return Kind("the file has no #! line: a script begins with one, such as #!/bin/sh")


def _script(data: bytes) -> Kind:
    line, end, _ = data[2:].partition(b"\n")
    # To the kernel a name ends at a tab or a zero byte, too.
    words = line.strip(b" \t").replace(b"\t", b" ").replace(b"\0", b" ").split(b" ")
    if not words[0]:
        return Kind("its #! line names no interpreter")
    if not end and len(data) == _BEGINNING and len(words) == 1:
        return Kind(f"its #! line is longer than the {_BEGINNING} bytes that the kernel reads")
    return Kind("", words[0].decode("utf-8", "surrogateescape"), "its interpreter")


def _elf(place: Place, data: bytes) -> Kind:
    if len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
        return Kind("its ELF header is cut short or damaged")
    wide = data[4] == 2
    order: str = "little" if data[5] == 1 else "big"

    def number(raw: bytes) -> int:
        return int.from_bytes(raw, "little" if order == "little" else "big")

    machine, own = number(data[18:20]), posix.uname().machine
    name = _MACHINES.get(machine, f"machine {machine} of elf.h")
    foreign = machine != _OWN.get(own) and not (machine == 3 and own == "x86_64") and own in _OWN
    if foreign or order != sys.byteorder:
        return Kind(
            "the program is for " + name + (", big-endian" if order == "big" else "") + ", this machine is " + own
            + ": take the image for this machine, or register an emulator (binfmt_misc)"
        )  # fmt: skip
    kind = number(data[16:18])
    if kind in _TYPES:
        return Kind("the file is " + _TYPES[kind])
    if wide:
        offset, size, count = number(data[32:40]), number(data[54:56]), number(data[56:58])
    else:
        offset, size, count = number(data[28:32]), number(data[42:44]), number(data[44:46])
    if size < (56 if wide else 32) or not count or size * count > _HEADERS or offset > 1 << 62:
        return Kind("its program headers are missing or damaged")
    headers = place.read(size * count, offset)
    for at in range(0, len(headers) - size + 1, size):
        header = headers[at : at + size]
        if number(header[:4]) == _PT_INTERP:
            start = number(header[8:16]) if wide else number(header[4:8])
            length = number(header[32:40]) if wide else number(header[16:20])
            if not 2 <= length <= _NAME or start > 1 << 62:
                return Kind("the name of its loader is damaged")
            text = place.read(length, start).partition(b"\0")[0]
            return Kind("", text.decode("utf-8", "surrogateescape"), "its loader")
    if len(headers) < size * count:
        return Kind("the file is cut short")
    if machine == 3 and own == "x86_64":
        return Kind("the program is for i386 (32-bit): the kernel may lack that (CONFIG_IA32_EMULATION)")
    return Kind()
