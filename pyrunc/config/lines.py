"""Where in the text of a config each property stands. Loaded for people, by `plan --html`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from pyrunc.jsontext import pointer

# A string, another scalar, or one sign of structure (RFC 8259).
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


class Span:
    """Where a property stands: offsets into the text, from its name (of an array's entry, its value) to its end."""

    __slots__ = ("begin", "end")

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.end = begin


def spans(text: str) -> dict[str, Span]:
    """The place of every property and array entry, by JSON pointer. text: what jsontext.loads() has taken."""
    found: dict[str, Span] = {}
    tokens = _TOKEN.finditer(text)
    first = next(tokens)
    _value(tokens, first, "", Span(first.start()), found)
    return found


def _value(
    tokens: Iterator[re.Match[str]], first: re.Match[str], place: str, span: Span, found: dict[str, Span]
) -> None:
    """Note the value that begins with the token `first`, and all that is in it, which is taken from tokens."""
    found[place] = span
    opening = first[0]
    span.end = first.end()
    if opening not in "{[":
        return
    index = 0
    for token in tokens:
        if token[0] in "}]":
            span.end = token.end()
            return
        if token[0] == ",":
            continue
        inner = Span(token.start())
        if opening == "{":
            name = json.loads(token[0])
            next(tokens)  # the colon
            _value(tokens, next(tokens), place + pointer(name), inner, found)
        else:
            _value(tokens, token, f"{place}/{index}", inner, found)
            index += 1


class Lines:
    """The lines of one config file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans = spans(text)
        self._folded = {place.lower(): span for place, span in self.spans.items()}

    def at(self, place: str) -> list[tuple[int, str]]:
        """The lines on which a property stands, each with its number, the first being 1; [] for one that is not there.

        A line that holds much besides, as of a config without line breaks, is cut to the property. Upper and lower case
        do not count where they must not, as they do not when a config is read.
        """
        span = self.spans.get(place) or self._folded.get(place.lower())
        if span is None:
            return []
        begin = self.text.rfind("\n", 0, span.begin) + 1
        end = self.text.find("\n", span.end)
        end = len(self.text) if end < 0 else end
        if self.text[begin : span.begin].strip() or self.text[span.end : end].strip(" \t\r,"):
            begin, end = span.begin, span.end
        first = self.text.count("\n", 0, begin) + 1
        return list(enumerate(self.text[begin:end].split("\n"), first))
