"""pyrunc pause: stop every process of a container by the freezer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.lifecycle.pause import pause
    from pyrunc.state.store import Store

    pause(Store(call.root), call.args[0])
    return 0
