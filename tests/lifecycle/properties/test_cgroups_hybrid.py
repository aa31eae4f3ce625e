"""A host with the controllers of cgroup v1 and cgroup2 beside them, where a service manager tracks its units."""

from pathlib import Path

import pytest

from tests.support.cgroups import hierarchies
from tests.support.workplace import MakeBundle


@pytest.fixture
def top() -> Path:
    found = hierarchies()
    if "unified" not in found or len(found) == 1:
        pytest.skip("no hybrid host: cgroup v1 with cgroup2 in /sys/fs/cgroup/unified")
    return found["unified"]


def unified(pid: int | str) -> str:
    """The cgroup of the unified hierarchy."""
    return Path(f"/proc/{pid}/cgroup").read_text().split("\n0::")[1].split("\n")[0]


def test_the_container_is_in_the_unified_hierarchy_too(bundle: MakeBundle, top: Path) -> None:
    """Else it is of the caller's service there, and ends with that."""
    box = bundle("sleep", "1000")
    box.config["linux"]["namespaces"] = [
        entry for entry in box.config["linux"]["namespaces"] if entry["type"] != "cgroup"
    ]
    before = unified("self")
    box.create().ok()
    assert unified(box.pid()) == box.cgroup
    box.start().ok()
    assert unified(box.pid()) == box.cgroup
    assert box.exec("cat", "/proc/self/cgroup").ok().stdout.splitlines()[-1] == "0::" + box.cgroup
    assert unified("self") == before
    # What a container sees are the controllers.
    assert "unified" not in box.exec("ls", "/sys/fs/cgroup").ok().stdout.split()
    folder = top / box.cgroup.lstrip("/")
    assert (folder / "cgroup.procs").read_text().split() == [str(box.pid())]
    box.delete("--force").ok()
    assert not folder.exists()


def test_with_a_small_limit_it_moves_there(container: MakeBundle, top: Path) -> None:
    """The process is not born in its cgroup, so that its own pages are not charged."""
    box = container("sleep", "1000")
    box.config["linux"].setdefault("resources", {})["memory"] = {"limit": 2 << 20}
    box.create().ok()
    assert unified(box.pid()) == box.cgroup


def test_a_process_in_the_unified_hierarchy_alone_occupies_the_cgroup(bundle: MakeBundle, top: Path) -> None:
    box, other = bundle("sleep", "1000"), bundle("sleep", "1000")
    box.create().ok()
    folder = top / other.cgroup.lstrip("/")
    folder.mkdir()
    procs = folder / "cgroup.procs"
    procs.write_text(str(box.pid()))
    refused = other.create()
    assert refused.returncode == 1 and "container's cgroup is not empty" in other.errors()
    assert procs.read_text().split() == [str(box.pid())]
    box.delete("--force").ok()
    folder.rmdir()
