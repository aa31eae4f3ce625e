"""Where a test makes its containers, and the proof that nothing of them is left afterwards.

A `Workplace` is one short-lived folder with bundles and a state root, plus one parent cgroup of ours in every
hierarchy. Tests never touch a cgroup or process outside of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pyrunc.cli.table import COMMANDS

from .cgroups import CGROUP_ROOT, cgroups_below, hierarchies, pids_in, remove_cgroups, thaw
from .processes import descendants, reap
from .rootfs import make_rootfs
from .waiting import GRACE, PATIENCE, wait_until


class Result(subprocess.CompletedProcess[str]):
    """How a call ended: returncode, stdout and stderr as text (what is not UTF-8 replaced)."""

    def ok(self) -> Result:
        """Fail the test unless the status is 0."""
        if self.returncode:
            raise AssertionError(f"{' '.join(self.args)}: exit {self.returncode}\n{self.stdout}{self.stderr}")
        return self


def one_line(got: Any, status: int, *words: str) -> str:
    """The result is an error of that status: one line, with these words, and no traceback. Returns the line."""
    text: str = got.stderr
    assert got.returncode == status, (got.args, got.returncode, got.stdout, text)
    assert text.count("\n") == 1, text
    for word in words:
        assert word in text, text
    assert "internal error" not in text and "Traceback" not in text, text
    return text


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


class MakeBundle(Protocol):
    """bundle(*args, name=ID): a bundle that runs args (default: `true`)."""

    def __call__(self, *args: str, name: str | None = None) -> Bundle: ...


#: exec's flags that take a value.
_EXEC_VALUES = {
    flag for long, short, kind in COMMANDS["exec"][3] if kind != "bool" for flag in (f"--{long}", f"-{short}")
} - {"-"}


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
                thaw()
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
            for pid in pids_in(folder):
                found.setdefault(pid, f"in {folder}")
        found.pop(os.getpid(), None)
        return found

    def _mounts(self) -> list[str]:
        inside = f"{self.path}/"
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [where for where in (line.split()[4] for line in lines) if where.startswith(inside)]


def _file(path: Path | None) -> BinaryIO:
    return tempfile.TemporaryFile() if path is None else open(path, "w+b")
