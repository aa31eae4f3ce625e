"""containerd, by its own command line and the runc.v2 shim."""

import hashlib
import json
import random
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.processes import status_in

from . import images
from .engines import Ctr, caps, new_id, wait_for
from .terminal import Terminal

HANDLER = "trap 'echo bye; exit 7' TERM; trap 'echo poked' USR1; echo ready; while :; do sleep 0.1; done"


@contextmanager
def terminal(ctr: Ctr, *args: str) -> Iterator[Terminal]:
    """One command of ctr, with a terminal."""
    with Terminal(ctr.sandbox.argv(ctr.argv(*args)), ctr.sandbox.env) as tty:
        yield tty


@pytest.mark.parametrize("expected", [0, 3])
def test_the_exit_status_is_kept(ctr: Ctr, expected: int) -> None:
    done = ctr.run(command=["sh", "-c", f"echo out; echo err >&2; exit {expected}"])
    assert (done.returncode, done.stdout, done.stderr) == (expected, "out\n", "err\n")


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "/etc/passwd"])
def test_a_command_that_cannot_be_run(ctr: Ctr, command: str) -> None:
    """An error that names it, and nothing left behind."""
    done = ctr.run(command=[command])
    assert done.returncode != 0
    assert command in done.stderr
    assert "OCI runtime create failed" in done.stderr
    assert ctr("containers", "list", "-q", check=True).stdout == ""


def test_stdin(ctr: Ctr) -> None:
    data = random.Random(4).randbytes(1 << 20)
    done = ctr.run(command=["md5sum"], stdin=data)
    assert done.returncode == 0, done
    assert done.stdout.split()[0] == hashlib.md5(data).hexdigest()


def test_run_with_a_terminal(ctr: Ctr) -> None:
    with terminal(ctr, "run", "-t", "--rm", images.NAME, new_id(), "sh") as tty:
        tty.press("tty; until test \"$(stty size)\" = '33 99'; do sleep 0.1; done; echo sized-$((1 + 1))\n")
        assert "/dev/pts/0" in tty.expect("sized-2")
        tty.resize(40, 111)
        tty.press("until test \"$(stty size)\" = '40 111'; do sleep 0.1; done; echo again-$((1 + 1))\n")
        tty.expect("again-2")
        tty.press("exit 3\n")
        assert tty.end() == 3


def test_exec(ctr: Ctr) -> None:
    """Status, streams, stdin, user, folder, terminal; a missing command is named."""
    with ctr.task("exec sleep 1000") as box:

        def run(*args: str, stdin: bytes | None = None) -> tuple[int, str, str]:
            done = ctr("tasks", "exec", "--exec-id", new_id(), *args, stdin=stdin)
            return done.returncode, done.stdout, done.stderr

        assert run(box, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, "out\n", "err\n")
        assert run(box, "wc", "-c", stdin=b"12345") == (0, "5\n", "")
        as_user = ["--user", "1000:1000", "--cwd", "/data"]
        assert run(*as_user, box, "sh", "-c", "id -u; id -g; pwd")[1].split() == ["1000", "1000", "/data"]
        code, _, message = run(box, "no-such-command")
        assert code != 0 and "no-such-command" in message
        with terminal(ctr, "tasks", "exec", "-t", "--exec-id", new_id(), box, "sh") as tty:
            tty.press("tty; echo here-$((1 + 1))\n")
            assert "/dev/pts/" in tty.expect("here-2")
            tty.press("exit 4\n")
            assert tty.end() == 4
        assert ctr.status(box) == "RUNNING"


def test_exec_detached_and_ps(ctr: Ctr) -> None:
    """`tasks ps` knows the processes and which exec they belong to."""
    with ctr.task("exec sleep 1000") as box:
        exec_id = new_id()
        ctr("tasks", "exec", "-d", "--exec-id", exec_id, box, "sleep", "999", check=True)
        lines = ctr("tasks", "ps", box, check=True).stdout.splitlines()[1:]
        assert len(lines) == 2
        assert exec_id in "".join(lines)
        assert {int(line.split()[0]) for line in lines} <= set(ctr.sandbox.processes())
        ctr("tasks", "kill", "--signal", "SIGKILL", "--exec-id", exec_id, box, check=True)
        wait_for("one process", lambda: len(ctr("tasks", "ps", box).stdout.splitlines()) == 2)
        ctr("tasks", "delete", "--exec-id", exec_id, box)


def test_pause_and_resume(ctr: Ctr) -> None:
    with ctr.task("exec sleep 1000") as box:
        ctr("tasks", "pause", box, check=True)
        assert ctr.status(box) == "PAUSED"
        assert ctr.sandbox.cgroup_file(ctr.pid(box), "freezer/freezer.state", "cgroup.freeze") in ("FROZEN", "1")
        ctr("tasks", "resume", box, check=True)
        assert ctr.status(box) == "RUNNING"
        assert ctr.sandbox.cgroup_file(ctr.pid(box), "freezer/freezer.state", "cgroup.freeze") in ("THAWED", "0")


def test_kill(ctr: Ctr) -> None:
    """A handler for one signal, the end by another; the exit status comes with the deletion."""
    log = ctr.sandbox.folder("ctr-logs") / new_id()
    with ctr.task(HANDLER, "--log-uri", f"file://{log}") as box:
        wait_for("ready", lambda: log.exists() and "ready" in log.read_text())
        ctr("tasks", "kill", "--signal", "SIGUSR1", box, check=True)
        wait_for("poked", lambda: "poked" in log.read_text())
        ctr("tasks", "kill", box, check=True)
        wait_for("the end", lambda: ctr.status(box) == "STOPPED")
        assert "bye" in log.read_text()
        assert "exit code 7" in ctr("tasks", "delete", box, check=True).stderr
        assert ctr.status(box) == ""


def test_kill_all(ctr: Ctr) -> None:
    with ctr.task("sleep 1000 & exec sleep 999") as box:
        wait_for("both", lambda: len(ctr("tasks", "ps", box).stdout.splitlines()) == 3)
        ctr("tasks", "kill", "--all", "--signal", "SIGKILL", box, check=True)
        wait_for("the end", lambda: ctr.status(box) == "STOPPED")
        wait_for("the end of all", lambda: "sleep" not in ctr.sandbox.processes().values())


def test_a_signal_in_front(ctr: Ctr) -> None:
    """ctr passes on what it is sent."""
    with terminal(ctr, "run", "--rm", images.NAME, new_id(), "sh", "-c", HANDLER) as tty:
        tty.expect("ready")
        found = [pid for pid, name in ctr.sandbox.processes().items() if name == "ctr"]
        ctr.sandbox.run("kill", "-TERM", *map(str, found), check=True)
        tty.expect("bye")
        assert tty.end() == 7


def test_metrics_and_limits(ctr: Ctr) -> None:
    with ctr.task("exec sleep 1000", "--memory-limit", str(64 << 20), "--cpus", "0.2") as box:
        pid = ctr.pid(box)
        assert ctr.sandbox.cgroup_file(pid, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
        assert ctr.sandbox.cgroup_file(pid, "cpu/cpu.cfs_quota_us", "cpu.max") in ("20000", "20000 100000")
        text = ctr("tasks", "metrics", box, check=True).stdout
        found = {words[0]: words[-1] for words in map(str.split, text.splitlines()) if len(words) == 2}
        assert found.get("memory.limit_in_bytes", found.get("memory.usage_limit")) == str(64 << 20), text
        assert found["pids.current"] == "1"
        assert json.loads(ctr("tasks", "metrics", "--format", "json", box, check=True).stdout)


def test_a_memory_limit_kills(ctr: Ctr) -> None:
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    assert ctr.run("--memory-limit", str(32 << 20), command=command).returncode == 137


def test_a_read_only_root(ctr: Ctr) -> None:
    done = ctr.run("--read-only", command=["touch", "/x"])
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_a_user(ctr: Ctr, rootfs: bytes) -> None:
    """By --user where ctr has it (1.6 has not: there by a config.json of one's own, made from one of containerd's)."""
    script = "id -u; id -g; cat /proc/self/status"
    if "--user" in ctr("run", "--help").stdout:
        text = ctr.sh(script, "--user", "1000:1000")
    else:
        root = ctr.sandbox.folder("ctr-root")
        with tarfile.open(fileobj=BytesIO(rootfs)) as tar:
            tar.extractall(root, filter="fully_trusted") if hasattr(tarfile, "data_filter") else tar.extractall(root)
        with ctr.task("exec sleep 1000") as box:
            config = json.loads(ctr("containers", "info", box, check=True).stdout)["Spec"]
        config["root"]["path"] = str(root)
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["args"] = ["sh", "-c", script]
        config["linux"]["cgroupsPath"] += "-user"
        path = ctr.sandbox.work / "user.json"
        path.write_text(json.dumps(config))
        done = ctr("run", "--rm", "--config", path, new_id(), check=True)
        text = done.stdout
    assert text.split()[:2] == ["1000", "1000"]
    assert caps(text)["CapEff"] == 0


def test_capabilities(ctr: Ctr) -> None:
    plain = caps(ctr.sh("cat /proc/self/status"))
    fewer = caps(ctr.sh("cat /proc/self/status", "--cap-drop", "CAP_CHOWN"))
    more = caps(ctr.sh("cat /proc/self/status", "--cap-add", "CAP_SYS_ADMIN"))
    assert plain["CapEff"] == plain["CapBnd"] != 0
    assert fewer["CapEff"] == fewer["CapBnd"] == plain["CapBnd"] & ~1
    assert more["CapEff"] == plain["CapEff"] | 1 << 21


def test_seccomp_and_new_privileges(ctr: Ctr) -> None:
    plain = status_in(ctr.sh("cat /proc/self/status"))
    asked = status_in(ctr.sh("cat /proc/self/status", "--seccomp"))
    allowed = status_in(ctr.sh("cat /proc/self/status", "--seccomp", "--allow-new-privs"))
    assert (plain["Seccomp"], plain["NoNewPrivs"]) == ("0", "1")
    assert (asked["Seccomp"], asked["NoNewPrivs"]) == ("2", "1")
    assert (allowed["Seccomp"], allowed["NoNewPrivs"]) == ("2", "0")


@pytest.mark.parametrize("options", ["rbind:rw", "rbind:ro"])
def test_a_bind_mount(ctr: Ctr, options: str) -> None:
    shared = ctr.sandbox.folder(f"shared/{new_id()}")
    (shared / "in").write_text("from outside\n")
    mount = f"type=bind,src={shared},dst=/mnt,options={options}"
    text = ctr.sh("cat /mnt/in; echo from inside 2>&1 >/mnt/out || echo refused", "--mount", mount)
    assert text.splitlines()[0] == "from outside"
    assert (shared / "out").exists() == (options == "rbind:rw") == ("refused" not in text)


def test_a_missing_source(ctr: Ctr) -> None:
    mount = "type=bind,src=/no/such/source,dst=/mnt,options=rbind:rw"
    done = ctr.run("--mount", mount, command=["true"])
    assert done.returncode != 0
    assert "/no/such/source" in done.stderr


def test_a_namespace_by_path(ctr: Ctr) -> None:
    with ctr.task("exec sleep 1000") as box:
        path = f"/proc/{ctr.pid(box)}/ns/"
        theirs = ctr.sandbox.run("readlink", f"{path}net", f"{path}ipc", check=True).stdout.split()
        options = ["--with-ns", f"network:{path}net", "--with-ns", f"ipc:{path}ipc"]
        assert ctr.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc", *options).split() == theirs


def test_environment_and_folder(ctr: Ctr) -> None:
    assert ctr.sh('echo "$WHAT"; pwd', "--env", "WHAT=a b", "--cwd", "/data").splitlines() == ["a b", "/data"]


def test_privileged(ctr: Ctr) -> None:
    done = ctr.run("--privileged", command=["sh", "-c", "mount -t tmpfs x /data && echo mounted"])
    known = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    own = caps(Path("/proc/self/status").read_text())["CapEff"]
    if done.returncode and own != (1 << known + 1) - 1 and "capabilities" in done.stderr:
        pytest.skip(f"a capability is missing here: {own:x}")
    assert (done.returncode, done.stdout) == (0, "mounted\n"), done


def test_user_namespace(ctr: Ctr) -> None:
    """Root of its own, mapped to an ordinary user outside; containerd shifts the image's owners."""
    done = ctr.run(
        *["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
        command=["sh", "-c", "cat /proc/self/uid_map; id -u; stat -c %u /bin; touch /data/x && echo wrote"],
    )
    assert done.returncode == 0, done
    assert done.stdout.split() == ["0", "100000", "65536", "0", "0", "wrote"]


def test_a_second_task(ctr: Ctr) -> None:
    """The same container started again after its first task has ended and was deleted: the same ID and cgroup."""
    with ctr.task("echo hello; exit 6") as box:
        wait_for("the end", lambda: ctr.status(box) == "STOPPED")
        ctr("tasks", "delete", box, check=True)
        done = ctr("tasks", "start", box)
        assert (done.returncode, done.stdout) == (6, "hello\n"), done


def test_delete_leaves_nothing(ctr: Ctr) -> None:
    """A running task is not deleted without force; with it, no process, mount, cgroup or file is left."""
    place = ctr.sandbox
    processes, mounts, cgroups = set(place.processes()), sorted(place.mounts()), set(place.cgroups())
    with ctr.task("exec sleep 1000") as box:
        assert ctr("tasks", "delete", box).returncode != 0
        ctr("tasks", "exec", "-d", "--exec-id", new_id(), box, "sleep", "999", check=True)
        ctr("tasks", "delete", "--force", box)
        assert ctr.status(box) == ""
        ctr("containers", "delete", box, check=True)
        wait_for("the end of its processes", lambda: set(place.processes()) <= processes)
        wait_for("the end of its mounts", lambda: sorted(place.mounts()) == mounts)
        wait_for("the end of its files", lambda: not place.run("find", "/run", place.work, "-name", box).stdout)
        wait_for("the end of its cgroups", lambda: {p for p in place.cgroups() if p.name != "ctr"} <= cgroups)


def test_a_shim_that_is_killed(ctr: Ctr) -> None:
    """containerd clears up after a shim by `delete --force`: the container must not outlive it."""
    with ctr.task("exec sleep 1000") as box:
        pid = ctr.pid(box)
        shims = [number for number, name in ctr.sandbox.processes().items() if name.startswith("containerd-shim")]
        for shim in shims:
            ctr.sandbox.run("kill", f"-{signal.SIGKILL}", str(shim), check=True)
        wait_for("the end of the container", lambda: pid not in ctr.sandbox.processes())
        wait_for("containerd's knowledge of it", lambda: ctr.status(box) in ("", "STOPPED", "UNKNOWN"))
