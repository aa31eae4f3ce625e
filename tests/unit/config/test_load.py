"""config.json as a file: read, refused or taken, without root and without a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config import load, rules, validate
from pyrunc.errors import ConfigError
from tests.support import TOP
from tests.support.configs import DATA, EVERYTHING, minimal, resources

# --- files -----------------------------------------------------------------------------------------------------------

EXPECTED = [
    tuple(line.split(" | ", 2))
    for line in (DATA / "bad_configs/expected.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("name", "place", "text"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_bad_config(name: str, place: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_bundle("/nonexistent", str(DATA / "bad_configs" / (name + ".json")))
    assert text in caught.value.message
    assert (caught.value.pointer or "-") == place
    line = caught.value.line()
    assert "\n" not in line
    assert line.encode()
    assert len(line) < 600
    # validate finds at least the same.
    found, _ = validate.problems("/nonexistent", str(DATA / "bad_configs" / (name + ".json")))
    assert (caught.value.pointer or "", caught.value.message) in [(one.pointer, one.message) for one in found]


def test_every_bad_config_is_expected() -> None:
    assert {row[0] for row in EXPECTED} == {path.stem for path in (DATA / "bad_configs").glob("*.json")}


def test_bundle(tmp_path: Path) -> None:
    text = (DATA / "configs/everything.json").read_bytes()
    (tmp_path / "config.json").write_bytes(text)
    config, data = load.load_bundle(str(tmp_path))
    assert config == EVERYTHING
    assert data == text
    (tmp_path / "other.json").write_text(json.dumps(minimal()))
    config, _ = load.load_bundle(str(tmp_path), str(tmp_path / "other.json"))
    assert config == minimal()
    assert "process" not in config


def test_engines_config() -> None:
    config, _ = load.load_bundle("/nonexistent", str(TOP / "bench/engine-config.json"))
    assert rules.warnings(config) == []


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"JSON specification file \S+/config.json not found"):
        load.load_bundle(str(tmp_path))
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        load.load_bundle(str(tmp_path))
    with pytest.raises(ConfigError, match="embedded null"):
        load.load_bundle("a\0b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        load.load_bundle(str(tmp_path / "loop"))


def test_odd_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 4194304 bytes"):
        load.load_bundle(str(tmp_path), "/dev/zero")
    big = tmp_path / "big.json"
    big.write_bytes(b'{"a": "' + b"x" * 10_000_000 + b'"}')
    with pytest.raises(ConfigError, match="larger than 4194304 bytes"):
        load.load_bundle(str(tmp_path), str(big))
    big.write_bytes(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
    with pytest.raises(ConfigError, match="nested deeper than 128 levels"):
        load.load_bundle(str(tmp_path), str(big))


def test_config_from_a_pipe() -> None:
    """As a shell's <(...): what comes late is waited for."""
    reader, writer = os.pipe()
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; echo '{json.dumps(minimal())}'"], stdout=writer):
        os.close(writer)
        config, _ = load.load_bundle("/nonexistent", f"/proc/self/fd/{reader}")
    os.close(reader)
    assert config == minimal()


def test_process_and_resources() -> None:
    process = load.load_process(b'{"cwd": "/", "args": ["a"], "user": {"uid": 5, "gid": 6}}')
    assert process["user"] == {"uid": 5, "gid": 6}
    with pytest.raises(ConfigError, match="args must not be empty"):
        load.load_process(b'{"cwd": "/"}')
    with pytest.raises(ConfigError, match="contains nul byte") as caught:
        load.load_process(b'{"cwd": "/", "args": ["a", "\\u0000"]}')
    assert caught.value.pointer == "/args/1"
    assert load.load_resources(b'{"memory": {"limit": -1}, "pids": {}}') == {"memory": {"limit": -1}, "pids": {}}
    with pytest.raises(ConfigError) as caught:
        load.load_resources(b'{"cpu": {"quota": 5, "burst": 6}}')
    assert caught.value.pointer == "/cpu/burst"


def test_an_accepted_config_loads_nothing_heavy() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(TOP)!r})
from pyrunc.config import load, rules
config, _ = load.load_bundle("/x", {str(TOP / "bench/engine-config.json")!r})
rules.warnings(config)
print(*sorted(name for name in sys.modules if name.startswith("pyrunc")))
heavy = {{"json", "jsonschema"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [
        "pyrunc",
        "pyrunc._json",
        "pyrunc._linux",
        "pyrunc.config",
        "pyrunc.config._check",
        "pyrunc.config.load",
        "pyrunc.config.rules",
        "pyrunc.config.schema",
        "pyrunc.errors",
        "pyrunc.jsontext",
        "pyrunc.linux",
        "pyrunc.linux.files",
    ]


def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    """As to Go's and C's readers of configs."""
    bundle = minimal(
        hostname=None,
        mounts=None,
        annotations={"a": "b"},
        linux={"timeOffsets": None, "namespaces": [{"type": "time", "path": None}]},
        process={"cwd": "/", "args": ["true"], "capabilities": None, "user": {"uid": 0, "gid": 0, "umask": None}},
    )
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, raw = load.load_bundle(str(tmp_path))
    assert "hostname" not in config and "mounts" not in config
    assert config["linux"] == {"namespaces": [{"type": "time"}]}
    assert set(config["process"]) == {"cwd", "args", "user"}
    assert b"null" in raw
    bundle["ociVersion"] = None
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    with pytest.raises(ConfigError, match='"ociVersion" is missing'):
        load.load_bundle(str(tmp_path))
    with pytest.raises(ConfigError, match="null stands where"):
        load.load_process(b'{"cwd": "/", "args": [null]}')


def test_names_in_another_case(tmp_path: Path) -> None:
    """Taken as their own, told of by validate: to Go's reader upper and lower case are the same."""
    bundle: Any = resources(hugepageLimits=[{"pagesize": "2MB", "LIMIT": 4096}])
    bundle |= {"Hostname": "x", "annotations": {"Root": "y"}, "org.example": {"hostname": 1}}
    bundle["linux"]["namespaces"] = [{"type": "uts"}]
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, text = load.load_bundle(str(tmp_path))
    assert config["linux"]["resources"]["hugepageLimits"] == [{"pageSize": "2MB", "limit": 4096}]
    assert config["annotations"] == {"Root": "y"} and config["hostname"] == "x"
    assert json.loads(text) == config
    found, odd = validate.problems(str(tmp_path))
    assert (found, len(odd)) == ([], 3)


def test_names_in_another_case_where_the_schema_is_met_without(tmp_path: Path) -> None:
    """Of two the later counts, and objects are merged."""
    bundle: Any = resources(cpu={"shares": 5, "cpus": "0"})
    bundle["linux"]["resources"]["CPU"] = {"Cpus": "1", "Mems": "0"}
    bundle |= {"Hostname": "x", "hostNAME": "y"}
    bundle["linux"]["namespaces"] = [{"type": "uts"}]
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, text = load.load_bundle(str(tmp_path))
    assert config["linux"]["resources"]["cpu"] == {"shares": 5, "cpus": "1", "mems": "0"}
    assert config["hostname"] == "y" and json.loads(text) == config
    found, odd = validate.problems(str(tmp_path))
    assert found == [] and {
        f'"{name}" is read as "hostname" (config.json /{name})' for name in ("Hostname", "hostNAME")
    } <= set(odd)
    data = json.dumps({"CPU": {"Cpus": "0"}, "MEMORY": {"Limit": 5, "limit": 6}, "unified": {"CPU": "1"}}).encode()
    assert load.load_resources(data) == {"cpu": {"cpus": "0"}, "memory": {"limit": 6}, "unified": {"CPU": "1"}}
    with pytest.raises(ConfigError) as caught:
        load.load_resources(b'{"CPU": {"Shares": "many"}}')
    assert caught.value.pointer == "/cpu/shares"


def test_a_plain_config_is_not_read_twice(tmp_path: Path) -> None:
    """Its text is kept byte by byte, and what explains is not loaded."""
    text = json.dumps(minimal(), indent=3).encode()
    (tmp_path / "config.json").write_bytes(text)
    assert load.load_bundle(str(tmp_path))[1] == text
