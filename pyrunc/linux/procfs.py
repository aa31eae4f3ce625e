"""A procfs of our own for writes that decide about safety (LSM labels, sysctl).

A container's /proc, or one that an image's volume covers, can lead such a write elsewhere (CVE-2019-16884,
CVE-2025-52881). A new procfs instance is mounted nowhere: only its descriptor exists, nothing can be mounted over it.
"""

import errno
import posix

from pyrunc import _linux
from pyrunc.linux import files, mounts

_RESOLVE = _linux.RESOLVE_NO_XDEV | _linux.RESOLVE_NO_SYMLINKS | _linux.RESOLVE_NO_MAGICLINKS | _linux.RESOLVE_BENEATH


def open_private(*, full: bool = False) -> int:
    """A descriptor of a detached procfs of the caller's pid namespace. full: with /proc/sys as well. Raises OSError."""
    try:
        fd = mounts.create("proc", None, [] if full else [("subset", "pid"), ("hidepid", "ptraceable")], 0)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EBUSY, errno.EINVAL):
            raise
        # Nested, with parts of /proc masked, the kernel refuses a new procfs: a copy of the tree that is there.
        # What is mounted over it is caught by RESOLVE_NO_XDEV.
        fd = mounts.clone(-100, "/proc", recursive=True)
    if _linux.fstatfs(fd)[0] != _linux.PROC_SUPER_MAGIC:
        posix.close(fd)
        raise OSError(errno.EINVAL, "not a procfs", "/proc")
    return fd


def write(proc_fd: int, path: str, value: bytes) -> None:
    """Write value to a file below a private procfs in one write(2). Raises OSError."""
    fd = _linux.openat2(proc_fd, path, posix.O_WRONLY | posix.O_CLOEXEC, 0, _RESOLVE)
    try:
        posix.write(fd, value)
    finally:
        posix.close(fd)


def self_name(proc_fd: int) -> str:
    """The caller's process number as this procfs counts it. Raises OSError."""
    return posix.readlink("self", dir_fd=proc_fd)


def start_time(pid: int) -> "int | None":
    """When a process started, in clock ticks since boot (proc(5), stat field 22); None when there is none.

    With the process number it names one process for ever: numbers are used again, start times are not.
    """
    state = process_state(pid)
    return state[1] if state else None


def process_state(pid: int) -> "tuple[str, int] | None":
    """State letter and start time of a process (proc(5), stat fields 3 and 22); None when there is none."""
    try:
        data = files.read("/proc/" + str(pid) + "/stat", limit=4096)
    except OSError:
        return None
    # The name stands in parentheses and may hold any byte, parentheses included.
    fields = data[data.rfind(b")") + 2 :].split()
    return fields[0].decode("ascii"), int(fields[19])
