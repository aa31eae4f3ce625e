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

PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "lz4", "depmod")
MEMORY = "2048"
PROCESSORS = "2"
#: The disk for the tests, which they find as /dev/nvme0n4.
SCRATCH = 64 << 20
_RESULTS = 64 << 20

_APPEND = "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 mitigations=off nokaslr systemd.show_status=0"
#: Which cgroups systemd makes: v2 alone, or the controllers as v1 and its own tree as v2 ("hybrid").
UNIFIED = "systemd.unified_cgroup_hierarchy=1"
HYBRID = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0"


class Failure(Exception):
    """The machine itself failed: it did not boot, hung, or left no results. console: what it wrote."""

    def __init__(self, what: str, console: str) -> None:
        super().__init__(what + "\n" + "\n".join(console.splitlines()[-40:]))


def missing() -> str:
    """Why no machine can be started here, "" when it can."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return "no " + ", ".join(absent) if absent else ""


def boot(image: Path, job: Path, results: Path, timeout: float, words: str = UNIFIED) -> str:
    """Run job/start in the machine; the files that it leaves in /results come back. Returns the console's text.

    job/start runs as root from a read-only file system, /job. words: more for the kernel's command line.
    Raises Failure.
    """
    with tempfile.TemporaryDirectory(prefix="pyrunc-vm-", dir="/var/tmp") as folder:
        disks = Path(folder)
        _file_system(job, disks / "job")
        for name, size in (("results", _RESULTS), ("scratch", SCRATCH)):
            with (disks / name).open("wb") as file:
                file.truncate(size)
        console = _run(image, disks, timeout, words)
        try:
            with tarfile.open(disks / "results", "r:") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None:
                        (results / Path(member.name).name).write_bytes(content.read())
        except (tarfile.TarError, OSError) as error:
            raise Failure(f"no results: {error}", console) from error
    return console


def _file_system(tree: Path, disk: Path) -> None:
    used = subprocess.run(["du", "-sm", tree], stdout=subprocess.PIPE, text=True, check=True).stdout
    with disk.open("wb") as file:
        file.truncate((int(used.split()[0]) * 5 // 4 + 16) << 20)
    mke2fs = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk], check=True)


def _run(image: Path, disks: Path, timeout: float, words: str) -> str:
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-M", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "Nehalem"]
    argv += ["-smp", PROCESSORS, "-m", MEMORY, "-kernel", str(image / "vmlinux"), "-append", f"{_APPEND} {words}"]
    argv += ["-device", "nvme,id=nvme,serial=pyrunc"]
    for number, (file, options) in enumerate(
        (
            (image / "root.ext4", "snapshot=on,cache=unsafe"),
            (disks / "job", "readonly=on"),
            (disks / "results", "cache=unsafe"),
            (disks / "scratch", "cache=unsafe"),
        ),
        1,
    ):
        argv += ["-drive", f"if=none,id=disk{number},file={file},format=raw,{options}"]
        argv += ["-device", f"nvme-ns,drive=disk{number},bus=nvme,nsid={number}"]
    argv += ["-serial", "stdio"]
    console = disks / "console"
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
