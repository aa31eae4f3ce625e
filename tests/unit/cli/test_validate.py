"""validate: what it says of a bundle, and that it does nothing to it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.main import main
from pyrunc.config.default import default_config
from tests.support.configs import write_bundle

pytest.importorskip("pyrunc._linux")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path.resolve() / "bundle", default_config())


def test_the_current_directory_is_the_bundle(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.chdir(bundle)
    assert main(["pyrunc", "validate"]) == 0
    assert capfd.readouterr() == (f"{bundle}/config.json: valid\n", "")
    assert main(["pyrunc", "plan"]) == 0


def test_validate_lists_everything(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config: dict[str, Any] = default_config()
    config["root"]["path"] = 1
    config["mounts"][2]["destination"] = ""
    config["process"]["user"]["uid"] = "1"
    write_bundle(bundle, config)
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
