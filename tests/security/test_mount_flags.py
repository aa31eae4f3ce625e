"""Mount flags, masks and locks, each of which another runtime has lost once."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import running
from tests.support.mounts import bind, mounts_of
from tests.support.namespaces import MAPPED, add_user_namespace, set_namespaces
from tests.support.workplace import Bundle, MakeBundle, Workplace

from .inside import may


@pytest.fixture
def hard(workplace: Workplace) -> Iterator[Path]:
    """A file system of the host's, mounted read-only, nosuid, nodev and noexec, with another over a part of it."""
    path = workplace.path / "hard"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "hard", path], check=True)
    (path / "secret").mkdir()
    (path / "secret/file").touch()
    (path / "file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "cover", path / "secret"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro,nosuid,nodev,noexec", path], check=True)
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)


def points(box: Bundle, *names: str) -> None:
    """Mount points in the rootfs: a user namespace's root, who does not own it, cannot make them."""
    for name in names:
        (box.rootfs / name).mkdir()


HARD = {"ro", "nosuid", "nodev", "noexec"}


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_a_bind_keeps_the_flags_of_its_source(user: bool, container: MakeBundle, hard: Path) -> None:
    """All of them without options. With some, what they do not name is cleared, as by runc and crun, but never what the
    kernel has locked for a user namespace.
    """
    box = container("sleep", "1000")
    if user:
        add_user_namespace(box)
    points(box, "mnt", "only-ro")
    bind(box, hard, "/mnt", "rbind")
    bind(box, hard, "/only-ro", "rbind", "ro")
    found = mounts_of(running(box))
    assert found["/mnt"].options >= HARD
    assert found["/only-ro"].options & HARD == (HARD if user else {"ro"})


def test_root_in_a_user_namespace_cannot_undo_the_host_s_flags(container: MakeBundle, hard: Path) -> None:
    """The kernel locks them (mount_namespaces(7)): CAP_SYS_ADMIN there is not over the host's mounts.

    What the config itself makes there is the container's to change, as with runc.
    """
    box = container("sleep", "1000")
    add_user_namespace(box)
    may(box, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT")
    points(box, "mnt")
    (box.rootfs / "file").touch()
    bind(box, hard, "/mnt", "rbind")
    bind(box, hard / "file", "/file")
    pid = running(box)
    for where in ("/mnt", "/file"):
        for word in ("rw", "suid", "dev", "exec"):
            others = ",".join(sorted(HARD - {{"rw": "ro"}.get(word, "no" + word)}))
            assert box.exec("mount", "-o", f"remount,bind,{others},{word}", where).returncode, (where, word)
        assert mounts_of(pid)[where].options >= HARD
    assert box.exec("umount", "/mnt/secret").returncode
    assert box.exec("umount", "-l", "/mnt/secret").returncode
    assert box.exec("ls", "/mnt/secret").ok().stdout == ""


def test_a_read_only_root_keeps_its_other_flags(bundle: MakeBundle, workplace: Workplace) -> None:
    """A remount that names one flag must not take away the others."""
    box = bundle("/bin/busybox", "sleep", "1000")
    subprocess.run(["mount", "--bind", box.rootfs, box.rootfs], check=True)
    subprocess.run(["mount", "-o", "remount,bind,nosuid,nodev", box.rootfs], check=True)
    try:
        box.config["root"]["readonly"] = True
        assert mounts_of(running(box))["/"].options >= {"ro", "nosuid", "nodev"}
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", box.rootfs], check=True)


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_the_mode_of_a_mount_is_that_of_its_options(user: bool, bundle: MakeBundle) -> None:
    """The image's /dev/shm, /proc or /tmp says nothing about what is mounted there."""
    box = bundle("sh", "-c", "touch /dev/shm/mine && cat /proc/self/fd/9 9</proc/version >/dev/null && echo ok")
    for name in ("dev/shm", "proc", "sys"):
        (box.rootfs / name).mkdir(exist_ok=True)
        (box.rootfs / name).chmod(0o700)
    (box.rootfs / "dev").chmod(0o700)
    if user:
        add_user_namespace(box)
        for folder, folders, files in os.walk(box.rootfs):
            for name in (*folders, *files):
                os.lchown(os.path.join(folder, name), MAPPED, MAPPED)
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert box.run().ok().stdout == "ok\n"


def test_masks(bundle: MakeBundle) -> None:
    """Whatever the kind is: a file reads as empty, a folder lists as empty, and nothing can be put there."""
    box = bundle("sleep", "1000")
    box.config["root"]["readonly"] = False
    etc = box.rootfs / "etc"
    (etc / "file").write_text("secret")
    (etc / "folder/inner").mkdir(parents=True)
    (etc / "folder/file").write_text("secret")
    os.mkfifo(etc / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(etc / "socket"))
    (etc / "link-to-file").symlink_to("aim")
    (etc / "aim").write_text("secret")
    (etc / "link-to-folder").symlink_to("/etc/aims")
    (etc / "aims").mkdir()
    (etc / "aims/file").write_text("secret")
    (etc / "dangling").symlink_to("nowhere")
    names = ["file", "folder", "fifo", "socket", "link-to-file", "link-to-folder", "dangling", "missing", "file/below"]
    box.config["linux"]["maskedPaths"] = ["/etc/" + name for name in names] + ["/proc/keys", "/proc/acpi", "/proc/irq"]
    pid = running(box)
    for name in ("file", "fifo", "link-to-file", "aim"):
        assert box.exec("cat", f"/etc/{name}").ok().stdout == "", name
    for name in ("folder", "link-to-folder", "aims"):
        assert box.exec("ls", "-A", f"/etc/{name}").ok().stdout == "", name
        assert box.exec("touch", f"/etc/{name}/new").returncode == 1, name
    found = mounts_of(pid)
    assert found["/etc/folder"].options >= {"ro", "nosuid", "nodev", "noexec"}
    assert {"/etc/file", "/etc/fifo", "/etc/socket", "/etc/aim", "/proc/keys", "/proc/irq"} <= found.keys()
    # One file system serves all folders (runc 1.5.0: a mask for every CPU would be hundreds).
    assert os.stat(f"/proc/{pid}/root/etc/folder").st_dev == os.stat(f"/proc/{pid}/root/proc/irq").st_dev
    for name in ("file", "folder", "fifo", "aim"):
        assert box.exec("umount", f"/etc/{name}").returncode, name
    box.delete("--force").ok()
    assert (etc / "file").read_text() == "secret"


@pytest.mark.parametrize("where", ["maskedPaths", "readonlyPaths"])
def test_a_mask_that_cannot_be_made_is_an_error(where: str, bundle: MakeBundle) -> None:
    """Only what is not there is left out: a loop could be resolved by the container later."""
    box = bundle("true")
    (box.rootfs / "etc/loop").symlink_to("loop")
    (box.rootfs / "etc/out").symlink_to("/proc/self/fd/0")
    for name in ("loop", "out"):
        box.config["linux"][where] = [f"/etc/{name}"]
        done = box.run()
        assert done.returncode == 1 and f"/etc/{name}" in done.stderr, done.stderr


def test_read_only_paths(container: MakeBundle) -> None:
    """They keep the flags that they had, and what they hold cannot be written."""
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    may(box, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    pid = running(box)
    found = mounts_of(pid)
    paths = [path for path in box.config["linux"]["readonlyPaths"] if os.path.exists(path)]
    assert "/proc/sys" in paths
    for path in paths:
        assert "ro" in found[path].options, path
    assert box.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").returncode


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
@pytest.mark.parametrize("host_network", [False, True], ids=["", "host-network"])
def test_sys_stays_read_only(user: bool, host_network: bool, container: MakeBundle) -> None:
    """crun 1.29 made it writable where a user namespace cannot have a sysfs of its own."""
    box = container("sleep", "1000")
    may(box, "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN")
    if host_network:
        box.config["linux"]["namespaces"] = [
            entry for entry in box.config["linux"]["namespaces"] if entry["type"] != "network"
        ]
    if user:
        add_user_namespace(box)
        if host_network:
            # The kernel gives no new sysfs then: engines bind the host's.
            for mount in box.config["mounts"]:
                if mount["destination"] == "/sys":
                    mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
            box.config["mounts"] = [m for m in box.config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
    found = mounts_of(running(box))
    assert found["/sys"].options >= {"ro", "nosuid", "nodev", "noexec"}
    assert box.exec("sh", "-c", "echo x > /sys/class/net/lo/ifalias").returncode


def test_devices_bound_in_a_user_namespace(container: MakeBundle) -> None:
    """crun 1.29 lost nosuid and noexec."""
    box = container("sleep", "1000")
    add_user_namespace(box)
    box.config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    if not os.path.exists("/dev/fuse"):
        box.config["linux"]["devices"] = []
    found = mounts_of(running(box))
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        assert found[f"/dev/{name}"].options >= {"nosuid", "noexec"}, name
    assert box.exec("sh", "-c", "echo > /dev/null && head -c 1 /dev/zero").ok().stdout == "\0"


@pytest.mark.parametrize("own", [False, True], ids=["", "cgroup-namespace"])
def test_the_cgroups_of_others_are_not_there(own: bool, container: MakeBundle) -> None:
    """CVE-2023-25809: without a cgroup namespace too, only the container's own is mounted, and as its options say."""
    box = container("sleep", "1000")
    may(box, "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN")
    spaces = [entry["type"] for entry in box.config["linux"]["namespaces"] if entry["type"] != "cgroup"]
    set_namespaces(box, *spaces, *(["cgroup"] if own else []))
    pid = running(box)
    folder = Path(f"/proc/{pid}/root/sys/fs/cgroup")
    own_folder = box.cgroup_dir("memory")
    seen = folder / "memory" if (folder / "memory").exists() else folder
    assert os.stat(seen).st_ino == os.stat(own_folder).st_ino
    assert os.stat(seen / "cgroup.procs").st_ino == os.stat(own_folder / "cgroup.procs").st_ino
    assert box.exec("sh", "-c", f"echo 0 > /sys/fs/cgroup/{'memory/' if seen != folder else ''}cgroup.procs").returncode


def without_numbers(text: str) -> list[str]:
    """mountinfo's lines without what differs between two looks: none is left out."""
    return sorted(" ".join(line.split()[3:]) for line in text.splitlines())


@pytest.mark.parametrize("word", [None, "shared", "rshared", "slave", "private", "runbindable"])
@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_the_host_s_mounts_are_what_they_were(word: str | None, user: bool, bundle: MakeBundle, hard: Path) -> None:
    """While it is created, while it runs and afterwards; / of the host keeps its propagation."""
    box = bundle("sleep", "1000")
    if user:
        add_user_namespace(box)
    if word is not None:
        box.config["linux"]["rootfsPropagation"] = word
        if word == "runbindable":
            box.config["linux"].pop("maskedPaths")
            box.config["linux"].pop("readonlyPaths")
    subprocess.run(["mount", "--make-rshared", hard], check=True)
    points(box, "mnt")
    bind(box, hard, "/mnt", "rbind", "rslave")
    before = without_numbers(Path("/proc/self/mountinfo").read_text())
    running(box)
    during = without_numbers(Path("/proc/self/mountinfo").read_text())
    box.delete("--force").ok()
    after = without_numbers(Path("/proc/self/mountinfo").read_text())
    assert before == during == after


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_a_disk_that_is_mounted_later_appears(user: bool, bundle: MakeBundle, workplace: Workplace) -> None:
    """crun 1.27 cut a volume off from what the host mounts there later; nothing goes the other way."""
    volume = workplace.path / "volume"
    (volume / "disk").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "volume", volume], check=True)
    try:
        subprocess.run(["mount", "--make-shared", volume], check=True)
        (volume / "disk").mkdir()
        (volume / "theirs").mkdir()
        box = volume_box(bundle, volume, user)
        running(box)
        subprocess.run(["mount", "-t", "tmpfs", "disk", volume / "disk"], check=True)
        (volume / "disk/file").touch()
        assert box.exec("ls", "/volume/disk").ok().stdout == "file\n"
        box.exec("mount", "-t", "tmpfs", "theirs", "/volume/theirs").ok()
        assert not os.path.ismount(volume / "theirs")
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", "--recursive", volume], check=True)


def volume_box(bundle: MakeBundle, volume: Path, user: bool) -> Bundle:
    box = bundle("sleep", "1000")
    may(box, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    if user:
        add_user_namespace(box)
    points(box, "volume")
    bind(box, volume, "/volume", "rbind", "rslave")
    return box
