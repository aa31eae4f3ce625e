"""From the command line to a command: usage errors, global flags, the state root, what an error ends in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.command_line import run


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


def child(code: str, env: dict[str, str] | None = None, tree: Path = TOP) -> subprocess.CompletedProcess[bytes]:
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
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(TOP)!r})\n" + code]
    reader, writer = os.pipe()
    os.close(reader)
    got = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (got.returncode, got.stderr) == (141, b"")
    with open("/dev/full", "wb") as full:
        got = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert got.returncode == 1
    assert b"write to standard output: no space left on device" in got.stderr


@pytest.mark.parametrize("argv", [["list", "-f", "xml"], ["ps", "-f", "", "id"], ["completion", "tcsh"]])
def test_formats_refused(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 1
    assert "internal" not in capfd.readouterr().err
