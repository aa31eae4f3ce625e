"""events: statistics and out-of-memory events, in runc's shape."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle


@contextmanager
def streaming(box: Bundle, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """events in the background, its output to be read by lines."""
    stream = box.place.spawn("events", *flags, box.id, stdout=subprocess.PIPE)
    try:
        yield stream
    finally:
        stream.kill()
        stream.wait()
        assert stream.stdout is not None
        stream.stdout.close()


def read(stream: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert stream.stdout is not None
    assert select.select([stream.stdout], [], [], PATIENCE)[0], "no event"
    found: dict[str, Any] = json.loads(stream.stdout.readline())
    return found


def test_stats_once(container: MakeBundle) -> None:
    box = container("sh", "-c", "while :; do :; done")
    box.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}
    running(box)
    wait_until(lambda: int((box.cgroup_dir("cpuacct") / "cpuacct.usage").read_text()) > 0, "time is counted")
    text = box.call("events", "--stats", box.id).ok().stdout
    assert text.count("\n") == 1
    event = json.loads(text)
    assert list(event) == ["type", "id", "data"]
    assert (event["type"], event["id"]) == ("stats", box.id)
    data = event["data"]
    assert list(data) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["pids"] == {"current": 1, "limit": 30}
    # Nothing but lo in its network namespace.
    assert data["network_interfaces"] is None


def test_the_counters_of_its_interfaces(container: MakeBundle) -> None:
    box = container("sleep", "100")
    pid = running(box)
    subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "add", "eth7", "type", "bridge"], check=True)
    subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "set", "eth7", "up"], check=True)
    (found,) = json.loads(box.call("events", "--stats", box.id).ok().stdout)["data"]["network_interfaces"]
    names = [direction + what for direction in ("Rx", "Tx") for what in ("Bytes", "Packets", "Errors", "Dropped")]
    assert list(found) == ["Name", *names]
    assert (found["Name"], found["RxBytes"]) == ("eth7", 0)


@pytest.mark.parametrize("flag", ["--interval=100ms", "-interval=0.1s"])
def test_a_stream_that_ends_with_the_container(bundle: MakeBundle, flag: str) -> None:
    box = bundle("sleep", "100")
    running(box)
    with streaming(box, flag) as stream:
        assert [read(stream)["type"] for _ in range(3)] == ["stats"] * 3
        box.delete("--force").ok()
        assert stream.wait(30) == 0


def test_out_of_memory(bundle: MakeBundle) -> None:
    greedy = "dd if=/dev/zero of=/dev/shm/all bs=1M count=60"
    box = bundle("sh", "-c", f"while [ ! -e /go ]; do sleep 0.01; done; {greedy}; sleep 100")
    box.config["root"]["readonly"] = False
    box.config["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    running(box)
    with streaming(box, "--interval", "1h") as stream:
        wait_until(lambda: _watches(stream.pid), "it watches")
        (box.rootfs / "go").touch()
        assert read(stream) == {"type": "oom", "id": box.id}
        box.delete("--force").ok()
        assert stream.wait(30) == 0


def _watches(pid: int) -> bool:
    try:
        return any("eventfd" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return False  # closed meanwhile


def test_refused(bundle: MakeBundle) -> None:
    box = bundle("true")
    assert "container does not exist" in box.call("events", box.id).stderr
    box.create().ok()
    for value in ("0", "0s", "-1s", "-0.5h"):
        got = box.call("events", f"--interval={value}", box.id)
        assert (got.returncode, "duration interval must be greater than 0" in got.stderr) == (1, True)
    for value in ("", "5", "s", "5x", "1.2.3s", "1e3s", "99999999999h", "5s ", "٣s"):
        got = box.call("events", f"--interval={value}", box.id)
        assert got.returncode == 1
        assert f'invalid value \\"{value}\\" for flag -interval: parse error' in got.stderr
        assert got.stdout.startswith("Incorrect Usage: ")
    box.kill().ok()
    box.wait_for("stopped")
    got = box.call("events", "--stats", box.id)
    assert (got.returncode, f"container with id {box.id} is not running" in got.stderr) == (1, True)
    box.delete().ok()
