"""A container's cgroup as a scope of systemd's: a transient unit that the container process is put into.

systemd makes the cgroup and knows its limits as properties, so that it does not take them back when it writes its files
again (daemon-reload). What it has no property for is written to the cgroup's files after it, by the manager of the
files (v1 or v2), which does all the rest as well. Delegate=true: below the scope everything is ours.
"""

import posix

from pyrunc import cgroups
from pyrunc.cgroups import devices
from pyrunc.cgroups.files import failure
from pyrunc.cgroups.limits2 import quota_of, swap_of, weight_of_shares
from pyrunc.cgroups.v1 import make
from pyrunc.errors import ConfigError, PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from pyrunc.cgroups.dbus import Systemd

    Property = tuple[str, tuple[str, Any]]

_MAX: "Final" = 2**64 - 1


class Place:
    """Where a container's scope is: from linux.cgroupsPath "slice:prefix:name". Raises ConfigError.

    user: of a user's manager. slice_: its slice; unit: its name.
    """

    __slots__ = ("slice_", "unit", "user")

    def __init__(self, cgroups_path: "str | None", container_id: str, *, user: bool) -> None:
        parts = (cgroups_path or ":pyrunc:" + container_id).split(":")
        if len(parts) != 3:
            raise ConfigError(
                'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got '
                + repr(cgroups_path)
                + " instead",
                pointer="/linux/cgroupsPath",
            )
        self.user = user
        self.slice_ = parts[0] or ("user.slice" if user else "system.slice")
        name = parts[2] or container_id
        self.unit = name if name.endswith(".slice") else (parts[1] + "-" if parts[1] else "") + name + ".scope"
        if "/" in self.unit or ".." in self.unit or "\0" in self.unit:
            raise ConfigError("invalid name of a unit: " + repr(self.unit), pointer="/linux/cgroupsPath")
        expand_slice(self.slice_)

    def below(self) -> str:
        """The scope's cgroup below the manager's."""
        return expand_slice(self.slice_) + "/" + self.unit


def expand_slice(name: str) -> str:
    """ "a-b.slice" lies in "a.slice": "/a.slice/a-b.slice" (systemd.slice(5)). Raises ConfigError."""
    stem = name.removesuffix(".slice")
    if stem == name or "/" in name or not stem:
        raise ConfigError("invalid slice name: " + repr(name), pointer="/linux/cgroupsPath")
    if stem == "-":
        return ""
    path = prefix = ""
    for part in stem.split("-"):
        if not part:
            raise ConfigError("invalid slice name: " + repr(name), pointer="/linux/cgroupsPath")
        prefix += ("-" if prefix else "") + part
        path += "/" + prefix + ".slice"
    return path


def properties(resources: "Mapping[str, Any]", *, unified: bool) -> "list[Property]":
    """The unit properties for linux.resources (systemd.resource-control(5)). Pure. Raises ConfigError."""
    found: "list[Property]" = []
    memory = resources.get("memory") or {}
    limit = memory.get("limit") or 0
    if limit:
        found.append(("MemoryMax" if unified else "MemoryLimit", ("t", _MAX if limit == -1 else limit)))
    if unified:
        swap = swap_of(memory.get("swap") or 0, limit, "/linux/resources/memory/swap")
        if swap or (memory.get("swap") or 0) > 0:
            found.append(("MemorySwapMax", ("t", _MAX if swap == -1 else swap)))
        if memory.get("reservation"):
            reservation = memory["reservation"]
            found.append(("MemoryLow", ("t", _MAX if reservation == -1 else reservation)))
    found += _cpu(resources.get("cpu") or {}, unified=unified)
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        # systemd has no limit of none at all.
        found.append(("TasksMax", ("t", _MAX if limit < 0 else max(limit, 1))))
    weight = (resources.get("blockIO") or {}).get("weight") or 0
    if weight and not unified:
        found.append(("BlockIOWeight", ("t", weight)))
    return found


def share(quota: int, period: int) -> int:
    """CPUQuotaPerSecUSec for a quota of microseconds in each period; 0 or less: unlimited.

    systemd keeps hundredths of a processor, and a limit is rounded up.
    """
    return -(-quota * 1_000_000 // (period or 100_000) // 10_000) * 10_000 if quota > 0 else _MAX


def _cpu(cpu: "Mapping[str, Any]", *, unified: bool) -> "list[Property]":
    found: "list[Property]" = []
    shares = cpu.get("shares") or 0
    if shares:
        found.append(("CPUWeight", ("t", weight_of_shares(shares))) if unified else ("CPUShares", ("t", shares)))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if period:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        found.append(("CPUQuotaPerSecUSec", ("t", share(quota, period))))
    if unified:
        for name, key in (("AllowedCPUs", "cpus"), ("AllowedMemoryNodes", "mems")):
            if cpu.get(key):
                found.append((name, ("ay", _mask(cpu[key], "/linux/resources/cpu/" + key))))
    return found


def _mask(text: str, pointer: str) -> bytes:
    """ "0-3,8" as a bit mask, the lowest first. Raises ConfigError."""
    mask = 0
    try:
        for part in text.split(","):
            first, _, last = part.strip().partition("-")
            for number in range(int(first), int(last or first) + 1):
                mask |= 1 << number
    except ValueError:
        raise ConfigError("not a list of numbers: " + repr(text), pointer=pointer) from None
    return mask.to_bytes((mask.bit_length() + 7) // 8 or 1, "little")


def device_properties(resources: "Mapping[str, Any]") -> "list[Property]":
    """The device rules for systemd on cgroup v1, which writes its own idea of them at every daemon-reload: without
    these it would allow all. On v2 it leaves a program that it has not attached alone. Raises ConfigError.
    """
    everything, exceptions = devices.reduce(devices.parse(resources.get("devices") or ()))
    if everything:
        return []
    allowed = []
    for (kind, major, minor), access in exceptions.items():
        letters = "".join(letter for letter in "rwm" if devices.ACCESS[letter] & access)
        for name in ("char", "block") if kind == "a" else ("char",) if kind == "c" else ("block",):
            if minor == devices.ANY:
                allowed.append((name + "-" + ("*" if major == devices.ANY else str(major)), letters))
            elif major != devices.ANY:
                allowed.append((f"/dev/{name}/{major}:{minor}", letters))
            # Of all majors one minor: there is no word for it, so it is lost at a reload.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def annotated(annotations: "Mapping[str, str]") -> "list[Property]":
    """The properties of org.systemd.property.* annotations. Raises ConfigError."""
    from pyrunc.cgroups import gvariant

    found: "list[Property]" = []
    for key, text in annotations.items():
        name = key.removeprefix("org.systemd.property.")
        if name == key:
            continue
        pointer = "/annotations/" + key
        if not name.isascii() or not name.isalpha() or len(name) < 3:
            raise ConfigError("not a property's name: " + repr(name), pointer=pointer)
        signature, value = gvariant.parse(text, pointer)
        if name.endswith("Sec") and not name.endswith("USec") and signature in "nqiuxt":
            # In seconds for people, in microseconds on the bus.
            name, signature, value = name[:-3] + "USec", "t", value * 1_000_000
            if value < 0:
                raise ConfigError("a time below zero", pointer=pointer)
        found.append((name, (signature, value)))
    return found


class Manager:
    """The scope and, for all that concerns its files, the manager of those (inner)."""

    needs_process = True

    def unit(self) -> "dict[str, Any] | None":
        """What state.json keeps of the scope."""
        return {"unit": self.place.unit, "slice": self.place.slice_, "user": self.place.user}

    def __init__(
        self, place: Place, inner: "cgroups.FilesManager", container_id: str, extra: "list[Property]", *, rootless: bool
    ) -> None:
        self.place = place
        self.inner = inner
        self.paths = inner.paths
        self.container_id = container_id
        self.extra = extra
        self.rootless = rootless
        self.started = False

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.inner, name)

    def start(self, pid: int, resources: "Mapping[str, Any]") -> None:
        """Start the scope with a process in it. Raises PyruncError."""
        unified = "" in self.paths
        wanted: "list[Property]" = [
            ("Description", ("s", "pyrunc container " + self.container_id)),
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            # Gone when it is over, failed or not: nothing is left for anybody to collect.
            ("CollectMode", ("s", "inactive-or-failed")),
        ]
        if self.place.unit.endswith(".scope"):
            wanted.insert(1, ("Slice", ("s", self.place.slice_)))
        for name in (
            "CPUAccounting",
            "MemoryAccounting",
            "TasksAccounting",
            "IOAccounting" if unified else "BlockIOAccounting",
        ):
            wanted.append((name, ("b", True)))
        if not unified:
            wanted += device_properties(resources)
        wanted += properties(resources, unified=unified) + self.extra
        bus = connect(self.place.user)
        try:
            # One that failed may still have the name.
            bus.forget_failure(self.place.unit)
            self.started = True
            bus.start(self.place.unit, wanted)
        except PyruncError as error:
            if getattr(error, "name", "").endswith("UnitExists"):
                # Somebody else's, who shall keep it.
                self.started = False
            raise
        finally:
            bus.close()

    def create(self) -> None:
        """systemd has made the cgroup of its own hierarchies, with the process in it; the others of v1 are missing."""
        if "" in self.paths:
            return
        for directory in dict.fromkeys(self.paths.values()):
            try:
                make(directory)
            except OSError as error:
                raise failure("create cgroup " + directory, error, "/linux/cgroupsPath") from None

    def set(self, resources: "Mapping[str, Any]", pointer: "str | None" = "/linux/resources") -> "list[str]":
        return self.inner.set(resources, pointer)

    def update(self, resources: "Mapping[str, Any]", pointer: "str | None" = None) -> "list[str]":
        """To the files, then as properties. Raises PyruncError; the old values hold then."""
        wanted = properties(resources, unified="" in self.paths)
        if not wanted:
            return self.inner.update(resources, pointer)
        # Without systemd nothing is changed.
        bus = connect(self.place.user)
        try:
            warnings = self.inner.update(resources, pointer)
            if "" in self.paths:
                # Of quota and period one may have been asked for alone.
                quota, period = quota_of(self.paths[""])
                number = share(int(quota) if quota != "max" else -1, int(period))
                wanted = [(name, ("t", number) if name == "CPUQuotaPerSecUSec" else value) for name, value in wanted]
            bus.set(self.place.unit, wanted)
        finally:
            bus.close()
        return warnings

    def delete(self, kill: bool = True) -> None:
        """Stop the scope, then remove what is left of its cgroups. Raises PyruncError.

        Does nothing when check() refused the cgroup as somebody else's.
        """
        if self.inner.foreign:
            return
        if kill and self.inner.exists():
            self.inner.kill_all()
        elif not kill and self.inner.pids():
            # Perhaps another container's by now, which systemd would end with the scope.
            self.inner.delete(kill)
            return
        if self.inner.exists() or self.started:
            bus = connect(self.place.user)
            try:
                bus.stop(self.place.unit)
                bus.forget_failure(self.place.unit)
            finally:
                bus.close()
        self.inner.delete(kill)


def connect(user: bool) -> "Systemd":
    """The system's manager, or the calling user's. Raises PyruncError."""
    try:
        from pyrunc.cgroups.dbus import Systemd
    except ImportError as error:
        raise PyruncError(
            "the systemd cgroup driver needs the D-Bus library jeepney: " + str(error),
            step="systemd",
            hint="apt-get install python3-jeepney",
        ) from None
    return Systemd(user=user, session_bus=_session_bus())


def is_users(in_user_namespace: bool) -> bool:
    """Whether the caller's own manager is meant, not the system's.

    The root of a user namespace is a rootless engine's when systemd, whose directory tells, is another root's; in a
    machine container both are the same. Raises PyruncError without systemd.
    """
    try:
        owner = posix.stat("/run/systemd/system").st_uid
    except OSError as error:
        raise PyruncError(
            "systemd is not running on this host, the systemd cgroup driver cannot work",
            step="systemd",
            errno=error.errno,
            hint="leave --systemd-cgroup out",
        ) from None
    return posix.geteuid() != 0 or (in_user_namespace and owner != 0)


def _session_bus() -> "str | None":
    """The path of the user's bus: DBUS_SESSION_BUS_ADDRESS, or `bus` in XDG_RUNTIME_DIR."""
    address = posix.environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    for part in address.split(";"):
        if part.startswith("unix:path="):
            return part[len("unix:path=") :].partition(",")[0]
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return directory + "/bus" if directory else None


def manager(place: Place, container_id: str, annotations: "Mapping[str, str]", *, rootless: bool) -> Manager:
    """The manager for a container that is to be made. Raises PyruncError, ConfigError."""
    host = cgroups.detect()
    top = ""
    if place.user:
        bus = connect(True)
        try:
            top = bus.control_group()
        finally:
            bus.close()
    paths = cgroups.paths(host, top + place.below(), container_id)
    return Manager(
        place, cgroups.files_manager(paths, rootless), container_id, annotated(annotations), rootless=rootless
    )


def reopen(saved: "Mapping[str, Any]", paths: "dict[str, str]", container_id: str, *, rootless: bool) -> Manager:
    """The manager of a container that state.json has kept."""
    place = Place(saved["slice"] + ":x:x", container_id, user=saved["user"])
    place.unit = saved["unit"]
    return Manager(place, cgroups.files_manager(paths, rootless), container_id, [], rootless=rootless)
