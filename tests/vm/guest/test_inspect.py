"""inspect and top on cgroup v2: what was asked for beside what the kernel has, and the pressure that only it counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.workplace import Bundle, MakeBundle

from .support import cgroup, limit, put_in_scope


def differing(box: Bundle, *flags: str) -> dict[str, Any]:
    """Pointer to what the kernel has."""
    found = json.loads(box.call("inspect", "--json", box.id, flags=flags).ok().stdout)
    return {one["pointer"] or one["name"]: one["effective"] for one in found["properties"] if one["differs"]}


@pytest.mark.parametrize("systemd", [False, True], ids=["files", "systemd"])
def test_limits_and_what_was_changed_from_outside(systemd: bool, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    flags = ("--systemd-cgroup",) if systemd else ()
    folder = put_in_scope(box) if systemd else cgroup(box)
    limit(
        box,
        memory={"limit": (64 << 20) + 5, "swap": 96 << 20, "reservation": 16 << 20},
        cpu={"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
        pids={"limit": 30},
        blockIO={"weight": 500},
        unified={"memory.high": "50331648"},
    )
    box.run("--detach", flags=flags).ok()
    assert differing(box, *flags) == {}
    box.call("update", "--pids-limit", "40", "--memory", "80m", "--memory-swap", "112m", box.id, flags=flags).ok()
    assert differing(box, *flags) == {}
    for name, value in (("pids.max", "50"), ("memory.high", "max"), ("cpu.max", "max 50000")):
        (folder / name).write_text(value)
    assert differing(box, *flags) == {
        "/linux/resources/pids/limit": "50",
        "/linux/resources/unified/memory.high": "max",
        "/linux/resources/cpu/quota": "max 50000",
    }
    (row,) = json.loads(box.call("top", "--json", box.id).ok().stdout)
    assert (row["pids"], row["pidsLimit"], row["memoryLimit"]) == (1, 50, 80 << 20)
    if Path("/proc/pressure/cpu").exists():
        assert set(row["pressure"]) == {"cpu", "memory", "io"}
    box.delete("--force").ok()


def test_a_paused_process_still_gives_its_filter(bundle: MakeBundle) -> None:
    """Unlike the freezer of cgroup v1, that of v2 lets a debugger stop what is frozen."""
    box = bundle("sleep", "1000")
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.run("--detach").ok()
    box.call("pause", box.id).ok()
    (call,) = json.loads(box.call("inspect", "--json", "--syscall=mkdir", box.id).ok().stdout)["syscalls"]
    assert (call["source"], call["verdicts"][0]["error"]) == ("kernel", "EACCES")
    assert box.status() == "paused"
    box.delete("--force").ok()
