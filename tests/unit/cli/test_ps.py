"""ps: the lines of the container's processes."""

from __future__ import annotations

import pytest

from pyrunc.cli.ps import select
from pyrunc.errors import PyruncError


def test_ps_lines() -> None:
    text = "UID  PID PPID CMD\nroot 1 0 init\nroot 22 1 sh -c 1\nroot 1 22\n\n"
    assert select(text, {22}) == "UID  PID PPID CMD\nroot 22 1 sh -c 1\n"
    with pytest.raises(PyruncError, match="couldn't find PID field"):
        select("A B\n", {1})
