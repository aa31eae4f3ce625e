"""What each runtime says of each fault: asked of it, and kept in said.json."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support.workplace import Workplace

from .fault import Fault, clear, flags, prepare, words

SAID = Path(__file__).with_name("said.json")
PATIENCE = 20


def ask(runtime: Path, fault: Fault) -> dict[str, Any] | None:
    """Exit status, what standard error has, what is left and the milliseconds; None where it cannot be asked."""
    if fault.needs is not None and fault.needs():
        return None
    place = Workplace(runtime)
    box = place.bundle()
    try:
        prepare(fault, box)
        before = place.leftovers()
        start = time.monotonic()
        got = place.call(*words(fault, box), flags=flags(fault, box), timeout=PATIENCE, **fault.how)
        spent = round((time.monotonic() - start) * 1000)
        left = [what.partition(" ")[0] for what in place.leftovers() if what not in before]
        clear(fault, box)
        return {
            "status": got.returncode,
            "line": said(got.stderr.replace(str(runtime), runtime.name), str(place.path)),
            "left": left,
            "ms": spent,
        }
    except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
        return {"status": -1, "line": f"{type(error).__name__}", "left": [], "ms": 0}
    finally:
        place.close()


def said(text: str, here: str) -> str:
    """Standard error in one line, without times and with the workplace's name shortened."""
    found = []
    for line in text.splitlines():
        logged = re.search(r' msg="(.*)"$', line)
        line = logged[1].replace('\\"', '"').replace("\\\\", "\\") if logged else line
        line = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z: ", "", line)
        if line and line not in found:
            found.append(line)
    text = re.sub(r"\s+", " ", " / ".join(found)).replace(here, "/tmp/t")
    return re.sub(r"pyrunc-test-\d+", "pyrunc-test", text)[:900]


def ask_all(runtime: Path, faults: list[Fault], theirs: bool) -> dict[str, dict[str, Any]]:
    """By fault. theirs: only those that are no matter of pyrunc's alone."""
    found = {}
    for fault in faults:
        if theirs and not fault.theirs:
            continue
        answer = ask(runtime, fault)
        if answer is not None:
            found[fault.name] = answer
    return found


def version(program: str) -> str:
    """Name and version, as the first line of --version has them."""
    line = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return f"{Path(program).name} {line.split()[-1]}"


def write(answers: dict[str, dict[str, Any]]) -> None:
    SAID.write_text(json.dumps({"kernel": platform.release(), "said": answers}, indent=1, ensure_ascii=False) + "\n")


def kept() -> dict[str, dict[str, Any]]:
    """ "NAME VERSION" of each runtime, and what it says of each fault."""
    found: dict[str, dict[str, Any]] = json.loads(SAID.read_text())["said"]
    return found
