"""Run when all other tests are done: the machine is as it was before the first of some hundred containers."""

from pathlib import Path

from tests.support.processes import command
from tests.support.waiting import wait_until

from .support import TOP, as_user, device_programs, scopes, user_scopes


def test_no_device_program_is_left() -> None:
    """They go with their cgroup, when the kernel comes round to it."""
    wait_until(lambda: not device_programs(), "the kernel has no program of ours")


def test_no_unit_is_left() -> None:
    """Failed ones among them."""
    assert scopes() == set() and user_scopes() == set()
    for listed in (command("systemctl", "list-units", "--all"), as_user("systemctl --user list-units --all").stdout):
        assert "pyrunc-" not in listed and "libpod-" not in listed


def test_no_cgroup_is_left() -> None:
    """But for podman's own parent of its containers' cgroups."""
    names = ("pyrunc", "libpod-", "rootless")
    assert [path for path in TOP.rglob("*") if path.is_dir() and path.name.startswith(names)] == []


def test_no_process_is_left() -> None:
    names = {path.parent.name: path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")}
    assert [number for number, name in names.items() if "pyrunc" in name] == []
