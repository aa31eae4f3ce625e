"""A detached container's life under podman and docker."""

import re

import pytest

from . import images
from .engines import Engine, wait_for

HANDLER = "trap 'echo bye; exit 7' TERM; trap 'echo poked' USR1; echo ready; while :; do sleep 0.1; done"


def test_exec(engine: Engine) -> None:
    """Status, both streams, user, environment, folder, stdin."""
    with engine.container("exec sleep 1000", "-e", "BASE=base") as box:
        done = box.exec("sh", "-c", "echo out; echo err >&2; exit 5")
        assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
        assert box.exec("true").returncode == 0
        assert box.exec("-u", "1000:1000", "--", "sh", "-c", "id -u; id -g").stdout.split() == ["1000", "1000"]
        assert box.exec("-u", "alice", "--", "id", "-un").stdout.strip() == "alice"
        text = box.exec("-e", "MORE=more", "-w", "/data", "--", "sh", "-c", "echo $BASE $MORE; pwd").stdout
        assert text.split() == ["base", "more", "/data"]
        assert box.exec("-i", "--", "wc", "-c", stdin=b"12345").stdout.strip() == "5"


def test_exec_of_what_cannot_be_run(engine: Engine) -> None:
    """podman keeps 126 and 127 apart; docker 20.10's exec says 126 for both. The message names the command."""
    with engine.container("exec sleep 1000") as box:
        for command, expected in (("/etc/passwd", 126), ("/etc", 126), ("/no/such", 127), ("no-such-command", 127)):
            done = box.exec(command)
            assert done.returncode == (expected if engine.name == "podman" else done.returncode), done
            assert done.returncode in (126, 127), done
            assert command in done.stdout + done.stderr
        assert box.inspect()["State"]["Running"]


def test_exec_is_confined_like_the_container(engine: Engine) -> None:
    """The same capabilities, filter, cgroups and namespaces as the container's own process."""
    script = (
        "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/cgroup; readlink /proc/self/cwd;"
        "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done"
    )
    with engine.container(f"{script}; echo done; exec sleep 1000", "--cap-drop", "ALL", "--cap-add", "CHOWN") as box:
        box.says("done")
        own = box.logs().partition("done")[0]
        assert box.exec("sh", "-c", script).stdout == own


def test_exec_detached(engine: Engine) -> None:
    with engine.container("exec sleep 1000") as box:
        box.exec("-d", "--", "sh", "-c", "echo there >/data/mark; exec sleep 999")
        wait_for("the mark", lambda: box.exec("cat", "/data/mark").stdout == "there\n")
        assert "sleep 999" in box.exec("ps").stdout


def test_top(engine: Engine) -> None:
    with engine.container("sleep 1000 & exec sleep 998") as box:
        wait_for("both sleeps", lambda: box.exec("ps").stdout.count("sleep") == 2)
        text = engine.out("top", box.name)
        assert "sleep 1000" in text and "sleep 998" in text
        assert len(text.splitlines()) == 3


def test_pause(engine: Engine) -> None:
    with engine.container("exec sleep 1000") as box:
        engine.out("pause", box.name)
        assert box.inspect()["State"]["Status"] == "paused"
        assert box.cgroup_file("freezer/freezer.state", "cgroup.freeze") in ("FROZEN", "1")
        assert box.exec("true").returncode != 0
        engine.out("unpause", box.name)
        assert box.inspect()["State"]["Status"] == "running"
        assert box.cgroup_file("freezer/freezer.state", "cgroup.freeze") in ("THAWED", "0")
        assert box.exec("true").returncode == 0


def test_a_paused_container_is_removed_by_force(engine: Engine) -> None:
    with engine.container("exec sleep 1000") as box:
        engine.out("pause", box.name)
        assert engine.remove(box.name).returncode == 0
        assert engine("inspect", "--type", "container", box.name).returncode != 0


def test_stats(engine: Engine) -> None:
    with engine.container("sleep 1000 & exec sleep 1000", "--memory", "64m") as box:
        wait_for("both sleeps", lambda: box.exec("ps").stdout.count("sleep") == 2)
        text = engine.out("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", box.name).splitlines()[-1]
        assert re.fullmatch(r"[1-9][0-9.]*(B|kB|MB|KiB|MiB) / (64MiB|67.11MB) 2", text), text


def test_kill(engine: Engine) -> None:
    with engine.container("exec sleep 1000") as box:
        engine.out("kill", box.name)
        assert box.wait() == 137
        state = box.inspect()["State"]
        assert (state["Running"], state["ExitCode"], state["OOMKilled"]) == (False, 137, False)


def test_a_signal_and_stop_with_a_handler(engine: Engine) -> None:
    with engine.container(HANDLER) as box:
        box.says("ready")
        engine.out("kill", "-s", "USR1", box.name)
        box.says("poked")
        engine.out("stop", box.name)
        assert box.wait() == 7
        assert box.logs().split() == ["ready", "poked", "bye"]


def test_stop_without_a_handler(engine: Engine) -> None:
    """PID 1 without a handler never sees SIGTERM: the engine kills it in the end."""
    with engine.container("exec sleep 1000") as box:
        engine.out("stop", "-t", "1", box.name)
        assert box.wait() == 137


def test_restart(engine: Engine) -> None:
    with engine.container(HANDLER) as box:
        box.says("ready")
        before = box.pid
        engine.out("restart", box.name)
        assert box.pid not in (0, before)
        wait_for("a second start", lambda: box.logs().split().count("ready") == 2)
        assert box.exec("true").returncode == 0


def test_create_and_start_attached(engine: Engine) -> None:
    name = engine.out("create", images.NAME, "sh", "-c", "echo hello; exit 4")
    try:
        assert engine.out("inspect", "--format", "{{.State.Status}}", name) in ("created", "configured")
        done = engine("start", "-a", name)
        assert (done.returncode, done.stdout) == (4, "hello\n")
    finally:
        engine.out("rm", name)


def test_logs(engine: Engine) -> None:
    """Both streams, kept after the end, a long line unbroken."""
    with engine.container("echo out; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; exit 9") as box:
        assert box.wait() == 9
        done = engine("logs", box.name, check=True)
        assert done.stdout.splitlines() == ["out", "x" * 40000]
        assert done.stderr == "err\n"


def test_the_end_of_the_first_process_ends_all(engine: Engine) -> None:
    """What the first process started dies with it, and the container has ended."""
    with engine.container("sleep 1234 & exit 6") as box:
        assert box.wait() == 6
        assert "sleep 1234" not in engine.sandbox.run("ps", "-e", "-o", "args", check=True).stdout


def test_rm_leaves_nothing(engine: Engine) -> None:
    """A running container is not removed without -f; afterwards no process, mount, cgroup or file of it is left, the
    runtime's state among them.
    """
    place = engine.sandbox
    with engine.container("exec true") as first:  # What the engine makes once and keeps is there from here on.
        first.wait()
    processes, mounts, cgroups = set(place.processes()), sorted(place.mounts()), set(place.cgroups())
    with engine.container("exec sleep 1000") as box:
        assert engine("rm", box.name).returncode != 0
        box.exec("-d", "--", "sleep", "999")
        named = ["find", "/run", str(place.work), "-name", f"*{box.inspect()['Id']}*", "-prune"]
        assert place.run(*named, check=True).stdout
        assert len(place.cgroups()) > len(cgroups)
        assert engine.remove(box.name).returncode == 0
        wait_for("the end of its processes", lambda: set(place.processes()) <= processes)
        wait_for("the end of its mounts", lambda: sorted(place.mounts()) == mounts)
        wait_for("the end of its cgroups", lambda: set(place.cgroups()) <= cgroups)
        wait_for("the end of its files", lambda: not place.run(*named).stdout)


def test_a_health_check(docker: Engine) -> None:
    """docker runs it by exec, again and again."""
    check = ["--health-cmd", "test -e /data/well", "--health-interval", "1s", "--health-retries", "1"]
    with docker.container("exec sleep 1000", *check) as box:
        wait_for("bad health", lambda: box.inspect()["State"]["Health"]["Status"] == "unhealthy")
        box.exec("touch", "/data/well")
        wait_for("good health", lambda: box.inspect()["State"]["Health"]["Status"] == "healthy")


@pytest.mark.parametrize("number", [1, 2])
def test_a_name_is_free_again(engine: Engine, number: int) -> None:
    """The same name twice, one after the other."""
    engine.out("run", "--name", "reused", "--rm", images.NAME, "true")
    assert "reused" not in engine.out("ps", "-a", "--format", "{{.Names}}").split(), number
