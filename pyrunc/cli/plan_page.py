"""`plan --html`: a plan as one page for a browser, which needs nothing besides: no file, no network, no script.

What comes from a bundle is text on it and nothing else: each piece goes through _text(), and the page's own policy
(Content-Security-Policy) lets run what is written here alone, by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
from typing import TYPE_CHECKING, Final

from pyrunc.cli import plan_style
from pyrunc.cli.paint import plain
from pyrunc.cli.plan_words import PHASES, parts, phases, undo
from pyrunc.cli.version import VERSION
from pyrunc.config import OCI_VERSION, load
from pyrunc.config.lines import Lines
from pyrunc.errors import ConfigError
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Step

if TYPE_CHECKING:
    from pyrunc.lifecycle.create import Creation

_SPECIFICATION: Final = f"https://github.com/opencontainers/runtime-spec/blob/v{OCI_VERSION}/"
#: So many lines, and characters of a line, of a config are shown with a step; the rest is counted.
_MOST_LINES: Final = 400
_MOST_LETTERS: Final = 2000
_OTHER: Final = {RUNTIME: CONTAINER, CONTAINER: RUNTIME}


def _text(text: str) -> str:
    """Anything at all as text of a page: what is not printable, direction marks too, as an escape."""
    return html.escape(plain(text.expandtabs(4)))


def page(creation: Creation, config: str) -> str:
    """The page of a prepared create. config: the file that it was read from. Raises OSError, ConfigError."""
    plan = creation.plan
    source = _Source(creation, config)
    body = _head(creation, config) + _warnings(plan.warnings) + _contents(plan.steps) + _finder()
    body += '<main id="plan">\n' + _phases(plan.steps, source) + "</main>\n" + _foot()
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'"
    policy += f"; style-src '{_digest(plan_style.STYLE)}'; script-src '{_digest(plan_style.SCRIPT)}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="' + policy + '">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        "<title>Plan of " + _text(creation.context.bundle) + "</title>\n"
        "<style>" + plan_style.STYLE + "</style>\n</head>\n<body>\n"
        '<a class="skip" href="#plan">Skip to the steps</a>\n'
        + body
        + "<script>"
        + plan_style.SCRIPT
        + "</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _Source:
    """The config's text, for the lines that a step is asked for by."""

    def __init__(self, creation: Creation, config: str) -> None:
        data = creation.state_step.config
        if os.path.isfile(config):
            # The very text: what a create keeps has other names where the case was wrong.
            try:
                again = load.read(config, "config.json")
                if load.parse(again) is not None:
                    data = again
            except ConfigError:
                pass  # changed since it was read
        self.lines = Lines(data.decode("utf-8", "surrogateescape"))

    def of(self, place: str) -> str:
        """The lines of a property as HTML, "" when it does not stand there itself."""
        found = self.lines.at(place)
        if not found:
            return ""
        margin = min([len(line) - len(line.lstrip(" ")) for _, line in found if line.strip()], default=0)
        rows = []
        for number, line in found[:_MOST_LINES]:
            shown = line[margin : margin + _MOST_LETTERS] if not line[:margin].strip() else line[:_MOST_LETTERS]
            more = len(line) - len(shown) - margin
            cut = f"<i> … {more} more characters</i>" if more > 0 else ""
            rows.append(f'<span class="line"><span class="no">{number}</span><span>{_text(shown)}{cut}</span></span>')
        if len(found) > _MOST_LINES:
            rows.append(
                f'<span class="line"><span class="no">…</span><i>{len(found) - _MOST_LINES} more lines</i></span>'
            )
        return '<pre tabindex="0" role="region" aria-label="Lines of config.json">' + "".join(rows) + "</pre>"


# ---- the parts of the page, from top to bottom ----


def _head(creation: Creation, config: str) -> str:
    steps = [step for step in creation.plan.steps if not isinstance(step, Meet)]
    counts = {side: len([step for step in steps if step.side == side]) for side in (RUNTIME, CONTAINER)}
    meetings = len(creation.plan.steps) - len(steps)
    process = creation.context.config.get("process", {})
    facts = [
        ("Bundle", _text(creation.context.bundle)),
        ("Config", _text(config)),
        ("Program", _text(" ".join(process.get("args") or ["none: the container only waits"]))),
        (
            "Steps",
            f"{len(steps)}: {counts[RUNTIME]} of the runtime, {counts[CONTAINER]} of the container process; "
            f"they meet {meetings} times",
        ),
    ]
    rows = "".join([f"<div><dt>{name}</dt><dd>{value}</dd></div>\n" for name, value in facts])
    return (
        "<header>\n<h1>How this container would be born</h1>\n"
        "<p>Every step that <code>pyrunc create</code> and <code>start</code> would take, in order. None was taken. "
        "Open a step for the lines of config.json that ask for it, its section of the specification, and what undoes "
        "it when a later one fails.</p>\n<dl>\n" + rows + "</dl>\n</header>\n"
    )


def _contents(steps: list[Step]) -> str:
    rows = "".join(
        [f'<li><a href="#phase-{one + 1}">{PHASES[one][0]}</a></li>\n' for one in sorted(set(phases(steps)))]
    )
    return '<nav aria-label="Phases">\n<ol>\n' + rows + "</ol>\n</nav>\n"


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return ""
    rows = "".join(["<li>" + _text(warning) + "</li>\n" for warning in warnings])
    return (
        '<section class="warnings" aria-labelledby="warnings">\n<h2 id="warnings">Warnings</h2>\n<ul>\n'
        + rows
        + "</ul>\n</section>\n"
    )


def _finder() -> str:
    """What needs the script, which shows it."""
    return (
        '<div class="finder" role="search" hidden>\n<label for="find">Find a step</label>\n'
        '<input id="find" type="search" autocomplete="off" spellcheck="false" '
        'placeholder="mount, /linux/seccomp, uid …" aria-describedby="keys">\n'
        '<output id="count" for="find"></output>\n'
        '<button type="button" id="open">Open all</button>\n<button type="button" id="close">Close all</button>\n'
        '<p id="keys">Keys: <kbd>/</kbd> to find, <kbd>Esc</kbd> to see all, <kbd>j</kbd> and <kbd>k</kbd> for the '
        "next and the previous step, <kbd>Enter</kbd> to open it.</p>\n</div>\n"
    )


def _phases(steps: list[Step], source: _Source) -> str:
    numbers = phases(steps)
    text, at, number, born = _lane_names(), 0, 0, False
    for phase in sorted(set(numbers)):
        title, about = PHASES[phase]
        name = f"phase-{phase + 1}"
        text += f'<section class="phase" aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n<p>{about}</p>\n'
        end = at + numbers.count(phase)
        while at < end:
            until = next((now for now in range(at, end) if isinstance(steps[now], Meet)), end)
            meet = next((step for step in steps[at:] if isinstance(step, Meet)), None)
            text += _segment(steps[at:until], meet, number, born, source)
            number += until - at
            born = born or any(type(step).__name__ == "Clone" for step in steps[at:until])
            if until < end:
                text += _meeting(steps[until])
            at = until + 1 if until < end else end
        text += "</section>\n"
    return text


def _lane_names() -> str:
    return (
        '<div class="lanes" aria-hidden="true"><span class="runtime">The runtime, on the host</span>'
        '<span class="container">The container process</span></div>\n'
    )


def _segment(steps: list[Step], meet: Step | None, number: int, born: bool, source: _Source) -> str:
    """What both processes do between two meetings. meet: the next one. number: of steps before. born: there are two."""
    if not steps:
        return ""
    text = '<div class="together">\n'
    for side in (RUNTIME, CONTAINER):
        mine = [(at, step) for at, step in enumerate(steps, number + 1) if step.side == side]
        who = "The runtime" if side == RUNTIME else "The container process"
        if mine:
            rows = "".join([_step(at, step, source) for at, step in mine])
            text += f'<ol class="lane {side}" aria-label="{who}">\n{rows}</ol>\n'
        else:
            there = side == RUNTIME or born
            waits = "waits" if meet is None or meet.side != side else "has nothing to do"
            text += f'<p class="lane idle {side}"><span>{who} {waits if there else "does not exist yet"}</span></p>\n'
    return text + "</div>\n"


def _meeting(meet: Step) -> str:
    assert isinstance(meet, Meet)
    side, other = meet.side, _OTHER[meet.side]
    return f'<p class="meeting from-{side}"><span><b>{side}</b> to <b>{other}</b>: {_text(meet.label)}</span></p>\n'


def _step(number: int, step: Step, source: _Source) -> str:
    does, objects = parts(step)
    rows = []
    if objects:
        rows.append(("On", "<ul>" + "".join([f"<li>{_text(one)}</li>" for one in objects]) + "</ul>"))
    if step.pointer:
        lines = source.of(step.pointer)
        missing = "" if lines else "<p>It does not stand in config.json: this is what the runtime does without it.</p>"
        rows.append(("Asked for by", f"<code>{_text(step.pointer)}</code>{lines}{missing}"))
    else:
        rows.append(("Asked for by", "no property: every container of this kind has it"))
    if step.section:
        rows.append(("Specification", f'<a href="{_text(_SPECIFICATION + step.section)}">{_text(step.section)}</a>'))
    rows.append(("Undo", _text(undo(step))))
    inside = "".join([f"<dt>{name}</dt><dd>{value}</dd>\n" for name, value in rows])
    kind = f'<span class="kind">{_text(step.pointer or step.name)}</span>'
    return (
        f'<li id="step-{number}"><details><summary><span class="number">{number}</span> '
        f'<span class="does">{_text(does)}</span> {kind}</summary>\n<dl>\n{inside}</dl>\n</details></li>\n'
    )


def _foot() -> str:
    return (
        f"<footer><p>Made by pyrunc {VERSION} for version {OCI_VERSION} of the runtime specification. Steps of both "
        "processes between two meetings run at the same time.</p></footer>\n"
    )
