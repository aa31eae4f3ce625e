"""Device rules on cgroup v2: what the kernel answers to mknod(2) and open(2), against what the rules say."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import Any

from pyrunc.cgroups import device_rules
from pyrunc.cgroups.device_rules import ACCESS, ANY
from pyrunc.cgroups.v2 import device_program
from tests.support.cgroups import CGROUP_ROOT
from tests.support.processes import command

from .support import DISK, TOP, cgroup, limit

# Devices that the kernel has, so that an open() asks the rules and then succeeds.
CHARACTERS = ((1, 3), (1, 5), (1, 8), (1, 11), (5, 1))


def _device() -> tuple[int, int]:
    number = DISK.stat().st_rdev
    return os.major(number), os.minor(number)


def _wanted(rules: list[Any], kind: str, major: int, minor: int, access: int) -> bool:
    """By the rules alone, one kind of access at a time: each is decided by the last rule that names it."""
    return all(device_rules.allowed(rules, kind, major, minor, bit) for bit in (1, 2, 4) if access & bit)


def _refused(act: Any, *args: Any) -> bool:
    try:
        result = act(*args)
    except PermissionError:
        return True
    if isinstance(result, int):
        os.close(result)
    return False


class _Prisoner:
    """Our own process, in a cgroup under rules, for as long as we try them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = TOP / Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
        folder.mkdir(parents=True)

    def __enter__(self) -> _Prisoner:
        return self

    def try_(self, rules: list[Any], asked: list[tuple[str, int, int]], scratch: Path) -> list[str]:
        """What the kernel says other than the rules, for every device and every access to it."""
        nodes = []
        for kind, major, minor in asked:
            node = scratch / f"{kind}-{major}-{minor}"
            if not node.exists():
                os.mknod(node, 0o600 | (0o060000 if kind == "b" else 0o020000), os.makedev(major, minor))
            nodes.append(node)
        folder = self.folder / "rules"
        folder.mkdir()
        device_program.attach(str(folder), rules)
        (folder / "cgroup.procs").write_text("0")
        wrong = []
        try:
            for (kind, major, minor), node in zip(asked, nodes, strict=True):
                fresh = scratch / "fresh"
                verdicts = {ACCESS["m"]: not _refused(os.mknod, fresh, node.stat().st_mode, node.stat().st_rdev)}
                fresh.unlink(missing_ok=True)
                for access, flag in ((2, os.O_RDONLY), (4, os.O_WRONLY), (6, os.O_RDWR)):
                    verdicts[access] = not _refused(os.open, node, flag | os.O_NONBLOCK)
                for access, allowed in verdicts.items():
                    if allowed != _wanted(rules, kind, major, minor, access):
                        wrong.append(f"{rules}: {kind} {major}:{minor} access {access}: kernel says {allowed}")
        finally:
            (self.home / "cgroup.procs").write_text("0")
            folder.rmdir()
        return wrong

    def __exit__(self, *_: object) -> None:
        self.folder.rmdir()


def test_every_rule_alone_and_rules_in_a_row(tmp_path: Path) -> None:
    """The whole language: type, number or none, every access, allow and deny, alone and one after another."""
    block = ("b", *_device())
    asked = [*(("c", *pair) for pair in CHARACTERS), block]
    single = [
        (allow, kind, major, minor, access)
        for allow in (True, False)
        for kind, major, minor in (
            ("a", ANY, ANY), ("c", ANY, ANY), ("c", 1, ANY), ("c", 1, 3), ("c", ANY, 3), ("b", ANY, ANY), block,
        )
        for access in range(1, 8)
    ]  # fmt: skip
    chance = random.Random(7)
    rows: list[list[Any]] = [[rule] for rule in single]
    rows += [[(True, "a", ANY, ANY, 7), rule] for rule in single]
    rows += [chance.choices(single, k=chance.randint(2, 12)) for _ in range(150)]
    rows += [[*chance.choices(single, k=chance.randint(1, 6)), *device_rules.DEFAULTS] for _ in range(50)]
    rows += [[], [(True, "c", index, index, 7) for index in range(300)]]
    wrong: list[str] = []
    with _Prisoner(TOP / CGROUP_ROOT.lstrip("/") / "devices") as prisoner:
        for rules in rows:
            wrong += prisoner.try_(rules, asked, tmp_path)
    assert wrong == []


def test_in_a_container(bundle: Any) -> None:
    """Denied though the node is there; the defaults always; allowed for reading alone."""
    major, minor = _device()
    script = "; ".join(
        f"{what} >/dev/null 2>&1; echo $?"
        for what in (
            "dd if=/dev/zero of=/dev/null count=1",
            "dd if=/dev/shown of=/dev/null count=1",
            "dd if=/dev/null of=/dev/shown conv=notrunc",
            "dd if=/dev/hidden of=/dev/null count=1",
            "mknod /dev/any c 1 11",
            "dd if=/dev/any of=/dev/null count=1",
        )
    )
    box = bundle("sh", "-c", script)
    box.config["linux"]["devices"] = [
        {"path": "/dev/shown", "type": "b", "major": major, "minor": minor},
        {"path": "/dev/hidden", "type": "c", "major": 1, "minor": 11},
    ]
    capabilities = box.config["process"]["capabilities"]
    for name in ("bounding", "effective", "permitted"):
        capabilities[name] = [*capabilities.get(name, []), "CAP_MKNOD"]
    rule = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"}
    limit(box, devices=[{"allow": False, "access": "rwm"}, rule])
    assert box.run().ok().stdout.split() == ["0", "0", "1", "1", "0", "1"]


def test_all_allowed_needs_no_program(bundle: Any) -> None:
    box = bundle("sleep", "1000")
    limit(box, devices=[{"allow": True, "access": "rwm"}])
    box.create().ok()
    assert "cgroup_device" not in command("bpftool", "cgroup", "list", str(cgroup(box)))
    box.delete("--force").ok()


def test_two_rules_over_one_device(tmp_path: Path) -> None:
    """Every pair of accesses decided by two rules, in each order, for one device: none is left out by chance."""
    wrong: list[str] = []
    with _Prisoner(TOP / CGROUP_ROOT.lstrip("/") / "devices") as prisoner:
        for first, second in itertools.product(range(1, 8), repeat=2):
            for allow in (True, False):
                rules = [(allow, "c", 1, 11, first), (not allow, "c", 1, 11, second)]
                wrong += prisoner.try_([(not allow, "a", ANY, ANY, 7), *rules], [("c", 1, 11)], tmp_path)
    assert wrong == []
