"""why and doctor on cgroup v2 with systemd and an LSM: what another host than this cannot show."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import command, has_ended
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle
from tests.vm.guest.support import apparmor

from .support import PYRUNC, as_login, as_user, limit

PROFILE = """
abi <abi/3.0>,
profile pyrunc-test-why flags=(attach_disconnected) {
  file,
  capability,
  mount,
  signal,
  unix,
  audit deny /secret r,
}
"""


def last(box: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.call("why", "--json", box.id).ok().stdout)["events"][-1]
    return found


def doctor(text: str) -> dict[str, list[dict[str, Any]]]:
    """Findings by subject."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(text)["findings"]:
        found.setdefault(one["subject"], []).append(one)
    return found


# ---- why ----


def test_out_of_memory_in_the_foreground(bundle: MakeBundle) -> None:
    size = 16 << 20
    box = bundle("tail", "/dev/zero")
    limit(box, memory={"limit": size})
    assert box.run().returncode == 137
    oom = last(box)["oom"]
    assert oom["kills"] >= 1 and oom["limit"] == size and size // 2 < oom["peak"] <= size + (1 << 20)


def test_out_of_memory_found_by_delete(bundle: MakeBundle) -> None:
    """Its parent has reaped it long since, and kept for itself how it ended: the cgroup has counted."""
    size = 16 << 20
    box = bundle("tail", "/dev/zero")
    limit(box, memory={"limit": size})
    box.create().ok()
    pid = box.pid()
    box.start().ok()
    wait_until(lambda: has_ended(pid), "ended")
    os.waitpid(pid, 0)
    box.delete().ok()
    event = last(box)
    assert event["command"] == "delete" and event["oom"]["kills"] >= 1 and event["oom"]["limit"] == size
    assert any("Killed process" in line for line in event["kernel"])


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    with apparmor(PROFILE, tmp_path):
        yield "pyrunc-test-why"


def test_what_apparmor_has_denied(profile: str, bundle: MakeBundle) -> None:
    """The program says that it may not; who has forbidden it stands in the kernel's log."""
    box = bundle("cat", "/secret")
    (box.rootfs / "secret").write_text("secret\n")
    box.config["process"]["apparmorProfile"] = profile
    assert box.run().returncode == 1
    lines = last(box)["kernel"]
    assert any('apparmor="DENIED"' in line and profile in line and "/secret" in line for line in lines), lines


def test_what_a_filter_has_denied(bundle: MakeBundle) -> None:
    box = bundle("hostname", "other")
    rule = {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert box.run().returncode == 128 + signal.SIGSYS
    assert any("type=1326" in line for line in last(box)["kernel"])
    assert "the filter has refused sethostname" in box.call("why", box.id).ok().stdout


# ---- doctor ----


def test_this_host() -> None:
    found = doctor(command(PYRUNC, "doctor", "--json"))
    assert not [one for several in found.values() for one in several if one["level"] == "problem"]
    assert found["cgroups"][0]["found"].startswith("v2; controllers: ")
    assert {one["found"] for one in found["systemd"]} == {"runs here"}
    assert found["D-Bus"][0]["level"] == "ok"
    if Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y":
        assert found["LSMs"][0]["level"] == "ok" and "apparmor" in found["LSMs"][0]["found"]


def test_who_delegates_to_an_ordinary_user() -> None:
    """Its own manager, in a service with Delegate=yes; and not a login's scope, which is root's."""
    own = as_user(f"{PYRUNC} doctor --json")
    found = doctor(own.stdout)
    assert {one["level"] for one in found["id maps"]} == {"ok"}
    assert any("by systemd" in one["found"] for one in found["delegation"]), found["delegation"]
    login = doctor(as_login(f"{PYRUNC} doctor --json").stdout)
    assert [one["level"] for one in login["delegation"] if "no cgroup can be made" in one["found"]] == ["note"]
