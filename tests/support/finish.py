"""The last steps of a container process, prepared by hand (native/finish.c)."""

from __future__ import annotations

from typing import Any

from pyrunc import _linux

#: No filter, no fifo, no report: what _linux.prepare() is told unless a test says otherwise.
_NOTHING: dict[str, Any] = {
    "filter": None,
    "filter_flags": 0,
    "filter_first": False,
    "caps": None,
    "ambient": 0,
    "keep": 3,
    "fifo": False,
    "report": False,
    "again": False,
    "terminal": False,
    "extra": 0,
    "real_user": -1,
    "filter_cloned": False,
}


def prepare(path: bytes, argv: list[bytes], environment: list[bytes], **how: Any) -> Any:
    """What _linux.finish() takes."""
    return _linux.prepare(path, argv, environment, **{**_NOTHING, **how})
