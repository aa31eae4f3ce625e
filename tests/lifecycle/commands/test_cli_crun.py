"""What crun's users are used to: --cgroup-manager, --config, --regex, and mounts added to a container that runs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import cgroups_below
from tests.support.containers import running
from tests.support.descriptors import receiver
from tests.support.mounts import mounts_of
from tests.support.workplace import Bundle, MakeBundle, Result, Workplace

# --- --cgroup-manager, --config


def test_cgroup_manager(container: MakeBundle) -> None:
    box = container("sleep", "100")
    box.place.call("--cgroup-manager", "cgroupfs", "run", "-d", "-b", box.save(), box.id).ok()
    assert box.cgroup_dir("memory").is_dir()


def test_no_cgroup(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "sleep 100 & echo started; wait")
    box.config["linux"]["resources"] = {}
    call = ("--cgroup-manager=disabled", "run", "-d", "-b", box.save(), box.id)
    box.place.call(*call, stdout=box.path / "stdout").ok()
    assert not cgroups_below(box.cgroup, itself=True)
    ours = Path("/proc/self/cgroup").read_text()
    assert Path(f"/proc/{box.pid()}/cgroup").read_text() == ours
    assert box.exec("echo", "hello").ok().stdout == "hello\n"
    assert "the container has no freezer cgroup" in box.call("pause", box.id).stderr
    box.kill().ok()
    box.wait_for("stopped")
    box.delete().ok()
    box.config["linux"]["resources"] = {"pids": {"limit": 5}}
    box.save()
    got = box.place.call(*call)
    assert (got.returncode, "resources cannot be limited without a cgroup" in got.stderr) == (1, True)


@pytest.mark.parametrize(
    "flags", [("--cgroup-manager=other",), ("--cgroup-manager", "cgroupfs", "--systemd-cgroup")], ids=str
)
def test_a_cgroup_manager_that_is_none(bundle: MakeBundle, flags: tuple[str, ...]) -> None:
    box = bundle("true")
    got = box.place.call(*flags, "create", "-b", box.save(), box.id)
    assert (got.returncode, "invalid cgroup manager" in got.stderr) == (1, True)


def test_another_config(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("false")
    box.config["process"]["args"] = ["echo", "other"]
    other = box.save() / "config.json"
    other.rename(tmp_path / "other.json")
    assert box.place.call("run", "--config", tmp_path / "other.json", "-b", box.path, box.id).ok().stdout == "other\n"
    # A relative one is looked for where the caller stands, not in the bundle.
    box.place.call("create", "--config=other.json", "-b", box.path, box.id, cwd=tmp_path).ok()
    box.delete().ok()
    got = box.place.call("run", "--config", "none.json", "-b", box.path, box.id)
    assert (got.returncode, "not found" in got.stderr) == (1, True)


# --- --regex


def names(place: Workplace) -> list[str]:
    return place.call("list", "-q").ok().stdout.split()


def test_kill_and_delete_by_regex(bundle: MakeBundle) -> None:
    boxes = [bundle("sleep", "100", name=name) for name in ("web-1", "web-2", "db.1")]
    for box in boxes:
        box.run("--detach").ok()
    place = boxes[0].place
    place.call("kill", "--regex", "^web-", "KILL").ok()
    boxes[0].wait_for("stopped")
    boxes[1].wait_for("stopped")
    assert boxes[2].status() == "running"
    place.call("delete", "-r", "web-[12]$").ok()
    assert names(place) == ["db.1"]
    place.call("delete", "--regex", "nothing").ok()
    # What fails does not stop the rest, and is an error that names its container.
    boxes[0].run("--detach").ok()
    boxes[1].create().ok()
    got = place.call("delete", "--regex", ".")
    assert got.returncode == 1
    assert re.search("db.1: cannot delete container db.1 that is not stopped: running", got.stderr)
    assert "web-1: cannot delete" in got.stderr
    assert names(place) == ["db.1", "web-1"]
    place.call("delete", "--force", "--regex", "").ok()
    assert names(place) == []


@pytest.mark.parametrize("pattern", ["(", "*a", "[", "a{99999999999}", "(" * 2000])
def test_no_regular_expression(bundle: MakeBundle, pattern: str) -> None:
    box = bundle("sleep", "100")
    box.create().ok()
    for command in ("kill", "delete"):
        got = box.call(command, "--regex", pattern)
        assert (got.returncode, "invalid regular expression" in got.stderr) == (1, True)
    assert box.status() == "created"
    box.delete().ok()


# --- mounts


def mounts(box: Bundle, verb: str, *wanted: dict[str, Any] | object) -> None:
    box.call("mounts", verb, box.id, "-", stdin=json.dumps(wanted).encode()).ok()


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_mounts_in_a_container_that_runs(container: MakeBundle, tmp_path: Path, user: bool) -> None:
    box = container("sleep", "100")
    if user:
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        box.config["linux"]["namespaces"].append({"type": "user"})
        box.config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
        subprocess.run(["chown", "-R", "100000:100000", box.rootfs], check=True)
    box.config["root"]["readonly"] = False
    pid = running(box)
    (tmp_path / "file").write_text("from the host\n")
    tmp_path.chmod(0o755)
    before = mounts_of(pid)
    bind = {"destination": "/data/a", "type": "bind", "source": str(tmp_path), "options": ["rbind", "ro", "nosuid"]}
    file = {"destination": "/tmp/file", "source": str(tmp_path / "file"), "options": ["bind"]}
    tmpfs = {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m", "mode=700"]}
    proc = {"destination": "/other", "type": "proc", "source": "proc"}
    mounts(box, "add", bind, file, tmpfs, proc)
    found = mounts_of(pid)
    assert set(found) - set(before) == {"/data/a", "/tmp/file", "/scratch", "/other"}
    assert {"ro", "nosuid"} <= found["/data/a"].options
    assert "ro" in found["/scratch"].options and "rw" in found["/scratch"].superblock
    assert box.exec("cat", "/data/a/file", "/tmp/file").ok().stdout == "from the host\n" * 2
    # A procfs of the container's pid namespace.
    assert box.exec("sh", "-c", "cat /other/1/comm; ls -d /other/[0-9]* | wc -l").ok().stdout == "sleep\n4\n"
    # What the host mounts below the source later shows; what the container mounts does not show on the host.
    assert found["/data/a"].propagation != "shared"
    mounts(box, "remove", {"destination": "/scratch"}, bind)
    mounts(box, "remove", proc, file)
    assert set(mounts_of(pid)) == set(before)


def test_mounts_that_cannot_be(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "100")
    pid = running(box)
    before = mounts_of(pid)
    for verb, text, said in (
        ("add", "{", "mounts: "),
        ("add", "{}", "mounts must be an array"),
        ("add", "[1]", "/mounts/0"),
        ("add", "[{}]", "/mounts/0"),
        ("add", '[{"destination": "/a"}]', "a mount that is no bind mount needs a type"),
        ("add", '[{"destination": "/a", "type": "tmpfs", "options": ["size=nonsense"]}]', "tmpfs"),
        ("add", '[{"destination": "/a", "source": "/nothing/there", "options": ["bind"]}]', "does not exist"),
        ("add", '[{"destination": "/", "type": "tmpfs"}]', "on the top of rootfs"),
        ("add", '[{"destination": "/proc/1", "type": "tmpfs"}]', "inside /proc"),
        ("add", '[{"destination": "/etc/../proc/1", "type": "tmpfs"}]', "proc"),
        ("remove", '[{"destination": "/etc"}]', "unmount /etc: invalid argument"),
        ("remove", '[{"destination": "/nothing"}]', "unmount /nothing"),
        ("remove", "[{}]", "/mounts/0"),
        ("change", "[]", "unknown command change"),
    ):
        got = box.call("mounts", verb, box.id, "-", stdin=text.encode())
        assert (got.returncode, said in got.stderr, "internal error" in got.stderr) == (1, True, False), got.stderr
    assert mounts_of(pid) == before
    box.kill().ok()
    box.wait_for("stopped")
    got = box.call("mounts", "add", box.id, "-", stdin=b"[]")
    assert (got.returncode, "container not running" in got.stderr) == (1, True)
    box.delete().ok()


def test_a_mount_s_place_is_looked_up_inside(container: MakeBundle, tmp_path: Path) -> None:
    box = container("sleep", "100")
    box.config["root"]["readonly"] = False
    (box.rootfs / "way").symlink_to(tmp_path)
    pid = running(box)
    tmpfs = {"destination": "/way/out", "type": "tmpfs", "source": "tmpfs"}
    got = box.call("mounts", "add", box.id, "-", stdin=json.dumps([tmpfs]).encode())
    assert not list(tmp_path.iterdir())
    # The link leads to nothing inside: an error, or a directory of that name below the rootfs.
    assert got.returncode == 1 or str(tmp_path / "out") in mounts_of(pid)


# --- annotations: without --trust-annotations they are not heeded (test_annotations.py)


def trust(box: Bundle) -> Result:
    return box.place.call("run", "--bundle", box.save(), box.id, flags=("--trust-annotations",))


def test_hooks_write_to_files_of_their_own(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("true")
    kinds = ("createRuntime", "createContainer", "poststart", "poststop")
    for kind in kinds:
        call = ["sh", "-c", f"echo {kind}; echo error of {kind} >&2"]
        box.config.setdefault("hooks", {})[kind] = [{"path": "/bin/sh", "args": call}]
    (tmp_path / "out").write_text("before\n")
    box.config["annotations"] = {
        "run.oci.hooks.stdout": str(tmp_path / "out"),
        "run.oci.hooks.stderr": str(tmp_path / "err"),
    }
    trust(box).ok()
    assert (tmp_path / "out").read_text().split() == ["before", *kinds]
    assert (tmp_path / "err").read_text().splitlines() == [f"error of {kind}" for kind in kinds]
    box.config["annotations"]["run.oci.hooks.stdout"] = str(tmp_path / "nothing/there")
    got = trust(box)
    assert (got.returncode, "createRuntime hook #0" in got.stderr) == (1, True)


def test_the_caller_s_groups_are_kept(bundle: MakeBundle) -> None:
    def groups(value: str | None) -> str:
        box.config["annotations"] = {} if value is None else {"run.oci.keep_original_groups": value}
        argv = ["setpriv", "--groups", "1234,0", str(box.place.runtime), "--root", str(box.place.root)]
        argv += ["--trust-annotations", "run", "--bundle", str(box.save()), box.id]
        return subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    box = bundle("sh", "-c", "grep Groups /proc/self/status")
    assert groups("1").split() == ["Groups:", "0", "1234"]
    assert groups(None).split() == groups("0").split() == ["Groups:"]


def test_a_pidfd_by_annotation(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "100")
    with receiver(tmp_path / "socket") as socket:
        box.config["annotations"] = {"run.oci.pidfd_receiver": str(socket.path)}
        argv = ("create", "--bundle", box.save(), box.id)
        box.place.call(*argv, flags=("--trust-annotations",), stdout=box.path / "o", stderr=box.path / "e").ok()
        pidfd, _ = socket.take()
        assert f"Pid:\t{box.pid()}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    box.delete().ok()
