"""Another release of Debian as a host: a tree by debootstrap, made once, and processes that have nothing else.

Trees are kept below ~/.cache/pyrunc-tests/hosts and never written to: a host's root is an overlay on one, whose upper
part is a tmpfs, in mount and pid namespaces of its own (init.sh). When its first process ends, the kernel takes it
back. The kernel, the network and the cgroups are the machine's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from tests.support import TOP

#: Release, and what its Python is. The last one moves on by itself; the mirror says to what.
SUITES = ("bookworm", "trixie", "testing")
#: What a minimal Debian lacks of what somebody has who has come to a source tree.
INCLUDED = "make,git,ca-certificates"
MIRROR = os.environ.get("PYRUNC_MIRROR", "http://deb.debian.org/debian")
#: Parent of the containers' cgroups, which are the machine's.
CGROUP = f"/pyrunc-test-hosts-{os.getpid()}"
#: `make test` tries one release in full and the others in short; `make test-hosts` all in full.
FULL = SUITES if os.environ.get("PYRUNC_HOSTS") == "all" else ("trixie",)
_CACHE = Path("~/.cache/pyrunc-tests/hosts").expanduser()
#: Seconds that one command may take. Generous: only a hang reaches it.
PATIENCE = 1800.0
#: Of every command: nothing of this environment.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


def tree(suite: str) -> Path:
    """The tree of a release, made now if need be (half a minute to three). Raises CalledProcessError."""
    goal = _CACHE / suite
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / f"{suite}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not goal.exists():
            fresh = _CACHE / f"{suite}.{os.getpid()}"
            argv = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", suite, str(fresh), MIRROR]
            # It mounts and unmounts in there, where nobody else sees it.
            subprocess.run(["unshare", "--mount", "--propagation", "private", *argv], check=True, capture_output=True)
            fresh.rename(goal)
    return goal


class Host:
    """A running host. Made by start(), ended by close()."""

    def __init__(self, suite: str, place: Path) -> None:
        self.suite = suite
        self._mount_point = place / suite
        self._mount_point.mkdir()
        init = [str(Path(__file__).with_name("init.sh")), self._mount_point, tree(suite), _CACHE / f"{suite}.kept"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self._init = subprocess.Popen(
            [*unshare, "sh", *map(str, init)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._init.stdout is not None
        answer = self._init.stdout.readline().decode().strip()
        if answer != "ready":
            self.close()
            raise RuntimeError(f"no host of {suite}: {answer}")
        # unshare's only child is the first process in there.
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        self._pid = int(children.split()[0])

    def close(self) -> None:
        """End it and everything in it."""
        assert self._init.stdin is not None and self._init.stdout is not None
        self._init.stdin.close()
        self._init.wait(60)
        self._init.stdout.close()
        self._mount_point.rmdir()

    def run(self, command: str, *, patience: float = PATIENCE, folder: str = "/") -> subprocess.CompletedProcess[str]:
        """Run a command by sh, as root with nothing of this environment; both outputs in one."""
        return subprocess.run(
            self._argv(command, folder),
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )

    def start(self, command: str, *, folder: str = "/") -> subprocess.Popen[str]:
        """The same in the background, with pipes for standard input and output."""
        argv = self._argv(command, folder)
        return subprocess.Popen(argv, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _argv(self, command: str, folder: str) -> list[str]:
        return ["nsenter", "-t", str(self._pid), "-m", "-p", "-r", f"--wdns={folder}", "--", "sh", "-c", command]

    def ok(self, command: str, *, folder: str = "/") -> str:
        """What a command that must succeed wrote."""
        done = self.run(command, folder=folder)
        assert done.returncode == 0, f"{self.suite}: {command}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def put_sources(self, folder: str) -> None:
        """What `git clone` would give of this work tree, with what is not committed yet."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
        names = subprocess.run(listed, cwd=TOP, check=True, capture_output=True).stdout.split(b"\0")
        there = b"\0".join(name for name in names if name and os.path.lexists(os.path.join(os.fsencode(TOP), name)))
        packed = subprocess.run(
            ["tar", "--null", "-T", "-", "-c"], cwd=TOP, input=there, check=True, capture_output=True
        ).stdout
        self.ok(f"mkdir -p {folder}")
        argv = ["nsenter", "-t", str(self._pid), "-m", "-r", "tar", "-C", folder, "-x"]
        subprocess.run(argv, input=packed, check=True, capture_output=True)

    def get(self, folder: str, goal: Path) -> None:
        """A copy of a folder's content."""
        argv = ["nsenter", "-t", str(self._pid), "-m", "-r", "tar", "-C", folder, "-c", "."]
        packed = subprocess.run(argv, check=True, capture_output=True).stdout
        goal.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-C", goal, "-x"], input=packed, check=True, capture_output=True)


def impossible() -> str | None:
    """Why there can be no hosts here, or None."""
    if os.geteuid() != 0:
        return "no root: a host's root is mounted"
    for program in ("debootstrap", "unshare", "nsenter"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            return f"no {program}"
    return None
