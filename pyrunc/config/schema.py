"""Whether a config fits the schemas in spec/: quickly, by code made from them; explain.py says why not.

`_check.py` and `_schema.py` beside this file are build products of tools/gencheck.py.
"""

from pyrunc.errors import ConfigError


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


def check(value: object, part: str = "config") -> None:
    """Raises ConfigError, with the pointer, for the first thing in a value that its schema does not allow."""
    if not accepts(value, part):
        from pyrunc.config.explain import explain, respell

        # What runc takes, whose reader is Go's: "pagesize" for "pageSize".
        if respell(value, part) and accepts(value, part):
            return
        for violation in explain(value, part):
            raise ConfigError(violation.message, pointer=violation.pointer or None)
        raise ConfigError("not a valid " + part + " of the runtime specification")
