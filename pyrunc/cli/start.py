"""pyrunc start: let a created container's process run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.lifecycle.start import start
    from pyrunc.state.store import Store

    start(Store(call.root), call.args[0])
    return 0
