"""exec: what its flags ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.cli.exec import options as exec_options
from pyrunc.errors import UsageError
from tests.support.command_line import call_of


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
