"""The one line of an error."""

import pytest

from pyrunc.errors import PyruncError, StateError


def test_a_container_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported the library, which gives advice.
    monkeypatch.setattr(PyruncError, "advise", None)
    error: PyruncError = StateError("container box is busy: process 1 has its lock")
    error.container = "box"
    assert error.line() == "container box is busy: process 1 has its lock"
    error = PyruncError("mount source /b does not exist", pointer="/mounts/1/source")
    error.container = "b"
    assert error.line() == "mount source /b does not exist (container b, config.json /mounts/1/source)"
