"""What `update` has made of linux.resources: kept in state.json for `inspect`, which tells it from what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.jsontext import dumps

if TYPE_CHECKING:
    from pyrunc.config.types import Resources


# What a 0 or false asks for; elsewhere engines say by it that nothing is asked.
_MEANT = (
    ("cpu", "idle"),
    ("cpu", "burst"),
    ("pids", "limit"),
    ("memory", "swappiness"),
    ("memory", "disableOOMKiller"),
)


def merged(resources: Resources, text: str | None) -> Resources:
    """resources with what later updates asked for. text: as add() gives it; what is no such text counts for nothing."""
    from pyrunc.config.load import load_resources
    from pyrunc.errors import PyruncError

    if not text:
        return resources
    try:
        later = load_resources(text.encode("utf-8", "surrogateescape"))
    except PyruncError:
        return resources
    return _merge(resources, later)


def add(text: str | None, resources: Resources) -> str:
    """The updates so far, as JSON, and one more."""
    return dumps(_merge(merged({}, text), resources))


def _merge(before: Resources, later: Resources) -> Resources:
    result: Any = {**before}
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
    merged: Resources = result
    return merged
