"""linux.resources on cgroup v2: what is written to which file (admin-guide/cgroup-v2.rst), with runc's conversions.

0 means "not asked" where it means so to runc, since engines rely on it.
"""

from __future__ import annotations

import math
import posix
from typing import TYPE_CHECKING, Final, Protocol

from pyrunc.cgroups.files import failure, read_file, write_file
from pyrunc.errors import ConfigError, PyruncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import CPU, BlockIO, Memory, Resources, Throttle

    # (file, one line for it, config pointer below resources)
    Setting = tuple[str, str, str]

    class Teller(Protocol):
        """Who is told of a change before it is made: a service manager, which would write its own values else."""

        def tell(self, settings: list[Setting]) -> list[Setting]:
            """What is to be written then. Raises PyruncError, ConfigError."""

        def take_back(self) -> None:
            """What was told last holds no more, since a write has failed. Never fails."""


_DEFAULT_PERIOD: Final = 100000


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1 to 10000) for v1's cpu.shares (2 to 262144), such that 1024 becomes 100 (as runc since 1.3.2)."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def swap_of(swap: int, limit: int, pointer: str) -> int:
    """memory.swap.max for v1's memory plus swap; -1 unlimited, 0 as given. Raises ConfigError."""
    if limit == -1 and swap == 0:
        return -1
    if swap in (-1, 0):
        return swap
    if limit <= 0:
        raise ConfigError("unable to set swap limit without memory limit", pointer=pointer)
    if swap < limit:
        raise ConfigError("memory+swap limit must be >= memory limit", pointer=pointer)
    return swap - limit


def _text(value: int) -> str:
    return "max" if value == -1 else str(value)


def settings(resources: Resources, base: str, directory: str) -> list[Setting]:
    """All writes for resources, in order; directory: the cgroup, to see which files it has. Raises ConfigError."""
    found: list[Setting] = []
    found += _memory(resources.get("memory", {}), base)
    found += _cpu(resources.get("cpu", {}), base, directory)
    limit = resources.get("pids", {}).get("limit")
    if limit is not None:
        # 0 as 1, which forbids as much (as runc).
        found.append(("pids.max", _text(max(limit, 1) if limit >= 0 else -1), "/pids/limit"))
    found += _io(resources.get("blockIO", {}), directory)
    for index, page in enumerate(resources.get("hugepageLimits", [])):
        name = "hugetlb." + page["pageSize"]
        pointer = "/hugepageLimits/" + str(index)
        # Reservations, where the kernel counts them: a process must not map what it can't be given.
        if _has(directory, name + ".rsvd.max"):
            found.append((name + ".rsvd.max", str(page["limit"]), pointer))
        found.append((name + ".max", str(page["limit"]), pointer))
    for device, limits in resources.get("rdma", {}).items():
        words = [device]
        for word, number in (("hca_handle", limits.get("hcaHandles")), ("hca_object", limits.get("hcaObjects"))):
            if number is not None:
                words.append(f"{word}={number}")
        found.append(("rdma.max", " ".join(words), "/rdma"))
    if resources.get("network"):
        raise ConfigError("cgroup v2 has no network classes and priorities", pointer=base + "/network")
    for name, value in resources.get("unified", {}).items():
        if "/" in name or name in ("", ".", ".."):
            raise ConfigError(f"unified resource {name!r} must be a file name", pointer=base + "/unified")
        found += _lines(name, value, "/unified/" + name.replace("~", "~0"), directory)
    if _idles(found):
        # An idle cgroup takes no weight.
        found = [setting for setting in found if setting[0] not in _WEIGHTS]
    return found


_WEIGHTS: Final = ("cpu.weight", "cpu.weight.nice")


def _idles(settings: list[Setting]) -> bool:
    values = [value.strip() for name, value, _ in settings if name == "cpu.idle"]
    return values[-1:] == ["1"]


def warnings(resources: Resources) -> list[str]:
    """What of the resources has no effect."""
    cpu, unified = resources.get("cpu", {}), resources.get("unified", {})
    weight = [name for name in _WEIGHTS if name in unified]
    idle = str(unified.get("cpu.idle", cpu.get("idle"))).strip() == "1"
    found = []
    if idle and (cpu.get("shares") or weight):
        name = weight[0] if weight else "cpu.shares"
        found.append(f"unable to apply both cpu.idle and {name}: an idle cgroup has no weight, {name} is ignored")
    memory = resources.get("memory", {})
    return found + [
        f"memory.{name} is ignored: the kernel no longer has it" for name in ("kernel", "kernelTCP") if memory.get(name)
    ]


def _lines(name: str, value: str, pointer: str, directory: str) -> list[Setting]:
    """A file of one line for each device takes one a write."""
    if name == "cpu.max" and len(value.split()) == 1:
        value = f"{value.strip()} {quota_of(directory)[1]}"
    return [(name, line, pointer) for line in value.split("\n") if line.strip()] or [(name, value, pointer)]


def _memory(memory: Memory, base: str) -> list[Setting]:
    limit = memory.get("limit") or 0
    asked = memory.get("swap") or 0
    swap = swap_of(asked, limit, base + "/memory/swap")
    found: list[Setting] = []
    if swap != 0 or asked > 0:
        found.append(("memory.swap.max", _text(swap), "/memory/swap"))
    if limit != 0:
        found.append(("memory.max", _text(limit), "/memory/limit"))
    reservation = memory.get("reservation") or 0
    if reservation != 0:
        found.append(("memory.low", _text(reservation), "/memory/reservation"))
    for name in ("swappiness", "disableOOMKiller"):
        # An unsigned -1 is how engines say "the host's".
        if memory.get(name) not in (None, 0, False, 0xFFFFFFFFFFFFFFFF):
            raise ConfigError(f"memory.{name} does not exist on cgroup v2", pointer=f"{base}/memory/{name}")
    return found


def _cpu(cpu: CPU, base: str, directory: str) -> list[Setting]:
    found: list[Setting] = []
    for name in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(name):
            raise ConfigError(f"cpu.{name} does not exist on cgroup v2", pointer=f"{base}/cpu/{name}")
    if cpu.get("idle") is not None:
        found.append(("cpu.idle", str(cpu["idle"]), "/cpu/idle"))
    # A weight can't be set for an idle cgroup.
    if cpu.get("shares") and not cpu.get("idle"):
        found.append(("cpu.weight", str(weight_of_shares(cpu["shares"])), "/cpu/shares"))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        # What is not asked for stays. Both are named, since systemd may have written another period just before.
        before = quota_of(directory)
        words = (str(quota) if quota > 0 else "max" if quota else before[0]) + " " + (str(period or before[1]))
        found.append(("cpu.max", words, "/cpu/quota" if quota else "/cpu/period"))
    if cpu.get("burst") is not None:
        found.append(("cpu.max.burst", str(cpu["burst"]), "/cpu/burst"))
    for name, nodes in (("cpus", cpu.get("cpus")), ("mems", cpu.get("mems"))):
        if nodes:
            found.append(("cpuset." + name, nodes, "/cpu/" + name))
    return found


def quota_of(directory: str) -> tuple[str, str]:
    """cpu.max: the quota ("max" for none) and its period, microseconds."""
    words = _before(directory, "cpu.max").split()
    return (words[0], words[1]) if len(words) == 2 else ("max", str(_DEFAULT_PERIOD))


def with_period(resources: Resources, directory: str, known: Callable[[], int]) -> Resources:
    """resources with the period for a quota that is asked for alone, where the cgroup has no quota: what known() says.

    0 is no period. With a quota the file has the right one.
    """
    cpu, unified = resources.get("cpu", {}), resources.get("unified", {})
    words = unified.get("cpu.max", "").split()
    alone = bool(cpu.get("quota") and not cpu.get("period"))
    if not (alone or len(words) == 1) or quota_of(directory)[0] != "max" or not (period := known()):
        return resources
    result = resources.copy()
    if alone:
        result["cpu"] = {**cpu, "period": period}
    if len(words) == 1:
        result["unified"] = {**unified, "cpu.max": f"{words[0]} {period}"}
    return result


# Of the specification, and of io.max.
_THROTTLES: Final[tuple[tuple[Throttle, str], ...]] = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def _io(block: BlockIO, directory: str) -> list[Setting]:
    found: list[Setting] = []
    weight = block.get("weight") or 0
    bfq = _has(directory, "io.bfq.weight")
    if weight:
        if bfq:
            found.append(("io.bfq.weight", str(weight), "/blockIO/weight"))
        else:
            # 10 to 1000 onto 1 to 10000.
            found.append(("io.weight", "default " + str(1 + (weight - 10) * 9999 // 990), "/blockIO/weight"))
    for index, device in enumerate(block.get("weightDevice", [])):
        if device.get("weight"):
            line = f"{device['major']}:{device['minor']} {device['weight']}"
            found.append(("io.bfq.weight", line, "/blockIO/weightDevice/" + str(index)))
    for key, word in _THROTTLES:
        for index, throttle in enumerate(block.get(key, [])):
            line = f"{throttle['major']}:{throttle['minor']} {word}={throttle['rate'] or 'max'}"
            found.append(("io.max", line, f"/blockIO/{key}/{index}"))
    return found


def _has(directory: str, name: str) -> bool:
    try:
        posix.stat(f"{directory}/{name}")
    except OSError:
        return False
    return True


def check_usage(directory: str, resources: Resources, base: str | None) -> None:
    """memory.checkBeforeUpdate: refuse limits at or below what is in use, by which the kernel would kill.

    Raises PyruncError.
    """
    memory = resources.get("memory", {})
    if not memory.get("checkBeforeUpdate"):
        return
    usage = int(_before(directory, "memory.current") or 0)
    # With swap first, as in runc.
    for name, word, limit in (
        ("swap", "memory+swap", memory.get("swap", 0)),
        ("limit", "memory", memory.get("limit", 0)),
    ):
        if 0 < limit <= usage:
            raise PyruncError(
                f"rejecting {word} limit {limit} <= usage {usage}",
                pointer=f"{base}/memory/{name}" if base is not None else None,
            )


def apply(
    directory: str,
    resources: Resources,
    base: str | None,
    *,
    undo: bool,
    teller: Teller | None = None,
) -> None:
    """Write resources to a cgroup. undo: on failure write back what was there. Raises ConfigError, PyruncError."""
    if undo:
        check_usage(directory, resources, base)
    wanted = settings(resources, base or "", directory)
    # Before anybody is told, who would write to the files.
    old = [(name, _old(directory, name, value)) for name, value, _ in wanted] if undo else []
    try:
        if teller is not None:
            wanted = teller.tell(wanted)
        for name, value, pointer in wanted:
            _put(directory, name, value, base + pointer if base is not None else None)
    except PyruncError:
        if teller is not None:
            teller.take_back()
        for name, before in reversed(old):
            try:
                if before:
                    write_file(f"{directory}/{name}", before)
            except OSError:
                continue
        raise


# What stands in no line is without a limit, each file in its own words.
_UNLIMITED: Final = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.latency": "target=0",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
}


def _old(directory: str, name: str, value: str) -> str:
    """What to write to undo the writing of value: the first line of the file, or that of the same device."""
    try:
        lines = read_file(f"{directory}/{name}").split("\n")
    except OSError:
        return ""
    key = value.split()[0] if value.split() else ""
    if name not in _UNLIMITED or key.isdigit():
        return lines[0]
    for line in lines:
        if line.split()[:1] == [key]:
            return line
    return f"{key} {_UNLIMITED[name]}"


def _before(directory: str, name: str) -> str:
    try:
        return read_file(f"{directory}/{name}").partition("\n")[0]
    except OSError:
        return ""


def _put(directory: str, name: str, value: str, pointer: str | None) -> None:
    try:
        write_file(f"{directory}/{name}", value)
    except FileNotFoundError as error:
        controller = name.partition(".")[0]
        if controller not in _controllers(directory) and controller != "cgroup":
            raise PyruncError(
                f"cgroup controller {controller} is not available: cannot write {name}",
                step="cgroup",
                pointer=pointer,
                errno=error.errno,
            ) from None
        if name == "memory.swap.max":
            return  # a kernel without swap accounting: nothing is swapped that could be limited
        raise failure(f"write {value!r} to {directory}/{name}", error, pointer) from None
    except OSError as error:
        raise failure(f"write {value!r} to {directory}/{name}", error, pointer) from None


def _controllers(directory: str) -> list[str]:
    try:
        return read_file(directory + "/cgroup.controllers").split()
    except OSError:
        return []
