"""What the kernel's log says of a process: seccomp's and the LSMs' denials, who was killed for want of memory, crashes.

/dev/kmsg is read from its beginning to where nothing more is, a record a read(2), and nothing is waited for. It takes
CAP_SYSLOG or kernel.dmesg_restrict=0. Where auditd runs, audit's records go there and not here.
"""

from __future__ import annotations

import errno
import posix
import time
from typing import Final

# Inode of the first pid namespace: PROC_PID_INIT_INO of the kernel's linux/proc_ns.h. The log counts as that one does.
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC
_LINES: Final = 8
_LINE_LIMIT: Final = 400
# Seconds between the log's clock and the ones that we read, at most.
_SLACK: Final = 1.0
# Records at most: none can keep us here.
_RECORDS: Final = 50_000


def of_process(pid: int, start: int) -> list[str]:
    """What it says of one process. start: when it started, in ticks since boot."""
    try:
        if posix.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return []
    except OSError:
        return []
    number = str(pid)
    words = [f" pid={number} ", f"[{number}]", f"Killed process {number} ", f"task {number} "]
    return find(words, start / posix.sysconf("SC_CLK_TCK") - _asleep())


def own_start() -> float:
    """The log's time ten seconds ago: what the kernel has refused to a command of ours."""
    return time.monotonic() - 10


def find(words: list[str], since: float) -> list[str]:
    """The last lines that hold one of the words, from a time on (seconds, CLOCK_MONOTONIC). Raises nothing."""
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
            if len(fields) < 3 or not fields[2].isdigit() or int(fields[2]) / 1e6 < since - _SLACK:
                continue
            if any(word in text + " " for word in words):
                found.append(text[:_LINE_LIMIT])
    finally:
        posix.close(fd)
    return found[-_LINES:]


def _asleep() -> float:
    """Seconds that the machine has slept, which the log's clock does not count."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic())
