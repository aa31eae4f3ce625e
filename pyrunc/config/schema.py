"""Whether a config fits the schemas in spec/: quickly, by code made from them; explain.py says why not.

`_check.py` and `_schema.py` beside this file are build products of tools/gencheck.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import ConfigError

if TYPE_CHECKING:
    from pyrunc.config.schema_types import Json


def accepts(value: object, part: str = "config") -> bool:
    """Whether a value fits its schema. part: "config", "process", "resources", "state" or "features"."""
    try:
        from pyrunc.config import _check

        quick = getattr(_check, part)
    except (ImportError, AttributeError):
        # Not built; or what the hot path never reads, state and features. Slow, but the same verdict.
        from pyrunc.config.explain import explain

        return not explain(value, part)
    try:
        quick(value)
    except _check.Mismatch:
        return False
    return True


def check(value: Json, part: str = "config") -> bool:
    """Raises ConfigError, with the pointer, for the first thing in a value that its schema does not allow.

    Names in another case, "pagesize" for "pageSize", are what they are to runc, whose reader is Go's: they get their
    known spelling, in place. Returns whether there were any.
    """
    respelled = False
    if _has_odd_names(value):
        from pyrunc.config.explain import respell

        respelled = respell(value, part)
    if not accepts(value, part):
        from pyrunc.config.explain import explain

        for violation in explain(value, part):
            raise ConfigError(violation.message, pointer=violation.pointer or None, hint=violation.hint or None)
        raise ConfigError(f"not a valid {part} of the runtime specification")
    return respelled


def _has_odd_names(value: Json) -> bool:
    """Whether a name is there that is unknown, and known but for upper and lower case. Where it stands is not asked."""
    try:
        from pyrunc.config._check import NAMES
    except ImportError:
        return True
    known: set[str] = set()
    waiting: list[Json] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if not NAMES.issuperset(item):
                known = known or {name.lower() for name in NAMES}
                for name in item:
                    if name not in NAMES and name.lower() in known:
                        return True
            waiting += item.values()
        elif isinstance(item, list) and item and not isinstance(item[0], str):
            waiting += item
    return False
