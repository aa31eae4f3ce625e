"""Which devices a container may use: linux.resources.devices as ordered rules, and as v1's controller takes them.

Pure. A rule decides each of the three kinds of access (read, write, mknod) for each device it matches; of several that
match, the last decides (config-linux.md "Allowed Device list"); before the first rule nothing is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrunc.config.types import DeviceRule

    # (type "a", "c" or "b"; major; minor; access). Major and minor: ANY for all. access: bits of ACCESS.
    Device = tuple[str, int, int]
    Rule = tuple[bool, str, int, int, int]

ANY = -1
# The kernel's bits for device programs (BPF_DEVCG_ACC_*, linux/bpf.h); v1 takes letters.
ACCESS = {"m": 1, "r": 2, "w": 4}
ALL = 7
_MAX = 0xFFFFFFFF

# What runc adds after the configured rules, so that no configuration can take it away: mknod of anything, the default
# devices, pseudo-terminals, and tun, whose loss in runc 1.2 broke users.
DEFAULTS: tuple[Rule, ...] = (
    (True, "c", ANY, ANY, 1),
    (True, "b", ANY, ANY, 1),
    (True, "c", 1, 3, ALL),
    (True, "c", 1, 8, ALL),
    (True, "c", 1, 7, ALL),
    (True, "c", 5, 0, ALL),
    (True, "c", 1, 5, ALL),
    (True, "c", 1, 9, ALL),
    (True, "c", 136, ANY, ALL),
    (True, "c", 5, 2, ALL),
    (True, "c", 10, 200, ALL),
)


def parse(configured: Sequence[DeviceRule], pointer: str = "/linux/resources/devices") -> list[Rule]:
    """The configured rules in order, checked. An absent type is "a", an absent (or -1) number means all.

    runc takes type "a" for every device and access whatever else stands in the rule; here its numbers and access count.
    Raises ConfigError.
    """
    rules: list[Rule] = []
    for index, entry in enumerate(configured):
        where = f"{pointer}/{index}"
        kind = entry.get("type") or "a"
        if kind not in ("a", "b", "c"):
            raise ConfigError(f"invalid device type {kind!r}: a, b or c", pointer=where + "/type")
        numbers = []
        for name, number in (("major", entry.get("major", ANY)), ("minor", entry.get("minor", ANY))):
            if not ANY <= number <= _MAX:
                raise ConfigError(f"invalid device number {number}: 0 to {_MAX}", pointer=f"{where}/{name}")
            numbers.append(number)
        access = 0
        for letter in entry.get("access") or "":
            if letter == "a":
                continue  # of no meaning; runc lets it pass
            if letter not in ACCESS:
                raise ConfigError(
                    f"invalid device access {entry['access']!r}: of r, w and m", pointer=where + "/access"
                )
            access |= ACCESS[letter]
        if not access:
            raise ConfigError("device access must not be empty", pointer=where + "/access")
        rules.append((entry["allow"], kind, numbers[0], numbers[1], access))
    return rules


def allowed(rules: Sequence[Rule], kind: str, major: int, minor: int, access: int) -> bool:
    """Whether rules allow all of access (bits) to one device: what a kernel given them must answer."""
    for allow, type_, rule_major, rule_minor, bits in reversed(rules):
        if type_ in ("a", kind) and rule_major in (ANY, major) and rule_minor in (ANY, minor) and bits & access:
            if not allow:
                return False
            access &= ~bits
            if not access:
                return True
    return not access


def reduce(
    rules: Sequence[Rule], defaults: Sequence[Rule] = DEFAULTS, pointer: str = "/linux/resources/devices"
) -> tuple[bool, dict[Device, int]]:
    """The same verdicts as v1's controller holds them: (what holds for all devices, {device: access excepted from it}).

    The controller keeps one default and a set of exceptions, and silently ignores a rule that takes back a part of an
    exception (allow 136:*, then deny 136:5): a configured rule that would is a ConfigError, a default one is left out.
    Exceptions that overlap share read and write, since one of them alone must cover what an open asks for; mknod is
    never asked for together with another access.
    """
    default = False
    exceptions: dict[Device, int] = {}
    for index, (allow, kind, major, minor, access) in enumerate((*rules, *defaults)):
        if kind == "a" and major == ANY and minor == ANY and access == ALL:
            default = allow
            exceptions = {}
            continue
        for type_ in ("c", "b") if kind == "a" else (kind,):
            device = (type_, major, minor)
            shared = [(other, both) for other in exceptions if (both := _both(other, device))]
            if allow != default:
                added = {device: exceptions.get(device, 0) | access}
                for other, both in shared:
                    opened = (exceptions[other] | access) & ~ACCESS["m"]
                    if opened & ~exceptions[other] and opened & ~access:
                        added[both] = added.get(both, exceptions.get(both, 0)) | opened
                exceptions.update(added)
                continue
            hole = [other for other, both in shared if both != other and exceptions[other] & access]
            if hole:
                if index >= len(rules):
                    continue
                raise ConfigError(
                    f"cgroup v1 cannot except {text(device, access)} from {text(hole[0], exceptions[hole[0]])}",
                    pointer=f"{pointer}/{index}",
                )
            for other, both in shared:
                if both == other:
                    exceptions[other] &= ~access
                    if not exceptions[other]:
                        del exceptions[other]
    return default, exceptions


def v1_writes(default: bool, exceptions: Mapping[Device, int]) -> list[tuple[str, list[str]]]:
    """[(file of the devices controller, values)]: what clears all, then the exceptions (cgroup-v1/devices.rst)."""
    everything, exception = ("devices.allow", "devices.deny") if default else ("devices.deny", "devices.allow")
    writes = [(everything, ["a"])]
    if exceptions:
        writes.append((exception, [text(device, access) for device, access in exceptions.items()]))
    return writes


def text(device: Device, access: int) -> str:
    """A rule in the controller's words: "c 1:3 rwm", "b 8:* r"."""
    kind, major, minor = device
    numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
    return kind + " " + numbers + " " + "".join(letter for letter in "rwm" if ACCESS[letter] & access)


def _both(one: Device, other: Device) -> Device | None:
    """The devices that both patterns match, as a pattern; None when there is none."""
    if one[0] != other[0]:
        return None
    numbers = []
    for first, second in ((one[1], other[1]), (one[2], other[2])):
        if first == ANY:
            numbers.append(second)
        elif second in (ANY, first):
            numbers.append(first)
        else:
            return None
    return (one[0], numbers[0], numbers[1])
