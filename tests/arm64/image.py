"""The arm64 machine's disk: Debian with systemd, pytest and a compiler.

debootstrap fetches and unpacks the packages here; what they do when they are configured runs in the machine itself, as
its first process. So nothing here needs to know how to run programs for arm64. Made once, in ten minutes, and kept as
the other machines' disks are. Needs root and the packages of `tools/packages.sh arm64`.
"""

import shutil
from pathlib import Path

from ..vm import image, machine
from ..vm.archive import MIRROR, Archive, command

SUITE = "bookworm"
PYTHON = "3.11"
KERNEL = "linux-image-cloud-arm64"
SIZE = "3000M"
PACKAGES = (
    *image.PACKAGES,
    # To build, and for the tests.
    *("make", "git", "gcc", "libc6-dev", f"libpython{PYTHON}-dev", "python3-venv", "python3-hypothesis"),
    *("ca-certificates", "strace", "uidmap", "bpftool", "iptables"),
)
#: Seconds for the second stage.
PATIENCE = 5400.0

_DPKG = """\
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
force-unsafe-io
"""
_STAGE2 = f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -o remount,rw /
/debootstrap/debootstrap --second-stage && {" ".join(image.ADD_USER)} && done=yes
[ "$done" ] && echo the second stage is complete || tail -n 50 /debootstrap/debootstrap.log
rm -rf /var/cache/apt/archives/*.deb
# Read-only, whoever still has a file open, and off.
for key in s u o; do
    echo $key >/proc/sysrq-trigger
    sleep 5
done
sleep 60
"""


def make() -> Path:
    """The folder with the `kernel` and `root.ext4`, made if need be. Raises OSError, CalledProcessError, Failure."""
    facts = repr((PACKAGES, image.MASKED, image.UNIT, image.ADD_USER))
    return image.made(image.named("arm64", facts, Path(__file__)), _build)


def _build(place: Path) -> None:
    root, packages = place / "rootfs", image.CACHE / "debs-arm64"
    packages.mkdir(exist_ok=True)
    _first_stage(root, packages)
    _kernel(place, root, packages)
    image.write_disk(root, place / "root.ext4", SIZE)
    shutil.rmtree(root)
    disks = [(place / "root.ext4", "cache=unsafe")]
    argv = machine.command_line(machine.ARM64, place / "kernel", disks, "init=/second-stage")
    console = machine.run(argv, place / "console", PATIENCE)
    if "the second stage is complete" not in console:
        raise machine.Failure("the second stage of debootstrap failed", console)


def _first_stage(root: Path, packages: Path) -> None:
    argv = ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", f"--cache-dir={packages}"]
    argv += ["--include=" + ",".join(PACKAGES), SUITE, str(root), MIRROR]
    # It mounts in there, where nobody else sees it.
    command("unshare", "--mount", "--propagation", "private", *argv)
    for name in ("proc", "sys"):
        if (root / name).is_symlink():
            (root / name).unlink()
            (root / name).mkdir()
    settings = root / "etc/dpkg/dpkg.cfg.d"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "tests").write_text(_DPKG)
    image.configure(root)
    (root / "second-stage").write_text(_STAGE2)
    (root / "second-stage").chmod(0o755)


def _kernel(place: Path, root: Path, packages: Path) -> None:
    """Debian's for clouds, which the machine's loader takes as it is."""
    release, package = Archive(SUITE, "arm64", place / "apt").kernel(KERNEL, packages)
    shutil.rmtree(place / "apt")
    unpacked = image.unpack_kernel(package, release, root)
    (unpacked / f"boot/vmlinuz-{release}").rename(place / "kernel")
    shutil.rmtree(unpacked)


if __name__ == "__main__":
    print(make())
