"""linux.intelRdt. This kernel has no resctrl: what it lacks is an error, and nothing is left.

The rules of the specification are tried in a folder that stands for the file system: there mkdir(2) alone does not
make a group's files, so the test makes them, and what is written and removed is what counts.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.errors import ConfigError, PyruncError
from pyrunc.inspect import rdt
from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report, Row
from pyrunc.state.container import Container
from pyrunc.steps import intel_rdt
from pyrunc.steps.context import Context
from pyrunc.steps.host import Host
from tests.support.workplace import MakeBundle, Workplace

HOST = Host(rootless=False, in_user_namespace=False, apparmor=False, selinux=False)


def mounted() -> bool:
    return intel_rdt.mount_point(Path("/proc/self/mountinfo").read_bytes()) is not None


@pytest.mark.parametrize(
    "rdt", [{}, {"closID": "gold"}, {"l3CacheSchema": "L3:0=f"}, {"closID": "/", "enableMonitoring": True}]
)
def test_without_resctrl_it_is_an_error(bundle: MakeBundle, rdt: dict[str, Any]) -> None:
    if mounted():
        pytest.skip("this kernel has resctrl")
    box = bundle()
    box.config["linux"]["intelRdt"] = rdt
    refused = box.create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "no resctrl file system is mounted" in refused.stderr
    assert "/linux/intelRdt" in refused.stderr


def test_update_without_resctrl(container: MakeBundle, workplace: Workplace) -> None:
    if mounted():
        pytest.skip("this kernel has resctrl")
    box = container("sleep", "1000")
    box.create().ok()
    for flag, words in (
        ("--l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("--mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ):
        refused = workplace.call("update", flag, "X:0=1", box.id)
        assert refused.returncode == 1
        assert words in refused.stderr


# ---- the rules, in a folder ----


class Resctrl:
    """A folder with the files of resctrl's root, in the place of the mounted one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.group(path)
        for name in ("L3", "MB"):
            (path / "info" / name).mkdir(parents=True)
        self.records: list[Any] = []
        self.made: list[Path] = []

    def group(self, path: Path, schemata: str = "MB:0=100\nL3:0=fffff\n") -> Path:
        """Fill a group as the kernel does."""
        path.mkdir(exist_ok=True)
        for name, text in (("schemata", schemata), ("tasks", "")):
            (path / name).write_text(text)
        (path / "mon_groups").mkdir(exist_ok=True)
        return path

    def make(self, path: str) -> None:
        # What state.json says comes before what is made.
        assert path in self.records[-1].values()
        Path(path).mkdir()
        self.made.append(self.group(Path(path)))

    def remove(self, path: str) -> None:
        """rmdir(2): on resctrl the files go with it."""
        folder = Path(path)
        for entry in folder.iterdir():
            entry.rmdir() if entry.is_dir() else entry.unlink()
        folder.rmdir()

    def create(self, rdt: Any, pid: int = 4711) -> intel_rdt.MakeClos:
        context = Context("box", "/bundle", {}, HOST, "/state")  # type: ignore[typeddict-item]
        context.record = lambda name, value: self.records.append(value)
        context.pid = pid
        step = intel_rdt.MakeClos(rdt)
        self.context = context
        self.step = step
        step.apply(context)
        intel_rdt.EnterClos(None, step).apply(context)
        return step

    def tasks(self, *names: str) -> str:
        return self.path.joinpath(*names, "tasks").read_text()

    def schemata(self, *names: str) -> str:
        return self.path.joinpath(*names, "schemata").read_text()

    def groups(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir() if entry.is_dir()} - {"info", "mon_groups"}


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resctrl]:
    made = Resctrl(tmp_path)
    monkeypatch.setattr(intel_rdt, "mount_point", lambda _: str(tmp_path))
    monkeypatch.setattr(intel_rdt, "make_group", made.make)
    monkeypatch.setattr(intel_rdt, "remove_group", made.remove)
    yield made


def test_no_name_makes_a_group_of_the_container_s_own(resctrl: Resctrl) -> None:
    resctrl.create({})
    assert resctrl.groups() == {"box"}
    assert resctrl.tasks("box") == "4711"
    assert resctrl.schemata("box") == "MB:0=100\nL3:0=fffff\n"  # not written
    intel_rdt.remove(resctrl.records[-1])
    assert resctrl.groups() == set()


def test_schemas_are_written_in_the_specification_s_order(resctrl: Resctrl) -> None:
    resctrl.create({"schemata": ["L2:0=f", "L3:0=ff"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=7f0"})
    assert resctrl.schemata("box") == "L3:0=7f0\nMB:0=20\nL2:0=f\nL3:0=ff\n"


def test_a_group_of_its_name_that_was_there_before_stays(resctrl: Resctrl) -> None:
    resctrl.group(resctrl.path / "box")
    resctrl.create({"l3CacheSchema": "L3:0=f"})
    assert resctrl.schemata("box").startswith("L3:0=f\n")
    intel_rdt.remove(resctrl.records[-1])
    assert resctrl.groups() == {"box"}


def test_a_named_group_with_schemas_is_made_and_never_removed(resctrl: Resctrl) -> None:
    resctrl.create({"closID": "gold", "memBwSchema": "MB:0=20"})
    assert resctrl.tasks("gold") == "4711"
    intel_rdt.remove(resctrl.records[-1])
    assert resctrl.groups() == {"gold"}


def test_a_named_group_without_schemas_has_to_be_there(resctrl: Resctrl) -> None:
    with pytest.raises(ConfigError, match="there is no CLOS gold") as caught:
        resctrl.create({"closID": "gold"})
    assert caught.value.pointer == "/linux/intelRdt/closID"
    assert resctrl.records == []
    resctrl.group(resctrl.path / "gold")
    resctrl.create({"closID": "gold"})
    assert resctrl.tasks("gold") == "4711"
    intel_rdt.remove(resctrl.records[-1])
    assert resctrl.groups() == {"gold"}


@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "L3:0=00ff;1=F"},
        {"l3CacheSchema": "L3: 1 = f; 0 = ff "},
        {"memBwSchema": "MB:0=20", "schemata": ["L2:0=3", "L3:1=f"]},
    ],
)
def test_a_named_group_that_is_there_has_to_be_the_same(resctrl: Resctrl, rdt: dict[str, Any]) -> None:
    before = "    L2:0=3\n    MB:0= 20;1=100\n    L3:0=0ff;1=00f\n"
    resctrl.group(resctrl.path / "gold", before)
    resctrl.create({"closID": "gold", **rdt})
    assert resctrl.tasks("gold") == "4711"
    assert resctrl.schemata("gold") == before


@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "L3:0=fe"},
        {"memBwSchema": "MB:0=32"},  # 20 in hexadecimal, but bandwidth is decimal
        {"l3CacheSchema": "L3:0=ff", "schemata": ["L2:1=f"]},
        {"schemata": ["SMBA:0=20"]},
        {"schemata": ["nonsense"]},
    ],
)
def test_another_schema_than_that_of_the_named_group_is_an_error(resctrl: Resctrl, rdt: dict[str, Any]) -> None:
    resctrl.group(resctrl.path / "gold", "MB:0=20\nL3:0=ff\n")
    with pytest.raises(ConfigError, match="exists with another schema"):
        resctrl.create({"closID": "gold", **rdt})
    resctrl.step.undo(resctrl.context)
    assert resctrl.groups() == {"gold"}
    assert resctrl.tasks("gold") == ""


def test_the_default_group(resctrl: Resctrl) -> None:
    resctrl.create({"closID": "/", "enableMonitoring": True})
    assert resctrl.tasks() == "4711"
    assert resctrl.tasks("mon_groups", "box") == "4711"
    intel_rdt.remove(resctrl.records[-1])
    assert list((resctrl.path / "mon_groups").iterdir()) == []
    assert resctrl.schemata() == "MB:0=100\nL3:0=fffff\n"


def test_monitoring_has_a_group_below_the_clos_that_goes_with_the_container(resctrl: Resctrl) -> None:
    resctrl.group(resctrl.path / "gold")
    resctrl.create({"closID": "gold", "enableMonitoring": True})
    assert resctrl.tasks("gold", "mon_groups", "box") == "4711"
    intel_rdt.EnterClos(resctrl.records[-1]).apply(resctrl.context)  # exec
    intel_rdt.remove(resctrl.records[-1])
    assert resctrl.groups() == {"gold"}
    assert list((resctrl.path / "gold/mon_groups").iterdir()) == []
    # A second time: it may have gone with the file system.
    intel_rdt.remove(resctrl.records[-1])


def test_a_monitoring_group_that_cannot_be_made_fails_the_create_and_all_is_as_before(resctrl: Resctrl) -> None:
    (resctrl.path / "info/last_cmd_status").write_text("out of RMIDs\n")
    real = resctrl.make

    def refuse(path: str) -> None:
        if "mon_groups" in path:
            raise OSError(28, os.strerror(28))
        real(path)

    resctrl.make = refuse  # type: ignore[method-assign]
    intel_rdt.make_group = refuse
    with pytest.raises(PyruncError, match="no space left on device: out of RMIDs"):
        resctrl.create({"closID": "gold", "schemata": ["L3:0=f"], "enableMonitoring": True})
    resctrl.step.undo(resctrl.context)
    assert resctrl.groups() == set()


def test_update_writes_the_schemas_of_the_record(resctrl: Resctrl) -> None:
    resctrl.create({})
    intel_rdt.update(resctrl.records[-1], "L3:0=3", "")
    assert resctrl.schemata("box").startswith("L3:0=3\n")
    intel_rdt.update(resctrl.records[-1], "L3:0=7", "MB:0=30")
    assert resctrl.schemata("box").startswith("L3:0=7\nMB:0=30\n")
    with pytest.raises(PyruncError, match="updating a non-existent Intel RDT configuration is not supported"):
        intel_rdt.update(None, "L3:0=3", "")


def test_the_mount_point_is_read_from_mountinfo() -> None:
    lines = b"""21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:27 / /sys/fs/resctrl\\0402 rw,relatime shared:9 - resctrl resctrl rw
31 21 0:28 / /x rw - resctrl resctrl rw
"""
    assert intel_rdt.mount_point(lines) == "/sys/fs/resctrl 2"
    assert intel_rdt.mount_point(lines.splitlines(True)[0]) is None


# ---- inspect ----


def inspected(resctrl: Resctrl, wanted: dict[str, Any], pid: int) -> dict[str, Row]:
    """Rows by name. Of the container counts its record, of the process its number."""
    container = cast("Container", SimpleNamespace(fields={"intelRdt": resctrl.records[-1]}))
    report = Report()
    rdt.compare(report, {"intelRdt": wanted}, container, cast("Process", SimpleNamespace(pid=pid)))
    assert {row.section for row in report.rows} <= {"intelRdt"}
    return {row.name: row for row in report.rows}


def test_inspect_of_what_holds(resctrl: Resctrl) -> None:
    """Whatever way the kernel writes a schema: other domains, zeros before the numbers."""
    wanted = {"l3CacheSchema": "L3:0=f0", "memBwSchema": "MB:0=70", "enableMonitoring": True}
    resctrl.create(wanted)
    (resctrl.path / "box/schemata").write_text("    MB:0=  70;1= 100\n    L3:0=000f0;1=fffff\n")
    rows = inspected(resctrl, wanted, 4711)
    assert set(rows) == {"class of service", "monitoring group", "L3", "MB"}
    assert [name for name, row in rows.items() if row.differs] == []
    assert rows["class of service"].effective == str(resctrl.path / "box")
    assert (rows["L3"].requested, rows["L3"].pointer) == ("L3:0=f0", "/linux/intelRdt/l3CacheSchema")


def test_inspect_of_what_has_been_changed(resctrl: Resctrl) -> None:
    wanted = {"closID": "gold", "schemata": ["L3:0=f0"]}
    resctrl.create(wanted)
    (resctrl.path / "gold/schemata").write_text("L3:0=f\n")
    rows = inspected(resctrl, wanted, 12)
    assert rows["class of service"].differs and rows["class of service"].note == "the process has been moved"
    assert rows["class of service"].pointer == "/linux/intelRdt/closID"
    assert (
        rows["L3"].differs and rows["L3"].effective == "L3:0=f" and rows["L3"].pointer == "/linux/intelRdt/schemata/0"
    )
    resctrl.remove(str(resctrl.path / "gold"))
    assert inspected(resctrl, wanted, 12)["class of service"].note == "the group is not there any more"


def test_inspect_of_a_container_without() -> None:
    report = Report()
    rdt.compare(report, {}, cast("Container", SimpleNamespace(fields={})), None)
    assert report.rows == []
