"""Files of the image that a runtime could come to read, load or wait for; and a procfs that is not one."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.containers import running, script
from tests.support.mounts import bind
from tests.support.namespaces import add_user_namespace
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

from .inside import Opens, without_mount

#: What the dynamic loader, libc's name services, its character sets and Python look for.
LIBRARIES = [
    "etc/nsswitch.conf", "etc/ld.so.preload", "etc/ld.so.cache", "etc/localtime", "etc/host.conf", "etc/resolv.conf",
    "lib/libnss_files.so.2", "lib/libnss_evil.so.2", "lib/libc.so.6", "usr/lib/gconv/gconv-modules",
    "usr/lib/locale/locale-archive", "usr/share/locale/locale.alias", "bin/newuidmap", "usr/bin/newuidmap",
]  # fmt: skip


def hostile(box: Bundle) -> list[Path]:
    """Fill the rootfs with what nobody must open; the paths."""
    triplet = f"{os.uname().machine}-linux-gnu"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    names = list(LIBRARIES)
    for folder in (f"lib/{triplet}", f"usr/lib/{triplet}"):
        names += [f"{folder}/{name}" for name in ("libc.so.6", "libnss_files.so.2", f"lib{version}.so.1.0")]
        names += [f"{folder}/{name}" for name in ("libseccomp.so.2", "libm.so.6", "libz.so.1")]
    names += [f"usr/lib/{version}/{name}" for name in ("os.py", "encodings/__init__.py", "encodings/ascii.py")]
    names += [
        f"usr/lib/{version}/lib-dynload/{path.name}" for path in Path(f"/usr/lib/{version}/lib-dynload").glob("_j*")
    ]
    names += ["usr/local/lib/pyrunc.py", "pyrunc/__init__.py", "usr/lib/python3/dist-packages/pyrunc/__init__.py"]
    names += [str(path.relative_to("/")) for path in TOP.glob("pyrunc/*.py")]
    for name in names:
        path = box.rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("passwd: evil\n" if name == "etc/nsswitch.conf" else "not to be opened\n")
        path.chmod(0o755)
    return [box.rootfs / name for name in names]


@pytest.fixture
def opens() -> Iterator[list[Opens]]:
    made: list[Opens] = []
    yield made
    for one in made:
        one.close()


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_libraries_and_name_services(user: bool, bundle: MakeBundle, opens: list[Opens]) -> None:
    """CVE-2019-14271: not one of them is opened, by a create, exec or delete that uses all that there is to use."""
    box = bundle("sleep", "1000")
    if user:
        add_user_namespace(box)
    else:
        box.config["process"]["terminal"] = False
    paths = hostile(box)
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 6]}
    box.config["process"]["cwd"] = "/etc"
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "chmod"], "action": "SCMP_ACT_ERRNO"}],
    }
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.config["hooks"] = {"startContainer": [{"path": script(box, "exit 0\n", "hook")}]}
    opens.append(Opens([*paths, box.rootfs / "etc/passwd", box.rootfs / "bin/busybox"]))
    running(box)
    box.exec("--user", "1000:1000", "true").ok()
    box.exec("--user", "77", "--tty", "true", stdin=b"").ok()
    # What fails says why, which is when tracebacks and locales would be looked for.
    assert box.exec("--user", "1000", "/etc/nothing").returncode == 255
    assert box.exec("--cwd", "/nowhere", "true").returncode == 255
    box.delete("--force").ok()
    # The two that have to be opened prove that opening is seen.
    assert opens[0].names_opened() == {"passwd", "busybox"}


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (64 << 20, 64 << 20))


@pytest.mark.parametrize("kind", ["huge-line", "huge", "fifo", "folder", "device", "zero", "proc", "terminal", "loop"])
def test_the_users_file(kind: str, container: MakeBundle, workplace: Workplace) -> None:
    """CVE-2026-61801 and what else may stand at /etc/passwd: it is read up to a limit, once, and not waited for."""
    box = container("sh", "-c", "echo HOME=$HOME; exec sleep 1000")
    box.config["process"]["env"] = ["PATH=/bin"]
    passwd = box.rootfs / "etc/passwd"
    passwd.unlink()
    if kind == "huge-line":
        with open(passwd, "wb") as file:
            file.write(b"root:x:0:0:")
            file.truncate(8 << 30)
    elif kind == "huge":
        passwd.write_text("".join(f"user{number}:x:{number + 5}:0::/:/bin/sh\n" for number in range(200000)))
    elif kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "folder":
        passwd.mkdir()
    elif kind == "device":
        os.mknod(passwd, 0o020666, os.makedev(1, 9))
    elif kind == "terminal":
        os.mknod(passwd, 0o020666, os.makedev(5, 0))
    else:
        passwd.symlink_to({"zero": "/dev/zero", "proc": "/proc/self/fd/0", "loop": "passwd"}[kind])
    box.run("--detach", timeout=20).ok()
    wait_until(lambda: box.output() != "", "the program has told")
    assert box.output() == "HOME=/\n"
    call = box.place.spawn("exec", box.id, "sh", "-c", "echo $HOME", stdout=subprocess.PIPE, preexec_fn=little_memory)
    assert call.communicate(timeout=20)[0] == b"/\n" and call.returncode == 0


def test_a_home_of_the_image_s(bundle: MakeBundle) -> None:
    """It is taken from the line of the user's number, whatever the others say."""
    box = bundle("sh", "-c", "echo $HOME")
    (box.rootfs / "etc/passwd").write_text("a:x:10000:0::/wrong:\nb:x:1000 :0::/wrong:\nc:x:1000:0::/right:/bin/sh\n")
    box.config["process"]["user"] = {"uid": 1000, "gid": 0}
    box.config["process"]["env"] = ["PATH=/bin"]
    assert box.run().ok().stdout == "/right\n"


@pytest.mark.parametrize("shape", ["files", "links"])
def test_writes_to_a_procfs_that_is_none(shape: str, container: MakeBundle, workplace: Workplace) -> None:
    """CVE-2019-16884, CVE-2025-52881, CVE-2025-62596: values for the kernel reach the kernel, and nothing else."""
    box = container("sleep", "1000")
    without_mount(box, "/proc")
    box.config["linux"].pop("maskedPaths")
    box.config["linux"].pop("readonlyPaths")
    decoy = workplace.path / "decoy"
    decoy.write_text("as it was")
    name = "proc/sys/net/ipv4/ip_forward"
    for path in (name, "proc/self/attr/exec", "proc/self/attr/apparmor/exec", "proc/self/oom_score_adj"):
        (box.rootfs / path).parent.mkdir(parents=True, exist_ok=True)
        if shape == "files":
            (box.rootfs / path).write_text("as it was")
        else:
            (box.rootfs / path).symlink_to(decoy)
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.domainname": "of-the-container"}
    box.config["process"]["oomScoreAdj"] = 777
    pid = running(box)
    assert decoy.read_text() == "as it was"
    assert (box.rootfs / name).read_text() == "as it was"
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "777\n"
    value = subprocess.run(["nsenter", "-n", "-t", str(pid), "cat", "/" + name], capture_output=True, check=True).stdout
    assert value == b"1\n"


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize("where", ["/proc", "/link", "/proc/sys", "/link/self/attr", "/link/sys/net/ipv4/ip_forward"])
def test_nothing_covers_a_part_of_proc(where: str, kind: str, bundle: MakeBundle, workplace: Workplace) -> None:
    """CVE-2019-16884: a volume of the image's at /proc, also where a link leads there."""
    volume = workplace.path / "volume"
    if where.endswith("forward"):
        volume.write_text("0")
    else:
        volume.mkdir()
    box = bundle("true")
    (box.rootfs / "link").symlink_to("proc")
    if kind == "bind":
        bind(box, volume, where)
    else:
        box.config["mounts"].append({"destination": where, "type": "tmpfs", "source": "tmpfs"})
    done = box.run()
    assert done.returncode == 1 and where in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "sysfs"])
@pytest.mark.parametrize("where", ["/proc", "/link", "/proc/../link/.", "/link/sys", "/away", "/proc/."])
def test_nothing_stands_in_for_proc(where: str, kind: str, bundle: MakeBundle, workplace: Workplace) -> None:
    """CVE-2019-16884: an engine mounts the image's volume at /proc instead of the procfs, before or after it."""
    volume = workplace.path / "volume"
    (volume / "self/attr").mkdir(parents=True)
    mount = {"destination": where, "type": kind, "source": str(volume), "options": ["bind"] if kind == "bind" else []}
    for also in (False, True):
        box = bundle("true")
        (box.rootfs / "link").symlink_to("/away/../proc")
        (box.rootfs / "away").mkdir()
        proc = box.config["mounts"].pop(0)
        assert proc["destination"] == "/proc"
        # Before: where a procfs comes on top later, what is below it counts for nothing; it is refused all the same.
        box.config["mounts"].insert(0, mount)
        if also:
            box.config["mounts"].insert(1, proc)
        done = box.create()
        if where == "/away":  # which is none of it
            done.ok()
            box.delete().ok()
        else:
            one_line(done, 1, "cannot be mounted because it is " if kind != "sysfs" else "", "/mounts/0")


@pytest.mark.parametrize("user", [False, True])
def test_a_procfs_may_stand_in_for_proc(user: bool, bundle: MakeBundle) -> None:
    """As runc takes it: podman binds the host's for a container in the host's pid namespace."""
    box = bundle("sh", "-c", "cat /proc/self/comm")
    if user:
        add_user_namespace(box)
    without_mount(box, "/proc")
    box.config["linux"]["namespaces"] = [one for one in box.config["linux"]["namespaces"] if one["type"] != "pid"]
    bind(box, "/proc", "/proc", "rbind")
    assert box.run().ok().stdout == "cat\n"


def test_a_procfs_that_is_mounted_over(workplace: Workplace) -> None:
    """Where the kernel gives no new procfs the caller's is copied; what is mounted on it is not written to."""
    code = f"""
import errno, os, posix, sys
sys.path.insert(0, {str(TOP)!r})
from pyrunc import _linux
from pyrunc.linux import mounts, procfs
_linux.unshare(_linux.CLONE_NEWNS | _linux.CLONE_NEWUTS)
_linux.mount(None, "/", None, _linux.MS_REC | _linux.MS_PRIVATE, None)
decoy = {str(workplace.path / "decoy")!r}
open(decoy, "w").write("as it was")
_linux.mount(decoy, "/proc/sys/kernel/domainname", None, _linux.MS_BIND, None)
_linux.mount("tmpfs", "/proc/self/attr", "tmpfs", 0, None)
open("/proc/self/attr/exec", "w").write("as it was")
fd = mounts.clone(-100, "/proc", recursive=True)
own = procfs.self_name(fd)
for path in ("sys/kernel/domainname", own + "/attr/exec", "self/oom_score_adj", own + "/root/" + decoy, "../" + decoy):
    try:
        procfs.write(fd, path, b"1")
    except OSError as error:
        assert error.errno in (errno.EXDEV, errno.ELOOP, errno.ENOENT), (path, error)
    else:
        raise SystemExit("written: " + path)
procfs.write(fd, own + "/oom_score_adj", b"1")
assert open(decoy).read() == open("/proc/self/attr/exec").read() == "as it was"
# And one of its own is not affected at all.
private = procfs.open_private(full=True)
procfs.write(private, "sys/kernel/domainname", b"ours")
assert posix.uname().machine and open(decoy).read() == "as it was"
"""
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    subprocess.run([python, "-I", "-c", code], check=True, timeout=60)
