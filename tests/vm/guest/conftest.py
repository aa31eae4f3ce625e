"""The tests of this folder run in the virtual machine, where PYRUNC_VM is set; test_vm.py starts it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...workplace import wait_until
from .support import TOP, device_programs, scopes

collect_ignore_glob = [] if os.environ.get("PYRUNC_VM") else ["test_*.py"]


@pytest.fixture(autouse=True, scope="session")
def nothing_left() -> Iterator[None]:
    """After all tests systemd knows no scope, failed ones among them, and the kernel no device program as before."""
    units, programs = scopes(), device_programs()
    yield
    # Programs go with their cgroup, when the kernel comes round to it.
    wait_until(lambda: device_programs() <= programs, "all device programs are gone")
    assert scopes() <= units


@pytest.fixture(autouse=True)
def no_scope_left() -> Iterator[None]:
    """No cgroup of a scope more than before, in any slice."""
    before = _folders()
    yield
    if left := _folders() - before:
        pytest.fail("left behind: " + ", ".join(map(str, left)), pytrace=False)


def _folders() -> set[Path]:
    return {path for path in TOP.glob("*.slice/**/*.scope") if not path.name.startswith(("init.", "podman-pause"))}
