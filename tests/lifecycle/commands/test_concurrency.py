"""Two operations on one container at once: each ends, in one of the ways that are allowed; nothing is left.

A pair is tried PYRUNC_ROUNDS times (`make soak` asks for 1,000), on some containers side by side, since most of a round
is waiting for the kernel. Every command stands at a barrier before it becomes the runtime; all are let go together.
"""

import fcntl
import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cgroups import cgroups_below, hierarchies
from tests.support.containers import running
from tests.support.namespaces import set_namespaces
from tests.support.processes import reap
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle

ROUNDS = int(os.environ.get("PYRUNC_ROUNDS", "100"))
#: Of pairs that nobody has asked for.
FEWER = max(1, ROUNDS // 4)
#: Containers side by side.
LANES = 8

Argv = list[str | Path]

GONE = "container does not exist"
DELETED = "container was deleted while it was made"
#: What a command may say that comes too late.
LATE = {
    "create": (
        DELETED,
        "container with given ID already exists",
        "container process was killed by signal 9",
        "cgroup is not empty",
    ),
    # It is create and start.
    "run --detach": (
        DELETED,
        "container with given ID already exists",
        "container process was killed by signal 9",
        "cannot start a container that has stopped",
        "the container's process ended before its program could be executed",
        GONE,
    ),
    "start": (
        GONE,
        "cannot start a container that has stopped",
        "cannot start an already running container",
        "the container's process ended before its program could be executed",
    ),
    "exec": (GONE, "cannot exec in a stopped container"),
    "update": (GONE, "container not running"),
    "kill": (GONE, "container not running"),
    "pause": (GONE, "container not running"),
    "resume": (GONE, "container not paused"),
    "delete": (GONE, "that is not stopped: running"),
    "state": (GONE,),
    "ps": (GONE,),
    "events": (GONE, "is not running"),
}


class Outcome(NamedTuple):
    """How a command ended: its exit status, and all that it wrote."""

    status: int
    text: str


class Call(NamedTuple):
    """A command on a container. after: a file or folder that it waits for beyond the barrier."""

    box: Bundle
    argv: Argv
    after: Path | None = None


#: Its standard error is the pipe on which it says that it is there; its standard input ends when all are.
BARRIER = 'echo >&2; read -r go; until [ -e "$0" ]; do :; done; exec "$@" </dev/null 2>&1'


def at_once(*calls: Call) -> list[Outcome]:
    """Let them go at the same moment; how each ended. None may hang, or say more than one line of error."""
    barrier, held = os.pipe()
    arrivals, arrived = os.pipe()
    # No pipe: a container that lives on would hold it open.
    files = [(box.place.path / f"said{number}").open("w+") for number, (box, _, _) in enumerate(calls)]
    processes = []
    try:
        for (box, argv, after), file in zip(calls, files, strict=True):
            words = ["sh", "-c", BARRIER, after or "/", box.place.runtime, "--root", box.place.root, *argv]
            processes.append(subprocess.Popen(words, stdin=barrier, stdout=file, stderr=arrived))
        for _ in processes:
            assert select.select([arrivals], [], [], PATIENCE)[0], "one never came to the barrier"
            os.read(arrivals, 1)
        os.close(held)
        statuses = [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
        for fd in (barrier, arrivals, arrived):
            os.close(fd)
    outcomes = []
    for (_, argv, _), status, file in zip(calls, statuses, files, strict=True):
        file.seek(0)
        outcomes.append(Outcome(status, file.read()))
        file.close()
        check_text("run --detach" if argv[:2] == RUN[:2] else str(argv[0]), outcomes[-1])
    return outcomes


def check_text(command: str, outcome: Outcome) -> None:
    """An error is one clear line: of those that the command may say when it comes too late."""
    status, text = outcome
    assert "internal error" not in text and "Traceback" not in text, (command, outcome)
    if status == 137 and command == "exec":
        return
    if status and command in LATE:
        assert text.count("\n") == 1 and text.endswith("\n"), (command, outcome)
        assert any(words in text for words in LATE[command]), (command, outcome)


def all_of(boxes: list[Bundle], *argv: str | Path) -> None:
    """The same command on each of them, which must succeed without a word."""
    for outcome in at_once(*(Call(box, [*argv, box.id]) for box in boxes)):
        assert outcome == (0, ""), (argv, outcome)


def nothing(boxes: list[Bundle]) -> None:
    """The container is not there."""


def create(boxes: list[Bundle]) -> None:
    assert {*at_once(*(call_of(box, CREATE) for box in boxes))} == {(0, "")}


def run(boxes: list[Bundle]) -> None:
    assert {*at_once(*(call_of(box, RUN) for box in boxes))} == {(0, "")}


def paused(boxes: list[Bundle]) -> None:
    run(boxes)
    all_of(boxes, "pause")


def gone(boxes: list[Bundle]) -> None:
    """Of these containers no state and no cgroup is left, thus no process. (Mounts: see workplace.check().)"""
    reap()
    for box in boxes:
        assert not (box.place.root / box.id).exists()
        assert cgroups_below(box.cgroup, itself=True) == []


Prepare = Callable[[list[Bundle]], None]
Judge = Callable[[Bundle, Outcome, Outcome], None]


def contest(
    bundle: MakeBundle, prepare: Prepare, first: Argv, second: Argv, judge: Judge, rounds: int = ROUNDS
) -> None:
    """All rounds of a pair of commands, "ID" standing for the container's. judge: of how they ended, in this order.

    When `second` begins with a folder, it starts as soon as that is there: "STATE" or "CGROUP" of the container.
    """
    boxes = [bundle("sleep", "1000") for _ in range(min(LANES, rounds))]
    files = [sorted(box.path.iterdir()) for box in boxes]
    descriptors = len(os.listdir("/proc/self/fd"))
    for begin in range(0, rounds, LANES):
        some = boxes[: rounds - begin]
        prepare(some)
        calls = [call_of(box, argv) for box in some for argv in (first, second)]
        # Who comes to the barrier first often leaves it first.
        turn = -1 if begin // LANES % 2 else 1
        outcomes = at_once(*calls[::turn])[::turn]
        for box, one, other in zip(some, outcomes[::2], outcomes[1::2], strict=True):
            judge(box, one, other)
        all_of(some, "delete", "--force")
        gone(some)
    assert [sorted(box.path.iterdir()) for box in boxes] == files
    assert len(os.listdir("/proc/self/fd")) == descriptors


def call_of(box: Bundle, argv: Argv) -> Call:
    after = {"STATE": box.place.root / box.id, "CGROUP": box.cgroup_dir("memory")}.get(str(argv[0]))
    words: dict[str, str | Path] = {"ID": box.id, "BUNDLE": box.save()}
    argv = argv[1:] if after else argv
    return Call(box, [words.get(str(word), word) for word in argv], after)


CREATE: Argv = ["create", "--bundle", "BUNDLE", "ID"]
RUN: Argv = ["run", "--detach", "--bundle", "BUNDLE", "ID"]
START: Argv = ["start", "ID"]
EXEC: Argv = ["exec", "ID", "ls", "/proc/self/fd"]
UPDATE: Argv = ["update", "--memory", "64m", "--pids-limit", "50", "ID"]
KILL: Argv = ["kill", "ID", "KILL"]
PAUSE: Argv = ["pause", "ID"]
RESUME: Argv = ["resume", "ID"]
DELETE: Argv = ["delete", "ID"]
FORCE: Argv = ["delete", "--force", "ID"]

#: What an exec's `ls` says when nothing was left open in it: its own 3 is the folder that it reads.
DESCRIPTORS = "0\n1\n2\n3\n"


def wins(winner: Outcome, loser: Outcome) -> tuple[Outcome, Outcome]:
    """Exactly one of them did; the winner comes first."""
    if winner.status:
        winner, loser = loser, winner
    assert (winner.status, loser.status) == (0, 1), (winner, loser)
    return winner, loser


@pytest.mark.parametrize("command", [CREATE, RUN], ids=["create", "run"])
def test_create_and_create(command: Argv, bundle: MakeBundle) -> None:
    def judge(box: Bundle, one: Outcome, other: Outcome) -> None:
        wins(one, other)
        assert box.status() == ("created" if command is CREATE else "running")
        assert sorted(os.listdir(f"/proc/{box.pid()}/fd")) >= ["0", "1", "2"]

    contest(bundle, nothing, command, command, judge, ROUNDS if command is CREATE else FEWER)


def test_start_and_start(bundle: MakeBundle) -> None:
    def judge(box: Bundle, one: Outcome, other: Outcome) -> None:
        assert "already running" in wins(one, other)[1].text
        assert box.status() == "running"
        assert sorted(os.listdir(f"/proc/{box.pid()}/fd")) == ["0", "1", "2"]

    contest(bundle, create, START, START, judge)


@pytest.mark.parametrize("command", [CREATE, RUN], ids=["create", "run"])
@pytest.mark.parametrize("moment", ["STATE", "CGROUP"])
def test_create_and_delete_force(command: Argv, moment: str, bundle: MakeBundle) -> None:
    """It ends a create that is under way, or takes away what it has made; then nothing is there any more."""

    def judge(box: Bundle, created: Outcome, deleted: Outcome) -> None:
        assert deleted == (0, ""), deleted
        assert created.status in (0, 1), created
        gone([box])

    contest(bundle, nothing, command, [moment, *FORCE], judge, FEWER)


#: A command that may come before a delete --force or after, in which state the container is for it, and how often.
BEFORE_OR_AFTER: dict[str, tuple[Prepare, Argv, int]] = {
    "start": (create, START, ROUNDS),
    "exec": (run, EXEC, ROUNDS),
    "update": (run, UPDATE, ROUNDS),
    "kill": (run, KILL, ROUNDS),
    "pause": (run, PAUSE, FEWER),
    "resume": (paused, RESUME, FEWER),
    "state": (run, ["state", "ID"], FEWER),
    "ps": (run, ["ps", "ID"], FEWER),
    "events": (run, ["events", "--stats", "ID"], FEWER),
    "delete": (run, FORCE, FEWER),
}


@pytest.mark.parametrize("command", BEFORE_OR_AFTER)
def test_delete_force_and(command: str, bundle: MakeBundle) -> None:
    """delete --force wins always; the other comes before it or is told that it has come too late."""
    prepare, argv, rounds = BEFORE_OR_AFTER[command]

    def judge(box: Bundle, deleted: Outcome, other: Outcome) -> None:
        assert deleted == (0, ""), deleted
        # An exec that came before is killed with the container, or done.
        assert other.status in ((0, 137, 255) if command == "exec" else (0, 1)), other
        assert command != "exec" or other.status or other.text == DESCRIPTORS
        gone([box])

    contest(bundle, prepare, FORCE, argv, judge, rounds)


def test_kill_and_delete(bundle: MakeBundle) -> None:
    """Without --force, delete takes only what kill has ended already."""

    def judge(box: Bundle, killed: Outcome, deleted: Outcome) -> None:
        assert killed == (0, ""), killed
        assert deleted.status in (0, 1), deleted
        if deleted.status == 0:
            gone([box])
        else:
            box.wait_for("stopped")

    contest(bundle, run, KILL, DELETE, judge)


def test_start_and_delete(bundle: MakeBundle) -> None:
    """A created container may be deleted, a running one not."""

    def judge(box: Bundle, started: Outcome, deleted: Outcome) -> None:
        wins(started, deleted)
        if started.status:
            gone([box])
        else:
            assert box.status() == "running"

    contest(bundle, create, START, DELETE, judge, FEWER)


@pytest.mark.parametrize("before", ["running", "paused"])
def test_pause_and_resume(before: str, bundle: MakeBundle) -> None:
    """As one after the other: the state tells which came last, and the first may have had nothing to do."""

    def judge(box: Bundle, paused: Outcome, resumed: Outcome) -> None:
        needed, other = (paused, resumed) if before == "running" else (resumed, paused)
        assert needed == (0, "") and other.status in (0, 1), (paused, resumed)
        after = box.status()
        assert (after != before) == (other.status != 0), (before, after, other)

    contest(bundle, run if before == "running" else paused, PAUSE, RESUME, judge, ROUNDS // 2 or 1)


def test_pause_and_pause(bundle: MakeBundle) -> None:
    def judge(box: Bundle, one: Outcome, other: Outcome) -> None:
        wins(one, other)
        assert box.status() == "paused"

    contest(bundle, run, PAUSE, PAUSE, judge, FEWER)


@pytest.mark.parametrize(("command", "prepare"), [("start", "create"), ("exec", "run"), ("pause", "run")])
def test_kill_and(command: str, prepare: str, bundle: MakeBundle) -> None:
    """kill comes through; the container ends, however far the other got."""
    argv = {"start": START, "exec": EXEC, "pause": PAUSE}[command]

    def judge(box: Bundle, killed: Outcome, other: Outcome) -> None:
        assert killed == (0, ""), killed
        assert other.status in ((0, 137, 255) if command == "exec" else (0, 1)), other
        if command == "pause" and box.status() == "paused":
            # It was frozen before it had died: its death waits until it may go on.
            box.call("resume", box.id).ok()
        box.wait_for("stopped")

    contest(bundle, {"create": create, "run": run}[prepare], KILL, argv, judge, FEWER)


def test_exec_and_exec(bundle: MakeBundle) -> None:
    def judge(box: Bundle, one: Outcome, other: Outcome) -> None:
        assert one == other == (0, DESCRIPTORS)
        assert (box.cgroup_dir("memory") / "cgroup.procs").read_text().split() == [str(box.pid())]

    contest(bundle, run, EXEC, EXEC, judge)


def test_update_and_update(bundle: MakeBundle) -> None:
    """Both succeed, and what holds is all of one: the last."""

    def judge(box: Bundle, one: Outcome, other: Outcome) -> None:
        assert one == other == (0, "")
        cgroup = box.cgroup_dir("memory"), box.cgroup_dir("pids")
        name = "memory.max" if (cgroup[0] / "memory.max").exists() else "memory.limit_in_bytes"
        limits = (cgroup[0] / name).read_text().strip(), (cgroup[1] / "pids.max").read_text().strip()
        assert limits in ((str(64 << 20), "50"), (str(32 << 20), "60"))

    contest(bundle, run, UPDATE, ["update", "--memory", "32m", "--pids-limit", "60", "ID"], judge, FEWER)


def test_two_creates_in_one_cgroup(bundle: MakeBundle) -> None:
    """One has it, and keeps it; the other is refused, and takes nothing of it away."""
    pairs = [(bundle("sleep", "1000"), bundle("sleep", "1000")) for _ in range(min(LANES, FEWER))]
    for box, other in pairs:
        other.cgroup = other.config["linux"]["cgroupsPath"] = box.cgroup
    for begin in range(0, FEWER, LANES):
        some = pairs[: FEWER - begin]
        outcomes = at_once(*(call_of(box, CREATE) for pair in some for box in pair))
        there = []
        for pair, first, second in zip(some, outcomes[::2], outcomes[1::2], strict=True):
            assert "container's cgroup is not empty: 1 process(es) found in " in wins(first, second)[1].text
            winner, loser = pair if first.status == 0 else pair[::-1]
            assert not (loser.place.root / loser.id).exists()
            assert winner.status() == "created"
            there.append(winner)
        all_of(there, "delete", "--force")
        gone([box for pair in some for box in pair])


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
        assert f"Device or resource busy: processes {other.pid()} (container {box.id})" in got.stderr, got.stderr
    assert other.status() == "running"
    other.exec("true").ok()
    other.delete("--force").ok()
    box.delete().ok()
    gone([box])


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
    gone([box])


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


def test_list_while_others_come_and_go(bundle: MakeBundle) -> None:
    """It never fails, nor says anything beside the list."""
    bundle().place.root.mkdir()

    def judge(box: Bundle, other: Outcome, listed: Outcome) -> None:
        assert other == (0, "") and listed.status == 0, (other, listed)
        for found in json.loads(listed.text) or []:
            # One that is being killed has left its FIFO, as one that runs, before it has ended.
            assert found["status"] in ("creating", "created", "running", "stopped"), found

    lists: Argv = ["list", "--format", "json"]
    contest(bundle, nothing, CREATE, lists, judge, FEWER)
    contest(bundle, create, FORCE, lists, judge, FEWER)


def test_many_at_once(bundle: MakeBundle) -> None:
    boxes = [bundle("sh", "-c", f"exit {number}") for number in range(12)]
    calls = [Call(box, ["run", "--bundle", box.save(), box.id]) for box in boxes]
    assert [outcome.status for outcome in at_once(*calls)] == list(range(12))


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
            gone([box])
            if done.returncode == 0:
                break  # there is no nth call
