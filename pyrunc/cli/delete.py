"""pyrunc delete: remove a stopped container; with --force, any."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: "Call") -> int:
    from pyrunc.lifecycle.delete import delete
    from pyrunc.lifecycle.store import Store

    delete(Store(call.root), call.args[0], call.flags["force"])
    return 0
