"""checkpoint and restore with CRIU, which works on the machine's kernel: what goes on, and what attacks are refused."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.descriptors import receiver
from tests.support.mounts import mounts_of
from tests.support.namespaces import add_user_namespace, namespaces_of
from tests.support.processes import command, reap
from tests.support.rootfs import BUSYBOX
from tests.support.terminals import read_all
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

from .checkpoints import LONG, NULL, checkpoint, count, counting, gone, images, reach, restore, said, start
from .support import PYRUNC, put_in_scope, scopes


def test_a_container_goes_on_under_its_name(bundle: MakeBundle, tmp_path: Path) -> None:
    box = counting(bundle)
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir()
        options = ["rbind", "ro"] if name == "ro" else ["bind", "nosuid"]
        box.config["mounts"].append(
            {"destination": f"/mnt/{name}", "type": "bind", "source": str(tmp_path / name), "options": options}
        )
    (tmp_path / "ro/below").mkdir()
    command("mount", "-t", "tmpfs", "below", str(tmp_path / "ro/below"))
    try:
        (tmp_path / "ro/below/file").write_text("below")
        start(box)
        before, table = box.pid(), mounts_of(box.pid())
        began = (box.rootfs / "tmp/began").read_text()
        said(box, checkpoint(box)).ok()
        gone(box)
        reap()
        assert not Path(f"/proc/{before}").exists()
        stopped = count(box)
        pid_file = box.path / "pid"
        said(box, restore(box, "--pid-file", pid_file)).ok()
        assert box.status() == "running" and box.pid() == int(pid_file.read_text())
        reach(box, stopped + 3)
        # From where it was, not from the beginning.
        assert count(box) < stopped + 300 and (box.rootfs / "tmp/began").read_text() == began
        again = mounts_of(box.pid())
        assert set(again) == set(table)
        rights = {"ro", "rw", "nosuid", "nodev", "noexec"}
        assert {point: each.options & rights for point, each in again.items()} == {
            point: each.options & rights for point, each in table.items()
        }
        assert {point: each.propagation.partition(":")[0] for point, each in again.items()} == {
            point: each.propagation.partition(":")[0] for point, each in table.items()
        }
        inside = (
            "cat /mnt/ro/below/file; hostname; echo x >/mnt/rw/file; echo x >/mnt/ro/file; readlink /proc/1/ns/time"
        )
        got = box.exec("sh", "-c", inside + "; readlink /proc/self/ns/time")
        assert got.stdout.startswith("below") and got.stdout.split("\n")[0] == "below" + box.config["hostname"]
        assert "Read-only file system" in got.stderr and not (tmp_path / "ro/file").exists()
        # exec enters the time namespace that CRIU has made.
        first, second = got.stdout.split()[-2:]
        assert first == second
        assert (tmp_path / "rw/file").read_text() == "x\n"
        box.delete("--force").ok()
    finally:
        command("umount", str(tmp_path / "ro/below"))


def test_the_loopback_interface_is_up_again(bundle: MakeBundle) -> None:
    box = counting(bundle)
    start(box)
    said(box, checkpoint(box)).ok()
    said(box, restore(box)).ok()
    assert "127.0.0.1" in box.exec("ip", "address").ok().stdout
    box.delete("--force").ok()


def test_leave_running(bundle: MakeBundle) -> None:
    box = counting(bundle)
    start(box)
    pid, before = box.pid(), count(box)
    said(box, checkpoint(box, "--leave-running")).ok()
    assert box.pid() == pid and box.status() == "running"
    reach(box, count(box) + 5)
    later = count(box)
    one_line(restore(box), 1, "container with given ID already exists")
    box.delete("--force").ok()
    (box.rootfs / "tmp/count").unlink()
    said(box, restore(box)).ok()
    reach(box, before)
    assert count(box) < later, "it goes on from the images"
    box.delete("--force").ok()


def test_only_what_has_changed_since_a_pre_dump_is_saved(bundle: MakeBundle) -> None:
    box = counting(bundle)
    script = box.config["process"]["args"][2]
    # Some MiB that nobody writes to again.
    box.config["process"]["args"][2] = "x=$(head -c 6000000 /dev/urandom | hexdump -v -e '1/1 \"%x\"'); " + script
    start(box)
    parent, images = box.path / "parent", box.path / "images"
    said(box, checkpoint(box, "--pre-dump", "--image-path", parent)).ok()
    assert box.status() == "running"
    reach(box, count(box) + 3)
    for wrong in ("../nowhere", "../rootfs/bin/busybox"):
        one_line(checkpoint(box, "--parent-path", wrong), 1, "invalid --parent-path")
    said(box, checkpoint(box, "--image-path", images, "--parent-path", "../parent")).ok()
    gone(box)
    sizes = [sum(file.stat().st_size for file in folder.glob("pages-*.img")) for folder in (parent, images)]
    assert sizes[0] > 6_000_000 > 3_000_000 > sizes[1], sizes
    stopped = count(box)
    said(box, restore(box)).ok()
    reach(box, stopped + 3)
    box.delete("--force").ok()


@contextmanager
def network_namespace(name: str) -> Iterator[str]:
    command("ip", "netns", "add", name)
    try:
        yield f"/run/netns/{name}"
    finally:
        command("ip", "netns", "delete", name)


def test_a_network_namespace_of_somebody_else_s(bundle: MakeBundle) -> None:
    box = counting(bundle)
    with network_namespace("pyrunc-test") as path:
        for entry in box.config["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = path
        command("ip", "-n", "pyrunc-test", "link", "add", "dummy7", "type", "dummy")
        start(box)
        before = namespaces_of(box.pid())
        said(box, checkpoint(box)).ok()
        said(box, restore(box)).ok()
        after = namespaces_of(box.pid())
        assert after["network"] == before["network"] and after["mount"] != before["mount"]
        assert "dummy7" in box.exec("ip", "link").ok().stdout
        box.delete("--force").ok()


def test_a_terminal_is_sent_to_the_console_socket(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "while read line; do echo got $line; done")
    box.config["process"]["terminal"] = True
    with receiver(box.path / "console") as console:
        box.run("--detach", "--console-socket", console.path, stdout=NULL, stderr=NULL).ok()
        master, _ = console.take()
        os.write(master, b"one\n")
        read_all(master, b"got one")
        said(box, checkpoint(box)).ok()
        said(box, restore(box, "--console-socket", console.path)).ok()
        master, _ = console.take()
        os.write(master, b"two\n")
        assert b"got two" in read_all(master, b"got two")
        box.delete("--force").ok()


def test_pipes_are_the_caller_s_and_the_status_is_the_process_s(bundle: MakeBundle) -> None:
    """In the foreground: standard streams that were pipes are those of restore."""
    box = bundle("sh", "-c", "while read line; do echo got $line; done; exit 7")
    argv: list[str | Path] = ["run", "--bundle", box.save(), box.id]
    with box.place.spawn(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        ask(first, b"one")
        said(box, checkpoint(box)).ok()
        assert first.wait(60) == 137
    gone(box)
    argv = ["restore", "--image-path", images(box), "--bundle", box.path, box.id]
    with box.place.spawn(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as second:
        ask(second, b"two")
        assert second.stdin is not None
        second.stdin.close()
        assert second.wait(LONG) == 7
    gone(box)


def ask(process: subprocess.Popen[bytes], word: bytes) -> None:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(word + b"\n")
    process.stdin.flush()
    ready = select.select([process.stdout, process.stderr], [], [], LONG)[0]
    assert process.stdout in ready, process.stderr.read()
    assert process.stdout.readline() == b"got " + word + b"\n"


def test_a_user_namespace(bundle: MakeBundle) -> None:
    box = counting(bundle)
    add_user_namespace(box)
    for path in (box.rootfs, *box.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    start(box)
    maps = Path(f"/proc/{box.pid()}/uid_map").read_text()
    said(box, checkpoint(box)).ok()
    stopped = count(box)
    said(box, restore(box)).ok()
    reach(box, stopped + 3)
    assert Path(f"/proc/{box.pid()}/uid_map").read_text() == maps
    assert "rootfs" not in box.exec("sh", "-c", "echo x >/dev/null; id -u").ok().stdout
    box.delete("--force").ok()


def test_a_scope_of_systemd_s(bundle: MakeBundle) -> None:
    box = counting(bundle)
    place = put_in_scope(box)
    flags = {"flags": ("--systemd-cgroup",)}
    box.run("--detach", stdout=NULL, stderr=NULL, **flags).ok()
    reach(box, 5)
    said(box, checkpoint(box)).ok()
    assert place.name not in scopes()
    stopped = count(box)
    said(box, restore(box, **flags)).ok()
    reach(box, stopped + 3)
    assert place.name in scopes()
    assert str(box.pid()) in (place / "cgroup.procs").read_text().split()
    box.delete("--force").ok()


def test_hooks_run_at_restore(bundle: MakeBundle) -> None:
    box = counting(bundle)
    start(box)
    said(box, checkpoint(box)).ok()
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{box.path}/{kind}"]}]
        for kind in ("prestart", "createRuntime", "poststop")
    }
    one_line(restore(box, "--image-path", box.path / "nowhere"), 1, "no such file or directory")
    assert not (box.path / "poststop").exists(), "nothing was made"
    (box.path / "empty").mkdir()
    one_line(restore(box, "--image-path", box.path / "empty"), 1, "")
    (box.path / "poststop").unlink()
    said(box, restore(box)).ok()
    pid = box.pid()
    for kind in ("prestart", "createRuntime"):
        state = json.loads((box.path / kind).read_text())
        assert (state["id"], state["pid"], state["bundle"]) == (box.id, pid, str(box.path))
    box.delete("--force").ok()
    assert (box.path / "poststop").exists()


def saved(bundle: MakeBundle, source: Path) -> Bundle:
    """A container that was checkpointed, with the source bound read-only at /mnt/data/in."""
    box = counting(bundle)
    (box.rootfs / "mnt/data").mkdir(parents=True)
    source.mkdir()
    (source / "file").write_text("the host's")
    box.config["mounts"].append(
        {"destination": "/mnt/data/in", "type": "bind", "source": str(source), "options": ["bind", "ro"]}
    )
    start(box)
    said(box, checkpoint(box)).ok()
    return box


def test_a_mount_point_behind_a_link_is_refused(bundle: MakeBundle, tmp_path: Path) -> None:
    """CVE-2026-119101, CVE-2026-119614: the link would lead the mount anywhere on the host."""
    box = saved(bundle, tmp_path / "source")
    victim = tmp_path / "victim"
    (victim / "in").mkdir(parents=True)
    for link, target in (("mnt/data/in", victim / "in"), ("mnt/data", victim)):
        place = box.rootfs / link
        shutil.rmtree(place)
        place.symlink_to(target)
        one_line(restore(box), 1, "symbolic link", "/mnt/data/in")
        gone(box)
        assert list((victim / "in").iterdir()) == []
        place.unlink()
        place.mkdir()
        (box.rootfs / "mnt/data/in").mkdir(exist_ok=True)
    said(box, restore(box)).ok()
    box.delete("--force").ok()


@contextmanager
def changed_images(box: Bundle, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The images with every mount changed by somebody."""
    import pycriu  # type: ignore[import-untyped,import-not-found,unused-ignore]

    (path,) = images(box).glob("mountpoints-*.img")
    good = path.read_bytes()
    content = pycriu.images.loads(good)
    for entry in content["entries"]:
        change(entry)
    path.write_bytes(pycriu.images.dumps(content))
    try:
        yield
    finally:
        path.write_bytes(good)


def test_images_that_were_tampered_with_are_refused(bundle: MakeBundle, tmp_path: Path) -> None:
    box = saved(bundle, tmp_path / "source")

    def writable(entry: dict[str, Any]) -> None:
        if entry["mountpoint"] == "./mnt/data/in" or entry["mountpoint"] == "/mnt/data/in":
            entry["flags"] &= ~1  # MS_RDONLY

    def renamed(entry: dict[str, Any]) -> None:
        if "ext_key" in entry:
            entry["ext_key"] = "/etc"

    def deleted(entry: dict[str, Any]) -> None:
        if "ext_key" in entry:
            entry["deleted"] = True

    for change, word in ((writable, "without ro"), (renamed, "external mount"), (deleted, "cannot be restored")):
        with changed_images(box, change):
            one_line(restore(box), 1, word)
        gone(box)
    assert (tmp_path / "source/file").read_text() == "the host's"
    missing = box.config["mounts"].pop()
    one_line(restore(box), 1, "a mount on /mnt/data/in that the config does not have")
    # The others may stand in another order.
    box.config["mounts"].insert(3, missing)
    said(box, restore(box)).ok()
    box.delete("--force").ok()


def test_what_is_not_there_is_told_and_nothing_is_left(bundle: MakeBundle) -> None:
    box = counting(bundle)
    start(box)
    said(box, checkpoint(box, "--leave-running", "--work-path", box.path / "work")).ok()
    assert (box.path / "work/dump.log").exists()
    box.delete("--force").ok()
    one_line(restore(box, "--image-path", box.path / "nowhere"), 1, "no such file or directory")
    one_line(restore(box, "--image-path", box.rootfs), 1, "not the directory of a checkpoint")
    for image in ("core-1.img", "inventory.img"):
        file = images(box) / image
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
        one_line(restore(box), 1, "criu failed")
        gone(box)
        file.write_bytes(data)


@pytest.mark.parametrize("state", ["created", "stopped"])
def test_only_what_runs_can_be_saved(state: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.create(stdout=NULL, stderr=NULL).ok()
    if state == "stopped":
        box.start().ok()
        box.wait_for("stopped")
    one_line(checkpoint(box), 1, f"Container cannot be checkpointed in {state} state")
    assert not images(box).exists()
    box.delete("--force").ok()


def test_a_paused_container(bundle: MakeBundle) -> None:
    box = counting(bundle)
    start(box)
    box.call("pause", box.id).ok()
    said(box, checkpoint(box)).ok()
    gone(box)
    stopped = count(box)
    said(box, restore(box)).ok()
    reach(box, stopped + 3)
    box.delete("--force").ok()


def test_podman(tmp_path: Path) -> None:
    """Checkpoint and restore of a container on a bridge, and by an archive under another name."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    archive = tmp_path / "root.tar"
    command("tar", "-C", str(root), "-cf", str(archive), ".")
    command("podman", "import", str(archive), "checkpointed")

    def podman(*argv: str) -> str:
        return command("podman", "--runtime", PYRUNC, *argv, timeout=LONG)

    def said_last(name: str) -> int:
        words = podman("logs", name).split()
        return int(words[-1]) if words else 0

    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.3; done"
    exported = str(tmp_path / "exported.tar")
    try:
        podman("run", "--detach", "--name=one", f"--volume={tmp_path}:/data:ro", "checkpointed", "sh", "-c", script)
        wait_until(lambda: said_last("one") > 3, "it counts", timeout=60)
        podman("container", "checkpoint", "one")
        stopped = said_last("one")
        podman("container", "restore", "one")
        wait_until(lambda: said_last("one") > stopped + 3, "it counts on", timeout=60)
        podman("container", "checkpoint", "--compress=none", f"--export={exported}", "one")
        stopped = said_last("one")
        podman("rm", "--force", "--time=0", "one")
        podman("container", "restore", f"--import={exported}", "--name=two")
        wait_until(lambda: said_last("two") > stopped, "it counts on under another name", timeout=60)
    finally:
        subprocess.run(["podman", "rm", "--force", "--time=0", "--ignore", "one", "two"], check=False)
        subprocess.run(["podman", "rmi", "--force", "checkpointed"], check=False)
