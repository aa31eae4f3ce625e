"""cgroup v2's files as properties of a systemd unit: systemd.resource-control(5), org.freedesktop.systemd1(5).

systemd writes a unit's files again whenever it likes (daemon-reload, set-property), from what it knows. So each file
that has a property is told to it; what has none it leaves alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyrunc.cgroups import device_rules
from pyrunc.cgroups.files import read_file
from pyrunc.errors import ConfigError
from pyrunc.linux import cpulist

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.cgroups.v2.limits import Setting
    from pyrunc.config.types import Resources

    Property = tuple[str, tuple[str, Any]]
    from collections.abc import Mapping


INFINITY: Final = 2**64 - 1

# File: (property, least value it takes, first version of systemd). All are amounts of bytes.
_BYTES: Final = {
    "memory.min": ("MemoryMin", 0, 0),
    "memory.low": ("MemoryLow", 0, 0),
    "memory.high": ("MemoryHigh", 1, 0),
    "memory.max": ("MemoryMax", 1, 0),
    "memory.swap.max": ("MemorySwapMax", 0, 0),
    "memory.zswap.max": ("MemoryZSwapMax", 0, 253),
}
_IDLE: Final = 252
_OOM_POLICY: Final = 253
_THROTTLES: Final = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
# More than any kernel's CPUs (NR_CPUS) or memory nodes (MAX_NUMNODES).
_MOST_NUMBERS: Final = 1 << 16


def share(quota: int, period: int) -> int:
    """CPUQuotaPerSecUSec for a quota of microseconds in each period; 0 or less: unlimited.

    systemd keeps hundredths of a processor, and a limit is rounded up.
    """
    # More than there is a number for is refused by the kernel, in its file.
    return min(-(-quota * 1_000_000 // (period or 100_000) // 10_000) * 10_000, INFINITY) if quota > 0 else INFINITY


def rounded(settings: Sequence[Setting]) -> list[Setting]:
    """settings with each quota as systemd would write it, so that it stays what it is when systemd does."""
    result = []
    for name, value, pointer in settings:
        words = value.split()
        if name == "cpu.max" and len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            period = int(words[1])
            value = f"{share(int(words[0]), period) * period // 1000000} {words[1]}"
        result.append((name, value, pointer))
    return result


def properties(
    settings: Sequence[Setting], directory: str, version: Callable[[], int], *, starting: bool = False
) -> list[Property]:
    """The properties for what is written to a cgroup's files, in the order in which it is; the last word counts.

    directory: the cgroup, which need not be there yet. version: systemd's, asked only when it matters. starting: with
    those that can be set at a unit's start alone. What the kernel would not take has no property: the write of the
    file says why. Raises ConfigError.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value, pointer in settings:
        text = value.strip()
        if name in _BYTES:
            known, least, since = _BYTES[name]
            number = _bytes(text)
            if number is not None and (not since or version() >= since):
                found[known] = ("t", max(number, least))
        elif name == "pids.max":
            number = INFINITY if text == "max" else _number(text)
            if number is not None:
                # systemd has no limit of none at all.
                found["TasksMax"] = ("t", max(number, 1))
        elif name.startswith("cpu."):
            _cpu(found, name, text, directory, version)
        elif name in ("cpuset.cpus", "cpuset.mems"):
            known = "AllowedCPUs" if name == "cpuset.cpus" else "AllowedMemoryNodes"
            found[known] = ("ay", mask(text, pointer))
        elif name.startswith("io."):
            _io(found, name, text)
        elif name == "memory.oom.group" and starting and text in ("0", "1") and version() >= _OOM_POLICY:
            found["OOMPolicy"] = ("s", "kill" if text == "1" else "continue")
    return list(found.items())


def _cpu(found: dict[str, tuple[str, Any]], name: str, text: str, directory: str, version: Callable[[], int]) -> None:
    if name == "cpu.max":
        words = text.split()
        quota = -1 if words[:1] == ["max"] else _number(words[0]) if words else None
        period = _number(words[1]) if len(words) == 2 else None
        if quota and period:
            found["CPUQuotaPeriodUSec"] = ("t", period)
            found["CPUQuotaPerSecUSec"] = ("t", share(quota, period))
    elif name == "cpu.weight":
        weight = _number(text)
        if weight is not None and 1 <= weight <= 10000:
            found["CPUWeight"] = ("t", weight)
    elif name == "cpu.idle" and text in ("0", "1"):
        if text == "1":
            if version() >= _IDLE:
                # The word for it is a weight of 0 (CGROUP_WEIGHT_IDLE).
                found["CPUWeight"] = ("t", 0)
        elif (found.get("CPUWeight") == ("t", 0) or _was_idle(directory)) and version() >= _IDLE:
            # There is no word for the opposite; the kernel gives the weight that it gives to every new cgroup.
            found["CPUWeight"] = ("t", 100)


def _was_idle(directory: str) -> bool:
    try:
        return read_file(directory + "/cpu.idle") == "1"
    except OSError:
        return False


def _io(found: dict[str, tuple[str, Any]], name: str, text: str) -> None:
    words = text.split()
    if not words:
        return
    if name in ("io.weight", "io.bfq.weight"):
        device = words[0] if ":" in words[0] else ""
        weight = _number(words[-1])
        if weight is None or not 1 <= weight <= 10000:
            return
        if name == "io.bfq.weight" and weight > 100:
            # systemd's weights above 100 are eleven times as far from it as BFQ's.
            weight = 100 + (weight - 100) * 11
        if device:
            _append(found, "IODeviceWeight", device, weight)
        else:
            found["IOWeight"] = ("t", weight)
    elif name in ("io.max", "io.latency") and ":" in words[0]:
        for word in words[1:]:
            key, _, limit = word.partition("=")
            number = INFINITY if limit == "max" else _number(limit)
            known = _THROTTLES.get(key) if name == "io.max" else "IODeviceLatencyTargetUSec"
            if known and number is not None:
                _append(found, known, words[0], number)


def _append(found: dict[str, tuple[str, Any]], name: str, device: str, number: int) -> None:
    path = node(device)
    entries = [entry for entry in found.get(name, ("", []))[1] if entry[0] != path]
    found[name] = ("a(st)", [*entries, (path, number)])


def node(device: str) -> str:
    """A path of the block device of these numbers, "259:3", which systemd looks up."""
    try:
        for line in read_file(f"/sys/dev/block/{device}/uevent").split("\n"):
            if line.startswith("DEVNAME="):
                return "/dev/" + line[len("DEVNAME=") :]
    except (OSError, ValueError):
        pass
    return "/dev/block/" + device


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _bytes(text: str) -> int | None:
    """As the kernel reads it (memparse): "max", or a number that a letter may follow."""
    if text == "max":
        return INFINITY
    power = "kmgtpe".find(text[-1:].lower()) + 1 if text else 0
    number = _number(text[:-1] if power else text)
    return None if number is None else min(number << 10 * power, INFINITY)


def mask(text: str, pointer: str) -> bytes:
    """ "0-3,8" as a bit mask, the lowest first; "" is no bit. Raises ConfigError."""
    bits = 0
    for _, first, last in cpulist.ranges(text):
        least, most = _number(first.strip()), _number(last.strip())
        if least is None or most is None or most < least:
            raise ConfigError("not a list of numbers: " + repr(text[:100]), pointer=pointer)
        if most >= _MOST_NUMBERS:
            raise ConfigError(f"no machine has a number {most} of these", pointer=pointer)
        bits |= ((1 << most - least + 1) - 1) << least
    return bits.to_bytes((bits.bit_length() + 7) // 8 or (1 if text else 0), "little")


def v1_properties(resources: Resources) -> list[Property]:
    """The unit properties for linux.resources on cgroup v1; v2's are those of its files (properties.py). Pure."""
    found: list[Property] = []
    limit = resources.get("memory", {}).get("limit") or 0
    if limit:
        found.append(("MemoryLimit", ("t", INFINITY if limit == -1 else limit)))
    cpu = resources.get("cpu", {})
    if cpu.get("shares"):
        found.append(("CPUShares", ("t", cpu["shares"])))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if period:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        found.append(("CPUQuotaPerSecUSec", ("t", share(quota, period))))
    pids = resources.get("pids", {}).get("limit")
    if pids is not None:
        # systemd has no limit of none at all.
        found.append(("TasksMax", ("t", INFINITY if pids < 0 else max(pids, 1))))
    weight = resources.get("blockIO", {}).get("weight") or 0
    if weight:
        found.append(("BlockIOWeight", ("t", weight)))
    return found


def device_properties(resources: Resources) -> list[Property]:
    """The device rules for systemd on cgroup v1, which writes its own idea of them at every daemon-reload: without
    these it would allow all. On v2 it leaves a program that it has not attached alone. Raises ConfigError.
    """
    everything, exceptions = device_rules.reduce(device_rules.parse(resources.get("devices", [])))
    if everything:
        return []
    allowed = []
    for (kind, major, minor), access in exceptions.items():
        letters = "".join(letter for letter in "rwm" if device_rules.ACCESS[letter] & access)
        for name in ("char", "block") if kind == "a" else ("char",) if kind == "c" else ("block",):
            if minor == device_rules.ANY:
                allowed.append((name + "-" + ("*" if major == device_rules.ANY else str(major)), letters))
            elif major != device_rules.ANY:
                allowed.append((f"/dev/{name}/{major}:{minor}", letters))
            # Of all majors one minor: there is no word for it, so it is lost at a reload.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def annotated(annotations: Mapping[str, str]) -> list[Property]:
    """The properties of org.systemd.property.* annotations. Raises ConfigError."""
    from pyrunc.cgroups.systemd import gvariant

    found: list[Property] = []
    for key, text in annotations.items():
        name = key.removeprefix("org.systemd.property.")
        if name == key:
            continue
        pointer = "/annotations/" + key
        if not name.isascii() or not name.isalpha() or len(name) < 3:
            raise ConfigError("not a property's name: " + repr(name), pointer=pointer)
        if name in ("Slice", "Description", "DefaultDependencies") or name.startswith(("PID", "Delegate", "Device")):
            raise ConfigError(f"the property {name} is the runtime's own to set", pointer=pointer)
        signature, value = gvariant.parse(text, pointer)
        if name.endswith("Sec") and not name.endswith("USec") and signature in "nqiuxt":
            # In seconds for people, in microseconds on the bus.
            name, signature, value = name[:-3] + "USec", "t", value * 1_000_000
            if not 0 <= value <= INFINITY:
                raise ConfigError("a time below zero, or beyond what systemd can count", pointer=pointer)
        found.append((name, (signature, value)))
    return found
