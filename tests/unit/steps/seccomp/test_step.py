"""The step that has the filter compiled by a child."""

import sys
from types import ModuleType
from typing import Any

import pytest

from pyrunc.steps.seccomp.step import _by_stage_two


@pytest.mark.parametrize("program", [b"", b"12345678", b"12345678123"])
def test_what_a_child_says_is_a_program_or_nothing(program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program no filter would be loaded."""
    launcher: Any = ModuleType("_launcher")
    launcher.IMAGE, launcher.JOB, launcher.STAGE2 = True, "job", "/bin/true"
    monkeypatch.setitem(sys.modules, "_launcher", launcher)
    monkeypatch.setattr("pyrunc.steps.seccomp.step.posix.pread", lambda *_: program)
    assert _by_stage_two({"defaultAction": "SCMP_ACT_ALLOW"}) is None
