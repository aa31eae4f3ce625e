"""Paths of the image that lead to the host: links, and links that come and go while the container is being made."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.containers import running, script
from tests.support.descriptors import receiver
from tests.support.mounts import bind, mounts_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace

from .inside import Decoy, end, exchanging, may, without_mount

#: Of the races: so many containers are made while two names change places.
ROUNDS = 15


@pytest.fixture
def decoy(workplace: Workplace) -> Decoy:
    return Decoy(workplace)


@pytest.mark.parametrize("way", [0, 1], ids=["absolute", "upwards"])
@pytest.mark.parametrize("below", ["", "/new/deep", "/file"])
@pytest.mark.parametrize("kind", ["tmpfs", "folder", "file", "cgroup"])
def test_a_link_at_a_destination(kind: str, below: str, way: int, bundle: MakeBundle, decoy: Decoy) -> None:
    """CVE-2019-18837, CVE-2021-30465, CVE-2024-45310: what it means on the host is neither mounted on nor changed."""
    box = bundle("sh", "-c", "cat /proc/self/mountinfo")
    (box.rootfs / "link").symlink_to(decoy.links(box.rootfs)[way])
    destination = "/link" + below
    source = box.place.path / "source"
    if kind == "folder":
        source.mkdir()
    elif kind == "file":
        source.touch()
    if kind in ("folder", "file"):
        bind(box, source, destination)
    else:
        box.config["mounts"].append({"destination": destination, "type": kind, "source": "from-the-test"})
    box.config["root"]["readonly"] = False
    done = box.run()
    decoy.check()
    if done.returncode == 0:
        # It was made, in the place that the link means to the container.
        lines = [line for line in done.stdout.splitlines() if "from-the-test" in line or "/source " in line]
        assert lines or kind == "cgroup", done.stdout
        assert all(line.split()[4].startswith(str(decoy.path)) for line in lines), lines


@pytest.mark.parametrize("way", [0, 1], ids=["absolute", "upwards"])
def test_dev_is_a_link(way: int, bundle: MakeBundle, decoy: Decoy) -> None:
    """CVE-2026-41579, CVE-2026-47766: nodes, links, ptmx and the console go where the container's /dev is."""
    box = bundle("true")
    without_mount(box, "/dev")
    (box.rootfs / "dev").rmdir()
    (box.rootfs / "dev").symlink_to(decoy.links(box.rootfs)[way])
    box.config["root"]["readonly"] = False
    box.config["linux"]["devices"] = [
        {"path": "/dev/folder/extra", "type": "c", "major": 1, "minor": 3, "uid": 1, "gid": 1}
    ]
    box.config["mounts"].append({"destination": "/dev/pts", "type": "devpts", "source": "devpts"})
    box.run()
    decoy.check()
    box.config["process"]["terminal"] = True
    with receiver(box.place.path / "console") as console:
        box.create("--console-socket", console.path)
    decoy.check()
    box.delete("--force")


def terminal_box(bundle: MakeBundle, *args: str) -> Bundle:
    """With a /dev that is the image's own, as far as it has one."""
    box = bundle(*args)
    without_mount(box, "/dev")
    (box.rootfs / "dev/pts").mkdir()
    box.config["mounts"].append(
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
        }
    )
    box.config["root"]["readonly"] = False
    box.config["process"]["terminal"] = True
    return box


@pytest.mark.parametrize("way", [0, 1], ids=["absolute", "upwards"])
@pytest.mark.parametrize("name", ["file", "missing"])
def test_the_console_is_a_link(name: str, way: int, bundle: MakeBundle, decoy: Decoy) -> None:
    """CVE-2025-52565, CVE-2026-88264: it is neither followed nor made there, inside nor outside."""
    box = terminal_box(bundle, "sh", "-c", "sleep 1000")
    (box.rootfs / "dev/console").symlink_to(decoy.links(box.rootfs, name)[way])
    with receiver(box.place.path / "console") as console:
        done = box.create("--console-socket", console.path)
    assert done.returncode == 1 and "/dev/console" in done.stderr, done.stderr
    decoy.check()


def test_the_console_is_the_terminal_itself(bundle: MakeBundle) -> None:
    """Whatever file the image has there is covered by the slave, not by what has its number or name."""
    box = terminal_box(bundle, "sh", "-c", "sleep 1000")
    (box.rootfs / "dev/console").write_text("the image's")
    with receiver(box.place.path / "console") as console:
        box.create("--console-socket", console.path).ok()
        console.take()  # and held: closing it would hang up
        pid = box.pid()
        slave, covered = os.stat(f"/proc/{pid}/fd/0"), os.stat(f"/proc/{pid}/root/dev/console")
        assert stat.S_ISCHR(covered.st_mode) and (slave.st_dev, slave.st_ino) == (covered.st_dev, covered.st_ino)
        assert mounts_of(pid)["/dev/console"].fstype == "devpts"
        box.delete("--force").ok()
    assert (box.rootfs / "dev/console").read_text() == "the image's"


@pytest.mark.parametrize("ptmx", ["link", "slave"])
def test_exec_and_a_terminal_of_the_container_s_making(ptmx: str, bundle: MakeBundle, decoy: Decoy) -> None:
    """What stands at /dev/pts/ptmx when a terminal is asked for is the multiplexer of a devpts, or there is none."""
    box = bundle("sh", "-c", "sleep 1000")
    may(box, "CAP_SYS_ADMIN")
    pid = running(box)
    pts = Path(f"/proc/{pid}/root/dev/pts")
    if ptmx == "link":
        # In place of the devpts, a folder of the container's.
        command = f"umount -l /dev/pts; ln -s {decoy.path}/file /dev/pts/ptmx"
    else:
        command = "exec 3<>/dev/pts/ptmx; mount --bind /dev/pts/0 /dev/pts/ptmx; sleep 1000"
    with box.place.spawn("exec", box.id, "sh", "-c", command) as attack:
        while ptmx == "slave" and mounts_of(pid).get("/dev/pts/ptmx") is None and attack.poll() is None:
            pass
        if ptmx == "link":
            attack.wait()
        with receiver(box.place.path / "console") as console:
            done = box.exec("--tty", "--detach", "--console-socket", console.path, "true")
        attack.kill()
    assert done.returncode == 255 and "terminal" in done.stderr + str(pts), done.stderr
    assert "devpts" in done.stderr or "open a terminal" in done.stderr
    decoy.check()
    end(box)


def test_the_null_device_of_the_image_is_something_else(bundle: MakeBundle, decoy: Decoy) -> None:
    """CVE-2025-31133, CVE-2025-62161: no mask is made of it. CVE-2026-88265: nothing behind it is changed."""
    for target in decoy.links(Path("/"), "file"):
        box = bundle("cat", "/proc/keys")
        without_mount(box, "/dev")
        (box.rootfs / "dev/null").symlink_to(target)
        box.config["root"]["readonly"] = False
        done = box.run()
        assert done.returncode == 1 and "/dev/null" in done.stderr
        decoy.check()
    # A file under that name, which would be the mask.
    box = bundle("cat", "/proc/keys")
    without_mount(box, "/dev")
    (box.rootfs / "dev/null").write_text("the image's")
    done = box.run()
    assert done.returncode == 1 and "the image's" not in done.stdout


@pytest.mark.parametrize("other", ["fifo", "file", "link", "ram-disk", "missing"])
def test_exec_and_a_null_device_of_the_container_s_making(other: str, bundle: MakeBundle, decoy: Decoy) -> None:
    """CVE-2026-88265: standard streams are not opened on it, it is not waited for, and its owner stays."""
    box = bundle("sh", "-c", "sleep 1000")
    pid = running(box)
    dev = Path(f"/proc/{pid}/root/dev")
    (dev / "null").unlink()
    if other == "fifo":
        os.mkfifo(dev / "null")
    elif other == "file":
        (dev / "null").touch()
    elif other == "link":
        (dev / "null").symlink_to("/etc/passwd")
    elif other == "ram-disk":
        os.mknod(dev / "null", stat.S_IFBLK | 0o666, os.makedev(1, 3))  # block, not character
    # Detached: in the foreground standard input is a pipe of ours.
    seen = box.path / "seen"
    command = "stat -L -c '%F %t:%T' /proc/self/fd/0"
    box.exec("--detach", "--user", "1000", "sh", "-c", command, timeout=20, stdout=seen).ok()
    wait_until(lambda: seen.read_text().endswith("\n"), "it has said what it reads from")
    assert seen.read_text().strip() == "character special file 1:3"
    if other != "missing":
        assert os.lstat(dev / "null").st_uid == 0
    assert os.stat(f"/proc/{pid}/root/etc/passwd").st_uid == 0
    end(box)


def race_box(bundle: MakeBundle, volume: Path) -> Bundle:
    """A container whose image shares a volume with somebody who changes it, and mounts below that."""
    box = bundle("sleep", "1000")
    bind(box, volume, "/volume", "rbind")
    box.config["root"]["readonly"] = False
    return box


@pytest.mark.parametrize("way", [0, 1], ids=["absolute", "upwards"])
def test_a_race_for_a_destination(way: int, bundle: MakeBundle, decoy: Decoy, workplace: Workplace) -> None:
    """CVE-2021-30465, CVE-2024-45310: a folder on the way to destinations changes places with a link to the host."""
    volume = workplace.path / "volume"
    (volume / "place").mkdir(parents=True)
    box = race_box(bundle, volume)
    (volume / "link").symlink_to(decoy.links(box.rootfs)[way])
    for number in range(4):
        box.config["mounts"].append(
            {"destination": f"/volume/place/new{number}/deep", "type": "tmpfs", "source": f"race-{number}"}
        )
    box.config["linux"]["devices"] = [{"path": "/volume/place/node", "type": "c", "major": 1, "minor": 3}]
    made = 0
    with exchanging(volume / "place", volume / "link"):
        for _ in range(ROUNDS):
            if box.create().returncode == 0:
                made += 1
                sources = [line.rsplit(" - ")[1].split()[1] for line in mount_lines(box.pid())]
                # None went to where only the host would see it.
                assert {f"race-{number}" for number in range(4)} <= set(sources), sources
            box.delete("--force")
            for name in ("place", "link"):
                if not os.path.islink(volume / name):
                    (volume / name / "node").unlink(missing_ok=True)
    decoy.check()
    assert made, "all were refused: the test shows nothing"


@pytest.mark.parametrize("where", ["/volume/there", "volume/there", "/etc"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_is_a_link(name: str, where: str, bundle: MakeBundle, workplace: Workplace) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-54867: what is mounted there would be masked somewhere else."""
    volume = workplace.path / "volume"
    (volume / "there").mkdir(parents=True)
    box = bundle("true")
    bind(box, volume, "/volume")
    box.config["mounts"].insert(0, box.config["mounts"].pop())
    (box.rootfs / name).rmdir()
    (box.rootfs / name).symlink_to(where)
    done = box.run()
    assert done.returncode == 1 and f"/{name}" in done.stderr and "ordinary directory" in done.stderr, done.stderr
    assert os.listdir(volume / "there") == []


def mount_lines(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_script_that_is_interpreted_by_the_runtime(command: str, bundle: MakeBundle, runtime: Path) -> None:
    """CVE-2019-5736: the program is /proc/self/exe, and what that is gets opened for writing and written to."""
    files = [runtime, *(path for path in (runtime.with_name("stage2"), runtime) if path.exists())]
    before = [(path.read_bytes(), os.stat(path).st_mtime_ns) for path in files]
    box = bundle("/bin/evil")
    may(box, "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE")
    box.config["root"]["readonly"] = False
    loop = "while :; do for exe in /proc/[0-9]*/exe; do echo overwritten > $exe; done; done 2>/dev/null"
    script(box, loop, "overwrite")
    (box.rootfs / "bin/evil").write_text("#!/proc/self/exe\n")
    (box.rootfs / "bin/evil").chmod(0o755)
    if command == "run":
        assert box.run().returncode
    else:
        box.config["process"]["args"] = ["/bin/overwrite"]
        running(box)
        for _ in range(10):
            assert box.exec("/bin/evil").returncode
            box.exec("/proc/self/exe")
            box.exec("true").ok()
        box.delete("--force").ok()
    assert before == [(path.read_bytes(), os.stat(path).st_mtime_ns) for path in files]
