"""The Makefile is quiet, says what it has, and what a host lacks in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TOP
from tools import deb, preflight

#: Prerequisites of the others, that nobody calls.
INNER = {"all", "told", "packages", "venv", "peers"}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "V")}
    argv = ["make", *arguments]
    return subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False, env=environment)


def test_help_has_every_target() -> None:
    targets = set(re.search(r"^\.PHONY: (.*)$", (TOP / "Makefile").read_text(), re.M)[1].split())  # type: ignore[index]
    said = set(re.findall(r"^  (\S+) ", make("help").stdout, re.M))
    assert said == targets - INNER


def test_nothing_to_do_prints_nothing() -> None:
    make("build")
    done = make("build")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_step_is_a_line(tmp_path: Path) -> None:
    folder = [f"BUILD={tmp_path}", f"MODULES={tmp_path}"]
    done = make("-s", "-C", "native", *folder, f"{tmp_path}/native/finish.o")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(str(tmp_path / "native/finish.o")) == 1
    assert len(done.stdout.splitlines()) <= 4
    loud = make("-C", "native", *folder, f"{tmp_path}/native/json.o", "V=1")
    assert " -c json.c " in loud.stdout


def test_no_compiler() -> None:
    done = make("build", "CC=/nowhere/cc")
    assert done.returncode == 2
    line = "pyrunc cannot be built: no C compiler, /nowhere/cc: apt-get install gcc"
    assert [text for text in done.stderr.splitlines() if not text.startswith("make")][-1] == line


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("version", (3, 9), "Python 3.9 is too old: apt-get install python3 of Debian 12 or later, which has 3.11"),
        ("include", "/nowhere", "no headers of Python 3.12, /nowhere/Python.h: apt-get install libpython3.12-dev"),
        (
            "library",
            "/nowhere/libpython3.12.so.1.0",
            "/nowhere/libpython3.12.so.1.0: apt-get install libpython3.12, and",
        ),
        ("library", "/usr/lib/libpython3.12.a", "no shared library of Python 3.12"),
    ],
)
def test_what_is_missing_is_one_line(field: str, value: object, line: str) -> None:
    host = preflight.Host("cc")
    host.version = (3, 12)
    setattr(host, field, value)
    said = preflight.missing(host)
    assert said and line in said and "\n" not in said


def test_no_headers_of_libc_or_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for header, package in (("stdio.h", "libc6-dev"), ("linux/openat2.h", "linux-libc-dev")):
        monkeypatch.setattr(preflight.Host, "has_header", lambda self, name, lacks=header: name != lacks)
        assert f"apt-get install {package}" in (preflight.missing(preflight.Host("cc")) or "")


def test_a_newer_interpreter_is_tried_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "NEWEST_TRIED", (3, 10))
    assert preflight.main(["cc", str(tmp_path / "host")]) == 0
    assert capsys.readouterr().err.count("\n") == 1


def test_another_host_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "host"
    argv = [sys.executable, str(TOP / "tools/preflight.py"), "cc", str(file)]
    assert [subprocess.run(argv, check=False).returncode for _ in range(2)] == [0, 0]
    file.write_text(file.read_text().replace(sys.version, "3.10"))
    assert [subprocess.run(argv, check=False).returncode for _ in range(2)] == [3, 0]


def test_what_the_tests_install_is_said_before(tmp_path: Path) -> None:
    argv = ["tools/needs.sh", str(tmp_path), "mypy==1", str(tmp_path / "runc"), "build"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    said = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=True, env=environment).stdout
    for word in (f"in {tmp_path}, by pip: mypy==1", f"{tmp_path}/runc", f"in {tmp_path}/pyrunc-tests"):
        assert word in said
    (tmp_path / "tools").write_text("mypy==1\n")
    (tmp_path / "runc").write_text("")
    (tmp_path / "runc").chmod(0o755)
    (tmp_path / "pyrunc-tests").mkdir()
    argv = ["tools/needs.sh", str(tmp_path), "mypy==1", str(tmp_path / "runc")]
    said = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=True, env=environment).stdout
    assert said == "" or "by apt" in said


def test_check_calls_no_apt() -> None:
    """What is missing is told; the only other caller of apt is packages.sh without a mode."""
    words = make("-n", "check").stdout
    assert all("--tell" in line for line in words.splitlines() if "tools/packages.sh" in line)
    assert "tools/packages.sh --tell" in words


def test_what_is_left_out_needs_no_packages() -> None:
    whole, part = make("-n", "test").stdout, make("-n", "test", "WITHOUT=engines vm").stdout
    for room in ("engines", "vm"):
        assert f" tests/{room}" in whole and f" tests/{room}" not in part
    assert " tests/hosts" in part
    groups = [re.search(r"tools/needs\.sh .*compilers(.*)", text)[1].split() for text in (whole, part)]  # type: ignore[index]
    assert groups == [["browser", "engines", "hosts", "vm"], ["browser", "hosts"]]


def test_the_maintainer_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes it, as Debian's tools have it."""
    monkeypatch.delenv("DEBFULLNAME", raising=False)
    monkeypatch.delenv("DEBEMAIL", raising=False)
    assert deb.maintainer().endswith(".invalid>")
    monkeypatch.setenv("DEBFULLNAME", "A Builder")
    monkeypatch.setenv("DEBEMAIL", "builder@example.org")
    assert deb.maintainer() == "A Builder <builder@example.org>"
