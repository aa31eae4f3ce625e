"""The catalogue of errors: of each message, what it is about, where that stands in config.json, and what to do.

A message is written where it is raised; the catalogue has its template, with {} for what is only known when it
happens. tests/unit/catalogue/test_catalogue.py reads the source and fails for a message that is not here, that names
no object, or that has no remedy and no reason for it; `make errors` writes docs/errors.md from it. Loaded when an
error is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.catalogue.entry import Case
from pyrunc.errors import PyruncError, UsageError

if TYPE_CHECKING:
    from typing import Any

    from pyrunc.catalogue.entry import Entry, Remedy

    Call = Any


# Their arguments are bundles, commands or nothing; trace's error is that of the command that it traces.
_OF_NO_CONTAINER = (
    "completion",
    "diff",
    "doctor",
    "features",
    "help",
    "list",
    "plan",
    "spec",
    "trace",
    "validate",
    "version",
)


def entries() -> dict[str, Entry]:
    """All of them, by template."""
    from pyrunc.catalogue import cgroups, checkpoint, command_line, configs, life, mounts, process, seccomp

    found: dict[str, Entry] = {}
    # tests/unit/catalogue/test_catalogue.py sees to it that none is there twice.
    for module in (command_line, configs, life, mounts, process, cgroups, seccomp, checkpoint):
        found.update(module.ENTRIES)
    return found


def match(template: str, text: str) -> list[str] | None:
    """What stands in a template's holes when a text is made of it, None when it is not. Pure."""
    pieces = template.split("{}")
    if not text.startswith(pieces[0]):
        return None
    holes, at = [], len(pieces[0])
    for piece in pieces[1:-1]:
        end = text.find(piece, at)
        if end < 0:
            return None
        holes.append(text[at:end])
        at = end + len(piece)
    if len(pieces) == 1:
        return holes if text == template else None
    end = len(text) - len(pieces[-1])
    if end < at or not text.endswith(pieces[-1]):
        return None
    holes.append(text[at:end])
    return holes


def find(text: str) -> tuple[str, list[str]] | None:
    """The template that a message is made of, the most exact one of several, and what stands in its holes."""
    found, most = None, -1
    for template in entries():
        exact = len(template) - 2 * template.count("{}")
        if exact > most:
            holes = match(template, text)
            if holes is not None:
                found, most = (template, holes), exact
    return found


def complete(
    error: PyruncError,
    program: str = "pyrunc",
    call: Call | None = None,
    command: str = "",
    flags: dict[str, list[str]] | None = None,
) -> None:
    """Give an error that is about to be told its container and its remedy. Raises nothing.

    call: the command line, None when it was not understood; command: then, the command's name if there was one. flags:
    the names of each command's flags, "" for the global ones.
    """
    root = ""
    if call is not None:
        command, root = call.command, call.root
        if not isinstance(error, UsageError):
            error.container = container_of(call)
    if error.hint:
        return
    case = Case(error, program, command, root, flags)
    try:
        error.hint = remedy(case) or None
    except Exception:  # who is told of an error is not to be told of a second one
        error.hint = None


def remedy(case: Case) -> str:
    """What to do about an error, "" when that is not known. Raises OSError."""
    from pyrunc.catalogue import steps

    found = find(case.error.message)
    text = ""
    if found is not None:
        template, case.holes = found
        text = _words(entries()[template][2], case)
    return text or _words(steps.remedy(case.error.step, case.error.errno), case)


def _words(remedy: Remedy, case: Case) -> str:
    if isinstance(remedy, dict):
        remedy = remedy.get(case.error.errno or 0) or remedy.get(0) or ""
    if not isinstance(remedy, str):
        return remedy(case)
    for index, hole in enumerate(case.holes):
        remedy = remedy.replace(f"{{{index}}}", hole)
    return remedy.replace("{id}", case.error.container or "ID").replace("{program}", case.program)


def container_of(call: Call) -> str:
    """The ID that a command line names, "" for a command without one."""
    if call.command in _OF_NO_CONTAINER:
        return ""
    at = 1 if call.command == "mounts" else 0
    if call.flags.get("regex") or len(call.args) <= at:
        return ""
    # What is too long to be one is in the message, cut.
    return str(call.args[at]) if len(call.args[at]) <= 255 else ""
