"""`python3 -m bench`: see README.md in this folder."""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.cgroups import hierarchies, remove_cgroups
from tests.support.processes import become_subreaper, reap

from . import configs, report
from .measure import CallFailed, Meter, Sample, peak_rss

TOP = Path(__file__).parent.parent
CGROUP = f"/pyrunc-bench-{os.getpid()}"

#: Set for the second half of the program, which runs in a mount namespace of its own.
INSIDE = "PYRUNC_BENCH_INSIDE"

_MNT_DETACH = 2


class Contestant:
    """One runtime with its bundles of one kind of config. All calls of all contestants are spelled alike."""

    def __init__(self, name: str, program: Path, ends: Path, stays: Path, place: Path) -> None:
        self.name = name
        self.program = str(program)
        self.ends = str(ends)
        self.stays = str(stays)
        self.pid_file = str(place / f"{name}.pid")
        self._place = place
        self._roots = 0
        self.fresh_root()

    def fresh_root(self) -> None:
        """From here on a state root on which nothing was ever cached."""
        self._roots += 1
        self.root = str(self._place / f"{self.name}-{self._roots}")

    def argv(self, command: str, *args: str) -> list[str]:
        return [self.program, "--root", self.root, command, *args]


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("bench: skipped: not root, and containers are made by root here")
        return 0
    if INSIDE not in os.environ:
        return in_private_namespaces()
    load = os.getloadavg()[0]
    programs = contestants(options.pyrunc)
    leave_cgroup2()
    become_subreaper()
    results = []
    meter = Meter(CGROUP)
    try:
        for kind in options.config:
            with tempfile.TemporaryDirectory(prefix="pyrunc-bench-", dir="/tmp") as place:
                results.append(time_config(kind, programs, Path(place), meter, options.rounds))
    finally:
        meter.close()
        remove_cgroups(CGROUP)
    versions = {name: version(path) for name, path in programs.items()}
    made = report.Report(options.rounds, meter.source, versions, results, load)
    print(made.text())
    if options.json:
        Path(options.json).write_text(made.json())
        print(f"the same as JSON: {options.json}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="time pyrunc beside runc and crun")
    parser.add_argument("--rounds", type=int, default=40, help="how often each call is made (default: 40)")
    parser.add_argument(
        "--config", action="append", choices=["plain", "engine", "pod", "everything"], help="only this; may be repeated"
    )
    parser.add_argument("--pyrunc", help="the pyrunc to time (default: build/pyrunc, else /usr/local/bin/pyrunc)")
    parser.add_argument("--json", help="write the figures to this file too")
    options = parser.parse_args()
    options.config = options.config or ["engine", "plain"]
    return options


def contestants(pyrunc: str | None) -> dict[str, Path]:
    """The runtimes that are on this machine, by name. What is not there is said."""
    runc = Path(os.environ.get("RUNC", Path.home() / "go/bin/runc"))
    wanted = {
        "runc": [runc],
        "crun": [Path("/usr/bin/crun")],
        "pyrunc": [Path(pyrunc)] if pyrunc else [TOP / "build/pyrunc", Path("/usr/local/bin/pyrunc")],
    }
    found: dict[str, Path] = {}
    for name, paths in wanted.items():
        there = [path.absolute() for path in paths if os.access(path, os.X_OK)]
        if there:
            found[name] = there[0]
        else:
            print(f"bench: without {name}: no {' or '.join(map(str, paths))}")
    if not found:
        sys.exit("bench: nothing to time")
    return found


def version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    return f"{done.stdout.splitlines()[0] if done.stdout else '?'} ({program})"


def in_private_namespaces() -> int:
    """The rest in a mount namespace of its own."""
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    argv = [*unshare, sys.executable, "-m", "bench", *sys.argv[1:]]
    return subprocess.run(argv, cwd=TOP, env={**os.environ, INSIDE: "1"}).returncode


def leave_cgroup2() -> None:
    """On a host of cgroup v1, take away the cgroup2 mount that is there too, by which Debian's crun thinks it on v2.

    For all alike, so that all join as many cgroups.
    """
    mounts = hierarchies()
    if "unified" in mounts and len(mounts) > 1:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(mounts["unified"]), _MNT_DETACH):
            raise OSError(ctypes.get_errno(), f"umount {mounts['unified']}")


def time_config(kind: str, programs: dict[str, Path], place: Path, meter: Meter, rounds: int) -> report.Table:
    """Time all runtimes on one kind of config, taking turns call by call."""
    spec_by = programs.get("pyrunc") or next(iter(programs.values()))
    ends = configs.make(kind, configs.ENDS, place / "ends", spec_by)
    stays = configs.make(kind, configs.STAYS, place / "stays", spec_by)
    for bundle in (ends, stays):
        configs.with_cgroup(bundle, f"{CGROUP}/{bundle.name}")
    field = [Contestant(name, program, ends, stays, place) for name, program in programs.items()]
    table = report.Table(kind)
    for number in range(-2, rounds):
        # The first two are for warming up. Who goes first changes.
        first = number % len(field)
        order = field[first:] + field[:first]
        for each in (cold_run, run, whole_life, exec_and_kill):
            for runtime in [runtime for runtime in order if runtime.name not in table.failed]:
                try:
                    samples = each(runtime, meter)
                except CallFailed as error:
                    table.failed[runtime.name] = str(error)
                    clean_up(runtime)
                    continue
                if number >= 0:
                    table.add(runtime.name, samples)
    for runtime in field:
        if runtime.name not in table.failed:
            table.memory[runtime.name] = memory(runtime)
    return table


def cold_run(runtime: Contestant, meter: Meter) -> dict[str, Sample]:
    """run on a root that has no cache: a seccomp filter is compiled anew."""
    runtime.fresh_root()
    return {"run, nothing cached": meter.call(runtime.argv("run", "--bundle", runtime.ends, "cold"))}


def run(runtime: Contestant, meter: Meter) -> dict[str, Sample]:
    return {"run": meter.call(runtime.argv("run", "--bundle", runtime.ends, "once"))}


def whole_life(runtime: Contestant, meter: Meter) -> dict[str, Sample]:
    """create, start, state, delete --force of a process that stays; together they are the lifecycle."""
    parts = {
        "create": meter.call(runtime.argv("create", "--bundle", runtime.stays, "life")),
        "start": meter.call(runtime.argv("start", "life")),
        "state": meter.call(runtime.argv("state", "life")),
        "delete -f": meter.call(runtime.argv("delete", "--force", "life")),
    }
    reap()
    return {**parts, "lifecycle": sum(parts.values(), Sample(0, 0))}


def exec_and_kill(runtime: Contestant, meter: Meter) -> dict[str, Sample]:
    """exec of a process that ends at once; kill; and delete of what was killed."""
    meter.call(runtime.argv("run", "--detach", "--pid-file", runtime.pid_file, "--bundle", runtime.stays, "work"))
    parts = {"exec": meter.call(runtime.argv("exec", "work", *configs.ENDS))}
    parts["kill"] = meter.call(runtime.argv("kill", "work", "KILL"))
    wait_for_end(runtime)
    parts["delete"] = meter.call(runtime.argv("delete", "work"))
    return parts


def memory(runtime: Contestant) -> dict[str, int]:
    """Peak KiB of each call, the least of three."""
    found: dict[str, int] = {}

    def note(what: str, argv: list[str]) -> None:
        peak = peak_rss(argv)
        found[what] = min(peak, found.get(what, peak))

    for _ in range(3):
        note("run", runtime.argv("run", "--bundle", runtime.ends, "once"))
        note("create", runtime.argv("create", "--pid-file", runtime.pid_file, "--bundle", runtime.stays, "life"))
        note("start", runtime.argv("start", "life"))
        note("state", runtime.argv("state", "life"))
        note("exec", runtime.argv("exec", "life", *configs.ENDS))
        note("kill", runtime.argv("kill", "life", "KILL"))
        wait_for_end(runtime)
        note("delete", runtime.argv("delete", "life"))
        peak_rss(runtime.argv("run", "--detach", "--bundle", runtime.stays, "work"))
        note("delete -f", runtime.argv("delete", "--force", "work"))
        reap()
    return found


def wait_for_end(runtime: Contestant) -> None:
    """Until the killed container's process, which is our child now, has ended; and collect it."""
    os.waitpid(int(Path(runtime.pid_file).read_text()), 0)


def clean_up(runtime: Contestant) -> None:
    """After a failure: nothing of that runtime may be in the way of the others."""
    for name in ("cold", "once", "life", "work"):
        subprocess.run(runtime.argv("delete", "--force", name), capture_output=True)
    reap()


if __name__ == "__main__":
    sys.exit(main())
