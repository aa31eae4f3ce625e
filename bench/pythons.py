"""`python -m bench.pythons`: pyrunc on Debian 13's Python beside pyrunc on Debian 12's, by turns, in one run.

Each is built in a tree of its release (tests/hosts) and called there, with the config of an engine: as it is built, and
without an image. Prints the least CPU time of each call, which is the figure that a busy machine spoils least, and the
median. Needs root, and the packages of `tools/packages.sh hosts`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.hosts.host import Host
from tests.support.cgroups import remove_cgroups

from .measure import MS, CallFailed, Sample
from .turns import PROGRAMS, TREE, TURNS

SUITES = ("bookworm", "trixie")


class Worker:
    """A release, and the program there that makes the calls."""

    def __init__(self, suite: str, place: Path) -> None:
        self.suite = suite
        self.cgroup = f"/pyrunc-bench-{os.getpid()}-{suite}"
        self.host = Host(suite, place)
        try:
            self.host.put_sources(TREE)
            self.host.ok("tools/packages.sh build run demo && make", folder=TREE)
            self.version = self.host.ok("build/pyrunc --version | sed -n 's/^python: //p'", folder=TREE).strip()
            self._process = self.host.start(f"exec python3 -m bench.turns {self.cgroup}", folder=TREE)
        except BaseException:
            self.host.close()
            raise

    def call(self, program: str, turn: int) -> dict[str, Sample]:
        """Samples of the calls of a turn."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{program}\t{turn}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            raise CallFailed(f"{self.suite}: {line.strip() or 'the worker has ended'}")
        return {name: Sample(*pair) for name, pair in json.loads(line).items()}

    def close(self) -> None:
        """End it, and all that it made."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self.host.close()
        remove_cgroups(self.cgroup)


def measure(workers: list[Worker], rounds: int) -> dict[tuple[str, str, str], list[int]]:
    """CPU nanoseconds by program, call and release. Who goes first changes."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for number in range(-2, rounds):
        for turn in range(len(TURNS)):
            for program in PROGRAMS:
                for worker in workers[:: 1 if number % 2 else -1]:
                    for call, sample in worker.call(program, turn).items():
                        # The first two rounds are for warming up.
                        if number >= 0:
                            found.setdefault((program, call, worker.suite), []).append(sample.cpu)
    return found


def table(found: dict[tuple[str, str, str], list[int]], program: str) -> list[str]:
    """Lines for a reader: the least and the median, and the ratios."""
    old, new = SUITES
    lines = [f"{program + ': CPU, ms':28}{'least':>18}{'ratio':>8}{'median':>20}{'ratio':>8}"]
    for call in dict.fromkeys(call for name, call, _ in found if name == program):
        line = f"  {call:24}"
        for of in (min, median):
            before, after = (of(found[program, call, suite]) / MS for suite in (old, new))
            line += f"{before:10.2f} {after:9.2f} {after / before:7.2f}"
        lines.append(line)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pythons", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="how often each call is made (default: 40)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench.pythons: skipped: not root, and containers are made by root here")
        return 0
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-") as folder:
        try:
            for suite in SUITES:
                workers.append(Worker(suite, Path(folder)))
            found = measure(workers, options.rounds)
            print(", ".join(f"{worker.suite}: {worker.version}" for worker in workers))
            for program in PROGRAMS:
                print("\n".join(["", *table(found, program)]))
        finally:
            for worker in workers:
                worker.close()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CallFailed, subprocess.CalledProcessError) as error:
        sys.exit(f"bench.pythons: {error}")
