"""pyrunc plan and validate: what they say of a bundle, and that they do nothing to it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.cli.main import main
from pyrunc.config.default import default_config

pytest.importorskip("pyrunc._linux")


@pytest.fixture(autouse=True)
def _undo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # the commands enter the bundle
    yield
    log.setup(None)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "bundle"
    (path / "rootfs").mkdir(parents=True)
    write(path, default_config())
    return path


def write(bundle: Path, config: object) -> None:
    (bundle / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


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


def test_the_current_directory_is_the_bundle(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.chdir(bundle)
    assert main(["pyrunc", "validate"]) == 0
    assert capfd.readouterr() == (f"{bundle}/config.json: valid\n", "")
    assert main(["pyrunc", "plan"]) == 0


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_two_bundles_are_one_too_many(command: str, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", command, "-b", str(bundle), str(bundle)]) == 1
    assert "two bundles" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["plan", "validate"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1, "a": 2}', "\ufeff{}", "NaN"])
def test_what_is_no_config(command: str, text: str, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(bundle, text)
    assert main(["pyrunc", command, str(bundle)]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "internal error" not in err


def test_validate_lists_everything(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config: dict[str, Any] = default_config()
    config["root"]["path"] = 1
    config["mounts"][2]["destination"] = ""
    config["process"]["user"]["uid"] = "1"
    write(bundle, config)
    assert main(["pyrunc", "validate", "--json", str(bundle)]) == 1
    out, err = capfd.readouterr()
    got = json.loads(out)
    assert got["file"] == f"{bundle}/config.json"
    assert got["valid"] is False
    assert {one["pointer"] for one in got["problems"]} == {"/process/user/uid", "/root/path", "/mounts/2/destination"}
    assert all(one["message"] and one["section"].startswith("config") for one in got["problems"])
    assert err.count("\n") == 1
    assert "is not valid; problems: 3" in err
    assert main(["pyrunc", "validate", str(bundle)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [one["pointer"] for one in got["problems"]]


def test_another_config_file(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (bundle / "other.json").write_text("{}")
    os.chdir(bundle.parent)
    assert main(["pyrunc", "validate", "--config", "bundle/other.json", str(bundle)]) == 1
    out, err = capfd.readouterr()
    assert f"{bundle}/other.json is not valid" in err
    assert '"ociVersion" is missing' in out
