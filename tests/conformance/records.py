"""What is kept of the peers' results, and why pyrunc does not pass a test.

peers.json: results of runc and crun on the machine it names, written by `python3 -m tests.conformance --record`.
peers-v2.json: the same on cgroup v2, in the virtual machine: tests/vm/guest/test_conformance.py.
reasons.txt: TEST | REASON, one a line. A reason is never ours: the suite's, the kernel's, the specification's.
left-out-v2.txt: in the same form, what is not run on cgroup v2.
"""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from .suite import MODULE, VERSION

PEERS = Path(__file__).with_name("peers.json")
PEERS_V2 = Path(__file__).with_name("peers-v2.json")
REASONS = Path(__file__).with_name("reasons.txt")
LEFT_OUT_V2 = Path(__file__).with_name("left-out-v2.txt")

#: Not asked for even where a peer passes them: an LSM that is absent (an error is right), a suite older than
#: runtime-spec 1.3.0, a race.
EXCLUDED = frozenset(("linux_process_apparmor_profile", "linux_mount_label", "poststart_fail", "poststart"))

#: Sends its signals as soon as the container runs, when the shell in it may not have set its traps yet: all three
#: runtimes fail it now and then.
RACES = frozenset(("killsig",))

#: Races between the suite and the container's program, which end either way, so neither way is a failure.
EITHER_WAY = frozenset(("pidfile", "poststart"))

#: On cgroup v2: a whole life, and what that machine's cgroups, device rules, capabilities and AppArmor are part of.
QUICK_V2 = (
    *("create", "default", "kill", "killsig", "linux_devices", "linux_ns_nopath"),
    "linux_process_apparmor_profile",
    *("linux_uid_mappings", "mounts", "process_capabilities", "state"),
)


def peers(file: Path = PEERS) -> dict[str, dict[str, bool]]:
    """ "NAME VERSION" of each peer, and whether it passes each test."""
    data = json.loads(file.read_text())
    return {title: dict(results) for title, results in data["passed"].items()}


def write(passed: dict[str, dict[str, bool]], file: Path = PEERS) -> None:
    """Replace peers.json, or another such file."""
    data = {"suite": f"{MODULE}@{VERSION}", "kernel": platform.release(), "passed": passed}
    file.write_text(json.dumps(data, indent=1) + "\n")


def reasons() -> dict[str, str]:
    """Test to reason."""
    return _reasons(REASONS)


def left_out_v2() -> dict[str, str]:
    """Test to the reason why it is not run on cgroup v2."""
    return _reasons(LEFT_OUT_V2)


def names_v2(*, quick: bool) -> list[str]:
    """The tests that are run on cgroup v2. quick: only those that `make test` runs."""
    return list(QUICK_V2) if quick else sorted(set(next(iter(peers().values()))) - set(left_out_v2()))


def _reasons(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    pairs = [line.split(" | ", 1) for line in lines if line.strip() and not line.startswith("#")]
    return {name.strip(): why.strip() for name, why in pairs}


def version_of(program: str) -> str:
    """The version that the first line of `PROGRAM --version` ends with."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return said.splitlines()[0].split()[-1] if said else ""
