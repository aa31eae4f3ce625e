"""The launcher: what stands between an engine's execve and pyrunc's first line of Python."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from pyrunc import _linux
from pyrunc.cli.table import GLOBAL
from pyrunc.steps.seccomp import cache
from tests.support import finish
from tests.support.debug import debug, loaded
from tests.support.workplace import MakeBundle

SEALS = _linux.F_SEAL_SEAL | _linux.F_SEAL_SHRINK | _linux.F_SEAL_GROW | _linux.F_SEAL_WRITE
LIBPYTHON = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))


def call(*argv: str | bytes | Path, **how: Any) -> subprocess.CompletedProcess[bytes]:
    how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(argv, capture_output=True, timeout=60, check=False, **how)


def in_namespaces(flags: str, prepare: str, *argv: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run argv in new namespaces of its own, after a line of shell that prepares them."""
    return call("unshare", *flags.split(), "--", "sh", "-c", prepare + ' && exec "$@"', "sh", *argv)


def one_error(log: Path) -> str:
    """The message of the one JSON object that engines want to find in the log."""
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["time"])
    return str(record["msg"])


root = pytest.mark.skipif(os.geteuid() != 0, reason="no root: namespaces with mounts are made")


# ---- the sealed copy ----


def test_a_created_container_shows_a_sealed_copy(container: MakeBundle) -> None:
    """Through /proc/PID/exe a container reaches no file of the host (CVE-2019-5736), and can change nothing."""
    box = container("true")
    box.create().ok()
    exe = f"/proc/{box.pid()}/exe"
    assert os.readlink(exe).startswith("/memfd:pyrunc")
    fd = os.open(exe, os.O_RDONLY)
    try:
        assert fcntl.fcntl(fd, _linux.F_GET_SEALS) & SEALS == SEALS
    finally:
        os.close(fd)
    with pytest.raises(OSError) as caught:
        os.open(exe, os.O_WRONLY)
    assert caught.value.errno in (errno.ETXTBSY, errno.EPERM)


def test_the_process_has_its_name(container: MakeBundle) -> None:
    box = container("true")
    box.create().ok()
    # The container process may carry another; it is never a descriptor's number, which the kernel would give it.
    assert Path(f"/proc/{box.pid()}/comm").read_text().strip().startswith("pyrunc")


@root
def test_memory_that_may_not_be_executed(runtime: Path, tmp_path: Path) -> None:
    """vm.memfd_noexec=2 is refused with the sysctl's name. It belongs to a pid namespace, so ours stays as it is."""
    if not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("no sysctl vm.memfd_noexec in this kernel")
    log = tmp_path / "log"
    for value in (1, 2):
        done = in_namespaces(
            "--mount --pid --fork --mount-proc",
            f"echo {value} > /proc/sys/vm/memfd_noexec",
            *(runtime, "--root", tmp_path / "root", "--log", log, "--log-format", "json", "run", "-b", tmp_path, "box"),
        )
        assert done.returncode == 1
        message = one_error(log)
        assert done.stderr.decode().count("\n") == 1 and message in done.stderr.decode()
        assert ("vm.memfd_noexec" in message) == (value == 2), message
        log.unlink()
    # Commands that enter no container need no copy.
    done = in_namespaces(
        "--mount --pid --fork --mount-proc", "echo 2 > /proc/sys/vm/memfd_noexec", runtime, "--version"
    )
    assert done.returncode == 0


# ---- what is missing ----


@root
@pytest.mark.parametrize("flag", ["--log=LOG", "--log LOG", "-log LOG"])
def test_no_python_library(flag: str, runtime: Path, tmp_path: Path) -> None:
    """After an upgrade took libpython away: one line, and the object in --log."""
    log = tmp_path / "log"
    flags = flag.replace("LOG", str(log)).split()
    hide = f"mount -t tmpfs none {LIBPYTHON.parent.resolve()}"
    done = in_namespaces("--mount", hide, runtime, *flags, "--log-format", "json", "state", "box")
    assert done.returncode == 1
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and str(LIBPYTHON) in lines[0]
    assert lines[0] == one_error(log)


JSON = ("--log-format", "json", "state", "box")


def without_python(runtime: Path, *words: str | Path) -> list[str]:
    """What the launcher says that finds no libpython, line by line."""
    hide = f"mount -t tmpfs none {LIBPYTHON.parent.resolve()}"
    done = in_namespaces("--mount", hide, runtime, *words)
    assert done.returncode == (255 if words[0] == "exec" else 1)
    return done.stderr.decode().splitlines()


@root
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, short, kind in GLOBAL if name != "log"])
def test_where_the_log_is_named(name: str, kind: str, runtime: Path, tmp_path: Path) -> None:
    """--log counts where the command line has it: it is no other flag's value, and the last one holds."""
    log, wrong = tmp_path / "log", tmp_path / "wrong"
    before = [f"--{name}"] if kind == "bool" else [f"--{name}", f"--log={wrong}"]
    without_python(runtime, *before, f"--{name}=true", "--log", wrong.with_name("first"), f"-log={log}", *JSON)
    one_error(log)
    assert not wrong.exists() and not wrong.with_name("first").exists()


@root
@pytest.mark.parametrize(
    "words",
    [
        ["exec", "box", "tool", "--log", "LOG"],
        ["exec", "box", "tool", "--log=LOG"],
        ["--debug", "run", "--bundle", ".", "--log=LOG", "box"],
        ["--", "--log", "LOG"],
        ["-", "--log", "LOG"],
        ["--log-format", "json", "--unknown", "--log", "LOG", "state", "box"],
        ["---log=LOG", "state", "box"],
        ["--root", "--log"],
        ["--log"],
    ],
    ids=" ".join,
)
def test_a_log_that_is_the_programs(words: list[str], runtime: Path, tmp_path: Path) -> None:
    """From the command on words are no global flags: a container's program cannot have us write to the host's files."""
    log = tmp_path / "log"
    said = without_python(runtime, *[word.replace("LOG", str(log)) for word in words])
    assert len(said) == 1 and str(LIBPYTHON) in said[0]
    assert not log.exists()


@root
def test_a_log_that_nobody_reads(runtime: Path, tmp_path: Path) -> None:
    """A FIFO without a reader does not hold up who reports."""
    log = tmp_path / "log"
    os.mkfifo(log)
    said = without_python(runtime, "--log", log, "state", "box")
    assert len(said) == 1 and str(LIBPYTHON) in said[0]


# ---- descriptors ----


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors(closed: tuple[int, ...], runtime: Path, tmp_path: Path) -> None:
    """They are open again, on /dev/null: no file of ours takes their place and gets what is meant for them."""
    log = tmp_path / "log"
    shell = 'exec "$@" ' + " ".join([f"{fd}>&-" for fd in closed])
    done = call(
        "sh", "-c", shell, "sh", runtime, "--root", tmp_path, "--log", log, "--log-format", "json", "state", "box"
    )
    assert done.returncode == 1
    assert one_error(log).startswith("container does not exist (container box): hint: ")
    assert (done.stderr == b"") == (2 in closed)


def test_closed_standard_descriptors_in_a_container(bundle: MakeBundle, runtime: Path) -> None:
    box = bundle("ls", "-l", "/proc/self/fd")
    box.save()
    argv: list[str | bytes | Path] = [runtime, "--root", box.place.root, "run", "--bundle", box.path, box.id]
    done = call("sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", *argv)
    assert done.returncode == 0
    targets = dict(re.findall(r"(\d+) -> (\S+)", done.stdout.decode()))
    assert all(targets[number].startswith("pipe:") for number in "012")  # what is read from it ends at once
    assert set(targets) == {"0", "1", "2"}


# ---- the environment ----


def hostile(folder: Path) -> dict[str, str]:
    """An environment, and in folder the files it points to, that would show if any of it were followed."""
    for name in ("posix", "sys", "encodings", "sitecustomize", "pyrunc", "os", "_json", "json", "time"):
        (folder / f"{name}.py").write_text("raise SystemExit('hijacked')\n")
    for name in (LIBPYTHON.name, "libc.so.6"):
        (folder / name).write_text("not a library")
    return {
        "PYTHONPATH": str(folder),
        "PYTHONHOME": str(folder),
        "PYTHONSTARTUP": str(folder / "os.py"),
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONMALLOC": "debug",
        "PYTHONMALLOCSTATS": "1",
        "PYTHONDUMPREFS": "1",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "utf-16",
        "PYTHONWARNINGS": "error",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONEXECUTABLE": str(folder / "python"),
        "LD_PRELOAD": str(folder / LIBPYTHON.name),
        "LD_LIBRARY_PATH": str(folder),
        "LD_DEBUG": "all",
        "LD_AUDIT": str(folder / LIBPYTHON.name),
        "LD_BIND_NOW": "1",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "LC_ALL": "xx_XX.ISO-8859-1",
        "LANG": "C",
    }


@pytest.mark.parametrize(
    "argv",
    [("--version",), ("list",), ("list", "--format", "json"), ("features",), ("spec", "--help"), ("state", "run")],
    ids=" ".join,
)
def test_the_environment_changes_nothing(argv: tuple[str, ...], runtime: Path, tmp_path: Path) -> None:
    """Neither Python's variables, nor the dynamic loader's, nor files that lie where the command is called."""
    (tmp_path / "state").mkdir()
    (tmp_path / "bad").mkdir()
    bad = hostile(tmp_path / "bad")
    call_it: list[str | bytes | Path] = [runtime, "--root", tmp_path / "state", *argv]
    plain = call(*call_it, env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path)
    found = call(*call_it, env={"PATH": "/usr/bin:/bin", **bad}, cwd=tmp_path / "bad")
    assert b"hijacked" not in found.stdout + found.stderr
    no_time = re.compile(rb'time="[^"]*"')
    assert found.returncode == plain.returncode
    assert (found.stdout, no_time.sub(b"", found.stderr)) == (plain.stdout, no_time.sub(b"", plain.stderr))


def test_a_hook_sees_no_loader_variable(bundle: MakeBundle, tmp_path: Path) -> None:
    """What was taken out for us is not handed on by us."""
    out = tmp_path / "environment"
    box = bundle("true")
    box.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"env > {out}"]}]}
    box.run(env={"LD_LIBRARY_PATH": "/nowhere", "SOMETHING": "else"}).ok()
    assert "LD_LIBRARY_PATH" not in out.read_text()


# ---- arguments ----


def test_arguments_that_are_not_utf8(runtime: Path, tmp_path: Path) -> None:
    """Any bytes can be a path: it is found, with Python started whole (spec) and in its core only (list)."""
    folder = os.fsencode(tmp_path) + b"/\xff\xfe\xc3"
    os.mkdir(folder)
    assert call(os.fsencode(runtime), b"spec", b"--bundle", folder).returncode == 0
    assert os.listdir(folder) == [b"config.json"]
    os.mkdir(folder + b"/root")
    assert call(os.fsencode(runtime), b"--root", folder + b"/root", b"list", b"-q").returncode == 0


def test_names_that_are_commands(runtime: Path, tmp_path: Path) -> None:
    """A container's name may be a command's: only the time it takes to copy the program is lost."""
    for name in ("run", "exec", "create"):
        done = call(runtime, "--root", tmp_path, "state", name)
        assert done.returncode == 1 and b"container does not exist" in done.stderr


def test_no_arguments(runtime: Path) -> None:
    assert call(runtime).returncode == 0


def test_an_empty_argument_vector(runtime: Path) -> None:
    """execve with no argv at all, as exploits do: nothing is read past its end."""
    none = finish.prepare(
        os.fsencode(runtime),
        [],
        [],
    )
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _linux.finish_execve(none)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- signals ----


def test_a_reader_that_left(runtime: Path) -> None:
    """Python would ignore SIGPIPE; we end by it, or with the status that says so, and without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([runtime, "--version"], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert done.returncode in (-signal.SIGPIPE, 128 + signal.SIGPIPE)
    assert done.stderr == b""


def test_a_full_disk(runtime: Path) -> None:
    """What can't be written out is a failure."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([runtime, "--version"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode != 0


# ---- what is frozen ----


def test_the_budget_of_a_command_that_needs_little(runtime: Path, tmp_path: Path) -> None:
    """The debug launcher says what was loaded; for `list` nothing is that lies in a file."""
    event = loaded(debug(runtime), tmp_path, "--root", tmp_path, "list")[-1]
    assert event["event"] == "exit" and event["status"] == 0
    assert not [name for name, module in event["modules"].items() if module["kind"] == "file"]
    assert "encodings" not in event["modules"] and "_frozen_importlib_external" not in event["modules"]
    assert event["modules"]["pyrunc.cli.main"]["bytes"] > 0


#: Bytes of marshalled code that a command may load: what its start really reads. Comments and docstrings are free.
BUDGET = {
    "create": 541_000,
    "start": 150_000,
    "state": 137_000,
    "exec": 402_000,
    "kill": 153_000,
    "delete": 153_000,
    "run": 604_000,
}


def test_the_budget_of_a_containers_life(bundle: MakeBundle, runtime: Path, tmp_path: Path) -> None:
    """What each command loads: frozen modules within its budget, no file, nothing after a clone."""
    box = bundle("sleep", "100")
    life: list[list[str | Path]] = [
        ["create", "--bundle", box.save(), box.id],
        ["start", box.id],
        ["state", box.id],
        ["exec", box.id, "true"],
        ["kill", box.id, "KILL"],
        ["delete", "--force", box.id],
    ]
    for argv in life:
        hold_to_budget(loaded(debug(runtime), tmp_path, "--root", box.place.root, *argv), str(argv[0]))
    box.config["process"]["args"] = ["true"]
    argv = ["--root", box.place.root, "run", "--bundle", box.save(), box.id]
    hold_to_budget(loaded(debug(runtime), tmp_path, *argv), "run")


def hold_to_budget(events: list[Any], command: str) -> None:
    ends = [event["imported"] for event in events if event["event"] == "finish"]
    assert ends == ([[]] if command in ("create", "exec", "run") else [])
    for event in events:
        if event["event"] == "exit":
            kinds: dict[str, list[str]] = {"builtin": [], "frozen": [], "file": []}
            for name, module in event["modules"].items():
                kinds[module["kind"]].append(name)
            assert not kinds["file"]
            assert sum([event["modules"][name]["bytes"] for name in kinds["frozen"]]) <= BUDGET[command], kinds


def test_the_launcher_names_filters_as_the_package_does(bundle: MakeBundle) -> None:
    """The digest of the compiler that its build wrote down is that of the files."""
    box = bundle("true")
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    box.run().ok()
    names = os.listdir(box.place.root / "@seccomp")
    assert names == [cache.key(box.config["linux"]["seccomp"])]
