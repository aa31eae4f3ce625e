"""Processes of tests: those below this one, and what /proc says of any."""

import ctypes
import os
import shlex
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


def status_in(text: str) -> dict[str, str]:
    """The text of a /proc/PID/status, line by line."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    return status_in(Path(f"/proc/{pid}/status").read_text())


def start_time_of(pid: int) -> int:
    """In clock ticks since boot (proc_pid_stat(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19])


def children_of(pid: int) -> list[str]:
    """The programs of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in found]


def has_ended(pid: int) -> bool:
    """Whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    except FileNotFoundError:
        return True


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")[:-1]


def command(*argv: str, timeout: float = 120) -> str:
    """Run a program that must succeed; what it wrote to standard output."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
