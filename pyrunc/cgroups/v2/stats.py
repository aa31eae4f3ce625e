"""A container's counters on cgroup v2, in the JSON shape of runc's `events --stats`. Heavy: never on the hot path."""

from __future__ import annotations

import posix
from typing import Any

from pyrunc.cgroups import counters
from pyrunc.linux import cpulist

_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def read(directory: str) -> dict[str, Any]:
    """directory: the container's cgroup. What is not there gives empty parts. Raises PyruncError."""
    return {
        "cpu": _cpu(directory),
        "cpuset": _cpuset(directory),
        "memory": _memory(directory),
        "pids": counters.without_zero(
            {"current": counters.number(directory, "pids.current"), "limit": counters.number(directory, "pids.max")}
        ),
        "blkio": _with_pressure(_blkio(directory), directory, "io"),
        "hugetlb": _hugetlb(directory),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(directory: str) -> dict[str, Any]:
    stat = counters.table(directory, "cpu.stat")
    usage = {
        "total": stat.get("usage_usec", 0) * 1000,
        "kernel": stat.get("system_usec", 0) * 1000,
        "user": stat.get("user_usec", 0) * 1000,
    }
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_usec", 0) * 1000,
    }
    result = {
        "usage": counters.without_zero(usage, ("kernel", "user")),
        "throttling": counters.without_zero(throttling),
    }
    return _with_pressure(counters.without_zero(result), directory, "cpu")


def _cpuset(directory: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key in ("cpus", "mems"):
        members = cpulist.numbers(counters.text(directory, f"cpuset.{key}.effective"))
        if members:
            result[key] = members
    return result


def _memory(directory: str) -> dict[str, Any]:
    raw = counters.table(directory, "memory.stat")
    events = counters.table(directory, "memory.events")
    usage = {
        "limit": counters.number(directory, "memory.max"),
        "usage": counters.number(directory, "memory.current"),
        "max": counters.number(directory, "memory.peak"),
        "failcnt": events.get("max", 0),
    }
    # v1 counts memory and swap together, and so does this shape.
    swap_limit = counters.number(directory, "memory.swap.max")
    swap = {
        "limit": swap_limit + usage["limit"] if swap_limit else 0,
        "usage": counters.number(directory, "memory.swap.current") + usage["usage"],
        "failcnt": counters.table(directory, "memory.swap.events").get("fail", 0),
    }
    result = {
        "cache": raw.get("file", 0),
        "usage": counters.without_zero(usage, ("limit", "failcnt")),
        "swap": counters.without_zero(swap, ("limit", "failcnt")),
        "raw": raw,
    }
    return _with_pressure(counters.without_zero(result), directory, "memory")


def _blkio(directory: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for line in counters.text(directory, "io.stat").split("\n"):
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for word in rest.split():
            name, _, value = word.partition("=")
            if name in _IO:
                key, operation = _IO[name]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                result.setdefault(key, []).append(counters.without_zero(entry))
    return result


def _hugetlb(directory: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    try:
        names = posix.listdir(directory)
    except OSError:
        names = []
    for name in names:
        if name.startswith("hugetlb.") and name.endswith(".current") and ".rsvd." not in name:
            size = name.split(".")[1]
            entry = {
                "usage": counters.number(directory, name),
                "max": counters.number(directory, f"hugetlb.{size}.max"),
                "failcnt": counters.table(directory, f"hugetlb.{size}.events").get("max", 0),
            }
            result[size] = counters.without_zero(entry, ("failcnt",))
    return result


def _with_pressure(result: dict[str, Any], directory: str, resource: str) -> dict[str, Any]:
    """Pressure stall information, where the kernel keeps it (accounting/psi.rst)."""
    pressure: dict[str, Any] = {}
    for line in counters.text(directory, resource + ".pressure").split("\n"):
        kind, _, rest = line.partition(" ")
        if kind in ("some", "full"):
            values = dict(word.split("=") for word in rest.split())
            pressure[kind] = {name: int(value) if name == "total" else float(value) for name, value in values.items()}
    if pressure:
        result["psi"] = pressure
    return result
