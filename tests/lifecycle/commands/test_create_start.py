"""create and start: what a created container is and holds, and what starts it."""

import errno
import fcntl
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running, script
from tests.support.descriptors import receiver
from tests.support.namespaces import add_user_namespace, set_namespaces
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

F_GET_SEALS = 1034
SEALS = 0xF  # seal, shrink, grow, write


def test_from_create_to_delete(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo started; exec sleep 1000")
    box.create().ok()
    state = box.state()
    assert state["status"] == "created"
    assert state["bundle"] == str(box.path) and state["rootfs"] == str(box.rootfs)
    assert re.fullmatch(r"\d+\.\d+\.\d+", state["ociVersion"])
    pid = state["pid"]
    folder = box.place.root / box.id
    assert stat.S_ISFIFO(os.stat(folder / "exec.fifo").st_mode)
    assert box.output() == ""
    # It waits: in its cgroup, in its namespaces, with its root.
    for controller in ("memory", "devices", "freezer", "pids"):
        assert str(pid) in (box.cgroup_dir(controller) / "cgroup.procs").read_text().split()
    assert os.stat(f"/proc/{pid}/root/bin/busybox").st_ino == os.stat(box.rootfs / "bin/busybox").st_ino
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")

    box.start().ok()
    assert box.state() == {**state, "status": "running"}
    assert not (folder / "exec.fifo").exists()
    wait_until(lambda: box.output() == "started\n", "the program runs")
    box.kill().ok()
    box.wait_for("stopped")
    assert box.state() == {**state, "status": "stopped", "pid": 0}
    box.delete().ok()
    assert not folder.exists()


def test_start_returns_when_the_program_runs(container: MakeBundle) -> None:
    box = container("/bin/busybox", "sleep", "1000")
    box.create().ok()
    box.start().ok()
    assert Path(f"/proc/{box.pid()}/cmdline").read_text() == "/bin/busybox\0sleep\x001000\0"


def test_the_config_is_read_once(bundle: MakeBundle) -> None:
    """runtime.md: changes to config.json after create do not matter."""
    box = bundle("sh", "-c", "echo first")
    box.create().ok()
    box.config["process"]["args"][2] = "echo second"
    box.save()
    (box.path / "config.json").unlink()
    box.start().ok()
    box.wait_for("stopped")
    assert box.output() == "first\n"
    box.delete().ok()


def test_the_second_of_a_name_is_refused_and_the_first_lives_on(container: MakeBundle) -> None:
    box, other = container("sleep", "1000"), container("sleep", "1000")
    pid = running(box)
    other.id = box.id
    one_line(other.create(), 1, "container with given ID already exists")
    assert box.status() == "running" and box.pid() == pid
    assert not other.cgroup_dir("memory").exists()


def test_the_second_in_a_cgroup_is_refused_and_the_first_lives_on(container: MakeBundle) -> None:
    box, other = container("sleep", "1000"), container("sleep", "1000")
    pid = running(box)
    other.config["linux"]["cgroupsPath"] = box.cgroup
    one_line(other.create(), 1, box.cgroup)
    one_line(other.call("state", other.id), 1, "container does not exist")
    other.delete("--force").ok()
    assert box.status() == "running" and box.pid() == pid


def test_start_in_other_states(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    one_line(box.start(), 1, "container does not exist")
    box.create().ok()
    box.start().ok()
    pid = box.pid()
    one_line(box.start(), 1, "cannot start an already running container")
    assert box.pid() == pid and box.status() == "running"
    box.kill().ok()
    box.wait_for("stopped")
    one_line(box.start(), 1, "cannot start a container that has stopped")
    box.delete().ok()


def test_a_process_that_is_killed_before_start(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.create().ok()
    box.kill().ok()
    box.wait_for("stopped")
    one_line(box.start(), 1, "cannot start a container that has stopped")
    box.delete().ok()


def test_without_a_process_it_can_be_created_not_started(bundle: MakeBundle) -> None:
    """runtime.md: start must be an error where process is unset."""
    box = bundle()
    del box.config["process"]
    box.create().ok()
    assert box.status() == "created"
    one_line(box.start(), 1, "/process")
    assert box.status() == "created"
    box.delete().ok()


def test_a_paused_container_is_not_started(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.create().ok()
    box.call("pause", box.id).ok()
    assert box.status() == "paused"
    one_line(box.start(), 1, "paused")
    box.call("resume", box.id).ok()
    assert box.status() == "created"
    box.start().ok()


def test_the_creator_may_end(bundle: MakeBundle) -> None:
    """The container is the caller's subreaper's child, and in a session of its own."""
    box = bundle("sleep", "1000")
    box.create().ok()
    fields = Path(f"/proc/{box.pid()}/stat").read_text().rsplit(") ", 1)[1].split()
    assert int(fields[1]) == os.getpid()
    assert int(fields[3]) == box.pid()
    box.delete().ok()


def test_a_start_that_was_killed(container: MakeBundle) -> None:
    """It left exec.fifo behind; the state tells from the process, not from the file."""
    box = container("sleep", "1000")
    box.create().ok()
    fifo = box.place.root / box.id / "exec.fifo"
    # What start does first.
    fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"0")
    wait_until(lambda: not _has_reader(fifo), "the program runs")
    os.close(fd)
    assert fifo.exists()
    assert box.status() == "running"
    one_line(box.start(), 1, "cannot start an already running container")


def _has_reader(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO
        return False
    return True


# ---- what a created container holds ----


@pytest.fixture
def launcher(runtime: Path) -> Path:
    if runtime.read_bytes()[:4] != b"\x7fELF":
        pytest.skip("the runtime is not the launcher")
    return runtime


def plain(box: Bundle) -> None:
    """spec's config as it is."""


def with_a_user_namespace(box: Bundle) -> None:
    add_user_namespace(box)
    (box.rootfs / "mnt").mkdir()
    box.config["mounts"].append({"destination": "/mnt", "source": str(box.path), "options": ["rbind"]})


def with_hooks_and_a_filter(box: Bundle) -> None:
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer")
    box.config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in kinds}
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    box.config["linux"]["namespaces"].append({"type": "cgroup"})
    box.config["mounts"].append(
        {"destination": "/var", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup"]}
    )
    box.config["linux"]["sysctl"] = {"kernel.shmmax": "1000000"}
    # Small, but not so small that an exec is killed now and then.
    box.config["linux"]["resources"]["memory"] = {"limit": 3 << 20}


def without_pivot_root(box: Bundle) -> None:
    set_namespaces(box, "pid", "ipc")
    for name in ("maskedPaths", "readonlyPaths"):
        del box.config["linux"][name]
    box.config["root"]["readonly"] = False


KINDS = pytest.mark.parametrize(
    "change",
    [plain, with_a_user_namespace, with_hooks_and_a_filter, without_pivot_root],
    ids=lambda change: change.__name__,
)


@KINDS
def test_nothing_of_the_host_is_within_reach(change: Any, container: MakeBundle, launcher: Path) -> None:
    """Its program is a sealed copy in memory (CVE-2019-5736), and it holds no directory of the host's."""
    box = container("sleep", "1000")
    change(box)
    box.create().ok()
    pid = box.pid()
    exe = Path(f"/proc/{pid}/exe")
    assert os.readlink(exe).startswith("/memfd:")
    fd = os.open(exe, os.O_RDONLY)
    assert fcntl.fcntl(fd, F_GET_SEALS) & SEALS == SEALS
    os.close(fd)
    state_files = {os.stat(entry).st_ino for entry in os.scandir(box.place.root / box.id)}
    for name in os.listdir(f"/proc/{pid}/fd"):
        found = os.stat(f"/proc/{pid}/fd/{name}")
        assert not stat.S_ISDIR(found.st_mode), os.readlink(f"/proc/{pid}/fd/{name}")
        if int(name) > 2:
            # The fifo that it waits on, and the file for what goes wrong: closed by execve.
            assert found.st_ino in state_files, os.readlink(f"/proc/{pid}/fd/{name}")
            flags = re.search(r"^flags:\s+(\d+)$", Path(f"/proc/{pid}/fdinfo/{name}").read_text(), re.MULTILINE)
            assert flags and int(flags[1], 8) & os.O_CLOEXEC
    assert os.readlink(f"/proc/{pid}/cwd") in ("/", str(box.rootfs))
    box.start().ok()
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


@KINDS
def test_nothing_is_imported_after_the_clone(change: Any, bundle: MakeBundle, launcher: Path) -> None:
    debug = Path(f"{launcher}-debug")
    if not debug.exists():
        pytest.skip("no debug launcher beside the runtime")
    box = bundle("sleep", "1000")
    box.place.runtime = debug
    change(box)
    # Standard error alone is still open at the end.
    how: Any = {"env": {"PYRUNC_DEBUG_FD": "2"}}
    told = box.create(**how).ok().stderr
    box.start().ok()
    process = box.path / "process.json"
    process.write_text(json.dumps({**box.config["process"], "args": ["true"]}))
    told += box.exec("--process", process, **how).ok().stderr
    told += box.exec("--user", "1000:1000", "--env", "A=b", "true", **how).ok().stderr
    box.delete("--force").ok()
    events = [json.loads(line) for line in told.splitlines()]
    finished = [event["imported"] for event in events if event["event"] == "finish"]
    assert finished == [[], [], []]


# ---- the start of a program ----


def test_a_program_that_cannot_be_executed_is_told_by_start(bundle: MakeBundle) -> None:
    box = bundle("/bin/nonsense")
    (box.rootfs / "bin/nonsense").write_bytes(b"\x7fELF is not enough")
    (box.rootfs / "bin/nonsense").chmod(0o755)
    box.create().ok()
    one_line(box.start(), 1, "/bin/nonsense", "exec format error", "/process/args/0")
    box.wait_for("stopped")
    box.delete().ok()


def test_a_script_whose_interpreter_is_missing(bundle: MakeBundle) -> None:
    box = bundle("/bin/lost")
    (box.rootfs / "bin/lost").write_text("#!/no/such/interpreter\n")
    (box.rootfs / "bin/lost").chmod(0o755)
    box.create().ok()
    one_line(box.start(), 1, "/bin/lost", "interpreter")
    box.wait_for("stopped")
    box.delete().ok()


def test_no_signal_is_blocked_ignored_or_pending(bundle: MakeBundle) -> None:
    """Though the runtime, as many Python programs, is started with some ignored."""
    box = bundle("grep", "^Sig", "/proc/self/status")
    box.place.runtime = Path(script(box, f'trap "" USR1 PIPE TSTP; exec {box.place.runtime} "$@"\n', "ignoring"))
    box.place.runtime = box.rootfs / str(box.place.runtime).lstrip("/")
    found = dict(line.split(":") for line in box.run().ok().stdout.splitlines())
    for name in ("SigPnd", "SigBlk", "SigIgn", "SigCgt"):
        assert int(found[name], 16) == 0, name


def test_the_pid_file_comes_with_create(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sleep", "1000")
    file = workplace.path / "pid"
    with receiver(workplace.path / "pidfd") as socket:
        box.create("--pid-file", file, "--pidfd-socket", socket.path).ok()
        assert file.read_text() == str(box.pid())
        fd, _ = socket.take()
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
        assert re.search(rf"^Pid:\s+{box.pid()}$", info, re.MULTILINE)
    box.delete().ok()
