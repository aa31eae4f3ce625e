"""A container's counters on cgroup v1, in the JSON shape of runc's `events --stats`. Heavy: never on the hot path.

The shape drops what is zero in most places and keeps it in a few, as Go's omitempty does: engines parse just that.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc.cgroups import counters
from pyrunc.cgroups.files import failure
from pyrunc.errors import PyruncError
from pyrunc.linux import cpulist

if TYPE_CHECKING:
    from collections.abc import Mapping

# sysconf(_SC_CLK_TCK) is 100 wherever Linux runs; cpuacct.stat counts in it.
_NANOSECONDS_PER_TICK = 10_000_000

# Which files exist depends on the I/O scheduler and the kernel's configuration: the first group whose first file has
# lines is taken, up to its first file without any.
_COUNTERS = (
    ("sectors", "sectorsRecursive"),
    ("io_service_time", "ioServiceTimeRecursive"),
    ("io_wait_time", "ioWaitTimeRecursive"),
    ("io_merged", "ioMergedRecursive"),
    ("io_queued", "ioQueueRecursive"),
    ("time", "ioTimeRecursive"),
    ("io_serviced", "ioServicedRecursive"),
    ("io_service_bytes", "ioServiceBytesRecursive"),
)
_BLKIO = (
    ("blkio.bfq.", "_recursive", _COUNTERS),
    ("blkio.bfq.", "_recursive", _COUNTERS[6:]),
    ("blkio.", "_recursive", _COUNTERS),
    ("blkio.throttle.", "_recursive", _COUNTERS[6:]),
    ("blkio.throttle.", "", _COUNTERS[6:]),
)

_CPUSET = (
    "cpus",
    "cpu_exclusive",
    "mems",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def read(paths: Mapping[str, str]) -> dict[str, Any]:
    """paths: controller → directory. Controllers that are not mounted, and cgroups that are gone, give empty parts.

    intel_rdt and network_interfaces are not cgroups': the caller fills them. Raises PyruncError.
    """
    return {
        "cpu": _cpu(paths),
        "cpuset": _cpuset(paths.get("cpuset")),
        "memory": _memory(paths.get("memory")),
        "pids": _pids(paths.get("pids")),
        "blkio": _blkio(paths.get("blkio")),
        "hugetlb": _hugetlb(paths.get("hugetlb")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def watch_oom(paths: Mapping[str, str]) -> int:
    """An eventfd registered with memory.oom_control (cgroup-v1/memory.rst 10). Raises PyruncError."""
    directory = paths.get("memory")
    if directory is None:
        raise PyruncError("cannot watch for out-of-memory events: the container has no memory cgroup", step="cgroup")
    event = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
    try:
        control = posix.open(directory + "/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            register = posix.open(directory + "/cgroup.event_control", posix.O_WRONLY | posix.O_CLOEXEC)
            try:
                posix.write(register, f"{event} {control}".encode())
            finally:
                posix.close(register)
        finally:
            posix.close(control)
    except OSError as error:
        posix.close(event)
        raise failure(f"watch {directory}/memory.oom_control", error) from None
    return event


def _cpu(paths: Mapping[str, str]) -> dict[str, Any]:
    usage: dict[str, Any] = {"total": counters.number(paths.get("cpuacct"), "cpuacct.usage")}
    ticks = counters.table(paths.get("cpuacct"), "cpuacct.stat")
    usage["percpu"] = [int(word) for word in counters.text(paths.get("cpuacct"), "cpuacct.usage_percpu").split()]
    # "cpu user system", a line for each processor.
    modes = [line.split() for line in counters.text(paths.get("cpuacct"), "cpuacct.usage_all").split("\n")[1:]]
    usage["percpu_kernel"] = [int(words[2]) for words in modes if len(words) > 2]
    usage["percpu_user"] = [int(words[1]) for words in modes if len(words) > 2]
    usage["kernel"] = ticks.get("system", 0) * _NANOSECONDS_PER_TICK
    usage["user"] = ticks.get("user", 0) * _NANOSECONDS_PER_TICK
    stat = counters.table(paths.get("cpu"), "cpu.stat")
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_time", 0),
    }
    return counters.without_zero(
        {"usage": counters.without_zero(usage, ("kernel", "user")), "throttling": counters.without_zero(throttling)}
    )


def _cpuset(directory: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key in _CPUSET:
        if key in ("cpus", "mems"):
            if members := cpulist.numbers(counters.text(directory, "cpuset." + key)):
                result[key] = members
        else:
            result[key] = counters.number(directory, "cpuset." + key)
    return result


def _memory(directory: str | None) -> dict[str, Any]:
    raw = counters.table(directory, "memory.stat")
    result: dict[str, Any] = {"cache": raw.get("cache", 0)}
    for key, prefix in (
        ("usage", "memory."),
        ("swap", "memory.memsw."),
        ("kernel", "memory.kmem."),
        ("kernelTCP", "memory.kmem.tcp."),
    ):
        entry = {
            "limit": counters.number(directory, prefix + "limit_in_bytes"),
            "usage": counters.number(directory, prefix + "usage_in_bytes"),
            "max": counters.number(directory, prefix + "max_usage_in_bytes"),
            "failcnt": counters.number(directory, prefix + "failcnt"),
        }
        result[key] = counters.without_zero(entry, ("limit", "failcnt"))
    result["raw"] = raw
    return counters.without_zero(result)


def _pids(directory: str | None) -> dict[str, Any]:
    # No limit is 0, and 0 is left out.
    return counters.without_zero(
        {"current": counters.number(directory, "pids.current"), "limit": counters.number(directory, "pids.max")}
    )


def _blkio(directory: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for prefix, suffix, names in _BLKIO:
        for index, (counter, key) in enumerate(names):
            entries = _blkio_entries(counters.text(directory, prefix + counter + suffix))
            if entries:
                result[key] = entries
            elif index == 0:
                break
            else:
                return result
        else:
            return result
    return result


def _blkio_entries(text: str) -> list[dict[str, Any]]:
    """Lines "8:0 Read 1282048" or "8:0 6792", and "Total 3477504" for all devices, which is left out."""
    entries = []
    for line in text.split("\n"):
        words = line.replace(":", " ").split()
        if len(words) < 3:
            continue
        entry = {
            "major": int(words[0]),
            "minor": int(words[1]),
            "op": words[2] if len(words) == 4 else "",
            "value": int(words[-1]),
        }
        entries.append(counters.without_zero(entry))
    return entries


def _hugetlb(directory: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    try:
        names = posix.listdir(directory) if directory else []
    except OSError:
        names = []
    for name in names:
        size = name.removeprefix("hugetlb.").removesuffix(".usage_in_bytes")
        if name != f"hugetlb.{size}.usage_in_bytes" or "." in size:
            continue
        prefix = "hugetlb." + size + (".rsvd." if f"hugetlb.{size}.rsvd.usage_in_bytes" in names else ".")
        entry = {
            "usage": counters.number(directory, prefix + "usage_in_bytes"),
            "max": counters.number(directory, prefix + "max_usage_in_bytes"),
            "failcnt": counters.number(directory, prefix + "failcnt"),
        }
        result[size] = counters.without_zero(entry, ("failcnt",))
    return result
