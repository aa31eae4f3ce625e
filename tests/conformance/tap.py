"""TAP, as bats writes it."""

from __future__ import annotations

import re

#: What a test came to: "ok", "skip" or "not ok", by its name.
Results = dict[str, str]

_LINE = re.compile(r"(ok|not ok) \d+ (.*?)(?: in \d+ms)?(?: # skip.*)?\r?$")


def read(text: str) -> Results:
    """What TAP output says of each test."""
    found: Results = {}
    for line in text.splitlines():
        said = _LINE.fullmatch(line)
        if said:
            found[said[2]] = "skip" if "# skip" in line else said[1]
    return found
