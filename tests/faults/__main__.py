"""Ask runtimes about the faults: `python -m tests.faults [--record] [PROGRAM...]`.

With --record what pyrunc, runc and crun say is kept in said.json, from which `make errors` writes docs/errors.md;
with --own pyrunc alone is asked, and what the others said stays.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from . import record
from .table import FAULTS


def without(answers: dict[str, Any]) -> dict[str, Any]:
    """Those of the peers."""
    return {name: said for name, said in answers.items() if name != "pyrunc"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep what all three say")
    parser.add_argument("--own", action="store_true", help="keep what pyrunc says")
    parser.add_argument("-k", default="", help="only faults whose name holds this")
    parser.add_argument("program", nargs="*", default=["build/pyrunc"])
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.k in fault.name]
    if options.record or options.own:
        answers = record.kept() if options.own else {}
        answers = {"pyrunc": record.ask_all(Path("build/pyrunc").absolute(), faults, theirs=False), **without(answers)}
        for name in () if options.own else ("runc", "crun"):
            program = shutil.which(name)
            if program is None:
                print(f"{name} is not installed", file=sys.stderr)
                return 1
            answers[record.version(program)] = record.ask_all(Path(program), faults, theirs=True)
        record.write(answers)
        return 0
    for program in options.program:
        path = shutil.which(program) or program
        for name, answer in record.ask_all(Path(path).absolute(), faults, theirs=False).items():
            print(f"{name} [{answer['status']}, {answer['ms']} ms]: {answer['line']} {' '.join(answer['left'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
