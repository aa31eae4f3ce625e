"""The ordinary stage two as a child of what runs from an image: compile one filter, and end (step.py, native/boot.py).

Standard input: linux.seccomp as JSON. Standard output: the flags, 64 bits, then the program.
"""

from __future__ import annotations

import posix

from pyrunc.errors import PyruncError
from pyrunc.jsontext import loads
from pyrunc.linux import files
from pyrunc.steps.seccomp import compiler


def main() -> int:
    """The exit status: not 0 when it cannot be done, and whoever asked finds out why."""
    try:
        flags, program = compiler.compile_profile(loads(files.read_fd(0, 1 << 30), surrogates=True))
    except PyruncError:
        return 1
    data = flags.to_bytes(8, "little") + program
    return 0 if posix.write(1, data) == len(data) else 1
