"""Commands that are called in this process leave it as it was."""

import os
from collections.abc import Iterator

import pytest

from pyrunc import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = os.getcwd()
    yield
    os.chdir(before)  # commands enter the bundle
    log.setup(None)
