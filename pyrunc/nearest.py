"""The name that was probably meant, of a word that is none. Loaded when there is such a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import at

if TYPE_CHECKING:
    from collections.abc import Iterable


def distance(one: str, other: str) -> int:
    """How many letters must be changed, put in, left out or swapped with the next (Damerau and Levenshtein). Pure."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one):
        last, before, row = before, row, [i + 1]
        for j, its in enumerate(other):
            best = min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != its))
            if i and j and letter == other[j - 1] and one[i - 1] == its:
                best = min(best, last[j - 1] + 1)
            row.append(best)
    return row[-1]


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that a word was probably meant to be, "" for none. Upper and lower case do not count. Pure."""
    found, least = "", (max(1, len(word) // 3) if len(word) > 2 else 0) + 1
    low = word.lower()[:64]
    for name in names:
        if abs(len(name) - len(low)) < least:
            far = distance(low, name.lower()[:64])
            if far < least:
                found, least = name, far
    return found


def question(word: str, names: Iterable[str]) -> str:
    """The end of a warning about a word that is none of these names, "" where none is near. Pure."""
    found = nearest(word, names)
    return ": did you mean " + found + "?" if found else ""


def unknown_capability(name: str, known: Iterable[str], pointer: str = "") -> str:
    """The warning of a name that is no capability. pointer: where in config.json, "" for elsewhere. Pure."""
    whole = name if name[:4].upper() == "CAP_" else "CAP_" + name
    return at("unknown capability " + name + " is ignored", pointer) + question(whole, known)
