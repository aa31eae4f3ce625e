"""The bundles that teach, run as their readers run them, and what they claim looked up in what they print."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.cgroups import CGROUP_ROOT
from tests.support.workplace import Result, Workplace

BUNDLES = TOP / "bundles"

Run = Callable[..., Result]


@pytest.fixture
def run(workplace: Workplace) -> Run:
    """Runs a copy of a bundle by its own script, with its cgroup moved below the tests'."""

    def run(name: str, **env: str) -> Result:
        copy = workplace.path / "copy"
        shutil.copytree(BUNDLES, copy, ignore=shutil.ignore_patterns("rootfs"))
        file = copy / name / "config.json"
        config = json.loads(file.read_text())
        assert config["linux"]["cgroupsPath"] == f"/pyrunc-bundle-{name}"
        file.write_text(file.read_text().replace(config["linux"]["cgroupsPath"], f"{CGROUP_ROOT}/{name}"))
        env = {**os.environ, "PYRUNC": str(workplace.runtime), "PYRUNC_ROOT": str(workplace.root), **env}
        argv = [str(copy / name / "run")]
        done = subprocess.run(argv, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return Result(argv, done.returncode, done.stdout, done.stderr)

    return run


def test_a_shell_sees_itself_as_process_1(run: Run) -> None:
    lines = run("pid1").ok().stdout.splitlines()
    assert lines[0].split() == ["PID", "USER", "COMMAND"]
    assert lines[1].split()[:4] == ["1", "0", "sh", "-c"]
    # ps itself is the only other one.
    assert len(lines) == 4 and "ps" in lines[2]
    assert lines[-1] == "I am process 1 on inside"


def test_a_busy_loop_is_held_at_a_fifth_of_a_cpu(run: Run) -> None:
    text = run("cpu", SECONDS_TO_RUN="2").ok().stdout
    found = re.search(r"of 100 ms: (\d+), throttled in: (\d+)\nCPU time used: (\d+) us", text)
    assert found, text
    periods, throttled, used = map(int, found.groups())
    assert throttled > 0
    assert used <= (periods + 1) * 20_000


def test_a_memory_limit_kills(run: Run) -> None:
    text = run("memory").ok().stdout
    assert "exit status: 137" in text
    found = re.search(r"want of memory: (\d+), most memory in use: (\d+) of (\d+) bytes", text)
    assert found, text
    kills, peak, limit = map(int, found.groups())
    assert kills > 0
    assert peak <= limit == 32 << 20


def test_every_bundle_is_listed_and_described() -> None:
    names = {path.parent.name for path in BUNDLES.glob("*/config.json")}
    assert names == {"pid1", "cpu", "memory"}
    for name in names:
        assert os.access(BUNDLES / name / "run", os.X_OK)
        assert Path(BUNDLES, name, "README.md").exists()
        assert f"({name}/README.md)" in (BUNDLES / "README.md").read_text()
