"""Lists of CPUs and memory nodes."""

from __future__ import annotations

import pytest

from pyrunc.linux import cpulist


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("3", [3]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        (" 1 , 4-5 ", [1, 4, 5]),
        ("2,,3", [2, 3]),
        ("5,1", [5, 1]),
    ],
)
def test_the_numbers_of_a_list(text: str, numbers: list[int]) -> None:
    assert cpulist.numbers(text) == numbers


@pytest.mark.parametrize("text", ["x", "-", "1-", "-1", "1-2-3", "0x1"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        cpulist.numbers(text)


def test_the_parts_are_told_as_they_are_written() -> None:
    assert cpulist.ranges("01, 2-x,") == [("01", "01", "01"), ("2-x", "2", "x"), ("", "", "")]
