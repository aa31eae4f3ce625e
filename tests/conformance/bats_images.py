"""What runc's suite unpacks as root file systems, made of this machine's packages: it would download them.

Two tar archives under the names that it looks for: Debian's static busybox, and bash with what its tests call beside
it. tar reads them whatever their names' endings say.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
#: What the second image holds: a shell, findmnt, ionice, chrt, setpriv, ldconfig.
PACKAGES = ("bash", "coreutils", "grep", "sed", "util-linux", "mount", "libc-bin", "libc6")
#: Of these packages only people and translators read.
NEEDLESS = ("/usr/share/", "/etc/", "/lib/systemd/", "/usr/lib/systemd/")

_PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534::/home:/bin/false\n"
)
_GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"
#: No /proc and no /sys in the first, as in the image that the suite would download: it makes links of its own there.
_FOLDERS = {"dev": 0o755, "etc": 0o755, "home": 0o755, "root": 0o700, "tmp": 0o1777, "usr": 0o755, "var": 0o755}
_MORE = {"mnt": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755}


def make(folder: Path, architecture: str) -> None:
    """Write both archives into the suite's testdata folder. Raises OSError, subprocess.CalledProcessError."""
    with tarfile.open(folder / f"busybox-{architecture}.tar.xz", "w") as tar:
        _common(tar, {**_FOLDERS, "bin": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755})
        tar.add(BUSYBOX, "bin/busybox")
        for applet in subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split():
            if applet != "busybox":
                _link(tar, f"bin/{applet}", tarfile.LNKTYPE, "bin/busybox")
    with tarfile.open(folder / f"debian-{architecture}.tar.xz", "w") as tar:
        _common(tar, {**_FOLDERS, **_MORE, "usr/bin": 0o755, "usr/sbin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755})
        for name in ("bin", "sbin", "lib", "lib64"):
            _link(tar, name, tarfile.SYMTYPE, f"usr/{name}")
        _link(tar, "usr/bin/sh", tarfile.SYMTYPE, "bash")
        for path in sorted(_files()):
            tar.add(path, _merged(path).lstrip("/"), recursive=False)


def _common(tar: tarfile.TarFile, folders: dict[str, int]) -> None:
    for name, mode in sorted(folders.items()):
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        tar.addfile(folder)
    for name, text in (("etc/passwd", _PASSWD), ("etc/group", _GROUP)):
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))


def _link(tar: tarfile.TarFile, name: str, kind: bytes, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    tar.addfile(info)


def _files() -> set[str]:
    """Paths of the packages' programs and libraries, and of the libraries that they need."""
    listed = subprocess.run(["dpkg", "-L", *PACKAGES], check=True, capture_output=True, text=True).stdout.split("\n")
    found = {path for path in listed if path and os.path.lexists(path) and not os.path.isdir(path)}
    found = {path for path in found if not path.startswith(NEEDLESS)}
    programs = [path for path in found if "/bin/" in path or "/sbin/" in path]
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    for library in set(re.findall(r"(?:=> )?(/\S+) \(0x", said)):
        found |= {library, os.path.join(os.path.dirname(library), os.path.basename(os.path.realpath(library)))}
    return found


def _merged(path: str) -> str:
    """Where a path lies once /bin, /sbin and /lib are links to those below /usr, as Debian has them."""
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", path)
