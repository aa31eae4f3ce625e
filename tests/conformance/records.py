"""What is kept of the peers' results, and why pyrunc does not pass a test.

peers.json: results of runc and crun on the machine it names, written by `python3 -m tests.conformance --record`.
reasons.txt: TEST | REASON, one a line. A reason is never ours: the suite's, the kernel's, the specification's.
"""

import json
import platform
import subprocess
from pathlib import Path

from .suite import MODULE, VERSION

PEERS = Path(__file__).with_name("peers.json")
REASONS = Path(__file__).with_name("reasons.txt")

#: Not asked for even where a peer passes them: an LSM that is absent (an error is right), a suite older than
#: runtime-spec 1.3.0, a race.
EXCLUDED = frozenset(("linux_process_apparmor_profile", "linux_mount_label", "poststart_fail", "poststart"))


def peers() -> "dict[str, dict[str, bool]]":
    """ "NAME VERSION" of each peer, and whether it passes each test."""
    data = json.loads(PEERS.read_text())
    return {title: dict(results) for title, results in data["passed"].items()}


def write(passed: "dict[str, dict[str, bool]]") -> None:
    """Replace peers.json."""
    data = {"suite": f"{MODULE}@{VERSION}", "kernel": platform.release(), "passed": passed}
    PEERS.write_text(json.dumps(data, indent=1) + "\n")


def reasons() -> "dict[str, str]":
    """Test to reason."""
    lines = REASONS.read_text().splitlines()
    pairs = [line.split(" | ", 1) for line in lines if line.strip() and not line.startswith("#")]
    return {name.strip(): why.strip() for name, why in pairs}


def version_of(program: str) -> str:
    """The version that the first line of `PROGRAM --version` ends with."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return said.splitlines()[0].split()[-1] if said else ""
