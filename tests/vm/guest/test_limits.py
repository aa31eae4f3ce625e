"""linux.resources on cgroup v2, by what the kernel counts and does; the manager is the one of the cgroup's files."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.support.cgroups import CGROUP_ROOT
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import MakeBundle, one_line

from .support import DISK, TOP, cgroup, grows, limit, read, table, writable_cgroups

BUSY = ("sh", "-c", "while :; do :; done")


def test_every_limit_is_in_its_file(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    limit(
        box,
        memory={"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
        cpu={"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
        pids={"limit": 30},
        blockIO={"weight": 500},
        hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}],
        unified={"memory.high": "50331648", "cgroup.max.depth": "5"},
    )
    box.create().ok()
    expected = {
        "memory.max": f"{64 << 20}",
        "memory.swap.max": f"{32 << 20}",
        "memory.low": f"{16 << 20}",
        # 1024 shares are 100, as the default of the one is the default of the other.
        "cpu.weight": "59",
        "cpu.max": "20000 50000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "30",
        "io.weight": "default 4950",
        "hugetlb.2MB.max": f"{4 << 20}",
        "hugetlb.2MB.rsvd.max": f"{4 << 20}",
        "memory.high": "50331648",
        "cgroup.max.depth": "5",
    }
    assert {name: read(cgroup(box), name) for name in expected} == expected
    # Born there: no other cgroup ever had the process.
    assert str(box.pid()) in read(cgroup(box), "cgroup.procs").split()
    box.call("update", "--memory", "80m", "--memory-swap=-1", "--cpu-share=1024", "--pids-limit=-1", box.id).ok()
    expected |= {"memory.max": f"{80 << 20}", "memory.swap.max": "max", "cpu.weight": "100", "pids.max": "max"}
    assert {name: read(cgroup(box), name) for name in expected} == expected
    box.delete("--force").ok()


def test_out_of_memory_is_reported(bundle: MakeBundle) -> None:
    box = bundle("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
    limit(box, memory={"limit": 32 << 20, "swap": 32 << 20})
    result = box.run()
    assert result.returncode == 137
    assert "memory" in result.stderr.lower(), result.stderr


def test_events_tell_of_it(bundle: MakeBundle) -> None:
    box = bundle(
        "sh", "-c", "while ! [ -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1000"
    )
    limit(box, memory={"limit": 32 << 20, "swap": 32 << 20})
    box.run("--detach").ok()
    output = box.path / "events"
    with output.open("w") as file:
        watcher = box.place.spawn("events", "--interval", "1h", box.id, stdout=file)
        # It says nothing before; that it watches is seen by what it has open.
        events = str(cgroup(box) / "memory.events")

        def watches() -> bool:
            folder = Path(f"/proc/{watcher.pid}/fd")
            return events in [os.readlink(link) for link in folder.iterdir() if link.is_symlink()]

        wait_until(watches, "the watcher watches")
        (box.rootfs / "go").touch()
        wait_until(lambda: bool(output.read_text()), "an event")
        assert json.loads(output.read_text()) == {"type": "oom", "id": box.id}
        assert table(cgroup(box), "memory.events")["oom_kill"] == 1
        box.delete("--force").ok()
        assert watcher.wait(PATIENCE) == 0


def test_statistics(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000")
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 10}, cpu={"quota": 50000, "period": 100000})
    box.run("--detach").ok()
    found: Any = json.loads(box.call("events", "--stats", box.id).ok().stdout)
    data = found["data"]
    assert found["type"] == "stats" and found["id"] == box.id
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["usage"]["limit"] == 64 << 20 and data["memory"]["usage"]["usage"] > 0
    assert data["memory"]["raw"]["anon"] >= 0
    assert data["pids"]["limit"] == 10 and data["pids"]["current"] >= 1
    if (cgroup(box) / "cpu.pressure").exists():
        for part in ("cpu", "memory", "blkio"):
            assert set(data[part]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
    box.delete("--force").ok()


def test_the_processor_is_rationed(bundle: MakeBundle) -> None:
    box = bundle(*BUSY)
    limit(box, cpu={"quota": 20000, "period": 100000})
    box.run("--detach").ok()
    wait_until(lambda: table(cgroup(box), "cpu.stat")["nr_periods"] >= 10, "ten periods")

    def over() -> int:
        counted = table(cgroup(box), "cpu.stat")
        return counted["usage_usec"] - (counted["nr_periods"] + 1) * 20000

    # By how much a late tick of an emulated processor lets it run too long is taken off its next periods.
    wait_until(lambda: over() <= 0, "what was used beyond the quota to be taken off")
    assert table(cgroup(box), "cpu.stat")["nr_throttled"] > 0
    box.delete("--force").ok()


def test_processes_are_counted(bundle: MakeBundle) -> None:
    # A shell ends when it can't fork: the inner one.
    box = bundle("sh", "-c", "sleep 1000 & sleep 1000 & (sleep 1000 & sleep 1000 & sleep 1000); exec sleep 1000")
    limit(box, pids={"limit": 4})
    box.run("--detach").ok()
    wait_until(lambda: "can't fork" in box.errors(), "a fork is refused")
    assert table(cgroup(box), "pids.events")["max"] > 0
    assert int(read(cgroup(box), "pids.current")) <= 4
    # A full container takes an exec all the same.
    assert box.exec("echo", "in").ok().stdout == "in\n"
    box.delete("--force").ok()


def test_the_disk_is_throttled(bundle: MakeBundle) -> None:
    device = os.stat(DISK).st_rdev
    major, minor = os.major(device), os.minor(device)
    amount = 3 << 20
    box = bundle("dd", "if=/dev/disk", "of=/dev/null", "bs=64k", f"count={amount >> 16}", "iflag=direct")
    box.config["linux"]["devices"] = [{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}]
    limit(
        box,
        devices=[
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"},
        ],
        blockIO={"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}]},
    )
    box.create().ok()
    assert read(cgroup(box), "io.max") == f"{major}:{minor} rbps={1 << 20} wbps=max riops=max wiops=max"
    began = time.monotonic()
    box.start().ok()
    box.wait_for("stopped")
    took = time.monotonic() - began
    assert f"{amount >> 16}+0 records in" in box.errors()
    counted = read(cgroup(box), "io.stat")
    assert f"{major}:{minor} rbytes={amount}" in counted
    # The kernel lets the first slice pass at once; without the limit it takes a fraction of a second.
    assert took > 1.5
    box.delete("--force").ok()


def test_pause_stands_still_and_a_paused_container_dies(bundle: MakeBundle) -> None:
    box = bundle(*BUSY)
    box.run("--detach").ok()
    assert grows(cgroup(box))
    box.call("pause", box.id).ok()
    assert box.status() == "paused"
    assert table(cgroup(box), "cgroup.events")["frozen"] == 1
    assert not grows(cgroup(box))
    box.call("resume", box.id).ok()
    assert grows(cgroup(box))
    box.call("pause", box.id).ok()
    box.kill("KILL").ok()
    box.wait_for("stopped")
    box.delete().ok()


def test_kill_all_without_a_pid_namespace(bundle: MakeBundle) -> None:
    """All processes at once, by cgroup.kill: those that left their parent too."""
    box = bundle("sh", "-c", "for i in 1 2 3; do (sleep 1000 &) ; done; echo all; exec sleep 1000")
    spaces = box.config["linux"]["namespaces"]
    box.config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "pid"]
    box.run("--detach").ok()
    wait_until(lambda: "all" in box.output(), "all are started")
    wait_until(lambda: len(read(cgroup(box), "cgroup.procs").split()) == 4, "all are there")
    box.kill("KILL").ok()
    wait_until(lambda: not read(cgroup(box), "cgroup.procs"), "all are gone")
    box.wait_for("stopped")
    box.delete().ok()


def test_a_limit_below_the_use_is_refused_when_asked_to_check(bundle: MakeBundle) -> None:
    """As on v1; without the check the kernel would kill."""
    box = bundle("sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=30; echo full; sleep 1000")
    limit(box, memory={"limit": 64 << 20, "swap": 64 << 20})
    box.run("--detach").ok()
    wait_until(lambda: "full" in box.output(), "memory is used")
    asked = {"memory": {"limit": 8 << 20, "checkBeforeUpdate": True}}
    message = one_line(box.call("update", "--resources", "-", box.id, stdin=json.dumps(asked).encode()), 1)
    assert "rejecting memory limit" in message and "/memory/limit" not in message
    asked["memory"]["swap"] = 16 << 20
    assert "rejecting memory+swap limit" in one_line(
        box.call("update", "--resources", "-", box.id, stdin=json.dumps(asked).encode()), 1
    )
    assert read(cgroup(box), "memory.max") == f"{64 << 20}"
    assert box.status() == "running"
    box.delete("--force").ok()


def test_an_update_is_all_or_nothing(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 7})
    box.run("--detach").ok()
    asked = {"memory": {"limit": 70 << 20}, "pids": {"limit": 9}, "cpu": {"cpus": "99"}}
    one_line(box.call("update", "--resources", "-", box.id, stdin=json.dumps(asked).encode()), 1)
    assert (read(cgroup(box), "memory.max"), read(cgroup(box), "pids.max")) == (f"{64 << 20}", "7")
    box.delete("--force").ok()


def test_exec_beside_cgroups_of_the_containers_own(bundle: MakeBundle) -> None:
    """A container that moved itself below takes no process at its top any more: exec goes where its init is."""
    script = """
    cd /sys/fs/cgroup && mkdir inner && echo 1 >inner/cgroup.procs && echo +pids >cgroup.subtree_control
    echo moved; exec sleep 1000
    """
    box = bundle("sh", "-c", script)
    writable_cgroups(box)
    box.run("--detach").ok()
    wait_until(lambda: "moved" in box.output(), "it has moved")
    assert read(cgroup(box), "cgroup.subtree_control") == "pids"
    assert box.exec("cat", "/proc/self/cgroup").ok().stdout == "0::/inner\n"
    assert box.exec("--cgroup", "/inner", "cat", "/proc/self/cgroup").ok().stdout == "0::/inner\n"
    # Asked for by name, a cgroup is that one or an error, in words that runc's callers look for.
    for path, why in (("/", "evice or resource busy"), ("nowhere", "o such file or directory")):
        done = box.exec("--cgroup", path, "true")
        assert (
            done.returncode == 255 and " adding pid of a new process to cgroups: " in done.stderr and why in done.stderr
        )
    box.delete("--force").ok()


def test_a_cgroup_of_its_own_belongs_to_the_containers_user(bundle: MakeBundle) -> None:
    """config-linux.md, "Cgroup ownership"."""
    script = """
    id -u; mkdir /sys/fs/cgroup/mine && echo 0 >/sys/fs/cgroup/mine/cgroup.procs && cat /proc/self/cgroup
    echo 5 >/sys/fs/cgroup/pids.max || echo not the limits; exec sleep 1000
    """
    box = bundle("sh", "-c", script)
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    os.chown(box.rootfs, 200000, 200000)
    limit(box, pids={"limit": 50})
    writable_cgroups(box)
    box.run("--detach").ok()
    wait_until(lambda: "not the limits" in box.output() + box.errors(), "the script has run")
    assert box.output().splitlines() == ["0", "0::/mine", "not the limits"]
    files = Path("/sys/kernel/cgroup/delegate").read_text().split()
    owned = {path.name for path in cgroup(box).iterdir() if path.is_file() and path.stat().st_uid == 200000}
    assert owned == {name for name in files if (cgroup(box) / name).exists()}
    assert cgroup(box).stat().st_uid == 200000
    box.delete("--force").ok()


def test_read_only_cgroups_stay_the_hosts(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.create().ok()
    assert cgroup(box).stat().st_uid == 0
    box.delete("--force").ok()


def _occupied(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(str(os.getpid()))


def _frozen(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "cgroup.freeze").write_text("1")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown file": ({"unified": {"memory.nothing": "1"}}, "memory.nothing"),
    "no such controller": ({"unified": {"gpu.max": "1"}}, "controller gpu is not available"),
    "a path": ({"unified": {"../memory.max": "1"}}, "must be a file name"),
    "bad value": ({"unified": {"memory.max": "lots"}}, "memory.max"),
    "v1's swappiness": ({"memory": {"swappiness": 60}}, "swappiness"),
    "v1's real time": ({"cpu": {"realtimeRuntime": 1000}}, "realtimeRuntime"),
    "v1's network": ({"network": {"classID": 5}}, "network"),
    "swap below memory": ({"memory": {"limit": 64 << 20, "swap": 32 << 20}}, "memory+swap limit must be >="),
    "no such processor": ({"cpu": {"cpus": "4000"}}, "cpuset.cpus"),
    "no such huge page": ({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}, "hugetlb.3MB"),
}


def test_bad_resources(bundle: MakeBundle) -> None:
    box = bundle()
    plain = dict(box.config["linux"].get("resources") or {})
    for name, (resources, words) in BAD.items():
        box.config["linux"]["resources"] = {**plain, **resources}
        message = one_line(box.run(), 1)
        assert words in message and "/linux/resources" in message, name
        assert not cgroup(box).exists(), name


def test_bad_places(bundle: MakeBundle) -> None:
    box = bundle()
    for path in ("/a/../../b", "..", "/"):
        box.config["linux"]["cgroupsPath"] = path
        assert "/linux/cgroupsPath" in one_line(box.run(), 1)


def test_an_occupied_or_frozen_cgroup_is_refused_and_left(bundle: MakeBundle) -> None:
    box = bundle()
    home = TOP / Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    try:
        _occupied(cgroup(box))
        assert "not empty" in one_line(box.run(), 1)
        assert str(os.getpid()) in read(cgroup(box), "cgroup.procs").split()
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
    cgroup(box).rmdir()
    _frozen(cgroup(box))
    assert "container's cgroup unexpectedly frozen" in one_line(box.run(), 1)
    assert read(cgroup(box), "cgroup.freeze") == "1"
    cgroup(box).rmdir()


def test_device_rules_refused_by_the_kernel(bundle: MakeBundle) -> None:
    """Above is a program that bears no other beside or below it: no container, and nothing left."""
    from pyrunc import _linux
    from pyrunc.cgroups.v2 import device_program

    parent = TOP / CGROUP_ROOT.lstrip("/") / "exclusive"
    parent.mkdir(parents=True)
    program = _linux.bpf_prog_load(15, device_program.assemble([(True, "a", -1, -1, 7)]), "exclusive")
    fd = os.open(parent, os.O_RDONLY)
    _linux.bpf(8, b"".join(word.to_bytes(4, "little") for word in (fd, program, 6, 0, 0)))
    os.close(program)
    os.close(fd)
    box = bundle()
    box.config["linux"]["cgroupsPath"] = f"{CGROUP_ROOT}/exclusive/{box.id}"
    assert "apply device rules" in one_line(box.run(), 1)
    assert [path for path in parent.iterdir() if path.is_dir()] == []
    parent.rmdir()


def test_many_leave_nothing(bundle: MakeBundle) -> None:
    """Fifteen here and fifteen as scopes (test_systemd.py); test_after_all.py looks for their device programs."""
    box = bundle("true")
    for _ in range(15):
        box.run().ok()
    assert not cgroup(box).exists()
