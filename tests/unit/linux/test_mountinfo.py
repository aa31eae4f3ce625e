"""The lines of /proc/PID/mountinfo."""

from __future__ import annotations

import os

from pyrunc.linux import mountinfo

LINES = b"""36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
40 35 0:5 / /dev rw - devtmpfs  rw
41 35 0:31 / /sys/fs/cgroup/\xff ro - cgroup2 cgroup2 rw,nsdelegate
"""


def test_the_fields_of_a_line() -> None:
    first, second, third = mountinfo.parse(LINES)
    assert (first.number, first.parent, first.device, first.root, first.point) == (
        "36",
        "35",
        "98:0",
        "/mnt1",
        "/mnt 2",
    )
    assert (first.options, first.peers) == (["rw", "noatime"], ["master:1", "shared:7"])
    assert (first.fstype, first.source, first.super_options) == ("ext3", "/dev/root", ["rw", "errors=continue"])
    assert (second.peers, second.source, second.super_options) == ([], "", ["rw"])
    assert third.point == "/sys/fs/cgroup/\udcff"


def test_only_the_lines_that_are_wanted() -> None:
    assert [entry.fstype for entry in mountinfo.parse(LINES, b" - cgroup")] == ["cgroup2"]


def test_our_own_mounts_and_the_one_of_an_open_file() -> None:
    points = mountinfo.points()
    assert points[-1] == mountinfo.entries("self")[0].point and "/proc" in points
    fd = os.open("/proc/self", os.O_RDONLY)
    try:
        number = mountinfo.number_of(fd)
    finally:
        os.close(fd)
    assert "/proc" in [entry.point for entry in mountinfo.entries("self") if entry.number == number]
