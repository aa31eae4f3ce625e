"""pyrunc run: create and start; in the foreground, wait and pass on the status."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: "Call") -> int:
    from pyrunc.cli.create import options
    from pyrunc.lifecycle import run as lifecycle
    from pyrunc.lifecycle.store import Store

    return lifecycle.run(Store(call.root), call.args[0], options(call))
