"""A trace as a table for people, as JSON, and in Chrome's trace event format, which ui.perfetto.dev shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.cli import paint
from pyrunc.errors import PyruncError
from pyrunc.jsontext import dumps
from pyrunc.steps.step import CONTAINER, RUNTIME

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.trace import Slice, Trace

# The part of the whole from which on a step stands out, where there are colours.
_LONG = 0.1


class Report:
    """What is told: the slices, whose they are, and how the command ended."""

    def __init__(self, trace: Trace, call: Call, status: int, failure: BaseException | None) -> None:
        self.slices = trace.slices()
        self.began = trace.began
        self.total = max([one.end for one in self.slices], default=trace.began) - trace.began
        self.pids = {RUNTIME: trace.pid, CONTAINER: trace.child()}
        self.command = call.command
        self.status = status
        self.error: dict[str, Any] | None = None
        if failure is not None:
            text = failure.line() if isinstance(failure, PyruncError) else f"{type(failure).__name__}: {failure}"
            self.error = {"message": text}
            for name in ("step", "pointer", "errno", "hint"):
                if getattr(failure, name, None) is not None:
                    self.error[name] = getattr(failure, name)


def _words(one: Slice) -> str:
    """What the slice is, in words that tell a meeting's two halves apart."""
    kind, does = one.entry.kind, one.entry.does
    return {"wait": "wait until ", "say": "tell: "}.get(kind, "") + does


# ---- for people ----


def table(report: Report, coloured: bool) -> str:
    """One line a slice: when it began and how long it took, in milliseconds, whose it is, and what."""
    if not report.slices:
        return ""  # the error says it all
    paper = paint.Paint(coloured)
    lines = [paper.strong(f"{'at ms':>9} {'took ms':>9}  {'process':<10} step")]
    for one in report.slices:
        if one.entry.kind in ("say", "born"):
            continue  # the other half has the time
        took = one.end - one.begin
        numbers = f"{(one.begin - report.began) / 1e6:9.3f} {took / 1e6:9.3f}"
        waits = one.entry.kind == "wait"
        if took > report.total * _LONG and not waits and one.entry.kind != "phase":
            numbers = paper.strong(numbers)
        text = "  " * one.depth + paint.plain(_words(one))
        if one.entry.pointer:
            text += paper.faint(f"  [{paint.plain(one.entry.pointer)}]")
        text = paper.faint(text) if waits else text
        if one.outcome == "failed":
            text += paper.bad("  FAILED")
        elif one.outcome == "unfinished":
            text += paper.bad("  CUT OFF")
        elif one.outcome == "seen":
            text += paper.faint("  (its end is when the runtime saw it)")
        lines.append(f"{numbers}  {paper.side(one.side)} {text}")
    lines += _summary(report, paper)
    return "\n".join(lines) + "\n"


def _summary(report: Report, paper: paint.Paint) -> list[str]:
    text = f"{report.command}: {report.total / 1e6:.3f} ms in all"
    for side in (RUNTIME, CONTAINER):
        outer = [one for one in report.slices if one.side == side and one.depth == 0]
        busy = sum([one.end - one.begin for one in outer if one.entry.kind != "wait"])
        waiting = sum([one.end - one.begin for one in outer if one.entry.kind == "wait"])
        if outer:
            text += f"; {side}: steps {busy / 1e6:.3f}, waiting {waiting / 1e6:.3f}"
    lines = [paper.strong(text)]
    if report.error is not None:
        lines.append(paper.bad("error: " + paint.plain(report.error["message"])))
    return lines


# ---- for programs ----


def json(report: Report, coloured: bool) -> str:
    """All slices, times in nanoseconds since the first moment that was measured."""
    events = [
        {
            "process": one.side,
            "kind": one.entry.kind,
            "step": one.entry.step or None,
            "does": one.entry.does,
            "pointer": one.entry.pointer or None,
            "specification": one.entry.section or None,
            "meeting": one.entry.meeting if one.entry.meeting >= 0 else None,
            "begin": one.begin - report.began,
            "duration": one.end - one.begin,
            "depth": one.depth,
            "outcome": one.outcome,
        }
        for one in report.slices
    ]
    pids = {side: pid or None for side, pid in report.pids.items()}
    found = {
        "command": report.command,
        "status": report.status if report.error is None else None,
        "error": report.error,
        "clock": "CLOCK_MONOTONIC",
        "began": report.began,
        "total": report.total,
        "processes": pids,
        "events": events,
    }
    return dumps(found, 1) + "\n"


# ---- for Perfetto and Chrome ----


def perfetto(report: Report, coloured: bool) -> str:
    """Chrome's trace event format, as JSON: complete events ("X"), and meetings as flows ("s" to "f").

    Times are microseconds since the first moment that was measured.
    """
    events: list[dict[str, Any]] = []
    for index, (side, pid) in enumerate(report.pids.items()):
        if any(one.side == side for one in report.slices):
            name = "pyrunc (the runtime)" if side == RUNTIME else "the container process"
            for what, value in (("process_name", {"name": name}), ("process_sort_index", {"sort_index": index})):
                events.append({"name": what, "ph": "M", "pid": pid, "tid": pid, "args": value})
            events.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": pid, "args": {"name": side}})
    timed = [event for one in report.slices for event in _complete(report, one)] + _flows(report)
    timed.sort(key=lambda event: event["ts"])
    found: dict[str, Any] = {
        "traceEvents": events + timed,
        "displayTimeUnit": "ms",
        "otherData": {"command": report.command, "clock": "CLOCK_MONOTONIC", "began_ns": str(report.began)},
    }
    if report.error is not None:
        found["otherData"]["error"] = report.error["message"]
    return dumps(found, 1) + "\n"


def _time(report: Report, at: int) -> float:
    return (at - report.began) / 1000


def _complete(report: Report, one: Slice) -> list[dict[str, Any]]:
    pid = report.pids[one.side]
    more = {
        "step": one.entry.step,
        "config.json": one.entry.pointer,
        "specification": one.entry.section,
        "outcome": one.outcome if one.outcome != "done" else "",
    }
    event: dict[str, Any] = {
        "name": _words(one),
        "cat": one.entry.kind,
        "ph": "X",
        "ts": _time(report, one.begin),
        "dur": (one.end - one.begin) / 1000,
        "pid": pid,
        "tid": pid,
        "args": {name: value for name, value in more.items() if value},
    }
    if one.outcome in ("failed", "unfinished"):
        event["cname"] = "terrible"
    return [event]


def _flows(report: Report) -> list[dict[str, Any]]:
    """An arrow from where a process says that a meeting point is reached to where the other one's wait ends."""
    halves: dict[int, dict[str, Slice]] = {}
    for one in report.slices:
        if one.entry.meeting >= 0 and one.outcome == "done":
            halves.setdefault(one.entry.meeting, {})[one.entry.kind] = one
    arrows = [
        (two["say"].entry.does, two["say"], two["say"].begin, two["wait"], two["wait"].end)
        for two in halves.values()
        if len(two) == 2
    ]
    for born in [one for one in report.slices if one.entry.kind == "born"]:
        for clone in [one for one in report.slices if one.side == RUNTIME and one.entry.step == born.entry.step]:
            arrows.append(("clone", clone, clone.begin, born, born.end))
            break
    events: list[dict[str, Any]] = []
    for number, (name, source, begin, target, end) in enumerate(arrows, 1):
        for phase, one, at in (("s", source, begin), ("f", target, end)):
            pid = report.pids[one.side]
            event = {"name": name, "cat": "meeting", "ph": phase, "id": number, "ts": _time(report, at)}
            events.append({**event, "pid": pid, "tid": pid, **({"bp": "e"} if phase == "f" else {})})
    return events
