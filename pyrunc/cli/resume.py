"""pyrunc resume: let a paused container's processes go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.lifecycle.pause import resume
    from pyrunc.state.store import Store

    resume(Store(call.root), call.args[0])
    return 0
