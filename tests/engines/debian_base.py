"""The Debian that Dockerfile.test builds on, made with debootstrap: a compiler, headers, pytest and the libraries.

Made once and kept below ~/.cache/pyrunc-tests, as a tar archive; its name holds a hash of all that goes into it.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import TOP

#: The suite of the machine that makes it, so that what tools/packages.sh names exists there by that name.
SUITE = platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")
TESTS = ("make", "python3", "python3-pytest", "python3-hypothesis")
#: What only people read, and what only apt and debootstrap want.
NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists", "var/cache/apt", "debootstrap")
_CACHE = Path("~/.cache/pyrunc-tests").expanduser()


def packages() -> list[str]:
    """What the build and the unit tests need."""
    argv = [str(TOP / "tools/packages.sh"), "--names", "build", "run", "demo"]
    return [*TESTS, *subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()]


def make() -> Path:
    """The archive, made now if need be. Raises OSError, CalledProcessError."""
    facts = repr((SUITE, packages(), NEEDLESS))
    archive = _CACHE / f"base-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.tar"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / "base.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            for old in _CACHE.glob("base-*.tar"):
                old.unlink()
            with tempfile.TemporaryDirectory(prefix="base-", dir=_CACHE) as folder:
                _build(Path(folder, "root"), Path(folder, "base.tar"))
                Path(folder, "base.tar").rename(archive)
    return archive


def _build(root: Path, archive: Path) -> None:
    with open(archive.with_name("log"), "w+") as log:
        argv = ["debootstrap", "--variant=minbase", "--include=" + ",".join(packages()), SUITE, str(root)]
        environment = {**os.environ, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, check=False)
        if done.returncode:
            log.seek(0)
            raise subprocess.CalledProcessError(done.returncode, argv, stderr=log.read()[-4000:])
    for name in NEEDLESS:
        shutil.rmtree(root / name, ignore_errors=True)
    subprocess.run(["tar", "-C", root, "--one-file-system", "-cf", archive, "."], check=True)
