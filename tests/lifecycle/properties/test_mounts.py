"""What the container's tree is made of: the usual mounts, binds, devices, masks, the root itself.

The options of mounts are test_mount_options.py's.
"""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import hierarchies
from tests.support.containers import running, script
from tests.support.mounts import bind, mounts_of
from tests.support.namespaces import MAPPED, add_user_namespace, own_mounts, set_namespaces
from tests.support.processes import command
from tests.support.rootfs import make_rootfs
from tests.support.waiting import wait_until
from tests.support.workplace import MakeBundle, one_line

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def own(rootfs: Path, uid: int) -> None:
    """Give the directories of the rootfs to a user namespace's root."""
    for place, _, _ in os.walk(rootfs):
        os.chown(place, uid, uid)


# ---- the usual ones ----


@pytest.mark.parametrize("user", [False, True])
def test_spec_s_mounts(user: bool, container: MakeBundle) -> None:
    box = container("sleep", "1000")
    if user:
        add_user_namespace(box)
    pid = running(box)
    found = mounts_of(pid)
    assert found["/"].options >= {"ro"}
    expected: dict[str, tuple[str, set[str]]] = {
        "/proc": ("proc", {"rw"}),
        "/dev": ("tmpfs", {"rw", "nosuid"}),
        "/dev/pts": ("devpts", {"rw", "nosuid", "noexec"}),
        "/dev/shm": ("tmpfs", {"rw", "nosuid", "noexec", "nodev"}),
        "/dev/mqueue": ("mqueue", {"rw", "nosuid", "noexec", "nodev"}),
        "/sys": ("sysfs", {"ro", "nosuid", "noexec", "nodev"}),
        "/sys/fs/cgroup": ("tmpfs", {"ro", "nosuid", "noexec", "nodev"}),
    }
    for point, (fstype, options) in expected.items():
        assert found[point].fstype == fstype, point
        assert found[point].options >= options, point
    # Nothing of the host's is left.
    assert not [
        point for point, mount in found.items() if mount.root.startswith(("/work", "/tmp/pyrunc")) and point != "/"
    ]
    root = f"/proc/{pid}/root"
    modes = {"/dev": 0o755, "/dev/shm": 0o1777, "/dev/mqueue": 0o1777, "/proc": 0o555}
    for point, mode in modes.items():
        assert stat.S_IMODE(os.stat(root + point).st_mode) == mode, point
    assert (found["/dev/pts"].superblock & {"gid=5", f"gid={MAPPED + 5}", "ptmxmode=666", "mode=620"}) > {"mode=620"}


def test_anybody_may_write_to_shm(bundle: MakeBundle) -> None:
    """crun 1.29: a new mount's root took the mount point's mode."""
    box = bundle("sh", "-c", "echo hello >/dev/shm/x && cat /dev/shm/x && cat /proc/self/fd/0 </dev/shm/x")
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert box.run().ok().stdout == "hello\nhello\n"


def test_cgroups_seen_from_inside(bundle: MakeBundle) -> None:
    """The container's own part alone, read-only unless asked otherwise; controllers mounted together by each name."""
    for namespace in (False, True):
        box = bundle("sleep", "1000")
        box.config["linux"]["resources"]["pids"] = {"limit": 55}
        if namespace:
            box.config["linux"]["namespaces"].append({"type": "cgroup"})
        pid = running(box)
        root = Path(f"/proc/{pid}/root/sys/fs/cgroup")
        for name in hierarchies():
            if name == "unified":
                continue
            assert str(pid) in (root / name / "cgroup.procs").read_text().split(), name
        assert (root / "pids/pids.max").read_text() == "55\n"
        got = box.exec("sh", "-c", "echo 66 >/sys/fs/cgroup/pids/pids.max")
        assert got.returncode != 0 and "Read-only file system" in got.stderr
        box.delete("--force").ok()


@pytest.mark.parametrize("namespace", [False, True])
def test_a_mount_below_the_cgroups(namespace: bool, bundle: MakeBundle) -> None:
    """At a new place: docker run -v DIR:/sys/fs/cgroup/extra. Read-only the tmpfs is all the same, at the end."""
    if not (hierarchies().keys() - {"unified"}):
        pytest.skip("cgroup v1 is not mounted")
    box = bundle(
        "sh", "-c", "cat /sys/fs/cgroup/extra/file; mkdir /sys/fs/cgroup/mine; touch /sys/fs/cgroup/extra/made"
    )
    if namespace:
        box.config["linux"]["namespaces"].append({"type": "cgroup"})
    (box.path / "extra").mkdir()
    (box.path / "extra/file").write_text("extra\n")
    bind(box, box.path / "extra", "/sys/fs/cgroup/extra")
    got = box.run().ok()
    assert got.stdout == "extra\n" and "/sys/fs/cgroup/mine': Read-only file system" in got.stderr
    assert (box.path / "extra/made").exists()


def test_a_mount_point_that_may_not_be_made(bundle: MakeBundle) -> None:
    """In a user namespace, whose root owns nothing of the rootfs: the mount point is named, not the mount."""
    box = bundle("true")
    add_user_namespace(box)
    bind(box, "/tmp", "/new/er")
    words = 'make mountpoint \\"/new/er\\": permission denied'
    one_line(box.create(), 1, words, "/mounts/7")
    box.config["mounts"][-1] = {"destination": "/new/er", "type": "tmpfs", "source": "tmpfs"}
    one_line(box.create(), 1, words, "/mounts/7")


def test_devices(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/deep/er/loop", "type": "b", "major": 7, "minor": 3},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3},
        # One of the usual ones, otherwise.
        {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o600},
    ]
    dev = Path(f"/proc/{running(box)}/root/dev")
    for name, number in DEVICES.items():
        found = os.stat(dev / name)
        assert stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(*number), name
        assert stat.S_IMODE(found.st_mode) == (0o600 if name == "tty" else 0o666), name
        assert (found.st_uid, found.st_gid) == (0, 0)
    fuse = os.stat(dev / "fuse")
    assert stat.S_ISCHR(fuse.st_mode) and fuse.st_rdev == os.makedev(10, 229)
    assert (stat.S_IMODE(fuse.st_mode), fuse.st_uid, fuse.st_gid) == (0o640, 7, 8)
    loop = os.stat(dev / "deep/er/loop")
    assert stat.S_ISBLK(loop.st_mode) and loop.st_rdev == os.makedev(7, 3)
    assert stat.S_ISFIFO(os.stat(dev / "fifo").st_mode) and stat.S_IMODE(os.stat(dev / "fifo").st_mode) == 0o600
    assert stat.S_ISCHR(os.stat(dev / "unbuffered").st_mode)
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    links["ptmx"] = "pts/ptmx"
    for name, target in links.items():
        assert os.readlink(dev / name) == target


def test_devices_in_a_user_namespace_are_the_host_s(container: MakeBundle) -> None:
    """Bound, since they cannot be made; nosuid and noexec, as crun 1.29 forgot."""
    box = container("sh", "-c", "echo x >/dev/null && exec sleep 1000")
    add_user_namespace(box)
    pid = running(box)
    found = mounts_of(pid)
    for name, number in DEVICES.items():
        status = os.stat(f"/proc/{pid}/root/dev/{name}")
        assert stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(*number), name
        assert found[f"/dev/{name}"].options >= {"nosuid", "noexec"}, name


@pytest.mark.parametrize("path", ["/dev/ptmx", "/dev//./ptmx"])
@pytest.mark.parametrize("user", [False, True])
def test_ptmx_among_the_devices(path: str, user: bool, container: MakeBundle) -> None:
    """podman run --privileged lists the host's: its terminals would be the host's. It stays the container's own."""
    box = container("sh", "-c", "exec 3<>/dev/ptmx; ls /dev/pts; exec sleep 1000")
    if user:
        add_user_namespace(box)
    box.config["linux"]["devices"] = [{"path": path, "type": "c", "major": 5, "minor": 2, "fileMode": 0o666}]
    pid = running(box)
    assert os.readlink(f"/proc/{pid}/root/dev/ptmx") == "pts/ptmx"
    assert "/dev/ptmx" not in mounts_of(pid)
    wait_until(lambda: box.output() == "0\nptmx\n", "a terminal of its own devpts")


@pytest.mark.parametrize("joined", [False, True])
def test_a_device_that_the_host_lacks_in_a_user_namespace(joined: bool, bundle: MakeBundle) -> None:
    """Its root can make none, and there is none to bind: the runtime makes it, and its owner is the container's."""
    first = bundle("sleep", "1000")
    add_user_namespace(first)
    box = bundle("sh", "-c", "head -c 3 /dev/zeros | wc -c; exec sleep 1000")
    if joined:
        # That of a container whose mapping the config of this one does not know.
        set_namespaces(box, "pid", "network", "mount", "ipc", "uts", user=running(first))
    else:
        add_user_namespace(box)
    zeros = {"path": "/dev/zeros", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 7}
    full = {"path": "/dev/filled", "type": "c", "major": 1, "minor": 7, "uid": 3}
    block = {"path": "/dev/deep/er/none", "type": "b", "major": 7, "minor": 250}
    box.config["linux"]["devices"] = [zeros, full, block]
    box.config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    box.run("--detach").ok()
    pid = box.pid()
    found = {path: os.stat(f"/proc/{pid}/root{path}") for path in ("/dev/zeros", "/dev/filled", "/dev/deep/er/none")}
    seen = [(stat.filemode(one.st_mode), one.st_rdev, one.st_uid, one.st_gid) for one in found.values()]
    assert seen == [
        ("crw-r-----", os.makedev(1, 5), MAPPED, MAPPED + 7),
        ("crw-rw-rw-", os.makedev(1, 7), MAPPED + 3, MAPPED),
        ("brw-rw-rw-", os.makedev(7, 250), MAPPED, MAPPED),
    ]
    wait_until(lambda: box.output() == "3\n", "the device works")
    mounts = mounts_of(pid)
    assert all(mounts[path].options >= {"nosuid", "noexec"} for path in found)
    # Nothing of their making is left in the container, or was seen on the host.
    assert not [mount for mount in mounts_of(os.getpid()).values() if "nr_inodes=2" in mount.superblock]
    box.delete("--force").ok()
    box.config["linux"]["devices"] = [{**zeros, "gid": 70000}]
    one_line(box.create(), 1, "device /dev/zeros: gid 70000 is not mapped", "/linux/devices/0")
    first.delete("--force")


def test_the_device_cgroup_judges(bundle: MakeBundle) -> None:
    """spec denies all; what every container needs is allowed nevertheless."""
    text = """
    for name in null zero full random urandom tty ptmx; do (true <>/dev/$name) 2>/dev/null || echo $name; done
    true </dev/kmsg
    """
    box = bundle()
    box.config["process"]["args"] = [script(box, text)]
    box.config["linux"]["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    got = box.run()
    # No terminal, so no /dev/tty.
    assert got.returncode != 0 and got.stdout in ("tty\n", "")
    assert "Operation not permitted" in got.stderr


@pytest.mark.parametrize(
    ("device", "pointer"),
    [
        ({"path": "/dev/x", "type": "q", "major": 1, "minor": 3}, "/linux/devices/0/type"),
        ({"path": "relative", "type": "c", "major": 1, "minor": 3}, "/linux/devices/0/path"),
        ({"path": "/dev/x", "type": "c", "major": 1}, "/linux/devices/0"),
        ({"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}, "/linux/devices/0"),
        ({"path": "/dev/x", "type": "c", "major": "1", "minor": 3}, "/linux/devices/0/major"),
    ],
)
def test_devices_that_are_none(device: dict[str, Any], pointer: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["linux"]["devices"] = [device]
    one_line(box.create(), 1, pointer)


# ---- binds ----


def test_a_directory_and_a_file(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "cat /mnt/sub/file /some/new/file; echo written >/mnt/out; ls /relative")
    box.config["root"]["readonly"] = False
    source = box.path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("in a directory\n")
    (source / "single").write_text("a file\n")
    bind(box, source, "/mnt")
    bind(box, source / "single", "/some/new/file", "rbind", "ro")
    bind(box, "source/sub", "/relative")  # to the bundle
    assert box.run().ok().stdout == "in a directory\na file\nfile\n"
    assert (source / "out").read_text() == "written\n"
    # What had to be made for them is there, and empty.
    assert (box.rootfs / "some/new/file").read_bytes() == b""


def test_read_only_binds(bundle: MakeBundle) -> None:
    text = """
    for place in plain deep/below recursive recursive/below; do (echo x >/$place/x) 2>/dev/null && echo $place; done
    true
    """
    box = bundle()
    box.config["process"]["args"] = [script(box, text)]
    box.config["root"]["readonly"] = False
    for name in ("plain", "deep", "recursive"):
        (box.path / name / "below").mkdir(parents=True)
        bind(box, box.path / name, f"/{name}", "rbind", "rro" if name == "recursive" else "ro")
    assert box.run().ok().stdout == ""


def test_links_in_the_rootfs_lead_nowhere_else(bundle: MakeBundle) -> None:
    """A destination behind a link is where the link leads inside the rootfs."""
    box = bundle("cat", "/target/file")
    outside = box.path / "outside"
    outside.mkdir()
    (box.rootfs / "target").mkdir()
    (box.rootfs / "link").symlink_to("/target")
    (box.rootfs / "up").symlink_to("../../../../../../target")
    (box.rootfs / "out").symlink_to(outside)
    source = box.path / "source"
    source.mkdir()
    (source / "file").write_text("here\n")
    for destination in ("/link", "/up", "/link/../target", "/up/."):
        bind(box, source, destination)
        assert box.run().ok().stdout == "here\n"
        box.config["mounts"].pop()
    # A link to a path that exists on the host alone creates nothing there.
    bind(box, source, "/out/made")
    box.run()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        ("/no/such/source", "/mnt", "mount source /no/such/source does not exist"),
        ("/etc/passwd", "/tmp", "/tmp"),
        ("/tmp", "/etc/passwd", "/etc/passwd"),
        ("/tmp", "relative", ""),
        ("/tmp", "/", "/mounts/7"),
        # docker explains "not a directory" to its user.
        ("/etc/passwd", "/tmp", "not a directory: /tmp is one, /etc/passwd is none"),
        ("/etc/passwd", "/linked", "not a directory: /linked is one, /etc/passwd is none"),
        ("/tmp", "/etc/passwd", "not a directory: /tmp is one, /etc/passwd is none"),
        ("/tmp", "/etc/passwd/below", 'make mountpoint \\"/etc/passwd/below\\": not a directory'),
        ("/tmp", "/sys/new", 'make mountpoint \\"/sys/new\\": read-only file system'),
        ("/etc/passwd", "/sys/new/er", 'make mountpoint \\"/sys/new/er\\": read-only file system'),
        ("/tmp", "/loop/new", 'make mountpoint \\"/loop/new\\": too many levels of symbolic links'),
        ("/tmp", "/" + "n" * 256, '\\": file name too long'),
        ("/etc/passwd", "/proc/1/status", "proc"),
        ("/tmp", "/proc", "proc"),
        ("/tmp", "/proc/sys", "proc"),
        ("", "/mnt", "/mounts/7"),
    ],
)
def test_a_bind_that_cannot_be(source: str, destination: str, words: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["root"]["readonly"] = False
    (box.rootfs / "linked").symlink_to("tmp")
    (box.rootfs / "loop").symlink_to("loop")
    bind(box, source, destination)
    got = box.create()
    if destination == "relative":
        # Deprecated, not forbidden: as if it began with a slash.
        got.ok()
        assert "level=warning" in box.errors() and "relative" in box.errors()
        box.delete().ok()
        return
    one_line(got, 1, words, "/mounts/7")


@pytest.mark.parametrize("destination", ["/..", "/tmp/../..", "/link", "ROOTFS"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_no_way_to_mount_on_the_root(kind: str, destination: str, bundle: MakeBundle) -> None:
    """It would lie over the root unseen, and the container would run without what it was to have."""
    box = bundle("true")
    (box.rootfs / "link").symlink_to("/")
    mount = {"destination": destination.replace("ROOTFS", str(box.rootfs)), "type": kind, "source": "/tmp"}
    box.config["mounts"].append({**mount, "options": ["bind"] if kind == "bind" else []})
    one_line(box.create(), 1, "is on the top of rootfs", "/mounts/7")


def test_mounts_on_a_bind_of_the_root(bundle: MakeBundle) -> None:
    """The same directory as the root's, and yet not the root."""
    box = bundle("ls", "/again")
    (box.path / "source").mkdir()
    (box.path / "source" / "file").touch()
    bind(box, box.rootfs, "/again")
    bind(box, box.path / "source", "/again")
    assert box.run().ok().stdout == "file\n"


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"destination": "/mnt", "type": "nonsense", "source": "x"}, "/mounts/7"),
        ({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["nonsense=1"]}, "nonsense"),
        ({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=nonsense"]}, "size"),
        ({"type": "tmpfs"}, "/mounts/7"),
        ({"destination": 3}, "/mounts/7/destination"),
        ({"destination": "/bin/busybox", "type": "proc", "source": "proc"}, "/bin/busybox"),
    ],
)
def test_a_mount_that_cannot_be(mount: dict[str, Any], words: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["mounts"].append(mount)
    one_line(box.create(), 1, words, "/mounts/7")


def test_proc_on_a_link(bundle: MakeBundle) -> None:
    """CVE-2019-19921, CVE-2023-27561."""
    box = bundle("true")
    (box.rootfs / "proc").rmdir()
    (box.rootfs / "elsewhere").mkdir()
    (box.rootfs / "proc").symlink_to("elsewhere")
    one_line(box.create(), 1, "/proc", "/mounts/0")


# ---- the root, masks ----


def test_a_writable_root(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo x >/made")
    assert box.run().returncode != 0
    box.config["root"]["readonly"] = False
    box.run().ok()
    assert (box.rootfs / "made").read_text() == "x\n"


@pytest.mark.parametrize("user", [False, True])
def test_the_root_keeps_its_mount_s_flags(user: bool, bundle: MakeBundle) -> None:
    """youki 0.6: the read-only remount dropped nosuid and nodev."""
    box = bundle("sleep", "1000")
    if user:
        add_user_namespace(box)
    with own_mounts():
        command("mount", "-t", "tmpfs", "-o", "nosuid,nodev,noatime", "tmpfs", str(box.rootfs))
        make_rootfs(box.rootfs)
        assert mounts_of(running(box))["/"].options >= {"ro", "nosuid", "nodev", "noatime"}
        box.delete("--force").ok()


def test_no_pivot(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.create("--no-pivot").ok()
    box.start().ok()
    root = f"/proc/{box.pid()}/root"
    assert os.stat(root).st_ino == os.stat(box.rootfs).st_ino
    assert box.exec("ls", "/").ok().stdout.split() == sorted(os.listdir(box.rootfs))
    assert box.exec("sh", "-c", "cd /..; ls").ok().stdout.split() == sorted(os.listdir(box.rootfs))


@pytest.mark.parametrize("user", [False, True])
def test_masked_and_readonly_paths(user: bool, bundle: MakeBundle) -> None:
    box = bundle()
    for name in ("secret", "folder/inside", "kept"):
        (box.rootfs / name).parent.mkdir(exist_ok=True)
        (box.rootfs / name).write_text("visible\n")
    (box.rootfs / "locked").mkdir()
    box.config["root"]["readonly"] = False
    if user:
        add_user_namespace(box)
        own(box.rootfs, MAPPED)
    box.config["linux"]["maskedPaths"] = ["/secret", "/folder", "/no/such/path", "/proc/version", "/proc/1/no/such"]
    box.config["linux"]["readonlyPaths"] = ["/locked", "/kept", "/nowhere", "/proc/sys"]
    text = """
    wc -c </secret; ls /folder | wc -l; wc -c </proc/version; cat /kept
    for file in /folder/x /locked/x /kept /proc/sys/kernel/domainname; do
      (echo x >$file) 2>/dev/null && echo wrote $file
    done
    umount /secret 2>/dev/null && echo unmasked
    true
    """
    box.config["process"]["args"] = [script(box, text)]
    assert box.run().ok().stdout == "0\n0\n0\nvisible\n"
    assert (box.rootfs / "secret").read_text() == "visible\n"


def test_a_readonly_path_that_is_the_root(bundle: MakeBundle) -> None:
    box = bundle("/bin/sh", "-c", "touch /file || touch /dev/shm/file && echo there")
    box.config["root"]["readonly"] = False
    box.config["linux"]["readonlyPaths"] = ["/"]
    assert box.run().ok().stdout == "there\n"
    assert not (box.rootfs / "file").exists()


def test_masks_share_one_file_system(container: MakeBundle) -> None:
    """Kubernetes masks directories by the hundred (runc 1.5.0)."""
    box = container("sleep", "1000")
    for number in range(5):
        (box.rootfs / f"folder{number}").mkdir()
    box.config["linux"]["maskedPaths"] = [f"/folder{number}" for number in range(5)]
    pid = running(box)
    devices = {os.stat(f"/proc/{pid}/root/folder{number}").st_dev for number in range(5)}
    assert len(devices) == 1
    assert mounts_of(pid)["/folder3"].options >= {"ro"}


def test_the_host_does_not_see_the_container_s_mounts(container: MakeBundle) -> None:
    box = container("sh", "-c", "mount -t tmpfs tmpfs /tmp && exec sleep 1000")
    for kind in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    before = mounts_of(os.getpid())
    running(box)
    assert mounts_of(os.getpid()).keys() == before.keys()
