"""The name that was meant."""

import time

from pyrunc.nearest import distance, nearest
from pyrunc.steps.process import unrunnable


def test_nearest_names() -> None:
    assert nearest("tmpsf", ["tmpfs", "proc"]) == "tmpfs"
    assert nearest("SIGTREM", ["SIGINT", "SIGTERM"]) == "SIGTERM"
    assert nearest("bundel", ["bundle", "config"]) == "bundle"
    assert nearest("xyz", ["bundle", "config"]) == ""
    assert distance("ab", "ba") == 1 and distance("", "abc") == 3 and distance("abc", "abd") == 1


def test_many_long_names_are_compared_in_a_moment() -> None:
    """An image has as many files as it likes, and PATH as many folders."""
    word = "m" + "0" * 59
    names = [word[:50] + f"{number:010}".replace("0", "z") for number in range(5000)]
    began = time.process_time()
    assert nearest(word, names) == "" and unrunnable._meant(word, names * 64) == ""
    assert time.process_time() - began < 10


def test_a_distance_is_exact_below_the_most_that_counts() -> None:
    for one, other in (("kitten", "sitting"), ("abcd", "acbd"), ("", "ab"), ("same", "same"), ("a" * 9, "b" * 9)):
        for most in range(1, 9):
            assert distance(one, other, most) == min(most, distance(one, other))
