"""Processes of tests: those below this one, and what /proc says of any."""

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper(wanted: bool = True) -> None:
    """Orphans of what the tests start become our children, by which they are found and reaped; or init's again."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants() -> dict[int, str]:
    """All processes below this one, zombies too, with name and state. A pid that was reused is not told apart."""
    parent: dict[int, int] = {}
    what: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                stat = Path("/proc", entry, "stat").read_bytes().decode(errors="replace")
            except OSError:
                continue
            head, tail = stat.rsplit(") ", 1)
            state, ppid = tail.split()[:2]
            parent[int(entry)] = int(ppid)
            what[int(entry)] = f"{head.split('(', 1)[1]} {state}"
    found: dict[int, str] = {}
    todo = [os.getpid()]
    while todo:
        above = todo.pop()
        below = [pid for pid, ppid in parent.items() if ppid == above]
        found.update((pid, what[pid]) for pid in below)
        todo.extend(below)
    return found


def reap() -> None:
    """Collect the orphans that ended. A child that somebody waits for may be among them: its status is lost."""
    for pid, what in descendants().items():
        if what.endswith(" Z"):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


@contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's, with a later start time than all before it.

    The kernel counts start times in clock ticks (proc_pid_stat(5)), and a container is made within one.
    """
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            yield other
        finally:
            other.kill()


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has_ended(pid: int) -> bool:
    """Whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    except FileNotFoundError:
        return True


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")[:-1]
