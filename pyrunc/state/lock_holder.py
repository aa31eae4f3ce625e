"""Who holds a lock that does not come free: asked only for the error that says so."""

from __future__ import annotations

import posix
from typing import Final

from pyrunc.linux import files

# Of a command line, which may be long.
_WORDS: Final = 100


def of(fd: int) -> str:
    """The process that has a flock(2) on what fd is open on, in words: "process 12 (pyrunc start box)".

    As /proc/locks has it (proc(5)): who took the lock, which may have ended since and left it to a child.
    """
    pid = _taker(fd)
    if not pid:
        return "a process that cannot be seen from here"
    try:
        data = files.read(f"/proc/{pid}/cmdline", limit=4096)
    except OSError:
        return f"a process that process {pid} has left behind"
    words = data.replace(b"\0", b" ").strip().decode("utf-8", "surrogateescape")
    return "process " + str(pid) + " (" + (words if len(words) <= _WORDS else words[:_WORDS] + "...") + ")"


def _taker(fd: int) -> int:
    """The process number, 0 for none that is known here."""
    status = posix.fstat(fd)
    device = f"{format(posix.major(status.st_dev), '02x')}:{format(posix.minor(status.st_dev), '02x')}"
    place = (f"{device}:{status.st_ino}").encode("ascii")
    try:
        lines = files.read("/proc/locks", limit=4 << 20).split(b"\n")
    except OSError:
        return 0
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 712 fd:01:1046 0 EOF
        fields = line.split()
        if len(fields) >= 6 and fields[1] == b"FLOCK" and fields[5] == place and fields[4].isdigit():
            return int(fields[4])
    return 0
