"""A place for engines to run in that leaves nothing behind.

Engines write to /run, /var and /etc, make bridges, iptables rules and mounts, and leave monitor processes. Each run of
this suite therefore gets one process that is PID 1 of private pid, mount and network namespaces; daemons and command
lines are started in there with nsenter(1). When its input ends, be it that pytest was killed, it kills what is left,
removes our cgroups, all below one of ours, and the kernel takes back the rest.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

#: Seconds that one command of an engine may take. Generous: only a hang reaches it.
PATIENCE = 120.0

_PREFIX = "pyrunc-engines-"


class Sandbox:
    """Private namespaces, a work folder and a parent cgroup for the engines of one test session."""

    def __init__(self) -> None:
        _clear_the_dead()
        name = f"{_PREFIX}{os.getpid()}"
        # Short, since unix sockets below it must stay under 108 bytes.
        self.work = Path("/tmp", name)
        self.work.mkdir(mode=0o755)
        #: Parent of all containers' cgroups, as a path below each hierarchy.
        self.cgroup = f"/{name}"
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder("home")),
            "TMPDIR": str(self.folder("tmp")),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }
        self._daemons: list[subprocess.Popen[bytes]] = []
        log = self.work / "sandbox.log"
        init = [sys.executable, str(Path(__file__).with_name("sandbox_init.py")), str(self.work), name]
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        with open(log, "wb") as said:
            self._init = subprocess.Popen(
                [*unshare, *init, "/etc", "/var", "/opt"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=self.env,
                start_new_session=True,  # ^C is for pytest
            )
        assert self._init.stdout is not None
        with self._init.stdout as answer:
            words = answer.readline().split()
        if len(words) != 2:
            raise RuntimeError(f"no sandbox: {log.read_text()}")
        self._pid = int(words[0])
        self._cgroups = Path(f"/proc/{self._pid}/root/sys/fs/cgroup")
        #: The storage driver that works here: overlay or vfs.
        self.storage = words[1].decode()

    def folder(self, name: str) -> Path:
        """A folder below the work folder, made when it is missing."""
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def argv(self, argv: Iterable[str | Path], cwd: Path | None = None) -> list[str]:
        """The command line that runs `argv` inside, in a folder of ours: conmon writes a file named oom to its own."""
        inside = ["-m", "-n", "-p", f"--wdns={cwd or self.folder('cwd')}"]
        return ["nsenter", "-t", str(self._pid), *inside, "--", *map(str, argv)]

    def run(
        self,
        *argv: str | Path,
        stdin: bytes | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        patience: float = PATIENCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and collect what it wrote; a failure raises only when `check` says so.

        Its output goes to files, not pipes: monitors of detached containers keep their parent's pipes open.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                self.argv(argv, cwd),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=out,
                stderr=err,
                env={**self.env, **(env or {})},
                timeout=patience,
            )
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{texts[0]}{texts[1]}")
        return subprocess.CompletedProcess(list(map(str, argv)), done.returncode, *texts)

    def start(self, *argv: str | Path, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a daemon inside. The process is nsenter, which waits for it; daemons are ended by stop()."""
        with open(log, "ab") as out:
            daemon = subprocess.Popen(
                self.argv(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**self.env, **(env or {})},
            )
        self._daemons.append(daemon)
        return daemon

    def stop(self, daemon: subprocess.Popen[bytes]) -> None:
        """End a daemon by SIGTERM to its own pid, found as nsenter's only child, and wait for it."""
        if daemon.poll() is None:
            children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), 15)
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.remove(daemon)

    def processes(self) -> dict[int, str]:
        """Every process inside, by its pid there, with its name; kernel threads do not exist in there."""
        text = self.run("ps", "-e", "-o", "pid=,comm=", check=True).stdout
        found = {int(pid): name.strip() for pid, name in (line.split(None, 1) for line in text.splitlines())}
        return {pid: name for pid, name in found.items() if name not in ("ps", "nsenter")}

    def mounts(self) -> list[str]:
        """Mount points of the sandbox's mount namespace."""
        return [line.split()[4] for line in Path(f"/proc/{self._pid}/mountinfo").read_text().splitlines()]

    def cgroups(self) -> list[Path]:
        """Every cgroup below our parent cgroup, in every hierarchy."""
        bases = [self._cgroups]
        if not (self._cgroups / "cgroup.procs").exists():
            bases = [path for path in self._cgroups.iterdir() if not path.is_symlink()]
        tops = [base / self.cgroup[1:] for base in bases]
        return [Path(folder) / name for top in tops for folder, names, _ in os.walk(top) for name in names]

    def cgroup_file(self, pid: int, v1: str, v2: str) -> str:
        """Read one cgroup file of a process inside; `v1` is "controller/file", `v2` the unified hierarchy's file."""
        controller, name = v1.split("/")
        lines = self.run("cat", f"/proc/{pid}/cgroup", check=True).stdout.splitlines()
        paths = {part: path for _, parts, path in (line.split(":", 2) for line in lines) for part in parts.split(",")}
        if controller in paths:
            return (self._cgroups / controller / paths[controller][1:] / name).read_text().strip()
        return (self._cgroups / paths[""][1:] / v2).read_text().strip()

    def close(self) -> None:
        """Stop the daemons, end what is left with the namespaces and cgroups, remove the work folder."""
        for daemon in list(self._daemons):
            self.stop(daemon)
        assert self._init.stdin is not None
        self._init.stdin.close()
        self._init.wait()
        shutil.rmtree(self.work)
        visible = Path("/sys/fs/cgroup")
        left = [*visible.glob(self.cgroup[1:]), *visible.glob(f"*{self.cgroup}")]
        if left:
            raise AssertionError(f"cgroups that cannot be removed: {left}")


def _clear_the_dead() -> None:
    """Remove the work folders of earlier sessions that were killed before they could."""
    for path in Path("/tmp").glob(f"{_PREFIX}*"):
        if not Path("/proc", path.name.removeprefix(_PREFIX)).exists():
            shutil.rmtree(path)
