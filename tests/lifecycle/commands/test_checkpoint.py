"""checkpoint and restore as far as no CRIU is needed: flags, errors, and what CRIU is told of the mounts.

What CRIU does with it is tried in the virtual machine (tests/vm/guest/test_checkpoint.py), whose kernel it knows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.cgroups import cgroups_below, hierarchies
from tests.support.containers import running
from tests.support.mounts import mounts_of
from tests.support.workplace import Bundle, MakeBundle, one_line

sys.path.insert(0, str(TOP))

from pyrunc.errors import PyruncError
from pyrunc.lifecycle.checkpoint import external_mounts, stage
from pyrunc.lifecycle.checkpoint.images import ImageMount, check_images
from pyrunc.lifecycle.checkpoint.stage import Restriction
from pyrunc.linux import mountinfo
from tests.support.mounts import bind

USAGE = [
    ("checkpoint", ("--parent-path", "/absolute"), "--parent-path must be relative"),
    ("checkpoint", ("--page-server", "host"), "Use --page-server ADDRESS:PORT to specify page server"),
    ("checkpoint", ("--page-server", ":1234"), "Use --page-server ADDRESS:PORT to specify page server"),
    ("checkpoint", ("--page-server", "::1:1234"), "Use --page-server ADDRESS:PORT to specify page server"),
    ("checkpoint", ("--page-server", "host:port"), "Invalid port number"),
    ("checkpoint", ("--page-server", "host:70000"), "Invalid port number"),
    ("checkpoint", ("--page-server", "[::1]:-1"), "Invalid port number"),
    ("checkpoint", ("--manage-cgroups-mode", "hard"), "invalid manage-cgroups-mode value"),
    ("checkpoint", ("--empty-ns", "pid"), "is not supported"),
    ("restore", ("--manage-cgroups-mode", "hard"), "invalid manage-cgroups-mode value"),
    ("restore", ("--manage-cgroups-mode", "strict"), "criu would have to make the cgroup"),
    ("restore", ("--empty-ns", "mount"), "is not supported"),
    ("restore", ("--lsm-profile", "profile"), "want apparmor:NAME or selinux:LABEL"),
]


@pytest.mark.parametrize(("command", "flags", "words"), USAGE, ids=[f"{row[0]}{' '.join(row[1])}" for row in USAGE])
def test_bad_values_are_refused_before_anything_is_done(
    command: str, flags: tuple[str, ...], words: str, bundle: MakeBundle, tmp_path: Path
) -> None:
    box = bundle("sleep", "1000")
    one_line(box.call(command, *flags, box.id, cwd=tmp_path), 1, words)
    assert list(tmp_path.iterdir()) == [] and not box.place.root.exists()


@pytest.mark.parametrize("flag", ["--status-fd=x", "--status-fd", "--pre-dump=maybe", "--nothing"])
def test_flags_are_parsed_as_all_are(flag: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    got = box.call("checkpoint", flag)
    assert got.returncode == 1 and "Incorrect Usage" in got.stdout


def test_only_what_runs_can_be_saved(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    one_line(box.call("checkpoint", box.id), 1, "container does not exist")
    box.create().ok()
    one_line(box.call("checkpoint", box.id, cwd=box.path), 1, "Container cannot be checkpointed in created state")
    box.start().ok()
    box.kill().ok()
    box.wait_for("stopped")
    one_line(box.call("checkpoint", box.id, cwd=box.path), 1, "Container cannot be checkpointed in stopped state")
    assert not (box.path / "checkpoint").exists()
    box.delete().ok()


def fake_criu(folder: Path, script: str) -> dict[str, str]:
    """An environment in which this is the program criu."""
    folder.mkdir()
    (folder / "criu").write_text("#!/bin/sh\n" + script)
    (folder / "criu").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("script", ["exit 1", "kill -KILL $$", "exec /bin/true"])
def test_a_criu_that_does_not_work(script: str, bundle: MakeBundle, tmp_path: Path) -> None:
    pytest.importorskip("pycriu")
    box = bundle("sleep", "1000")
    env = fake_criu(tmp_path / "bin", script)
    pid = running(box)
    images = tmp_path / "images"
    one_line(box.call("checkpoint", "--image-path", images, box.id, env=env), 1, "criu")
    assert box.pid() == pid and box.status() == "running" and not images.exists()
    box.delete("--force").ok()
    restore = ("restore", "--image-path", images, "--bundle", box.path, box.id)
    # Without images it is not asked at all: it looks at much of the kernel, and may wait long where loopback is down.
    one_line(box.call(*restore, env=fake_criu(tmp_path / "asked", f"touch {tmp_path}/called")), 1, "no such file")
    assert not (tmp_path / "called").exists()
    images.mkdir()
    one_line(box.call(*restore, env=env), 1, "criu")
    one_line(box.call("state", box.id), 1, "container does not exist")
    assert cgroups_below(box.cgroup, itself=True) == []


def test_no_criu_at_all(container: MakeBundle) -> None:
    pytest.importorskip("pycriu")
    box = container("sleep", "1000")
    running(box)
    hide = (
        "for f in /usr/sbin/criu /usr/local/sbin/criu /usr/bin/criu; do [ ! -e $f ] || mount --bind /dev/null $f; done"
    )
    argv = ["unshare", "--mount", "sh", "-c", hide + '; exec "$@"', "sh", str(box.place.runtime)]
    argv += ["--root", str(box.place.root), "checkpoint", box.id]
    got = subprocess.run(argv, cwd=box.path, capture_output=True, text=True, check=False)
    one_line(got, 1, "there is no program criu", "install the package criu")
    assert not (box.path / "checkpoint").exists()


@pytest.mark.usefixtures("public_place")
def test_an_ordinary_user_is_told_so(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.save()
    root = box.path / "state"
    root.mkdir()
    os.chown(root, 1000, 1000)
    got = box.call("restore", "--bundle", box.path, box.id, flags=("--root", root), user=1000)
    one_line(got, 1, "need root")


# --- what CRIU is told of the mounts


def told(box: Bundle, pid: int) -> dict[str, str]:
    """Mount point to name."""
    config = json.loads((box.path / "config.json").read_text())
    found = {}
    state = json.loads((box.place.root / box.id / "state.json").read_text())
    for text in external_mounts.external_at_dump(pid, config, state["cgroup"]):
        point, _, name = text.removeprefix("mnt[").partition("]:")
        found[point] = name
    return found


def test_names_are_the_config_s_and_points_are_the_kernel_s(container: MakeBundle, tmp_path: Path) -> None:
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    (box.rootfs / "real").mkdir()
    (box.rootfs / "link").symlink_to("/real")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("")
    bind(box, tmp_path / "source", "/link/below")
    bind(box, tmp_path / "source/file", "//a b\\]\n:c")
    pid = running(box)
    found = told(box, pid)
    assert found["/real/below"] == "pyrunc:mount:/link/below"
    assert found["/a b\\]\n:c"] == "pyrunc:mount:/a%20b%5c%5d%0a%3ac"
    # Masked files that are there; a directory's mask is a file system of its own.
    masks = {point for point, name in found.items() if name == "pyrunc:null"}
    assert "/proc/keys" in masks and "/proc/acpi" not in masks
    cgroups = {point for point, name in found.items() if name.startswith("pyrunc:cgroup:")}
    assert len(found) == 2 + len(masks) + len(cgroups)


def test_a_destination_that_would_end_its_key(container: MakeBundle, tmp_path: Path) -> None:
    """crun's CVE-2026-115520: what follows "]:" would be the name."""
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    bind(box, tmp_path, "/a]:pyrunc:mount:0")
    pid = running(box)
    with pytest.raises(PyruncError, match="cannot be checkpointed"):
        told(box, pid)


def test_mounts_that_came_with_a_recursive_bind(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "1000")
    box.config["root"]["readonly"] = False
    below = tmp_path / "source/be low"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    try:
        bind(box, tmp_path / "source", "/data", "rbind", "ro")
        pid = running(box)
        found = told(box, pid)
        assert found["/data"] == "pyrunc:mount:/data"
        assert found["/data/be low"] == "pyrunc:mount:/data:be%20low"
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", below], check=True)


def test_cgroups_that_are_bound(container: MakeBundle) -> None:
    """On cgroup v1 without a cgroup namespace; every other view of the cgroups is a new mount, which CRIU makes."""
    box = container("sleep", "1000")
    if "unified" in hierarchies() and len(hierarchies()) == 1:
        pytest.skip("cgroup v2 alone")
    spaces = box.config["linux"]["namespaces"]
    box.config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "cgroup"]
    pid = running(box)
    found = {point: name for point, name in told(box, pid).items() if name.startswith("pyrunc:cgroup:")}
    mounted = {point for point, entry in mounts_of(pid).items() if entry.fstype == "cgroup"}
    assert set(found) == mounted != set()
    assert all(name == "pyrunc:cgroup:" + point.replace(",", "%2c") for point, name in found.items())


# --- what CRIU finds at restore


def staged(box: Bundle, what: str) -> Any:
    """Evaluate Python in a process that has made the mount points and the stage; the JSON that it prints.

    stage, names (name to path) and restrictions are there.
    """
    box.save()
    place = box.path / "criu"
    place.mkdir(exist_ok=True)
    program = f"""
import json, os, sys
sys.path.insert(0, {str(TOP)!r})
from pyrunc.errors import PyruncError
from pyrunc.lifecycle import create
from pyrunc.lifecycle.options import CreateOptions
from pyrunc.state.store import Store
from pyrunc.lifecycle.checkpoint import stage as staging
os.chdir({str(box.path)!r})
creation = create.prepare(Store({str(box.place.root)!r}), "x", CreateOptions({str(box.path)!r}))
stage = staging.Stage({str(place)!r}, creation.context.rootfs, creation.context.config, creation.plan.steps, {{}})
try:
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    stage.make_mount_points({json.dumps(points(box))})
    from pyrunc import _linux
    _linux.setns(own, _linux.CLONE_NEWNS)
    found, restrictions = stage.build()
    names = dict(found)
    print(json.dumps({what}))
except PyruncError as error:
    print(json.dumps({{"error": error.line()}}))
"""
    done = subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def points(box: Bundle) -> list[str]:
    return [mount["destination"] for mount in box.config["mounts"]]


def writable(path: str) -> str:
    return f"os.access({path}, os.W_OK)"


def test_a_read_only_bind_is_read_only_from_the_first_moment(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("true")
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    bind(box, source, "/data", "bind", "ro", "nosuid")
    bind(box, source, "/other")
    name, other = "names['pyrunc:mount:/data']", "names['pyrunc:mount:/other']"
    found = staged(box, f"[os.listdir({name}), {writable(name)}, {writable(other)}, os.statvfs({name}).f_flag & 3]")
    assert found == [["inner"], False, True, os.ST_RDONLY | os.ST_NOSUID]
    # The mount points were made in the rootfs; nothing is mounted on the host, and nothing was written to the source.
    assert (box.rootfs / "data").is_dir() and list((box.rootfs / "data").iterdir()) == []
    assert [entry.name for entry in source.iterdir()] == ["inner"]


def test_a_mount_point_within_a_bind_is_made_in_it(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("true")
    (tmp_path / "source").mkdir()
    bind(box, tmp_path / "source", "/data")
    bind(box, tmp_path, "/data/inner", "bind", "ro")
    assert staged(box, "sorted(names)") is not None
    assert (tmp_path / "source/inner").is_dir() and list((box.rootfs / "data").iterdir()) == []


@pytest.mark.parametrize("link", ["data", "data/in"])
@pytest.mark.parametrize("exists", [True, False])
def test_mount_points_behind_links_are_refused(link: str, exists: bool, bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("true")
    victim = tmp_path / "victim"
    (victim / "in").mkdir(parents=True)
    if exists:
        # The link leads somewhere in the rootfs, too.
        (box.rootfs / str(victim / "in").lstrip("/")).mkdir(parents=True)
    bind(box, tmp_path, "/data/in")
    place = box.rootfs / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(victim)
    found = staged(box, "1")
    assert "behind a symbolic link" in found["error"]
    assert [entry.name for entry in victim.iterdir()] == ["in"] and list((victim / "in").iterdir()) == []


def test_restored_mounts_must_not_have_more_rights(container: MakeBundle, tmp_path: Path) -> None:
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    source = tmp_path / "source"
    source.mkdir()
    bind(box, source, "/data", "bind", "ro", "noexec")
    pid = running(box)
    restrictions = staged(box, "[[each.device, each.root, sorted(each.options)] for each in restrictions]")
    limits = [Restriction(device, root, set(options)) for device, root, options in restrictions]
    table = mountinfo.entries(pid)
    stage.check_restored(table, limits)
    (entry,) = [entry for entry in table if entry.point == "/data"]
    assert {"ro", "noexec"} <= set(entry.options)
    entry.options.remove("ro")
    with pytest.raises(PyruncError, match="/data without ro"):
        stage.check_restored(table, limits)


def test_images_of_somebody_else_s_making() -> None:
    good = [
        ImageMount("/", "", False, False),
        ImageMount("/a", "pyrunc:mount:1", False, False),
    ]
    check_images(good)
    for bad in (
        ImageMount("/a", "/etc", False, False),
        ImageMount("/a", "pyrunc:mount:1", True, False),
        ImageMount("/a", "", False, True),
    ):
        with pytest.raises(PyruncError):
            check_images([*good, bad])
