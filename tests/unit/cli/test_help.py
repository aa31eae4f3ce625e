"""The help: of the program and of each command, from the command table."""

from __future__ import annotations

import pytest

from pyrunc.cli import help as words
from pyrunc.cli.table import COMMANDS, GLOBAL
from tests.support import TOP
from tests.support.command_line import run


def test_without_arguments_it_prints_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capfd.readouterr()
    assert out.startswith("NAME:\n   pyrunc - ")
    assert err == ""


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["help"], ["h"], ["--version", "--help"]])
def test_help(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 0
    assert "\nGLOBAL OPTIONS:\n" in capfd.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help", program="runc") == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"NAME:\n   runc {command} - ")
    assert f"\nUSAGE:\n   runc {command} " in out
    assert err == ""
    assert "{p}" not in out
    assert run("help", command, program="runc") == 0
    assert capfd.readouterr().out == out
    for name, short, _ in COMMANDS[command][3]:
        shown = (command, name) not in words.HIDDEN and name != "help"
        assert (f"   --{name}" in out) == shown
        if short and shown:
            assert f", -{short}" in out


def test_every_word_of_the_help_belongs_to_the_table() -> None:
    flags = {flag[0] for flag in GLOBAL} | {flag[0] for row in COMMANDS.values() for flag in row[3]}
    assert set(words.TEXTS) == set(COMMANDS)
    assert {name.rpartition(".")[2] for name in words.FLAGS} == flags
    for command, row in COMMANDS.items():
        assert (TOP / f"pyrunc/cli/{command}.py").is_file() or command in ("plan", "validate")
        assert row[0] <= row[1] or row[1] == -1
        names = [name for long, short, _ in row[3] for name in (long, short) if name]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("argv", [["bogus"], ["--root=/tmp/x", "bogus", "-h"], ["help", "bogus"], [""]])
def test_an_unknown_command(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    _out, err = capfd.readouterr()
    assert err.count("\n") == 1
    assert "No help topic for" in err
