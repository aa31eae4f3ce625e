"""Directories and files made below a root whose links may lead anywhere (pyrunc.linux.paths)."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import _linux
from pyrunc.linux import paths


class Root:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def where(self, fd: int) -> str:
        """What a descriptor names, as seen from the root."""
        found = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        assert found == str(self.path) or found.startswith(f"{self.path}/"), found
        return found.removeprefix(str(self.path)) or "/"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path / "root")
    before = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    os.close(made.fd)
    assert sorted(os.listdir(tmp_path)) == ["root"]


LINKS = {
    "absolute": "/made/there",
    "relative": "made/there",
    "up": "../../../made/there",
    "dotted": "./made/./there/",
    "chain": "absolute",
    "through": "sub/back/made/there",
}


@pytest.mark.parametrize("link", LINKS)
def test_what_a_dangling_link_names_is_made_inside(root: Root, link: str) -> None:
    (root.path / "sub").mkdir()
    (root.path / "sub/back").symlink_to("..")
    for name, target in LINKS.items():
        (root.path / name).symlink_to(target)
    assert root.where(paths.make_directories(root.fd, f"/{link}/a//b/")) == "/made/there/a/b"
    assert root.where(paths.make_directories(root.fd, link)) == "/made/there"


@pytest.mark.parametrize("link", LINKS)
def test_a_file_at_the_end_of_a_dangling_link(root: Root, link: str) -> None:
    (root.path / "sub").mkdir()
    (root.path / "sub/back").symlink_to("..")
    for name, target in LINKS.items():
        (root.path / name).symlink_to(target.rstrip("/"))
    assert root.where(paths.make_file(root.fd, link)) == "/made/there"
    assert (root.path / "made/there").is_file()
    assert root.where(paths.make_file(root.fd, link)) == "/made/there"


def test_up_means_up_from_where_the_link_leads(root: Root) -> None:
    (root.path / "a/b").mkdir(parents=True)
    (root.path / "link").symlink_to("/a/b")
    assert root.where(paths.make_directories(root.fd, "link/../new")) == "/a/new"
    assert root.where(paths.make_directories(root.fd, "../../x/../y")) == "/y"
    assert root.where(paths.make_directories(root.fd, "/../..")) == "/"


@pytest.mark.parametrize(
    ("path", "number"),
    [("loop", errno.ELOOP), ("loop/a", errno.ELOOP), ("file/a", errno.ENOTDIR), ("to-file/a/b", errno.ENOTDIR)],
)
def test_what_cannot_be(root: Root, path: str, number: int) -> None:
    (root.path / "loop").symlink_to("loop")
    (root.path / "file").touch()
    (root.path / "to-file").symlink_to("/file")
    for make in (paths.make_directories, paths.make_file):
        with pytest.raises(OSError) as caught:
            make(root.fd, path)
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        paths.make_file(root.fd, "missing/..")
    assert caught.value.errno == errno.EISDIR


class Counting:
    """_linux, with its calls of openat2 counted."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(_linux, name)

    def openat2(self, *args: Any) -> int:
        self.calls += 1
        return _linux.openat2(*args)


def test_links_of_links_cost_no_more_than_their_names(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing below links to links of many names: once it took the time of a cube of them."""
    deep = "/".join(["d"] * 100)
    (root.path / deep).mkdir(parents=True)
    there_and_back = f"{deep}/" + "../" * 100
    for number in range(39):
        (root.path / f"link{number}").symlink_to(there_and_back * 6 + f"link{number + 1}")
    (root.path / "link39").symlink_to("missing")
    counting = Counting()
    monkeypatch.setattr(paths, "_linux", counting)
    with pytest.raises(OSError) as caught:
        paths.make_file(root.fd, "link0")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert counting.calls <= 4096
    # Fewer names, and the file is made.
    counting.calls = 0
    assert root.where(paths.make_file(root.fd, "link38")) == "/missing"
    assert counting.calls <= 1300


def test_a_way_longer_than_descriptors_may_be_open(root: Root) -> None:
    """Down and up again by 1,500 directories with 80 descriptors allowed; what is made at the end is in its place."""
    deep = "/".join(["d"] * 1500)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 80, before[1]))
    try:
        os.close(paths.make_directories(root.fd, deep))
        (root.path / "down").symlink_to(deep)
        assert root.where(paths.make_directories(root.fd, "down" + "/.." * 501 + "/new")) == "/" + "d/" * 999 + "new"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        subprocess.run(["rm", "-r", root.path / "d"], check=True)  # too deep for shutil, which pytest uses


def test_up_from_a_directory_that_was_moved_away(root: Root, tmp_path: Path) -> None:
    """ ".." of a directory that somebody has moved out of the root is outside: nobody goes there."""
    for depth in (3, 100):
        names = [f"{depth}-{number}" for number in range(depth)]
        walk = paths.Walk(root.fd)
        for name in names:
            os.mkdir(name, dir_fd=walk.fd)
            walk.into(name)
        (root.path / names[0] / names[1]).rename(tmp_path / "moved")
        with pytest.raises(OSError) if depth == 100 else contextlib.nullcontext():
            for _ in names:
                walk.up()
            assert root.where(os.dup(walk.fd)) == "/"
        walk.close()
        shutil.rmtree(tmp_path / "moved")
