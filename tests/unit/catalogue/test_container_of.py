"""Which argument of a command line is a container, whose name an error tells."""

from __future__ import annotations

from pyrunc.catalogue import container_of
from pyrunc.cli import help as words
from pyrunc.cli.parse import Call


def test_a_bundle_is_no_container() -> None:
    """An error is not told of what is none: of each command whose arguments begin with something else."""
    for command, (_, arguments, _) in words.TEXTS.items():
        if "container" not in arguments:
            assert container_of(Call("pyrunc", command, {}, set(), ["/bundle", "b"])) == "", command
    for command in ("diff", "doctor", "trace"):
        assert container_of(Call("pyrunc", command, {}, set(), ["/bundle", "b"])) == "", command
    assert container_of(Call("pyrunc", "top", {}, set(), ["box"])) == "box"
