"""pyrunc beside Debian's runc and crun, on the same machine, asked the same; the table is in build/vm/beside.txt."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, Workplace

from .support import (
    DISK,
    RESULTS,
    RUNTIMES,
    cgroup,
    limit,
    properties,
    put_in_scope,
    read,
    table,
    writable_cgroups,
)


def limits(box: Bundle) -> None:
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 30}, cpu={"quota": 20000, "period": 50000})
    box.run("--detach").ok()
    found = [read(cgroup(box), name) for name in ("memory.max", "pids.max", "cpu.max")]
    assert found == [str(64 << 20), "30", "20000 50000"]


def pids_limit_of_zero(box: Bundle) -> None:
    limit(box, pids={"limit": 0})
    box.create().ok()
    # No process may be made, one way or the other.
    assert read(cgroup(box), "pids.max") in ("0", "1")


def update(box: Bundle) -> None:
    box.run("--detach").ok()
    box.call("update", "--memory=70000000", box.id).ok()
    assert read(cgroup(box), "memory.max") == "69996544"


def check_before_update(box: Bundle) -> None:
    box.config["process"]["args"] = ["sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; echo full; sleep 1000"]
    limit(box, memory={"limit": 64 << 20})
    box.run("--detach").ok()
    wait_until(lambda: "full" in box.output(), "memory is used")
    asked = {"memory": {"limit": 8 << 20, "checkBeforeUpdate": True}}
    assert box.call("update", "--resources", "-", box.id, stdin=json.dumps(asked).encode()).returncode == 1


def pause(box: Bundle) -> None:
    box.run("--detach").ok()
    box.call("pause", box.id).ok()
    assert table(cgroup(box), "cgroup.events")["frozen"] == 1
    box.call("resume", box.id).ok()
    assert box.status() == "running"


def denied_device(box: Bundle) -> None:
    number = DISK.stat().st_rdev
    device = {"type": "b", "major": os.major(number), "minor": os.minor(number)}
    box.config["linux"]["devices"] = [{"path": "/dev/given", **device}]
    limit(box, devices=[{"allow": False, "access": "rwm"}, {"allow": True, "access": "r", **device}])
    box.run("--detach").ok()
    assert box.exec("dd", "if=/dev/given", "of=/dev/null", "count=1").returncode == 0
    assert box.exec("dd", "if=/dev/zero", "of=/dev/given", "count=1").returncode == 1


def nested_exec(box: Bundle) -> None:
    script = "cd /sys/fs/cgroup; mkdir in; echo 1 >in/cgroup.procs; echo +pids >cgroup.subtree_control; exec sleep 1000"
    box.config["process"]["args"] = ["sh", "-c", script]
    writable_cgroups(box)
    box.run("--detach").ok()
    wait_until(lambda: read(cgroup(box), "cgroup.subtree_control") == "pids", "it has moved")
    assert box.exec("cat", "/proc/self/cgroup").ok().stdout == "0::/in\n"


def unknown_file(box: Bundle) -> None:
    limit(box, unified={"memory.nothing": "1"})
    assert box.create().returncode == 1 and not cgroup(box).exists()


def occupied_cgroup(box: Bundle) -> None:
    cgroup(box).mkdir(parents=True)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        (cgroup(box) / "cgroup.procs").write_text(str(other.pid))
        assert box.create().returncode == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    cgroup(box).rmdir()


def scope(box: Bundle) -> None:
    folder = put_in_scope(box)
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 30})
    box.place.call("run", "--detach", "--bundle", box.save(), box.id, flags=("--systemd-cgroup",),
                   stdout=box.path / "stdout", stderr=box.path / "stderr").ok()  # fmt: skip
    wanted = {"MemoryMax": str(64 << 20), "TasksMax": "30"}
    assert properties(folder.name, *wanted) == wanted
    box.place.call("delete", "--force", box.id, flags=("--systemd-cgroup",)).ok()
    wait_until(lambda: not folder.exists(), "the scope is gone")


CHECKS: tuple[Callable[[Bundle], None], ...] = (
    *(limits, pids_limit_of_zero, update, check_before_update, pause, denied_device, nested_exec),
    *(unknown_file, occupied_cgroup, scope),
)


def _holds(runtime: str, check: Callable[[Bundle], None]) -> str:
    place = Workplace(Path(runtime))
    try:
        check(place.bundle("sleep", "1000"))
        return "yes"
    except (AssertionError, OSError, KeyError, json.JSONDecodeError) as error:
        return "no: " + (str(error).strip().splitlines() or [type(error).__name__])[0][:70]
    finally:
        for box in place.bundles:
            place.call("delete", "--force", box.id)
        place.close()


def test_beside_runc_and_crun() -> None:
    """All of it holds for pyrunc; for the others it is written down as it is."""
    rows = []
    for check in CHECKS:
        rows.append([check.__name__, *(_holds(path, check) for path in RUNTIMES.values())])
    lines = ["\t".join(["", *RUNTIMES]), *("\t".join(row) for row in rows)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "beside.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    assert [row[:2] for row in rows if row[1] != "yes"] == []
