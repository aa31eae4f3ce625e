"""What `update` has made of linux.resources: kept in state.json for `inspect`, which tells it from what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.jsontext import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a 0 or false asks for; elsewhere engines say by it that nothing is asked.
_MEANT = (
    ("cpu", "idle"),
    ("cpu", "burst"),
    ("pids", "limit"),
    ("memory", "swappiness"),
    ("memory", "disableOOMKiller"),
)


def merged(resources: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """resources with what later updates asked for. text: as add() gives it; what is no such text counts for nothing."""
    from pyrunc.config.load import load_resources
    from pyrunc.errors import PyruncError

    if not text:
        return dict(resources)
    try:
        later = load_resources(text.encode("utf-8", "surrogateescape"))
    except PyruncError:
        return dict(resources)
    return _merge(resources, dict(later))


def add(text: str | None, resources: Mapping[str, Any]) -> str:
    """The updates so far, as JSON, and one more."""
    return dumps(_merge(merged({}, text), resources))


def _merge(before: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(before)
    for group, value in later.items():
        if group == "devices" or not value:
            continue  # update leaves the devices as they are
        if isinstance(value, dict):
            asked = {
                name: item for name, item in value.items() if item or ((group, name) in _MEANT and item is not None)
            }
            result[group] = {**(result.get(group) or {}), **asked}
        else:
            result[group] = value
    return result
