"""In the virtual machine: runc's suite, file by file, as root, on the machine's own cgroup v2.

Started by bats_vm.py's job as `python3 -m tests.conformance.bats_guest JOB`. JOB is a JSON object: folder, program,
files, systemd (whether the suite asks for --systemd-cgroup), known (tests that are known not to pass), seconds (after
which no further file is begun), patience (seconds for one file). The machine is thrown away, so nothing is put back.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import bats_inside
from .tap import read

RESULTS = Path("/results")


def main() -> int:
    job = json.loads(sys.argv[1])
    until = time.monotonic() + job["seconds"]
    _arrange()
    for file in job["files"]:
        if time.monotonic() > until:
            print(f"no time is left for {file} and what follows", flush=True)
            return 1
        started = time.monotonic()
        found = _run(job, file, RESULTS / f"{file}.tap", None)
        failed = [name for name, result in found.items() if result == "not ok"]
        print(f"{file}: {time.monotonic() - started:.0f} s, {len(found)} tests, failed: {failed}", flush=True)
        for number, name in enumerate(name for name in failed if f"{file}: {name}" not in job["known"]):
            _run(job, file, RESULTS / f"{file}.{number}.again.tap", name)
    return 0


def _arrange() -> None:
    """What the suite expects of its host beside systemd."""
    with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
        passwd.write(f"rootless:x:{bats_inside.USER}:{bats_inside.USER}::/home:/bin/bash\n")
        group.write(f"rootless:x:{bats_inside.USER}:\n")


def _run(job: dict[str, Any], file: str, tap: Path, only: str | None) -> dict[str, str]:
    """A file, or one test of it by its name. What it says goes to tap."""
    one = {**job, "set": "root", "file": file}
    one["until"] = time.monotonic() + job["patience"]
    if only is not None:
        one["filter"] = "^" + re.sub(r"[^\w ]", ".", only) + "$"
    with tap.open("wb") as log:
        one["log"] = os.dup(log.fileno())
        bats_inside.on_terminal(one)
    _end_sessions()
    return read(tap.read_text(errors="replace"))


def _end_sessions() -> None:
    """End what a file has left running from its folder or by its runtime: the next one has the machine to itself."""
    own = os.getsid(0)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
            pid = int(entry.name)
            if b"\0BATS_TEST_NAME=" in environment and os.getsid(pid) != own:
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


if __name__ == "__main__":
    sys.exit(main())
