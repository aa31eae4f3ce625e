"""The root file system of the tests' containers."""

import shutil
import subprocess
from pathlib import Path

BUSYBOX = Path("/bin/busybox")


def make_rootfs(where: Path) -> None:
    """A root file system of one static busybox and its names."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var"):
        (where / name).mkdir(parents=True, exist_ok=True)
    (where / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, where / "bin/busybox")
    for name in _applets():
        if name != "busybox":
            (where / "bin" / name).symlink_to("busybox")
    (where / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    (where / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")


_names: list[str] = []


def _applets() -> list[str]:
    if not _names:
        _names.extend(subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split())
    return _names
