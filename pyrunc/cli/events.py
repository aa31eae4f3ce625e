"""pyrunc events: what a container uses, and that it ran out of memory, as JSON, one event a line in runc's shape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import PyruncError, StateError, UsageError
from pyrunc.jsontext import dumps

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.state.container import Container

_DEFAULT = 5 * 10**9
# Fields of a line of /proc/PID/net/dev, after the name: eight for what came in, then eight for what went out.
_COUNTERS = ("Bytes", "Packets", "Errors", "Dropped")


def interfaces(container: Container) -> list[dict[str, Any]] | None:
    """The counters of each interface but lo of the container's own network namespace, None when there is none.

    runc, which makes no network, has None always.
    """
    spaces = container.config().get("linux", {}).get("namespaces", [])
    if not any(entry["type"] == "network" for entry in spaces):
        return None
    from pyrunc.linux import files

    try:
        text = files.read(f"/proc/{container.pid}/net/dev").decode("utf-8", "replace")
    except OSError:
        return None  # it has just ended
    found = []
    for line in text.split("\n")[2:]:
        name, colon, numbers = line.partition(":")
        values = [int(word) for word in numbers.split()]
        if colon and name.strip() != "lo" and len(values) >= 16:
            entry: dict[str, Any] = {"Name": name.strip()}
            for direction, offset in (("Rx", 0), ("Tx", 8)):
                for index, counter in enumerate(_COUNTERS):
                    entry[direction + counter] = values[offset + index]
            found.append(entry)
    return found or None


def _stats(container: Container) -> None:
    data = container.manager().stats()
    data["network_interfaces"] = interfaces(container)
    _event(container, "stats", data)


def _event(container: Container, kind: str, data: dict[str, Any] | None = None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container.id}
    if data is not None:
        event["data"] = data
    log.output(dumps(event) + "\n")


def _stream(container: Container, interval: int) -> None:
    """Until the container's cgroup is removed: the statistics every interval (ns), and when memory runs out."""
    import select

    manager = container.manager()
    watch = manager.watch_oom()
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    due = time.monotonic_ns() + interval
    while True:
        left = due - time.monotonic_ns()
        ready = poll.poll(max(0, -(-left // 10**6)))
        if ready:
            ran_out = manager.ran_out_of_memory(watch)
            if ran_out is None:
                return
            if ran_out:
                _event(container, "oom")
        if time.monotonic_ns() >= due:
            due += interval
            try:
                _stats(container)
            except PyruncError as error:
                if not manager.exists():
                    return
                log.error(error)  # once more at the next interval, as runc


def run(call: Call) -> int:
    from pyrunc.state.store import Store

    interval = call.flags["interval"] if "interval" in call.given else _DEFAULT
    container = Store(call.root).load(call.args[0])
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    if container.status() == "stopped":
        raise StateError(f"container with id {container.id} is not running")
    if call.flags["stats"]:
        _stats(container)
    else:
        _stream(container, interval)
    return 0
