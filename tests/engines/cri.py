"""A private containerd with its CRI plug-in, driven by crictl as a kubelet drives it: pods, and containers in them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import images
from .engines import Done, wait_for
from .sandbox import Sandbox

#: Values of NamespaceOption (cri-api): the pod's, the container's own, the node's.
POD, CONTAINER, NODE = 0, 1, 2

_PAUSE = "localhost/pyrunc-pause:latest"
_SUBNET = "10.88.7"


class Cri:
    """containerd as in a cluster's node, with a bridge for its pods."""

    name = "cri"
    needs = ("containerd", "ctr", "containerd-shim-runc-v2", "nsenter", "unshare", "iptables")
    plugins = Path("/usr/lib/cni")

    def __init__(self, sandbox: Sandbox, runtime: Path, crictl: Path, layer: bytes) -> None:
        self.sandbox = sandbox
        self.home = sandbox.folder("cri")
        self._crictl = crictl
        self._socket = self.home / "sock"
        self.logs = sandbox.folder("cri/logs")
        snapshotter = "overlayfs" if sandbox.storage == "overlay" else "native"
        config = self.home / "config.toml"
        config.write_text(self._config(runtime, snapshotter))
        network = {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cri0",
                    "isGateway": True,
                    "ipam": {"type": "host-local", "dataDir": f"{self.home}/ipam", "subnet": f"{_SUBNET}.0/24"},
                }
            ],
        }
        (sandbox.folder("cri/networks") / "10-pods.conflist").write_text(json.dumps(network))
        endpoint = f"unix://{self._socket}"
        (self.home / "crictl.json").write_text(
            json.dumps({"runtime-endpoint": endpoint, "image-endpoint": endpoint, "timeout": 100})
        )
        self.log = self.home / "containerd.log"
        self._daemon = sandbox.start("containerd", "--config", config, log=self.log)
        wait_for("the CRI plug-in and its network", self._answers)
        self._import(images.oci_archive(layer), snapshotter)
        self._import(images.oci_archive(layer, "sleep", "1000000", name=_PAUSE), snapshotter)
        for image in (images.NAME, _PAUSE):
            wait_for(f"{image} in CRI's list", lambda: self("inspecti", image).returncode == 0)  # noqa: B023

    def _config(self, runtime: Path, snapshotter: str) -> str:
        plugin = '[plugins."io.containerd.grpc.v1.cri"'
        return f"""version = 2
root = "{self.home}/root"
state = "{self.home}/state"
[grpc]
address = "{self._socket}"
{plugin}]
sandbox_image = "{_PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
{plugin}.cni]
bin_dir = "{self.plugins}"
conf_dir = "{self.home}/networks"
{plugin}.containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "under-test"
{plugin}.containerd.runtimes.under-test]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices = false
{plugin}.containerd.runtimes.under-test.options]
BinaryName = "{runtime}"
"""

    def _import(self, image: bytes, snapshotter: str) -> None:
        archive = self.home / "image.tar"
        archive.write_bytes(image)
        importing = ("images", "import", "--snapshotter", snapshotter, archive)
        self.sandbox.run("ctr", "-a", self._socket, "-n", "k8s.io", *importing, check=True)

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            raise AssertionError(f"containerd ended: {self.log.read_text()}")
        done = self("info")
        if done.returncode != 0:
            return False
        ready = {found["type"]: found["status"] for found in json.loads(done.stdout)["status"]["conditions"]}
        return bool(ready["RuntimeReady"] and ready["NetworkReady"])

    def argv(self, *args: str | Path) -> list[str]:
        """crictl's command line."""
        return [str(self._crictl), "--config", f"{self.home}/crictl.json", *map(str, args)]

    def __call__(self, *args: str | Path, check: bool = False) -> Done:
        return self.sandbox.run(*self.argv(*args), check=check)

    def out(self, *args: str | Path) -> str:
        """Run a command that must succeed; what it wrote, without the last newline."""
        return self(*args, check=True).stdout.rstrip("\n")

    @contextmanager
    def pod(self, namespaces: dict[str, int] | None = None, **linux: Any) -> Iterator[Pod]:
        """A running pod with a name of its own, stopped and removed with its containers at the end."""
        pod = Pod(self, namespaces or {}, linux)
        try:
            pod.run()
            yield pod
        finally:
            if pod.id:
                self("stopp", pod.id, check=True)
                self("rmp", pod.id, check=True)

    def close(self) -> None:
        """Stop containerd; the tests have removed their pods."""
        self.sandbox.stop(self._daemon)


class Pod:
    """A pod: PodSandboxConfig of cri-api as a dict, and the ID when it runs."""

    def __init__(self, cri: Cri, namespaces: dict[str, int], linux: dict[str, Any]) -> None:
        self.cri = cri
        self.id = ""
        self.name = "p" + uuid.uuid4().hex[:10]
        self.namespaces = {"network": POD, "pid": CONTAINER, "ipc": POD} | namespaces
        context = {"namespace_options": self.namespaces} | linux.pop("security_context", {})
        self.config: dict[str, Any] = {
            "metadata": {"name": self.name, "namespace": "tests", "uid": self.name, "attempt": 0},
            "log_directory": str(cri.logs / self.name),
            "linux": {"cgroup_parent": f"{cri.sandbox.cgroup}/cri/{self.name}", "security_context": context, **linux},
        }
        if self.namespaces["network"] != NODE:
            self.config["hostname"] = self.name

    def _file(self, name: str, value: dict[str, Any]) -> Path:
        path = self.cri.sandbox.folder("cri/configs") / f"{self.name}-{name}.json"
        path.write_text(json.dumps(value))
        return path

    def run(self) -> None:
        """RunPodSandbox."""
        self.id = self.cri.out("runp", self._file("pod", self.config))

    def address(self) -> str:
        """The pod's IPv4 address."""
        return str(json.loads(self.cri.out("inspectp", self.id))["status"]["network"]["ip"])

    def create(self, command: list[str], security: dict[str, Any] | None = None, **more: Any) -> str:
        """CreateContainer: security_context, resources of its linux part, the rest of ContainerConfig; the ID."""
        name = "c" + uuid.uuid4().hex[:10]
        resources = more.pop("resources", {})
        config = {
            "metadata": {"name": name, "attempt": 0},
            "image": {"image": images.NAME},
            "command": command,
            "log_path": name + ".log",
            "linux": {
                "resources": resources,
                "security_context": {"namespace_options": self.namespaces} | (security or {}),
            },
        }
        config.update(more)
        return self.cri.out("create", self.id, self._file(name, config), self._file("pod", self.config))

    def start(self, command: list[str], security: dict[str, Any] | None = None, **more: Any) -> Container:
        """Create and start a container."""
        container = Container(self.cri, self.create(command, security, **more))
        self.cri.out("start", container.id)
        return container

    def sh(self, script: str, security: dict[str, Any] | None = None, **more: Any) -> str:
        """Run a shell script to its end in a container; what it wrote."""
        container = self.start(["sh", "-c", script], security, **more)
        assert container.wait() == 0, container.log()
        return container.log().rstrip("\n")


class Container:
    """A container in a pod, by its ID."""

    def __init__(self, cri: Cri, id: str) -> None:
        self.cri = cri
        self.id = id

    def status(self) -> dict[str, Any]:
        """ContainerStatus and what containerd adds to it."""
        described: dict[str, Any] = json.loads(self.cri.out("inspect", self.id))
        return described

    @property
    def pid(self) -> int:
        """The pid of its process inside the sandbox."""
        return int(self.status()["info"]["pid"])

    def wait(self) -> int:
        """Wait until it has ended; its exit status."""
        wait_for("the container's end", lambda: self.status()["status"]["state"] == "CONTAINER_EXITED")
        return int(self.status()["status"]["exitCode"])

    def log(self) -> str:
        """What it has written so far."""
        done = self.cri("logs", self.id, check=True)
        return done.stdout + done.stderr

    def says(self, text: str) -> None:
        """Wait until its log holds `text`."""
        wait_for(f"{text!r} in the log", lambda: text in self.log())

    def exec(self, *command: str) -> Done:
        """ExecSync: as a probe or a lifecycle hook does it."""
        return self.cri("exec", "-s", self.id, *command)

    def cgroup_file(self, v1: str, v2: str) -> str:
        """One file of its cgroup, by its names on both hierarchies."""
        return self.cri.sandbox.cgroup_file(self.pid, v1, v2)
