"""What the machine's tests look with: the container's cgroup, systemd's units, and an ordinary user's session."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import become_subreaper, command
from tests.support.workplace import Bundle, Result

TOP = Path("/sys/fs/cgroup")
PYRUNC = "/usr/local/bin/pyrunc"
#: What is put here comes back to the host, in build/vm.
RESULTS = Path("/results")
#: The small disk that is the tests' own.
DISK = Path("/dev/disk-4").resolve()
USER = 1000


def cgroup(box: Bundle) -> Path:
    return TOP / box.cgroup.lstrip("/")


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def table(folder: Path, name: str) -> dict[str, int]:
    """A file of `key number` lines."""
    return {key: int(value) for key, value in (line.split() for line in read(folder, name).splitlines())}


def limit(box: Bundle, **resources: Any) -> None:
    """Put these into linux.resources."""
    box.config["linux"].setdefault("resources", {}).update(resources)


def put_in_scope(box: Bundle, slice_: str = "system.slice") -> Path:
    """The container's cgroupsPath names a scope; its cgroup."""
    box.cgroup = box.config["linux"]["cgroupsPath"] = f"{slice_}:pyrunc-test{os.getpid()}:{box.id}"
    folder = TOP
    stem = ""
    for part in slice_.removesuffix(".slice").split("-"):
        stem += ("-" if stem else "") + part
        folder /= stem + ".slice"
    return folder / unit(box)


def unit(box: Bundle) -> str:
    """The scope's name; others are made by tests that run at the same time."""
    return f"pyrunc-test{os.getpid()}-{box.id}.scope"


def writable_cgroups(box: Bundle) -> None:
    """The container sees its cgroup as the root of /sys/fs/cgroup, and may make others below it."""
    for mount in box.config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")


def scopes(*flags: str) -> set[str]:
    """Names of all scopes that systemd knows, but for its own."""
    text = command("systemctl", *flags, "--all", "--no-legend", "--plain", "list-units", "*.scope")
    names = {line.split()[0] for line in text.splitlines() if line.strip()}
    return {name for name in names if not name.startswith(("init.scope", "podman-pause"))}


def properties(unit: str, *names: str, user: bool = False) -> dict[str, str]:
    """`systemctl show`."""
    text = command("systemctl", "show", unit, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines())


def device_programs() -> set[int]:
    """Numbers of the BPF programs of ours that the kernel has loaded."""
    found = json.loads(command("bpftool", "--json", "prog", "show"))
    return {entry["id"] for entry in found if entry.get("name", "").startswith("pyrunc")}


def as_user(script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a shell script as the ordinary user, in a service of its own manager that may make cgroups."""
    runtime = f"/run/user/{USER}"
    argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "env", "HOME=/home/user"]
    argv += [f"XDG_RUNTIME_DIR={runtime}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus", "LOGNAME=user"]
    argv += ["systemd-run", "--user", "--wait", "--pipe", "--quiet", "--collect", "--property=Delegate=yes"]
    argv += [f"--setenv=PATH={'/usr/local/bin:/usr/bin:/bin'}", "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd="/")


def as_login(script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a shell script as the ordinary user after a login by PAM: in a session's scope, which is root's."""
    argv = ["runuser", "--login", "user", "--command", f"PATH=/usr/local/bin:/usr/bin:/bin; {script}"]
    # Orphans of the session are init's, which reaps them: a process that is left unreaped keeps a pid namespace.
    become_subreaper(False)
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd="/")
    finally:
        become_subreaper()


def user_scopes() -> set[str]:
    done = as_user("systemctl --user --all --no-legend --plain list-units '*.scope'")
    assert done.returncode == 0, done
    names = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    return {name for name in names if not name.startswith(("init.scope", "podman-pause"))}


def grows(folder: Path) -> bool:
    """Whether the processes of a cgroup use the processor."""
    before = table(folder, "cpu.stat")["usage_usec"]
    time.sleep(0.5)
    return table(folder, "cpu.stat")["usage_usec"] > before


SYSTEMD = ("--systemd-cgroup",)


def run(box: Bundle, *flags: str) -> Result:
    return box.place.call("run", "--bundle", box.save(), *flags, box.id, flags=SYSTEMD,
                          stdout=box.path / "stdout" if "--detach" in flags else None,
                          stderr=box.path / "stderr" if "--detach" in flags else None)  # fmt: skip


RUNTIMES = {"pyrunc": PYRUNC, "runc": "/usr/sbin/runc", "crun": "/usr/bin/crun"}


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


@contextmanager
def apparmor(profile: str, folder: Path) -> Iterator[None]:
    """The kernel has this profile until the end."""
    if Path("/sys/module/apparmor/parameters/enabled").read_text().strip() != "Y":
        pytest.skip("AppArmor is not enabled in this kernel")
    file = folder / "profile"
    file.write_text(profile)
    command("apparmor_parser", "--replace", "--skip-cache", str(file))
    yield
    command("apparmor_parser", "--remove", str(file))
