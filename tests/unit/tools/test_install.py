"""make install and make uninstall, below a DESTDIR."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import TOP


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """What is installed here only has to be there: nobody runs it at these places."""
    argv = ["make", "install", f"DESTDIR={TOP}/build/staging"]
    made = subprocess.run(argv, cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert made.returncode == 0, made.stderr


def tool(action: str, destdir: Path, prefix: str = "/usr/local") -> str:
    argv = ["/usr/bin/python3", "tools/install.py", action, "--prefix", prefix, "--destdir", str(destdir)]
    return subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout


def everything(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


@pytest.mark.parametrize("prefix", ["/usr/local", "/usr", "/opt/some where"])
def test_uninstall_leaves_nothing(tmp_path: Path, prefix: str) -> None:
    tool("install", tmp_path, prefix)
    below = prefix.lstrip("/")
    there = everything(tmp_path)
    assert {f"{below}/bin/pyrunc", f"{below}/libexec/pyrunc/stage2"} <= there
    assert any(name.endswith("dist-packages/pyrunc/errors.py") for name in there)
    assert os.access(tmp_path / below / "bin/pyrunc", os.X_OK)
    tool("uninstall", tmp_path, prefix)
    assert everything(tmp_path) == set()


def test_what_others_have_there_stays(tmp_path: Path) -> None:
    for name in ("usr/local/bin", "usr/local/share"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr/local/bin/other").touch()
    before = everything(tmp_path)
    tool("install", tmp_path)
    tool("uninstall", tmp_path)
    assert everything(tmp_path) == before


def test_installing_over_an_older_one_removes_what_it_had(tmp_path: Path) -> None:
    tool("install", tmp_path)
    fresh = everything(tmp_path)
    package = next(tmp_path.rglob("dist-packages/pyrunc"))
    (package / "gone").mkdir()
    (package / "gone/old.py").touch()
    (package / "old.py").touch()
    tool("install", tmp_path)
    assert everything(tmp_path) == fresh
    tool("uninstall", tmp_path)
    assert everything(tmp_path) == set()


def test_uninstall_of_nothing_says_so(tmp_path: Path) -> None:
    assert "nothing to uninstall" in tool("uninstall", tmp_path)
