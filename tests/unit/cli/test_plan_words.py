"""plan for people: its text, and what it says beside the steps' own words."""

import copy
import importlib
import json
import os
import pkgutil
import pty
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

import pyrunc
from pyrunc.cli.main import main
from pyrunc.cli.plan_words import MARKS, OBJECTS, PHASES, UNDO, parts, phases
from pyrunc.config.default import default_config
from pyrunc.steps import cgroup, hooks
from pyrunc.steps.host import Host
from pyrunc.steps.rootfs.masks import MaskedPaths
from pyrunc.steps.rootfs.root import Rootfs
from pyrunc.steps.step import RUNTIME, Meet, Step
from tests.support.configs import EVERYTHING, write_bundle
from tests.support.plans import MANAGER, plan_of


def test_one_object_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = default_config()
    assert main(["pyrunc", "plan", str(write_bundle(tmp_path / "b", config))]) == 0
    lines = capfd.readouterr().out.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.split()[2:4] == ["mask", "10"]]
    assert lines[at].endswith("mask 10 paths  [/linux/maskedPaths, config-linux.md#masked-paths]")
    assert [line.strip() for line in lines[at + 1 : at + 11]] == config["linux"]["maskedPaths"]
    assert all(line.startswith(" " * 18 + "/") for line in lines[at + 1 : at + 11])
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads == [title for title, _ in PHASES if title != "Hooks"]


def test_objects_of_each_kind() -> None:
    paths = {"memory": "/sys/fs/cgroup/memory/x", "cpu": "/sys/fs/cgroup/cpu/x", "cpuacct": "/sys/fs/cgroup/cpu/x"}
    step: Step = cgroup.MakeCgroup(type(MANAGER)(paths), {"pids": {}}, owner=5)
    objects = ["/sys/fs/cgroup/cpu/x", "/sys/fs/cgroup/memory/x"]
    assert parts(step) == ("make the cgroup and limit pids, owned by uid 5", objects)
    assert parts(MaskedPaths(["/a", "/b"], "", Rootfs("/", None))) == ("mask 2 paths", ["/a", "/b"])
    step = hooks.HooksStep("prestart", [{"path": "/a"}, {"path": "/b"}], RUNTIME, "created")
    assert parts(step) == ("run prestart hooks", ["/a", "/b"])
    # One alone stays where it is.
    step = hooks.HooksStep("prestart", [{"path": "/a"}], RUNTIME, "created")
    assert parts(step) == ("run prestart hooks: /a", [])


def test_the_phases_of_everything() -> None:
    config = copy.deepcopy(EVERYTHING)
    host = Host(rootless=False, in_user_namespace=False, apparmor=True, selinux=True)
    steps = plan_of(config, host, relay=True).steps
    found = phases(steps)
    assert found == sorted(found)
    assert set(found) == set(range(len(PHASES)))
    first = {PHASES[phase][0]: type(steps[found.index(phase)]).__name__ for phase in set(found)}
    assert first["Preparation"] == "MakeFifo"
    assert first["Hooks"] == first["Into the program"] == "Meet"
    assert first["Inside"] == "PivotRoot"


def test_every_undo_has_its_words() -> None:
    """A step that takes something back says what, in plan_words.py."""
    for module in pkgutil.walk_packages(pyrunc.__path__, "pyrunc."):
        if module.name.startswith(("pyrunc.steps", "pyrunc.lifecycle")):
            importlib.import_module(module.name)
    todo, kinds = [Step], set()
    while todo:
        kind = todo.pop()
        kinds.add(kind)
        todo += kind.__subclasses__()
    kinds = {kind for kind in kinds if kind.__module__.startswith("pyrunc.")}
    lacking = [
        kind.__name__
        for kind in kinds
        if kind.undo is not Step.undo and not UNDO.keys() & {one.__name__ for one in kind.__mro__}
    ]
    assert lacking == []
    named = {*UNDO, *MARKS, *OBJECTS}
    assert named - {kind.__name__ for kind in kinds} == set()


def test_json_has_phases_objects_and_undo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", "plan", "--json", str(write_bundle(tmp_path / "b", default_config()))]) == 0
    found = json.loads(capfd.readouterr().out)
    masked = next(one for one in found if one["step"] == "maskedPaths")
    assert masked["phase"] == "Inside" and len(masked["objects"]) == 10
    assert masked["does"].endswith(" ".join(masked["objects"]))
    assert [one["undo"] for one in found if one["step"] == "exec.fifo"] == [UNDO["MakeFifo"]]
    assert {one["undo"] for one in found if one["step"] == "meet"} == {None}


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_on_a_terminal_alone(variables: dict[str, str], coloured: bool, tmp_path: Path, runtime: Path) -> None:
    bundle = write_bundle(tmp_path / "b", default_config())
    pid, master = pty.fork()
    if pid == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ.update({"TERM": "xterm", **variables})
        os.execv(runtime, [str(runtime), "plan", str(bundle)])
    text = b""
    try:
        while chunk := os.read(master, 65536):
            text += chunk
    except OSError:  # EIO: its end
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert (b"\x1b[" in text) == coloured
    assert b"make exec.fifo" in text


def test_what_a_config_names_does_not_drive_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config: Any = default_config()
    config["process"]["args"] = ["sh\x1b]0;x\x07", "a\nb", "\u202egnp.exe"]
    assert main(["pyrunc", "plan", str(write_bundle(tmp_path / "b", config))]) == 0
    out = capfd.readouterr().out
    assert "execute sh\\x1b]0;x\\x07 a\\nb \\u202egnp.exe" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_meetings_are_no_steps() -> None:
    steps = plan_of(default_config(), relay=True).steps
    assert any(isinstance(step, Meet) for step in steps)
