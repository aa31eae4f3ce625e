"""Faults of cgroups and their limits."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cgroups import hierarchies
from tests.support.workplace import Bundle

from .fault import Fault


def limits(**resources: object) -> dict[str, object]:
    return {f"/linux/resources/{name}": value for name, value in resources.items()}


def v1() -> str:
    return "" if "memory" in hierarchies() else "no cgroup v1"


def folder(box: Bundle) -> Path:
    return box.cgroup_dir("memory")


def occupied(box: Bundle) -> None:
    """A process of somebody else's in the container's cgroup."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "100"], {})
    folder(box).mkdir(parents=True)
    (folder(box) / "cgroup.procs").write_text(str(pid))


def freed(box: Bundle) -> None:
    import signal

    for pid in (folder(box) / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)
    folder(box).rmdir()


PART = "/linux/resources"

FAULTS = [
    Fault(
        "a cgroup path that leaves its root",
        ("must name a cgroup below",),
        "absolute path",
        pointer="/linux/cgroupsPath",
        config={"/linux/cgroupsPath": "/../outside"},
    ),
    Fault(
        "a cgroup that is occupied",
        ("container's cgroup is not empty", "1 process(es)"),
        "(sleep)",
        pointer="/linux/cgroupsPath",
        make=occupied,
        after=freed,
    ),
    Fault(
        "swap below the memory limit",
        ("memory swap",),
        "or more",
        pointer=PART + "/memory/swap",
        config=limits(memory={"limit": 64 << 20, "swap": 32 << 20}),
        needs=v1,
    ),
    Fault(
        "a swappiness of 101",
        ("invalid memory swappiness 101",),
        "0 to 100",
        pointer=PART + "/memory/swappiness",
        config=limits(memory={"swappiness": 101}),
    ),
    Fault(
        "unified on cgroup v1",
        ("unified needs cgroup v2",),
        "both versions",
        pointer=PART + "/unified",
        config=limits(unified={"memory.high": "1"}),
        needs=v1,
    ),
    Fault(
        "a unified name with a slash",
        ("must be a file name",),
        "memory.high",
        pointer=PART + "/unified/a~1b",
        config=limits(unified={"a/b": "1"}),
    ),
    Fault(
        "a burst above the quota",
        ("cpu burst",),
        "lower burst",
        pointer=PART + "/cpu/burst",
        config=limits(cpu={"quota": 1000, "burst": 2000}),
    ),
    Fault(
        "a CPU that is not there",
        ("cpuset.cpus",),
        "the cgroup above has",
        pointer=PART + "/cpu/cpus",
        config=limits(cpu={"cpus": "77"}),
    ),
    Fault(
        "a memory node that is not there",
        ("cpuset.mems",),
        "the cgroup above has",
        pointer=PART + "/cpu/mems",
        config=limits(cpu={"mems": "77"}),
    ),
    Fault(
        "a CPU period that is too short",
        ("cpu.cfs_period_us",),
        "value",
        pointer=PART + "/cpu/period",
        config=limits(cpu={"period": 1}),
        needs=v1,
    ),
    Fault(
        "CPU shares beyond the maximum",
        ("cpu shares",),
        "maximum",
        pointer=PART + "/cpu/shares",
        config=limits(cpu={"shares": 300000}),
        needs=v1,
    ),
    Fault(
        "a page size that is none",
        ("3XB",),
        "MB or GB",
        pointer=PART + "/hugepageLimits/0/pageSize",
        config=limits(hugepageLimits=[{"pageSize": "3XB", "limit": 1}]),
    ),
    Fault(
        "a page size that the kernel lacks",
        ("hugetlb",),
        "hugetlb",
        pointer=PART + "/hugepageLimits/0",
        config=limits(hugepageLimits=[{"pageSize": "3MB", "limit": 1}]),
    ),
    Fault(
        "a memory limit below what a container needs",
        ("OOM-killed",),
        "the limit is 4096 bytes",
        pointer=PART + "/memory/limit",
        config=limits(memory={"limit": 4096}),
        needs=v1,
    ),
    Fault(
        "a block device that is not there",
        ("blkio",),
        "value",
        pointer=PART + "/blockIO/throttleReadBpsDevice/0",
        config=limits(blockIO={"throttleReadBpsDevice": [{"major": 999, "minor": 9, "rate": 1000}]}),
        needs=v1,
    ),
    Fault(
        "a weight for no device",
        ("neither weight nor leafWeight",),
        "add weight",
        pointer=PART + "/blockIO/weightDevice/0",
        config=limits(blockIO={"weightDevice": [{"major": 8, "minor": 0}]}),
    ),
    Fault(
        "an rdma device without limits",
        ("neither hcaHandles nor hcaObjects",),
        "add one",
        pointer=PART + "/rdma/mlx5_0",
        config=limits(rdma={"mlx5_0": {}}),
    ),
    Fault(
        "limits without a cgroup",
        ("resources cannot be limited without a cgroup",),
        "--cgroup-manager",
        pointer=PART,
        config=limits(memory={"limit": 64 << 20}),
        flags=("--cgroup-manager", "disabled"),
        theirs=False,
    ),
    Fault(
        "systemd where there is none",
        ("systemd is not running",),
        "leave --systemd-cgroup out",
        none="about the host",
        config={"/linux/cgroupsPath": "system.slice:pyrunc:x"},
        flags=("--systemd-cgroup",),
    ),
    Fault(
        "a path where systemd wants three parts",
        ("slice:prefix:name",),
        "system.slice:pyrunc",
        pointer="/linux/cgroupsPath",
        config={"/linux/cgroupsPath": "/a/b"},
        flags=("--systemd-cgroup",),
        needs=lambda: "" if os.path.isdir("/run/systemd/system") else "no systemd",
    ),
    Fault(
        "update below what is used",
        ("memory",),
        "use less",
        none="the value is a flag's, not the config's",
        before="running",
        call=("update", "--memory", "4096", "ID"),
        needs=v1,
    ),
]
