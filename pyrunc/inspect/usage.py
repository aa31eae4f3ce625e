"""What containers use, over an interval: the counters of their cgroups, as `events --stats` has them, twice."""

import time
from collections.abc import Sequence
from typing import Any

from pyrunc.errors import PyruncError
from pyrunc.state.container import Container
from pyrunc.state.store import Store

#: What rows() can be sorted by; all but the name from the most to the least.
KEYS = ("cpu", "memory", "pids", "io", "pressure", "oom", "throttled", "name")
# More than this is how the kernel says that there is no limit.
_ENDLESS = 1 << 62


class Counters:
    """One container's counters at one moment. at: nanoseconds. data: in the shape of `events --stats`."""

    __slots__ = ("at", "container", "data", "oom_kills", "status")

    def __init__(self, container: Container, status: str) -> None:
        manager = container.manager()
        self.container = container
        self.status = status
        self.at = time.monotonic_ns()
        self.data = manager.stats()
        self.oom_kills = manager.oom_kills()

    def number(self, *names: str) -> int | None:
        """A counter by its way through the data, None where it is not kept."""
        found: Any = self.data
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, int) else None

    def bytes(self, operation: str) -> int:
        """What block devices have read or written for it."""
        entries = (self.data.get("blkio") or {}).get("ioServiceBytesRecursive") or ()
        return sum(entry.get("value", 0) for entry in entries if entry.get("op", "").lower() == operation)


#: Counters by what tells a container from a later one of its name.
Sample = dict[tuple[str, int, int], Counters]


def sample(store: Store, names: Sequence[str] = ()) -> Sample:
    """The counters of all containers that have a process, or of these; what goes meanwhile is left out."""
    found = {}
    for container in store.list():
        if names and container.id not in names:
            continue
        try:
            status = container.status()
            if status not in ("stopped", "creating"):
                key = (container.id, container.pid, int(container.fields["start"]))
                found[key] = Counters(container, status)
        except (PyruncError, OSError, ValueError):
            continue
    return found


def rows(before: Sample, now: Sample) -> list[dict[str, Any]]:
    """One object a container of the later sample. What needs two counters is None where the earlier has none."""
    return [_row(before.get(key), counters) for key, counters in now.items()]


def _row(before: Counters | None, now: Counters) -> dict[str, Any]:
    seconds = (now.at - before.at) / 1e9 if before else 0.0
    cpu = _grown(before, now, "cpu", "usage", "total")
    periods = _grown(before, now, "cpu", "throttling", "periods")
    throttled = _grown(before, now, "cpu", "throttling", "throttledPeriods")
    row: dict[str, Any] = {
        "id": now.container.id,
        "status": now.status,
        "pid": now.container.pid,
        "cpu": _rounded(cpu / 1e7 / seconds if seconds and cpu is not None else None),
        "throttled": _rounded(100 * (throttled or 0) / periods if periods else None),
        "memory": now.number("memory", "usage", "usage"),
        "memoryLimit": _limit(now.number("memory", "usage", "limit")),
        "pids": now.number("pids", "current"),
        "pidsLimit": _limit(now.number("pids", "limit")),
    }
    for name, operation in (("read", "read"), ("written", "write")):
        grown = now.bytes(operation) - before.bytes(operation) if before else 0
        row[name] = round(max(0, grown) / seconds) if seconds else None
    row["pressure"] = _pressure(now)
    row["oomKills"] = now.oom_kills
    return row


def _grown(before: Counters | None, now: Counters, *names: str) -> int | None:
    """By how much a counter has grown. One that is left out of the data is 0."""
    if before is None:
        return None
    return max(0, (now.number(*names) or 0) - (before.number(*names) or 0))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _limit(value: int | None) -> int | None:
    return value if value and value < _ENDLESS else None


def _pressure(now: Counters) -> dict[str, float] | None:
    """Of the last ten seconds the share in which something waited (accounting/psi.rst); None without cgroup v2."""
    found = {}
    for name, part in (("cpu", "cpu"), ("memory", "memory"), ("io", "blkio")):
        some = ((now.data.get(part) or {}).get("psi") or {}).get("some")
        if some:
            found[name] = float(some.get("avg10", 0))
    return found or None


def in_order(found: list[dict[str, Any]], key: str, *, reverse: bool = False) -> list[dict[str, Any]]:
    """The rows by one of KEYS, equals by their names; reverse: the other way round."""
    by_name = sorted(found, key=lambda row: str(row["id"]))
    if key == "name":
        return by_name[::-1] if reverse else by_name
    return sorted(by_name, key=lambda row: _weight(row, key), reverse=not reverse)


def _weight(row: dict[str, Any], key: str) -> float:
    if key == "io":
        return float((row["read"] or 0) + (row["written"] or 0))
    if key == "pressure":
        return max((row["pressure"] or {}).values(), default=0.0)
    return float(row["oomKills" if key == "oom" else key] or 0)
