"""The words of config/rules.py, and what each means to the kernel."""

from __future__ import annotations

import pytest

from pyrunc.config.rules import MOUNT_OPTIONS
from pyrunc.steps.rootfs import mount_options

WORDS = MOUNT_OPTIONS.split()


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_a_meaning(word: str) -> None:
    """What has none goes to the file system as data."""
    assert mount_options.parse([word], "").parameters == []


def test_every_meaning_has_a_word() -> None:
    tables = (
        mount_options._ATTRIBUTES,
        mount_options.PROPAGATION,
        mount_options._SUPERBLOCK,
        mount_options._LINKS,
        mount_options._IGNORED,
    )
    assert {word for table in tables for word in table} <= set(WORDS)
    assert {"r" + word for word in mount_options._ATTRIBUTES} <= {*WORDS}
