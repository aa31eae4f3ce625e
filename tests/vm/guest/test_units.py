"""What systemd knows of a scope's limits, and that it takes nothing back; whose a scope is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import command
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

from .session import Session
from .support import DISK, SYSTEMD, TOP, cgroup, limit, properties, put_in_scope, read, run, scopes, unit

#: Files that are written to, but hold no setting.
ACTIONS = ("cgroup.procs", "cgroup.threads", "cgroup.kill", "memory.reclaim", "memory.peak", "cgroup.pressure")
OTHER_DISK = Path("/dev/disk-3").resolve()


def numbers(disk: Path) -> str:
    found = disk.stat().st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


def settings(folder: Path) -> dict[str, str]:
    """Every setting of a cgroup."""
    return {
        file.name: read(folder, file.name)
        for file in folder.iterdir()
        if file.is_file()
        and file.stat().st_mode & stat.S_IWUSR
        and file.name not in ACTIONS
        and not file.name.endswith(".pressure")
    }


def reload(folder: Path, *words: str) -> None:
    """daemon-reload, and time for systemd to write its files again."""
    command("systemctl", *words, "daemon-reload")
    command("systemctl", *words, "set-property", "--runtime", folder.name, "Description=again")
    time.sleep(1)


NAMED: dict[str, Any] = {
    "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
    # Not in whole hundredths of a processor: systemd keeps no more.
    "cpu": {"shares": 512, "quota": 12345, "period": 50000, "cpus": "1", "mems": "0"},
    "pids": {"limit": 30},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 0, "minor": 0, "rate": 1 << 20}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
}
UNIFIED = {
    "memory.min": "131072",
    "memory.low": "524288",
    "memory.high": "20M",
    "memory.max": "41943040",
    "memory.swap.max": "20971520",
    "pids.max": "99",
    "cpu.max": "10000 100000",
    "cpu.weight": "42",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "io.weight": "default 321",
    "io.max": "%s riops=333 wiops=444\n%s rbps=555",
    "cgroup.max.depth": "5",
}
LATER = {
    **UNIFIED,
    "memory.high": "max",
    "memory.max": "50331648",
    "pids.max": "77",
    "cpu.max": "30000",
    "cpu.weight": "16",
    "cpuset.cpus": "0-1",
}


def unified(files: dict[str, str]) -> dict[str, str]:
    return {**files, "io.max": files["io.max"] % (numbers(DISK), numbers(OTHER_DISK))}


def test_named_limits_outlive_a_reload(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    number = DISK.stat().st_rdev
    NAMED["blockIO"]["throttleReadBpsDevice"][0].update(major=os.major(number), minor=os.minor(number))
    limit(box, **NAMED)
    run(box, "--detach").ok()
    before = settings(folder)
    expected = {"memory.max": f"{64 << 20}", "memory.swap.max": f"{32 << 20}", "memory.low": f"{16 << 20}",
                "cpu.weight": "59", "cpu.max": "12500 50000", "cpuset.cpus": "1", "cpuset.mems": "0",
                "pids.max": "30", "io.weight": "default 4950", "hugetlb.2MB.max": f"{4 << 20}",
                "io.max": f"{numbers(DISK)} rbps={1 << 20} wbps=max riops=max wiops=max"}  # fmt: skip
    assert {name: before[name] for name in expected} == expected
    reload(folder)
    assert settings(folder) == before
    # Of quota and period one alone, by flag and by file; and what makes systemd write all of a controller's files.
    for flags in (("--cpu-quota=30000",), ("--cpu-period=20000",), ("--memory=70m", "--pids-limit=31")):
        box.call("update", *flags, box.id).ok()
    changed = settings(folder)
    assert changed["cpu.max"] == "30000 20000" and changed["memory.max"] == f"{70 << 20}"
    assert {name for name in changed if changed[name] != before[name]} == {"cpu.max", "memory.max", "pids.max"}
    reload(folder)
    assert settings(folder) == changed
    box.delete("--force").ok()


def test_unified_outlives_a_reload(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(box, unified=unified(UNIFIED), memory={"limit": 32 << 20})
    run(box, "--detach").ok()
    before = settings(folder)
    expected = {**UNIFIED, "memory.high": f"{20 << 20}"}
    del expected["io.max"]
    assert {name: before[name] for name in expected} == expected
    # Of two lines each had its own write.
    assert sorted(before["io.max"].splitlines()) == sorted((
        f"{numbers(DISK)} rbps=max wbps=max riops=333 wiops=444",
        f"{numbers(OTHER_DISK)} rbps=555 wbps=max riops=max wiops=max",
    ))  # fmt: skip
    known = {"MemoryMin": "131072", "MemoryHigh": f"{20 << 20}", "MemoryMax": "41943040", "TasksMax": "99",
             "MemorySwapMax": "20971520", "CPUQuotaPerSecUSec": "100ms", "CPUWeight": "42", "IOWeight": "321",
             "AllowedCPUs": "0", "AllowedMemoryNodes": "0"}  # fmt: skip
    assert properties(unit(box), *known) == known
    reload(folder)
    assert settings(folder) == before
    box.call("update", "--resources", "-", box.id, stdin=json.dumps({"unified": unified(LATER)}).encode()).ok()
    after = settings(folder)
    expected = {**LATER, "cpu.max": "30000 100000"}
    del expected["io.max"]
    assert {name: after[name] for name in expected} == expected
    reload(folder)
    assert settings(folder) == after
    box.delete("--force").ok()


def test_unified_of_an_ordinary_user_outlives_a_reload(session: Session) -> None:
    session.map_range()
    files = {name: value for name, value in UNIFIED.items() if name.split(".")[0] in ("memory", "cpu", "pids")}
    session.config["linux"].setdefault("resources", {})["unified"] = files
    session.program("sleep", "1000")
    later = json.dumps({"unified": {"memory.max": "50331648", "cpu.max": "20000", "pids.max": "40"}})
    script = f"""
    show() {{ (cd /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice/pyrunc-rootless1.scope &&
             grep . memory.min memory.low memory.high memory.max memory.swap.max cpu.max cpu.weight pids.max); }}
    again() {{ systemctl --user daemon-reload; sleep 1; }}
    pyrunc --systemd-cgroup run --detach rootless1 >/dev/null 2>&1 </dev/null || exit 1
    show; echo --; again; show; echo --
    echo '{later}' | pyrunc update --resources - rootless1 || exit 1
    show; echo --; again; show
    pyrunc delete --force rootless1
    """
    first, reloaded, updated, last = (part.split() for part in session.shell(script).split("--\n"))
    assert "memory.high:20971520" in first and "cpu.weight:42" in first and "pids.max:99" in first
    assert reloaded == first
    assert {"memory.max:50331648", "pids.max:40"} <= set(updated) and "memory.high:20971520" in updated
    assert "cpu.max:20000" in updated
    assert last == updated


def test_an_update_that_fails_changes_nothing_that_systemd_knows(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(box, unified=unified(UNIFIED))
    run(box, "--detach").ok()
    before = settings(folder)
    asked = {"memory": {"limit": 50 << 20}, "cpu": {"quota": 40000}, "unified": {"memory.nothing": "1"}}
    assert "memory.nothing" in one_line(
        box.call("update", "--resources", "-", box.id, stdin=json.dumps(asked).encode()), 1
    )
    assert settings(folder) == before
    reload(folder)
    assert settings(folder) == before
    box.delete("--force").ok()


def test_quota_and_period_by_turns(bundle: MakeBundle) -> None:
    """systemd writes a period of its own when there is no quota; what is not named keeps its value all the same."""
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(box, cpu={"quota": 500000, "period": 1000000})
    run(box, "--detach").ok()
    for flags, expected in (
        ("--cpu-quota=-1", "max 1000000"),
        ("--cpu-quota=30000", "30000 1000000"),
        ("--cpu-period=500000", "30000 500000"),
        ("--memory=61m", "30000 500000"),
    ):
        box.call("update", flags, box.id).ok()
        assert read(folder, "cpu.max") == expected, flags
        reload(folder)
        # A period without a quota is nothing to systemd, which writes the kernel's.
        assert read(folder, "cpu.max") == expected.replace("max 1000000", "max 100000"), flags
    box.call("update", "--cpu-quota=-1", box.id).ok()
    reload(folder)
    # It remembers it.
    box.call("update", "--cpu-quota=40000", box.id).ok()
    assert read(folder, "cpu.max") == "40000 500000"
    box.delete("--force").ok()


def test_idle(bundle: MakeBundle) -> None:
    """systemd 252's word for it is CPUWeight=idle; a weight beside it is told of, and ignored."""
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(box, cpu={"idle": 1, "shares": 512})
    run(box, "--detach").ok()
    assert "unable to apply both" in box.errors()

    def holds(value: str) -> bool:
        reload(folder)
        return read(folder, "cpu.idle") == value

    def update(flags: tuple[str, ...], resources: dict[str, Any] | None = None) -> str:
        data = None if resources is None else json.dumps(resources).encode()
        return box.call("update", *flags, box.id, stdin=data).ok().stderr

    assert read(folder, "cpu.idle") == "1" and holds("1")
    update(("--memory=50m",))
    update(("--cpu-quota=50000",))
    assert read(folder, "cpu.idle") == "1" and holds("1")
    update(("--cpu-idle=0",))
    assert read(folder, "cpu.idle") == "0" and holds("0")
    assert "unable to apply both" in update(("--cpu-idle=1", "--cpu-share=200"))
    assert read(folder, "cpu.idle") == "1" and holds("1")
    update(("--cpu-share=200",))
    assert read(folder, "cpu.idle") == "0" and read(folder, "cpu.weight") == "29" and holds("0")
    both = {"unified": {"cpu.idle": "1", "cpu.weight": "8"}}
    assert "unable to apply both" in update(("--resources=-",), both)
    assert read(folder, "cpu.idle") == "1" and holds("1")
    update(("--resources=-",), {"unified": {"cpu.weight": "8"}})
    assert read(folder, "cpu.idle") == "0" and read(folder, "cpu.weight") == "8" and holds("0")
    box.delete("--force").ok()


def test_idle_without_systemd(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    limit(box, cpu={"idle": 1, "shares": 512})
    box.run("--detach").ok()
    assert "unable to apply both" in box.errors()
    assert read(cgroup(box), "cpu.idle") == "1"
    box.delete("--force").ok()


def test_controllers_that_systemd_does_not_pass_on(bundle: MakeBundle) -> None:
    """hugetlb, misc and rdma, in a slice that nobody has had before."""
    box = bundle("sleep", "1000")
    folder = put_in_scope(box, f"pyruncfresh{os.getpid()}.slice")
    limit(box, hugepageLimits=[{"pageSize": "2MB", "limit": 2 << 20}])
    run(box, "--detach").ok()
    assert read(folder, "hugetlb.2MB.max") == f"{2 << 20}"
    assert set(read(folder, "cgroup.controllers").split()) == set(read(TOP, "cgroup.controllers").split())
    reload(folder)
    assert read(folder, "hugetlb.2MB.max") == f"{2 << 20}"
    box.delete("--force").ok()
    command("systemctl", "stop", folder.parent.name)


# --- whose a scope is


def scope_of_another(name: str) -> subprocess.Popen[bytes]:
    other = subprocess.Popen(["systemd-run", "--scope", "--quiet", f"--unit={name}", "sleep", "1000"])
    wait_until(lambda: name in scopes(), "the other's scope")
    return other


def test_creates_at_once_in_one_scope(bundle: MakeBundle) -> None:
    """One has it; the others leave it alone."""
    boxes = [bundle("sleep", "1000") for _ in range(4)]
    folder = put_in_scope(boxes[0])
    for box in boxes:
        box.cgroup = box.config["linux"]["cgroupsPath"] = boxes[0].cgroup
        box.save()
    for _ in range(5):
        calls = [box.place.spawn("--systemd-cgroup", "run", "--detach", "--bundle", box.path, box.id,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for box in boxes]  # fmt: skip
        statuses = [call.wait(120) for call in calls]
        assert statuses.count(0) == 1, statuses
        winner = boxes[statuses.index(0)]
        assert winner.status() == "running" and read(folder, "cgroup.procs") == str(winner.pid())
        winner.delete("--force").ok()
        wait_until(lambda: not folder.exists(), "the scope is gone")


def test_a_scope_and_a_cgroup_at_once(bundle: MakeBundle) -> None:
    """The manager of the files comes to the same place: one of the two has it, or neither, and the other is gone."""
    mine, theirs = bundle("sleep", "1000"), bundle("sleep", "1000")
    folder = put_in_scope(mine)
    mine.save()
    theirs.config["linux"]["cgroupsPath"] = "/" + str(folder.relative_to(TOP))
    theirs.save()
    for _ in range(5):
        calls = [box.place.spawn(*flags, "run", "--detach", "--bundle", box.path, box.id,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for box, flags in ((mine, SYSTEMD), (theirs, ()))]  # fmt: skip
        statuses = [call.wait(120) for call in calls]
        assert 0 in statuses and statuses != [0, 0], statuses
        winner = (mine, theirs)[statuses.index(0)]
        assert winner.status() == "running" and read(folder, "cgroup.procs") == str(winner.pid())
        winner.delete("--force").ok()
        wait_until(lambda: not folder.exists() and unit(mine) not in scopes(), "the scope is gone")


@pytest.mark.parametrize("private", [True, False])
def test_a_later_scope_of_the_name_is_anothers(bundle: MakeBundle, private: bool) -> None:
    """The container has ended, and its scope with it: what has the name now is neither killed nor stopped."""
    box: Bundle = bundle("sleep", "1000")
    folder = put_in_scope(box)
    if not private:
        spaces = box.config["linux"]["namespaces"]
        box.config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "pid"]
    run(box, "--detach").ok()
    os.kill(box.pid(), 9)
    wait_until(lambda: not folder.exists(), "systemd has taken the cgroup back")
    other = scope_of_another(unit(box))
    try:
        box.kill("KILL", "--all")
        assert other.poll() is None
        box.delete("--force").ok()
        time.sleep(0.5)
        assert other.poll() is None
        assert properties(unit(box), "ActiveState") == {"ActiveState": "active"}
        assert read(folder, "cgroup.procs") != ""
    finally:
        command("systemctl", "stop", unit(box))
        other.wait()


def test_a_scope_of_that_name_elsewhere(bundle: MakeBundle) -> None:
    """In another slice: systemd refuses the name, and the undo of the create has nothing to do with it."""
    box = bundle("sleep", "1000")
    put_in_scope(box, f"pyruncelse{os.getpid()}.slice")
    other = scope_of_another(unit(box))
    try:
        one_line(run(box), 1)
        assert other.poll() is None and properties(unit(box), "ActiveState") == {"ActiveState": "active"}
    finally:
        command("systemctl", "stop", unit(box))
        other.wait()
