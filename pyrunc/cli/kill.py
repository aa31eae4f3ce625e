"""pyrunc kill: a signal to the container's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call

# signal(7), by number from 1: those of asm-generic/signal.h, which amd64, arm64 and all later architectures have. A
# table, because the module _signal cannot be loaded before Python is set up whole, which kill has no use for.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29, "RTMIN": 34, "RTMAX": 64}  # of realtime signals, libc keeps 32 and 33
_MAX = 64
_TERM = 15


def signal_number(text: str) -> int:
    """The number of a signal (signal(7)): 15, TERM, SIGTERM, sigterm, RTMIN+3, RTMAX-1. Raises UsageError."""
    number = -1
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
    else:
        name = text.upper()
        name = name[3:] if name[:3] == "SIG" else name
        names = _NAMES.split()
        if name in names:
            number = names.index(name) + 1
        elif name in _ALIASES:
            number = _ALIASES[name]
        elif name[:6] in ("RTMIN+", "RTMAX-") and name[6:].isascii() and name[6:].isdigit() and len(name) < 9:
            number = _ALIASES[name[:5]] + int(name[5:])
            if number < _ALIASES["RTMIN"]:
                number = -1
    if not 0 <= number <= _MAX:
        raise UsageError(f'unknown signal "{text}"')
    return number


def run(call: Call) -> int:
    number = signal_number(call.args[1]) if len(call.args) > 1 and call.args[1] else _TERM
    from pyrunc.lifecycle.kill import kill
    from pyrunc.state.store import Store

    store = Store(call.root)
    if call.flags["regex"]:
        from pyrunc.cli import regex

        regex.each(store, call.args[0], lambda name: kill(store, name, number, call.flags["all"]))
    else:
        kill(store, call.args[0], number, call.flags["all"])
    return 0
