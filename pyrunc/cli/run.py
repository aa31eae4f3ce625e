"""pyrunc run: create and start; in the foreground, wait and pass on the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.cli.create import options
    from pyrunc.lifecycle.run import run as run_container
    from pyrunc.state.store import Store

    return run_container(Store(call.root), call.args[0], options(call))
