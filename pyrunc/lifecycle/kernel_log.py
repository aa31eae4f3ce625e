"""What the kernel's log says of a process: seccomp's and the LSMs' denials, who was killed for want of memory, crashes.

/dev/kmsg is read from its beginning to where nothing more is, a record a read(2), and nothing is waited for. It takes
CAP_SYSLOG or kernel.dmesg_restrict=0. Where auditd runs, audit's records go there and not here.
"""

from __future__ import annotations

import errno
import math
import posix
import time
from typing import Final

from pyrunc.errors import PyruncError
from pyrunc.linux import procfs

# Inode of the first pid namespace: PROC_PID_INIT_INO of the kernel's linux/proc_ns.h. The log counts as that one does.
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC
_LINES: Final = 8
_LINE_LIMIT: Final = 400
# Seconds between the log's clock and the ones that we read, at most.
_SLACK: Final = 1.0
# Records at most: none can keep us here.
_RECORDS: Final = 50_000


def of_process(pid: int, start: int, ended: float = math.inf) -> list[str]:
    """What it says of one process.

    start: when it started, in ticks since boot. ended: seconds since 1970 at which it had ended, where that is known:
    its number may be another one's since.
    """
    if not _is_ours():
        return []
    words = [f" pid={pid} ", f"[{pid}]", f"Killed process {pid} ", f"task {pid} "]
    return find(words, _moment(start), min(_until(ended), _next_start(pid, start)))


def out_of_memory(folder: str, start: int, ended: float = math.inf) -> list[dict[str, str | int]]:
    """Whom it has killed in a memory cgroup, the last ones: name, pid and uid of each. folder: its directory."""
    found: list[dict[str, str | int]] = []
    for line in find(["oom-kill:"], _moment(start), _until(ended)) if _is_ours() else []:
        # The names of cgroups, which a container may give, stand before.
        group, _, victim = line.rpartition(",task_memcg=")[2].partition(",task=")
        name, _, rest = victim.rpartition(",pid=")
        pid, _, uid = rest.partition(",uid=")
        if pid.isdigit() and uid.isdigit() and _is_within(folder, group):
            found.append({"name": name, "pid": int(pid), "uid": int(uid)})
    return found


def _is_within(folder: str, group: str) -> bool:
    """Whether a cgroup, named from its hierarchy's root, is the one with this directory, or one below it."""
    while len(group) > 1:
        point = folder.removesuffix(group)
        if point != folder and _is_mount(point):
            return True
        group = group.rpartition("/")[0]
    return False


def _is_mount(path: str) -> bool:
    try:
        return posix.stat(path).st_dev != posix.stat(path + "/..").st_dev
    except OSError:
        return False


def _is_ours() -> bool:
    """Whether the log counts processes and cgroups as we do."""
    try:
        return posix.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _moment(start: int) -> float:
    """The log's time of a moment in ticks since boot."""
    return start / posix.sysconf("SC_CLK_TCK") - _asleep()


def _until(ended: float) -> float:
    """The log's time of a moment in seconds since 1970."""
    return time.monotonic() - (time.time() - ended)


def _next_start(pid: int, start: int) -> float:
    """When another process has started that has the number now, by the log's clock; inf when there is none."""
    try:
        other = procfs.start_time(pid)
    except PyruncError:
        return math.inf
    return math.inf if other in (None, start) else _moment(other or 0)


def own_start() -> float:
    """The log's time ten seconds ago: what the kernel has refused to a command of ours."""
    return time.monotonic() - 10


def find(words: list[str], since: float, until: float = math.inf) -> list[str]:
    """The last lines that hold one of the words, between two times (seconds, CLOCK_MONOTONIC). Raises nothing."""
    try:
        fd = posix.open("/dev/kmsg", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError:
        return []
    found: list[str] = []
    try:
        for _ in range(_RECORDS):
            try:
                record = posix.read(fd, 8192)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    continue  # overwritten since: the next one
                break  # EAGAIN: that was all
            if not record:
                break  # another file in its place, as the null device is in containers
            # "priority,number,microseconds,flags;text\n key=value\n"
            head, _, rest = record.decode("utf-8", "replace").partition(";")
            text = rest.partition("\n")[0]
            fields = head.split(",")
            if len(fields) < 3 or not fields[2].isdigit():
                continue
            if not since - _SLACK <= int(fields[2]) / 1e6 <= until + _SLACK:
                continue
            if any(word in text + " " for word in words):
                found.append(text[:_LINE_LIMIT])
    finally:
        posix.close(fd)
    return found[-_LINES:]


def _asleep() -> float:
    """Seconds that the machine has slept, which the log's clock does not count."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic())
