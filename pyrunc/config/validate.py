"""All that is wrong with a bundle's config, as `validate` and the library tell it; load.py stops at the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.config import load, rules
from pyrunc.config.explain import Violation, explain, respelled, section, unknown
from pyrunc.errors import ConfigError, at
from pyrunc.jsontext import pointer, quote
from pyrunc.nearest import unknown_capability

if TYPE_CHECKING:
    from pyrunc.config.schema_types import Json
    from pyrunc.config.types import Config


def problems(bundle: str, config: str | None = None) -> tuple[list[Violation], list[str]]:
    """Everything that is wrong with a bundle's config, and what is only odd. As load.load_bundle, but to the end.

    What is no JSON or too large is one violation; the rules are looked at once the schema is met.
    """
    try:
        data = load.read(config or bundle + "/config.json", "config.json")
        value = load.parse(data)
    except ConfigError as error:
        return [Violation(error.pointer or "", "", "", "", error.message)], []
    names = respelled(value)
    found = explain(value)
    if found:
        return found, []
    if b"\\u0000" in data:
        try:
            rules.check_nul(value)
        except ConfigError as error:
            found.append(Violation(error.pointer or "", "", "", section(error.pointer or ""), error.message))
    for place, text in rules.violations(value):
        found.append(Violation(place, "", "", section(place), text))
    odd = [
        at(f"{quote(name)} is read as {quote(meant)}", place + pointer(name)) for place, name, meant in names
    ] + _strangers(value)
    return found, odd + rules.warnings(value) + _unknown_capabilities(value)


def _unknown_capabilities(config: Config) -> list[str]:
    """As the plan warns of them (config.md, "Linux Process": a warning, no error)."""
    try:
        from pyrunc._linux import CAPS
    except ImportError:
        return []
    sets = config.get("process", {}).get("capabilities", {})
    found: dict[str, str] = {}
    for kind, names in sets.items():
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name not in CAPS:
                place = f"/process/capabilities/{kind}/{index}"
                found.setdefault(name, unknown_capability(quote(name)[1:-1], CAPS, place))
    return list(found.values())


def _strangers(config: Json) -> list[str]:
    """Properties that the specification does not have: ignored (spec.md), but perhaps a typo."""
    return [
        at(f"{quote(name)} is no property of the specification, and ignored", place + pointer(name))
        + f": did you mean {meant}?"
        for place, name, meant in unknown(config)
    ]
