"""run: in the foreground with its process's status, streams and signals, or detached."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import running, script
from tests.support.namespaces import set_namespaces
from tests.support.processes import descendants
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line


@pytest.mark.parametrize("status", [0, 3, 126, 127, 255])
def test_the_status_is_the_process_s(status: int, bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", f"exit {status}")
    got = box.run()
    assert (got.returncode, got.stdout, got.stderr) == (status, "", "")


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM"])
def test_a_signal_that_ends_it_is_128_and_its_number(name: str, bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", f"kill -{name} $$")
    # The first process of a pid namespace takes no such signal from itself.
    set_namespaces(box, "mount", "uts", "ipc", "network")
    assert box.run().returncode == 128 + signal.Signals[f"SIG{name}"]


def test_streams_are_passed_through(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "cat; echo error >&2")
    data = bytes(range(256)) * 4096
    box.config["process"]["args"] = ["sh", "-c", "wc -c; echo error >&2"]
    got = box.run(stdin=data)
    assert (got.returncode, got.stdout, got.stderr) == (0, f"{len(data)}\n", "error\n")


def test_streams_that_are_closed(bundle: MakeBundle) -> None:
    """They are /dev/null then, and no file of the runtime's own gets their numbers."""
    box = bundle(
        "sh", "-c", "readlink /proc/self/fd/0; readlink /proc/self/fd/1 >/tmp/out; ls /proc/self/fd >>/tmp/out"
    )
    box.config["root"]["readonly"] = False
    box.save()
    done = subprocess.run(
        [
            "sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "sh",
            box.place.runtime,
            "--root",
            box.place.root,
            "run",
            "-b",
            box.path,
            "x",
        ],
        check=False,
    )
    assert done.returncode == 0
    lines = (box.rootfs / "tmp/out").read_text().split()
    assert lines[0] == "/tmp/out"
    # ls's own directory is 3.
    assert lines[1:] == ["0", "1", "2", "3"]


def test_the_caller_ignores_its_children(container: MakeBundle) -> None:
    """With SIGCHLD ignored, as it is after nohup-like wrappers, the kernel keeps no status for whoever waits."""
    box = container("sh", "-c", "exit 3")
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 0"]}]}
    argv = ["env", "--ignore-signal=CHLD", str(box.place.runtime), "--root", str(box.place.root)]
    assert subprocess.run([*argv, "run", "--bundle", box.save(), box.id], check=False).returncode == 3
    box.config["process"]["args"] = ["sleep", "1000"]
    running(box)
    done = subprocess.run([*argv, "exec", box.id, "sh", "-c", "exit 4"], check=False)
    assert done.returncode == 4


def test_nothing_is_left_after_it(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.run().ok()
    one_line(box.call("state", box.id), 1, "container does not exist")
    box.run().ok()


def test_keep_leaves_it_stopped(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "exit 3")
    assert box.run("--keep").returncode == 3
    assert box.status() == "stopped"
    one_line(box.run(), 1, "container with given ID already exists")
    box.delete().ok()


def test_detached_it_returns_when_the_program_runs(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    file = box.path / "pid"
    box.run("--detach", "--pid-file", file).ok()
    assert box.status() == "running"
    assert file.read_text() == str(box.pid())
    assert Path(f"/proc/{box.pid()}/cmdline").read_text().startswith("sleep\0")


def test_what_it_leaves_running_goes_with_it(bundle: MakeBundle) -> None:
    """With and without a pid namespace that would take them along."""
    box = bundle("sh", "-c", "sleep 1000 & sleep 1000 & exit 4")
    assert box.run().returncode == 4
    set_namespaces(box, "mount")
    assert box.run().returncode == 4


@pytest.mark.parametrize("command", ["nonsense", "/bin/nonsense", "/etc/passwd", "/bin"])
def test_a_program_that_is_not_there(command: str, bundle: MakeBundle) -> None:
    got = bundle(command).run()
    one_line(got, 1, command, "/process/args/0")
    words = {
        "nonsense": "executable file not found in $PATH",
        "/bin/nonsense": "no such file or directory",
        "/etc/passwd": "permission denied",
        "/bin": "permission denied (it is a directory)",  # the first words are what engines make 126 of
    }
    assert words[command] in got.stderr


HOOK = "cat >/dev/null; echo >{0}/begun; while [ ! -e {0}/go ]; do sleep 0.02; done"


@pytest.mark.parametrize("end", ["a program that cannot be executed", "deleted by somebody else"])
def test_who_has_its_name_meanwhile_is_left_alone(end: str, container: MakeBundle, tmp_path: Path) -> None:
    """A run takes its own container away, and no other that has got its name and cgroup while poststop hooks run."""
    first, second = container("sleep", "1000"), container("sleep", "1000")
    first.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", HOOK.format(tmp_path)]}]}
    if end != "deleted by somebody else":
        (first.rootfs / "bin/nonsense").write_bytes(b"\1\2")
        (first.rootfs / "bin/nonsense").chmod(0o755)
        first.config["process"]["args"] = ["/bin/nonsense"]
    second.config["linux"]["cgroupsPath"] = first.cgroup
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    calls = [first.place.spawn("run", "--bundle", first.save(), first.id, **null)]
    if end == "deleted by somebody else":
        wait_until(lambda: first.call("state", first.id).returncode == 0, "the first container")
        first.wait_for("running")
        calls.append(first.place.spawn("delete", "--force", first.id, **null))
    wait_until((tmp_path / "begun").exists, "the poststop hook")
    first.call("run", "--detach", "--bundle", second.save(), first.id, stdout=second.path / "stdout").ok()
    (tmp_path / "go").touch()
    for call in calls:
        call.wait(60)
    assert first.status() == "running"


# ---- signals ----

TRAPS = """
for name in HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH; do trap "echo $name" $name; done
echo ready
while :; do sleep 0.01; done
"""


@contextmanager
def in_the_foreground(box: Bundle, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    box.save()
    argv: list[str | Path] = ["run", "--bundle", box.path, *flags, box.id]
    with box.place.spawn(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    assert select.select([process.stdout], [], [], 30)[0]
    return process.stdout.readline().decode()


def test_signals_are_passed_on(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["process"]["args"] = [script(box, TRAPS)]
    with in_the_foreground(box) as process:
        assert next_line(process) == "ready\n"
        for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert next_line(process) == f"{name}\n"
        box.kill("KILL").ok()
        assert process.wait() == 137


def test_signals_from_the_first_moment_on(bundle: MakeBundle) -> None:
    """Sent before the program can have set anything up: the runtime is not ended by it, nothing is left."""
    box = bundle("sleep", "0.2")
    set_namespaces(box, "mount")
    statuses = set()
    for delay in range(0, 60, 6):
        with in_the_foreground(box) as process:
            time.sleep(delay / 1000)
            process.send_signal(signal.SIGTERM)
            statuses.add(process.wait())
        # Before it can be passed on it ends the runtime; then delete --force finds the rest.
        box.delete("--force").ok()
    assert statuses <= {143, -15}, statuses


def test_a_runtime_in_the_foreground_that_is_killed(bundle: MakeBundle) -> None:
    """The container is not the runtime: it lives on, and can be deleted."""
    box = bundle("sh", "-c", "echo ready; exec sleep 1000")
    with in_the_foreground(box) as process:
        assert next_line(process) == "ready\n"
        process.kill()
        process.wait()
        assert box.status() == "running"
        box.delete("--force").ok()


def test_deleted_by_somebody_else(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo ready; exec sleep 1000")
    with in_the_foreground(box) as process:
        assert next_line(process) == "ready\n"
        box.delete("--force").ok()
        assert process.wait() == 137
        assert process.stdout and process.stdout.read() == b""


def test_orphans_come_to_the_runtime_or_not(bundle: MakeBundle) -> None:
    """As subreaper it inherits what the container's own process leaves; with --no-subreaper its caller does."""
    box = bundle()
    # Without a pid namespace, whose first process would inherit it.
    box.config["process"]["args"] = [script(box, "(sleep 999 &)\necho ready\nexec sleep 1000\n")]
    set_namespaces(box, "mount")
    for flags in ((), ("--no-subreaper",)):
        with in_the_foreground(box, *flags) as process:
            assert next_line(process) == "ready\n"
            wait_until(lambda: len(_sleeps()) == 2, "both run")
            (orphan,) = [pid for pid in _sleeps() if pid != box.pid()]
            parent = int(Path(f"/proc/{orphan}/stat").read_text().rsplit(") ", 1)[1].split()[1])
            assert parent == (os.getpid() if flags else process.pid)
            box.kill("KILL").ok()
            assert process.wait() == 137


def _sleeps() -> list[int]:
    return [pid for pid, what in descendants().items() if what.startswith("sleep ") and not what.endswith("Z")]


def test_a_detached_run_that_fails_leaves_nothing(bundle: MakeBundle) -> None:
    box = bundle("/bin/nonsense")
    (box.rootfs / "bin/nonsense").write_bytes(b"\x7fELF is not enough")
    (box.rootfs / "bin/nonsense").chmod(0o755)
    got = box.run("--detach")
    assert got.returncode == 1
    one_line(box.call("state", box.id), 1, "container does not exist")


def test_output_of_a_process_that_outlives_the_first(bundle: MakeBundle) -> None:
    """run ends with the container's own process, whoever else has its standard output open."""
    box = bundle("sh", "-c", "sleep 1000 & echo done")
    set_namespaces(box, "mount", "pid")
    with in_the_foreground(box) as process:
        assert process.wait(30) == 0
        assert process.stdout and process.stdout.read() == b"done\n"


def test_a_container_in_a_container_s_name(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    running(box)
    one_line(box.run(), 1, "container with given ID already exists")
    assert box.status() == "running"
