"""linux.intelRdt: the groups of the resctrl file system that the process is in, and what their schemata allow."""

from typing import Any

from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report
from pyrunc.linux import files
from pyrunc.state.container import Container
from pyrunc.steps.intel_rdt import parse_schema

_POINTER = "/linux/intelRdt"
_SCHEMAS = (("l3CacheSchema", "/l3CacheSchema"), ("memBwSchema", "/memBwSchema"))


def compare(report: Report, linux: Any, container: Container, process: Process | None) -> None:
    """Of what state.json says that was made or found for the container."""
    wanted, groups = linux.get("intelRdt"), container.fields.get("intelRdt")
    if not wanted or not groups:
        return
    clos, monitoring = groups["clos"], groups["monitoring"]
    _group(report, "class of service", clos, _POINTER + ("/closID" if wanted.get("closID") else ""), process)
    if monitoring:
        _group(report, "monitoring group", monitoring, _POINTER + "/enableMonitoring", process)
    lines = [(wanted[name], _POINTER + place) for name, place in _SCHEMAS if wanted.get(name)]
    lines += [(line, f"{_POINTER}/schemata/{at}") for at, line in enumerate(wanted.get("schemata", ()))]
    found = _schemata(clos)
    for line, pointer in lines:
        _schema(report, line, found, pointer)


def _group(report: Report, name: str, path: str, pointer: str, process: Process | None) -> None:
    """Whether the process is in a group. A thread's number stands there as well as a process's."""
    row = report.add("intelRdt", name, path, None, pointer)
    text = _read(path + "/tasks")
    if process is None:
        return
    if text is None:
        row.effective, row.differs, row.note = "", True, "the group is not there any more"
    elif str(process.pid) in text.split():
        row.effective = path
    else:
        row.effective, row.differs, row.note = "", True, "the process has been moved"


def _schemata(path: str) -> dict[str, tuple[str, dict[str, int | str]]]:
    """Lines of `schemata`, by resource: as they are written, and what they say."""
    found = {}
    for line in (_read(path + "/schemata") or "").splitlines():
        resource, values = parse_schema(line)
        found[resource] = (line.strip(), values)
    return found


def _schema(report: Report, line: str, found: dict[str, tuple[str, dict[str, int | str]]], pointer: str) -> None:
    """The kernel writes numbers and their order its own way, and names all domains of the machine."""
    resource, values = parse_schema(line)
    text, there = found.get(resource, ("", {}))
    row = report.add("intelRdt", resource or "schema", line, text or None, pointer, differs=False)
    row.differs = bool(found) and any(there.get(domain) != value for domain, value in values.items())


def _read(path: str) -> str | None:
    try:
        return files.read(path).decode("ascii", "replace")
    except OSError:
        return None
