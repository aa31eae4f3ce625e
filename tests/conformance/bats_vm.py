"""make conformance-vm: runc's own suite on cgroup v2, in the virtual machine of tests/vm, pyrunc beside runc, as root.

    python3 -m tests.conformance.bats_vm [--manager MANAGER] [--file FILE] [--peers live|recorded] [--record]

A manager is systemd (the suite asks for --systemd-cgroup) or cgroupfs; without one both are run, a boot each. What
runc does is recorded in bats-v2.json, and run again by --peers live. All is emulated: a boot takes an hour or two.
Logs: build/bats-vm/NAME/MANAGER/FILE.tap.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import TOP
from tests.vm import image, machine

from . import bats_suite, tap
from .bats import behind, failed, line, reasons
from .tap import Results

RECORD = Path(__file__).with_name("bats-v2.json")
MANAGERS = ("systemd", "cgroupfs")
#: The machine's disk: what the suite calls. Everything that tests/vm has for engines is left out.
DISK = image.Image(
    "bats", ("bats", "jq", "gawk", "uidmap", "criu", "iptables", "gcc", "libc6-dev", "libseccomp2", "attr", "file")
)
#: Seconds for one file, and for starting and ending the machine.
PATIENCE, MARGIN = 3600.0, 600.0

JOB = """\
mkdir -p /results
[ ! -d /job/root ] || cp -a /job/root/. /
mkdir /var/bats
cp -a /job/bin /job/tests /job/go.mod /job/home /job/tmp /var/bats/
systemctl is-system-running --wait >/results/system
cd /job/project
export PYTHONDONTWRITEBYTECODE=1
python3 -m tests.conformance.bats_guest "$(cat /job/words)"
tar -C /results -cf - . | dd of=/dev/disk-3 bs=64k conv=fsync status=none
"""


def recorded() -> dict[str, Results]:
    """What runc did with each manager."""
    data = json.loads(RECORD.read_text()) if RECORD.exists() else {"results": {}}
    return {name: dict(results) for name, results in data["results"].items()}


def run(name: str, runtime: Path, manager: str, files: list[str], known: set[str], seconds: float) -> Results:
    """Boot a machine on these files. known: tests that are known not to pass. seconds: for all of it.

    Raises machine.Failure, OSError, subprocess.CalledProcessError.
    """
    print(f"{name}, {manager}: booting", file=sys.stderr)
    place = TOP / f"build/bats-vm/{name}/{manager}"
    place.mkdir(parents=True, exist_ok=True)
    with bats_suite.work(runtime) as folder:
        if name == "pyrunc":
            _install(folder)
        here = folder / "project/tests"
        for part in (
            "__init__.py",
            *(f"conformance/{each}.py" for each in ("__init__", "bats_guest", "bats_inside", "tap")),
        ):
            (here / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / "tests" / part, here / part)
        words = {
            "folder": "/var/bats",
            "program": "/var/bats/bin/runc",
            "files": files,
            "systemd": manager == "systemd",
            "known": sorted(known),
            "seconds": seconds - MARGIN,
            "patience": PATIENCE,
        }
        (folder / "words").write_text(json.dumps(words))
        (folder / "start").write_text(JOB)
        console = machine.boot(image.make(DISK), folder, place, seconds)
    (place / "console").write_text(console)
    return collect(place, files)


def _install(folder: Path) -> None:
    """pyrunc as `make install` has it, and by the name runc."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYRUNC"))}
    subprocess.run(["make", "-s", "install", f"DESTDIR={folder}/root"], cwd=TOP, env=environment, check=True)
    (folder / "bin/runc").unlink()
    (folder / "bin/runc").symlink_to("/usr/local/bin/pyrunc")


def collect(place: Path, files: list[str]) -> Results:
    """What a boot has left of these files. A test that was run again by itself, and passed, has passed."""
    found: Results = {}
    for file in files:
        for log in sorted(place.glob(f"{file}*.tap"), key=lambda path: path.name.count("again")):
            for test, result in tap.read(log.read_text(errors="replace")).items():
                name = f"{file}: {test}"
                if "again" not in log.name or result == "ok":
                    found[name] = result
    return found


def record(manager: str, results: Results) -> None:
    data = {"suite": f"{bats_suite.MODULE}@{bats_suite.VERSION}", "results": recorded() | {manager: results}}
    RECORD.write_text(json.dumps(data, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conformance-vm", description="runc's suite in a virtual machine")
    parser.add_argument("--manager", action="append", choices=MANAGERS, dest="managers")
    parser.add_argument("--file", action="append", dest="files", metavar="FILE.bats")
    parser.add_argument(
        "--peers", choices=("live", "recorded", "alone"), default="recorded", help="run runc; or it alone"
    )
    parser.add_argument("--record", action="store_true", help="write what runc did to bats-v2.json")
    parser.add_argument("--patience", type=float, default=3.0, metavar="HOURS", help="for a boot (%(default)s)")
    options = parser.parse_args()
    if why := machine.missing():
        parser.error(why)
    runc = Path(os.environ.get("RUNC") or Path.home() / "go/bin/runc")
    seconds, files, theirs = options.patience * 3600, options.files or bats_suite.files(), recorded()
    lines, missing = [], []
    for manager in options.managers or MANAGERS:
        if options.peers != "recorded":
            peer = theirs.setdefault(manager, {})
            peer.update(run("runc", runc, manager, files, failed(peer), seconds))
            if options.record:
                record(manager, peer)
        peer = {test: result for test, result in theirs.get(manager, {}).items() if test.partition(":")[0] in files}
        if options.peers == "alone":
            continue
        ours = run("pyrunc", runc, manager, files, failed(peer) | reasons().keys(), seconds)
        here = [test for test in behind(ours, peer) if test not in reasons()]
        missing += [f"{manager}: {test}: runc passes it" for test in here]
        missing += [f"{manager}: {test}: was not run" for test in peer.keys() - ours.keys()]
        lines.append(line(manager, ours, peer, len(here)))
    print(f"{bats_suite.MODULE} {bats_suite.VERSION}, tests/integration, on cgroup v2\n")
    print("manager".ljust(16) + "pyrunc".ljust(10) + "runc".ljust(10) + "of".ljust(8) + "skipped by both")
    print("\n".join([*lines, "", *missing]))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
