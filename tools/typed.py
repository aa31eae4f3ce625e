"""Hold how much of the code mypy sees: python tools/typed.py REPORT, from mypy's --any-exprs-report.

An expression of type Any is one in which nothing is checked. Where configs are consumed they are few: a limit a room.
"""

from __future__ import annotations

import sys

#: Hundredths of all expressions of a room that may be Any.
LIMITS = {"pyrunc.plan": 2, "pyrunc.steps": 2, "pyrunc.lifecycle": 2, "pyrunc.config": 2, "pyrunc.cgroups": 2}


def counts(report: str) -> dict[str, tuple[int, int]]:
    """Of each room: how many expressions are Any, and how many there are."""
    found = dict.fromkeys(LIMITS, (0, 0))
    for line in report.splitlines():
        fields = line.split()
        for room in LIMITS:
            if len(fields) == 4 and (fields[0] + ".").startswith(room + "."):
                found[room] = (found[room][0] + int(fields[1]), found[room][1] + int(fields[2]))
    return found


def problems(report: str) -> list[str]:
    """A line for each room that is above its limit, or of which nothing is said."""
    return [
        f"{room}: {some} of {of_all} expressions are Any, {LIMITS[room]} % may be"
        for room, (some, of_all) in counts(report).items()
        if some * 100 >= LIMITS[room] * of_all
    ]


def main() -> int:
    with open(sys.argv[1]) as file:
        wrong = problems(file.read())
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
