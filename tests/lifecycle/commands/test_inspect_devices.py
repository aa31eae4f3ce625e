"""`inspect` of device rules on cgroup v2: the programs of a real cgroup, read back from the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.inspect import devices
from pyrunc.inspect.report import Report, Row
from tests.support.cgroups import CGROUP_ROOT, hierarchies

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="no root: cgroups are made, and BPF programs loaded")

POINTER = "/linux/resources/devices"
FUSE = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]
MORE = [*FUSE, {"allow": True, "type": "b", "major": 8, "access": "r"}]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    if "unified" not in hierarchies():
        pytest.skip("no cgroup v2 hierarchy")
    folder = hierarchies()["unified"] / f"{CGROUP_ROOT[1:]}-devices"
    folder.mkdir()
    yield folder
    folder.rmdir()


def shown(cgroup: Path, rules: Any = FUSE) -> Row:
    report = Report()
    devices.compare(report, rules, {"": str(cgroup)})
    (row,) = report.rows
    return row


def attach(cgroup: Path, rules: Any) -> None:
    """As create does."""
    cgroups.files_manager({"": str(cgroup)}).set({"devices": rules})


def test_the_program_that_was_asked_for(cgroup: Path) -> None:
    attach(cgroup, FUSE)
    (program,) = devices.programs(str(cgroup)) or []
    assert program.name == "pyrunc_devices" and program.number > 0 and len(program.tag) == 8
    row = shown(cgroup)
    assert not row.differs and row.effective == row.requested and row.note == ""
    assert "c 10:229 rwm" in row.effective and row.pointer == POINTER


def test_another_program(cgroup: Path) -> None:
    attach(cgroup, MORE)
    row = shown(cgroup)
    assert row.differs and row.effective == ["other"]
    assert "c 10:229 rwm" in row.requested and "pyrunc_devices, number " in row.note


def test_one_beside_it(cgroup: Path) -> None:
    attach(cgroup, FUSE)
    attach(cgroup, MORE)
    row = shown(cgroup)
    assert not row.differs and row.note.startswith("beside it, and all must allow: pyrunc_devices, number ")


def test_no_program(cgroup: Path) -> None:
    row = shown(cgroup)
    assert row.differs and row.effective == ["a *:* rwm"] and "no program judges" in row.note


def test_all_is_allowed(cgroup: Path) -> None:
    """Then there is no program, and none is missed."""
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}]
    attach(cgroup, rules)
    assert devices.programs(str(cgroup)) == []
    row = shown(cgroup, rules)
    assert not row.differs and row.effective == ["a *:* rwm"] and "none has to" in row.note


def test_who_is_not_told(cgroup: Path) -> None:
    """Without CAP_SYS_ADMIN the kernel tells nothing of them: nothing is claimed."""
    attach(cgroup, FUSE)
    child = os.fork()
    if not child:
        try:
            os.setresuid(1000, 1000, 1000)
            row = shown(cgroup)
            os._exit(0 if row.effective is None and not row.differs and "root alone" in row.note else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
