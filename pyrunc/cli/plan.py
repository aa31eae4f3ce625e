"""pyrunc plan: every step that create and start would take for a bundle, without taking any."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import PyruncError, UsageError, reason
from pyrunc.steps.step import Meet

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.create import Creation
    from pyrunc.steps.step import Plan

_ID = "container-id"  # stands for the name that create is given


def described(plan: Plan) -> list[dict[str, Any]]:
    """The plan as data: what Plan.as_json() has, and each step's phase, objects and undo.

    objects: what `does` names, one by one, where it names several.
    """
    from pyrunc.cli.plan_words import PHASES, parts, phases, undo

    return [
        {
            "phase": PHASES[phase][0],
            **found,
            "objects": parts(step)[1],
            "undo": None if isinstance(step, Meet) else undo(step),
        }
        for step, found, phase in zip(plan.steps, plan.as_json(), phases(plan.steps), strict=True)
    ]


def lines(plan: Plan, coloured: bool = False) -> str:
    """A plan as text: by phases, a line a step; number, the process that does it, what, and which property and section
    ask for it. Of several objects each has a line of its own.
    """
    from pyrunc.cli.paint import Paint, plain
    from pyrunc.cli.plan_words import PHASES, parts, phases

    paper = Paint(coloured)
    out: list[str] = []
    number, before = 0, -1
    for step, phase in zip(plan.steps, phases(plan.steps), strict=True):
        if phase != before:
            out += ["", paper.head(PHASES[phase][0])] if out else [paper.head(PHASES[phase][0])]
            before = phase
        if isinstance(step, Meet):
            out.append(paper.faint("     ------ " + step.describe()))
            continue
        number += 1
        does, objects = parts(step)
        why = ", ".join([word for word in (step.pointer, step.section) if word])
        text = f"{number:4} {paper.side(step.side)} {plain(does)}"
        out.append(text + (paper.faint(f"  [{plain(why)}]") if why else ""))
        out += [" " * 18 + plain(one) for one in objects]
    return "\n".join(out) + "\n"


def bundle_of(call: Call) -> str:
    """The bundle that an argument or --bundle names, "" for neither. Raises UsageError for both."""
    if call.args and call.flags["bundle"]:
        raise UsageError(f"two bundles: {call.args[0]} and {call.flags['bundle']}")
    return call.args[0] if call.args else str(call.flags["bundle"])


def run(call: Call) -> int:
    from pyrunc.cli.create import enter
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.create import prepare
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store

    if call.flags["html"] and call.flags["json"]:
        raise UsageError("--html and --json: one of them")
    config = absolute(call.flags["config"]) if call.flags["config"] else None
    page = call.flags["html"] if call.flags["html"] in ("", "-") else absolute(call.flags["html"])
    options = CreateOptions(enter(bundle_of(call)))
    options.config = config
    options.systemd_cgroup = call.systemd_cgroup
    options.rootless = call.rootless
    options.trust_annotations = call.trust_annotations
    creation = prepare(Store(call.root), _ID, options)
    for warning in creation.plan.warnings:
        log.warning(warning)
    if page:
        _write_page(page, creation, config or options.bundle + "/config.json")
    elif call.flags["json"]:
        from pyrunc.jsontext import dumps

        log.output(dumps(described(creation.plan), 2) + "\n")
    else:
        log.output(lines(creation.plan, posix.isatty(1)))
    return 0


def _write_page(path: str, creation: Creation, config: str) -> None:
    """config: where the config was read from. Raises PyruncError."""
    from pyrunc.cli.output import open_output
    from pyrunc.cli.plan_page import page

    text = page(creation, config)
    fd = open_output(path)
    try:
        log.write(fd, text)
    except OSError as error:
        raise PyruncError(f"write {path}: {reason(error)}", errno=error.errno) from None
    finally:
        posix.close(fd)
