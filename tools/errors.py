"""docs/errors.md: what pyrunc, runc and crun say of each fault of tests/faults, and the catalogue of all messages.

    python -m tools.errors docs/errors.md

What was said is kept in tests/faults/said.json; `python -m tests.faults --record` asks anew.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP))

from pyrunc.catalogue import (  # noqa: E402
    cgroups,
    checkpoint,
    command_line,
    configs,
    entry,
    life,
    mounts,
    process,
    seccomp,
    steps,
)
from tools import launcher_errors  # noqa: E402

SAID = TOP / "tests/faults/said.json"
SUBJECTS = (command_line, configs, life, mounts, process, cgroups, seccomp, checkpoint)

HEAD = """# Errors

<!-- Written by `make errors` from pyrunc/catalogue and tests/faults: do not edit. -->

An error is one line, on standard error and in the log:

    pyrunc run failed: MESSAGE (container ID, config.json POINTER): hint: WHAT TO DO

- The message says what was tried on what, and the kernel's reason in words. Phrases that engines look for stand in it
  as in runc.
- The container's ID follows unless the message names it; then the place in config.json (process.json of
  `exec --process`, resources.json of `update --resources`) as a JSON pointer, as exact as can be told. Where there is
  none the lists below say why.
- In `--log-format json` the parts are fields of their own: `msg`, `container`, `pointer`, `hint`, `step`, `errno`.
- The exit status is 1, of `exec` 255; a program that `run` cannot execute in the foreground gives 126 or 127.
- Nothing is left: no process, mount, cgroup, state.
"""


def text(value: str) -> str:
    """For a cell of a table."""
    return value.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def code(value: str) -> str:
    """A message, as code where Markdown lets it be."""
    value = value.replace("|", "\\|")
    return f"`{value}`" if "`" not in value else f"`` {value} ``"


def faults() -> list[str]:
    """The faults and what each runtime says of them."""
    said: dict[str, dict[str, dict[str, Any]]] = json.loads(SAID.read_text())["said"]
    names = list(said)
    lines = ["## Faults", "", *figures(said), ""]
    for name in said[names[0]]:
        lines += [f"**{name}**", ""]
        for runtime in names:
            answer = said[runtime].get(name)
            if answer is not None:
                lines.append(f"- {runtime.partition(' ')[0]}: {told(answer)}")
        lines.append("")
    return lines


def told(answer: dict[str, Any]) -> str:
    if answer["status"] == -1:
        return "does not come to it"
    words = code(answer["line"]) if answer["line"] else "nothing is said"
    words += f", exit status {answer['status']}" if answer["status"] in (0,) or not answer["line"] else ""
    return words + (
        f"; left behind: {', '.join(sorted(set(answer['left'])))}" if answer["left"] and answer["status"] else ""
    )


def figures(said: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """How many notice, name a place, say what to do, and leave something."""
    lines = [
        "| | asked | noticed | with a place in the config | with what to do | left after an error | median time |",
        "|---|---|---|---|---|---|---|",
    ]
    for runtime, answers in said.items():
        all_ = [answer for answer in answers.values() if answer["status"] >= 0]
        row = [
            len(all_),
            sum(answer["status"] != 0 for answer in all_),
            sum(".json /" in answer["line"] for answer in all_),
            sum("hint: " in answer["line"] for answer in all_),
            sum(bool(answer["left"] and answer["status"]) for answer in all_),
        ]
        spent = statistics.median(answer["ms"] for answer in all_)
        lines.append(f"| {runtime} | {' | '.join(map(str, row))} | {spent:.0f} ms |")
    return lines


def remedy(value: entry.Remedy) -> str:
    if isinstance(value, dict):
        return "; ".join(dict.fromkeys(words for words in value.values() if words)) or "by the step"
    if callable(value):
        return value.__doc__ or "as the case is: a nearest name, where a path ends, what is there"
    return value or "by the step, below"


def catalogue() -> list[str]:
    """All messages, by subject."""
    lines = ["## All messages", "", "{} is what is only known when it happens, {0} the first of these.", ""]
    for subject in SUBJECTS:
        title = str(subject.__doc__).partition(": ")[2].rstrip(".")
        lines += [f"### {title[0].upper()}{title[1:]}", "", "| message | place | what to do |", "|---|---|---|"]
        for template, (_, place, words) in subject.ENTRIES.items():
            lines.append(f"| {code(template)} | {text(place)} | {text(remedy(words))} |")
        lines.append("")
    lines += before_python()
    lines += ["### Steps that the kernel refuses", "", "| step | what to do |", "|---|---|"]
    lines += [f"| {name} | {text(remedy(words))} |" for name, words in steps.STEPS.items()]
    lines += [f"| any | {text(remedy(steps.ANY))} |"]
    return lines


def before_python() -> list[str]:
    """What the launcher says: it has no place in a config, for it reads none."""
    lines = ["### The launcher, before Python runs", "", "| message | what to do |", "|---|---|"]
    told: dict[str, list[str]] = {}
    for row in launcher_errors.rows():
        told.setdefault(f"{row.message}: {{}}", []).append(row.hint)
    lines += [f"| {code(message)} | {text('; '.join(dict.fromkeys(hints)))} |" for message, hints in told.items()]
    return [*lines, ""]


def page() -> str:
    """The whole document."""
    return "\n".join([HEAD, *faults(), *catalogue()]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
