"""Writes docs/pyrunc.1.md, the manual page, from the command table and the words of the help: `make manual`.

usage: manual.py OUTPUT.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pyrunc.cli.help import HIDDEN, TEXTS, application, describe
from pyrunc.cli.table import COMMANDS, GLOBAL

_HEAD = """\
# pyrunc(1)

Written by `make manual` from the table that the parser, the help and the completion read. [README](../README.md) says
what pyrunc is, [compatibility.md](compatibility.md) where it differs from runc on purpose.

## Synopsis

    pyrunc [global options] command [command options] [arguments...]

A flag may have one dash or two, its value in the next argument or after `=`. `--` ends the flags. Of `exec` and `ps`
the flags end at the first argument, since what follows is the container's or ps's own; the other commands take them
after arguments too.

## Description

"""

_TAIL = """\
## Exit status

0 when the command did what it says, 1 when it did not; `exec` 255. In the foreground `run`, `restore` and `exec` pass
on the status of the container's process, 128 + N if signal N killed it.

What fails is one line on standard error, and with `--log-format json` one object in the log: `level`, `msg`, `time`,
and where they are known `step` (of `pyrunc plan`), `pointer` (into config.json), `errno`, `hint` and `warnings`.

## Environment

| | |
|---|---|
| `XDG_RUNTIME_DIR` | without `--root`, for who is not root of the machine: the root is `$XDG_RUNTIME_DIR/pyrunc` |
| `LISTEN_FDS`, `LISTEN_PID` | that many descriptors from 3 on go to the container's process (sd_listen_fds(3)) |
| `NOTIFY_SOCKET` | readiness that the container tells is passed on (sd_notify(3)) |

## Files

| | |
|---|---|
| `/run/pyrunc/ID/` | a container: `state.json`, `config.json` as it was created from, `exec.fifo` until it is started |
| `/run/pyrunc/@seccomp/` | compiled seccomp filters, at most 64 |
| `/run/pyrunc/@why/` | what failed and what ended badly, for `why`: at most 64 containers, 1 MiB |

## See also

runc(8), crun(1), podman(1); the specification of the Open Container Initiative, runtime-spec 1.3.0.
"""


def page() -> str:
    """The whole text."""
    about = application("pyrunc").partition(" - ")[2].partition("\n\nUSAGE:")[0]
    parts = [
        _HEAD + _paragraphs(about),
        "## Global options\n\n" + _options("", GLOBAL),
        "## Commands\n\n" + _overview(),
    ]
    parts += [_command(name) for name in sorted(COMMANDS) if name != "help"]
    return "\n".join([*parts, _TAIL])


def _paragraphs(text: str) -> str:
    """Text of the help as Markdown: what it shows of a shell is code."""
    lines = [
        line.strip() if line.startswith("   ") and not line.strip().startswith("#") else line
        for line in text.split("\n")
    ]
    return "\n".join(line if line.startswith("    ") else _plain(line) for line in map(_shell, lines)).strip() + "\n"


def _shell(line: str) -> str:
    return re.sub(r"^ +# ", "    # ", line)


def _plain(text: str) -> str:
    """Words that Markdown would take for its own."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def _overview() -> str:
    rows = [f"| `{name}` | {TEXTS[name][0]} |\n" for name in sorted(COMMANDS)]
    return "| | |\n|---|---|\n" + "".join(rows)


def _command(name: str) -> str:
    brief, usage, description = TEXTS[name]
    usage, _, example = (usage or "[arguments...]").replace("{p}", "pyrunc").partition("\n\n")
    flags = tuple(flag for flag in COMMANDS[name][3] if flag[0] != "help" and (name, flag[0]) not in HIDDEN)
    text = f"### pyrunc {name}\n\n    pyrunc {name} {'[command options] ' if flags else ''}{usage}\n\n"
    text += f"{brief[0].upper()}{brief[1:]}.\n"
    for more in (description.replace("{p}", "pyrunc"), example):
        if more:
            text += "\n" + _paragraphs(more)
    return text + ("\n" + _options(name, flags) if flags else "")


def _options(command: str, flags: tuple[tuple[str, str, str], ...]) -> str:
    rows = ["| | |\n|---|---|\n"]
    for long, short, kind in flags:
        value = {"bool": "", "int": " N", "ints": " N", "size": " SIZE", "duration": " TIME"}.get(kind, " VALUE")
        again = ", again and again" if kind in ("strs", "ints") else ""
        spelled = f"`--{long}{value}`" + (f", `-{short}`" if short else "")
        rows.append(f"| {spelled}{again} | {_plain(describe(command, long))} |\n")
    return "".join(rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
