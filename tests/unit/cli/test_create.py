"""create and run: what their flags ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.cli.create import options as create_options
from pyrunc.errors import PyruncError
from tests.support.command_line import call_of


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
