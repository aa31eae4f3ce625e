"""Who holds a lock that does not come free: asked only for the error that says so."""

from __future__ import annotations

import posix
import time
from typing import Final

from pyrunc.linux import files

# Of a command line, which may be long.
_WORDS: Final = 100
# Seconds that the search for who was left with a lock may take: a container may have a million files open.
_PATIENCE: Final = 0.5


def of(fd: int) -> str:
    """The process that has a flock(2) on what fd is open on, in words: "process 12 (pyrunc start box)".

    It is who took the lock, as /proc/locks has it (proc(5)), or, where that has ended, a child that it was left to.
    """
    status = posix.fstat(fd)
    device = f"{format(posix.major(status.st_dev), '02x')}:{format(posix.minor(status.st_dev), '02x')}"
    place = f"{device}:{status.st_ino}".encode("ascii")
    taker = _taker(place)
    said = _words(taker) or _words(_heir(place, posix.readlink(f"/proc/self/fd/{fd}")))
    if said:
        return said
    if taker:
        return f"a process that process {taker} has left behind"
    return "a process that cannot be seen from here"


def _words(pid: int) -> str:
    """A process and its command line; "" for 0, and for one that has ended, reaped or not."""
    try:
        data = files.read(f"/proc/{pid}/cmdline", limit=4096)
    except OSError:
        return ""
    if not data:
        return ""
    words = data.replace(b"\0", b" ").strip().decode("utf-8", "surrogateescape")
    return f"process {pid} ({words if len(words) <= _WORDS else words[:_WORDS] + '...'})"


def _taker(place: bytes) -> int:
    """The number of the process that took the lock, 0 for none that is known here."""
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


def _heir(place: bytes, path: str) -> int:
    """The number of a process with the descriptor that was locked, 0 for none that the caller may look into.

    In a pid namespace /proc/locks leaves out a lock whose taker has ended. path: of what was locked. Only a descriptor
    of that path is read of: the kernel tells of some others when their owner, a container perhaps, lets it, or never.
    """
    deadline = time.monotonic() + _PATIENCE
    for pid in filter(str.isdigit, posix.listdir("/proc")):
        try:
            for number in posix.listdir(f"/proc/{pid}/fd"):
                if time.monotonic() > deadline:
                    return 0
                if posix.readlink(f"/proc/{pid}/fd/{number}") == path and _has_lock(
                    f"/proc/{pid}/fdinfo/{number}", place
                ):
                    return int(pid)
        except OSError:
            # It has ended, or is somebody else's.
            continue
    return 0


def _has_lock(fdinfo: str, place: bytes) -> bool:
    """Whether the lock was taken on that descriptor, or on one that it is a copy of."""
    lines = files.read(fdinfo).split(b"\n")
    # lock: 1: FLOCK  ADVISORY  WRITE 712 fd:01:1046 0 EOF
    return any(line.startswith(b"lock:") and b"FLOCK" in line and place in line.split() for line in lines)
