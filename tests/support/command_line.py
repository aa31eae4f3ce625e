"""The command line, without a process of its own."""

from __future__ import annotations

from pyrunc.cli.main import main
from pyrunc.cli.parse import Call, parse
from pyrunc.cli.table import COMMANDS


def call_of(command: str, *argv: str) -> Call:
    _, _, reorder, flags = COMMANDS[command]
    values, given, args = parse(flags, list(argv), reorder)
    return Call("pyrunc", command, values, given, args)


def run(*argv: str, program: str = "pyrunc") -> int:
    return main(["/usr/local/bin/" + program, *argv])
