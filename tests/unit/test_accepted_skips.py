"""CI's rule for skipped tests, tried on a small test suite of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TOP

SUITE = """
import pytest

def test_runs():
    pass

@pytest.mark.parametrize("what", ["a b", "c|d"])
def test_skips(what):
    pytest.skip("no such kernel")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False
"""

CONFTEST = """
from tests.support.accepted_skips import AcceptedSkips
from pathlib import Path

def pytest_configure(config):
    config.pluginmanager.register(AcceptedSkips(Path(__file__).with_name("accepted")))
"""

ALL = """# a remark

test_it.py::test_skips[a b] | a kernel
test_it.py::test_skips[c|d] | a kernel
"""


def suite(folder: Path, accepted: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(SUITE)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "accepted").write_text(accepted)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(TOP), "CI": ""}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)


def test_listed_skips_pass(tmp_path: Path) -> None:
    done = suite(tmp_path, ALL)
    assert done.returncode == 0, done.stdout
    assert "accepted" not in done.stdout


def test_another_skip_fails(tmp_path: Path) -> None:
    done = suite(tmp_path, "test_it.py::test_skips[a b] | a kernel\n")
    assert done.returncode == 1
    assert "not an accepted skip: test_it.py::test_skips[c|d]: Skipped: no such kernel" in done.stdout
    assert "skips[a b]" not in done.stdout


def test_listed_but_ran_is_said(tmp_path: Path) -> None:
    done = suite(tmp_path, ALL + "test_it.py::test_runs | a kernel\n")
    assert done.returncode == 0
    assert "listed in accepted-skips.txt, but it ran: test_it.py::test_runs" in done.stdout


def test_the_committed_list_can_be_read() -> None:
    for line in (TOP / "tests/accepted-skips.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, feature = line.rsplit(" | ", 1)
            assert name.startswith("tests/") and feature, line
            assert (TOP / name.split("::")[0]).exists(), f"{name}: no such file"


@pytest.mark.parametrize("file", ["Makefile", ".ci/run", "setup.cfg"])
def test_nothing_names_the_interpreters_version(file: str) -> None:
    """The distribution is asked for it. What the oldest may be is another matter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = (TOP / file).read_text().splitlines()
    assert not [line for line in lines if version in line and "python_requires" not in line]
