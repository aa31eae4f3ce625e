"""pyrunc plan: every step that create and start would take for a bundle, without taking any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call

_ID = "container-id"  # stands for the name that create is given


def lines(steps: list[dict[str, Any]]) -> str:
    """A plan as text: number, the process that does it, what, and which property and section ask for it."""
    text = ""
    number = 0
    for step in steps:
        if step["step"] == "meet":
            text += "     ------ " + step["does"] + "\n"
            continue
        number += 1
        why = ", ".join([word for word in (step["pointer"], step["specification"]) if word])
        text += f"{number:4} {step['side']:10} {step['does']}" + ("  [" + why + "]" if why else "") + "\n"
    return text


def bundle_of(call: Call) -> str:
    """The bundle that an argument or --bundle names, "" for neither. Raises UsageError for both."""
    if call.args and call.flags["bundle"]:
        raise UsageError("two bundles: " + call.args[0] + " and " + call.flags["bundle"])
    return call.args[0] if call.args else str(call.flags["bundle"])


def run(call: Call) -> int:
    from pyrunc.cli.create import enter
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.create import prepare
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store

    config = absolute(call.flags["config"]) if call.flags["config"] else None
    options = CreateOptions(enter(bundle_of(call)))
    options.config = config
    options.systemd_cgroup = call.systemd_cgroup
    options.rootless = call.rootless
    options.trust_annotations = call.trust_annotations
    plan = prepare(Store(call.root), _ID, options).plan
    for warning in plan.warnings:
        log.warning(warning)
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        log.output(dumps(plan.as_json(), 2) + "\n")
    else:
        log.output(lines(plan.as_json()))
    return 0
