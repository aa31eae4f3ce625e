"""pyrunc top: what containers use, refreshed on a terminal by curses(3), or once as a table or as JSON.

curses belongs to the part of Python's library that libpython needs in Debian, so it is wherever pyrunc is; it is loaded
here alone.
"""

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.cli.parse import Call
from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from pyrunc.inspect.usage import Sample
    from pyrunc.state.store import Store

_INTERVAL = 10**9
# What is pressed for an order.
_ORDERS = {
    "c": "cpu",
    "m": "memory",
    "p": "pids",
    "i": "io",
    "s": "pressure",
    "o": "oom",
    "t": "throttled",
    "n": "name",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TITLES = ("ID", "STATUS", "CPU%", "THR%", "MEMORY", "LIMIT", "PIDS", "LIMIT", "READ/s", "WRITE/s", "PSI c/m/i", "OOM")
_TEXTS = 2  # columns that are flush left
_HELP = "q quits, r reverses; order: " + " ".join(f"{key} {name}" for key, name in _ORDERS.items())


def run(call: Call) -> int:
    from pyrunc.inspect.usage import KEYS, sample
    from pyrunc.state.store import Store

    interval = call.flags["interval"] if "interval" in call.given else _INTERVAL
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    order = call.flags["sort"] or "cpu"
    if order not in KEYS:
        raise UsageError("invalid order: " + order, hint=", ".join(KEYS))
    store = Store(call.root)
    for name in call.args:
        store.load(name)
    if not call.flags["once"] and not call.flags["json"]:
        curses = _curses()
        if curses is not None:
            Screen(curses, store, call.args, interval, order).show()
            return 0
    before = sample(store, call.args)
    if before:
        time.sleep(interval / 1e9)
    _once(before, sample(store, call.args), order, as_json=call.flags["json"])
    return 0


def _once(before: "Sample", now: "Sample", order: str, *, as_json: bool) -> None:
    from pyrunc.inspect.usage import in_order, rows

    found = in_order(rows(before, now), order)
    if as_json:
        from pyrunc.jsontext import dumps

        log.output(dumps(found, 2) + "\n")
    else:
        log.output("\n".join(table(found)) + "\n")


def _curses() -> "ModuleType | None":
    """curses, ready for the terminal that this runs on; None where there is none that it can draw on."""
    if not (os.isatty(0) and os.isatty(1)):
        return None
    try:
        import curses

        curses.setupterm(os.environ.get("TERM", "dumb"), 1)
        return curses if curses.tigetstr("cup") and curses.tigetstr("clear") else None
    except Exception:  # ImportError, or curses.error, which it does not have then
        return None


def table(found: list[dict[str, Any]]) -> list[str]:
    """The titles and a line for each row."""
    lines = [_TITLES, *(_cells(row) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_TITLES))]
    texts = []
    for line in lines:
        cells = [
            cell.ljust(width) if column < _TEXTS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        texts.append("  ".join(cells))
    return texts


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    pressure = row["pressure"]
    return (
        row["id"],
        row["status"],
        _number(row["cpu"]),
        _number(row["throttled"]),
        size(row["memory"]),
        size(row["memoryLimit"]),
        _number(row["pids"]),
        _number(row["pidsLimit"]),
        size(row["read"]),
        size(row["written"]),
        "/".join(_number(pressure.get(name)) for name in ("cpu", "memory", "io")) if pressure else "-",
        _number(row["oomKills"]),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else str(value)


def size(value: int | None) -> str:
    """Bytes with a suffix of powers of 1024: 512, 1.5K, 64.0M; "-" for None."""
    if value is None:
        return "-"
    number, unit = float(value), ""
    for unit in ("", "K", "M", "G", "T", "P"):
        if number < 1024 or unit == "P":
            break
        number /= 1024
    return f"{number:.1f}{unit}" if unit else str(value)


class Screen:
    """The refreshed table. Whatever ends it, the terminal is as it was before."""

    def __init__(self, curses: "ModuleType", store: "Store", names: list[str], interval: int, order: str) -> None:
        self.curses: Any = curses
        self.store = store
        self.names = names
        self.interval = interval
        self.order = order
        self.reverse = False
        self.window: Any = None
        self.before: Sample = {}
        self.now: Sample = {}
        #: Numbers of the signals that have come can be read from the one.
        self.wakeup, self._signalled = os.pipe()

    def show(self) -> None:
        """Until q is pressed, the terminal goes away, or a signal comes."""
        if sys.__stdout__ is None:
            # The launcher makes no file objects; curses asks one for its descriptor.
            sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
        os.set_blocking(self._signalled, False)
        signal.set_wakeup_fd(self._signalled)
        for number in (*_SIGNALS, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)
        self.window = self.curses.initscr()
        try:
            self.curses.noecho()
            self.curses.cbreak()
            self.window.nodelay(True)
            if self.curses.tigetstr("civis"):
                self.curses.curs_set(0)
            self._refresh_for_ever()
        finally:
            self.curses.endwin()

    def _refresh_for_ever(self) -> None:
        from pyrunc.inspect.usage import sample

        while True:
            self.before, self.now = self.now, sample(self.store, self.names)
            due = time.monotonic_ns() + self.interval
            while (left := due - time.monotonic_ns()) > 0:
                self._draw()
                ready = select.select([0, self.wakeup], [], [], left / 1e9)[0]
                if (self.wakeup in ready and self._signals()) or (0 in ready and self._keys()):
                    return

    def _signals(self) -> bool:
        """Whether one has come that ends it. After a change of the size all is drawn anew."""
        numbers = os.read(self.wakeup, 64)
        if signal.SIGWINCH in numbers:
            width, height = os.get_terminal_size(1)
            self.curses.resizeterm(height, width)
            self.window.clear()
        return any(number in numbers for number in _SIGNALS)

    def _keys(self) -> bool:
        """Do what is pressed. Whether it is over, also since the terminal is gone."""
        number = self.window.getch()
        key = chr(number).lower() if 0 <= number < 128 else ""
        if key == "r":
            self.reverse = not self.reverse
        elif key in _ORDERS:
            self.order = _ORDERS[key]
        return key in ("q", "\x03", "\x04") or number == -1

    def _draw(self) -> None:
        from pyrunc.inspect.usage import in_order, rows

        found = in_order(rows(self.before, self.now), self.order, reverse=self.reverse)
        head = f"containers: {len(found)}  order: {self.order}{' reversed' if self.reverse else ''}  every "
        head += f"{self.interval / 1e9:g} s"
        height, width = self.window.getmaxyx()
        self.window.erase()
        lines = [(head, self.curses.A_BOLD), (_HELP, self.curses.A_DIM), ("", 0)]
        titles, *rest = table(found)
        lines += [(titles, self.curses.A_REVERSE), *((line, 0) for line in rest)]
        for number, (line, attribute) in enumerate(lines[:height]):
            # The last column of the last line cannot be written: the cursor would have no place.
            self.window.addnstr(number, 0, line, width - 1, attribute)
        self.window.refresh()
