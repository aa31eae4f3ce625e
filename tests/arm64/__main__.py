"""`python -m tests.arm64`: builds, installs and tests pyrunc on a Debian of arm64, emulated, and prints a table.

Two boots: with the controllers on cgroup v1, as on the machine that tests/lifecycle is written on, and with cgroup v2
and systemd. The console and junit results of each are left in build/arm64/BOOT. Takes an hour or two.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.support import TOP
from tests.vm import machine

from . import image

#: Seconds for one boot: three hours.
PATIENCE = 10800.0
#: Seconds for one room.
ROOM_PATIENCE = 7200


class Room(NamedTuple):
    """Tests that are run by one call of pytest. boot: in which machine; part: rooms of two parts run at once."""

    name: str
    boot: str
    part: str
    words: str


ROOMS = (
    Room("arm64", "v1", "one", "tests/arm64/guest"),
    Room("security", "v1", "one", "tests/security"),
    Room("unit", "v1", "one", "tests/unit --deselect tests/unit/config/test_schema_agreement.py"),
    Room("lifecycle", "v1", "two", "tests/lifecycle"),
    Room("v2", "v2", "one", "tests/arm64/guest tests/vm/guest/test_limits.py tests/vm/guest/test_devices.py"),
    Room("systemd", "v2", "two", "tests/vm/guest/test_systemd.py tests/vm/guest/test_units.py"),
)
BOOTS = {"v1": machine.HYBRID, "v2": machine.UNIFIED}

START = """\
mkdir -p /results
cp -a /job/project /root/pyrunc
cd /root/pyrunc
chmod 666 /dev/fuse /dev/net/tun 2>/dev/null
systemctl start user@1000.service
systemctl is-system-running --wait >/results/system
export HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
say() { echo "$(date +%T) $*" >/dev/console; }
step() {
    name=$1; shift
    say "$name"
    if "$@" >"/results/$name.txt" 2>&1; then echo 0 >"/results/$name.status"; else say "$name failed"; fi
}
step demo make demo
step install make install
step version pyrunc --version
export PYRUNC_VM=1 PYRUNC_MANY=30
"""
ROOM = """\
room_{name}() {{
    say "{name} begins"
    timeout -s INT -k 60 {patience} python3 -m pytest -p no:cacheprovider -v --tb=short --color=no --durations=15 \\
        --junitxml=/results/{name}.xml {words} 2>&1 | tee /results/{name}.txt >/dev/console
    say "{name} ends: $(tail -n 1 /results/{name}.txt)"
}}
"""
END = "tar -C /results -cf - . | dd of=/dev/disk-3 bs=64k conv=fsync status=none\n"


class Outcome(NamedTuple):
    """What a room's tests came to; failed holds the names."""

    room: str
    passed: int
    failed: list[str]
    skipped: int
    minutes: float


def put_sources(goal: Path) -> None:
    """What `git clone` would give of this work tree, with what is not committed yet."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    for name in subprocess.run(listed, cwd=TOP, check=True, capture_output=True).stdout.decode().split("\0"):
        if name and os.path.lexists(TOP / name):
            (goal / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, goal / name, follow_symlinks=False)


def script(rooms: list[Room], arguments: str) -> str:
    """What the machine does."""
    text = START
    for room in rooms:
        text += ROOM.format(name=room.name, patience=ROOM_PATIENCE, words=f"{room.words} {arguments}")
    for part in sorted({room.part for room in rooms}):
        text += "(" + "; ".join(f"room_{room.name}" for room in rooms if room.part == part) + ") &\n"
    return text + "wait\n" + END


def outcome(room: str, file: Path) -> Outcome:
    """Of a junit file. A room without one has failed."""
    if not file.exists():
        return Outcome(room, 0, ["pytest did not end"], 0, 0.0)
    failed, skipped, passed = [], 0, 0
    root = ElementTree.parse(file).getroot()
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    seconds = sum(float(suite.get("time", "0")) for suite in root.iter("testsuite"))
    return Outcome(room, passed, failed, skipped, seconds / 60)


def run_boot(disk: Path, boot: str, rooms: list[Room], arguments: str) -> list[Outcome]:
    """Raises Failure."""
    keep = TOP / "build/arm64" / boot
    shutil.rmtree(keep, ignore_errors=True)
    job = keep / "job"
    put_sources(job / "project")
    (job / "start").write_text(script(rooms, arguments))
    words = f"{BOOTS[boot]} systemd.default_timeout_start_sec=600"
    machine.boot(disk, job, keep, PATIENCE, words, machine.ARM64, keep / "console")
    shutil.rmtree(job)
    found = [outcome(room.name, keep / f"{room.name}.xml") for room in rooms]
    for step in ("demo", "install", "version"):
        if not (keep / f"{step}.status").exists():
            found.append(Outcome(step, 0, [f"{step}: see {keep}/{step}.txt"], 0, 0.0))
    return found


def main() -> int:
    """0 when all that ran has passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.arm64", description=__doc__)
    parser.add_argument("--rooms", default=",".join(room.name for room in ROOMS), help="which of %(default)s")
    parser.add_argument("--arguments", default="", help="more words for pytest")
    options = parser.parse_args()
    rooms = [room for room in ROOMS if room.name in options.rooms.split(",")]
    if os.geteuid() != 0 or (why := machine.missing(machine.ARM64, ("debootstrap", "mke2fs", "depmod"))):
        print("arm64: " + ("no root: the machine's disk is made by root" if os.geteuid() else why))
        return 1
    disk = image.make()
    found: list[Outcome] = []
    begun = time.monotonic()
    for boot in BOOTS:
        if wanted := [room for room in rooms if room.boot == boot]:
            found += run_boot(disk, boot, wanted, options.arguments)
    print(table(found, (time.monotonic() - begun) / 60))
    return 1 if any(each.failed for each in found) else 0


def table(found: list[Outcome], minutes: float) -> str:
    """For docs/testing.md."""
    day = datetime.now(UTC).date()
    lines = [f"{day}, emulated on {platform.machine()} with {os.cpu_count()} processors, {minutes:.0f} minutes:", ""]
    lines += ["| | passed | failed | skipped | minutes |", "|---|---|---|---|---|"]
    lines += [f"| {o.room} | {o.passed} | {len(o.failed)} | {o.skipped} | {o.minutes:.0f} |" for o in found]
    return "\n".join([*lines, "", *(f"failed: {name}" for each in found for name in each.failed)])


if __name__ == "__main__":
    sys.exit(main())
