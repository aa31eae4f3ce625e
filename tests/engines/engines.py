"""Private instances of podman, docker, containerd and buildah, each told to use the runtime under test.

podman and docker share one shape (`Engine`), so that one test body serves both; `Ctr` has commands of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import status_in

from . import images
from .sandbox import PATIENCE, Sandbox

Done = subprocess.CompletedProcess[str]


def missing(*programs: str) -> list[str]:
    """Those of the programs that are not installed; sbin folders are searched too."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [program for program in programs if shutil.which(program, path=path) is None]


def wait_for(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Poll until `condition` gives something true and return that; AssertionError when it never does."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.05)


class Engine:
    """What podman and docker have in common: their command lines."""

    name = ""

    def __init__(self, sandbox: Sandbox, runtime: Path) -> None:
        self.sandbox = sandbox
        self.runtime = runtime

    def argv(self, *args: str | Path) -> list[str]:
        """The engine's command line for `args`, as run inside the sandbox."""
        raise NotImplementedError

    @property
    def env(self) -> dict[str, str]:
        """Variables that the command line needs besides the sandbox's."""
        return {}

    def __call__(
        self,
        *args: str | Path,
        stdin: bytes | None = None,
        check: bool = False,
        cwd: Path | None = None,
        patience: float = PATIENCE,
    ) -> Done:
        """Run one command of the engine."""
        argv = self.argv(*args)
        return self.sandbox.run(*argv, stdin=stdin, check=check, env=self.env, cwd=cwd, patience=patience)

    def remove(self, *names: str) -> Done:
        """Remove containers, running or not, without giving them time to end by themselves."""
        raise NotImplementedError

    def out(self, *args: str | Path, stdin: bytes | None = None) -> str:
        """Run a command that must succeed; what it wrote, without the last newline."""
        return self(*args, stdin=stdin, check=True).stdout.rstrip("\n")

    def sh(self, script: str, *options: str | Path) -> str:
        """`run --rm` of a shell script that must succeed; what it wrote."""
        return self.out("run", "--rm", *options, images.NAME, "sh", "-c", script)

    @contextmanager
    def container(self, script: str, *options: str | Path) -> Iterator[Container]:
        """A detached container that runs a shell script, removed at the end."""
        name = "c" + uuid.uuid4().hex[:10]
        try:
            self("run", "-d", "--name", name, *options, images.NAME, "sh", "-c", script, check=True)
            yield Container(self, name)
        finally:
            self.remove(name)

    def close(self) -> None:
        """Stop what the engine keeps running."""


class Container:
    """A container of podman or docker, by name."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def inspect(self) -> dict[str, Any]:
        """The engine's description of it."""
        described: list[dict[str, Any]] = json.loads(self.engine.out("inspect", "--type", "container", self.name))
        return described[0]

    @property
    def pid(self) -> int:
        """The pid of its process, inside the sandbox; 0 when it does not run."""
        return int(self.inspect()["State"]["Pid"])

    @property
    def address(self) -> str:
        """Its IPv4 address on the engine's bridge."""
        return str(self.inspect()["NetworkSettings"]["IPAddress"])

    def exec(self, *args: str | Path, stdin: bytes | None = None) -> Done:
        """`exec` with options and the container's name still to come: pass them all but the name as in exec("-u", "1",
        "--", "id"); what follows "--" is the command.
        """
        words = list(args)
        split = words.index("--") if "--" in words else 0
        command = words[split + 1 :] if "--" in words else words
        return self.engine("exec", *words[:split], self.name, *command, stdin=stdin)

    def wait(self) -> int:
        """Wait until it has ended; its exit status."""
        return int(self.engine.out("wait", self.name))

    def logs(self) -> str:
        """What it has written so far."""
        done = self.engine("logs", self.name, check=True)
        return done.stdout + done.stderr

    def says(self, text: str) -> None:
        """Wait until its logs hold `text`."""
        wait_for(f"{text!r} in the logs of {self.name}", lambda: text in self.logs())

    def cgroup_file(self, v1: str, v2: str) -> str:
        """One file of its cgroup, by its names on both hierarchies."""
        return self.engine.sandbox.cgroup_file(self.pid, v1, v2)


class Podman(Engine):
    """Debian's podman with every folder private; it has no daemon."""

    name = "podman"
    needs = ("podman", "conmon", "iptables", "nsenter", "unshare")

    def __init__(self, sandbox: Sandbox, runtime: Path, image: bytes) -> None:
        super().__init__(sandbox, runtime)
        home = sandbox.folder("podman")
        netavark = any((Path(folder) / "netavark").exists() for folder in ("/usr/lib/podman", "/usr/libexec/podman"))
        self._conf = home / "containers.conf"
        self._conf.write_text(
            f"""[containers]
default_ulimits = []
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "under-test"
runtime_supports_json = ["under-test"]
volume_path = "{home}/volumes"
tmp_dir = "{home}/tmp"
[engine.runtimes]
under-test = ["{runtime}"]
[network]
network_backend = "{"netavark" if netavark else "cni"}"
network_config_dir = "{home}/networks"
"""
        )
        policy = sandbox.folder("home/.config/containers") / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.globals = ["--root", f"{home}/root", "--runroot", f"{home}/runroot", "--storage-driver", sandbox.storage]
        self("import", "-", images.NAME, stdin=image, check=True)

    @property
    def env(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self._conf)}

    def argv(self, *args: str | Path) -> list[str]:
        words = [str(word) for word in args]
        if words[0] in ("run", "create"):
            words[1:1] = ["--cgroup-parent", f"{self.sandbox.cgroup}/podman"]
        return ["podman", *self.globals, *words]

    def remove(self, *names: str) -> Done:
        return self("rm", "-f", "-t", "0", *names)

    def close(self) -> None:
        self.remove("--all")


class Docker(Engine):
    """Debian's dockerd with a containerd of its own, on a private socket."""

    name = "docker"
    needs = ("docker", "dockerd", "containerd", "iptables", "nsenter", "unshare")

    def __init__(self, sandbox: Sandbox, runtime: Path, image: bytes) -> None:
        super().__init__(sandbox, runtime)
        home = sandbox.folder("docker")
        # Debian's command line where there are several: it is of the same version as dockerd.
        self._client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        self._socket = f"unix://{home}/sock"
        (home / "daemon.json").write_text("{}")
        self.log = home / "dockerd.log"
        self._daemon = sandbox.start(
            "dockerd",
            f"--config-file={home}/daemon.json",
            f"--data-root={home}/data",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/pid",
            f"--host={self._socket}",
            f"--add-runtime=under-test={runtime}",
            "--default-runtime=under-test",
            f"--cgroup-parent={sandbox.cgroup}/docker",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--storage-driver={'overlay2' if sandbox.storage == 'overlay' else 'vfs'}",
            log=self.log,
        )
        wait_for("an answer of dockerd", self._answers)
        self("import", "-", images.NAME, stdin=image, check=True)

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            raise AssertionError(f"dockerd ended: {self.log.read_text()}")
        return self("version").returncode == 0

    @property
    def env(self) -> dict[str, str]:
        return {"DOCKER_CONFIG": str(self.sandbox.folder("docker/client"))}

    def argv(self, *args: str | Path) -> list[str]:
        return [self._client, "-H", self._socket, *map(str, args)]

    def remove(self, *names: str) -> Done:
        return self("rm", "-f", "-v", *names)

    def close(self) -> None:
        left = self.out("ps", "-aq").split()
        if left:
            self.remove(*left)
        self.sandbox.stop(self._daemon)


class Ctr:
    """A private containerd without CRI, used through its own command line."""

    name = "ctr"
    needs = ("containerd", "ctr", "containerd-shim-runc-v2", "nsenter", "unshare")

    def __init__(self, sandbox: Sandbox, runtime: Path, archive: bytes) -> None:
        self.sandbox = sandbox
        self.runtime = runtime
        home = sandbox.folder("containerd")
        self.socket = home / "sock"
        config = home / "config.toml"
        config.write_text(
            f"""version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{self.socket}"
"""
        )
        self.log = home / "containerd.log"
        self._daemon = sandbox.start("containerd", "--config", config, log=self.log)
        wait_for("an answer of containerd", self._answers)
        image = home / "image.tar"
        image.write_bytes(archive)
        self.snapshotter = "overlayfs" if sandbox.storage == "overlay" else "native"
        self("images", "import", "--snapshotter", self.snapshotter, image, check=True)

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            raise AssertionError(f"containerd ended: {self.log.read_text()}")
        return self("version").returncode == 0

    def argv(self, *args: str | Path) -> list[str]:
        """ctr's command line; `run` is given the runtime, the snapshotter and a cgroup below ours."""
        words = [str(word) for word in args]
        if words[0] == "run":
            own = f"{self.sandbox.cgroup}/ctr/{uuid.uuid4().hex[:8]}"
            words[1:1] = ["--runc-binary", str(self.runtime), "--snapshotter", self.snapshotter, "--cgroup", own]
        return ["ctr", "-a", str(self.socket), "-n", "test", *words]

    def __call__(self, *args: str | Path, stdin: bytes | None = None, check: bool = False) -> Done:
        return self.sandbox.run(*self.argv(*args), stdin=stdin, check=check)

    def run(self, *args: str | Path, command: list[str], stdin: bytes | None = None) -> Done:
        """`ctr run --rm` of a command."""
        return self("run", "--rm", *args, images.NAME, new_id(), *command, stdin=stdin)

    def sh(self, script: str, *options: str | Path) -> str:
        """`ctr run --rm` of a shell script that must succeed; what it wrote."""
        done = self.run(*options, command=["sh", "-c", script])
        assert done.returncode == 0, done
        return done.stdout.rstrip("\n")

    @contextmanager
    def task(self, script: str, *options: str | Path) -> Iterator[str]:
        """A detached task that runs a shell script, killed and deleted at the end; gives its ID."""
        container = new_id()
        try:
            self("run", "-d", *options, images.NAME, container, "sh", "-c", script, check=True)
            yield container
        finally:
            self("tasks", "resume", container)
            self("tasks", "kill", "--signal", "SIGKILL", container)
            wait_for("the end of the task", lambda: self.status(container) in ("STOPPED", ""))
            self("tasks", "delete", container)
            self("containers", "delete", container)

    def status(self, container: str) -> str:
        """RUNNING, PAUSED, STOPPED as `ctr tasks list` has it, "" when there is no task."""
        for line in self("tasks", "list", check=True).stdout.splitlines():
            words = line.split()
            if words[0] == container:
                return words[2]
        return ""

    def pid(self, container: str) -> int:
        """The pid of the task's process inside the sandbox."""
        for line in self("tasks", "list", check=True).stdout.splitlines():
            words = line.split()
            if words[0] == container:
                return int(words[1])
        raise AssertionError(f"no task {container}")

    def close(self) -> None:
        """Stop containerd; tasks were removed by the tests."""
        self.sandbox.stop(self._daemon)


class Buildah:
    """buildah, whose RUN drives a runtime by itself, without conmon."""

    name = "buildah"
    needs = ("buildah", "nsenter", "unshare")

    def __init__(self, sandbox: Sandbox, runtime: Path, image: bytes) -> None:
        self.sandbox = sandbox
        self.runtime = runtime
        self.home = sandbox.folder("buildah")
        (self.home / "rootfs.tar").write_bytes(image)
        self._conf = self.home / "containers.conf"
        self._conf.write_text('[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\n')
        policy = sandbox.folder("home/.config/containers") / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def __call__(self, *args: str | Path) -> Done:
        storage = ["--root", f"{self.home}/root", "--runroot", f"{self.home}/runroot"]
        storage += ["--storage-driver", self.sandbox.storage]
        return self.sandbox.run("buildah", *storage, *args, env={"CONTAINERS_CONF": str(self._conf)})

    def build(self, containerfile: str) -> Done:
        """Build an image from the busybox tree and the lines of a Containerfile."""
        (self.home / "Containerfile").write_text("FROM scratch\nADD rootfs.tar /\n" + containerfile)
        parent = f"{self.sandbox.cgroup}/buildah"
        options = ["--runtime", str(self.runtime), "--cgroup-parent", parent, "--isolation", "oci", "--network", "none"]
        return self("bud", *options, "-f", self.home / "Containerfile", self.home)

    def close(self) -> None:
        """Nothing runs on."""


def new_id() -> str:
    """A container ID nobody else uses."""
    return "t" + uuid.uuid4().hex[:10]


SYS_ADMIN, NET_ADMIN = 21, 12


def caps(text: str) -> dict[str, int]:
    """The five capability sets of a /proc/PID/status."""
    return {key: int(value, 16) for key, value in status_in(text).items() if key.startswith("Cap")}


SERVE = "mkdir -p /www && echo hello from $(hostname) >/www/index.html && exec httpd -f -p 80 -h /www"


def fetch(address: str, port: int) -> str:
    """A shell command that gets / by HTTP; Debian's static busybox has a wget that crashes."""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 20 {address} {port}"
