"""docs/pyrunc.1.md is what the command table and the help say."""

from tools import manual

from ..conftest import TOP


def test_the_manual_is_up_to_date() -> None:
    assert manual.page() == (TOP / "docs/pyrunc.1.md").read_text(), "make manual"
