"""pyrunc state: the container's state as JSON, indented by two, without a final newline (as runc)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc import log
    from pyrunc.jsontext import dumps
    from pyrunc.state.store import Store

    log.output(dumps(Store(call.root).load(call.args[0]).state_json(), 2))
    return 0
