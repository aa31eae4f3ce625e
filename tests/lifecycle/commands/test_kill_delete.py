"""kill and delete: to the right processes, in the right states, and until nothing is left."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.cgroups import cgroups_below, hierarchies
from tests.support.containers import running, script
from tests.support.namespaces import add_user_namespace, set_namespaces
from tests.support.processes import has_ended, stranger
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

TRAPS = """
for name in HUP INT QUIT USR1 USR2 TERM WINCH; do trap "echo $name" $name; done
echo ready
while :; do sleep 0.01; done
"""


# ---- kill ----


def test_signals_by_any_name(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["process"]["args"] = [script(box, TRAPS)]
    running(box)
    wait_until(lambda: box.output() == "ready\n", "it is ready")
    expected = "ready\n"
    for given, name in (
        ("", "TERM"),
        ("HUP", "HUP"),
        ("SIGINT", "INT"),
        ("sigquit", "QUIT"),
        ("10", "USR1"),
        ("usr2", "USR2"),
        ("28", "WINCH"),
    ):
        box.call("kill", box.id, *([given] if given else [])).ok()
        expected += f"{name}\n"
        wait_until(lambda: box.output() == expected, f"{given} arrives")  # noqa: B023 - called at once
    for bad in ("NONSENSE", "-1", "65", "SIG", "9x", "TERM "):
        got = box.call("kill", box.id, bad)
        assert got.returncode == 1 and got.stderr, bad
    assert box.status() == "running"
    box.kill("9").ok()
    box.wait_for("stopped")
    one_line(box.kill("TERM"), 1, "container not running")
    box.delete().ok()


def test_kill_in_every_state(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    one_line(box.kill(), 1, "container does not exist")
    box.create().ok()
    box.kill("KILL").ok()
    box.wait_for("stopped")
    one_line(box.kill("KILL"), 1, "container not running")
    # What engines do after the end.
    box.kill("9", "--all").ok()
    box.delete().ok()
    running(box)
    box.call("pause", box.id).ok()
    box.kill("KILL").ok()
    box.wait_for("stopped")
    box.delete().ok()


def test_a_signal_for_a_paused_container_waits(container: MakeBundle) -> None:
    box = container()
    box.config["process"]["args"] = [script(box, TRAPS)]
    running(box)
    wait_until(lambda: box.output() == "ready\n", "it is ready")
    box.call("pause", box.id).ok()
    box.kill("USR1").ok()
    assert box.status() == "paused"
    assert box.output() == "ready\n"
    box.call("resume", box.id).ok()
    wait_until(lambda: box.output() == "ready\nUSR1\n", "it arrives")


def test_kill_goes_to_the_first_process_alone(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "trap 'exit 5' TERM; sleep 1000 & while :; do sleep 0.01; done")
    set_namespaces(box, "mount")
    running(box)
    # The other child has a shorter time to sleep.
    wait_until(lambda: ["sleep", "1000"] in map(_arguments, box_pids(box)), "both run")
    (child,) = [pid for pid in box_pids(box) if _arguments(pid) == ["sleep", "1000"]]
    box.kill("TERM").ok()
    box.wait_for("stopped")
    assert not has_ended(child)
    # The rest is killed by --all, or by delete.
    box.kill("KILL", "--all").ok()
    wait_until(lambda: has_ended(child), "it ends")
    box.delete().ok()


def test_without_a_pid_namespace_sigkill_is_for_all(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    set_namespaces(box, "mount")
    running(box)
    wait_until(lambda: len(box_pids(box)) == 3, "all run")
    pids = box_pids(box)
    box.kill("KILL").ok()
    wait_until(lambda: all(has_ended(pid) for pid in pids), "all end")
    box.delete().ok()


def test_all_with_another_signal(container: MakeBundle) -> None:
    box = container("sh", "-c", "sleep 1000 & sleep 1000 & trap : TERM; while :; do wait; sleep 0.01; done")
    running(box)
    wait_until(lambda: sum(_arguments(pid) == ["sleep", "1000"] for pid in box_pids(box)) == 2, "all run")
    pids = [pid for pid in box_pids(box) if _arguments(pid) == ["sleep", "1000"]]
    box.kill("TERM", "--all").ok()
    wait_until(lambda: all(has_ended(pid) for pid in pids), "they end")
    assert box.status() == "running"


def box_pids(box: Bundle) -> list[int]:
    return [int(pid) for pid in (box.cgroup_dir("pids") / "cgroup.procs").read_text().split()]


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except FileNotFoundError:
        return []


# ---- delete ----


def test_delete_in_every_state(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    one_line(box.delete(), 1, "container does not exist")
    assert box.delete("--force").ok().stderr == ""
    box.create().ok()
    box.delete().ok()
    running(box)
    one_line(box.delete(), 1, f"cannot delete container {box.id} that is not stopped: running")
    box.call("pause", box.id).ok()
    one_line(box.delete(), 1, f"cannot delete container {box.id} that is not stopped: paused")
    assert box.status() == "paused"
    box.call("resume", box.id).ok()
    assert box.status() == "running"
    box.kill().ok()
    box.wait_for("stopped")
    box.delete().ok()
    one_line(box.call("state", box.id), 1, "container does not exist")


@pytest.mark.parametrize("state", ["created", "running", "paused", "stopped"])
def test_force_in_every_state(state: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.create().ok()
    if state != "created":
        box.start().ok()
    if state == "paused":
        box.call("pause", box.id).ok()
    if state == "stopped":
        box.kill().ok()
        box.wait_for("stopped")
    assert box.status() == state
    pid = box.state()["pid"]
    assert box.delete("--force").ok().stderr == ""
    assert not pid or has_ended(pid)
    assert not (box.place.root / box.id).exists()


def test_parents_of_the_cgroup_stay_and_what_create_did_not_make(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["linux"]["cgroupsPath"] = f"{box.cgroup}/above/itself"
    try:
        box.run().ok()
        for mount in set(hierarchies().values()):
            above = mount / box.cgroup.lstrip("/")
            if above.exists():
                assert sorted(entry.name for entry in above.iterdir() if entry.is_dir()) == ["above"]
                assert not any(entry.is_dir() for entry in (above / "above").iterdir())
    finally:
        for folder in reversed(cgroups_below(box.cgroup, itself=True)):
            folder.rmdir()


MAKES_CGROUPS = """
for controller in memory pids freezer devices cpu; do
  for name in a a/b a/b/c d; do
    mkdir /sys/fs/cgroup/$controller/$name
    sleep 1000 &
    echo $! >/sys/fs/cgroup/$controller/$name/cgroup.procs
  done
done
echo FROZEN >/sys/fs/cgroup/freezer/a/freezer.state
echo ready
exec sleep 1000
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_child_cgroups_that_the_container_made(stopped: bool, bundle: MakeBundle) -> None:
    """With processes in them, some of them frozen: all goes with the container."""
    box = bundle()
    box.config["process"]["args"] = [script(box, MAKES_CGROUPS)]
    # Without a pid namespace, whose end would take the processes along.
    set_namespaces(box, "mount", "cgroup")
    for mount in box.config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")
    running(box)
    wait_until(lambda: box.output() == "ready\n", box.errors() or "it is ready")
    pids = [int(pid) for pid in box.call("ps", "-f", "json", box.id).ok().stdout.strip("[]\n").split(",")]
    assert len(pids) == 21
    assert (box.cgroup_dir("memory") / "a/b/c/cgroup.procs").read_text()
    if stopped:
        os.kill(box.pid(), signal.SIGKILL)
        box.wait_for("stopped")
        box.delete().ok()
    else:
        box.delete("--force").ok()
    assert all(has_ended(pid) for pid in pids)
    for controller in ("memory", "pids", "freezer", "devices", "cpu"):
        assert not box.cgroup_dir(controller).exists()


def test_a_container_that_runs_on_while_it_forks(container: MakeBundle) -> None:
    box = container("sh", "-c", "while :; do sleep 0.001 & done")
    set_namespaces(box, "mount")
    box.config["linux"]["resources"]["pids"] = {"limit": 50}
    running(box)


def test_a_cgroup_that_somebody_else_removed(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    running(box)
    box.kill().ok()
    box.wait_for("stopped")
    for controller in ("memory", "freezer", "systemd"):
        wait_until(lambda: _rmdir(box.cgroup_dir(controller)), "it is empty")  # noqa: B023 - called at once
    assert box.status() == "stopped"
    assert box.delete().ok().stderr == ""


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def test_a_bundle_that_is_gone(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    running(box)
    shutil.rmtree(box.path)
    assert box.status() == "running"
    assert box.delete("--force").ok().stderr == ""


# ---- state directories that are not whole ----


def test_a_directory_without_a_state(workplace: Workplace) -> None:
    """A create that was killed at once. Either way it is removed; without --force nothing existed."""
    for flags, status in (((), 1), (("--force",), 0)):
        folder = workplace.root / "x"
        folder.mkdir(parents=True)
        got = workplace.call("delete", *flags, "x")
        assert got.returncode == status
        assert ("container does not exist" in got.stderr) == (status == 1)
        assert not folder.exists()


@pytest.mark.parametrize("name", ["..", ".", "@seccomp", "a/b", "", "/", "../state", "a b", "ä", "x" * 1025])
def test_names_that_no_container_can_have(name: str, workplace: Workplace) -> None:
    keep = workplace.root / "@seccomp"
    keep.mkdir(parents=True)
    for command in (("delete", "--force", name), ("delete", name), ("state", name), ("kill", name, "KILL")):
        one_line(workplace.call(*command), 1, "invalid container ID format")
    assert keep.is_dir() and workplace.path.is_dir()


def test_a_process_of_the_same_number_is_not_the_container(bundle: MakeBundle) -> None:
    """Numbers are used again: the start time tells them apart, and nobody else is killed."""
    box = bundle("sleep", "1000")
    running(box)
    file = box.place.root / box.id / "state.json"
    recorded = json.loads(file.read_text())
    with stranger() as other:
        file.write_text(json.dumps({**recorded, "pid": other.pid}))
        assert box.status() == "stopped"
        one_line(box.kill("KILL"), 1, "container not running")
        one_line(box.exec("true"), 255, "cannot exec in a stopped container")
        one_line(box.start(), 1, "cannot start a container that has stopped")
        # What is in the cgroup may be another container's, then.
        one_line(box.delete("--force"), 1, "Device or resource busy: processes " + str(recorded["pid"]))
        assert other.poll() is None
        file.write_text(json.dumps(recorded))
        assert box.status() == "running"
        box.delete("--force").ok()


def test_a_container_whose_creator_was_killed_at_the_end(bundle: MakeBundle) -> None:
    """Its process waits for start, but nobody is left who could say that it is created."""
    box = bundle("sleep", "1000")
    box.create().ok()
    file = box.place.root / box.id / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "phase": "creating"}))
    assert (box.status(), box.pid()) == ("stopped", 0)
    assert box.start().returncode == 1
    assert box.exec("true").returncode == 255
    assert box.delete().ok().stderr == ""


def test_a_format_that_is_not_known(container: MakeBundle) -> None:
    """That of a newer pyrunc: an error, and nothing is taken for something else."""
    box = container("sleep", "1000")
    running(box)
    file = box.place.root / box.id / "state.json"
    recorded = json.loads(file.read_text())
    file.write_text(json.dumps({**recorded, "format": 1000}))
    for got in (box.call("state", box.id), box.kill("KILL"), box.delete(), box.delete("--force")):
        one_line(got, 1, "format")
    file.write_text(json.dumps(recorded))
    assert box.status() == "running"


def test_in_a_user_namespace(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "sleep 1000 & wait")
    add_user_namespace(box)
    running(box)
    box.kill("KILL").ok()
    box.wait_for("stopped")
    box.delete().ok()
