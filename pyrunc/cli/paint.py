"""Colours for people, and text of other people's that must not speak to a terminal. Loaded by what people call."""

import posix

_CODES = {"strong": "1", "faint": "2", "bad": "1;31", "good": "32", "runtime": "36", "container": "33", "head": "1;4"}
# Of what doctor finds.
_CODES |= {"ok": "32", "note": "33", "problem": "1;31"}


class Paint:
    """Colours text with the terminal's own sixteen colours, or leaves it as it is.

    coloured: it goes to a terminal. NO_COLOR in the environment (no-color.org) and TERM=dumb forbid colours.
    """

    def __init__(self, coloured: bool) -> None:
        environment = posix.environ
        self.on = coloured and not environment.get(b"NO_COLOR") and environment.get(b"TERM") != b"dumb"

    def _in(self, name: str, text: str) -> str:
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.on else text

    def strong(self, text: str) -> str:
        return self._in("strong", text)

    def faint(self, text: str) -> str:
        return self._in("faint", text)

    def bad(self, text: str) -> str:
        return self._in("bad", text)

    def good(self, text: str) -> str:
        return self._in("good", text)

    def head(self, text: str) -> str:
        return self._in("head", text)

    def level(self, name: str) -> str:
        """ok, note or problem, nine columns wide."""
        return self._in(name, f"{name:<9}")

    def side(self, name: str) -> str:
        """The name of one of the two processes, ten columns wide."""
        return self._in(name, f"{name:<10}")


def plain(text: str) -> str:
    """The text with what would end the line or drive the terminal written as escapes."""
    if text.isprintable():
        return text
    return "".join([letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text])
