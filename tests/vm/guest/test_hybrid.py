"""systemd on cgroup v1, in a boot of its own: the controllers' hierarchies are v1's, systemd's own tree is v2's."""

import os
import shlex
from pathlib import Path

import pytest

from tests.support.cgroups import hierarchies
from tests.support.processes import command
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

from .support import DISK, SYSTEMD, TOP, limit, properties, put_in_scope, read, run, scopes, unit

CONTROLLERS = ("memory", "pids", "cpu", "cpuset", "devices", "freezer")


def folders(box: Bundle) -> dict[str, Path]:
    """The scope in each hierarchy that has it, by the controller's name; "unified" is systemd's own."""
    found = {name: top / "system.slice" / unit(box) for name, top in hierarchies().items()}
    return {name: folder for name, folder in found.items() if folder.exists()}


def test_the_machine() -> None:
    found = hierarchies()
    assert found["unified"] == TOP / "unified" and {*CONTROLLERS} <= found.keys()
    assert command("systemctl", "is-system-running").strip() == "running"


def test_a_life_in_a_scope(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    put_in_scope(box)
    limit(box, memory={"limit": 64 << 20, "reservation": 16 << 20}, pids={"limit": 30},
          cpu={"shares": 512, "quota": 25000, "period": 50000, "cpus": "1"})  # fmt: skip
    run(box, "--detach").ok()
    known = {"ActiveState": "active", "Slice": "system.slice", "Delegate": "yes", "MemoryLimit": f"{64 << 20}",
             "CPUShares": "512", "CPUQuotaPerSecUSec": "500ms", "TasksMax": "30"}  # fmt: skip
    assert properties(unit(box), *known) == known
    where = folders(box)
    assert {*CONTROLLERS, "unified"} <= where.keys()
    for name in (*CONTROLLERS, "unified"):
        assert read(where[name], "cgroup.procs") == str(box.pid()), name
    written = {
        ("memory", "memory.limit_in_bytes"): f"{64 << 20}",
        ("memory", "memory.soft_limit_in_bytes"): f"{16 << 20}",
        ("pids", "pids.max"): "30",
        ("cpu", "cpu.shares"): "512",
        ("cpu", "cpu.cfs_quota_us"): "25000",
        ("cpu", "cpu.cfs_period_us"): "50000",
        ("cpuset", "cpuset.cpus"): "1",
    }
    assert {key: read(where[key[0]], key[1]) for key in written} == written
    # An exec is in all of them, and freezing stops both.
    exec_ = box.place.spawn("exec", box.id, "sleep", "1000")
    procs = [where[name] for name in CONTROLLERS]
    wait_until(lambda: all(len(read(folder, "cgroup.procs").split()) == 2 for folder in procs), "the exec is in all")
    box.call("pause", box.id).ok()
    assert read(where["freezer"], "freezer.state") == "FROZEN" and box.status() == "paused"
    box.call("resume", box.id).ok()
    assert box.status() == "running"
    for flags, quota in (("--cpu-quota=30000", "30000 50000"), ("--cpu-period=40000", "30000 40000"),
                         ("--cpu-quota=-1", "-1 40000"), ("--cpu-quota=20000", "20000 40000")):  # fmt: skip
        box.call("update", flags, box.id).ok()
        found = read(where["cpu"], "cpu.cfs_quota_us") + " " + read(where["cpu"], "cpu.cfs_period_us")
        assert found == quota, flags
        command("systemctl", "daemon-reload")
    box.call("update", "--memory=90m", "--pids-limit=40", "--cpu-share=300", box.id).ok()
    assert read(where["memory"], "memory.limit_in_bytes") == str(90 << 20)
    assert properties(unit(box), "MemoryLimit", "CPUShares") == {"MemoryLimit": str(90 << 20), "CPUShares": "300"}
    box.delete("--force").ok()
    exec_.wait(60)
    wait_until(lambda: not folders(box), "the scope is gone from every hierarchy")
    assert unit(box) not in scopes() | scopes("--failed")


def test_devices_survive_a_reload(bundle: MakeBundle) -> None:
    number = DISK.stat().st_rdev
    device = {"type": "b", "major": os.major(number), "minor": os.minor(number)}
    box = bundle("sleep", "1000")
    put_in_scope(box)
    box.config["linux"]["devices"] = [{"path": "/dev/given", **device}]
    limit(box, devices=[{"allow": False, "access": "rwm"}, {"allow": True, "access": "r", **device}])
    run(box, "--detach").ok()

    def verdicts() -> list[int]:
        script = "dd if=/dev/given of=/dev/null count=1; echo $?; dd if=/dev/null of=/dev/given count=1; echo $?"
        return [int(word) for word in box.exec("sh", "-c", script).ok().stdout.split()]

    listed = read(folders(box)["devices"], "devices.list")
    assert f"b {device['major']}:{device['minor']} r" in listed.splitlines()
    assert verdicts() == [0, 1]
    command("systemctl", "daemon-reload")
    command("systemctl", "set-property", "--runtime", unit(box), "TasksMax=50")
    assert verdicts() == [0, 1] and read(folders(box)["devices"], "devices.list") == listed
    box.delete("--force").ok()


def test_memory_that_runs_out(bundle: MakeBundle) -> None:
    """The kernel kills the program; run has its status, and nothing is left."""
    box = bundle("sh", "-c", "x=$(cat /dev/zero | head -c 100000000 | tr '\\0' x); echo survived")
    put_in_scope(box)
    limit(box, memory={"limit": 24 << 20, "swap": 24 << 20})
    done = run(box)
    assert done.returncode == 137 and "survived" not in done.stdout, done
    wait_until(lambda: not folders(box), "the scope is gone")


def test_without_systemd(bundle: MakeBundle) -> None:
    """The manager of the files beside it, on v1, and in the tree in which systemd tracks its units."""
    box = bundle("sleep", "1000")
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 30})
    box.run("--detach").ok()
    assert read(box.cgroup_dir("memory"), "memory.limit_in_bytes") == str(64 << 20)
    assert read(box.cgroup_dir("pids"), "cgroup.procs") == str(box.pid())
    assert read(TOP / "unified" / box.cgroup.lstrip("/"), "cgroup.procs") == str(box.pid())
    assert box.exec("tail", "-n1", "/proc/self/cgroup").ok().stdout == f"0::{box.cgroup}\n"
    box.delete("--force").ok()
    assert not any(box.cgroup_dir(name).exists() for name in (*CONTROLLERS, "unified"))


@pytest.mark.parametrize("flags", [(), SYSTEMD])
def test_it_outlives_the_service_of_its_caller(bundle: MakeBundle, flags: tuple[str, ...]) -> None:
    box = bundle("sleep", "1000")
    if flags:
        put_in_scope(box)
    service = f"pyrunc-test-caller{os.getpid()}"
    call = shlex.join([str(box.place.runtime), "--root", str(box.place.root), *flags, "run", "--detach", "--bundle",
                       str(box.save()), box.id])  # fmt: skip
    command("systemd-run", "--quiet", f"--unit={service}", "sh", "-c", f"{call}; sleep 1000")
    try:
        wait_until(lambda: box.call("state", box.id).returncode == 0 and box.status() == "running", "it runs")
    finally:
        command("systemctl", "stop", service)
    assert box.status() == "running"
    box.delete("--force").ok()
    assert not folders(box)


def test_what_only_v2_has(bundle: MakeBundle) -> None:
    box = bundle()
    put_in_scope(box)
    limit(box, unified={"memory.high": "50331648"})
    assert "/linux/resources/unified" in one_line(run(box), 1)
    assert not folders(box)


def test_many_leave_nothing(bundle: MakeBundle) -> None:
    box = bundle("true")
    put_in_scope(box)
    for _ in range(10):
        run(box).ok()
    assert not folders(box) and unit(box) not in scopes() | scopes("--failed")
    names = [path for top in hierarchies().values() for path in top.rglob("*pyrunc*") if path.is_dir()]
    assert names == []
