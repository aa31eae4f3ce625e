"""kill: the names and numbers of signals."""

from __future__ import annotations

import signal

import pytest

from pyrunc.cli.kill import signal_number
from pyrunc.errors import UsageError
from tests.support.command_line import run


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("0", 0),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax-1", 63),
    ]
    + [("RTMAX", 64), ("64", 64), ("CHLD", 17), ("STKFLT", 16), ("POLL", 29), ("WINCH", 28), ("RTMIN+30", 64)],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


def test_signal_names_are_the_kernel_s() -> None:
    for known in signal.Signals:
        assert signal_number(known.name) == known
    for number in range(1, 65):
        if number not in (32, 33):
            assert number in set(signal.valid_signals())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FOO",
        "SIG",
        "65",
        "-9",
        "999",
        "1e1",
        "RTMIN+31",
        "RTMAX-31",
        "RTMIN-1",
        "_BLOCK",
        "SIG_DFL",
        "9 ",
        "９",
        "RTMIN+",
    ],
)
def test_bad_signals(text: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        signal_number(text)


@pytest.mark.parametrize("argv", [["kill", "--all", "ID", "9x"], ["kill", "ID", "NOPE"], ["kill", "ID", "9", "9"]])
def test_a_bad_signal_is_an_error_before_anything_is_loaded(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    assert "level=error" in capfd.readouterr().err
