"""pyrunc diff: what two bundles' plans differ in."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.main import main
from pyrunc.config.default import default_config
from pyrunc.inspect import difference

pytest.importorskip("pyrunc._linux")

Config = dict[str, Any]


class Pair:
    """Two bundles, `a` and `b`, the same until a test changes one."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capfd = capfd
        self.a, self.b = default_config(), default_config()

    def diff(self, *flags: str, status: int = 0) -> str:
        os.chdir(self.folder)
        for name, config in (("a", self.a), ("b", self.b)):
            (self.folder / name / "rootfs").mkdir(parents=True, exist_ok=True)
            (self.folder / name / "config.json").write_text(json.dumps(config))
        assert main(["pyrunc", "--root", str(self.folder / "root"), "diff", *flags, "a", "b"]) == status
        out, err = self.capfd.readouterr()
        assert (err == "") == (status != 1)
        self.error = err
        return out

    def found(self) -> Config:
        answer: Config = json.loads(self.diff("--json"))
        return answer


@pytest.fixture
def pair(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Pair:
    return Pair(tmp_path.resolve(), capfd)


def test_the_same_in_another_place_is_no_difference(pair: Pair) -> None:
    assert pair.diff("--exit-code") == ""
    assert pair.found() == {
        "left": str(pair.folder / "a"),
        "right": str(pair.folder / "b"),
        "same": True,
        "steps": [],
        "values": [],
    }


def test_a_step_on_one_side_alone(pair: Pair) -> None:
    mount = {"destination": "/more", "type": "tmpfs", "source": "tmpfs"}
    pair.b["mounts"].insert(2, mount)
    pair.a["linux"]["namespaces"] = [one for one in pair.a["linux"]["namespaces"] if one["type"] != "ipc"]
    found = pair.found()
    assert [(step["change"], step["step"]) for step in found["steps"]] == [("changed", "clone"), ("added", "mount")]
    added = found["steps"][1]
    assert (added["left"], added["right"]) == (None, {"does": "mount tmpfs on /more", "pointer": "/mounts/2"})
    # What the step is there for is no difference of its own, and the mounts after it are the same.
    assert added["values"] == []
    assert "\n+ container  mount tmpfs on /more  [/mounts/2]\n" in pair.diff()


def test_a_value_behind_a_step_that_says_the_same(pair: Pair) -> None:
    pair.a["linux"]["resources"]["memory"] = {"limit": 1 << 26}
    pair.b["linux"]["resources"]["memory"] = {"limit": 1 << 27}
    (step,) = pair.found()["steps"]
    assert (step["change"], step["step"]) == ("changed", "cgroup")
    pointer = "/linux/resources/memory/limit"
    assert step["values"] == [
        {"left": {"pointer": pointer, "value": 1 << 26}, "right": {"pointer": pointer, "value": 1 << 27}}
    ]
    lines = pair.diff().splitlines()
    assert lines[:2] == [f"--- {pair.folder}/a", f"+++ {pair.folder}/b"]
    assert lines[2].startswith("  runtime    make the cgroup ")
    assert lines[3:] == [f"-     {pointer}: 67108864", f"+     {pointer}: 134217728"]


def test_a_step_that_says_something_else(pair: Pair) -> None:
    pair.b["hostname"] = "other"
    lines = pair.diff().splitlines()[2:]
    assert lines[:2] == [
        "- container  set hostname pyrunc  [/hostname]",
        "+ container  set hostname other  [/hostname]",
    ]


def test_a_step_that_names_several_objects(pair: Pair) -> None:
    """A line each, and only those of one side."""
    pair.b["linux"]["maskedPaths"] = [path for path in pair.a["linux"]["maskedPaths"] if path != "/proc/keys"]
    pair.b["linux"]["maskedPaths"].append("/proc/other")
    lines = pair.diff().splitlines()
    assert "-     /proc/keys" in lines and "+     /proc/other" in lines
    assert [line for line in lines if "/proc/kcore" in line and "/linux/" not in line] == []
    (step,) = [step for step in pair.found()["steps"] if "/proc/keys" in step["left"].get("objects", ())]
    assert "/proc/other" in step["right"]["objects"] and step["left"]["heading"] == step["right"]["heading"]


def test_the_filter_is_told_of_where_there_is_one(pair: Pair) -> None:
    pair.b["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    del pair.b["process"]["noNewPrivileges"]
    (step,) = [step for step in pair.found()["steps"] if step["step"] == "process"]
    assert "seccomp" not in step["left"]["does"]
    assert "load the seccomp filter, drop capabilities" in step["right"]["does"]


def test_steps_in_another_order(pair: Pair) -> None:
    mounts = pair.b["mounts"]
    mounts[4], mounts[5] = mounts[5], mounts[4]
    assert [step["change"] for step in pair.found()["steps"]] == ["moved"]


def test_a_property_that_no_step_is_for(pair: Pair) -> None:
    pair.b["annotations"] = {"org.example/x": "1"}
    found = pair.found()
    assert (found["same"], found["steps"]) == (False, [])
    assert [value["right"]["pointer"] for value in found["values"]] == ["/annotations"]


def test_the_status(pair: Pair) -> None:
    pair.b["hostname"] = "other"
    pair.diff(status=0)
    pair.diff("--exit-code", status=2)


def test_an_error_names_the_bundle(pair: Pair) -> None:
    pair.b["hostname"] = 5
    pair.diff("--exit-code", status=1)
    assert pair.error.count("\n") == 1
    assert str(pair.folder / "b") in pair.error
    assert "/hostname" in pair.error


def test_nothing_is_made(pair: Pair) -> None:
    pair.diff()
    assert sorted(os.listdir(pair.folder)) == ["a", "b"]


@pytest.mark.parametrize(
    ("left", "right", "pointers"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("/a", "/a")]),
        ({"a/b": 1}, {"a~b": 1}, [("/a~1b", None), (None, "/a~0b")]),
        ([1, 2, 3], [2, 3], [("/0", None)]),
        ([{"a": 1}, 2], [{"a": 2}, 2], [("/0/a", "/0/a")]),
        ([1], [1, 2], [(None, "/1")]),
        ({"a": {}}, {"a": []}, [("/a", "/a")]),
    ],
)
def test_where_values_differ(left: Any, right: Any, pointers: "list[tuple[str | None, str | None]]") -> None:
    found = [tuple(side and side[0] for side in value) for value in difference.values(left, right)]
    assert found == pointers
