"""Where a test makes its containers, and the proof that nothing of them is left afterwards.

A `Workplace` is one short-lived folder with bundles and a state root, plus one parent cgroup of ours in every
hierarchy. Tests never touch a cgroup or process outside of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

BUSYBOX = Path("/bin/busybox")

#: Seconds that one call of the runtime may take: only a hang reaches it.
PATIENCE = 60.0
#: Seconds that the kernel gets to take back what a killed container had.
GRACE = 5.0

#: Parent of all cgroups of this test session, as a cgroupsPath.
CGROUP_ROOT = f"/pyrunc-test-{os.getpid()}"

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper(wanted: bool = True) -> None:
    """Orphans of what the tests start become our children, by which they are found and reaped; or init's again."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def hierarchies() -> dict[str, Path]:
    """Mount point of every cgroup hierarchy, by each of its v1 controllers' names; "unified" is cgroup v2's."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, tail = line.split(" - ")
        fstype, _, options = tail.split(" ", 2)
        where = Path(head.split()[4])
        if fstype == "cgroup2":
            found["unified"] = where
        elif fstype == "cgroup":
            for option in options.split(","):
                if option not in ("rw", "ro", "xattr"):
                    found[option.removeprefix("name=")] = where
    return found


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


class Result(subprocess.CompletedProcess[str]):
    """How a call ended: returncode, stdout and stderr as text (what is not UTF-8 replaced)."""

    def ok(self) -> Result:
        """Fail the test unless the status is 0."""
        if self.returncode:
            raise AssertionError(f"{' '.join(self.args)}: exit {self.returncode}\n{self.stdout}{self.stderr}")
        return self


class Bundle:
    """One bundle and the container made of it. `config` is written out by every call that reads it."""

    def __init__(self, place: Workplace, name: str, config: dict[str, Any]) -> None:
        self.place = place
        self.id = name
        self.path = place.path / "bundles" / name
        self.rootfs = self.path / "rootfs"
        self.config = config
        #: The container's cgroupsPath.
        self.cgroup = f"{CGROUP_ROOT}/{name}"
        config["linux"]["cgroupsPath"] = self.cgroup

    def save(self) -> Path:
        """Write config.json and say where the bundle is."""
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))
        return self.path

    def cgroup_dir(self, controller: str) -> Path:
        """The container's folder in a controller's hierarchy; on a host with cgroup v2 alone, in the one there is."""
        found = hierarchies()
        return found.get(controller, found.get("unified", Path())) / self.cgroup.lstrip("/")

    # Commands. `flags` come before the ID.

    def call(self, command: str, *args: str | Path, **how: Any) -> Result:
        """`runtime --root ROOT COMMAND ARGS`, with standard input, working folder and environment as `how` says."""
        return self.place.call(command, *args, **how)

    def create(self, *flags: str | Path, **how: Any) -> Result:
        """create; the container's standard output and error go on to the files `output` and `errors` read."""
        how.setdefault("stdout", self.path / "stdout")
        how.setdefault("stderr", self.path / "stderr")
        return self.call("create", "--bundle", self.save(), *flags, self.id, **how)

    def run(self, *flags: str | Path, **how: Any) -> Result:
        """run; in the foreground unless flags say --detach, and then output goes where create's does."""
        if "--detach" in flags or "-d" in flags:
            how.setdefault("stdout", self.path / "stdout")
            how.setdefault("stderr", self.path / "stderr")
        return self.call("run", "--bundle", self.save(), *flags, self.id, **how)

    def start(self) -> Result:
        return self.call("start", self.id)

    def exec(self, *args: str | Path, **how: Any) -> Result:
        """exec; args are flags, then the command. `--` is not put in: the ID is, before the first that is no flag."""
        return self.call("exec", *_with_id(args, self.id), **how)

    def kill(self, signal: str = "KILL", *flags: str) -> Result:
        return self.call("kill", *flags, self.id, signal)

    def delete(self, *flags: str) -> Result:
        return self.call("delete", *flags, self.id)

    def state(self) -> dict[str, Any]:
        """What `state` prints; the test fails if it does."""
        found: dict[str, Any] = json.loads(self.call("state", self.id).ok().stdout)
        return found

    def status(self) -> str:
        return str(self.state()["status"])

    def pid(self) -> int:
        """The container process, as seen from here."""
        return int(self.state()["pid"])

    def wait_for(self, status: str) -> None:
        """Until the container has that status."""
        wait_until(lambda: self.status() == status, f"{self.id} {status}")

    def output(self) -> str:
        """What a detached container has written to its standard output so far."""
        return (self.path / "stdout").read_text(errors="replace")

    def errors(self) -> str:
        """What a detached container has written to its standard error so far."""
        return (self.path / "stderr").read_text(errors="replace")


#: exec's flags that take a value, as in the command table.
_EXEC_VALUES = frozenset(
    ("--console-socket", "--pidfd-socket", "--cwd", "--env", "-e", "--user", "-u", "--additional-gids", "-g")
    + ("--process", "-p", "--pid-file", "--process-label", "--apparmor", "--cap", "-c", "--preserve-fds", "--cgroup")
)


def _with_id(args: tuple[str | Path, ...], name: str) -> list[str | Path]:
    at = 0
    while at < len(args) and str(args[at]).startswith("-"):
        at += 2 if str(args[at]) in _EXEC_VALUES else 1
    return [*args[:at], name, *args[at:]]


class Workplace:
    """A folder below /tmp (short, since sockets below it must stay under 108 bytes) and the runtime that is tried."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.path = Path(tempfile.mkdtemp(prefix="pyrunc-test-", dir="/tmp"))
        self.path.chmod(0o755)
        #: --root of every call.
        self.root = self.path / "state"
        (self.path / "bundles").mkdir()
        self.bundles: list[Bundle] = []
        self._before = set(descendants())
        self._template: str | None = None

    def bundle(self, *args: str, name: str | None = None) -> Bundle:
        """A bundle with busybox as its rootfs, a cgroup of its own, and `args` (`true`) to run without a terminal."""
        name = name or f"c{len(self.bundles)}"
        folder = self.path / "bundles" / name
        folder.mkdir()
        make_rootfs(folder / "rootfs")
        if self._template is None:
            self.call("spec", "--bundle", folder).ok()
            self._template = (folder / "config.json").read_text()
        made = Bundle(self, name, json.loads(self._template))
        made.config["process"]["terminal"] = False
        made.config["process"]["args"] = list(args) or ["true"]
        made.save()
        self.bundles.append(made)
        return made

    def call(
        self,
        *args: str | Path,
        stdin: bytes | None = None,
        stdout: Path | None = None,
        stderr: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        flags: tuple[str | Path, ...] = (),
        pass_fds: tuple[int, ...] = (),
        timeout: float = PATIENCE,
        user: int | None = None,
    ) -> Result:
        """Call the runtime on this state root and collect what it wrote.

        Output goes to files, not pipes, which a container that lives on would hold open; by default to nameless ones.
        env is added to the environment. flags: global ones. user: the uid and gid to be, instead of root's.
        """
        argv = [str(self.runtime), "--root", str(self.root), *map(str, flags), *map(str, args)]
        with _file(stdout) as out, _file(stderr) as err:
            done = subprocess.run(
                argv,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
                timeout=timeout,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Result(argv, done.returncode, *texts)

    def spawn(self, *args: str | Path, **how: Any) -> subprocess.Popen[bytes]:
        """Start a call of the runtime and go on; `how` as subprocess.Popen takes it."""
        how.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([str(self.runtime), "--root", str(self.root), *map(str, args)], **how)

    def leftovers(self) -> list[str]:
        """What is there now and should not be after a test, one line each."""
        reap()
        left = [f"process {pid}: {what}" for pid, what in self._processes().items()]
        left += [f"mount {where}" for where in self._mounts()]
        left += [f"cgroup {where}" for where in cgroups_below(CGROUP_ROOT)]
        if self.root.exists():
            # A folder whose name no container can have is a cache of the runtime's.
            left += [f"state {entry}" for entry in sorted(self.root.iterdir()) if not entry.name.startswith("@")]
        return left

    def check(self) -> list[str]:
        """Leftovers that the kernel does not take back by itself within GRACE seconds."""
        deadline = time.monotonic() + GRACE
        while left := self.leftovers():
            if time.monotonic() > deadline:
                return left
            time.sleep(0.01)
        return []

    def close(self) -> None:
        """Take everything away, however the test ended: processes, mounts, cgroups, folder."""
        for _ in range(100):
            reap()
            left = self._processes()
            if not left:
                break
            for pid in left:
                _thaw()
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)
        for where in reversed(self._mounts()):
            subprocess.run(["umount", "--lazy", "--no-canonicalize", where], check=False)
        remove_cgroups()
        shutil.rmtree(self.path, ignore_errors=True)

    def _processes(self) -> dict[int, str]:
        found = {pid: what for pid, what in descendants().items() if pid not in self._before}
        for folder in cgroups_below(CGROUP_ROOT, itself=True):
            for pid in _pids(folder):
                found.setdefault(pid, f"in {folder}")
        found.pop(os.getpid(), None)
        return found

    def _mounts(self) -> list[str]:
        inside = f"{self.path}/"
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [where for where in (line.split()[4] for line in lines) if where.startswith(inside)]


def _file(path: Path | None) -> BinaryIO:
    return tempfile.TemporaryFile() if path is None else open(path, "w+b")


def wait_until(done: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Poll until it is so; the test fails when it never is."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.01)


def descendants() -> dict[int, str]:
    """All processes below this one, zombies too, with name and state. A pid that was reused is not told apart."""
    parent: dict[int, int] = {}
    what: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                stat = Path("/proc", entry, "stat").read_bytes().decode(errors="replace")
            except OSError:
                continue
            head, tail = stat.rsplit(") ", 1)
            state, ppid = tail.split()[:2]
            parent[int(entry)] = int(ppid)
            what[int(entry)] = f"{head.split('(', 1)[1]} {state}"
    found: dict[int, str] = {}
    todo = [os.getpid()]
    while todo:
        above = todo.pop()
        below = [pid for pid, ppid in parent.items() if ppid == above]
        found.update((pid, what[pid]) for pid in below)
        todo.extend(below)
    return found


def reap() -> None:
    """Collect the orphans that ended. A child that somebody waits for may be among them: its status is lost."""
    for pid, what in descendants().items():
        if what.endswith(" Z"):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def cgroups_below(cgroup: str, *, itself: bool = False) -> list[Path]:
    """Folders below (or also at) that cgroupsPath, in all hierarchies, parents first."""
    found: list[Path] = []
    for mount in sorted(set(hierarchies().values())):
        top = mount / cgroup.lstrip("/")
        if itself and top.is_dir():
            found.append(top)
        found.extend(_folders(top))
    return found


def _folders(top: Path) -> Iterator[Path]:
    try:
        entries = [entry for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        yield Path(entry.path)
        yield from _folders(Path(entry.path))


def _pids(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _thaw() -> None:
    for folder in cgroups_below(CGROUP_ROOT):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (folder / name).exists():
                (folder / name).write_text(value)


def remove_cgroups(cgroup: str = CGROUP_ROOT) -> None:
    """Remove that cgroup and all below it, deepest first. One stays busy for a moment after its last process."""
    for _ in range(200):
        left = [folder for folder in reversed(cgroups_below(cgroup, itself=True)) if not _removed(folder)]
        if not left:
            return
        time.sleep(0.02)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
