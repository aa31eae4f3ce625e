"""pyrunc diff: what two bundles' plans differ in, step by step."""

import json
import os
from typing import Any

from pyrunc import log
from pyrunc.cli.paint import Paint, plain
from pyrunc.cli.parse import Call
from pyrunc.errors import PyruncError

#: Exit status of --exit-code when they differ; 1 is an error, as everywhere.
DIFFERS = 2


def run(call: Call) -> int:
    from pyrunc.cli.parse import absolute
    from pyrunc.inspect.difference import compare

    left, right = [_side(call, bundle) for bundle in [absolute(path) for path in call.args]]
    found = compare(left, right)
    if call.flags["json"]:
        log.output(json.dumps(found, indent=2) + "\n")
    else:
        log.output(text(found, Paint(os.isatty(1))))
    return DIFFERS if call.flags["exit-code"] and not found["same"] else 0


def _side(call: Call, bundle: str) -> Any:
    """One of the two, planned as `plan` does. Raises PyruncError, which names the bundle."""
    from pyrunc.cli.create import enter
    from pyrunc.cli.plan_words import parts
    from pyrunc.inspect.difference import Side
    from pyrunc.lifecycle.create import prepare
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store

    try:
        options = CreateOptions(enter(bundle))
        options.systemd_cgroup = call.systemd_cgroup
        options.rootless = call.rootless
        options.trust_annotations = call.trust_annotations
        creation = prepare(Store(call.root), "container-id", options)
    except PyruncError as error:
        if bundle not in error.message:
            error.message = f"{bundle}: {error.message}"
        raise
    several = {step.describe(): parts(step) for step in creation.plan.steps}
    objects = {does: found for does, found in several.items() if found[1]}
    return Side(options.bundle, creation.context.config, creation.plan.as_json(), objects)


def text(found: dict[str, Any], paint: Paint) -> str:
    """As diff -u has it: "-" is the first bundle's, "+" the second's; a step that stays begins with a space."""
    if found["same"]:
        return ""
    lines = [paint.strong(f"{sign} {found[side]}") for sign, side in (("---", "left"), ("+++", "right"))]
    for step in found["steps"]:
        lines += _step(step, paint)
    if found["values"]:
        lines.append("  what no step is for")
        lines += _values(found["values"], paint)
    return "\n".join(lines) + "\n"


def _step(step: dict[str, Any], paint: Paint) -> list[str]:
    sides = []
    for sign, side in (("-", step["left"]), ("+", step["right"])):
        if side:
            pointer = f"  [{side['pointer']}]" if side["pointer"] else ""
            sides.append((sign, plain(f"{step['side']:10} {side.get('heading', side['does'])}{pointer}")))
    if step["change"] == "moved":
        sides = [(sign, line + "  (at another place)") for sign, line in sides]
    elif step["change"] == "changed" and sides[0][1] == sides[1][1]:
        sides = [(" ", sides[1][1])]
    lines = [_paint(paint, sign, f"{sign} {line}") for sign, line in sides]
    return lines + _objects(step, paint) + _values(step["values"], paint)


def _objects(step: dict[str, Any], paint: Paint) -> list[str]:
    """Of a step that names several, a line each: those that both sides have are left out."""
    named = [(step[side] or {}).get("objects", []) for side in ("left", "right")]
    alone = [[one for one in ours if one not in others] for ours, others in (named, named[::-1])]
    lines = [(sign, plain(f"{sign}     {one}")) for sign, some in zip("-+", alone, strict=True) for one in some]
    return [_paint(paint, sign, line) for sign, line in lines]


def _values(values: list[dict[str, Any]], paint: Paint) -> list[str]:
    lines = []
    for value in values:
        for sign, side in (("-", value["left"]), ("+", value["right"])):
            if side:
                words = f"{sign}     {side['pointer']}: {json.dumps(side['value'])}"
                lines.append(_paint(paint, sign, plain(words)))
    return lines


def _paint(paint: Paint, sign: str, line: str) -> str:
    return paint.bad(line) if sign == "-" else paint.good(line) if sign == "+" else line
