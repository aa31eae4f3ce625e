"""What is printed of what others named."""

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.cli.paint import plain


def test_plain_keeps_what_is_printable() -> None:
    assert plain("Grüße, 世界 🙂") == "Grüße, 世界 🙂"
    assert plain("\udcff\0") == "\\udcff\\x00"
