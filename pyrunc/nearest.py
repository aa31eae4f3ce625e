"""The name that was probably meant, of a word that is none. Loaded when there is such a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyrunc.errors import at

if TYPE_CHECKING:
    from collections.abc import Iterable

# Letters in which the two may differ: of long names and many the comparison would take seconds.
_FAR: Final = 4


def distance(one: str, other: str, most: int = 64) -> int:
    """How many letters must be changed, put in, left out or swapped with the next (Damerau and Levenshtein). Pure.

    most when it is that or more: only what can be less is calculated.
    """
    before = [most] * (len(other) + 1)
    row = [min(number, most) for number in range(len(other) + 1)]
    for i, letter in enumerate(one):
        last, before, row = before, row, [most] * (len(other) + 1)
        row[0] = min(i + 1, most)
        for j in range(max(0, i - most), min(len(other), i + most + 1)):
            best = min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != other[j]), most)
            if i and j and letter == other[j - 1] and one[i - 1] == other[j]:
                best = min(best, last[j - 1] + 1)
            row[j + 1] = best
        if min(row) >= most and min(before) >= most:
            return most
    return row[-1]


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that a word was probably meant to be, "" for none. Upper and lower case do not count. Pure."""
    found, least = "", (min(_FAR, max(1, len(word) // 3)) if len(word) > 2 else 0) + 1
    low = word.lower()[:64]
    for name in names:
        if abs(len(name) - len(low)) < least:
            far = distance(low, name.lower()[:64], least)
            if far < least:
                found, least = name, far
    return found


def question(word: str, names: Iterable[str]) -> str:
    """The end of a warning about a word that is none of these names, "" where none is near. Pure."""
    found = nearest(word, names)
    return f": did you mean {found}?" if found else ""


def unknown_capability(name: str, known: Iterable[str], pointer: str = "") -> str:
    """The warning of a name that is no capability. pointer: where in config.json, "" for elsewhere. Pure."""
    whole = name if name[:4].upper() == "CAP_" else "CAP_" + name
    return at(f"unknown capability {name} is ignored", pointer) + question(whole, known)
