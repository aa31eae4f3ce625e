"""What goes beside the programs: a manual page a command, completions, and the documents; for install.py and deb.py.

The pages are made from the command table and the words of the help, as docs/pyrunc.1.md is.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP))

from pyrunc.cli import completion  # noqa: E402
from pyrunc.cli.help import HIDDEN, TEXTS, application, describe  # noqa: E402
from pyrunc.cli.table import COMMANDS, GLOBAL  # noqa: E402
from pyrunc.cli.version import VERSION  # noqa: E402
from tools import manual  # noqa: E402

#: Where each shell looks, below the prefix.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/pyrunc",
    "zsh": "share/zsh/vendor-completions/_pyrunc",
    "fish": "share/fish/vendor_completions.d/pyrunc.fish",
}


def documents() -> dict[str, bytes]:
    """Every file by its path below the prefix."""
    files = {COMPLETIONS[shell]: getattr(completion, shell)("pyrunc").encode() for shell in COMPLETIONS}
    files["share/man/man1/pyrunc.1.gz"] = packed(main_page())
    for name in COMMANDS:
        if name != "help":
            files[f"share/man/man1/pyrunc-{name}.1.gz"] = packed(command_page(name))
    return files


def packed(text: str) -> bytes:
    """gzip, the same each time."""
    return gzip.compress(text.encode(), 9, mtime=0)


def main_page() -> str:
    about = application("pyrunc").partition(" - ")[2].partition("\n\nUSAGE:")[0]
    lines = [
        *head("pyrunc", "OCI container runtime"),
        r".B pyrunc",
        r"[\fIglobal options\fR] \fIcommand\fR [\fIcommand options\fR] [\fIarguments\fR...]",
        ".SH DESCRIPTION",
        *paragraphs(about),
        ".PP",
        *paragraphs(
            "A flag may have one dash or two, its value in the next argument or after =. -- ends the flags. Of exec\n"
            "and ps the flags end at the first argument; the other commands take them after arguments too."
        ),
        ".SH GLOBAL OPTIONS",
        *options("", GLOBAL),
        ".SH COMMANDS",
    ]
    for name in sorted(COMMANDS):
        lines += [".TP", rf"\fBpyrunc-{name}\fR(1)" if name != "help" else r"\fBhelp\fR"]
        lines += [escape(TEXTS[name][0])]
    return "\n".join([*lines, *sections(manual._TAIL)]) + "\n"


def command_page(name: str) -> str:
    brief, usage, description = TEXTS[name]
    usage, _, example = (usage or "[arguments...]").replace("{p}", "pyrunc").partition("\n\n")
    flags = tuple(flag for flag in COMMANDS[name][3] if flag[0] != "help" and (name, flag[0]) not in HIDDEN)
    lines = [
        *head(f"pyrunc-{name}", brief),
        rf".B pyrunc {name}",
        ("[\\fIcommand options\\fR] " if flags else "") + escape(usage),
        ".SH DESCRIPTION",
        *paragraphs(f"{brief[0].upper()}{brief[1:]}."),
    ]
    for more in (description.replace("{p}", "pyrunc"), example):
        if more:
            lines += [".PP", *paragraphs(more)]
    if flags:
        lines += [".SH OPTIONS", *options(name, flags)]
    return "\n".join([*lines, ".SH SEE ALSO", r".BR pyrunc (1)"]) + "\n"


def head(name: str, brief: str) -> list[str]:
    date = datetime.fromtimestamp(source_date(), UTC).date()
    title = f'.TH {name.upper()} 1 "{date}" "pyrunc {VERSION}" "User Commands"'
    return [title, ".SH NAME", rf"{escape(name)} \- {escape(brief)}", ".SH SYNOPSIS"]


def source_date() -> int:
    """The time of what is made of the sources, in seconds: SOURCE_DATE_EPOCH, or the last commit's."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not said:
        try:
            argv = ["git", "log", "-1", "--format=%ct"]
            said = subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return int(said or (TOP / "CHANGELOG.md").stat().st_mtime)


def escape(text: str) -> str:
    """Words that roff would take for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def paragraphs(text: str) -> list[str]:
    """Text of the help: what it shows of a shell stays as it is."""
    lines: list[str] = []
    verbatim = False
    for row in [*text.strip("\n").split("\n"), ""]:
        is_shell = row.startswith(" ") or (verbatim and not row)
        if is_shell != verbatim and row:
            lines += [".RS 4", ".nf"] if is_shell else [".fi", ".RE"]
            verbatim = is_shell
        if row or verbatim:
            lines.append(escape(row.strip().removeprefix("# ") if is_shell else row.strip()))
        elif lines and lines[-1] != ".PP":
            lines.append(".PP")
    while lines[-1] in ("", ".PP"):
        lines.pop()
    return [*lines, ".fi", ".RE"] if verbatim else lines


def options(command: str, flags: tuple[tuple[str, str, str], ...]) -> list[str]:
    lines = []
    for long, short, kind in flags:
        value = {"bool": "", "int": "N", "ints": "N", "size": "SIZE", "duration": "TIME"}.get(kind, "VALUE")
        spelled = rf"\fB\-\-{escape(long)}\fR" + (rf" \fI{value}\fR" if value else "")
        again = " Again and again." if kind in ("strs", "ints") else ""
        lines += [".TP", spelled + (rf", \fB\-{short}\fR" if short else "")]
        lines += [escape(row.strip()) for row in (describe(command, long) + again).split("\n") if row.strip()]
    return lines


def sections(text: str) -> list[str]:
    """The last sections of docs/pyrunc.1.md: headings, paragraphs, tables of two columns, `code`."""
    lines: list[str] = []
    for row in text.split("\n"):
        if row.startswith("## "):
            lines.append(".SH " + row[3:].upper())
        elif row.startswith("| `"):
            name, about = row.strip("| ").split(" | ", 1)
            lines += [".TP", code(name), code(about)]
        elif row and not row.startswith("|"):
            lines.append(code(row))
        elif lines and not row and not lines[-1].startswith((".SH", ".PP")):
            lines.append(".PP")
    while lines and lines[-1] == ".PP":
        lines.pop()
    return [
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if line != ".PP" or not after.startswith(".")
    ]


def code(text: str) -> str:
    return re.sub("`([^`]*)`", r"\\fB\1\\fR", escape(text))
