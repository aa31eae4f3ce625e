"""Containers without a cgroup: made without one, or the process has left it and somebody has removed it."""

import json
import os
from pathlib import Path

import pytest

from tests.support.cgroups import CGROUP_ROOT, hierarchies
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle

WITHOUT = ("--cgroup-manager=disabled",)


def without_namespace(box: Bundle, *kinds: str) -> None:
    box.config["linux"]["namespaces"] = [
        entry for entry in box.config["linux"]["namespaces"] if entry["type"] not in kinds
    ]


def move_away(box: Bundle) -> str:
    """All processes of the container go to another cgroup, and its own is removed; the other's path."""
    path = f"{CGROUP_ROOT}/elsewhere"
    for top in set(hierarchies().values()):
        old, new = top / box.cgroup.lstrip("/"), top / path.lstrip("/")
        if not old.exists():
            continue
        new.mkdir(parents=True, exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (new / name).exists() and (old / "tasks").exists():
                (new / name).write_text((old / name).read_text())
        for pid in (old / "cgroup.procs").read_text().split():
            (new / "cgroup.procs").write_text(pid)
        old.rmdir()
    return path


def remove(path: str) -> None:
    for top in set(hierarchies().values()):
        folder = top / path.lstrip("/")
        if folder.exists():
            _await_empty(folder)
            folder.rmdir()


def _await_empty(folder: Path) -> None:
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), "it is empty")


def listed(box: Bundle) -> list[int]:
    found: list[int] = json.loads(box.call("ps", "--format=json", box.id).ok().stdout)
    return found


def cgroups(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/cgroup").read_text().splitlines()


@pytest.mark.parametrize("private", [True, False])
def test_exec_and_ps_follow_the_process(bundle: MakeBundle, private: bool) -> None:
    box = bundle("sleep", "1000")
    without_namespace(box, "cgroup", *(() if private else ("pid",)))
    box.run("--detach").ok()
    pid = box.pid()
    path = move_away(box)
    assert box.exec("cat", "/proc/self/cgroup").ok().stdout.splitlines() == cgroups(pid)
    assert any(line.endswith(path) for line in cgroups(pid))
    other = box.place.spawn("exec", box.id, "sleep", "1000")
    wait_until(lambda: len(listed(box)) == 2, "both are listed")
    assert pid in listed(box)
    assert str(pid) in box.call("ps", box.id).ok().stdout
    done = box.kill("KILL")
    assert done.returncode == 0
    if not private:
        # Its cgroup is gone, so nobody can tell who the others are.
        assert "failed to kill all processes" in done.stderr
        other.kill()
        for left in [int(word) for word in (Path(_any(path)) / "cgroup.procs").read_text().split()]:
            os.kill(left, 9)
    other.wait(60)
    box.wait_for("stopped")
    box.delete().ok()
    remove(path)


def _any(path: str) -> Path:
    return next(folder for top in hierarchies().values() if (folder := top / path.lstrip("/")).exists())


def test_ps_of_a_process_at_the_root_is_an_error(bundle: MakeBundle) -> None:
    """Without a pid namespace of its own: all that the host runs there is not the container's."""
    box = bundle("sleep", "1000")
    without_namespace(box, "pid")
    box.run("--detach").ok()
    pid = box.pid()
    for top in set(hierarchies().values()):
        folder = top / box.cgroup.lstrip("/")
        if folder.exists():
            (top / "cgroup.procs").write_text(str(pid))
            folder.rmdir()
    done = box.call("ps", box.id)
    assert done.returncode == 1 and "has left its cgroup" in done.stderr and done.stdout == ""
    assert box.kill("KILL").returncode == 0
    box.wait_for("stopped")
    box.delete().ok()


def test_ps_without_a_cgroup(bundle: MakeBundle) -> None:
    """The processes of the pid namespace, those that an exec has brought and those below included."""
    box = bundle("sh", "-c", "unshare -p -f sleep 1000 & exec sleep 1000")
    for kind in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    box.place.call("run", "--detach", "--bundle", box.save(), box.id, flags=WITHOUT,
                   stdout=box.path / "stdout", stderr=box.path / "stderr").ok()  # fmt: skip
    other = box.place.spawn("exec", box.id, "sleep", "1000")

    def commands() -> list[str]:
        return sorted(Path(f"/proc/{pid}/comm").read_text().strip() for pid in listed(box))

    wait_until(lambda: commands() == ["sleep", "sleep", "sleep", "unshare"], "all are listed", 10)
    assert os.getpid() not in listed(box)
    box.delete("--force").ok()
    other.wait(60)


def test_without_a_cgroup_and_a_pid_namespace(bundle: MakeBundle) -> None:
    """Nothing tells whose a process is: ps says so, and kill that not all of them may be gone."""
    box = bundle("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000")
    without_namespace(box, "pid")
    box.place.call("run", "--detach", "--bundle", box.save(), box.id, flags=WITHOUT,
                   stdout=box.path / "stdout", stderr=box.path / "stderr").ok()  # fmt: skip
    wait_until(lambda: bool(box.output()), "it runs")
    left = int(box.output())
    done = box.call("ps", "--format=json", box.id)
    assert done.returncode == 1 and done.stdout == "" and "cannot tell the container's processes" in done.stderr
    for signal, flags in (("CONT", ("--all",)), ("KILL", ())):
        done = box.kill(signal, *flags)
        assert done.returncode == 0 and "failed to kill all processes" in done.stderr
    box.wait_for("stopped")
    os.kill(left, 9)
    assert box.call("ps", "--format=json", box.id).ok().stdout == "null\n"
    box.delete().ok()


def test_delete_by_force_says_what_it_leaves(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    without_namespace(box, "pid")
    box.place.call("run", "--detach", "--bundle", box.save(), box.id, flags=WITHOUT,
                   stdout=box.path / "stdout", stderr=box.path / "stderr").ok()  # fmt: skip
    done = box.delete("--force").ok()
    assert "failed to kill all processes" in done.stderr
