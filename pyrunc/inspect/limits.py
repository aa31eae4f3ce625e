"""The container's cgroup: where it is, the limits that were asked for and those that the kernel has, and the usage."""

import os
from collections.abc import Mapping
from typing import Any

from pyrunc.cgroups import elsewhere, hierarchies
from pyrunc.cgroups.files import read_file
from pyrunc.cgroups.v1.limits import Limits
from pyrunc.cgroups.v2 import limits as limits2
from pyrunc.errors import PyruncError
from pyrunc.inspect import devices
from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report
from pyrunc.linux import cpulist
from pyrunc.state.container import Container

_BASE = "/linux/resources"
# What is worth telling though nobody asked for it: controller, file.
_USUAL1 = (
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("pids", "pids.max"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
)
_USUAL2 = (
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "pids.max",
    "cpu.weight",
    "cpu.max",
    "cpuset.cpus.effective",
    "cpuset.mems.effective",
)
_USAGE = {
    "memory.limit_in_bytes": "memory.usage_in_bytes",
    "memory.memsw.limit_in_bytes": "memory.memsw.usage_in_bytes",
    "memory.max": "memory.current",
    "memory.swap.max": "memory.swap.current",
    "pids.max": "pids.current",
}
# More than this is how the kernel says that there is no limit (PAGE_COUNTER_MAX).
_ENDLESS = 1 << 62


class Wanted(Limits):
    """What cgroup v1's manager would write for resources: controller, file, value, pointer. Nothing is written."""

    __slots__ = ("settings",)

    def __init__(self, paths: Mapping[str, str], rootless: bool) -> None:
        Limits.__init__(self, paths, rootless, False, (), _BASE)
        self.settings: list[tuple[str, str, str, str]] = []

    def put(self, controller: str, file: str, value: object, pointer: str) -> None:
        self.settings.append((controller, file, str(value), _BASE + pointer))

    def collect(self, resources: Any) -> list[tuple[str, str, str, str]]:
        """Raises PyruncError, ConfigError."""
        for name in ("cpus", "mems"):
            value = resources.get("cpu", {}).get(name)
            if value:
                self.put("cpuset", "cpuset." + name, value, "/cpu/" + name)
        self._limits(resources)
        return self.settings


def compare(report: Report, resources: Any, container: Container, process: Process | None) -> None:
    """resources: of config.json, with what `update` made of them."""
    manager = container.manager()
    paths = manager.paths
    if process:
        _places(report, paths, container, process)
    if "" in paths:
        found = [("", *setting) for setting in limits2.settings(resources, _BASE, paths[""])]
        wanted = [(controller, file, value, _BASE + pointer) for controller, file, value, pointer in found]
        usual: tuple[tuple[str, str], ...] = tuple(("", file) for file in _USUAL2)
    else:
        wanted = Wanted(paths, manager.rootless).collect(resources)
        usual = _USUAL1
    for controller, file, value, pointer in wanted:
        directory = paths.get(controller)
        if directory is not None:
            _limit(report, directory, file, value, pointer)
    asked = {file for _, file, _, _ in wanted}
    for controller, file in usual:
        text = _read(paths.get(controller), file)
        if file not in asked and text is not None:
            row = report.add("limits", file, None, _plain(text))
            row.usage = _usage(paths[controller], file)
    devices.compare(report, resources.get("devices", []), paths)


def _places(report: Report, paths: Mapping[str, str], container: Container, process: Process) -> None:
    """Whether the process is in the cgroup that was made for it, or below."""
    host = hierarchies.detect()
    for names, path in hierarchies.membership(process.text("cgroup").encode()):
        for name in names.split(","):
            key = hierarchies.HYBRID if not name and "" not in paths else name
            if key not in paths:
                continue
            try:
                directory = elsewhere.directory(host, key, path)
            except PyruncError:
                continue  # not to be seen from here
            if (directory + "/").startswith(paths[key] + "/"):
                continue
            row = report.add("limits", "cgroup " + (name or "unified"), paths[key], directory, "/linux/cgroupsPath")
            row.note = "the process has been moved"
    if not any(row.name.startswith("cgroup ") for row in report.rows if row.section == "limits"):
        places = sorted(set(paths.values()))
        report.add("limits", "cgroup", places, places, "/linux/cgroupsPath")


def _limit(report: Report, directory: str, file: str, value: str, pointer: str) -> None:
    text = _read(directory, file)
    row = report.add("limits", file, value, None, pointer)
    if text is None:
        return
    found = _line_of(text, file, value)
    row.effective = _plain(found)
    row.differs = not _same(file, value, found)
    row.usage = _usage(directory, file)


def _read(directory: str | None, file: str) -> str | None:
    try:
        return None if directory is None else read_file(f"{directory}/{file}")
    except OSError:
        return None


def _usage(directory: str, file: str) -> int | None:
    name = _USAGE.get(file)
    if file.startswith("hugetlb."):
        name = file.replace("limit_in_bytes", "usage_in_bytes").replace(".max", ".current")
    text = _read(directory, name) if name else None
    return int(text) if text and text.isdigit() else None


def _line_of(text: str, file: str, value: str) -> str:
    """Of a file with a line for each device or interface, that of the one that value is for."""
    if file == "memory.oom_control":
        return text.partition("\n")[0].rpartition(" ")[2]
    key, space, _ = value.partition(" ")
    if not space or file in ("cpu.max", "cpuset.cpus"):
        # The one value; of the weights of block devices the one without a device.
        first = text.partition("\n")[0]
        return first.removeprefix("default ")
    for line in text.split("\n"):
        if line.split(" ")[0] == key:
            return line
    return ""


def _plain(text: str) -> str:
    """A v1 limit that is none as "-1", which asks for it."""
    return "-1" if text.isdigit() and int(text) >= _ENDLESS else text


def _same(file: str, wanted: str, found: str) -> bool:
    """Whether the kernel has made what it has of what was written: whole pages, no limit in its own words."""
    found = _plain(found)
    if file.startswith("cpuset.") and file not in ("cpuset.cpus.partition",):
        try:
            return set(cpulist.numbers(wanted)) == set(cpulist.numbers(found))
        except ValueError:
            return wanted == found
    if wanted.lstrip("-").isdigit() and found.lstrip("-").isdigit():
        number, there = int(wanted), int(found)
        if number >= _ENDLESS:
            number = -1
        if number < 0 or there < 0:
            return number < 0 and there < 0
        if file.startswith("memory.") and not file.endswith(("swappiness", "oom_control", "use_hierarchy")):
            page = os.sysconf("SC_PAGE_SIZE")
            return number // page == there // page
        if file.startswith("hugetlb."):
            return there in (number, number // _huge(file) * _huge(file))
        return number == there
    # "8:0 rbps=1048576", of which the kernel shows the others, too.
    words = found.split()
    return all(word in words for word in wanted.split()) if "=" in wanted else wanted.split() == words


def _huge(file: str) -> int:
    size = file.split(".")[1]
    return int(size[:-2]) << {"KB": 10, "MB": 20, "GB": 30}.get(size[-2:], 0)
