"""What the tests of `doctor` share: a call of it where a line of shell has made a condition true."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .workplace import Workplace

#: An ordinary user that no host has.
USER = 61234


def as_user() -> str:
    return f"setpriv --reuid {USER} --regid {USER} --clear-groups"


class Doctor:
    """Calls `doctor` in a mount namespace of its own, in which a line of shell has been executed before."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def __call__(
        self, line: str = ":", *args: str | Path, unshare: Sequence[str] = (), wrap: str = "", root: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = ["unshare", "--mount", *unshare, "--", "sh", "-c", f'set -e; {line}; exec {wrap} "$@"', "sh"]
        argv += [str(self.place.runtime), "--root", str(root or self.place.root), "doctor", *map(str, args)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd=self.place.path)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        return done

    def findings(self, *args: Any, **how: Any) -> list[dict[str, Any]]:
        line, *rest = args or (":",)
        done = self(line, "--json", *rest, **how)
        assert done.stdout, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
        assert done.returncode == any(one["level"] == "problem" for one in found)
        return found


def the(found: list[dict[str, Any]], subject: str, words: str = "") -> dict[str, Any]:
    """The one finding of a subject with these words."""
    matching = [one for one in found if one["subject"] == subject and words in one["found"]]
    assert len(matching) == 1, [one for one in found if one["subject"] == subject]
    return matching[0]


def problems(found: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    return {(one["subject"], one["pointer"]) for one in found if one["level"] == "problem"}
