"""What a cgroup's files count, for `events`, on cgroup v1 and v2 alike. A directory that is None has none of them."""

from __future__ import annotations

from typing import Any

from pyrunc.cgroups.files import failure, read_file


def without_zero(values: dict[str, Any], kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """Without what is 0 or empty, but for kept; {} when nothing but kept zeros is left."""
    if not any(values.values()):
        return {}
    return {key: value for key, value in values.items() if value or key in kept}


def table(directory: str | None, file: str) -> dict[str, int]:
    words = (line.split() for line in text(directory, file).split("\n"))
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2}


def number(directory: str | None, file: str) -> int:
    """0 for "max", and for a file that is not there."""
    value = text(directory, file)
    return 0 if value in ("", "max") else int(value)


def text(directory: str | None, file: str) -> str:
    if directory is None:
        return ""
    try:
        return read_file(f"{directory}/{file}")
    except FileNotFoundError:
        return ""
    except OSError as error:
        # EOPNOTSUPP: a counter the kernel keeps a file for but no longer counts. ENODEV: the cgroup has just gone.
        if error.errno in (19, 95):
            return ""
        raise failure(f"read {directory}/{file}", error) from None
