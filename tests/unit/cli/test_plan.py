"""plan, and what it has in common with validate: what it says of a bundle, and that it does nothing to it."""

import json
from pathlib import Path

import pytest

from pyrunc.cli.main import main
from pyrunc.config.default import default_config
from tests.support.configs import write_bundle

pytest.importorskip("pyrunc._linux")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path.resolve() / "bundle", default_config())


def test_a_plan_names_processes_pointers_and_sections(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = bundle.parent / "root"
    assert main(["pyrunc", "--root", str(root), "plan", str(bundle)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    steps = [line for line in out.splitlines() if line[:4].strip().isdigit()]
    assert [int(line[:4]) for line in steps] == list(range(1, len(steps) + 1))
    assert {line.split()[1] for line in steps} == {"runtime", "container"}
    assert any("mount proc on /proc  [/mounts/0, config.md#mounts]" in line for line in steps)
    assert "     ------ the container process waits for: " in out
    assert not root.exists()


def test_a_plan_as_json(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", "plan", "--json", "--bundle", str(bundle)]) == 0
    steps = json.loads(capfd.readouterr().out)
    assert {"side", "step", "does", "pointer", "specification", "phase", "objects", "undo"} == set(steps[0])
    assert [step["pointer"] for step in steps if step["step"] == "mount"][:3] == ["/mounts/0", "/mounts/1", "/mounts/2"]


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_two_bundles_are_one_too_many(command: str, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", command, "-b", str(bundle), str(bundle)]) == 1
    assert "two bundles" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["plan", "validate"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1, "a": 2}', "\ufeff{}", "NaN"])
def test_what_is_no_config(command: str, text: str, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (bundle / "config.json").write_text(text)
    assert main(["pyrunc", command, str(bundle)]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "internal error" not in err
