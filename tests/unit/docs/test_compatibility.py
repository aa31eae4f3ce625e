"""docs/compatibility.md against the command table, and against the helps of runc and crun where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.cli.table import COMMANDS, GLOBAL
from tests.support import TOP

TEXT = (TOP / "docs/compatibility.md").read_text()
#: Flags of crun's argument parser, which every command has.
OF_ARGP = {"--usage", "--help"}


def rows(title: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    part = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def table() -> dict[tuple[str, str], list[str]]:
    """(command or "", flag with its dashes or "") to the cells runc, crun, pyrunc, remark."""
    found = {}
    for command, flag, *rest in rows("Commands and flags"):
        for one in re.findall(r"--[a-z0-9-]+", flag) or [""]:
            key = (command.strip("`").replace("global", ""), one)
            assert key not in found, key
            found[key] = rest
    return found


def ours() -> set[tuple[str, str]]:
    flags = [("", GLOBAL), *((name, entry[3]) for name, entry in COMMANDS.items())]
    found = {(name, "") for name in COMMANDS}
    return found | {(name, "--" + flag[0]) for name, some in flags for flag in some if flag[0] != "help" or not name}


def test_every_command_and_flag_has_its_row() -> None:
    listed = {key for key, cells in table().items() if cells[2] == "yes"}
    assert listed == ours()
    for key, cells in table().items():
        assert set(cells[:3]) <= {"yes", "no"}, key
        # What one of the others has and pyrunc has not is explained.
        assert cells[2] == "yes" or cells[3], key


def flags_of(program: str, command: str) -> set[tuple[str, str]]:
    argv = [program, *([command] if command else []), "--help"]
    said = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return {(command, flag) for flag in re.findall(r"(?m)^ +(?:-\w, )?(--[a-z0-9-]+)", said)}


def test_runc_s_help() -> None:
    runc = os.environ.get("RUNC", "")
    if not runc or not Path(runc).exists():
        pytest.skip("runc 1.5.2 is not installed")
    commands = {command for command, _ in table() if command}
    said = (
        subprocess.run([runc, "--help"], capture_output=True, text=True).stdout.split("COMMANDS:")[1].split("\n\n")[0]
    )
    named = set(re.findall(r"(?m)^ +(\w+)", said))
    assert {command for (command, flag), cells in table().items() if not flag and cells[0] == "yes"} == named
    found = set().union(*(flags_of(runc, command) for command in named | {""}))
    found = {key for key in found if key[1] != "--help" or not key[0]}
    listed = {key for key, cells in table().items() if key[1] and cells[0] == "yes"}
    # Hidden in its help.
    assert found == listed - {("kill", "--all"), ("update", "--kernel-memory"), ("update", "--kernel-memory-tcp")}
    assert named <= commands


def test_crun_s_help() -> None:
    crun = shutil.which("crun")
    if crun is None:
        pytest.skip("crun is not installed")
    named = {command for command, flag in table() if command and not flag}
    found = set().union(*(flags_of(crun, command) for command in named if command in said_by(crun)), flags_of(crun, ""))
    missing = {key for key in found if key[1] not in OF_ARGP and (key not in table() or table()[key][1] != "yes")}
    assert not missing


def said_by(crun: str) -> set[str]:
    said = subprocess.run([crun, "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"(?m)^\t(\w+) +- ", said))


def test_annotations() -> None:
    """Those that pyrunc heeds are told by features as unsafe."""
    from pyrunc.cli.features import features

    told = [row[0] for row in rows("crun's annotations") if row[1] != "no"]
    heeded = {name for cell in told for name in re.findall("`([^`]+)`", cell)}
    assert heeded | {"org.systemd.property."} == set(features()["potentiallyUnsafeConfigAnnotations"])
