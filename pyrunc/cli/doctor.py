"""pyrunc doctor: this host against what pyrunc, and a bundle, need."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.cli import paint
from pyrunc.cli.parse import absolute
from pyrunc.cli.version import VERSION, commit, libseccomp
from pyrunc.doctor import caller, control_groups, engines, kernel, programs, security, spaces, state_root
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    # It refers to where the caller stands.
    config = absolute(call.flags["config"]) if call.flags["config"] else None
    bundle = _bundle(call)
    findings = [
        *kernel.check(),
        *control_groups.check(),
        *security.check(libseccomp()),
        *spaces.check(),
        *caller.check(),
        *state_root.check(call.root),
        state_root.idmapped(bundle or posix.getcwd()),
        *programs.check(f"{VERSION}, commit {commit()}"),
        *engines.check(),
    ]
    if bundle:
        findings += _of_bundle(call, bundle, config)
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        counts = {level: sum(one.level == level for one in findings) for level in (OK, NOTE, PROBLEM)}
        log.output(dumps({"findings": [one.as_json() for one in findings], "counts": counts}, 2) + "\n")
    else:
        log.output(table(findings, posix.isatty(1)))
    return 1 if any(one.level == PROBLEM for one in findings) else 0


def _bundle(call: Call) -> str:
    """Enter the bundle that is named; its path, "" for none."""
    from pyrunc.cli.create import enter
    from pyrunc.cli.plan import bundle_of

    name = bundle_of(call)
    return enter(name) if name or call.flags["config"] else ""


def _of_bundle(call: Call, bundle: str, config: str | None) -> list[Finding]:
    from pyrunc.doctor import bundle as bundles
    from pyrunc.lifecycle.options import CreateOptions

    options = CreateOptions(bundle)
    options.config = config
    options.systemd_cgroup = call.systemd_cgroup
    options.no_cgroup = call.no_cgroup
    options.rootless = call.rootless
    options.trust_annotations = call.trust_annotations
    return bundles.check(call.root, options)


def table(findings: list[Finding], coloured: bool = False) -> str:
    """Level, subject and what was found; below it the remedy, and the place in config.json. Pure."""
    width = max(len(one.subject) for one in findings) + 2
    paper = paint.Paint(coloured)
    lines = []
    for one in findings:
        place = f" (config.json {one.pointer})" if one.pointer else ""
        lines.append(paper.level(one.level) + one.subject.ljust(width) + paint.plain(one.found + place))
        if one.remedy:
            lines.append(f"{' ' * (9 + width)}-> {paint.plain(one.remedy)}")
    count = sum(one.level == PROBLEM for one in findings)
    notes = sum(one.level == NOTE for one in findings)
    lines.append("")
    lines.append(f"{count} problem{'s' * (count != 1)}, {notes} note{'s' * (notes != 1)}")
    return "\n".join(lines) + "\n"
