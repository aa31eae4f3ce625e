"""update: sizes, and the resources that its flags ask for."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.cli.update import from_flags, size
from pyrunc.errors import UsageError
from tests.support.command_line import call_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("512", 512),
        ("32b", 32),
        ("32B", 32),
        ("1k", 1024),
        ("1K", 1024),
        ("2kb", 2048),
        ("3KiB", 3072),
        ("64m", 64 << 20),
    ]
    + [
        ("1.5G", 3 << 29),
        ("1 g", 1 << 30),
        ("1T", 1 << 40),
        ("1p", 1 << 50),
        ("9223372036854775807", 2**63 - 1),
        (".5k", 512),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1m", "1x", "1mm", "1bb", "1kbb", "1kk", "1,5k", "1..5", "1 ", " 1", "1  k", "0x10", "1e3", "٣", "."],
)
def test_bad_sizes(text: str) -> None:
    if text == "1 ":
        assert size(text) == 1  # as docker's own parser
        return
    with pytest.raises(ValueError):
        size(text)


def resources(*argv: str) -> Any:
    call = call_of("update", *argv, "id")
    return from_flags(call.flags, call.given)


def test_update_flags() -> None:
    assert resources() == {}
    assert resources("--memory", "", "--cpu-quota=") == {}
    assert resources("--memory=64m", "--memory-swap=-1", "--memory-reservation", "32M") == {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20}
    }
    assert resources(
        "--cpu-quota=-1", "--cpu-period", "100000", "--cpu-share=0", "--cpuset-cpus=0-1", "--cpu-idle", "1"
    ) == {"cpu": {"quota": -1, "period": 100000, "shares": 0, "cpus": "0-1", "idle": 1}}
    assert resources("--pids-limit=0", "--blkio-weight", "500") == {"pids": {"limit": 0}, "blockIO": {"weight": 500}}
    assert resources("--pids-limit=-1") == {"pids": {"limit": -1}}


@pytest.mark.parametrize(
    "flag",
    [
        "--memory=x",
        "--memory=-2",
        "--memory=9223372036854775808",
        "--memory=9999p",
        "--memory-swap=-1k",
        "--cpu-period=-1",
    ]
    + [
        "--cpu-share=1.5",
        "--cpu-quota=9223372036854775808",
        "--cpu-quota=1k",
        "--cpu-idle=yes",
        "--cpu-burst=+1",
        "--cpu-rt-period= 1",
    ]
    + [
        "--blkio-weight=9",
        "--blkio-weight=1001",
        "--blkio-weight=-1",
        "--cpu-rt-runtime=--1",
        "--cpu-quota=-",
        "--cpu-period=٣",
    ],
)
def test_update_flags_refused(flag: str) -> None:
    with pytest.raises(UsageError):
        resources(flag)
