"""process.apparmorProfile: the program runs under it, and what it denies is denied."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import running
from tests.support.namespaces import add_user_namespace, set_namespaces
from tests.support.processes import reap
from tests.support.waiting import wait_until
from tests.support.workplace import MakeBundle, one_line
from tests.vm.guest.support import apparmor

from .support import PROFILE


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    with apparmor(PROFILE, tmp_path):
        yield "pyrunc-test"


def test_a_profile_is_applied(profile: str, bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "cat /proc/self/attr/current; cat /secret; sleep 1000")
    (box.rootfs / "secret").write_text("secret\n")
    box.config["process"]["apparmorProfile"] = profile
    box.run("--detach").ok()
    try:
        wait_until(lambda: "secret" in box.errors(), "the secret is refused")
        assert box.output() == f"{profile} (enforce)\n"
        assert "Permission denied" in box.errors()
        assert Path(f"/proc/{box.pid()}/attr/current").read_text() == f"{profile} (enforce)\n"
        assert box.exec("cat", "/secret").returncode == 1
        assert box.exec("--apparmor", "unconfined", "cat", "/secret").ok().stdout == "secret\n"
    finally:
        box.delete("--force").ok()


def test_an_unknown_profile(profile: str, bundle: MakeBundle) -> None:
    box = bundle()
    box.config["process"]["apparmorProfile"] = "no-such-profile"
    assert "no-such-profile" in one_line(box.run(), 1)


def test_in_the_pid_namespace_of_a_pod_with_users_of_its_own(profile: str, bundle: MakeBundle) -> None:
    """Where the process can have no procfs that it is in: it is written by way of the runtime's."""
    first = bundle("sleep", "1000")
    add_user_namespace(first)
    pid = running(first)
    show = "cat /proc/self/attr/current; sleep 1000"
    box = bundle("sh", "-c", show)
    set_namespaces(box, "mount", user=pid, network=pid, ipc=pid, uts=pid, pid=pid)
    box.config["linux"].update({key: first.config["linux"][key] for key in ("uidMappings", "gidMappings")})
    box.config["process"]["apparmorProfile"] = profile
    try:
        box.run("--detach").ok()
        wait_until(lambda: "\n" in box.output(), "it has said under which profile it is")
        assert box.output() == f"{profile} (enforce)\n"
        assert box.exec("cat", "/proc/self/attr/current").ok().stdout == f"{profile} (enforce)\n"
        assert (
            first.exec("--apparmor", profile, "cat", "/proc/self/attr/current").ok().stdout == f"{profile} (enforce)\n"
        )
    finally:
        box.delete("--force").ok()
        reap()
        first.delete("--force").ok()
