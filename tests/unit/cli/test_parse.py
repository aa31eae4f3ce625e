"""The command line: Go's flag grammar, usage errors, the state root, what commands make of their flags."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.catalogue import container_of
from pyrunc.cli import completion
from pyrunc.cli import help as words
from pyrunc.cli.create import options as create_options
from pyrunc.cli.exec import options as exec_options
from pyrunc.cli.kill import signal_number
from pyrunc.cli.list import owner, table
from pyrunc.cli.main import main
from pyrunc.cli.parse import Call, absolute, parse
from pyrunc.cli.ps import select
from pyrunc.cli.table import COMMANDS, GLOBAL
from pyrunc.cli.update import from_flags, size
from pyrunc.errors import PyruncError, UsageError

PACKAGE = Path(words.__file__).parents[1]

FLAGS = (
    ("bundle", "b", "str"),
    ("detach", "d", "bool"),
    ("env", "e", "strs"),
    ("gid", "g", "ints"),
    ("fds", "", "int"),
)


@pytest.fixture(autouse=True)
def _log_to_stderr() -> Iterator[None]:
    yield
    log.setup(None)


def call_of(command: str, *argv: str) -> Call:
    _, _, reorder, flags = COMMANDS[command]
    values, given, args = parse(flags, list(argv), reorder)
    return Call("pyrunc", command, values, given, args)


@pytest.mark.parametrize(
    ("argv", "values", "args"),
    [
        (["-b", "x", "id"], {"bundle": "x"}, ["id"]),
        (["--b=x", "id"], {"bundle": "x"}, ["id"]),
        (["-bundle=x=y"], {"bundle": "x=y"}, []),
        (["--bundle="], {"bundle": ""}, []),
        (["--bundle", "--detach", "id"], {"bundle": "--detach"}, ["id"]),
        (["-b", "1", "-b", "2"], {"bundle": "2"}, []),
        (["-d", "id"], {"detach": True}, ["id"]),
        (["-detach=false", "id"], {"detach": False}, ["id"]),
        (["--detach=T", "id"], {"detach": True}, ["id"]),
        (["-e", "A=1,B=2", "-env", "C", "id"], {"env": ["A=1,B=2", "C"]}, ["id"]),
        (["-g", "1", "--gid=0x10", "-g=010", "-g", "0b11", "-g", "1_000"], {"gid": [1, 16, 8, 3, 1000]}, []),
        (["--fds=-3"], {"fds": -3}, []),
        (["-", "id"], {}, ["-", "id"]),
        (["-d", "--", "-d", "--x"], {"detach": True}, ["-d", "--x"]),
        ([], {}, []),
        (["", "id"], {}, ["", "id"]),
    ],
)
@pytest.mark.parametrize("reorder", [True, False])
def test_flags(argv: list[str], values: dict[str, object], args: list[str], reorder: bool) -> None:
    got, given, rest = parse(FLAGS, argv, reorder)
    default = {"bundle": "", "detach": False, "env": [], "gid": [], "fds": 0}
    assert got == {**default, **values}
    assert given == set(values)
    assert rest == args


def test_flags_end_at_the_first_argument_where_a_command_follows() -> None:
    got, _, rest = parse(FLAGS, ["-d", "id", "sh", "-e", "--bundle=x"], False)
    assert rest == ["id", "sh", "-e", "--bundle=x"]
    assert got["env"] == []


def test_known_flags_count_after_the_arguments_elsewhere() -> None:
    got, _, rest = parse(FLAGS, ["id", "-d", "x", "-b", "B", "-9", "--", "-d"], True)
    assert rest == ["id", "x", "-9", "-d"]
    assert (got["detach"], got["bundle"]) == (True, "B")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-x"], "flag provided but not defined: -x"),
        (["--bundles=1"], "flag provided but not defined: -bundles"),
        (["---d"], "bad flag syntax: ---d"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-=x"], "bad flag syntax: -=x"),
        (["-b"], "flag needs an argument: -b"),
        (["id", "--bundle"], "flag needs an argument: -bundle"),
        (["-d=7"], 'invalid boolean value "7" for -d: parse error'),
        (["--detach="], 'invalid boolean value "" for -detach: parse error'),
        (["-b", "x", "--bundle", "y"], "Cannot use two forms of the same flag: b bundle"),
        (["--fds", "x"], 'invalid value "x" for flag -fds: parse error'),
        (["--fds="], 'invalid value "" for flag -fds: parse error'),
        (["--fds", "1.0"], 'invalid value "1.0" for flag -fds: parse error'),
        (["--fds", " 1"], 'invalid value " 1" for flag -fds: parse error'),
        (["--fds", "1\n"], 'invalid value "1\n" for flag -fds: parse error'),
        (["--fds", "+-1"], 'invalid value "+-1" for flag -fds: parse error'),
        (["--fds", "09"], 'invalid value "09" for flag -fds: parse error'),
        (["--fds", "٣"], 'invalid value "٣" for flag -fds: parse error'),
        (["--fds", "9" * 5000], f'invalid value "{"9" * 5000}" for flag -fds: parse error'),
        (["--fds", "9223372036854775808"], 'invalid value "9223372036854775808" for flag -fds: value out of range'),
        (["-g", "1", "-g", "a"], 'invalid value "a" for flag -g: strconv.ParseInt: parsing "a": invalid syntax'),
    ],
)
def test_bad_flags(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FLAGS, argv, True)
    assert caught.value.message == message


def test_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("/") == "/"
    assert absolute("/a//b/./c/../d/") == "/a/b/d"
    assert absolute("/../../x") == "/x"
    assert absolute("x") == f"{tmp_path}/x"
    assert absolute("") == str(tmp_path)
    assert absolute("../x") == f"{tmp_path.parent}/x"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("0", 0),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax-1", 63),
    ]
    + [("RTMAX", 64), ("64", 64), ("CHLD", 17), ("STKFLT", 16), ("POLL", 29), ("WINCH", 28), ("RTMIN+30", 64)],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


def test_signal_names_are_the_kernel_s() -> None:
    for known in signal.Signals:
        assert signal_number(known.name) == known
    for number in range(1, 65):
        if number not in (32, 33):
            assert number in set(signal.valid_signals())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FOO",
        "SIG",
        "65",
        "-9",
        "999",
        "1e1",
        "RTMIN+31",
        "RTMAX-31",
        "RTMIN-1",
        "_BLOCK",
        "SIG_DFL",
        "9 ",
        "９",
        "RTMIN+",
    ],
)
def test_bad_signals(text: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        signal_number(text)


def run(*argv: str, program: str = "pyrunc") -> int:
    return main(["/usr/local/bin/" + program, *argv])


@pytest.mark.parametrize("argv", [["kill", "--all", "ID", "9x"], ["kill", "ID", "NOPE"], ["kill", "ID", "9", "9"]])
def test_a_bad_signal_is_an_error_before_anything_is_loaded(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    assert "level=error" in capfd.readouterr().err


def test_without_arguments_it_prints_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capfd.readouterr()
    assert out.startswith("NAME:\n   pyrunc - ")
    assert err == ""


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["help"], ["h"], ["--version", "--help"]])
def test_help(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 0
    assert "\nGLOBAL OPTIONS:\n" in capfd.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help", program="runc") == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"NAME:\n   runc {command} - ")
    assert f"\nUSAGE:\n   runc {command} " in out
    assert err == ""
    assert "{p}" not in out
    assert run("help", command, program="runc") == 0
    assert capfd.readouterr().out == out
    for name, short, _ in COMMANDS[command][3]:
        shown = (command, name) not in words.HIDDEN and name != "help"
        assert (f"   --{name}" in out) == shown
        if short and shown:
            assert f", -{short}" in out


def test_every_word_of_the_help_belongs_to_the_table() -> None:
    flags = {flag[0] for flag in GLOBAL} | {flag[0] for row in COMMANDS.values() for flag in row[3]}
    assert set(words.TEXTS) == set(COMMANDS)
    assert {name.rpartition(".")[2] for name in words.FLAGS} == flags
    for command, row in COMMANDS.items():
        assert (PACKAGE / "cli" / f"{command}.py").is_file() or command in ("plan", "validate")
        assert row[0] <= row[1] or row[1] == -1
        names = [name for long, short, _ in row[3] for name in (long, short) if name]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("argv", [["bogus"], ["--root=/tmp/x", "bogus", "-h"], ["help", "bogus"], [""]])
def test_an_unknown_command(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    _out, err = capfd.readouterr()
    assert err.count("\n") == 1
    assert "No help topic for" in err


def test_usage_errors_show_the_help_and_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--bogus", "state") == 1
    out, err = capfd.readouterr()
    assert out.startswith("Incorrect Usage. flag provided but not defined: -bogus\n\nNAME:\n   pyrunc - ")
    assert ' level=error msg="flag provided but not defined: -bogus: hint: ' in err
    assert run("create", "--preserve-fds=x", "id") == 1
    out, err = capfd.readouterr()
    assert out.startswith(
        'Incorrect Usage: invalid value "x" for flag -preserve-fds: parse error\n\nNAME:\n   pyrunc create - '
    )
    assert err.count("\n") == 1
    # exec's own failures are 255, and values that only exec can judge are of these, as in runc.
    assert run("exec", "--bogus", "id", "sh") == 1
    capfd.readouterr()
    assert run("exec", "--user=me", "id", "sh") == 255
    out, err = capfd.readouterr()
    assert out == ""
    assert 'level=error msg="exec failed: bad uid: ' in err


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        (["state"], "exactly 1"),
        (["state", "a", "b"], "exactly 1"),
        (["list", "a"], "exactly 0"),
        (["exec"], "a minimum of 1"),
        (["kill"], "a minimum of 1"),
        (["kill", "a", "9", "c"], "a maximum of 2"),
        (["ps"], "a minimum of 1"),
        (["create", "a", "b"], "exactly 1"),
    ],
)
def test_wrong_number_of_arguments(argv: list[str], want: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    out, err = capfd.readouterr()
    assert out.startswith(f"Incorrect Usage.\n\nNAME:\n   pyrunc {argv[0]} - ")
    hint = f"hint: `pyrunc {argv[0]} --help` shows how it is called"
    assert err.endswith(f' msg="/usr/local/bin/pyrunc: \\"{argv[0]}\\" requires {want} argument(s): {hint}"\n')


@pytest.mark.parametrize(
    "argv",
    [["--root", "/"], ["--root="], ["--root=../../../../../../../../.."], ["-root", "."], ["--rootless=maybe"]]
    + [["--log-format=xml"], ["--log=/nonexistent/x"], ["--debug=2"], ["--systemd-cgroup=x"]],
)
def test_bad_global_flags(argv: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert run(*argv, "list") == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "internal error" not in err


def child(
    code: str, env: dict[str, str] | None = None, tree: Path = PACKAGE.parent
) -> subprocess.CompletedProcess[bytes]:
    """Run code, the package importable, under the bare interpreter: it comes nearest to the launcher."""
    source = f"import sys; sys.path.insert(0, {str(tree)!r})\n" + code
    return subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", source], capture_output=True, check=False, env=env)


ROOT = "from pyrunc.cli import main; print(main.state_root('', False)[0])"


@pytest.mark.parametrize("uid", [0, 1234])
def test_the_default_root(uid: int, public_tree: Path) -> None:
    if os.geteuid() != 0 and uid != os.geteuid():
        uid = os.geteuid()
    runtime = public_tree / f"runtime-{uid}"
    runtime.mkdir()
    os.chown(runtime, uid, uid if os.geteuid() == 0 else -1)
    code = f"import posix; posix.geteuid() == 0 and posix.setuid({uid})\n" + ROOT
    got = child(code, {"XDG_RUNTIME_DIR": str(runtime)}, public_tree)
    assert got.stderr == b""
    if uid == 0:
        assert got.stdout == b"/run/pyrunc\n"
    else:
        assert got.stdout.decode() == f"{runtime}/pyrunc\n"
        assert (runtime / "pyrunc").stat().st_mode & 0o7777 == 0o1700
    assert child(code, {}, public_tree).stdout == b"/run/pyrunc\n"


@pytest.mark.parametrize("whose", ["link", "somebody else's"])
def test_a_default_root_that_is_not_the_user_s(whose: str, public_tree: Path) -> None:
    """Refused, and nobody's folder gets another mode."""
    if os.geteuid() != 0:
        pytest.skip("no root: two users are needed")
    runtime, precious = public_tree / f"runtime-{whose[:4]}", public_tree / f"precious-{whose[:4]}"
    runtime.mkdir()
    precious.mkdir(mode=0o755)
    os.chown(runtime, 1234, 1234)
    if whose == "link":
        os.chown(precious, 1234, 1234)
        (runtime / "pyrunc").symlink_to(precious)
    else:
        precious = runtime / "pyrunc"
        precious.mkdir(mode=0o755)
    code = "import posix; posix.setuid(1234)\nfrom pyrunc.cli import main\nsys.exit(main.main(['pyrunc', 'list']))"
    got = child(code, {"XDG_RUNTIME_DIR": str(runtime)}, public_tree)
    assert got.returncode == 1 and got.stderr.count(b"\n") == 1 and b"XDG_RUNTIME_DIR" in got.stderr, got
    assert b"internal" not in got.stderr
    assert precious.stat().st_mode & 0o7777 == 0o755


def test_an_unwritable_runtime_directory_is_an_error() -> None:
    code = "from pyrunc.cli import main; main._is_private_user = lambda: True\n"
    code += "sys.exit(main.main(['pyrunc', 'list']))"
    got = child(code, env={"XDG_RUNTIME_DIR": "/proc/nothing"})
    assert got.returncode == 1
    assert b"XDG_RUNTIME_DIR" in got.stderr
    assert got.stderr.count(b"\n") == 1


def test_unexpected_errors_are_one_line_that_names_the_place() -> None:
    code = """
import pyrunc.cli.version
def broken(call):
    raise ValueError("it\\nbroke")
pyrunc.cli.version.run = broken
from pyrunc.cli.main import main
sys.exit(main(['pyrunc', 'version']))"""
    got = child(code)
    assert got.returncode == 1
    assert got.stdout == b""
    assert got.stderr.count(b"\n") == 1
    assert b"internal error: ValueError: it broke at <string>:5" in got.stderr


def test_output_to_nobody_or_to_a_full_disk() -> None:
    code = "from pyrunc.cli.main import main; sys.exit(main(['pyrunc', 'help']))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n" + code]
    reader, writer = os.pipe()
    os.close(reader)
    got = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (got.returncode, got.stderr) == (141, b"")
    with open("/dev/full", "wb") as full:
        got = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert got.returncode == 1
    assert b"write to standard output: no space left on device" in got.stderr


def test_create_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (tmp_path / "link").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    call = call_of(
        "run",
        "-d",
        "--bundle=link",
        "--pid-file",
        "p",
        "--console-socket=s",
        "--preserve-fds",
        "2",
        "-no-subreaper",
        "x",
    )
    got = create_options(call)
    assert got.bundle == str(bundle.resolve())
    assert os.getcwd() == str(bundle.resolve())
    assert got.pid_file == f"{tmp_path}/p"
    assert got.console_socket == "s"
    assert (got.detach, got.no_subreaper, got.keep, got.no_pivot, got.preserve_fds) == (True, True, False, False, 2)
    assert (got.config, got.pidfd_socket, got.rootless) == (None, None, None)
    got = create_options(call_of("create", "--no-pivot", "--no-new-keyring", "--config", "c.json", "x"))
    assert got.bundle == str(bundle.resolve())
    assert (got.no_pivot, got.no_new_keyring, got.detach) == (True, True, True)
    assert got.config == f"{bundle.resolve()}/c.json"


@pytest.mark.parametrize("flags", [["--preserve-fds=-1"], ["--bundle=/nonexistent/b"], ["--bundle=/etc/passwd"]])
def test_create_options_refused(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PyruncError) as caught:
        create_options(call_of("create", *flags, "x"))
    assert flags[0].partition("=")[2] in caught.value.message


def test_exec_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    got = exec_options(
        call_of(
            "exec",
            "-t",
            "-u",
            "1000:5",
            "-e",
            "A=1,2",
            "--env=B=",
            "-g",
            "7",
            "--cap",
            "CAP_KILL",
            "id",
            "sh",
            "-c",
            "-x",
        )
    )
    assert got.args == ["sh", "-c", "-x"]
    assert (got.tty, got.user, got.env, got.additional_gids, got.caps) == (
        True,
        (1000, 5),
        ["A=1,2", "B="],
        [7],
        ["CAP_KILL"],
    )
    assert (got.no_new_privs, got.process_file, got.cwd, got.cgroup) == (None, None, None, {})
    got = exec_options(call_of("exec", "-p", "p.json", "-d", "--pid-file", "../pid", "--console-socket=c", "id"))
    assert (got.process_file, got.pid_file) == (f"{tmp_path}/p.json", f"{tmp_path.parent}/pid")
    assert (got.console_socket, got.detach, got.user) == (f"{tmp_path}/c", True, None)
    got = exec_options(
        call_of("exec", "--no-new-privs=false", "--user=0", "--cgroup", "cpu,memory:/a", "--cgroup=pids:b", "id", "x")
    )
    assert (got.no_new_privs, got.user, got.cgroup) == (False, (0, None), {"cpu": "/a", "memory": "/a", "pids": "b"})
    assert exec_options(call_of("exec", "--cgroup=sub", "id", "x")).cgroup == {"": "sub"}


@pytest.mark.parametrize(
    "flags",
    [
        ["-u", "root"],
        ["-u", "-1"],
        ["-u", "1:"],
        ["-u", ":1"],
        ["-u", "4294967295"],
        ["-u", "1:2:3"],
        ["-g", "-1"],
        ["-g", "4294967295"],
    ]
    + [
        ["-e", "A"],
        ["-e", "=1"],
        ["--preserve-fds", "-1"],
        ["--cgroup=:x"],
        ["--cgroup=a,:x"],
        ["--cgroup=a:x", "--cgroup=a:y"],
    ]
    + [["--cgroup=a:x", "--cgroup=b"]],
)
def test_exec_options_refused(flags: list[str]) -> None:
    with pytest.raises(UsageError):
        exec_options(call_of("exec", *flags, "id", "sh"))


def test_exec_needs_a_command_or_a_process_file() -> None:
    with pytest.raises(UsageError, match="exec args cannot be empty"):
        exec_options(call_of("exec", "id"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("512", 512),
        ("32b", 32),
        ("32B", 32),
        ("1k", 1024),
        ("1K", 1024),
        ("2kb", 2048),
        ("3KiB", 3072),
        ("64m", 64 << 20),
    ]
    + [
        ("1.5G", 3 << 29),
        ("1 g", 1 << 30),
        ("1T", 1 << 40),
        ("1p", 1 << 50),
        ("9223372036854775807", 2**63 - 1),
        (".5k", 512),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1m", "1x", "1mm", "1bb", "1kbb", "1kk", "1,5k", "1..5", "1 ", " 1", "1  k", "0x10", "1e3", "٣", "."],
)
def test_bad_sizes(text: str) -> None:
    if text == "1 ":
        assert size(text) == 1  # as docker's own parser
        return
    with pytest.raises(ValueError):
        size(text)


def resources(*argv: str) -> Any:
    call = call_of("update", *argv, "id")
    return from_flags(call.flags, call.given)


def test_update_flags() -> None:
    assert resources() == {}
    assert resources("--memory", "", "--cpu-quota=") == {}
    assert resources("--memory=64m", "--memory-swap=-1", "--memory-reservation", "32M") == {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20}
    }
    assert resources(
        "--cpu-quota=-1", "--cpu-period", "100000", "--cpu-share=0", "--cpuset-cpus=0-1", "--cpu-idle", "1"
    ) == {"cpu": {"quota": -1, "period": 100000, "shares": 0, "cpus": "0-1", "idle": 1}}
    assert resources("--pids-limit=0", "--blkio-weight", "500") == {"pids": {"limit": 0}, "blockIO": {"weight": 500}}
    assert resources("--pids-limit=-1") == {"pids": {"limit": -1}}


@pytest.mark.parametrize(
    "flag",
    [
        "--memory=x",
        "--memory=-2",
        "--memory=9223372036854775808",
        "--memory=9999p",
        "--memory-swap=-1k",
        "--cpu-period=-1",
    ]
    + [
        "--cpu-share=1.5",
        "--cpu-quota=9223372036854775808",
        "--cpu-quota=1k",
        "--cpu-idle=yes",
        "--cpu-burst=+1",
        "--cpu-rt-period= 1",
    ]
    + [
        "--blkio-weight=9",
        "--blkio-weight=1001",
        "--blkio-weight=-1",
        "--cpu-rt-runtime=--1",
        "--cpu-quota=-",
        "--cpu-period=٣",
    ],
)
def test_update_flags_refused(flag: str) -> None:
    with pytest.raises(UsageError):
        resources(flag)


def test_list_table_and_owner(tmp_path: Path) -> None:
    assert table([("ID", "PID", "STATUS")]) == "ID          PID         STATUS\n"
    assert table([("ID", "PID"), ("a" * 12, "1")]) == f"ID             PID\n{'a' * 12}   1\n"
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/root:/bin/sh\nbroken\n#c\nme:x:1000:1000::/:/bin/sh\n")
    assert [owner(uid, str(passwd)) for uid in (0, 1000, 5)] == ["root", "me", "#5"]
    assert owner(0, "/nonexistent") == "#0"


def test_ps_lines() -> None:
    text = "UID  PID PPID CMD\nroot 1 0 init\nroot 22 1 sh -c 1\nroot 1 22\n\n"
    assert select(text, {22}) == "UID  PID PPID CMD\nroot 22 1 sh -c 1\n"
    with pytest.raises(PyruncError, match="couldn't find PID field"):
        select("A B\n", {1})


@pytest.mark.parametrize("argv", [["list", "-f", "xml"], ["ps", "-f", "", "id"], ["completion", "tcsh"]])
def test_formats_refused(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    assert "internal" not in capfd.readouterr().err


def complete(script: str, line: str) -> set[str]:
    program = (
        f'{script}\nCOMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _pyrunc; echo "${{COMPREPLY[@]}}"'
    )
    got = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True)
    return set(got.stdout.split())


def test_bash_completion() -> None:
    script = completion.bash("pyrunc")
    assert complete(script, "pyrunc cr") == {"create"}
    assert "--root" in complete(script, "pyrunc --")
    assert complete(script, "pyrunc --log-format ''") == {"text", "json"}
    assert complete(script, "pyrunc --root /x --log y exec --add") == {"--additional-gids"}
    assert complete(script, "pyrunc completion ''") == {"bash", "zsh", "fish"}
    assert complete(script, "pyrunc list --format ''") == {"table", "json"}
    assert complete(script, "pyrunc trace --format ''") == {"table", "json", "perfetto"}
    assert complete(script, "pyrunc trace ''") == {"create", "run", "exec", "start"}
    assert complete(script, "pyrunc trace --format json exec --add") == {"--additional-gids"}
    for command, row in COMMANDS.items():
        shown = {"--" + flag[0] for flag in row[3] if (command, flag[0]) not in words.HIDDEN}
        assert complete(script, f"pyrunc {command} --") == shown


def test_zsh_completion_names_every_command_and_flag() -> None:
    script = completion.zsh("pyrunc")
    for command, row in COMMANDS.items():
        assert f"        {command}) _arguments " in script
        for flag in row[3]:
            assert (command, flag[0]) in words.HIDDEN or "--" + flag[0] in script


def test_fish_completion_names_every_command_and_flag() -> None:
    script = completion.fish("pyrunc")
    for command, row in COMMANDS.items():
        assert f" -a {command} -d " in script
        for long, short, _ in row[3]:
            if (command, long) not in words.HIDDEN:
                line = f"from {command}' -l {long}" + (f" -s {short}" if short else "")
                assert line in script
    assert "complete -c pyrunc -n '__fish_seen_subcommand_from kill' -a '(pyrunc list -q 2>/dev/null)'" in script
    if shutil.which("fish"):
        subprocess.run(["fish", "--no-execute"], input=script, text=True, check=True)


def test_a_bundle_is_no_container() -> None:
    """An error is not told of what is none: of each command whose arguments begin with something else."""
    for command, (_, arguments, _) in words.TEXTS.items():
        if "container" not in arguments:
            assert container_of(Call("pyrunc", command, {}, set(), ["/bundle", "b"])) == "", command
    for command in ("diff", "doctor", "trace"):
        assert container_of(Call("pyrunc", command, {}, set(), ["/bundle", "b"])) == "", command
    assert container_of(Call("pyrunc", "top", {}, set(), ["box"])) == "box"
