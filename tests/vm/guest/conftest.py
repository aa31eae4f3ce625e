"""The tests of this folder run in the virtual machine, where PYRUNC_VM is set; test_vm.py starts it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .session import Session
from .support import USER, user_scopes

collect_ignore_glob = [] if os.environ.get("PYRUNC_VM") else ["test_*.py"]


@pytest.fixture
def session() -> Iterator[Session]:
    """An ordinary user's bundle and shell, who has nothing left of it in the end."""
    before = user_scopes()
    yield Session()
    assert user_scopes() <= before
    state = Path(f"/run/user/{USER}/pyrunc")
    assert [path.name for path in state.iterdir() if not path.name.startswith("@")] == []
    manager = Path(f"/sys/fs/cgroup/user.slice/user-{USER}.slice/user@{USER}.service")
    assert list(manager.rglob("rootless*")) == []
