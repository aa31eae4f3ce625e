"""The virtual machines' disks: Debian with systemd and pytest, made of Debian's packages.

MAIN has the engines and the other runtimes; SELINUX has a policy instead, since a kernel runs it or AppArmor.
Each is made once and kept below ~/.cache/pyrunc-tests; its name holds a hash of all that goes into it, so a change
makes another one. Needs root (mmdebstrap) and the packages of `tools/packages.sh vm`.
"""

import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .archive import MIRROR, Archive, command
from .machine import DISK_ID


class Release(NamedTuple):
    """A release of Debian: its name, its Python, and what its kernel's file is packed with (magic number, program)."""

    suite: str
    python: str
    packed: tuple[bytes, str]


RELEASES = {
    "bookworm": Release("bookworm", "3.11", (b"\x02\x21\x4c\x18", "lz4")),
    "trixie": Release("trixie", "3.13", (b"\x28\xb5\x2f\xfd", "zstd")),
}
#: Which one the machines have: Debian 12, unless the environment names another.
RELEASE = RELEASES[os.environ.get("PYRUNC_RELEASE") or "bookworm"]
KERNEL = "linux-image-cloud-amd64"

#: What the tests need, and what a user of pyrunc installs.
PACKAGES = (
    # The machine itself.
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "kmod", "util-linux"),
    *("iproute2", "procps", "libcap2-bin", "busybox-static"),
    # What pyrunc needs (tools/packages.sh run), and the tests.
    *(
        "python3",
        "libpython" + RELEASE.python,
        "python3-seccomp",
        "python3-jsonschema",
        "python3-pyroute2",
        "python3-jeepney",
    ),
    "python3-pytest",
)


#: An ordinary user, who may map a range of ids (useradd sees to that).
ADD_USER = ("useradd", "--create-home", "--uid", "1000", "--shell", "/bin/sh", "user")


class Image(NamedTuple):
    """A disk. name: what its folder's begins with. packages: those beside PACKAGES. selinux: with labels and policy."""

    name: str
    packages: tuple[str, ...]
    selinux: bool = False


MAIN = Image(
    "vm",
    (
        *("apparmor", "iptables", "bpftool", "strace", "uidmap"),
        # Engines, and the runtimes to compare with.
        *("podman", "containerd", "netavark", "slirp4netns", "crun", "runc", "criu"),
    ),
)
SELINUX = Image("selinux", ("selinux-policy-default", "policycoreutils", "selinux-utils"), selinux=True)

#: The types that engines give containers, which Debian's policy lacks. Nothing is forbidden them: what a policy does
#: with a label is the kernel's affair.
TYPES = """\
(type container_t)
(roletype system_r container_t)
(typeattributeset cil_gen_require domain)
(typeattributeset domain (container_t))
(typepermissive container_t)
(type container_file_t)
(roletype object_r container_file_t)
(typeattributeset cil_gen_require file_type)
(typeattributeset file_type (container_file_t))
"""

#: Services that a test machine does without.
MASKED = (
    *("getty@tty1.service", "serial-getty@ttyS0.service", "console-getty.service", "getty-static.service"),
    *("getty.target", "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("podman.service", "podman.socket", "podman-auto-update.timer", "podman-auto-update.service"),
    *("podman-restart.service", "containerd.service", "systemd-random-seed.service", "systemd-pstore.service"),
    *("systemd-rfkill.socket", "man-db.timer", "logrotate.timer"),
)

#: A machine's disks by the numbers that QEMU was given for them: from 6.12 on the kernel numbers them as it finds them.
LINKS = "for disk in /sys/block/nvme*n*; do ln -s $${disk##*/} /dev/disk-$$(cat $$disk/nsid); done"
#: The one thing the machine does: run the job on the second disk, then power off. Every line of it may fail.
UNIT = f"""\
[Unit]
Description=The tests
After=multi-user.target dbus.socket
FailureAction=poweroff-force
SuccessAction=poweroff-force

[Service]
Type=exec
Delegate=yes
TimeoutStopSec=5
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStart=/bin/sh -c '{LINKS}; mkdir -p /job && mount -o ro /dev/disk-2 /job && exec sh /job/start'

[Install]
WantedBy=multi-user.target
"""

SIZE = "2000M"
CACHE = Path("~/.cache/pyrunc-tests").expanduser()

#: An image that nobody has used for so long was one of an earlier description, in seconds.
_STALE = 86400.0


def folder(image: Image) -> Path:
    """Where the image for this description is, or will be."""
    return named(image.name, repr((RELEASE, PACKAGES, image)), Path(__file__))


def named(name: str, facts: str, *sources: Path) -> Path:
    """The folder of what is made by these sources of these facts."""
    content = facts.encode() + b"".join(path.read_bytes() for path in sources)
    return CACHE / (name + "-" + hashlib.sha256(content).hexdigest()[:16])


def make(image: Image = MAIN) -> Path:
    """The folder with the `kernel` and `root.ext4`, made now if need be. Raises OSError, CalledProcessError."""
    return made(folder(image), lambda place: _build(image, place))


def made(place: Path, build: Callable[[Path], None]) -> Path:
    """What `build` puts into the folder, made now unless it is there. Old ones of other descriptions are removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.parent):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            for old in place.parent.glob(place.name.rpartition("-")[0] + "-*"):
                if time.time() - old.stat().st_mtime > _STALE:
                    shutil.rmtree(old)
            place.mkdir()
            build(place)
            (place / "complete").touch()
        os.utime(place)
    return place


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One build at a time."""
    with open(cache / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(image: Image, place: Path) -> None:
    root = place / "rootfs"
    packages = CACHE / ("debs" if RELEASE.suite == "bookworm" else f"debs-{RELEASE.suite}")
    packages.mkdir(exist_ok=True)
    archives = '"$1"/var/cache/apt/archives'
    command(
        *(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--format=directory",
            "--include=" + ",".join(PACKAGES + image.packages),
        ),
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--skip=download/empty", "--skip=essential/unlink"),
        *("--skip=cleanup/apt", "--skip=cleanup/tmp"),
        # What was downloaded once is not downloaded again.
        f"--setup-hook=mkdir -p {archives}; cp -n {packages}/*.deb {archives}/ 2>/dev/null || :",
        f"--customize-hook=cp -n {archives}/*.deb {packages}/ 2>/dev/null || :; rm -rf {archives}/*.deb",
        *(RELEASE.suite, str(root), MIRROR),
    )
    _kernel(place, root, packages)
    configure(root)
    command("chroot", str(root), *ADD_USER)
    if image.selinux:
        _label(root)
    write_disk(root, place / "root.ext4", SIZE)
    shutil.rmtree(root)


def write_disk(root: Path, disk: Path, size: str) -> None:
    """A disk with one partition, whose file system has the content of a folder. machine.py names it by DISK_ID."""
    megabytes = int(size.removesuffix("M"))
    with disk.open("wb") as file:
        file.write(_partition_table(megabytes))
        file.truncate(megabytes + 1 << 20)
    extended = f"lazy_itable_init=1,offset={1 << 20}"
    command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", extended, "-d", str(root), str(disk), size)


def _partition_table(megabytes: int) -> bytes:
    """As PCs have had it since 1983: from the second megabyte on, one of Linux's."""
    entry = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 2048, megabytes * 2048)
    return struct.pack("<440sIH16s48sH", b"", DISK_ID, 0, entry, b"", 0xAA55)


def _kernel(place: Path, root: Path, packages: Path) -> None:
    """Debian's kernel for clouds: NVMe and ext4 are built in, so it needs no initial RAM disk.

    QEMU starts an uncompressed kernel at once; the emulated processor would take a second to unpack it.
    """
    release, package = Archive(RELEASE.suite, "amd64", place / "apt").kernel(KERNEL, packages)
    shutil.rmtree(place / "apt")
    unpacked = unpack_kernel(package, release, root)
    image = (unpacked / "boot" / ("vmlinuz-" + release)).read_bytes()
    # The payload begins with the magic number; what follows it is no error.
    magic, program = RELEASE.packed
    start = image.index(magic)
    done = subprocess.run([program, "-dc"], input=image[start:], capture_output=True, check=False)
    if not done.stdout.startswith(b"\x7fELF"):
        raise ValueError(f"{package}: no kernel in it that is packed with {program}")
    (place / "kernel").write_bytes(done.stdout)
    shutil.rmtree(unpacked)


def unpack_kernel(package: Path, release: str, root: Path) -> Path:
    """The modules go to the root file system; the rest is in the folder that is returned."""
    unpacked = root.with_name("unpacked")
    command("dpkg-deb", "-x", str(package), str(unpacked))
    modules = unpacked / ("usr/lib/modules" if (unpacked / "usr/lib/modules").exists() else "lib/modules")
    shutil.copytree(modules, root / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
    command("depmod", "-b", str(root), release)
    return unpacked


def configure(root: Path) -> None:
    """What systemd starts, and an ordinary user's manager that runs without a login."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "tests.service").write_text(UNIT)
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "tests.service").symlink_to("../tests.service")
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (root / "etc/fstab").write_text("")
    (root / "etc/hostname").write_text("pyrunc-vm\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    shutil.rmtree(root / "var/log/journal", ignore_errors=True)
    linger = root / "var/lib/systemd/linger"
    linger.mkdir(parents=True, exist_ok=True)
    (linger / "user").touch()


def _label(root: Path) -> None:
    """Put the policy in force, without enforcing it, and a label on every file."""
    (root / "etc/selinux/config").write_text("SELINUX=permissive\nSELINUXTYPE=default\n")
    (root / "root/types.cil").write_text(TYPES)
    contexts = "/etc/selinux/default/contexts/files/file_contexts"
    # setfiles(8) reads /proc/mounts. The mount is in a namespace of its own, and so gone whatever happens.
    script = f"""set -e
        mount -t proc proc "$0/proc"
        chroot "$0" semodule -n -i /root/types.cil
        chroot "$0" setfiles -F -e /proc {contexts} /"""
    command("unshare", "--mount", "sh", "-c", script, str(root))


if __name__ == "__main__":
    for each in (MAIN, SELINUX):
        print(make(each))
