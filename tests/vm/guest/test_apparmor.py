"""process.apparmorProfile: the program runs under it, and what it denies is denied."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ...conftest import MakeBundle
from ...workplace import wait_until
from .support import command, refused

PROFILE = """
abi <abi/3.0>,
profile pyrunc-test flags=(attach_disconnected) {
  file,
  capability,
  mount,
  signal,
  unix,
  deny /secret r,
}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    if Path("/sys/module/apparmor/parameters/enabled").read_text().strip() != "Y":
        pytest.skip("AppArmor is not enabled in this kernel")
    file = tmp_path / "profile"
    file.write_text(PROFILE)
    command("apparmor_parser", "--replace", "--skip-cache", str(file))
    yield "pyrunc-test"
    command("apparmor_parser", "--remove", str(file))


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
    assert "no-such-profile" in refused(box.run())
