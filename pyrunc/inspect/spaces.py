"""The container's namespaces: which they are, how they map ids, and what is set in them (host name, sysctl, time)."""

import json
import os
from typing import Any

from pyrunc import _linux
from pyrunc.config import rules
from pyrunc.inspect.proc import Process, id_map
from pyrunc.inspect.report import Report, escaped
from pyrunc.linux import files
from pyrunc.steps.namespaces import TYPES

# Those whose settings are to be read in them.
_SET_INSIDE = ("ipc", "uts", "network")


def namespaces(report: Report, linux: dict[str, Any], process: Process | None) -> None:
    """linux.namespaces: made, joined by path, or the caller's. effective: their inodes."""
    entries = {entry["type"]: (index, entry) for index, entry in enumerate(linux.get("namespaces", []))}
    for kind, (_, name) in TYPES.items():
        found = process.namespace(name) if process else None
        index, entry = entries.get(kind, (-1, {}))
        path = entry.get("path")
        requested = "joined " + path if path else "new" if entry else "the caller's"
        row = report.add(
            "namespaces", kind, requested, found, f"/linux/namespaces/{index}" if entry else "", differs=False
        )
        own = _inode("/proc/self/ns/" + name)
        if found is None or own is None:
            continue
        if path:
            there = _inode(path)
            row.differs = there not in (None, found)
            row.note = "nothing is at the path any more" if there is None else ""
            row.note = f"at the path is {there} now" if row.differs else row.note
        elif found == own:
            row.differs = bool(entry)
            row.note = "this command's own"


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def mappings(report: Report, linux: dict[str, Any], process: Process | None) -> None:
    """linux.uidMappings and gidMappings, where there is a user namespace: first inside, first outside, how many."""
    kinds = {entry["type"]: entry for entry in linux.get("namespaces", [])}
    if "user" not in kinds:
        return
    for name, file in (("uidMappings", "uid_map"), ("gidMappings", "gid_map")):
        entries = linux.get(name) or ()
        asked = sorted((entry["containerID"], entry["hostID"], entry["size"]) for entry in entries)
        found = id_map(process.text(file)) if process else None
        # Whose namespace it is that is joined, the mapping is, too.
        request = _lines(asked) if asked and not kinds["user"].get("path") else None
        report.add("ids", name, request, None if found is None else _lines(found), "/linux/" + name)


def _lines(extents: list[tuple[int, int, int]]) -> list[str]:
    return [" ".join(map(str, extent)) for extent in extents]


def settings(report: Report, config: dict[str, Any], process: Process | None) -> None:
    """hostname, domainname, linux.sysctl and linux.timeOffsets."""
    linux = config.get("linux", {})
    sysctls = {key: rules.sysctl_path(key) for key in linux.get("sysctl", {})}
    paths = {"hostname": "kernel/hostname", "domainname": "kernel/domainname"}
    found = _read_inside(process, [*paths.values(), *sysctls.values()]) if process else {}
    for name, path in paths.items():
        report.add("host name", name, config.get(name) or None, found.get(path), "/" + name)
    for key, path in sysctls.items():
        asked, value = linux["sysctl"][key], found.get(path)
        row = report.add("sysctl", key, asked, value, "/linux/sysctl/" + escaped(key))
        row.differs = value is not None and value.split() != asked.split()
    offsets = {}
    for line in process.text("timens_offsets").splitlines() if process else ():
        clock, seconds, nanoseconds = line.split()
        offsets[clock] = f"{seconds} s {nanoseconds} ns"
    for clock, offset in linux.get("timeOffsets", {}).items():
        text = f"{offset.get('secs') or 0} s {offset.get('nanosecs') or 0} ns"
        report.add("time offsets", clock, text, offsets.get(clock), "/linux/timeOffsets/" + clock)


def _read_inside(process: Process, paths: list[str]) -> dict[str, str]:
    """Files of /proc/sys as the container's namespaces have them; what cannot be read is left out."""
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            os.close(reader)
            _enter(process)
            with os.fdopen(writer, "w") as pipe:
                json.dump(_values(paths), pipe)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            text = pipe.read()
    finally:
        os.waitpid(helper, 0)
    found: dict[str, str] = json.loads(text) if text else {}
    return found


def _enter(process: Process) -> None:
    """Join what the settings belong to, but not the pid namespace: nobody in the container sees this process."""
    _linux.prctl(_linux.PR_SET_DUMPABLE, 0)
    pidfd = _linux.pidfd_open(process.pid, 0)
    if not process.text("status"):
        raise ProcessLookupError  # it has ended, and the number may be another's
    flags = 0
    for kind in _SET_INSIDE:
        flag, name = TYPES[kind]
        if process.namespace(name) != _inode("/proc/self/ns/" + name):
            flags |= flag
    if not flags:
        return
    try:
        _linux.setns(pidfd, flags)
    except PermissionError:
        # An ordinary user may with the capabilities of the user namespace that they belong to.
        _linux.setns(pidfd, flags | _linux.CLONE_NEWUSER)


def _values(paths: list[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            found[path] = files.read("/proc/sys/" + path, limit=65536).decode("utf-8", "replace").rstrip("\n")
        except OSError:
            continue
    return found
