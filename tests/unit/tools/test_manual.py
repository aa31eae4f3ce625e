"""docs/pyrunc.1.md is what the command table and the help say."""

from tests.support import TOP
from tools import manual


def test_the_manual_is_up_to_date() -> None:
    assert manual.page() == (TOP / "docs/pyrunc.1.md").read_text(), "make manual"
