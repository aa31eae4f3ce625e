"""What a command has loaded, by the launcher that tells of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def debug(runtime: Path) -> Path:
    path = runtime.with_name("pyrunc-debug")
    if not path.exists():
        pytest.skip("no pyrunc-debug: an installation has none")
    return path


def loaded(program: Path, tmp_path: Path, *argv: str | Path) -> list[Any]:
    """Run a command with the debug launcher; what it told, process by process in the order they ended."""
    out = tmp_path / "loaded"
    with open(out, "wb") as file:
        environment = {**os.environ, "PYRUNC_DEBUG_FD": str(file.fileno())}
        done = subprocess.run(  # a created container keeps its output open: no pipe
            [program, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(file.fileno(),),
            env=environment,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0
    return [json.loads(line) for line in out.read_text().splitlines()]
