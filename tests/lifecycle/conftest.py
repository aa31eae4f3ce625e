"""What tests of run and exec in the foreground share: one test for both."""

from collections.abc import Iterator

import pytest

from ..conftest import MakeBundle
from ..workplace import Bundle, descendants, reap, wait_until
from .support import running, set_namespaces


@pytest.fixture(params=["run", "exec"])
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def box(command: str, bundle: MakeBundle) -> Iterator[Bundle]:
    """A container that runs, for exec; one that is yet to be made, for run. See support.in_foreground()."""
    made = bundle("sleep", "1000")
    made.config["root"]["readonly"] = False
    # Without a pid namespace, whose first process takes no signal that it has no handler for.
    set_namespaces(made, "mount")
    if command == "exec":
        running(made)
    yield made
    if command == "exec":
        wait_until(_reaped, "all have ended but its first")
        made.delete("--force").ok()


def _reaped() -> bool:
    """Detached ones are our children."""
    reap()
    return not [what for what in descendants().values() if what.startswith("true ")]
