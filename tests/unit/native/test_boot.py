"""The command line in the launcher, where Python is not set up whole unless a command needs that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pyrunc.cli.table import COMMANDS


class Launcher:
    def __init__(self, program: Path, root: Path) -> None:
        self.program = program
        self.root = root

    def __call__(self, *argv: str, **how: int) -> subprocess.CompletedProcess[str]:
        got = subprocess.run(
            [self.program, "--root", self.root, *argv],
            stdin=subprocess.DEVNULL,
            stdout=how.get("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert got.returncode >= 0, f"killed by signal {-got.returncode}"
        assert "internal error" not in got.stderr
        return got


@pytest.fixture
def pyrunc(runtime: Path, tmp_path: Path) -> Launcher:
    (tmp_path / "root").mkdir()
    return Launcher(runtime, tmp_path / "root")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, pyrunc: Launcher) -> None:
    got = pyrunc(command, "-h")
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.startswith(f"NAME:\n   {pyrunc.program.name} {command} - ")


# Each with arguments enough to get as far as it can without a container.
CALLS = {
    "checkpoint": (["x"], 1, "container does not exist"),
    "create": (["--bundle", "/nonexistent", "x"], 1, "bundle /nonexistent: no such file or directory"),
    "delete": (["x"], 1, "container does not exist"),
    "doctor": (["/nonexistent"], 1, "no such file or directory"),
    "exec": (["x", "true"], 255, "exec failed: container does not exist"),
    "diff": (["/nonexistent", "/"], 1, "bundle /nonexistent: no such file or directory"),
    "events": (["x"], 1, "container does not exist"),
    "inspect": (["x"], 1, "container does not exist"),
    "kill": (["x", "9"], 1, "container does not exist"),
    "list": ([], 0, ""),
    "mounts": (["add", "x", "/dev/null"], 1, "mounts: "),
    "pause": (["x"], 1, "container does not exist"),
    "plan": (["/nonexistent"], 1, "no such file or directory"),
    "ps": (["x"], 1, "container does not exist"),
    "restore": (["--bundle", "/nonexistent", "x"], 1, "bundle /nonexistent: no such file or directory"),
    "resume": (["x"], 1, "container does not exist"),
    "run": (["--bundle", "/nonexistent", "x"], 1, "bundle /nonexistent: no such file or directory"),
    "spec": (["--bundle", "/nonexistent"], 1, "write /nonexistent/config.json: no such file or directory"),
    "start": (["x"], 1, "container does not exist"),
    "state": (["x"], 1, "container does not exist"),
    "trace": (["run", "--bundle", "/nonexistent", "x"], 1, "bundle /nonexistent: no such file or directory"),
    "top": (["x"], 1, "container does not exist"),
    "update": (["--memory=64m", "x"], 1, "container does not exist"),
    "validate": (["/nonexistent"], 1, "no such file or directory"),
    "version": ([], 0, ""),
    "why": (["x"], 1, "nothing is known of a container x"),
    "features": ([], 0, ""),
    "completion": (["bash"], 0, ""),
    "help": ([], 0, ""),
}


def test_every_command_is_called() -> None:
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.parametrize("command", CALLS)
def test_without_a_container(command: str, pyrunc: Launcher) -> None:
    argv, status, message = CALLS[command]
    got = pyrunc(command, *argv)
    assert (got.returncode, message in got.stderr) == (status, True)
    assert got.stderr.count("\n") == (1 if status else 0)
    # Of what failed `why` can tell.
    assert [name for name in os.listdir(pyrunc.root) if name != "@why"] == []


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../x", "a b", "ä", "x\n", "-", "a" * 300])
@pytest.mark.parametrize("command", ["state", "start", "kill", "delete", "exec", "pause", "ps", "update"])
def test_no_id(command: str, bad: str, pyrunc: Launcher) -> None:
    before = sorted(os.listdir(pyrunc.root.parent))
    got = pyrunc(command, bad, *(["true"] if command == "exec" else []))
    assert got.returncode == (255 if command == "exec" else 1)
    assert got.stderr.count("\n") == 1
    assert "invalid container ID format" in got.stderr or (bad == "-" and "does not exist" in got.stderr)
    assert sorted(os.listdir(pyrunc.root.parent)) == before


def test_version_called_as_runc(runtime: Path, tmp_path: Path) -> None:
    link = tmp_path / "runc"
    link.symlink_to(runtime)
    got = Launcher(link, tmp_path)("--version").stdout.splitlines()
    assert got[0].startswith("runc version ")
    assert [line.partition(": ")[0] for line in got[1:3]] == ["commit", "spec"]


def test_features_and_spec_are_json(pyrunc: Launcher, tmp_path: Path) -> None:
    assert json.loads(pyrunc("features").stdout)["ociVersionMax"] == "1.3.0"
    assert pyrunc("spec", "--bundle", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "config.json").read_text())["ociVersion"] == "1.3.0"


def test_list_of_nothing(pyrunc: Launcher) -> None:
    assert pyrunc("list").stdout == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert pyrunc("list", "--format", "json").stdout == "null\n"
    assert pyrunc("list", "-q").stdout == ""
    pyrunc.root.rmdir()
    got = pyrunc("list")
    assert got.returncode == 1
    assert f"open {pyrunc.root}: no such file or directory" in got.stderr


def test_a_full_disk_and_nobody_who_reads(pyrunc: Launcher) -> None:
    with open("/dev/full", "wb") as full:
        got = pyrunc("help", stdout=full.fileno())
    assert got.returncode == 1
    assert "write to standard output: no space left on device" in got.stderr
    reader, writer = os.pipe()
    os.close(reader)
    got = subprocess.run([pyrunc.program, "help"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    # By SIGPIPE itself, or as a shell would put it.
    assert got.returncode in (141, -signal.SIGPIPE)
    assert got.stderr == ""


def test_arguments_that_are_not_utf_8(pyrunc: Launcher) -> None:
    got = subprocess.run([pyrunc.program, b"--root", b"/nonexistent/\xff", b"list"], capture_output=True, check=False)
    assert got.returncode == 1
    assert got.stderr.count(b"\n") == 1
    assert b"no such file or directory" in got.stderr
