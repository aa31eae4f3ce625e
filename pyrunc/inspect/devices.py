"""linux.resources.devices with its defaults beside what judges in the kernel.

cgroup v1 lists its rules. Of cgroup v2's BPF programs the kernel tells, to root, number, name and tag: a hash of the
instructions as they were loaded, so one that was loaded for the same rules has the tag of what would be loaded now.
"""

import array
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyrunc import _linux
from pyrunc.cgroups import device_rules
from pyrunc.cgroups.v2 import device_program
from pyrunc.inspect.report import Report
from pyrunc.linux import files

_POINTER = "/linux/resources/devices"
# Of linux/bpf.h: enum bpf_cmd; programs of a cgroup at most (BPF_CGROUP_MAX_PROGS); and in struct bpf_prog_info the
# places of tag and name.
_OBJ_GET_INFO_BY_FD = 15
_MOST = 64
_TAG = slice(8, 16)
_NAME = slice(64, 80)


class Program(NamedTuple):
    """A program of a cgroup. tag, name: empty where the kernel does not tell them."""

    number: int
    tag: bytes
    name: str


def compare(report: Report, configured: Any, paths: Mapping[str, str]) -> None:
    """paths: the container's cgroups, by controller; "" for cgroup v2."""
    rules = device_rules.parse(configured, _POINTER)
    default, exceptions = device_rules.reduce(rules, pointer=_POINTER)
    # With everything allowed the kernel does not show what is excepted.
    wanted = ["a *:* rwm"] if default else [device_rules.text(device, access) for device, access in exceptions.items()]
    if "" in paths:
        judged = device_program.judged(rules)
        code = device_program.assemble(judged) if judged else b""
        _compare_programs(report, wanted, code, programs(paths[""]))
        return
    try:
        text = files.read(paths["devices"] + "/devices.list").decode().strip()
    except (KeyError, OSError):
        return
    row = report.add("devices", "devices.list", sorted(wanted), sorted(text.split("\n")) if text else [], _POINTER)
    if row.differs:
        less = [rule for rule in row.requested if rule not in row.effective]
        more = [rule for rule in row.effective if rule not in row.requested]
        row.note = "; ".join([f"without {rule}" for rule in less] + [f"with {rule}" for rule in more])


def _compare_programs(report: Report, wanted: list[str], code: bytes, found: Sequence[Program] | None) -> None:
    """All programs of a cgroup must allow, and a service manager's may stand beside ours. code: empty without ours."""
    requested = sorted(wanted)
    if found is None or any(not one.tag for one in found):
        row = report.add("devices", "program", requested, None, _POINTER)
        row.note = "the kernel tells root alone which programs judge"
        return
    ours = [one for one in found if one.tag in tags(code)]
    others = [f"{one.name or 'a program without a name'}, number {one.number}" for one in found if one not in ours]
    is_there = bool(ours) or not code
    row = report.add("devices", "program", requested, requested if is_there else ["other"], _POINTER)
    if not code and not found:
        row.note = "no program judges, and none has to"
    elif not found:
        row.effective, row.note = ["a *:* rwm"], "no program judges: all is allowed"
    elif not is_there:
        row.note = "not the program of these rules: " + "; ".join(others)
    elif others:
        row.note = "beside it, and all must allow: " + "; ".join(others)
    row.differs = not is_there


def tags(code: bytes) -> tuple[bytes, bytes]:
    """What the kernel calls a program that was loaded so: since Linux 6.18 by SHA-256, before by SHA-1. Pure."""
    return hashlib.sha256(code).digest()[:8], hashlib.sha1(code, usedforsecurity=False).digest()[:8]


def programs(directory: str) -> list[Program] | None:
    """Those that decide about devices in a cgroup itself (BPF_PROG_QUERY); None when it is not told."""
    numbers = array.array("I", bytes(4 * _MOST))
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # union bpf_attr, query: target_fd, attach_type, query_flags, attach_flags, prog_ids (u64), prog_cnt.
        attributes = bytearray(_words(fd, _linux.BPF_CGROUP_DEVICE, 0, 0) + _address(numbers) + _words(_MOST, 0))
        _linux.bpf(_linux.BPF_PROG_QUERY, attributes)
    except OSError:
        return None
    finally:
        os.close(fd)
    return [_program(number) for number in numbers[: int.from_bytes(attributes[24:28], "little")]]


def _program(number: int) -> Program:
    info = array.array("B", bytes(256))
    try:
        fd = _linux.bpf(_linux.BPF_PROG_GET_FD_BY_ID, _words(number, 0, 0))
        try:
            # union bpf_attr, info: bpf_fd, info_len, info (u64).
            _linux.bpf(_OBJ_GET_INFO_BY_FD, _words(fd, len(info)) + _address(info))
        finally:
            os.close(fd)
    except OSError:
        return Program(number, b"", "")
    name = info[_NAME].tobytes().partition(b"\0")[0].decode("ascii", "replace")
    return Program(number, info[_TAG].tobytes(), name)


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def _address(buffer: "array.array[int]") -> bytes:
    return buffer.buffer_info()[0].to_bytes(8, "little")
