"""The cgroup v1 manager against this kernel: every value read back from the kernel, every verdict asked of it."""

import errno
import itertools
import json
import os
import random
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cgroups import device_rules, hierarchies
from pyrunc.cgroups.v1.manager import Manager
from pyrunc.config.types import CPU, DeviceRule, Memory
from pyrunc.errors import ConfigError, PyruncError
from tests.support import TOP

HOST = hierarchies.detect()
if os.geteuid() != 0:
    pytest.skip("no root: cgroups are made by root here", allow_module_level=True)
if HOST.mode != "v1":
    pytest.skip("no cgroup v1", allow_module_level=True)

#: With cgroup2's, on a hybrid host.
MOUNTS = {**HOST.mounts, **({} if HOST.unified is None else {hierarchies.HYBRID: HOST.unified})}
MIB = 1 << 20
UNLIMITED = 0x7FFFFFFFFFFFF000


class Place:
    """A cgroup of ours in every hierarchy, "/pyrunc-test-cgroups-PID-N", and the processes that a test starts."""

    count = itertools.count()

    def __init__(self) -> None:
        self.path = f"/pyrunc-test-cgroups-{os.getpid()}-{next(Place.count)}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def manager(self, name: str = "box", **more: Any) -> Manager:
        return Manager(hierarchies.paths(HOST, self.path + "/" + name, "unused"), **more)

    def made(self, resources: Any = None, name: str = "box") -> Manager:
        manager = self.manager(name)
        manager.create()
        assert manager.set(resources if resources is not None else {}) == []
        return manager

    def start(self, manager: Manager, *args: str) -> subprocess.Popen[bytes]:
        fds = manager.join_fds()
        process = subprocess.Popen(
            args, preexec_fn=lambda: manager.join(fds), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for fd in fds:
            os.close(fd)
        self.processes.append(process)
        return process

    def python(self, manager: Manager, code: str) -> subprocess.Popen[bytes]:
        """A Python program in the cgroups; what it prints first has been read when this returns."""
        process = self.start(manager, sys.executable, "-c", code)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def trees(self) -> list[str]:
        return list(dict.fromkeys(point + self.path for point, _ in MOUNTS.values()))

    def close(self) -> list[str]:
        """End and remove all; what there was left of cgroups below ours."""
        left = [below for tree in self.trees() for below, _, _ in os.walk(tree) if below != tree]
        for tree in self.trees():
            for below, _, _ in os.walk(tree, topdown=False):
                if below.startswith(tree) and "/freezer/" in below:
                    (Path(below) / "freezer.state").write_text("THAWED")
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        deadline = time.monotonic() + 10
        while any(os.path.isdir(tree) for tree in self.trees()):
            for tree in self.trees():
                for below, _, _ in os.walk(tree, topdown=False):
                    try:
                        os.rmdir(below)
                    except OSError:
                        assert time.monotonic() < deadline, below
        return left


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    try:
        yield place
    finally:
        left = place.close()
    assert left == [], "a test deletes what its managers made"


def value(manager: Manager, controller: str, file: str) -> str:
    return Path(manager.paths[controller], file).read_text().strip()


def number(manager: Manager, controller: str, file: str) -> int:
    return int(value(manager, controller, file))


def own_cgroups(pid: int | str) -> dict[str, str]:
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {name or hierarchies.HYBRID: path for _, names, path in lines for name in names.split(",")}


# --- birth and end


def test_membership_of_every_mounted_controller(place: Place) -> None:
    manager = place.made()
    process = place.start(manager, "sleep", "60")
    membership = own_cgroups(process.pid)
    expected = {name for name in MOUNTS if not name.startswith("name=") or name == "name=systemd"}
    assert {name for name, path in membership.items() if path == place.path + "/box"} == expected
    assert manager.pids() == [process.pid]
    assert manager.exists()
    manager.delete()
    assert process.wait() == -signal.SIGKILL
    assert not manager.exists()
    # The parent stays, as with runc.
    assert all(os.path.isdir(tree) for tree in place.trees())


def test_paths_of_a_reopened_manager(place: Place) -> None:
    manager = place.made()
    again = Manager(json.loads(json.dumps(manager.paths)))
    assert again.exists() and again.pids() == [] and not again.frozen()
    again.delete()
    assert not manager.exists()
    again.delete()


def test_own_relative_path() -> None:
    """A relative path, and none at all, lie below the cgroup of the caller."""
    mine = own_cgroups("self")
    for asked, leaf in (("pyrunc-test/x", "pyrunc-test/x"), (None, "an-id")):
        paths = hierarchies.paths(HOST, asked, "an-id")
        for name, directory in paths.items():
            assert directory == MOUNTS[name][0] + mine[name].rstrip("/") + "/" + leaf


def test_occupied_cgroup_is_refused_and_left_alone(place: Place) -> None:
    manager = place.made()
    process = place.start(manager, "sleep", "60")
    second = place.manager()
    for refuse in (second.check, second.create):
        with pytest.raises(PyruncError, match=r"container's cgroup is not empty: 1 process\(es\) found") as caught:
            refuse()
        assert caught.value.pointer == "/linux/cgroupsPath"
    # Whatever undoes the failed create: nothing of the other container is touched.
    second.delete()
    assert process.poll() is None and manager.pids() == [process.pid]
    manager.delete()


def test_refused_create_removes_what_it_made(place: Place) -> None:
    manager = place.made()
    process = place.start(manager, "sleep", "60")
    # As if the other container were in one hierarchy alone.
    others = {name: path for name, path in manager.paths.items() if name != "devices"}
    for directory in dict.fromkeys(others.values()):
        os.write(os.open(os.path.dirname(directory) + "/cgroup.procs", os.O_WRONLY), str(process.pid).encode())
        os.rmdir(directory)
    second = place.manager()
    with pytest.raises(PyruncError, match="not empty"):
        second.create()
    assert [path for path in dict.fromkeys(others.values()) if os.path.exists(path)] == []
    assert process.poll() is None
    process.kill()
    process.wait()
    manager.delete()


def test_frozen_cgroup_is_refused(place: Place) -> None:
    manager = place.made()
    manager.freeze()
    second = place.manager()
    for refuse in (second.check, second.create):
        with pytest.raises(PyruncError, match="container's cgroup unexpectedly frozen"):
            refuse()
    manager.thaw()
    place.manager().check()
    manager.delete()


def test_frozen_parent_is_refused(place: Place) -> None:
    """A process that joined would stop for good before it could say a word."""
    parent = place.made(name="pod")
    parent.freeze()
    child = place.manager("pod/box")
    with pytest.raises(PyruncError, match="unexpectedly frozen"):
        child.create()
    assert not child.exists()
    parent.thaw()
    parent.delete()


def test_existing_empty_cgroup_is_taken(place: Place) -> None:
    for tree in place.trees():
        os.makedirs(tree + "/box")
    manager = place.manager()
    manager.check()
    manager.create()
    assert set(manager.existed) == set(manager.paths.values())
    manager.set({"pids": {"limit": 7}})
    assert number(manager, "pids", "pids.max") == 7
    assert place.start(manager, "true").wait() == 0
    manager.delete()


def test_missing_controller(place: Place) -> None:
    manager = place.manager()
    del manager.paths["pids"]
    manager.create()
    manager.set({})
    with pytest.raises(ConfigError, match=r"cannot set pids.max to '5': the pids cgroup is not mounted") as caught:
        manager.set({"pids": {"limit": 5}})
    assert caught.value.pointer == "/linux/resources/pids/limit"
    manager.delete()


def test_unified_needs_v2(place: Place) -> None:
    manager = place.made({"unified": {}})
    with pytest.raises(ConfigError, match="unified needs cgroup v2") as caught:
        manager.set({"unified": {"memory.max": "1"}})
    assert caught.value.pointer == "/linux/resources/unified"
    manager.delete()


def test_all_missing_parents_and_cpusets(place: Place) -> None:
    manager = place.made(name="a/b/c")
    for below in ("", "/a", "/a/b", "/a/b/c"):
        for file in ("cpuset.cpus", "cpuset.mems"):
            point = HOST.mounts["cpuset"][0]
            assert Path(point + place.path + below, file).read_text() == Path(point, file).read_text()
    assert place.start(manager, "true").wait() == 0
    manager.delete()
    place.manager("a").delete()


def test_cpuset_as_configured(place: Place) -> None:
    last = str(max(os.sched_getaffinity(0)))
    manager = place.made({"cpu": {"cpus": last, "mems": "0"}})
    process = place.start(manager, "sleep", "60")
    assert os.sched_getaffinity(process.pid) == {int(last)}
    assert (value(manager, "cpuset", "cpuset.cpus"), value(manager, "cpuset", "cpuset.mems")) == (last, "0")
    manager.delete()
    again = place.manager("other")
    again.create()
    with pytest.raises(PyruncError) as caught:
        again.set({"cpu": {"mems": "4000"}})
    assert caught.value.pointer == "/linux/resources/cpu/mems"
    assert "write '4000' to " + again.paths["cpuset"] + "/cpuset.mems: " in caught.value.message
    again.delete()


# --- limits


def test_usual_limits(place: Place) -> None:
    manager = place.made(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 10000},
            "pids": {"limit": 100},
        }
    )
    assert number(manager, "memory", "memory.limit_in_bytes") == 64 * MIB
    assert number(manager, "memory", "memory.memsw.limit_in_bytes") == 96 * MIB
    assert number(manager, "memory", "memory.soft_limit_in_bytes") == 32 * MIB
    assert number(manager, "memory", "memory.swappiness") == 10
    assert number(manager, "cpu", "cpu.shares") == 512
    assert number(manager, "cpu", "cpu.cfs_quota_us") == 20000
    assert number(manager, "cpu", "cpu.cfs_period_us") == 50000
    assert number(manager, "cpu", "cpu.cfs_burst_us") == 10000
    assert number(manager, "pids", "pids.max") == 100
    manager.delete()


def test_zero_is_not_asked(place: Place) -> None:
    """Engines write 0 for what they were not told."""
    manager = place.made(
        {
            "memory": {"limit": 0, "swap": 0, "reservation": 0, "swappiness": 2**64 - 1, "disableOOMKiller": False},
            "cpu": {
                "shares": 0,
                "quota": 0,
                "period": 0,
                "realtimeRuntime": 0,
                "realtimePeriod": 0,
                "cpus": "",
                "mems": "",
            },
            "blockIO": {"weight": 0},
            "network": {"classID": 0, "priorities": []},
        }
    )
    assert number(manager, "memory", "memory.limit_in_bytes") == UNLIMITED
    assert number(manager, "cpu", "cpu.shares") == 1024
    assert number(manager, "cpu", "cpu.cfs_quota_us") == -1
    manager.delete()


@pytest.mark.parametrize(("limit", "written"), [(0, "1"), (-1, "max"), (-7, "max"), (3, "3")])
def test_pids_limit(place: Place, limit: int, written: str) -> None:
    manager = place.made({"pids": {"limit": limit}})
    assert value(manager, "pids", "pids.max") == written
    # 0 is a limit: the process that joins may not fork.
    forks = place.python(manager, "import os, sys\nprint(flush=True)\ntry: os.fork()\nexcept OSError: sys.exit(3)")
    assert forks.wait() == (3 if limit == 0 else 0)
    manager.delete()


MEMORY_STEPS = [
    (64, 128),
    (256, 512),  # raise both: memsw has to go first
    (32, 48),  # lower both: the limit first
    (48, 48),
    (-1, None),  # unlimited memory takes the limit of memory and swap along
    (64, -1),
    (-1, -1),
    (16, 16),
]


def test_memory_and_swap_in_any_order(place: Place) -> None:
    manager = place.made()
    for limit, swap in MEMORY_STEPS:
        memory: Memory = {"limit": limit * MIB if limit > 0 else limit}
        if swap is not None:
            memory["swap"] = swap * MIB if swap > 0 else swap
        manager.update({"memory": memory})
        expected = (limit, -1 if swap is None else swap)
        for file, mib in zip(("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), expected, strict=True):
            assert number(manager, "memory", file) == (mib * MIB if mib > 0 else UNLIMITED), (limit, swap)
    manager.delete()


def test_memory_above_swap(place: Place) -> None:
    manager = place.made({"memory": {"limit": 16 * MIB, "swap": 32 * MIB}})
    with pytest.raises(PyruncError, match="Invalid argument") as caught:
        manager.update({"memory": {"limit": 64 * MIB}})
    assert caught.value.hint is not None and "memory.swap" in caught.value.hint
    with pytest.raises(ConfigError, match="can't be below the limit"):
        manager.update({"memory": {"limit": 64 * MIB, "swap": 63 * MIB}}, pointer="")
    assert number(manager, "memory", "memory.limit_in_bytes") == 16 * MIB
    manager.delete()


def test_memory_below_usage(place: Place) -> None:
    manager = place.made({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    holder = place.python(
        manager,
        "import mmap, time\nm = mmap.mmap(-1, 16 << 20)\nm.write(b'x' * (16 << 20))\nprint(flush=True)\ntime.sleep(60)",
    )
    with pytest.raises(PyruncError, match=r"Device or resource busy \(current usage: \d+, peak usage: \d+\)") as caught:
        manager.update({"memory": {"limit": 8 * MIB, "swap": 8 * MIB}}, pointer="/linux/resources")
    assert caught.value.errno == errno.EBUSY and caught.value.pointer == "/linux/resources/memory/limit"
    with pytest.raises(PyruncError, match=r"^rejecting memory limit \d+ <= usage \d+$"):
        manager.update({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}})
    assert number(manager, "memory", "memory.limit_in_bytes") == 64 * MIB
    assert holder.poll() is None
    manager.delete()


def test_oom_killer_hierarchy_and_kernel_memory(place: Place) -> None:
    manager = place.manager()
    manager.create()
    warnings = manager.set(
        {"memory": {"disableOOMKiller": True, "useHierarchy": True, "kernel": 1 << 30, "kernelTCP": 1 << 30}}
    )
    assert ["Kernel memory" in warning for warning in warnings] == [True]
    assert "oom_kill_disable 1" in value(manager, "memory", "memory.oom_control")
    manager.update({"memory": {"disableOOMKiller": False}})
    assert "oom_kill_disable 0" in value(manager, "memory", "memory.oom_control")
    for swappiness in (101, -2):
        with pytest.raises(ConfigError, match="invalid memory swappiness"):
            manager.update({"memory": {"swappiness": swappiness}})
    manager.delete()


def test_cpu_quota_and_period_in_any_order(place: Place) -> None:
    """Below a parent of half a processor: a new period with the old quota may be too much, and so may burst."""
    pod = place.made({"cpu": {"quota": 50000, "period": 100000}}, "pod")
    manager = place.made({"cpu": {"quota": 50000, "period": 100000}}, "pod/box")
    steps = [(5000, 20000, 5000), (40000, 100000, 0), (1000, 2000, 1000), (400000, 1000000, 400000), (10000, 20000, 0)]
    for quota, period, burst in steps:
        manager.update({"cpu": {"quota": quota, "period": period, "burst": burst}})
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us")
        assert tuple(number(manager, "cpu", file) for file in files) == (quota, period, burst)
    with pytest.raises(PyruncError, match=r"cpu.cfs_quota_us: Invalid argument"):
        manager.update({"cpu": {"quota": 60000, "period": 100000}})
    assert [number(manager, "cpu", file) for file in ("cpu.cfs_quota_us", "cpu.cfs_period_us")] == [10000, 20000]
    pod.update({"cpu": {"quota": -1}})
    assert number(pod, "cpu", "cpu.cfs_quota_us") == -1
    pod.delete()


def test_cpu_shares_and_idle(place: Place) -> None:
    manager = place.made({"cpu": {"shares": 2}})
    assert number(manager, "cpu", "cpu.shares") == 2
    for shares, word in ((1, "minimum"), (262145, "maximum")):
        with pytest.raises(ConfigError, match=word + " allowed cpu-shares is") as caught:
            manager.set({"cpu": {"shares": shares}})
        assert caught.value.pointer == "/linux/resources/cpu/shares"
    manager.update({"cpu": {"idle": 1, "shares": 600}})
    assert number(manager, "cpu", "cpu.idle") == 1
    manager.update({"cpu": {"idle": 0, "shares": 700}})
    assert (number(manager, "cpu", "cpu.idle"), number(manager, "cpu", "cpu.shares")) == (0, 700)
    manager.delete()


def test_realtime_period_and_runtime(place: Place) -> None:
    point = HOST.mounts["cpu"][0]
    if not os.path.exists(point + "/cpu.rt_runtime_us"):
        pytest.skip("no real-time group scheduling")
    manager = place.made(name="rt")
    with pytest.raises(PyruncError, match=r"cpu.rt_runtime_us"):
        # Its parent has nothing to give.
        manager.update({"cpu": {"realtimeRuntime": 1000}})
    parent = Path(point + place.path, "cpu.rt_runtime_us")
    parent.write_text("20000")
    for runtime, period in ((10000, 500000), (5000, 250000), (20000, 1000000)):
        manager.update({"cpu": {"realtimeRuntime": runtime, "realtimePeriod": period}})
        found = (number(manager, "cpu", "cpu.rt_runtime_us"), number(manager, "cpu", "cpu.rt_period_us"))
        assert found == (runtime, period)
    manager.delete()


def test_block_io(place: Place) -> None:
    root = os.stat("/").st_dev
    if not os.major(root):
        pytest.skip("no block device below /")
    block = Path(f"/sys/dev/block/{os.major(root)}:{os.minor(root)}").resolve()
    while not (block / "queue").exists():
        block = block.parent
    major, minor = (int(word) for word in (block / "dev").read_text().split(":"))
    rates = {
        "throttleReadBpsDevice": "read_bps",
        "throttleWriteBpsDevice": "write_bps",
        "throttleReadIOPSDevice": "read_iops",
        "throttleWriteIOPSDevice": "write_iops",
    }
    asked: dict[str, Any] = {
        key: [{"major": major, "minor": minor, "rate": 1000000 + index}] for index, key in enumerate(rates)
    }
    manager = place.made({"blockIO": asked})
    for index, file in enumerate(rates.values()):
        found = value(manager, "blkio", "blkio.throttle." + file + "_device")
        assert found == f"{major}:{minor} {1000000 + index}"
    # A failed update sets one device back, and one that had no rate to none.
    with pytest.raises(PyruncError, match=r"blkio.throttle.write_iops_device") as caught:
        manager.update(
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 5}],
                    "throttleWriteIOPSDevice": [{"major": 4000, "minor": 0, "rate": 5}],
                }
            },
            pointer="/linux/resources",
        )
    assert caught.value.errno == errno.ENODEV
    assert caught.value.pointer == "/linux/resources/blockIO/throttleWriteIOPSDevice/0"
    assert value(manager, "blkio", "blkio.throttle.read_bps_device") == f"{major}:{minor} 1000000"
    with pytest.raises(PyruncError, match="leaf_weight"):
        manager.update({"blockIO": {"leafWeight": 10}})
    manager.delete()


def test_block_io_weight(place: Place) -> None:
    manager = place.manager()
    manager.create()
    file = next(
        (f for f in ("blkio.weight", "blkio.bfq.weight") if os.path.exists(manager.paths["blkio"] + "/" + f)), None
    )
    try:
        if file is None:
            with pytest.raises(PyruncError, match=r"blkio.bfq.weight: No such file"):
                manager.set({"blockIO": {"weight": 500}})
        else:
            manager.set({"blockIO": {"weight": 500}})
            assert number(manager, "blkio", file) == 500
    finally:
        manager.delete()


def test_huge_page_size_is_no_path(place: Place) -> None:
    manager = place.made()
    for size in ("../../memory/x", "2 MB", ""):
        with pytest.raises(ConfigError, match="invalid huge page size"):
            manager.update({"hugepageLimits": [{"pageSize": size, "limit": 0}]})
    manager.delete()


def test_update_takes_back(place: Place) -> None:
    first = {
        "memory": {"limit": 64 * MIB, "swap": 128 * MIB, "reservation": 8 * MIB},
        "cpu": {"shares": 300, "quota": 20000, "period": 100000, "cpus": "0"},
        "pids": {"limit": 100},
    }
    manager = place.made(first)
    files = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("memory", "memory.oom_control"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.idle"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpuset", "cpuset.cpus"),
        ("pids", "pids.max"),
    ]
    before = [value(manager, *file) for file in files]
    every = Path(HOST.mounts["cpuset"][0] + place.path, "cpuset.cpus").read_text().strip()
    last: tuple[CPU, ...] = ({"shares": 999}, {"idle": 1})
    for cpu in last:
        with pytest.raises(PyruncError, match="the rdma cgroup is not mounted"):
            manager.update(
                {
                    "memory": {"limit": 512 * MIB, "swap": 900 * MIB, "reservation": MIB, "disableOOMKiller": True},
                    "cpu": {"quota": 90000, "period": 200000, "cpus": every, **cpu},
                    "pids": {"limit": -1},
                    "rdma": {"none0": {"hcaHandles": 3}},
                }
            )
        assert [value(manager, *file) for file in files] == before
    manager.delete()


def test_update_leaves_devices(place: Place) -> None:
    manager = place.made({"devices": [{"allow": False, "access": "rwm"}]})
    before = value(manager, "devices", "devices.list")
    manager.update({"devices": [{"allow": True, "access": "rwm"}]})
    assert value(manager, "devices", "devices.list") == before
    manager.delete()


# --- devices

PROBE = """
import errno, os, stat, sys
base = sys.argv[1]
print(flush=True)
for line in sys.stdin:
    verdicts = ""
    for word in line.split():
        kind, major, minor, access = word.split(",")
        path = base + "/" + "-".join((kind, major, minor))
        try:
            if access == "m":
                type_ = stat.S_IFCHR if kind == "c" else stat.S_IFBLK
                os.mknod(path + "-made", type_ | 0o600, os.makedev(int(major), int(minor)))
                os.unlink(path + "-made")
            else:
                flag = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[access]
                os.close(os.open(path, flag | os.O_NONBLOCK))
            verdicts += "1"
        except OSError as exc:
            # Allowed, and then there is no driver behind the number.
            verdicts += "1" if exc.errno in (errno.ENXIO, errno.ENODEV) else "0" if exc.errno == errno.EPERM else "?"
    print(verdicts, flush=True)
"""


class Probe:
    """A process in the devices cgroup that tries to use devices nobody drives."""

    def __init__(self, place: Place, manager: Manager, folder: Path, numbers: list[tuple[str, int, int]]) -> None:
        for kind, major, minor in numbers:
            type_ = stat.S_IFCHR if kind == "c" else stat.S_IFBLK
            os.mknod(folder / f"{kind}-{major}-{minor}", type_ | 0o600, os.makedev(major, minor))
        self.process = place.start(manager, sys.executable, "-c", PROBE, str(folder))
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.questions = [(*device, access) for device in numbers for access in ("r", "w", "rw", "m")]

    def ask(self) -> dict[tuple[str, int, int, str], bool]:
        assert self.process.stdin is not None and self.process.stdout is not None
        words = " ".join(",".join(str(part) for part in question) for question in self.questions)
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().strip()
        assert len(answer) == len(self.questions) and set(answer) <= {"0", "1"}, answer
        return dict(zip(self.questions, (letter == "1" for letter in answer), strict=True))


def free_majors(kind: str) -> list[int]:
    """Two numbers of no driver."""
    section = Path("/proc/devices").read_text().split("Block devices:")[0 if kind == "c" else 1]
    taken = {int(line.split()[0]) for line in section.splitlines() if line[:4].strip().isdigit()}
    return [major for major in range(240, 255) if major not in taken][:2]


def bits(access: str) -> int:
    return sum(device_rules.ACCESS[letter] for letter in access)


def test_device_rules_in_order(place: Place, tmp_path: Path) -> None:
    """Random rules of every form: the controller's verdicts are those of the rules taken one after another."""
    manager = place.made()
    shared = [major for major in free_majors("c") if major in free_majors("b")]
    one, other = shared[:2]
    numbers = [(kind, major, minor) for kind in "cb" for major in (one, other) for minor in (0, 1)]
    probe = Probe(place, manager, tmp_path, numbers)
    dice = random.Random(4)
    tried = refused = 0
    while tried < 250:
        configured: list[Any] = []
        for _ in range(dice.randrange(1, 7)):
            rule: dict[str, Any] = {
                "allow": dice.random() < 0.55,
                "access": dice.choice(["r", "w", "m", "rw", "wm", "rwm", "rwm"]),
            }
            rule |= dice.choice([{}, {"type": "a"}, {"type": "c"}, {"type": "c"}, {"type": "b"}])
            rule |= dice.choice([{}, {"major": one}, {"major": one}, {"major": other}, {"major": -1}])
            rule |= dice.choice([{}, {"minor": 0}, {"minor": 0}, {"minor": 1}])
            configured.append(rule)
        rules = device_rules.parse(configured)
        try:
            default, exceptions = device_rules.reduce(rules, ())
        except ConfigError:
            refused += 1
            continue
        tried += 1
        for file, values in device_rules.v1_writes(default, exceptions):
            for text in values:
                Path(manager.paths["devices"], file).write_text(text)
        for (kind, major, minor, access), verdict in probe.ask().items():
            assert verdict == device_rules.allowed(rules, kind, major, minor, bits(access)), (
                configured,
                kind,
                major,
                minor,
                access,
            )
    assert refused > 20
    manager.delete()


def test_default_devices(place: Place, tmp_path: Path) -> None:
    manager = place.made({"devices": [{"allow": False, "access": "rwm"}]})
    assert set(value(manager, "devices", "devices.list").splitlines()) == {
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 10:200 rwm",
        "c 136:* rwm",
    }
    # Physical memory.
    os.mknod(tmp_path / "mem", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    program = "import os, sys\nopen('/dev/null', 'w').close()\nos.open('/dev/urandom', os.O_RDONLY)\n"
    program += "try: os.open(sys.argv[1], os.O_RDONLY)\nexcept PermissionError: raise SystemExit(5)"
    assert place.start(manager, sys.executable, "-c", program, str(tmp_path / "mem")).wait() == 5
    manager.delete()
    every = place.made({"devices": [{"allow": True, "access": "rwm"}]}, "privileged")
    assert value(every, "devices", "devices.list") == "a *:* rwm"
    every.delete()
    # Nothing configured: nothing but the defaults.
    bare = place.made({}, "bare")
    assert "a *:* rwm" not in value(bare, "devices", "devices.list")
    bare.delete()


def test_device_rule_of_v1_that_cannot_be(place: Place) -> None:
    manager = place.manager()
    manager.create()
    rules: list[DeviceRule] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 136, "access": "rwm"},
        {"allow": False, "type": "c", "major": 136, "minor": 5, "access": "w"},
    ]
    with pytest.raises(ConfigError, match=r"cannot except c 136:5 w from c 136:\* rwm") as caught:
        manager.set({"devices": rules})
    assert caught.value.pointer == "/linux/resources/devices/2"
    manager.delete()


# --- freezing and killing


def test_freeze_and_thaw(place: Place) -> None:
    manager = place.made()
    process = place.python(manager, "import time\nprint(flush=True)\nwhile True: time.sleep(0.001); print(flush=True)")
    manager.freeze()
    assert manager.frozen() and value(manager, "freezer", "freezer.state") == "FROZEN"
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    while process.stdout.read(65536):
        pass
    assert select.select([process.stdout], [], [], 0.1)[0] == []
    manager.thaw()
    assert not manager.frozen()
    assert select.select([process.stdout], [], [], 10)[0] == [process.stdout]
    manager.delete()


def test_frozen_above_is_not_paused(place: Place) -> None:
    pod, manager = place.made(name="pod"), place.made(name="pod/box")
    pod.freeze()
    assert value(manager, "freezer", "freezer.state") == "FROZEN" and not manager.frozen()
    pod.thaw()
    pod.delete()


def test_freeze_while_forking(place: Place) -> None:
    manager = place.made({"pids": {"limit": 50}})
    forks = """
import os
print(flush=True)
while True:
    try:
        if not os.fork(): os._exit(0)
    except OSError: pass
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except OSError: pass
"""
    place.python(manager, forks)
    for _ in range(20):
        manager.freeze()
        assert manager.frozen()
        manager.thaw()
    manager.delete()


def test_kill_all_of_a_fork_bomb(place: Place) -> None:
    manager = place.made({"pids": {"limit": 200}})
    bomb = "import os\nprint(flush=True)\nwhile True:\n try: os.fork()\n except OSError: pass"
    place.python(manager, bomb)
    while number(manager, "pids", "pids.current") < 150:
        time.sleep(0.001)
    manager.kill_all()
    manager.delete()
    assert not manager.exists()


def test_kill_all_with_another_signal(place: Place) -> None:
    manager = place.made()
    handler = "import signal, sys, time\n"
    handler += "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\nprint(flush=True)\ntime.sleep(60)"
    processes = [place.python(manager, handler) for _ in range(3)]
    manager.freeze()
    manager.kill_all(signal.SIGUSR1)
    # A paused container stays paused, and gets the signal when it is resumed.
    assert manager.frozen() and [process.poll() for process in processes] == [None, None, None]
    manager.thaw()
    assert [process.wait() for process in processes] == [9, 9, 9]
    manager.kill_all()
    manager.delete()


def test_delete_of_a_frozen_cgroup(place: Place) -> None:
    manager = place.made()
    process = place.start(manager, "sleep", "60")
    manager.freeze()
    manager.delete()
    assert process.wait() == -signal.SIGKILL


def test_delete_with_processes_in_frozen_child_cgroups(place: Place) -> None:
    """What a container with writable cgroups can leave: in one hierarchy other children than in the next."""
    manager = place.made()
    process = place.python(manager, "import time\nprint(flush=True)\ntime.sleep(60)")
    second = place.python(manager, "import time\nprint(flush=True)\ntime.sleep(60)")
    for controller, below, pid in (
        ("freezer", "x/y", process.pid),
        ("memory", "deep/er/and/deeper", second.pid),
        ("devices", "z", process.pid),
    ):
        directory = manager.paths[controller] + "/" + below
        os.makedirs(directory)
        Path(directory, "cgroup.procs").write_text(str(pid))
    Path(manager.paths["freezer"], "x/freezer.state").write_text("FROZEN")
    assert manager.pids() == sorted([process.pid, second.pid])
    assert manager.pids(recursive=False) == [second.pid]
    assert not manager.frozen()
    manager.delete()
    assert (process.wait(), second.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    assert not manager.exists()


def test_delete_of_cgroups_deeper_than_any_path(place: Place) -> None:
    manager = place.made()
    start = os.open(manager.paths["memory"], os.O_RDONLY)
    fd = os.dup(start)
    for _ in range(40):
        os.mkdir("n" * 250, dir_fd=fd)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    process = place.python(manager, "import time\nprint(flush=True)\ntime.sleep(60)")
    procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd)
    os.write(procs, str(process.pid).encode())
    for each in (procs, fd, start):
        os.close(each)
    manager.delete()
    assert process.wait() == -signal.SIGKILL and not manager.exists()


def test_delete_without_killing(place: Place) -> None:
    manager = place.made()
    process = place.start(manager, "sleep", "60")
    with pytest.raises(PyruncError, match=f"Device or resource busy: processes {process.pid}") as caught:
        manager.delete(kill=False)
    assert caught.value.errno == errno.EBUSY and process.poll() is None
    process.kill()
    process.wait()
    manager.delete(kill=False)


def test_removed_by_somebody_else(place: Place) -> None:
    manager = place.made()
    for directory in list(dict.fromkeys(manager.paths.values()))[::2]:
        os.rmdir(directory)
    assert manager.pids() in ([], []) and not manager.frozen()
    manager.kill_all()
    manager.thaw_all()
    manager.delete()
    manager.kill_all()
    assert manager.pids() == [] and manager.oom_kills() is None and not manager.exists()
    with pytest.raises(PyruncError, match="No such file or directory"):
        manager.join_fds()
    with pytest.raises(PyruncError, match="No such file or directory"):
        manager.update({"pids": {"limit": 5}})


def test_children_that_come_and_go_while_we_look(place: Place) -> None:
    manager = place.made()
    churn = """
import os, sys
print(flush=True)
while True:
    for name in "abc":
        os.mkdir(sys.argv[1] + "/" + name); os.mkdir(sys.argv[1] + "/" + name + "/in")
    for name in "abc":
        os.rmdir(sys.argv[1] + "/" + name + "/in"); os.rmdir(sys.argv[1] + "/" + name)
"""
    process = place.start(manager, sys.executable, "-c", churn, manager.paths["devices"])
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(200):
        assert manager.pids() == [process.pid]
    manager.delete()
    assert process.wait() == -signal.SIGKILL


def test_add_and_sub_cgroups(place: Place) -> None:
    manager = place.made()
    place.start(manager, "sleep", "60")
    os.mkdir(manager.paths["memory"] + "/sub")
    process = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(ConfigError, match="bad sub cgroup path"):
            manager.join_fds({"memory": "../box-evil"})
        with pytest.raises(ConfigError, match="bad sub cgroup path"):
            manager.add(process.pid, {"": "sub/../../box"})
        with pytest.raises(ConfigError, match="unknown controller nonsense"):
            manager.join_fds({"nonsense": "sub"})
        with pytest.raises(PyruncError, match="missing/tasks: No such file"):
            manager.join_fds({"memory": "missing"})
        manager.add(process.pid, {"memory": "/sub"})
        where = own_cgroups(process.pid)
        assert where.pop("memory") == place.path + "/box/sub"
        assert {where[name] for name in manager.paths if name != "memory"} == {place.path + "/box"}
    finally:
        manager.delete()
        assert process.wait() == -signal.SIGKILL


# --- counters


def test_out_of_memory(place: Place) -> None:
    manager = place.made({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    assert manager.oom_kills() == 0
    event = manager.watch_oom()
    try:
        assert select.select([event], [], [], 0)[0] == []
        hog = place.start(
            manager, sys.executable, "-c", "x = bytearray(64 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1"
        )
        assert select.select([event], [], [], 30)[0] == [event]
        assert int.from_bytes(os.read(event, 8), sys.byteorder) >= 1 and manager.exists()
        assert hog.wait() == -signal.SIGKILL
        assert manager.oom_kills() == 1
        manager.delete()
        # The end of the cgroup wakes whoever watches it, too.
        assert select.select([event], [], [], 10)[0] == [event] and not manager.exists()
    finally:
        os.close(event)


def test_stats(place: Place) -> None:
    manager = place.made(
        {"memory": {"limit": 64 * MIB}, "cpu": {"quota": 10000, "period": 100000}, "pids": {"limit": 9}}
    )
    place.python(manager, "print(flush=True)\nwhile True: pass")
    deadline = time.monotonic() + 30
    while (manager.stats()["cpu"].get("throttling") or {}).get("throttledPeriods", 0) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stats = manager.stats()
    assert list(stats) == ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"]
    usage = stats["cpu"]["usage"]
    assert 0 < usage["total"] <= sum(usage["percpu"]) + 10**9
    assert len(usage["percpu"]) == len(usage["percpu_kernel"]) == len(usage["percpu_user"]) == os.cpu_count()
    assert {"kernel", "user"} <= set(usage)
    throttling = stats["cpu"]["throttling"]
    assert usage["total"] <= (throttling["periods"] + 1) * 10_000_000 + 10_000_000
    assert throttling["throttledTime"] > 0
    assert stats["memory"]["usage"]["limit"] == 64 * MIB and stats["memory"]["usage"]["failcnt"] == 0
    assert 0 < stats["memory"]["usage"]["usage"] <= stats["memory"]["usage"]["max"]
    assert stats["memory"]["raw"]["hierarchical_memory_limit"] == 64 * MIB
    assert stats["pids"] == {"current": 1, "limit": 9}
    assert set(stats["cpuset"]["cpus"]) >= os.sched_getaffinity(0) and stats["cpuset"]["mems"] == [0]
    assert stats["cpuset"]["sched_relax_domain_level"] == -1
    json.dumps(stats)
    manager.delete()
    assert manager.stats()["cpu"] == {} and manager.stats()["pids"] == {}


# --- inside a container

NESTED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.v1.manager import Manager
host = hierarchies.detect()
result = {"mode": host.mode, "mounts": {**host.mounts, "unified": host.unified}}
for key, asked in (("absolute", "/inner/abs"), ("relative", "inner/rel"), ("unset", None)):
    manager = Manager(hierarchies.paths(host, asked, "inner-id"))
    result[key] = manager.paths
    manager.create()
    manager.set({})
    fds = manager.join_fds()
print(json.dumps(result))
"""


@pytest.mark.parametrize("namespace", [False, True])
def test_inside_a_container(place: Place, namespace: bool) -> None:
    """The mounts show a part of each hierarchy as their root; /proc/self/cgroup counts from elsewhere or, in a cgroup
    namespace, from there too.
    """
    manager = place.made()
    binds = "".join(f"mount --bind {directory} {MOUNTS[name][0]} && " for name, directory in manager.paths.items())
    inside = f"{binds}exec {'unshare -C' if namespace else ''} /usr/bin/python3 - {TOP}"
    process = place.start(manager, "unshare", "-m", "sh", "-c", inside)
    output, _ = process.communicate(NESTED.encode())
    assert process.returncode == 0
    result = json.loads(output)
    root = "/" if namespace else place.path + "/box"
    assert result["mode"] == "v1"
    for name in manager.paths:
        assert result["mounts"][name] == [MOUNTS[name][0], root]
    for key, below in (("absolute", "/inner/abs"), ("relative", "/inner/rel"), ("unset", "/inner-id")):
        for name, directory in manager.paths.items():
            assert result[key][name] == MOUNTS[name][0] + below
            assert os.path.isdir(directory + below)
    manager.delete()


# --- more controllers, and less privilege

MORE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.v1.manager import Manager
from pyrunc.errors import PyruncError
host = hierarchies.detect()
manager = Manager(hierarchies.paths(host, sys.argv[2] + "/more", "unused"))
manager.create()
def value(controller, file):
    with open(manager.paths[controller] + "/" + file) as stream:
        return stream.read().split("\\n")
result = {}
try:
    manager.set({
        "network": {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
    })
    fds = manager.join_fds()
    result["fds"] = len(fds)
    child = os.fork()
    if not child:
        manager.join(fds)
        with open("/proc/self/cgroup") as stream:
            inside = stream.read().count(sys.argv[2] + "/more\\n")
        os._exit(inside)
    result["inside"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for fd in fds:
        os.close(fd)
    try:
        manager.update({
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "3MB", "limit": 0}],
            "network": {"priorities": [{"name": "lo", "priority": 9}]},
        })
    except PyruncError as exc:
        result["error"] = exc.message
    result["files"] = [
        value("net_cls", "net_cls.classid")[0],
        [line for line in value("net_prio", "net_prio.ifpriomap") if line.startswith("lo ")],
        value("hugetlb", "hugetlb.2MB.limit_in_bytes")[0],
        value("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes")[0],
    ]
    result["together"] = manager.paths["net_cls"] == manager.paths["net_prio"]
    result["perf_event"] = os.path.isdir(manager.paths["perf_event"])
    result["hugetlb"] = manager.stats()["hugetlb"]["2MB"]
finally:
    manager.delete()
    for name in ("net_cls", "hugetlb", "perf_event"):
        os.rmdir(os.path.dirname(manager.paths[name]))
print(json.dumps(result))
"""


def unmounted(names: set[str]) -> set[str]:
    """Which of the controllers the kernel has and are in no v1 hierarchy."""
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    return {words[0] for words in lines if words[0] in names and words[1] == "0" and words[3] == "1"}


def release(hierarchies: tuple[str, ...], point: Path) -> None:
    """End hierarchies nobody has mounted: they outlive a mount whose cgroups were not quite gone at its end."""
    names = {name for names in hierarchies for name in names.split(",")}
    deadline = time.monotonic() + 20
    while unmounted(names) != names and time.monotonic() < deadline:
        for each in hierarchies:
            command = f"mount -t cgroup -o {each} cgroup {point} && umount {point}"
            subprocess.run(["unshare", "-m", "sh", "-c", command])
        time.sleep(0.1)


def test_controllers_that_are_not_mounted_here(place: Place, tmp_path: Path) -> None:
    """Mounted for the time of the test, in a mount namespace of its own; two of them together."""
    hierarchies = ("net_cls,net_prio", "hugetlb", "perf_event")
    names = {name for names in hierarchies for name in names.split(",")}
    if unmounted(names) != names:
        pytest.skip("mounted or not in this kernel: " + " ".join(sorted(names - unmounted(names))))
    mounts = "".join(
        f"mkdir {tmp_path}/{each} && mount -t cgroup -o {each} cgroup {tmp_path}/{each} && " for each in hierarchies
    )
    command = ["unshare", "-m", "sh", "-c", f"{mounts} exec /usr/bin/python3 - {TOP} {place.path}"]
    try:
        run = subprocess.run(command, input=MORE.encode(), stdout=subprocess.PIPE, check=True, timeout=60)
    finally:
        release(hierarchies, tmp_path)
    assert unmounted(names) == names
    result = json.loads(run.stdout)
    assert result["fds"] == result["inside"] == len({point for point, _ in HOST.mounts.values()}) + 3
    assert "hugetlb.3MB.limit_in_bytes: No such file" in result["error"]
    assert result["files"] == [str(0x100001), ["lo 5"], str(4 << 20), str(4 << 20)]
    assert result["together"] and result["perf_event"]
    assert result["hugetlb"] == {}


ROOTLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.v1.manager import Manager
from pyrunc.errors import PyruncError
def manager(optional, rootless=True):
    return Manager(hierarchies.paths(hierarchies.detect(), sys.argv[2] + "/x", "unused"), rootless, optional)
for rootless in (False, True):
    try:
        manager(False, rootless).create()
    except PyruncError as exc:
        print(exc.message, exc.pointer)
mine = manager(True)
mine.create()
mine.set({})
print(mine.paths, mine.join_fds(), mine.exists(), mine.frozen(), mine.pids())
mine.delete()
try:
    mine.set({"pids": {"limit": 5}})
except PyruncError as exc:
    print(exc.message)
"""


def test_without_privilege(place: Place, public_tree: Path) -> None:
    """No cgroup at all is fine for an ordinary user who asked for none, as long as no limit is asked for."""
    command = ["/usr/bin/python3", "-c", ROOTLESS, str(public_tree), place.path]
    run = subprocess.run(command, user=65534, group=65534, stdout=subprocess.PIPE, check=True, cwd="/")
    *asked, second, third = run.stdout.decode().splitlines()
    for text in asked:
        assert text.startswith("unable to apply cgroup configuration: make cgroup /")
        assert text.endswith(place.path + "/x: permission denied /linux/cgroupsPath")
    assert len(asked) == 2 and second == "{} [] False False []"
    assert third.startswith("cannot limit pids.max: rootless needs no limits + no cgrouppath when no permission")


FOREIGN = """
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.v1.manager import Manager
mine = Manager(hierarchies.paths(hierarchies.detect(), sys.argv[2] + "/box", "unused"), rootless=True, optional=True)
recorded = mine.paths
mine.check()
mine.create()
mine.set({})
print(recorded is mine.paths, mine.paths, mine.join_fds(), mine.clone_fd(), mine.pids())
mine.kill_all()
mine.delete()
"""


def test_a_foreign_cgroup_of_the_containers_name(place: Place, public_tree: Path) -> None:
    """It stops nobody who asked for none, and has nothing to do with the container."""
    theirs = place.made()
    process = place.start(theirs, "sleep", "60")
    command = ["/usr/bin/python3", "-c", FOREIGN, str(public_tree), place.path]
    run = subprocess.run(command, user=65534, group=65534, stdout=subprocess.PIPE, check=True, cwd="/")
    assert run.stdout.decode() == "True {} [] -1 []\n"
    assert process.poll() is None and theirs.pids() == [process.pid]
    theirs.delete()


def test_many_at_once(place: Place) -> None:
    """Containers made and deleted side by side below one parent, which somebody else removes whenever it is empty."""
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.v1.manager import Manager
for i in range(40):
    manager = Manager(hierarchies.paths(hierarchies.detect(), f"{sys.argv[2]}/pod/{os.getpid()}-{i}", ""))
    manager.create()
    manager.set({"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 50}})
    fds = manager.join_fds()
    if not os.fork():
        manager.join(fds)
        if os.fork():
            os._exit(0)
        os.execv("/bin/sleep", ["sleep", "60"])
    for fd in fds:
        os.close(fd)
    os.wait()
    manager.delete()
    assert not manager.exists()
"""
    command = ["/usr/bin/python3", "-c", code, str(TOP), place.path]
    workers = [subprocess.Popen(command) for _ in range(4)]
    while any(worker.poll() is None for worker in workers):
        for tree in place.trees():
            try:
                os.rmdir(tree + "/pod")
            except OSError:
                pass
        time.sleep(0.002)
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    place.manager("pod").delete()
