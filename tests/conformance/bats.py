"""make conformance's second half: runc's own suite against pyrunc and runc, as root and as an ordinary user.

    python3 -m tests.conformance.bats [--set SET] [--file FILE] [--runtime PATH] [--peers live|recorded] [--record]

A set is root, or of an ordinary user's features none, idmap, idmap+cgroup; without one all four are run. What runc
does is recorded in bats.json, and run again by --peers live. Logs: build/bats/NAME/SET/FILE.tap.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from tests.support import TOP

from . import bats_suite
from .bats_suite import SETS
from .tap import Results

RECORD = Path(__file__).with_name("bats.json")
#: "FILE: TEST | REASON": what pyrunc does not pass, and runc does. The reasons are docs/compatibility.md's.
REASONS = Path(__file__).with_name("bats-reasons.txt")


def recorded() -> dict[str, Results]:
    """What runc did in each set."""
    data = json.loads(RECORD.read_text()) if RECORD.exists() else {"results": {}}
    return {name: dict(results) for name, results in data["results"].items()}


def reasons() -> dict[str, str]:
    """Test to the reason why pyrunc does otherwise."""
    lines = [line for line in REASONS.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" | ", 1) for line in lines]
    return {name.strip(): why.strip() for name, why in pairs}


def run(name: str, runtime: Path, features: str, files: list[str], known: set[str]) -> Results:
    """Run these files in one set, saying where it is on standard error. known: tests that are known not to pass.

    A file in which any other fails is run once more: on a busy machine runtimes overtake the suite's own helpers.
    """
    found: Results = {}
    with bats_suite.work(runtime) as folder:
        for file in files:
            print(f"{name}, {features}: {file}", file=sys.stderr)
            log = TOP / f"build/bats/{name}/{features}/{file}.tap"
            results = bats_suite.run(file, features, folder, log)
            if failed(results) - known:
                again = bats_suite.run(file, features, folder, log.with_suffix(".again.tap"))
                results = {test: result if result == "ok" else again[test] for test, result in results.items()}
            found |= results
    return found


def failed(results: Results) -> set[str]:
    """Tests that do not pass."""
    return {test for test, result in results.items() if result == "not ok"}


def behind(ours: Results, theirs: Results) -> list[str]:
    """Tests that runc passes and pyrunc does not."""
    return [test for test, result in theirs.items() if result == "ok" and ours.get(test, "ok") != "ok"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conformance", description="runc's suite against pyrunc and runc")
    parser.add_argument("--set", action="append", choices=SETS, dest="sets")
    parser.add_argument("--file", action="append", dest="files", metavar="FILE.bats")
    parser.add_argument("--runtime", help="this one in place of build/pyrunc")
    parser.add_argument("--peers", choices=("live", "recorded"), default="recorded", help="run runc, or not")
    parser.add_argument("--record", action="store_true", help="write what runc did to bats.json")
    options = parser.parse_args()
    runtime = Path(options.runtime or os.environ.get("PYRUNC") or TOP / "build/pyrunc").absolute()
    runc = Path(os.environ.get("RUNC") or Path.home() / "go/bin/runc")
    files, theirs, lines, missing = options.files or bats_suite.files(), recorded(), [], []
    for features in options.sets or SETS:
        if options.peers == "live" or features not in theirs:
            peer = theirs.setdefault(features, {})
            peer.update(run("runc", runc, features, files, failed(peer)))
            if options.record:
                version = f"{bats_suite.MODULE}@{bats_suite.VERSION}"
                RECORD.write_text(json.dumps({"suite": version, "results": theirs}, indent=1) + "\n")
        ours = run("pyrunc", runtime, features, files, failed(theirs[features]) | reasons().keys())
        peer = {test: result for test, result in theirs[features].items() if test.partition(":")[0] in files}
        here = [test for test in behind(ours, peer) if test not in reasons()]
        missing += [f"{features}: {test}: runc passes it" for test in here]
        lines.append(line(features, ours, peer, len(here)))
    print(f"{bats_suite.MODULE} {bats_suite.VERSION}, tests/integration\n")
    print("set".ljust(16) + "pyrunc".ljust(10) + "runc".ljust(10) + "of".ljust(8) + "skipped by both")
    print("\n".join([*lines, "", *missing]))
    return 1 if missing else 0


def line(features: str, ours: Results, theirs: Results, unexplained: int) -> str:
    """A row of the table."""
    passed = [Counter(results.values())["ok"] for results in (ours, theirs)]
    skipped = sum(result == theirs.get(test) == "skip" for test, result in ours.items())
    return (
        features.ljust(16)
        + "".join(str(number).ljust(10) for number in passed)
        + str(len(ours)).ljust(8)
        + str(skipped).ljust(17)
        + (f"{unexplained} behind" if unexplained else "")
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
