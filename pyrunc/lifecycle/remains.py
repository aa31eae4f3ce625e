"""What can be seen of a container after its end, or in its life, that nobody has written down: for `why`.

Imported only when something has gone wrong, or is asked.
"""

from __future__ import annotations

import posix
import time
from typing import TYPE_CHECKING, Any

from pyrunc.errors import PyruncError
from pyrunc.lifecycle import kernel_log
from pyrunc.linux import files
from pyrunc.state.container import FIFO

if TYPE_CHECKING:
    from pyrunc.state.container import Container


def started(container: Container) -> str | None:
    """When its program was executed, in RFC 3339; None when it was not yet, or is not known any more.

    `start` takes exec.fifo out of the state's directory; what changes the directory later is `update` alone, which
    leaves a newer state.json.
    """
    try:
        folder = posix.stat(container.directory).st_mtime_ns
        state = posix.stat(container.directory + "/state.json").st_ctime_ns
    except OSError:
        return None
    if (
        files.exists(f"{container.directory}/{FIFO}")
        or folder < state
        or (folder == state and _was_rewritten(container))
    ):
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(folder // 10**9)) + f".{folder % 10**9:09}Z"


def _was_rewritten(container: Container) -> bool:
    return bool(container.fields.get("updated") or container.fields.get("mounts"))


def exit_of(pid: int) -> dict[str, int]:
    """How a process ended that nobody has waited for yet: {"signal": N} or {"exitStatus": N}; {} where it is not known.

    Field 52 of proc(5)'s stat, which the kernel tells to who may trace the process.
    """
    try:
        data = files.read(f"/proc/{pid}/stat", limit=4096)
        fields = data[data.rfind(b")") + 2 :].split()
        status = int(fields[49])
    except (OSError, ValueError, IndexError):
        return {}
    if fields[0] != b"Z":
        return {}
    return (
        {"signal": posix.WTERMSIG(status)} if posix.WIFSIGNALED(status) else {"exitStatus": posix.WEXITSTATUS(status)}
    )


def out_of_memory(manager: Any, start: int) -> dict[str, Any] | None:
    """{"kills": N, "limit": BYTES, "peak": BYTES, "killed": [...]} as far as known; None when nobody was killed.

    start: when the container's process started, in ticks since boot.
    """
    try:
        kills = manager.oom_kills()
    except PyruncError:
        return None
    if not kills:
        return None
    told: dict[str, Any] = {"kills": kills}
    unified = manager.paths.get("")
    folder = unified or manager.paths.get("memory")
    names = ("memory.max", "memory.peak") if unified else ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
    for key, name in zip(("limit", "peak"), names, strict=True):
        try:
            value = files.read(f"{folder}/{name}", limit=64).strip()
        except OSError:
            continue
        if value.isdigit() and int(value) < 1 << 62:
            told[key] = int(value)
    killed = kernel_log.out_of_memory(str(folder), start)
    if killed:
        told["killed"] = killed[-kills:]  # the log's clock is not exact: others may have had the cgroup's name before
    return told
