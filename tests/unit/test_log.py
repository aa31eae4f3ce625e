"""What engines read: one JSON object an error, appended, with the time in RFC 3339."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.cli.main import main
from pyrunc.errors import ConfigError, PyruncError


@pytest.fixture(autouse=True)
def _log_to_stderr() -> Iterator[None]:
    yield
    del log._waiting[:]
    log.setup(None)


FULL: dict[str, Any] = {"step": "mount", "pointer": "/mounts/3", "errno": 2, "hint": "make it"}


def test_an_error_is_one_json_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.json"
    log.setup(str(path), "json")
    log.error(PyruncError("mount /x to /y: No such file or directory", **FULL))
    line = path.read_text()
    assert line.count("\n") == 1
    got = json.loads(line)
    time = got.pop("time")
    text = "mount /x to /y: No such file or directory (config.json /mounts/3): hint: make it"
    assert got == {"level": "error", "msg": text, **FULL}
    stamp = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    assert abs(stamp - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=60)
    # conmon takes the reason from standard error, so it is there too, bare.
    assert capfd.readouterr() == ("", text + "\n")


def test_the_log_is_appended_to_and_made_for_its_owner_to_write(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text("before\n")
    log.setup(str(path), "json")
    log.error(PyruncError("a"))
    assert path.read_text().startswith("before\n{")
    old = os.umask(0)
    try:
        log.setup(str(tmp_path / "new"), "json")
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


def test_the_log_descriptor_does_not_survive_execve(tmp_path: Path) -> None:
    log.setup(str(tmp_path / "log"), "text")
    assert not os.get_inheritable(log._fd)


def test_warnings_go_into_the_object_of_the_error(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    log.setup(str(path), "json")
    log.warning("first", pointer="/process/capabilities")
    log.warning("second")
    assert path.read_text() == ""
    log.error(ConfigError("no", pointer="/root"))
    log.finish()
    got = json.loads(path.read_text())
    assert (got["level"], got["warnings"], got["pointer"]) == ("error", ["first", "second"], "/root")


def test_warnings_of_a_success_are_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    log.setup(str(path), "json")
    log.warning("first", pointer="/a", count=2, names=["x", "y"])
    log.finish()
    log.finish()
    got = json.loads(path.read_text())
    del got["time"]
    assert got == {"level": "warning", "msg": "first", "pointer": "/a", "count": 2, "names": ["x", "y"]}


def test_debug_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.setup(str(path), "json")
    log.debug("no")
    log.setup(str(path), "json", True)
    log.debug("yes")
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["yes"]


def test_text_is_logrus_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.setup(None, "text")
    log.error(PyruncError('a "quoted" thing', **FULL))
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ" level=error '
        r'msg="a \\"quoted\\" thing \(config.json /mounts/3\): hint: make it"\n',
        err,
    )
    log.setup(str(tmp_path / "log"))
    log.error(PyruncError("x"))
    assert (tmp_path / "log").read_text().endswith(' level=error msg="x"\n')
    assert capfd.readouterr().err == "x\n"


def test_json_on_standard_error_is_not_doubled(capfd: pytest.CaptureFixture[str]) -> None:
    log.setup(None, "json")
    log.warning("careful")
    log.error(PyruncError("x"))
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "error"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        'a"b\\c',
        "tab\tline\nreturn\r",
        "\x00\x1f\x7f\x80",
        "ä€\U0001f600",
        "\u2028",
        "/p/a\x1b[31m",
        os.fsdecode(b"/x/\xff\xfe"),
    ],
)
def test_quoting(text: str) -> None:
    wanted = re.sub("[\ud800-\udfff]", "\ufffd", text)
    assert json.loads(log.quote(text)) == wanted
    assert log.quote(text).isascii()
    assert log.quote(text).isprintable()
    text_form = log.quote(text, False)
    assert json.loads(text_form) == wanted
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text_form)


def test_a_message_of_two_lines_stays_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.setup(str(tmp_path / "log"), "json")
    log.error(PyruncError("one\ntwo"))
    assert (tmp_path / "log").read_text().count("\n") == 1
    assert capfd.readouterr().err == "one two\n"


@pytest.mark.parametrize(
    ("path", "form", "word"),
    [("/nonexistent/log", "json", "/nonexistent/log"), (None, "xml", "log-format: xml"), ("/proc", "text", "/proc")],
)
def test_bad_logs(path: str | None, form: str, word: str) -> None:
    with pytest.raises(PyruncError) as caught:
        log.setup(path, form)
    assert word in caught.value.message


def test_a_log_that_takes_nothing_hides_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pyrunc", "--log", "/dev/full", "--log-format", "json", "kill", "id", "NOPE"]) == 1
    assert capfd.readouterr().err.startswith('unknown signal "NOPE": hint: ')


def test_usage_errors_of_a_command_are_logged_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.json"
    assert main(["pyrunc", "--log", str(path), "--log-format=json", "state"]) == 1
    got = json.loads(path.read_text())
    assert got["level"] == "error"
    assert got["msg"].startswith('pyrunc: "state" requires exactly 1 argument(s): hint: ')
    assert capfd.readouterr().err == got["msg"] + "\n"


def test_a_terminal_gets_the_short_form() -> None:
    import pty

    child, master = pty.fork()
    if child == 0:
        log.setup(None)
        log.error(PyruncError('a "b"'))
        os._exit(0)
    data = os.read(master, 1000)
    os.waitpid(child, 0)
    os.close(master)
    assert data == b'ERRO[0000] a "b"\r\n'


def test_it_imports_no_json() -> None:
    assert "json" not in vars(log)
    assert log.__name__ in sys.modules
