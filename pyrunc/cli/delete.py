"""pyrunc delete: remove a stopped container; with --force, any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.lifecycle.delete import delete
    from pyrunc.state.store import Store

    store = Store(call.root)
    if call.flags["regex"]:
        from pyrunc.cli import regex

        regex.each(store, call.args[0], lambda name: delete(store, name, call.flags["force"]))
    else:
        delete(store, call.args[0], call.flags["force"])
    return 0
