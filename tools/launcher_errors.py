"""What the launcher and stage two report themselves: the rows of native/failures.h, and the places that report them.

A message is as in the catalogue: {} stands for a path that is built in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

NATIVE = Path(__file__).parent.parent / "native"
#: What writes to a descriptor: only report.h may, for an error. finish.c's protocol is the creator's.
_SPEAKS = re.compile(r"\b(?:(?:[df]?printf|fputs|puts|perror|errx?|PyErr_Print)(?=\()|SYS_write, 2\b)")
#: The maker of an image, a program of the build, may print a traceback, and an address for tools/image.py.
_ALLOWED = {("stage2.c", "PyErr_Print"), ("image.c", "printf")}


class Row(NamedTuple):
    """A row of the table. where: the failure's name. error: errno's name, "" for any other."""

    where: str
    error: str
    message: str
    hint: str


class Report(NamedTuple):
    """A place that reports. where: the failure's name, "" where it is handed on."""

    file: str
    line: int
    where: str


def _text(code: str) -> str:
    """Of adjacent string literals and macros."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"|([A-Z0-9_]+)', code)
    return "".join("{}" if macro else literal for literal, macro in words)


def rows() -> list[Row]:
    """All rows, in their order."""
    code = (NATIVE / "failures.h").read_text()
    table = code[code.index("remedies[] = {") : code.index("\n};", code.index("remedies[]"))]
    part = r'((?:"(?:[^"\\]|\\.)*"|[A-Z0-9_]+|\s)+)'
    found = re.findall(rf"\{{([A-Z_]+), (\w+), {part}, *{part}\}}", table)
    assert len(found) == table.count("\n\t{"), "a row that cannot be read"
    return [Row(where, "" if error == "0" else error, _text(what), _text(hint)) for where, error, what, hint in found]


def reports() -> list[Report]:
    """All places in the C that report a failure, or hand one on."""
    found = []
    for path in sorted(NATIVE.glob("*.c")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"\bfailure\((\w+), ", line) + re.findall(r"\breport\(\w+, ([\w.]+), ", line):
                if not name.startswith(("enum", "char")):
                    found.append(Report(path.name, number, "" if "." in name else name))
    return found


def strangers() -> list[str]:
    """Lines of C that speak past report.h."""
    return [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted(NATIVE.glob("*.[ch]"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in _SPEAKS.findall(line)
        if (path.name, word) not in _ALLOWED
    ]
