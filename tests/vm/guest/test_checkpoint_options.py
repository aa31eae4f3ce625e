"""checkpoint's and restore's options beside the usual: each seen to do what it is for. Several in one container, since
a checkpoint and a restore take ten seconds on an emulated processor.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.namespaces import add_user_namespace, namespaces_of
from tests.support.processes import command, reap
from tests.support.terminals import read_all
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

from .checkpoints import LONG, NULL, checkpoint, count, counting, gone, images, reach, restore, said, start
from .support import PROFILE, cgroup

#: flock(1), which busybox does not have, comes with the host's /usr.
FLOCK = "/usr/bin/flock"


def before_counting(box: Bundle, script: str) -> None:
    """A line of shell that the container begins with."""
    box.config["process"]["args"][2] = script + box.config["process"]["args"][2]


def test_what_a_process_holds(bundle: MakeBundle) -> None:
    """--link-remap, --file-locks, --tcp-established: an unlinked file, a lock, a connection."""
    box = counting(bundle)
    box.config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]})
    for name in ("lib", "lib64"):
        (box.rootfs / name).symlink_to(f"usr/{name}")
    script = "exec 7>/tmp/open; echo first >&7; ln /tmp/open /tmp/other; rm /tmp/open; "
    script += f"{FLOCK} /tmp/lock sleep 1000 & "
    script += "(while :; do echo tick; sleep 0.2; done) | nc -l -p 8000 >/dev/null & sleep 1; "
    script += "sleep 1000 | nc 127.0.0.1 8000 >/tmp/got & "
    before_counting(box, script)
    start(box)
    got = box.rootfs / "tmp/got"
    wait_until(lambda: got.exists() and got.stat().st_size > 0, "the connection stands", timeout=60)
    said(box, checkpoint(box, "--link-remap", "--file-locks", "--tcp-established")).ok()
    before = got.stat().st_size
    said(box, restore(box, "--file-locks", "--tcp-established")).ok()
    wait_until(lambda: got.stat().st_size > before, "the connection goes on", timeout=60)
    assert box.exec(FLOCK, "--nonblock", "/tmp/lock", "true").returncode == 1
    pid = box.pid()
    assert os.readlink(f"/proc/{pid}/fd/7") == "/tmp/open (deleted)"
    with open(f"/proc/{pid}/fd/7", "a") as file:
        file.write("second\n")
    assert (box.rootfs / "tmp/other").read_text() == "first\nsecond\n"
    assert not [name for name in os.listdir(box.rootfs / "tmp") if name.startswith("link_remap")]
    box.delete("--force").ok()


def test_sockets_of_the_host(bundle: MakeBundle) -> None:
    """--ext-unix-sk, --tcp-skip-in-flight: the log of the host, and a connection that nobody has accepted yet."""
    box = counting(bundle)
    path = box.path / "log"
    namespaces = box.config["linux"]["namespaces"]
    # CRIU finds the other end of a socket in its own network namespace alone, and again by the name it was bound to.
    box.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "network"]
    box.config["mounts"].append({"destination": str(path), "type": "bind", "source": str(path), "options": ["bind"]})
    box.config["mounts"].append({"destination": "/dev/log", "type": "bind", "source": str(path), "options": ["bind"]})
    before_counting(box, "nc -l -p 9123 >/tmp/nc & while :; do echo tick; sleep 0.3; done | logger & ")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        log.settimeout(60)
        start(box)
        log.recv(1000)
        box.call("pause", box.id).ok()
        with socket.create_connection(("127.0.0.1", 9123)):
            said(box, checkpoint(box, "--ext-unix-sk", "--tcp-skip-in-flight")).ok()
        log.setblocking(False)
        while True:
            try:
                log.recv(1000)
            except BlockingIOError:
                break
        said(box, restore(box, "--ext-unix-sk")).ok()
        log.settimeout(60)
        assert b"tick" in log.recv(1000)
    with socket.create_connection(("127.0.0.1", 9123)) as client:
        client.sendall(b"after")
        wait_until(lambda: (box.rootfs / "tmp/nc").read_text() == "after", "it listens again", timeout=60)
    box.delete("--force").ok()


@contextmanager
def on_terminal(box: Bundle, *argv: str | Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The runtime in a session of its own on a new terminal, whose other end comes."""
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = box.place.spawn(
        *argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(slave)
    try:
        yield master, process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_job_of_a_shell(bundle: MakeBundle) -> None:
    """--shell-job: run detached with a terminal of the host's, restored on another."""
    box = bundle("sh", "-c", "while read line; do echo got $line; done; exit 9")
    with on_terminal(box, "run", "--detach", "--bundle", box.save(), box.id) as (master, process):
        assert process.wait(60) == 0
        os.write(master, b"one\n")
        assert b"got one" in read_all(master, b"got one")
        one_line(checkpoint(box), 1, "standard input is a terminal of the host's", "--shell-job")
        said(box, checkpoint(box, "--shell-job")).ok()
    gone(box)
    one_line(restore(box, "--shell-job"), 1, "standard input has to be a terminal")
    gone(box)
    argv: list[str | Path] = ["restore", "--shell-job", "--image-path", images(box), "--bundle", box.path, box.id]
    with on_terminal(box, *argv) as (master, process):
        os.write(master, b"two\n")
        assert select.select([master], [], [], LONG)[0]
        assert b"got two" in read_all(master, b"got two")
        os.write(master, b"\x04")
        assert process.wait(60) == 9
    gone(box)


def test_pages_that_come_later(bundle: MakeBundle) -> None:
    """--lazy-pages, --page-server, --status-fd: into another container, which fetches them from the first one."""
    box, other = counting(bundle), bundle()
    start(box)
    one_line(checkpoint(box, "--page-server", "127.0.0.1:9334"), 1, "Can't connect to server 127.0.0.1:9334")
    other.config = box.config | {"linux": box.config["linux"] | {"cgroupsPath": other.cgroup}}
    other.config["root"] = box.config["root"] | {"path": str(box.rootfs)}
    reader, writer = os.pipe()
    argv: list[str | Path] = [
        "checkpoint",
        "--image-path",
        images(box),
        "--lazy-pages",
        "--page-server",
        "127.0.0.1:9335",
    ]
    argv += ["--status-fd", str(writer), box.id]
    dumping = box.place.spawn(*argv, pass_fds=(writer,))
    os.close(writer)
    ready = os.read(reader, 10)
    os.close(reader)
    assert ready == b"\0"
    stopped = count(box)
    flags = ["--images-dir", str(images(box)), "--work-dir", str(images(box))]
    daemon = subprocess.Popen(
        ["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "9335", *flags]
    )
    try:
        wait_until((images(box) / "lazy-pages.socket").exists, "somebody fetches pages")
        said(box, restore(other, "--lazy-pages", "--image-path", images(box))).ok()
        assert dumping.wait(LONG) == 0 and daemon.wait(LONG) == 0
    finally:
        for process in (daemon, dumping):
            process.kill()
            process.wait()
    gone(box)
    reach(box, stopped + 3)
    other.delete("--force").ok()


def test_a_page_server(bundle: MakeBundle) -> None:
    """--page-server: memory goes elsewhere. --auto-dedup: what was restored is taken from the images."""
    box = counting(bundle)
    start(box)
    pages = box.path / "pages"
    pages.mkdir()
    server = subprocess.Popen(
        ["criu", "page-server", "--images-dir", pages, "--address", "127.0.0.1", "--port", "9333"]
    )
    try:
        wait_until(lambda: ":2475 " in Path("/proc/net/tcp").read_text(), "it listens")
        said(box, checkpoint(box, "--page-server", "127.0.0.1:9333")).ok()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
    assert list(pages.glob("pages-*.img")) and not list(images(box).glob("pages-*.img"))
    stopped = count(box)
    for file in pages.glob("*.img"):
        file.rename(images(box) / file.name)
    said(box, restore(box, "--auto-dedup")).ok()
    reach(box, stopped + 3)
    assert {file.stat().st_blocks for file in images(box).glob("pages-*.img")} == {0}
    box.delete("--force").ok()


def test_namespaces_and_cgroups_of_others(bundle: MakeBundle) -> None:
    """Into namespaces that are there; --manage-cgroups-mode ignore; a bind with other ids."""
    pod, box = bundle("sh", "-c", "while :; do sleep 0.1; done"), counting(bundle)
    for each in (pod, box):
        each.config["linux"]["namespaces"].append({"type": "time"})
    pod.run("--detach", stdout=NULL, stderr=NULL).ok()
    del box.config["hostname"]
    joined = ("pid", "ipc", "uts", "time")
    for entry in box.config["linux"]["namespaces"]:
        if entry["type"] in joined:
            entry["path"] = f"/proc/{pod.pid()}/ns/{entry['type']}"
    (box.path / "source").mkdir()
    os.chown(box.path / "source", 1000, 1000)
    ids = [{"containerID": 1000, "hostID": 5000, "size": 1}]
    mount = {"destination": "/data", "type": "bind", "source": str(box.path / "source"), "options": ["bind", "idmap"]}
    box.config["mounts"].append(mount | {"uidMappings": ids, "gidMappings": ids})
    box.config["linux"].setdefault("resources", {})["memory"] = {"limit": 64 << 20}
    start(box)
    said(box, checkpoint(box, "--manage-cgroups-mode", "ignore")).ok()
    stopped = count(box)
    # It gets its number again, which must not be a zombie's any more.
    reap()
    said(box, restore(box, "--manage-cgroups-mode", "ignore")).ok()
    reach(box, stopped + 3)
    after, theirs = namespaces_of(box.pid()), namespaces_of(pod.pid())
    assert [after[kind] for kind in joined] == [theirs[kind] for kind in joined]
    assert (cgroup(box) / "memory.max").read_text() == f"{64 << 20}\n"
    look = "stat -c %u:%g /data; cat /proc/self/cgroup; test -e /sys/fs/cgroup/memory.max && echo its own"
    assert box.exec("sh", "-c", look).ok().stdout == "5000:5000\n0::/\nits own\n"
    box.delete("--force").ok()
    # What CRIU cannot do is said before it tries. (The pod's first process ends after the last in its pid namespace.)
    reap()
    add_user_namespace(pod)
    pod.delete("--force").ok()
    pod.run("--detach", stdout=NULL, stderr=NULL).ok()
    box.config["linux"]["namespaces"] = [
        {"type": "user", "path": f"/proc/{pod.pid()}/ns/user"},
        *({"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")),
    ]
    one_line(restore(box), 1, "into a user namespace that is there already", "/linux/namespaces/0")
    gone(box)
    pod.delete("--force").ok()


def test_a_checkpoint_with_fewer_namespaces_than_the_config(bundle: MakeBundle) -> None:
    """It would run in the host's. Nor does CRIU put under a profile who had none."""
    box = counting(bundle)
    namespaces = box.config["linux"]["namespaces"]
    box.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "ipc"]
    start(box)
    said(box, checkpoint(box)).ok()
    box.config["linux"]["namespaces"] = namespaces
    stopped = count(box)
    one_line(restore(box), 1, "the checkpoint has no ipc namespace", "/linux/namespaces/")
    gone(box)
    assert count(box) == stopped, "nothing of it has run"
    one_line(restore(box, "--lsm-profile", "apparmor:unconfined"), 1, "had no profile that criu could replace")
    gone(box)


def test_another_profile(bundle: MakeBundle) -> None:
    """--lsm-profile; --lsm-mount-context is for SELinux, which this kernel does not run."""
    if Path("/sys/module/apparmor/parameters/enabled").read_text().strip() != "Y":
        pytest.skip("AppArmor is not enabled in this kernel")
    box = counting(bundle)
    names = ("pyrunc-first", "pyrunc-second")
    profiles = box.path / "profiles"
    profiles.write_text("".join(PROFILE.replace("pyrunc-test", name).replace("abi <abi/3.0>,", "") for name in names))
    command("apparmor_parser", "--replace", "--skip-cache", str(profiles))
    try:
        box.config["process"]["apparmorProfile"] = names[0]
        start(box)
        said(box, checkpoint(box)).ok()
        one_line(restore(box, "--lsm-profile", "selinux:a:b:c:s0"), 1, "selinux is not enabled on this host")
        one_line(restore(box, "--lsm-mount-context", "a:b:c:s0"), 1, "selinux is not enabled on this host")
        one_line(restore(box, "--lsm-profile", "apparmor:no-such"), 1, "no such profile is loaded")
        gone(box)
        said(box, restore(box, "--lsm-profile", f"apparmor:{names[1]}")).ok()
        assert Path(f"/proc/{box.pid()}/attr/current").read_text() == f"{names[1]} (enforce)\n"
        box.delete("--force").ok()
    finally:
        command("apparmor_parser", "--remove", str(profiles))
