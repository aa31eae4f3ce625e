"""pyrunc kill: a signal to the container's process."""

from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from pyrunc.cli.parse import Call
else:
    import _signal  # signal wraps it in enums, which cost 6 ms


def signal_number(text: str) -> int:
    """The number of a signal (signal(7)): 15, TERM, SIGTERM, sigterm, RTMIN+3, RTMAX-1. Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
        if number <= _signal.SIGRTMAX:
            return number
    name = text.upper()
    if name[:3] != "SIG":
        name = "SIG" + name
    for sign in ("+", "-"):
        base, found, offset = name.partition(sign)
        if found and base in ("SIGRTMIN", "SIGRTMAX") and offset.isascii() and offset.isdigit() and len(offset) < 3:
            number = int(getattr(_signal, base)) + int(sign + offset)
            if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX:
                return number
    # The module has SIG_BLOCK and its like too, which are no signals.
    value = getattr(_signal, name, None) if name[3:].isalnum() else None
    if not isinstance(value, int):
        raise UsageError('unknown signal "' + text + '"')
    return int(value)


def run(call: "Call") -> int:
    number = signal_number(call.args[1]) if len(call.args) > 1 and call.args[1] else int(_signal.SIGTERM)
    from pyrunc.lifecycle.kill import kill
    from pyrunc.lifecycle.store import Store

    kill(Store(call.root), call.args[0], number, call.flags["all"])
    return 0
