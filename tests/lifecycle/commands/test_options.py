"""The options of create and run: descriptors, files, sockets, the log, the root."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import hierarchies
from tests.support.containers import running, with_descriptors
from tests.support.descriptors import receiver
from tests.support.mounts import mounts_of
from tests.support.processes import environment_of, status_of
from tests.support.waiting import wait_until
from tests.support.workplace import MakeBundle, Workplace, one_line

# ---- descriptors ----


def test_no_descriptor_is_passed_unless_asked_for(container: MakeBundle) -> None:
    """CVE-2024-21626: not the caller's, not the runtime's."""
    box = container("sleep", "1000")
    with_descriptors(box, f"3<{box.path} 4</dev/zero 9<{box.path}")
    pid = running(box)
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def test_preserve_fds(container: MakeBundle) -> None:
    box = container("sh", "-c", "echo three >&3; read line <&4; echo $line; exec sleep 1000")
    (box.path / "four").write_text("from four\n")
    with_descriptors(box, f"3>>{box.path}/three 4<{box.path}/four 5</dev/zero 6</dev/zero")
    box.run("--detach", "--preserve-fds", "2").ok()
    assert sorted(os.listdir(f"/proc/{box.pid()}/fd")) == ["0", "1", "2", "3", "4"]
    wait_until(lambda: box.output() == "from four\n", "it reads")
    assert (box.path / "three").read_text() == "three\n"


def test_many_preserved_descriptors(container: MakeBundle) -> None:
    """Where the runtime's own would be."""
    box = container("sleep", "1000")
    with_descriptors(box, " ".join(f"{fd}<{box.path}/fd{fd}" for fd in range(3, 10)))
    for fd in range(3, 10):
        (box.path / f"fd{fd}").touch()
    box.create("--preserve-fds", "7").ok()
    pid = box.pid()
    for fd in range(3, 10):
        assert os.readlink(f"/proc/{pid}/fd/{fd}") == str(box.path / f"fd{fd}")
    box.start().ok()
    assert sorted(map(int, os.listdir(f"/proc/{pid}/fd"))) == list(range(10))


def test_a_descriptor_that_is_missing(bundle: MakeBundle) -> None:
    box = bundle("true")
    with_descriptors(box, "3</dev/zero 5</dev/zero")
    one_line(box.create("--preserve-fds", "3"), 1, "file descriptor 4 does not exist")
    # No array of a million descriptors is looked through.
    one_line(box.create("--preserve-fds", "1000000"), 1, "file descriptor 4 does not exist")


def test_socket_activation(bundle: MakeBundle) -> None:
    """LISTEN_FDS come first, and only if they are meant for this process (sd_listen_fds(3))."""
    box = bundle("sleep", "1000")
    (box.path / "three").touch()
    (box.path / "four").touch()
    wrapper = box.path / "activated"
    text = f'exec 3<{box.path}/three 4<{box.path}/four\nLISTEN_FDS=1 LISTEN_PID=$PID exec {box.place.runtime} "$@"\n'
    runtime = box.place.runtime
    for pid, expected in (("$$", ["3", "4"]), ("1", ["3"]), ("", ["3"])):
        wrapper.write_text("#!/bin/sh\n" + text.replace("$PID", pid))
        wrapper.chmod(0o755)
        box.place.runtime = wrapper
        # A launcher of another kind may make a second process of it.
        got = box.run("--detach", "--preserve-fds", "1")
        box.place.runtime = runtime
        got.ok()
        found = [name for name in sorted(os.listdir(f"/proc/{box.pid()}/fd")) if name not in "012"]
        assert found == expected, pid
        environment = environment_of(box.pid())
        assert ("LISTEN_FDS=1" in environment) == (pid == "$$")
        assert ("LISTEN_PID=1" in environment) == (pid == "$$")
        box.delete("--force").ok()


# ---- files, sockets ----


def test_the_pid_file(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    file = box.path / "pid"
    file.write_text("99999999 something older")
    box.create("--pid-file", file).ok()
    assert file.read_text() == str(box.pid())
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [entry.name for entry in box.path.iterdir() if "pid" in entry.name] == ["pid"]
    box.delete().ok()


def test_a_relative_pid_file_is_of_the_caller_s_directory(container: MakeBundle, workplace: Workplace) -> None:
    box = container("sleep", "1000")
    box.run("--detach", "--pid-file", "pid", cwd=workplace.path).ok()
    assert (workplace.path / "pid").read_text() == str(box.pid())


def test_a_pid_file_that_cannot_be_written(bundle: MakeBundle) -> None:
    """The container is there by then; nothing of it is left."""
    box = bundle("sleep", "1000")
    for command in (box.create, box.run):
        one_line(command("--pid-file", "/nowhere/pid"), 1, "/nowhere/pid")
        one_line(box.call("state", box.id), 1, "container does not exist")


def test_the_pidfd_socket(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sleep", "1000")
    with receiver(workplace.path / "pidfd") as socket:
        box.create("--pidfd-socket", socket.path).ok()
        fd, _ = socket.take()
        assert re.search(rf"^Pid:\s+{box.pid()}$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
    box.delete().ok()
    one_line(box.create("--pidfd-socket", workplace.path / "nowhere"), 1, "nowhere")


# ---- the rest ----


def test_another_config(bundle: MakeBundle) -> None:
    box = bundle("true")
    other = box.path / "other.json"
    box.config["process"]["args"] = ["sh", "-c", "exit 5"]
    box.save().joinpath("config.json").rename(other)
    box.config["process"]["args"] = ["true"]
    assert box.run("--config", other).returncode == 5


def test_the_bundle_is_the_current_directory(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "exit 4")
    box.save()
    assert box.call("run", box.id, cwd=box.path).returncode == 4
    assert box.call("run", "--bundle", "../c0", box.id, cwd=box.path).returncode == 4


def test_a_keyring_of_its_own_or_not(bundle: MakeBundle) -> None:
    one = bundle("sleep", "1000", name=f"one-{os.getpid()}")
    other = bundle("sleep", "1000", name=f"other-{os.getpid()}")
    one.create().ok()
    other.create("--no-new-keyring").ok()
    keys = Path("/proc/keys").read_text() if Path("/proc/keys").exists() else f"_ses.{one.id}"
    assert f"_ses.{one.id}" in keys and f"_ses.{other.id}" not in keys
    one.delete().ok()
    other.delete().ok()


def test_another_root(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sleep", "1000")
    box.save()
    root = workplace.path / "deep/er/root"
    argv = ("--root", root)
    workplace.call(
        "create", "--bundle", box.path, box.id, flags=argv, stdout=box.path / "o", stderr=box.path / "e"
    ).ok()
    assert (root / box.id / "state.json").exists()
    for folder in (root / box.id, root, root.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    one_line(box.call("state", box.id), 1, "container does not exist")
    assert json.loads(workplace.call("state", box.id, flags=argv).ok().stdout)["status"] == "created"
    workplace.call("delete", "--force", box.id, flags=argv).ok()
    assert [entry.name for entry in root.iterdir() if not entry.name.startswith("@")] == []


def test_the_state_is_the_owner_s_alone(bundle: MakeBundle) -> None:
    """Environments hold secrets."""
    box = bundle("sleep", "1000")
    box.create().ok()
    folder = box.place.root / box.id
    for entry in folder.iterdir():
        if not entry.is_fifo():
            assert stat.S_IMODE(entry.stat().st_mode) & 0o077 == 0, entry
    box.delete().ok()


def test_a_log_in_json(bundle: MakeBundle) -> None:
    """A success with a warning is one line of its own; nothing is on standard error."""
    box = bundle("sleep", "1000")
    log = box.path / "log"
    box.config["process"]["capabilities"]["bounding"].append("CAP_OF_TOMORROW")
    box.create(flags=("--log", log, "--log-format=json")).ok()
    (record,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert record["level"] == "warning" and "CAP_OF_TOMORROW" in record["msg"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o644
    assert box.errors() == ""
    box.delete().ok()


def test_cgroups_path_relative_and_unset(bundle: MakeBundle) -> None:
    """Below the caller's own cgroup; unset, by the container's name."""
    box = bundle("sleep", "1000", name=f"pyrunc-test-{os.getpid()}-unset")
    lines = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    # Version 2 has no name there (cgroups(7)).
    cgroups = {name.removeprefix("name=") or "unified": path for _, names, path in lines for name in names.split(",")}
    own = cgroups["pids"].rstrip("/")
    parent = f"pyrunc-test-{os.getpid()}-relative"
    for path, expected in ((None, box.id), (f"{parent}/x", f"{parent}/x")):
        if path is None:
            del box.config["linux"]["cgroupsPath"]
        else:
            box.config["linux"]["cgroupsPath"] = path
        pid = running(box)
        found = dict(line.split(":")[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
        assert found["pids"] == f"{own}/{expected}"
        box.delete("--force").ok()
    for name, mount in hierarchies().items():
        if (mount / cgroups[name].lstrip("/") / parent).exists():
            (mount / cgroups[name].lstrip("/") / parent).rmdir()


@pytest.mark.parametrize(
    "seccomp", [{}, {"defaultAction": ""}, {"architectures": ["SCMP_ARCH_X86_64"], "syscalls": []}]
)
def test_a_filter_that_says_nothing_is_none(seccomp: dict[str, Any], bundle: MakeBundle) -> None:
    """As with runc; so is a rootfsPropagation that is empty."""
    box = bundle("sleep", "1000")
    box.config["linux"]["seccomp"] = seccomp
    box.config["linux"]["rootfsPropagation"] = ""
    box.run("--detach").ok()
    assert status_of(box.pid())["Seccomp"] == "0"
    assert box.exec("grep", "^Seccomp:", "/proc/self/status").ok().stdout.split() == ["Seccomp:", "0"]
    root = mounts_of(box.pid())["/"]
    assert "shared" not in root.propagation and "unbindable" not in root.propagation
    box.delete("--force").ok()
    box.config["linux"]["seccomp"] = {"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    one_line(box.create(), 1, "/linux/seccomp", "defaultAction")


def test_sockets_that_are_meant_for_nobody(bundle: MakeBundle, tmp_path: Path) -> None:
    """LISTEN_FDS without LISTEN_PID: nothing is handed on, as with runc."""
    box = bundle("sh", "-c", "ls /proc/self/fd; env")
    (tmp_path / "socket").touch()
    with_descriptors(box, f"3<{tmp_path}/socket")
    said = box.run(env={"LISTEN_FDS": "1"}).ok().stdout
    assert "LISTEN" not in said and said.split()[:4] == ["0", "1", "2", "3"]
    assert said.split()[4] != "4"  # 3 is ls's own
