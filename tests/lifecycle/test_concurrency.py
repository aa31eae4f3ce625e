"""Two operations on one container at once: one wins, the other gets a clear error; nothing hangs, nothing is left."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..conftest import MakeBundle
from ..workplace import PATIENCE, Bundle, hierarchies, reap, wait_until
from .support import running, set_namespaces

#: `make test` may ask for more.
ROUNDS = int(os.environ.get("PYRUNC_ROUNDS", "20"))

Argv = list[str | Path]


class Outcome:
    """How one of the two ended."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


def at_once(box: Bundle, *commands: Argv) -> list[Outcome]:
    """Start them together; wait for all."""
    files = [(box.path / f"said{number}").open("w+") for number in range(len(commands))]
    processes = []
    for argv, file in zip(commands, files, strict=True):
        processes.append(box.place.spawn(*argv, stdout=file, stderr=subprocess.STDOUT))
    outcomes = []
    for process, file in zip(processes, files, strict=True):
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
        file.seek(0)
        outcomes.append(Outcome(status, file.read()))
        file.close()
    for outcome in outcomes:
        assert "internal error" not in outcome.text and "Traceback" not in outcome.text, outcome.text
        assert not outcome.status or outcome.text.count("\n") <= 1, outcome.text
    return outcomes


def rounds() -> Iterator[int]:
    yield from range(ROUNDS)


def gone(box: Bundle) -> None:
    """Nothing of the container is left: state, cgroup, processes."""
    reap()
    assert not (box.place.root / box.id).exists()
    assert not box.cgroup_dir("memory").exists()


def creating(box: Bundle) -> Argv:
    return ["create", "--bundle", box.save(), box.id]


def test_create_and_create(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    for _ in rounds():
        first, second = at_once(box, creating(box), creating(box))
        winner, loser = (first, second) if first.status == 0 else (second, first)
        assert (winner.status, loser.status) == (0, 1), (first.text, second.text)
        assert "container with given ID already exists" in loser.text, loser.text
        assert box.status() == "created"
        box.start().ok()
        box.delete("--force").ok()
        gone(box)


def test_two_creates_in_one_cgroup(bundle: MakeBundle) -> None:
    """One has it, and keeps it; the other is refused, and takes nothing of it away."""
    box, other = bundle("sleep", "1000"), bundle("sleep", "1000")
    other.config["linux"]["cgroupsPath"] = box.cgroup
    for _ in rounds():
        first, second = at_once(box, creating(box), creating(other))
        winner, loser = (first, second) if first.status == 0 else (second, first)
        assert (winner.status, loser.status) == (0, 1), (first.text, second.text)
        assert "container's cgroup is not empty: 1 process(es) found in " in loser.text, loser.text
        there, gone_again = (box, other) if first.status == 0 else (other, box)
        assert not (box.place.root / gone_again.id).exists()
        assert there.status() == "created"
        there.delete("--force").ok()
        gone(box)
        gone(other)


def test_a_cgroup_that_has_gone_to_another_container(bundle: MakeBundle) -> None:
    """The first has ended and is not deleted yet: what is in its cgroup by now is not its own to kill."""
    box, other = bundle("sleep", "1000"), bundle("sleep", "1000")
    other.config["linux"]["cgroupsPath"] = box.cgroup
    box.run("--detach").ok()
    box.kill().ok()
    box.wait_for("stopped")
    other.run("--detach").ok()
    box.kill("KILL", "--all").ok()
    for flags in ([], ["--force"]):
        got = box.delete(*flags)
        assert (got.returncode, got.stderr.count("\n")) == (1, 1), got.stderr
        assert f'Device or resource busy: processes {other.pid()}"\n' in got.stderr, got.stderr
    assert other.status() == "running"
    other.exec("true").ok()
    other.delete("--force").ok()
    box.delete().ok()
    gone(box)


def test_a_joined_pid_namespace_does_not_end_with_the_container(bundle: MakeBundle) -> None:
    """As a pod's containers that share their processes: SIGKILL goes to all of the container's, as in runc."""
    pod = bundle("sleep", "1000")
    pid = running(pod)
    box = bundle("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    set_namespaces(box, "mount", pid=pid)
    box.run("--detach").ok()
    procs = box.cgroup_dir("devices") / "cgroup.procs"
    wait_until(lambda: len(procs.read_text().split()) == 3, "its children are there")
    box.kill("KILL").ok()
    wait_until(lambda: not procs.read_text(), "all of them are gone")
    reap()
    box.delete().ok()
    pod.delete("--force").ok()
    gone(box)


def test_a_lock_that_somebody_else_holds(bundle: MakeBundle) -> None:
    """Any user of the host may open a cgroup's directory, and lock it: that stops no create."""
    box = bundle("true")
    directories = [mount / box.cgroup.lstrip("/") for mount in set(hierarchies().values())]
    held = []
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        held.append(os.open(directory, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    try:
        box.run().ok()
    finally:
        for fd in held:
            os.close(fd)
    for directory in directories:
        if directory.exists():
            directory.rmdir()


def test_the_lock_of_a_cgroup_is_let_go(bundle: MakeBundle) -> None:
    """A created container holds it no more, nor does a stopped one."""
    box = bundle("sleep", "1000")
    box.create().ok()
    try:
        for mount in set(hierarchies().values()):
            directory = mount / box.cgroup.lstrip("/")
            if directory.exists():
                fd = os.open(directory, os.O_RDONLY)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.close(fd)
    finally:
        box.delete("--force").ok()


def test_start_and_start(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo started >>/log; exec sleep 1000")
    box.config["root"]["readonly"] = False
    for count in rounds():
        box.create().ok()
        first, second = at_once(box, ["start", box.id], ["start", box.id])
        winner, loser = (first, second) if first.status == 0 else (second, first)
        assert (winner.status, loser.status) == (0, 1)
        assert "cannot start an already running container" in loser.text, loser.text
        assert box.status() == "running"
        box.exec("sh", "-c", "until test -s /log; do sleep 0.01; done").ok()
        box.delete("--force").ok()
        assert (box.rootfs / "log").read_text() == "started\n" * (count + 1)
        gone(box)


def test_delete_and_exec(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.create().ok()
    for _ in rounds():
        if not (box.place.root / box.id).exists():
            box.create().ok()
        box.start().ok()
        deleted, executed = at_once(box, ["delete", "--force", box.id], ["exec", box.id, "true"])
        assert deleted.status == 0, deleted.text
        # It came before, was killed with the container, or found it gone.
        assert executed.status in (0, 137, 255), (executed.status, executed.text)
        assert executed.status == 0 or executed.text or executed.status == 137
        gone(box)


def test_update_and_delete(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    for _ in rounds():
        box.run("--detach").ok()
        deleted, updated = at_once(
            box, ["delete", "--force", box.id], ["update", "--memory", "64m", "--pids-limit", "50", box.id]
        )
        assert deleted.status == 0, deleted.text
        assert updated.status in (0, 1), updated.text
        assert updated.status == 0 or updated.text
        gone(box)


def test_delete_and_delete(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    for _ in rounds():
        box.run("--detach").ok()
        for outcome in at_once(box, ["delete", "--force", box.id], ["delete", "--force", box.id]):
            assert outcome.status == 0, outcome.text
        gone(box)


def test_create_and_delete(bundle: MakeBundle) -> None:
    """delete --force of a container that is being created ends the create, or comes before it, or after."""
    box = bundle("sleep", "1000")
    for _ in rounds():
        created, deleted = at_once(box, creating(box), ["delete", "--force", box.id])
        assert deleted.status == 0, deleted.text
        assert created.status in (0, 1)
        assert created.status == 0 or created.text
        # What came last holds.
        box.delete("--force").ok()
        gone(box)


@pytest.mark.parametrize("other", ["pause", "start", "kill"])
def test_delete_and_others(other: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    for _ in range(max(1, ROUNDS // 2)):
        box.create().ok()
        if other != "start":
            box.start().ok()
        deleted, outcome = at_once(box, ["delete", "--force", box.id], [other, box.id])
        assert deleted.status == 0, deleted.text
        assert outcome.status in (0, 1) and (outcome.status == 0 or outcome.text)
        gone(box)


def test_list_and_state_while_others_come_and_go(bundle: MakeBundle) -> None:
    """Neither fails, nor shows half a container."""
    box = bundle("sleep", "1000")
    # `list` wants the root that --root names.
    box.place.root.mkdir()
    for _ in rounds():
        outcomes = at_once(box, creating(box), ["list", "--format", "json"], ["state", box.id])
        assert outcomes[0].status == 0
        assert outcomes[1].status == 0, outcomes[1].text
        for found in json.loads(outcomes[1].text) or []:
            assert found["status"] in ("creating", "created"), found
        if outcomes[2].status:
            assert "container does not exist" in outcomes[2].text
        deleting = at_once(box, ["delete", "--force", box.id], ["list", "--format", "json"], ["state", box.id])
        assert [one.status for one in deleting[:2]] == [0, 0], [one.text for one in deleting]
        gone(box)


def test_many_at_once(bundle: MakeBundle) -> None:
    boxes = [bundle("sh", "-c", f"exit {number}") for number in range(12)]
    commands: list[Argv] = [["run", "--bundle", box.save(), box.id] for box in boxes]
    assert [outcome.status for outcome in at_once(boxes[0], *commands)] == list(range(12))


# ---- killed half-way ----

Victim = Callable[[Bundle], Argv]


@pytest.mark.parametrize("command", ["start", "delete", "pause", "update"])
def test_a_command_that_is_killed_at_any_system_call(command: str, bundle: MakeBundle) -> None:
    """strace sends SIGKILL at the nth call of a kind: delete --force takes all away nevertheless."""
    if subprocess.run(["strace", "-V"], capture_output=True, check=False).returncode:
        pytest.skip("no strace")
    box = bundle("sleep", "1000")
    box.config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    extra = {"delete": ["--force"], "update": ["--memory", "64m"]}
    for call in ("openat", "write", "unlink,rmdir,rename", "pidfd_send_signal,poll"):
        for number in range(1, 40, 3):
            box.create().ok()
            if command != "start":
                box.start().ok()
            inject = f"inject={call}:signal=KILL:when={number}"
            argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, str(box.place.runtime)]
            argv += ["--root", str(box.place.root), command, *extra.get(command, []), box.id]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert box.call("list").ok()
            assert box.delete("--force").ok().stderr == ""
            gone(box)
            if done.returncode == 0:
                break  # there is no nth call
