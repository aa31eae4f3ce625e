"""linux.intelRdt: the container's class of service (CLOS) and monitoring group in the resctrl file system.

Both are directories: the kernel fills them, and a process belongs to one when its number is written to `tasks`
(Documentation/filesystems/resctrl.rst). Loaded only for a config or a container that has intelRdt.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import files, mountinfo
from pyrunc.steps.step import RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import IntelRdt, IntelRdtRecord
    from pyrunc.steps.context import Context


class MakeClos(Step):
    """Find or make the CLOS, and the monitoring group if there is to be one.

    state.json knows of it first, so that delete removes what a killed runtime made. Of a CLOS with a name of its own
    nothing is ever removed by delete: other containers may be in it.
    """

    __slots__ = ("groups", "made", "name_", "rdt")
    name = "intelRdt"
    section = "config-linux.md#intelrdt"
    side = RUNTIME

    def __init__(self, rdt: IntelRdt) -> None:
        Step.__init__(self, "/linux/intelRdt")
        self.rdt = rdt
        self.name_ = rdt.get("closID") or ""
        # What state.json knows: clos and monitoring (paths, "" for none); remove: whether delete removes clos.
        self.groups: IntelRdtRecord = {"clos": "", "monitoring": "", "remove": False}
        # Directories that this create made, the latest last.
        self.made: list[str] = []

    def describe(self) -> str:
        words = "use the resctrl group " + self.name_ if self.name_ else "make a resctrl group named as the container"
        if self._lines():
            words += " with " + ", ".join(self._lines())
        return words + (" and a monitoring group" if self.rdt.get("enableMonitoring") else "")

    def _lines(self) -> list[str]:
        """What goes to `schemata`, in the order that the specification gives."""
        lines = [self.rdt.get("l3CacheSchema"), self.rdt.get("memBwSchema"), *(self.rdt.get("schemata", []))]
        return [line for line in lines if line]

    def apply(self, context: Context) -> None:
        root = mount_point(mountinfo.read("self"))
        if root is None:
            raise ConfigError(
                "intelRdt: no resctrl file system is mounted",
                pointer=self.pointer,
                hint="mount -t resctrl resctrl /sys/fs/resctrl, on a CPU and kernel that have it",
            )
        path = root if self.name_ == "/" else root + "/" + (self.name_ or context.id)
        lines = self._lines()
        there = files.exists(path)
        if self.name_ and not there and not lines:
            raise ConfigError(
                f"intelRdt: there is no CLOS {self.name_}, and no schema to make it with",
                pointer=self.pointer + "/closID",
            )
        monitoring = f"{path}/mon_groups/{context.id}" if self.rdt.get("enableMonitoring") else ""
        self.groups = {"clos": path, "monitoring": monitoring, "remove": not (self.name_ or there)}
        context.record("intelRdt", self.groups)
        if not there:
            self._make(path)
        if self.name_ and there:
            self._compare(path, lines)
        elif lines:
            write_schemata(path, lines)
        if monitoring:
            self._make(monitoring)

    def _make(self, path: str) -> None:
        try:
            make_group(path)
        except OSError as error:
            raise _error(path, "intelRdt: make group " + path, error) from None
        self.made.append(path)

    def _compare(self, path: str, lines: list[str]) -> None:
        """An existing CLOS must be what the config says. The kernel writes numbers and their order its own way."""
        found = {}
        for line in files.read(path + "/schemata").decode("ascii", "replace").split("\n"):
            resource, values = parse_schema(line)
            found[resource] = values
        for line in lines:
            resource, values = parse_schema(line)
            if not values or any(found.get(resource, {}).get(domain) != value for domain, value in values.items()):
                raise ConfigError(
                    f"intelRdt: CLOS {self.name_} exists with another schema than {line}", pointer=self.pointer
                )

    def undo(self, context: Context) -> None:
        while self.made:
            _remove(self.made.pop())


class EnterClos(Step):
    """Put the container process into its CLOS and monitoring group; its children are born into them."""

    __slots__ = ("groups", "made")
    name = "intelRdt"
    section = "config-linux.md#intelrdt"
    side = RUNTIME

    def __init__(self, groups: IntelRdtRecord | None, made: MakeClos | None = None) -> None:
        """groups: of a container that exists, from its state.json. made: the step that makes them, in a create."""
        Step.__init__(self, "/linux/intelRdt")
        self.groups = groups
        self.made = made

    def describe(self) -> str:
        return "put the process into its resctrl groups"

    def apply(self, context: Context) -> None:
        groups = self.made.groups if self.made is not None else self.groups
        assert groups is not None
        for path in (groups["clos"], groups["monitoring"]):
            if path:
                try:
                    files.write(path + "/tasks", str(context.pid).encode("ascii"))
                except OSError as error:
                    raise _error(path, "intelRdt: put the process into " + path, error) from None


def mount_point(data: bytes) -> str | None:
    """Where the resctrl file system is mounted, of a mountinfo; None when it is nowhere. Pure."""
    for entry in mountinfo.parse(data, b" - resctrl "):
        return entry.point
    return None


def parse_schema(line: str) -> tuple[str, dict[str, int | str]]:
    """Resource and values of a line of `schemata` such as "L3:0=7f0;1=1f": hexadecimal, but for bandwidth."""
    resource, _, rest = line.strip().partition(":")
    base = 10 if resource.startswith(("MB", "SMBA")) else 16
    values: dict[str, int | str] = {}
    for part in rest.split(";"):
        domain, equals, value = part.strip().partition("=")
        if equals:
            domain, value = domain.strip().lstrip("0") or "0", value.strip()
            try:
                values[domain] = int(value, base)
            except ValueError:
                values[domain] = value
    return resource.strip(), values


def write_schemata(path: str, lines: list[str]) -> None:
    """Write lines to a group's `schemata`, in one write(2): the kernel takes all or none. Raises PyruncError."""
    try:
        files.write(path + "/schemata", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise _error(path, f"intelRdt: write {', '.join(lines)} to {path}/schemata", error) from None


def make_group(path: str) -> None:
    """mkdir(2): on resctrl it comes with its files. Raises OSError."""
    posix.mkdir(path, 0o755)


def _error(path: str, what: str, error: OSError) -> PyruncError:
    """With the kernel's own words about what it did not like, from the root of the file system that path is in."""
    said = ""
    while path and not said:
        try:
            said = files.read(path + "/info/last_cmd_status", limit=1024).decode("utf-8", "replace").strip()
        except OSError:
            path = path.rpartition("/")[0]
    return PyruncError(what + ": " + reason(error) + (": " + said if said else ""), errno=error.errno)


def remove(groups: IntelRdtRecord) -> None:
    """Remove what a container's record says is its own. Raises PyruncError."""
    for path in (groups["monitoring"], groups["clos"] if groups["remove"] else ""):
        if path:
            try:
                _remove(path)
            except OSError as error:
                raise PyruncError(f"remove {path}: {reason(error)}", errno=error.errno) from None


def remove_group(path: str) -> None:
    """rmdir(2): on resctrl its files go with it, and its processes to the group above. Raises OSError."""
    posix.rmdir(path)


def _remove(path: str) -> None:
    try:
        remove_group(path)
    except OSError as error:
        # ENODEV: the file system was unmounted, and mounted anew, since.
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def update(groups: IntelRdtRecord | None, l3_cache: str, memory_bandwidth: str) -> None:
    """Other schemas for a container's CLOS; "" leaves one as it is. Raises PyruncError."""
    root = mount_point(mountinfo.read("self")) or ""
    for value, resource, words in (
        (l3_cache, "L3", "CAT: l3 cache schema"),
        (memory_bandwidth, "MB", "MBA: memory bandwidth schema"),
    ):
        if value and not (root and files.exists(f"{root}/info/{resource}")):
            raise PyruncError(f"Intel RDT/{words} is not enabled")
    if not groups:
        raise PyruncError("updating a non-existent Intel RDT configuration is not supported")
    write_schemata(groups["clos"], [line for line in (l3_cache, memory_bandwidth) if line])
