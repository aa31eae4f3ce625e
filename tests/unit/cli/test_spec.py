"""pyrunc spec: the config it writes, and the files it will not touch."""

import json
import os
from pathlib import Path

import pytest

from pyrunc.cli.main import main
from pyrunc.config.default import default_config


def test_it_writes_the_default_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pyrunc", "spec"]) == 0
    assert capfd.readouterr() == ("", "")
    text = (tmp_path / "config.json").read_text()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,')
    got = json.loads(text)
    assert got == default_config(cgroup_namespace=os.path.exists("/sys/fs/cgroup/cgroup.controllers"))
    assert got["process"]["args"] == ["sh"]
    assert got["root"] == {"path": "rootfs", "readonly": True}
    assert got["process"]["noNewPrivileges"] is True
    assert {"type": "pid"} in got["linux"]["namespaces"]
    assert {"type": "user"} not in got["linux"]["namespaces"]


def test_another_bundle(tmp_path: Path) -> None:
    assert main(["pyrunc", "spec", "-b", str(tmp_path)]) == 0
    assert (tmp_path / "config.json").is_file()


def test_rootless(tmp_path: Path) -> None:
    assert main(["pyrunc", "spec", "--rootless", "--bundle", str(tmp_path)]) == 0
    got = json.loads((tmp_path / "config.json").read_text())
    types = [namespace["type"] for namespace in got["linux"]["namespaces"]]
    assert "user" in types
    assert "network" not in types
    assert got["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert got["linux"]["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in got["linux"]
    (sys_mount,) = [mount for mount in got["mounts"] if mount["destination"] == "/sys"]
    assert (sys_mount["source"], sys_mount["options"][0]) == ("/sys", "rbind")
    assert not [option for mount in got["mounts"] for option in mount.get("options", ()) if option.startswith("gid=")]


@pytest.mark.parametrize("kind", ["file", "dangling", "directory"])
def test_it_overwrites_nothing(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    if kind == "file":
        config.write_text("mine")
    elif kind == "dangling":
        config.symlink_to(tmp_path / "elsewhere")
    else:
        config.mkdir()
    assert main(["pyrunc", "spec", "-b", str(tmp_path)]) == 1
    assert f"File {config} exists. Remove it first" in capfd.readouterr().err
    assert kind != "file" or config.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("bundle", ["/nonexistent", "/etc/passwd"])
def test_a_bundle_that_is_no_directory(bundle: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", "spec", "-b", bundle]) == 1
    err = capfd.readouterr().err
    assert bundle in err
    assert "internal error" not in err


def test_every_call_makes_a_config_of_its_own() -> None:
    default_config()["process"]["args"].append("x")
    assert default_config()["process"]["args"] == ["sh"]
    one = default_config()["process"]["capabilities"]
    assert one["bounding"] is not one["effective"]


def test_the_project_s_own_check_accepts_it() -> None:
    schema = pytest.importorskip("pyrunc.config.schema")
    for config in (default_config(), default_config(cgroup_namespace=True), default_config(rootless=(1000, 1000))):
        assert schema.accepts(config)
