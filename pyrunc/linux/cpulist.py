"""Lists of CPUs and memory nodes such as "0-3,7" (cpuset(7), "List format")."""

from __future__ import annotations


def ranges(text: str) -> list[tuple[str, str, str]]:
    """Each part, its first and its last, as they are written; without a dash the two are the same. Pure."""
    found = []
    for part in text.split(",") if text else ():
        part = part.strip()
        first, dash, last = part.partition("-")
        found.append((part, first, last if dash else first))
    return found


def numbers(text: str) -> list[int]:
    """Its numbers, in the order in which they stand. An empty part is none. Raises ValueError. Pure."""
    found: list[int] = []
    for part, first, last in ranges(text):
        if part:
            found += range(int(first), int(last) + 1)
    return found
