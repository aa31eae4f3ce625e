"""The virtual machines' disks: Debian with systemd and pytest, made of Debian's packages.

MAIN has the engines and the other runtimes; SELINUX has a policy instead, since a kernel runs it or AppArmor.
Each is made once and kept below ~/.cache/pyrunc-tests; its name holds a hash of all that goes into it, so a change
makes another one. Needs root (mmdebstrap) and the packages of `tools/packages.sh vm`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SUITE = "bookworm"
KERNEL = "linux-image-cloud-amd64"

#: What the tests need, and what a user of pyrunc installs.
PACKAGES = (
    # The machine itself.
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "kmod", "util-linux"),
    *("iproute2", "procps", "libcap2-bin", "busybox-static"),
    # What pyrunc needs (tools/packages.sh run), and the tests.
    *("python3", "libpython3.11", "python3-seccomp", "python3-jsonschema", "python3-pyroute2", "python3-jeepney"),
    "python3-pytest",
)


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

#: The one thing the machine does: run the job on the second disk, then power off. Every line of it may fail.
UNIT = """\
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
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'mkdir -p /job && mount -o ro /dev/nvme0n2 /job && exec sh /job/start'

[Install]
WantedBy=multi-user.target
"""

SIZE = "1500M"
_CACHE = Path("~/.cache/pyrunc-tests").expanduser()


#: An image that nobody has used for so long was one of an earlier description, in seconds.
_STALE = 86400.0


def folder(image: Image) -> Path:
    """Where the image for this description is, or will be."""
    facts = repr((SUITE, KERNEL, PACKAGES, image, MASKED, UNIT, SIZE, Path(__file__).read_bytes()))
    return _CACHE / (image.name + "-" + hashlib.sha256(facts.encode()).hexdigest()[:16])


def make(image: Image = MAIN) -> Path:
    """The folder with `vmlinux` and `root.ext4`, made now if need be. Raises OSError, CalledProcessError."""
    place = folder(image)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.parent):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            for old in place.parent.glob(image.name + "-*"):
                if time.time() - old.stat().st_mtime > _STALE:
                    shutil.rmtree(old)
            place.mkdir()
            _build(image, place)
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
    packages = _CACHE / "debs"
    packages.mkdir(exist_ok=True)
    archives = '"$1"/var/cache/apt/archives'
    _command(
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
        *(SUITE, str(root)),
    )
    _kernel(place, root, packages)
    _configure(root)
    if image.selinux:
        _label(root)
    disk = place / "root.ext4"
    with disk.open("wb") as file:
        file.truncate(int(SIZE.removesuffix("M")) << 20)
    _command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-d", str(root), str(disk))
    shutil.rmtree(root)


def _kernel(place: Path, root: Path, packages: Path) -> None:
    """Debian's kernel for clouds: NVMe and ext4 are built in, so it needs no initial RAM disk.

    QEMU starts an uncompressed kernel at once; the emulated processor would take a second to unpack it.
    """
    depends = _command("apt-cache", "depends", KERNEL)
    name = next(word for word in depends.split() if word.startswith("linux-image-"[:12]) and word != KERNEL)
    if not list(packages.glob(name + "_*.deb")):
        _command("apt-get", "download", name, cwd=packages)
    (package,) = packages.glob(name + "_*.deb")
    unpacked = place / "kernel"
    _command("dpkg-deb", "-x", str(package), str(unpacked))
    release = name.removeprefix("linux-image-")
    shutil.copytree(unpacked / "lib/modules", root / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
    _command("depmod", "-b", str(root), release)
    image = (unpacked / "boot" / ("vmlinuz-" + release)).read_bytes()
    # The payload begins with the magic number of LZ4's old format; what follows it is no error.
    start = image.index(b"\x02\x21\x4c\x18")
    done = subprocess.run(["lz4", "-dc"], input=image[start:], capture_output=True, check=False)
    if not done.stdout.startswith(b"\x7fELF"):
        raise ValueError(f"{package}: no kernel in it that is packed with LZ4")
    (place / "vmlinux").write_bytes(done.stdout)
    shutil.rmtree(unpacked)


def _configure(root: Path) -> None:
    units = root / "etc/systemd/system"
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
    # An ordinary user, whose manager runs without a login, and who may map a range of ids (useradd sees to that).
    _command("chroot", str(root), "useradd", "--create-home", "--uid", "1000", "--shell", "/bin/sh", "user")
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
    _command("unshare", "--mount", "sh", "-c", script, str(root))


def _command(*argv: str, cwd: Path | None = None) -> str:
    """Run a program that must succeed; its output. Raises CalledProcessError with all that it said."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
    return done.stdout


if __name__ == "__main__":
    for each in (MAIN, SELINUX):
        print(make(each))
