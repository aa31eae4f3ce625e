"""podman and containerd with systemd as their cgroup manager, which is their default on such a host."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import command
from tests.support.rootfs import make_rootfs
from tests.support.waiting import wait_until

from .support import PYRUNC, TOP, properties, scopes

IMAGE = "localhost/busybox"


def podman(*args: str) -> str:
    return command("podman", "--runtime", PYRUNC, *args)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    make_rootfs(folder / "rootfs")
    command("tar", "-C", str(folder / "rootfs"), "-cf", str(folder / "image.tar"), ".")
    podman("import", "--quiet", str(folder / "image.tar"), IMAGE)
    return IMAGE


@pytest.fixture
def container(image: str) -> Iterator[str]:
    try:
        yield podman("run", "--detach", "--network=none", "--memory=64m", "--name=life", image, "sleep", "1000").strip()
    finally:
        podman("rm", "--force", "--time=0", "--ignore", "life")


def test_podman_run(image: str) -> None:
    script = "echo hello; cat /proc/self/cgroup /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    done = podman("run", "--rm", "--network=none", "--memory=64m", "--pids-limit=50", image, "sh", "-c", script)
    assert done.splitlines() == ["hello", "0::/", str(64 << 20), "50"]


def test_podman_a_containers_life(container: str) -> None:
    scope = f"libpod-{container}.scope"
    folder = TOP / "machine.slice" / scope
    assert scope in scopes() and properties(scope, "MemoryMax") == {"MemoryMax": str(64 << 20)}
    assert podman("exec", "life", "cat", "/proc/self/cgroup") == "0::/\n"

    podman("pause", "life")
    assert (folder / "cgroup.freeze").read_text() == "1\n"
    podman("unpause", "life")
    assert (folder / "cgroup.freeze").read_text() == "0\n"

    stats = json.loads(podman("stats", "--no-stream", "--format=json", "life"))[0]
    assert stats["pids"] == "1" and "67.11MB" in stats["mem_usage"]

    podman("update", "--memory=70m", "--cpus=0.5", "life")
    assert (folder / "memory.max").read_text() == f"{70 << 20}\n"
    assert (folder / "cpu.max").read_text() == "50000 100000\n"
    wanted = {"MemoryMax": str(70 << 20), "CPUQuotaPerSecUSec": "500ms"}
    assert properties(scope, *wanted) == wanted

    podman("kill", "life")
    assert podman("wait", "life").strip() == "137"
    events = podman("events", "--stream=false", "--since=10m", "--filter=container=life", "--format={{.Status}}")
    for event in ("create", "start", "pause", "unpause", "kill", "died"):
        assert event in events.split()
    wait_until(lambda: scope not in scopes() and not folder.exists(), "the scope is gone")


def test_podman_and_memory(image: str) -> None:
    """What Debian's conmon does not tell, for any runtime, is OOMKilled."""
    argv = ["podman", "--runtime", PYRUNC, "run", "--rm", "--network=none", "--memory=20m", "--memory-swap=20m", image]
    argv += ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    assert subprocess.run(argv, capture_output=True, check=False, timeout=120).returncode == 137


def test_podman_with_files_for_cgroups(image: str) -> None:
    done = podman("--cgroup-manager=cgroupfs", "run", "--rm", "--network=none", "--memory=64m", image,
                  "cat", "/sys/fs/cgroup/memory.max")  # fmt: skip
    assert done == f"{64 << 20}\n"


def test_ctr_run(image: str, tmp_path: Path) -> None:
    command("systemctl", "unmask", "--runtime", "containerd.service")
    archive = tmp_path / "image.tar"
    daemon = subprocess.Popen(["containerd", "--log-level=error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: subprocess.run(["ctr", "version"], capture_output=True, check=False).returncode == 0, "ctr")
        podman("save", "--format=docker-archive", f"--output={archive}", image)
        command("ctr", "image", "import", str(archive))
        run = ["ctr", "run", "--rm", f"--runc-binary={PYRUNC}", "--memory-limit=67108864"]
        (name,) = command("ctr", "image", "list", "-q").split()
        script = "cat /proc/self/cgroup; echo hello"
        done = command(*run, "--cgroup=pyrunc-test-ctr", name, "one", "sh", "-c", script)
        assert done.splitlines()[-1] == "hello"
        done = command(*run, "--runc-systemd-cgroup", "--cgroup=system.slice:ctr:two", name, "two", "sh", "-c", script)
        assert done.splitlines()[-1] == "hello"
    finally:
        daemon.terminate()
        daemon.wait()
