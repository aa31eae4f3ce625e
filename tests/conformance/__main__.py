"""make conformance: the whole suite against pyrunc, runc and crun, as a table.

    python3 -m tests.conformance [--only NAME] [--peers live|recorded] [--record] [--verbose]

Peers are run when they are installed in the versions that peers.json has; else what is recorded there is shown.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from pathlib import Path

from . import records
from .suite import MODULE, VERSION, Suite, Verdict


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conformance", description="runtime-tools' suite against each runtime")
    parser.add_argument("--only", action="append", metavar="NAME", help="this test alone (may be repeated)")
    parser.add_argument("--peers", choices=("live", "recorded"), default="live", help="run runc and crun, or not")
    parser.add_argument("--record", action="store_true", help="write what the peers did to peers.json")
    parser.add_argument("--verbose", action="store_true", help="show all output of tests that fail")
    options = parser.parse_args()
    suite = Suite()
    names = options.only or suite.names
    ours = _run(suite, names, Path(os.environ.get("PYRUNC") or "build/pyrunc").absolute(), options.verbose)
    recorded = records.peers()
    columns = {}
    for title, results in recorded.items():
        program = _program(title)
        if options.peers == "recorded" or program is None:
            columns[title] = results
            continue
        print(f"running {title}", file=sys.stderr)
        columns[title] = {name: found.passed for name, found in _run(suite, names, program, options.verbose).items()}
    if options.record:
        records.write({title: {**recorded[title], **found} for title, found in columns.items()})
    _table(names, ours, columns)
    wanted = {name for name in names if any(column.get(name) for column in recorded.values())}
    missing = [name for name in sorted(wanted - records.EXCLUDED) if not ours[name].passed]
    for name in missing:
        print(f"{name}: a peer passes it, pyrunc does not: {ours[name].complaint}")
    return 1 if missing else 0


def _program(title: str) -> Path | None:
    name, version = title.split()
    candidates = [os.environ.get("RUNC", "")] if name == "runc" else [shutil.which(name) or ""]
    for candidate in candidates:
        if candidate and records.version_of(candidate) == version:
            return Path(candidate)
    print(f"{title} is not installed: its recorded results are shown", file=sys.stderr)
    return None


def _run(suite: Suite, names: list[str], runtime: Path, verbose: bool) -> dict[str, Verdict]:
    found = {}
    with suite.work() as work:
        for name in names:
            found[name] = suite.run(name, runtime, work)
            if verbose and not found[name].passed:
                print(f"--- {name}\n{found[name].output}", file=sys.stderr)
    return found


def _table(names: list[str], ours: dict[str, Verdict], columns: dict[str, dict[str, bool]]) -> None:
    word = {True: "ok", False: "-", None: "?"}
    reasons = records.reasons()
    print(f"{MODULE} {VERSION}, Linux {platform.release()}\n")
    titles = ["pyrunc", *columns]
    print("test".ljust(34) + "".join(title.ljust(12) for title in titles) + "reason")
    for name in names:
        results = [ours[name].passed, *(column.get(name) for column in columns.values())]
        why = "" if ours[name].passed else reasons.get(name) or ours[name].complaint
        print((name.ljust(34) + "".join(word[one].ljust(12) for one in results) + why).rstrip())
    counts = [
        sum(found.passed for found in ours.values()),
        *(sum(c.get(n, False) for n in names) for c in columns.values()),
    ]
    print("passed".ljust(34) + "".join(str(count).ljust(12) for count in counts) + f"of {len(names)}")


if __name__ == "__main__":
    sys.exit(main())
