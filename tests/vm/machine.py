"""Boot the virtual machine of image.py on a folder of files, and bring back what it leaves.

QEMU emulates the processor: no /dev/kvm is needed, and everything takes 10 to 20 times as long.
One NVMe controller carries four disks: the image (writes are thrown away), the job (read-only), the results (a tar
written raw), and a small empty one for the tests.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """What is emulated. program: QEMU's; words: machine and processor; console: the serial line's name there."""

    program: str
    words: tuple[str, ...]
    console: str


AMD64 = Kind("qemu-system-x86_64", ("-M", "q35", "-cpu", "Nehalem"), "ttyS0")
ARM64 = Kind("qemu-system-aarch64", ("-M", "virt,gic-version=3", "-cpu", "cortex-a72"), "ttyAMA0")

#: What makes a machine's disks, beside QEMU.
PROGRAMS = ("mmdebstrap", "mke2fs", "lz4", "zstd", "depmod")
MEMORY = "2048"
PROCESSORS = "2"
#: The disk for the tests, which they find as /dev/disk-4.
SCRATCH = 64 << 20
_RESULTS = 64 << 20

#: Of the first disk, in its partition table: which number the kernel gives a disk is chance from 6.12 on.
DISK_ID = 0x70797275
_APPEND = f"root=PARTUUID={DISK_ID:08x}-01 rootwait rw quiet panic=-1 mitigations=off nokaslr systemd.show_status=0"
#: Which cgroups systemd makes: v2 alone, or the controllers as v1 and its own tree as v2 ("hybrid").
UNIFIED = "systemd.unified_cgroup_hierarchy=1"
HYBRID = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0"


class Failure(Exception):
    """The machine itself failed: it did not boot, hung, or left no results. console: what it wrote."""

    def __init__(self, what: str, console: str) -> None:
        super().__init__(what + "\n" + "\n".join(console.splitlines()[-40:]))


def missing(kind: Kind = AMD64, programs: tuple[str, ...] = PROGRAMS) -> str:
    """Why no machine can be started here, "" when it can."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    absent = [name for name in (kind.program, *programs) if shutil.which(name, path=path) is None]
    return "no " + ", ".join(absent) if absent else ""


def boot(
    image: Path,
    job: Path,
    results: Path,
    timeout: float,
    words: str = UNIFIED,
    kind: Kind = AMD64,
    console: Path | None = None,
) -> str:
    """Run job/start in the machine; the files that it leaves in /results come back. Returns the console's text.

    job/start runs as root from a read-only file system, /job. words: more for the kernel's command line. console: where
    its text is written as it comes.
    Raises Failure.
    """
    with tempfile.TemporaryDirectory(prefix="pyrunc-vm-", dir="/var/tmp") as folder:
        disks = Path(folder)
        _file_system(job, disks / "job")
        for name, size in (("results", _RESULTS), ("scratch", SCRATCH)):
            with (disks / name).open("wb") as file:
                file.truncate(size)
        argv = command_line(kind, image / "kernel", _disks(image, disks), words)
        text = run(argv, console or disks / "console", timeout)
        try:
            with tarfile.open(disks / "results", "r:") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None:
                        (results / Path(member.name).name).write_bytes(content.read())
        except (tarfile.TarError, OSError) as error:
            raise Failure(f"no results: {error}", text) from error
    return text


def _file_system(tree: Path, disk: Path) -> None:
    used = subprocess.run(["du", "-sm", tree], stdout=subprocess.PIPE, text=True, check=True).stdout
    with disk.open("wb") as file:
        file.truncate((int(used.split()[0]) * 5 // 4 + 16) << 20)
    mke2fs = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk], check=True)


def _disks(image: Path, disks: Path) -> list[tuple[Path, str]]:
    """Each file, and how QEMU opens it."""
    return [
        (image / "root.ext4", "snapshot=on,cache=unsafe"),
        (disks / "job", "readonly=on"),
        (disks / "results", "cache=unsafe"),
        (disks / "scratch", "cache=unsafe"),
    ]


def command_line(kind: Kind, kernel: Path, disks: list[tuple[Path, str]], words: str) -> list[str]:
    """QEMU's arguments for a machine with these disks. words: the kernel's, beside those that every machine gets."""
    append = f"{_APPEND} console={kind.console} {words}"
    argv = [kind.program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *kind.words]
    argv += ["-accel", "tcg,thread=multi,tb-size=1024", "-smp", PROCESSORS, "-m", MEMORY]
    argv += ["-kernel", str(kernel), "-append", append, "-device", "nvme,id=nvme,serial=pyrunc"]
    for number, (file, options) in enumerate(disks, 1):
        argv += ["-drive", f"if=none,id=disk{number},file={file},format=raw,{options}"]
        argv += ["-device", f"nvme-ns,drive=disk{number},bus=nvme,nsid={number}"]
    return [*argv, "-serial", "stdio"]


def run(argv: list[str], console: Path, timeout: float) -> str:
    """Run a machine until it powers itself off; its console's text, which is in the file too. Raises Failure."""
    with console.open("wb") as output:
        machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = machine.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if machine.poll() is None:
                machine.kill()
                machine.wait()
    text = console.read_text(errors="replace")
    if status is None:
        raise Failure(f"the machine did not end within {timeout:.0f} s", text)
    if status:
        raise Failure(f"QEMU ended with status {status}", text)
    return text
