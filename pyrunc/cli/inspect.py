"""pyrunc inspect: what was asked for a container beside what the kernel has."""

import os
from typing import Any

from pyrunc import log
from pyrunc.cli.paint import Paint, plain
from pyrunc.cli.parse import Call

#: Exit status of --check when something differs; 1 is an error, as everywhere.
DIFFERS = 2
# Columns of the names, as far as they fit.
_WIDEST = 32
_SOURCES = {
    "kernel": "the filters that the kernel has for the process",
    "config.json": "the filter that config.json asks for",
}
# A list that is longer has an entry a line.
_LONG = 100


def run(call: Call) -> int:
    from pyrunc.inspect import inspect
    from pyrunc.state.store import Store

    names = [name for value in call.flags["syscall"] for name in value.split(",") if name]
    found = inspect(Store(call.root).load(call.args[0]), names)
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        log.output(dumps(found, 2) + "\n")
    else:
        log.output(text(found, Paint(os.isatty(1))))
    return DIFFERS if call.flags["check"] and found["differences"] else 0


def text(found: dict[str, Any], paint: Paint) -> str:
    """For people: a section a block, a property a line; what differs begins with "!" and has its pointer."""
    head = f"{found['id']}: {found['status']}" + (f", process {found['pid']}" if found["pid"] else "")
    lines = [paint.strong(head), f"bundle {plain(found['bundle'])}, created {found['created']}"]
    rows = found["properties"]
    section = ""
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines += ["", paint.strong(section)]
            width = min(_WIDEST, max(len(one["name"]) for one in rows if one["section"] == section))
        lines += _lines(row, width, paint, has_process=bool(found["pid"]))
    if found["syscalls"]:
        lines += ["", paint.strong("system calls, by " + _SOURCES[found["syscalls"][0]["source"]])]
        lines += ["  " + _call(call) for call in found["syscalls"]]
    number = found["differences"]
    if found["pid"]:
        lines += ["", paint.bad(f"differences: {number}") if number else "no differences"]
    return "\n".join(lines) + "\n"


def _lines(row: dict[str, Any], width: int, paint: Paint, *, has_process: bool) -> list[str]:
    name = plain(row["name"]).ljust(width)
    requested, effective = words(row["requested"]), words(row["effective"])
    notes = [row["note"]] if row["note"] else []
    if row["usage"] is not None:
        notes.insert(0, f"in use: {row['usage']}")
    tail = paint.faint(f"  ({plain('; '.join(notes))})") if notes else ""
    if row["differs"]:
        place = f"  [{row['pointer']}]" if row["pointer"] else ""
        first = paint.bad("! " + name) + "  is " + effective + tail
        return [first, f"{' ' * width}    not {requested}{paint.strong(plain(place))}"]
    if isinstance(row["effective"], list) and len(effective) > _LONG:
        return [
            ("  " + name if index == 0 else " " * (width + 2)) + "  " + words(item)
            for index, item in enumerate(row["effective"])
        ]
    if row["effective"] is None:
        return [f"  {name}  {requested}" + ("" if not has_process else paint.faint("  (not known)")) + tail]
    if row["requested"] in (None, row["effective"]):
        return [f"  {name}  {effective}" + tail]
    return [f"  {name}  {requested}: {effective}" + tail]


def words(value: Any) -> str:
    """A value of a row as text."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(words(item) for item in value) if value else "none"
    return plain(str(value).replace("\t", " "))


def _call(call: dict[str, Any]) -> str:
    verdicts = []
    for verdict in call["verdicts"]:
        data = verdict.get("error") or verdict.get("data")
        verdicts.append(verdict["action"] + (f" ({data})" if data is not None else ""))
    tail = ", by its arguments" if len(verdicts) > 1 else ""
    return f"{call['name']} ({call['number']}): {' or '.join(verdicts)}{tail}"
