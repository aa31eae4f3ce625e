"""A `doctor`; and what tests of run and exec in the foreground share: one test for both."""

from collections.abc import Iterator

import pytest

from tests.support.containers import running
from tests.support.doctors import Doctor
from tests.support.namespaces import set_namespaces
from tests.support.processes import descendants, reap
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace


@pytest.fixture(params=["run", "exec"])
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def doctor(workplace: Workplace) -> Doctor:
    return Doctor(workplace)


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
